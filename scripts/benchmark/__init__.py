"""The parts of the benchmark, scripts/bench.py: what each measures, and what they share."""
