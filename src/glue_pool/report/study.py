"""The runs of a folder, sorted into tables.

Runs in one cell differ in their seed alone. Whatever else differs between runs of a method on the same task and subset
(a learning rate, `k`, precision, torch's version) is in the row's name and makes a row of its own, so it is never
averaged over.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from glue_pool.report import notes
from glue_pool.report.columns import Task, tasks
from glue_pool.report.panels import MADE_OF, Cell, Draws, Panel, Row, Subset, differing, value_of
from glue_pool.report.scan import LeftOut, Run

BASELINES = ("bert", "cls")  # the first of these that there is, unless the user says


@dataclass
class Study:
    """Everything that a report is made of."""

    panels: list[Panel]
    tasks: dict[str, Task]  # in the order that they are shown in
    notes: list[str]
    left_out: list[LeftOut]
    runs: list[Run]

    def default_baseline(self) -> str:
        """Return the method that others are compared with unless the user says."""
        runs = Counter(row.method for panel in self.panels for row, _, _ in panel.cells)
        poolers = [name for name in sorted(runs) if "+" not in name]
        most = max(poolers or sorted(runs), key=lambda name: runs[name])
        return next((name for name in BASELINES if name in runs), most)


def study(runs: Sequence[Run], left_out: Sequence[LeftOut]) -> Study:
    """Sort runs into tables, and say what a reader has to know of them."""
    also_left_out = list(left_out)
    runs = _on_the_same(runs, also_left_out)
    of_tasks = tasks(runs)
    by_panel: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        by_panel[run.panel].append(run)
    panels = [_panel(*name, group, list(of_tasks), also_left_out) for name, group in sorted(by_panel.items())]
    for run in runs:
        if not run.completed:
            also_left_out.append(LeftOut(run.folder, f"failed: {_first_line(run.result['error'])}", "failed runs"))
        elif math.isnan(run.score):
            also_left_out.append(LeftOut(run.folder, "the score is not a number", "runs without a score"))
    said = [note for panel in panels for note in notes.of_panel(panel)]
    said += notes.of_scores(of_tasks.values()) + notes.of_splits(runs, of_tasks)
    found = Study(panels, of_tasks, said, also_left_out, list(runs))
    for panel in panels:
        panel.default = found.default_baseline()
    return found


def _on_the_same(runs: Sequence[Run], left_out: list[LeftOut]) -> list[Run]:
    """Keep of each task the runs on one data set, and of those the ones with one metric: most runs', else the newest.

    A score on other rows, or by another metric, has no place in the same column.
    """
    kept = list(runs)
    for of, what in ((_rows_of, "it has other rows than"), (_metric_of, "its score is another metric than that of")):
        chosen = {task: _most(of, [run for run in kept if run.result["task"] == task]) for task in _tasks_of(kept)}
        others = {id(run) for run in kept if of(run) not in (None, chosen[run.result["task"]])}
        left_out += [
            LeftOut(run.folder, f"{what} most runs of {run.result['task']}, or the newest of as many")
            for run in kept
            if id(run) in others
        ]
        kept = [run for run in kept if id(run) not in others]
    return kept


def _tasks_of(runs: Iterable[Run]) -> set[str]:
    return {run.result["task"] for run in runs}


def _rows_of(run: Run) -> Any:
    """Return what identifies the train split and the dev split that the score is from; None of an early failure."""
    return tuple(str(run.settings["data.fingerprint"]).split()[:2]) if "data.fingerprint" in run.settings else None


def _metric_of(run: Run) -> Any:
    return run.metric.name, run.positive if run.metric.of_positive else None


def _most(of: Callable[[Run], Any], runs: Sequence[Run]) -> Any:
    """Return the value that most completed runs have, of as many that of the newest one; None where none is.

    Runs on generated rows count where there are no others.
    """
    done = [run for run in runs if run.completed]
    done = [run for run in done if run.settings.get("data.name") != "synthetic"] or done
    counts = Counter(map(of, done))
    most = [value for value, n in counts.items() if n == max(counts.values())]
    if len(most) < 2:
        return most[0] if most else None
    return of(max((run for run in done if of(run) in most), key=lambda run: run.written))


def _panel(encoder: str, kind: str, runs: list[Run], tasks: list[str], left_out: list[LeftOut]) -> Panel:
    varying = _varying(runs)
    cells: dict[tuple[Row, Subset, str], Cell] = defaultdict(Cell)
    for run in sorted(runs, key=lambda run: (not run.completed, run.result["seed"])):
        row = _row(run, varying[run.result["method"]], cells)
        cell = cells[row, run.subset, run.result["task"]]
        if not run.completed:
            cell.failed.append(run)
        elif cell.runs and cell.runs[-1].result["seed"] == run.result["seed"]:
            left_out.append(LeftOut(run.folder, f"the same seed and settings as {cell.runs[-1].folder}"))
        else:
            cell.runs.append(run)
    rows = sorted({row for row, _, _ in cells}, key=_row_order)
    subsets = sorted({subset for _, subset, _ in cells}, key=lambda of: (of[0] is None, of[0] or 0, of[1]))
    here = {task for _, _, task in cells}
    pooled = _pooled(cells)
    return Panel(encoder, kind, rows, subsets, [task for task in tasks if task in here], dict(cells), pooled)


def _pooled(cells: Mapping[tuple[Row, Subset, str], Cell]) -> dict[tuple[Row, Subset, str], Draws]:
    """Return the cells of rows that have runs of a task on several draws of as many train rows."""
    by_size: dict[tuple[Row, int | None, str], dict[int, Cell]] = defaultdict(dict)
    for (row, (size, seed), task), cell in cells.items():
        if cell.runs and isinstance(seed, int):
            by_size[row, size, task][seed] = cell
    several = {at: draws for at, draws in by_size.items() if len(draws) > 1}
    seeds_of = {
        size: tuple(sorted({seed for (_, of, _), draws in several.items() if of == size for seed in draws}))
        for _, size, _ in several
    }
    return {
        (row, (size, seeds_of[size]), task): Draws(
            [run for cell in draws.values() for run in cell.runs],
            [run for cell in draws.values() for run in cell.failed],
            dict(sorted(draws.items())),
        )
        for (row, size, task), draws in several.items()
    }


def _varying(runs: Iterable[Run]) -> dict[str, list[str]]:
    """Return the settings that tell a method's runs on one task and subset apart: the fewest, recipes' names first."""
    cells: dict[tuple[str, Subset, str], dict[tuple[Any, ...], Run]] = defaultdict(dict)
    for run in runs:
        cells[run.result["method"], run.subset, run.result["task"]][run.completed, *run.settings.items()] = run
    keys: dict[str, set[str]] = defaultdict(set)
    variants: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for (method, _, _), different in cells.items():
        keys[method] |= differing(list(different.values()))
        variants[method] += [run.settings for run in different.values()]
    return {method: _fewest(_telling(keys[method], variants[method]), variants[method]) for method in variants}


def _telling(keys: Iterable[str], variants: Sequence[Mapping[str, Any]]) -> list[str]:
    """Order the keys by how much they tell; a name counts only where what it stands for says the same."""
    names = {key for key in keys if key.endswith(".name")}
    rest = [key for key in keys if key not in names]
    of_rest: dict[str, dict[tuple[Any, ...], set[Any]]] = {name: defaultdict(set) for name in names}
    for variant in variants:
        for name, values in of_rest.items():
            values[tuple(variant.get(key) for key in rest)].add(variant.get(name))
    telling = [name for name, values in of_rest.items() if all(len(found) == 1 for found in values.values())]
    return sorted([*telling, *rest], key=_key_order)


def _fewest(keys: Sequence[str], variants: Sequence[Mapping[str, Any]]) -> list[str]:
    """Leave out the keys that split nothing that those before them have not split."""
    kept: list[str] = []
    apart = 1
    for key in keys:
        splits = len({tuple(variant.get(k) for k in [*kept, key]) for variant in variants})
        if splits > apart:
            kept, apart = [*kept, key], splits
    return kept


def _key_order(key: str) -> tuple[int, str]:
    return 0 if key.endswith(".name") else 1 if key.startswith(MADE_OF) else 2, key


def _row(run: Run, varying: list[str], cells: Iterable[tuple[Row, Subset, str]]) -> Row:
    row = Row(run.result["method"], tuple((k, value_of(run, k)) for k in varying if run.completed or k in run.settings))
    if run.completed:
        return row
    known = set(row.settings)  # it may have failed before precision and the like were known
    fits = {other for other, _, _ in cells if other.method == row.method and known <= set(other.settings)}
    return fits.pop() if len(fits) == 1 else row


def _row_order(row: Row) -> tuple[Any, ...]:
    numbers = [
        (key, isinstance(value, str), value if isinstance(value, int | float) else 0, str(value))
        for key, value in row.settings
    ]
    return row.method, numbers


def _first_line(text: Any) -> str:
    return str(text).strip().splitlines()[0][:300] if str(text).strip() else "no error given"
