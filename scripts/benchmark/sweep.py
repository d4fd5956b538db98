"""A sweep of low-resource runs: ours by `-m`, and the best that a shell loop over the Trainer's script does."""

import shlex
import sys
from functools import partial
from itertools import islice, product

from benchmark import command, rows
from benchmark.figures import Figure, figure
from benchmark.runner import Numbers, Options, interleaved, run

TASK = "cola"
SUBSETS = (100, 500)
POOLERS = ("bert", "mean", "max_cls", "maxpool")
EPOCHS = 3


def measure(options: Options) -> tuple[dict[str, list[Numbers]], list[Figure]]:
    """Measure the sweep, and the Trainer's jobs one after another and one a core; a part of them is scaled."""
    runs, jobs = options.size.sweep_runs, options.size.trainer_jobs
    measured = interleaved(
        options,
        {
            "glue_pool": partial(_ours, options),
            "tuned_trainer": partial(_trainers, options, at_once=1),
            "tuned_trainer a core": partial(_trainers, options, at_once=0),
        },
    )
    column = f"{runs} runs on {TASK}, {' and '.join(map(str, SUBSETS))} rows"
    ours, one, many = ({column: [measured[name]]} for name in measured)
    all_three = {column: [*ours[column], *one[column], *many[column]]}
    scaled = "" if jobs == runs else f" ({jobs} of them, times {runs / jobs:g})"
    return measured, [
        figure("sweep, s: glue_pool -m", 0, _seconds, **ours),
        figure(f"sweep, s: tuned_trainer, one after another{scaled}", 0, _seconds, **one),
        figure(f"sweep, s: tuned_trainer, one a core with one thread{scaled}", 0, _seconds, **many),
        figure(
            "sweep: times as fast as the better loop",
            2,
            lambda a, b, c: min(_seconds(b), _seconds(c)) / _seconds(a),
            **all_three,
        ),
    ]


def _seconds(numbers: Numbers) -> float:
    return float(numbers["seconds"])


def _ours(options: Options, number: int) -> Numbers:
    """Run the whole sweep; as many runs of each size, of each pooler and of seeds as the number of runs allows."""
    outputs = options.scratch / f"sweep-{number}"
    seeds = options.size.sweep_runs // (len(SUBSETS) * len(POOLERS))
    folder = rows.folder(options, TASK, max(SUBSETS))
    grid = [
        "subset=" + ",".join(f"n{size}" for size in SUBSETS),
        "pooling=" + ",".join(POOLERS),
        f"seed=range(1,{seeds + 1})",
        f"train.epochs={EPOCHS}",
    ]
    ran = run([sys.executable, "-m", "glue_pool.train", "-m", *command.ours(options, TASK, folder, outputs, *grid)])
    done = len(list(outputs.rglob("result.json")))
    assert done == options.size.sweep_runs, f"{done} runs instead of {options.size.sweep_runs}"
    return {"seconds": ran.seconds}


def _trainers(options: Options, number: int, *, at_once: int) -> Numbers:
    """Run some of the Trainer's jobs from a shell; return the seconds that all would take."""
    jobs = islice(product(range(1, options.size.sweep_runs + 1), SUBSETS), options.size.trainer_jobs)
    longest_first = sorted(jobs, key=lambda job: job[1], reverse=True)  # so that no core is left idle at the end
    commands = [shlex.join(command.trainer(options, TASK, size, seed, EPOCHS)) for seed, size in longest_first]
    if at_once == 1:
        ran = run(["bash", "-ec", "\n".join(commands)])
    else:
        listed = options.scratch / "jobs.txt"
        listed.write_text("\0".join(commands) + "\0", encoding="utf-8")
        threads = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
        ran = run(
            ["bash", "-ec", f'xargs -0 -P "$(nproc)" -I{{}} bash -c {{}} < {shlex.quote(str(listed))}'], of=threads
        )
    return {"seconds": ran.seconds * options.size.sweep_runs / options.size.trainer_jobs}
