"""Speed, paired on the same rows: glue_pool, Hugging Face's Trainer, and the machine's own limit.

python scripts/bench.py --data GLUE                           # everything
python scripts/bench.py --data GLUE --parts command start     # some parts; --full: more rows, loads and rounds

GLUE is a folder of <task>/<split>.parquet; without one the rows are generated. In every round each contender runs
once, in processes of its own, one after another; every figure is the median over the rounds, with its lowest and
highest. Both sides have the threads that torch takes by default, or as many as OMP_NUM_THREADS says; ours are four at
most.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

from benchmark import command, load, memory, report, start, steady, sweep
from benchmark.figures import table
from benchmark.runner import LOCK, SIZES, Options, machine
from glue_pool.errors import UserError

PARTS = {part.__name__.rpartition(".")[2]: part for part in (command, steady, load, sweep, report, memory, start)}
TASKS = ("cola", "sst2", "mrpc", "rte")


def main() -> None:
    """Measure the parts, print a table each, and write what was measured as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("GLUE_POOL_TEST_DATA") or None
    parser.add_argument("--data", default=data, help="folder of <task>/<split>.parquet")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, help="of the part steady")
    parser.add_argument("--encoder", default="minilm_l6", help="a packaged encoder, a Hub name or a folder")
    parser.add_argument("--rounds", type=int, help="3, or 5 with --full")
    parser.add_argument("--full", action="store_true", help="more rows, loads and rounds; all of the Trainer's jobs")
    parser.add_argument("--sweep-runs", type=int, help="40; of the part sweep")
    parser.add_argument("--lock", help="a file to hold (flock) while a process is timed, on a shared machine")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)  # to see that it works
    parser.add_argument("--out", type=Path, default=Path("outputs/bench.json"), help="the JSON file")
    args = parser.parse_args()
    if args.lock:
        os.environ[LOCK] = args.lock
    size = SIZES["tiny" if args.tiny else "full" if args.full else "usual"]
    if args.sweep_runs:
        size = size._replace(sweep_runs=args.sweep_runs, trainer_jobs=min(size.trainer_jobs, args.sweep_runs))
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        options = Options(
            data=args.data and str(Path(args.data).resolve()),
            encoder=args.encoder,
            tasks=args.tasks,
            rounds=args.rounds or (5 if args.full else 3),
            size=size,
            scratch=Path(scratch),
        )
        for name in args.parts:
            try:
                rounds, figures = PARTS[name].measure(options)
            except UserError as error:
                raise SystemExit(f"error: {error}") from None
            found[name] = {"figures": {figure.what: figure.spreads() for figure in figures}, "rounds": rounds}
            print(f"{table(figures)}\n", flush=True)
    about = {
        **machine(),
        "data": "real" if args.data else "synthetic",
        "encoder": args.encoder,
        "rounds": options.rounds,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    content = {"about": {**about, "size": size._asdict()}, "parts": found}
    args.out.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"{', '.join(f'{key} {value}' for key, value in about.items() if value is not None)}\n{args.out}")


if __name__ == "__main__":
    main()
