"""The most memory of whole commands: all processes of a run together, what they share counted once (PSS)."""

from functools import partial

from benchmark import command
from benchmark.figures import Figure, figure
from benchmark.runner import Contender, Numbers, Options, interleaved


def measure(options: Options) -> tuple[dict[str, list[Numbers]], list[Figure]]:
    """Sample the memory of both sides while they train and evaluate."""
    sizes = options.size.loaded_rows
    contenders: dict[str, Contender] = {}
    for task, size in sizes.items():
        contenders[f"glue_pool {task}"] = partial(command.ours_once, options, task, size, memory=True)
        contenders[f"tuned_trainer {task}"] = partial(command.trainer_once, options, task, size, memory=True)
    measured = interleaved(options, contenders)
    ours, trainers, both = command.paired(measured, sizes)
    return measured, [
        figure("peak memory, MB: glue_pool", 0, lambda a: a["peak_bytes"] / 1e6, **ours),
        figure("peak memory, MB: tuned_trainer", 0, lambda a: a["peak_bytes"] / 1e6, **trainers),
        figure("peak memory: glue_pool v tuned_trainer", 2, lambda a, b: a["peak_bytes"] / b["peak_bytes"], **both),
    ]
