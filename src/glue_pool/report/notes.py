"""What a reader has to know of a study's tables: where runs are fewer, collapsed, failed, or not made alike."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from glue_pool import stats
from glue_pool.report.columns import Task
from glue_pool.report.panels import MADE_OF, Cell, Draws, Panel, Row, Subset, differing, plain, subset_label, value_of
from glue_pool.report.scan import Run

# rows are named by these, and notes name what differs in them between tasks
NAMED_BY_ROWS = ("torch", "transformers", "precision", "batching", "device")

# looking at so many seeds in turn, up to the first mark, marks so many null experiments (tests/report/test_plan.py)
LOOKS, FALSE_ALARMS = (5, 10, 15, 20), 0.133


def of_panel(panel: Panel) -> list[str]:
    """Say where runs of a panel are fewer, others than planned, collapsed, failed, or made with other settings."""
    where = f"{panel.encoder}, {panel.kind}"
    notes = []
    for subset in panel.subsets:
        plans = _plans(panel, subset)
        if len(plans) > 1:
            said = f"planned {plans[0]} seeds, later {', '.join(map(str, plans[1:]))}: the first plan counts"
            notes.append((said, f"{subset_label(subset)} ({where})"))
        for task in panel.tasks:
            cells = {row: panel.cells[row, subset, task] for row in panel.rows if (row, subset, task) in panel.cells}
            place = f"{task}, {subset_label(subset)} ({where})"
            notes += _unequal_seeds(cells, place) + _unplanned(cells, plans, place)
            notes += _bad_runs(cells, place) + _other_settings(cells, place)
    return _merged(notes) + _merged(_between_tasks(panel, where)) + _draws(panel, where) + _mixed(panel, where)


def _between_tasks(panel: Panel, where: str) -> Iterator[tuple[str, str]]:
    """Name what differs between the tasks of a row: an average of them mixes it."""
    for row, subset in dict.fromkeys((row, subset) for row, subset, _ in panel.cells):
        runs = {task: cell.runs[0] for task in panel.tasks if (cell := panel.cell(row, subset, task)).runs}
        for key in sorted(differing(list(runs.values()))):
            if not key.startswith(("task.", "data.fingerprint")):
                tasks_of: dict[str, list[str]] = defaultdict(list)
                for task, run in runs.items():
                    tasks_of[plain(value_of(run, key))].append(task)
                values = ", ".join(f"{value} ({_some(tasks)})" for value, tasks in tasks_of.items())
                yield f"{key} differs between tasks: {values}", f"{row.label}, {subset_label(subset)} ({where})"


def _draws(panel: Panel, where: str) -> list[str]:
    sizes = Counter(size for size, _ in panel.subsets)
    pooled = {size for _, (size, _), _ in panel.pooled}
    together = ", and pooled in one more: there n counts draws, and marks are for new draws, seeds and dev examples"
    return [
        f"{where}: {n} draws of {size} rows (subset.seed) are in tables of their own"
        + (together if size in pooled else "")
        for size, n in sizes.items()
        if n > 1
    ] + [
        f"{where}: draws of {size} rows share seeds: what a seed does alike on all of them is not seen by the pooled "
        f"marks, and may find one by chance more often (5 draws of the same 3 seeds: up to "
        f"{100 * stats.SAME_SEEDS_CALLED:.0f} % of the time instead of 5 %, measured); give each draw seeds of its own"
        for size in dict.fromkeys(size for _, (size, _), _ in panel.pooled)
        if any(_shares_seeds(cell) for (_, (of, _), _), cell in panel.pooled.items() if of == size)
    ]


def _shares_seeds(draws: Draws) -> bool:
    return any(n > 1 for n in Counter(draws.seeds).values())


def _unequal_seeds(cells: Mapping[Row, Cell], place: str) -> list[tuple[str, str]]:
    every = sorted({seed for cell in cells.values() for seed in cell.seeds})
    return [
        (f"{row.label} lacks {_listed('seed', [seed for seed in every if seed not in cell.seeds])}", place)
        for row, cell in cells.items()
        if len(cell.seeds) < len(every) and not cell.fixed
    ]


def _plans(panel: Panel, subset: Subset) -> list[int]:
    """Return the numbers of seeds that were planned, in the order of the first results that were written with each."""
    cells = [cell for (_, of, _), cell in panel.cells.items() if of == subset]
    planned = [run for cell in cells for run in (*cell.runs, *cell.failed) if run.planned is not None]
    if len({run.planned for run in planned}) > 1:
        planned.sort(key=lambda run: run.written)
    return list(dict.fromkeys(run.planned for run in planned if run.planned is not None))


def _unplanned(cells: Mapping[Row, Cell], plans: Sequence[int], place: str) -> list[tuple[str, str]]:
    """Name the rows with more or fewer seeds than planned, failed ones counting as run."""
    rows_of: dict[int, list[str]] = defaultdict(list)
    for row, cell in cells.items():
        n = len({run.result["seed"] for run in (*cell.runs, *cell.failed)})
        if plans and n != plans[0] and not cell.fixed:
            rows_of[n].append(row.label)
    often = (
        f"a mark that is looked for more than once is found by chance more often ({len(LOOKS)} looks at {LOOKS[0]} to "
        f"{LOOKS[-1]} seeds: {100 * FALSE_ALARMS:.1f} % of the time instead of 5 %, measured)"
    )
    return [
        (f"{_some(rows)} {'has' if len(rows) == 1 else 'have'} {n} where {plans[0]} seeds were planned: {often}", place)
        for n, rows in rows_of.items()
    ]


def _bad_runs(cells: Mapping[Row, Cell], place: str) -> list[tuple[str, str]]:
    notes = []
    for row, cell in cells.items():
        if cell.summary.collapsed:
            notes.append((f"{row.label}: {cell.summary.collapsed} of {len(cell.runs)} runs collapsed", place))
        if cell.summary.failed:
            runs = "run" if cell.summary.failed == 1 else "runs"
            notes.append((f"{row.label}: {cell.summary.failed} {runs} without a score", place))
    return notes


def _other_settings(cells: Mapping[Row, Cell], place: str) -> list[tuple[str, str]]:
    """Name what differs between methods, other than the methods: a comparison of them compares that, too."""
    of_rows = {row: cell.runs[0] for row, cell in cells.items() if cell.runs}
    notes = []
    for key in sorted(key for key in differing(list(of_rows.values())) if not key.startswith(MADE_OF)):
        rows_of: dict[str, list[str]] = defaultdict(list)
        for row, run in of_rows.items():
            rows_of[plain(value_of(run, key))].append(row.label)
        values = ", ".join(f"{value} ({_some(rows)})" for value, rows in rows_of.items())
        notes.append((f"{key} differs between methods: {values}", place))
    return notes


def _mixed(panel: Panel, where: str) -> list[str]:
    """Name what numbers may depend on but no row is made of: code, hardware."""
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for cell in panel.cells.values():
        for run in cell.runs:
            for name, value in run.environment.items():
                seen[name][value] += 1
    return [
        f"{where}: runs were made with different {name}: "
        + ", ".join(f"{v} ({n} runs)" for v, n in counts.most_common())
        for name, counts in seen.items()
        if len(counts) > 1 and name not in NAMED_BY_ROWS
    ]


def of_scores(tasks: Iterable[Task]) -> list[str]:
    """Name tasks whose scores are not in points, or better where they are lower."""
    notes = []
    for task in tasks:
        own = [] if task.in_points else [f"not in points (unit: {task.unit})"]
        lower = [] if task.metric.higher_is_better else ["better where it is lower"]
        if own or lower:
            turned = "; differences are reductions, so that positive is better" if lower else ""
            what = " and ".join([*own, *lower])
            notes.append((f"{task.metric.title} is {what}, so outside the average{turned}", task.name))
    return _merged(notes)


def of_splits(runs: Iterable[Run], tasks: Mapping[str, Task]) -> list[str]:
    """Name splits that are not the data set's own, dev splits that are a share of train, and what is odd about rows."""
    seen: dict[tuple[str, str], set[str]] = defaultdict(set)
    notes: dict[str, None] = {}
    for run in runs:
        name = run.result["task"]
        for split, about in run.result["splits"].items():
            if split in tasks[name].official_rows and not about["official"]:
                seen[name, split].add(f"{about['rows']} rows")
        generated = run.settings.get("data.name") == "synthetic"
        if run.task.get("dev_share") is not None and not generated:
            share, seed = run.task["dev_share"], run.task.get("dev_seed", 0)
            drawn = f"task.dev_share={share:g}, task.dev_seed={seed}"
            notes[f"{name}: {run.task['dev_splits'][0]} is a share of the train split ({drawn})"] = None
        if generated and run.task["dev_splits"][0] not in tasks[name].official_rows:
            notes[f"{name}: its rows are generated, so the scores say nothing of the task"] = None
        notes |= dict.fromkeys(f"{name}: {finding}" for finding in run.findings)
    for (name, split), rows in sorted(seen.items()):
        said = f"{name}: the {split} split is not {tasks[name].title}'s own ({', '.join(sorted(rows))})"
        notes[said + (", so this is no official score" if split in tasks[name].config["dev_splits"] else "")] = None
    return list(notes)


def _merged(notes: Iterable[tuple[str, str]]) -> list[str]:
    """Join the places of which the same is to be said."""
    places: dict[str, list[str]] = defaultdict(list)
    for text, place in notes:
        places[text].append(place)
    return [f"{'; '.join(where)}: {text}" for text, where in places.items()]


def _listed(name: str, numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:10])) + (" and more" if len(numbers) > 10 else "")
    return f"{name}{'s' if len(numbers) > 1 else ''} {shown}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:2])} and {len(names) - 2} more"
