"""Training beside other work: whole commands and steady state, with busy processes and without."""

from collections.abc import Mapping
from functools import partial

from benchmark import command, steady
from benchmark.figures import Figure, figure
from benchmark.runner import Contender, Numbers, Options, interleaved


def measure(options: Options) -> tuple[dict[str, list[Numbers]], list[Figure]]:
    """Measure both sides quiet and beside busy processes, in the same rounds."""
    sizes, loads = options.size.loaded_rows, (0, *options.size.busy)
    contenders: dict[str, Contender] = {}
    for busy in loads:
        for task, size in sizes.items():
            contenders[f"{busy} glue_pool {task}"] = partial(command.ours_once, options, task, size, busy=busy)
            contenders[f"{busy} tuned_trainer {task}"] = partial(command.trainer_once, options, task, size, busy=busy)
        for name in ("bert", "tuned_trainer"):
            contenders[f"{busy} steady {name}"] = partial(steady.once, options, name, tuple(sizes), busy=busy)
    measured = interleaved(options, contenders)
    figures: list[Figure] = []
    for busy in loads:
        said = f"{busy} busy beside: " if busy else "quiet: "
        of_load = {name.removeprefix(f"{busy} "): numbers for name, numbers in measured.items() if name[0] == str(busy)}
        figures += command.compared(of_load, sizes, said)
        figures += [_steady(of_load, task, size, said) for task, size in sizes.items()]
        if busy:
            figures += [_quiet(measured, name, busy, sizes) for name in ("glue_pool", "tuned_trainer")]
    return measured, _merged(figures)


def _steady(measured: dict[str, list[Numbers]], task: str, size: int, said: str) -> Figure:
    both = {f"{task}, {size} rows": [measured["steady bert"], measured["steady tuned_trainer"]]}
    return figure(f"{said}steady training: times as fast", 2, lambda a, b: a["train"][task] / b["train"][task], **both)


def _quiet(measured: dict[str, list[Numbers]], name: str, busy: int, sizes: Mapping[str, int]) -> Figure:
    """Return how many times as long a whole command takes as on the quiet machine."""
    both = {f"{task}, {size} rows": [measured[f"{n} {name} {task}"] for n in (busy, 0)] for task, size in sizes.items()}
    return figure(f"{busy} busy beside v quiet, s/s: {name}", 2, lambda a, b: a["seconds"] / b["seconds"], **both)


def _merged(figures: list[Figure]) -> list[Figure]:
    """Return the figures with those of one name in one row."""
    merged: dict[str, Figure] = {}
    for found in figures:
        merged[found.what] = found._replace(values={**merged.get(found.what, found).values, **found.values})
    return list(merged.values())
