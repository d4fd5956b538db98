"""How fast `glue-pool predict` is beside the dev evaluation, and how much memory it takes.

python scripts/measure_predict.py MODEL [ROWS ...]

MODEL is a saved model of a task of one text. For each number of rows (1000 and 20000 unless given) a csv is generated,
and for some rounds one after the other: the command in a process of its own, whose peak is its ru_maxrss, and the dev
evaluation's own prediction of the same rows, tokens known, in another. Each figure is the median over the rounds, with
its lowest and highest.
"""

import argparse
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

WORDS = "the a small red old dog cat bird house garden sees likes follows finds near under with and not never".split()


class Measured(NamedTuple):
    """Rows a second, of `predict` itself, and of the whole process with its start; peak memory in MB."""

    rows_per_second: float
    with_start: float
    peak_mb: float


def write(file: Path, rows: int, column: str) -> None:
    """Write a csv of so many texts of 3 to 30 words, always the same ones."""
    import numpy as np

    draw = np.random.default_rng(0)
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow([column])
        for _ in range(rows):
            writer.writerow([" ".join(draw.choice(WORDS, draw.integers(3, 31)))])


def measure(model: Path, rows: int, folder: Path, *, evaluate: bool = False) -> Measured:
    """Predict rows in a process of its own; evaluate: as the dev evaluation does, tokens known, not by the command."""
    source = folder / f"{rows}.csv"
    if not source.exists():
        config = json.loads((model / "config.json").read_text(encoding="utf-8"))
        write(source, rows, config["task"]["columns"][0])
    began = time.perf_counter()
    arguments = [str(model), str(source), str(folder / "out.csv"), *(["--evaluate"] if evaluate else [])]
    done = subprocess.run(
        [sys.executable, __file__, "--child", *arguments], check=True, capture_output=True, encoding="utf-8"
    )
    whole = time.perf_counter() - began
    seconds, peak_mb = json.loads(done.stdout.splitlines()[-1])
    return Measured(rows / seconds, rows / whole, peak_mb)


def child(model: str, source: str, output: str, *, evaluate: bool) -> None:
    """Predict once; print the seconds that it took, and the process's peak memory in MB."""
    if evaluate:
        import glue_pool

        loaded = glue_pool.load(model)
        with open(source, newline="", encoding="utf-8") as rows:
            tokens = loaded.tokens([row[0] for row in csv.reader(rows)][1:])
        began = time.perf_counter()
        loaded.of_tokens(tokens)
        seconds = time.perf_counter() - began
    else:
        from glue_pool.predict import predict

        done = predict(model, source, output, force=True)
        seconds = done.seconds
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def main(argv: Sequence[str]) -> None:
    """Print a table."""
    if argv[0] == "--child":
        model, source, output = argv[1:4]
        return child(model, source, output, evaluate="--evaluate" in argv)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL")
    parser.add_argument("rows", nargs="*", type=int, default=[1_000, 20_000], metavar="ROWS")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args(argv)
    print(f"{os.cpu_count()} cores, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}")
    print(
        f"{'rows':>9}  {'predict, rows/s':>24}  {'evaluation, rows/s':>24}  {'share':>6}  {'with start':>10}  peak MB"
    )
    with tempfile.TemporaryDirectory() as folder:
        for rows in args.rows:
            predicted, evaluated = [], []
            for _ in range(args.rounds):
                predicted.append(measure(args.model, rows, Path(folder)))
                evaluated.append(measure(args.model, rows, Path(folder), evaluate=True))
            shares = [a.rows_per_second / b.rows_per_second for a, b in zip(predicted, evaluated, strict=True)]
            with_start = statistics.median(one.with_start for one in predicted)
            print(
                f"{rows:9,}  {_spread([one.rows_per_second for one in predicted]):>24}  "
                f"{_spread([one.rows_per_second for one in evaluated]):>24}  {statistics.median(shares):6.2f}  "
                f"{with_start:10,.0f}  {max(one.peak_mb for one in predicted):,.0f}",
                flush=True,
            )


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):,.0f} ({min(values):,.0f} to {max(values):,.0f})"


if __name__ == "__main__":
    main(sys.argv[1:])
