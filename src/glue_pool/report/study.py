"""The runs of a folder as tables: a panel an encoder, a column a task, a row a method, a cell its runs over seeds.

Runs in one cell differ in their seed alone. Whatever else differs between runs of a method on the same task and subset
(a learning rate, `k`, precision, torch's version) is in the row's name and makes a row of its own, so it is never
averaged over.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, get_args

import numpy as np

from glue_pool import stats
from glue_pool.report.scan import LeftOut, Run
from glue_pool.result import MethodPart
from glue_pool.stats import Summary

GLUE = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli")
BASELINES = ("bert", "cls")  # the first of these that there is, unless the user says
PARTS: tuple[MethodPart, ...] = get_args(MethodPart)
Subset = tuple[int | None, int]
# rows are named by these, and notes name what differs in them between tasks
NAMED_BY_ROWS = ("torch", "transformers", "precision", "batching", "device")
MADE_OF = ("model.", *(f"{part}." for part in PARTS))  # what a method is made of: no reason not to compare it


@dataclass(frozen=True)
class Row:
    """A method, with the settings that tell its rows apart."""

    method: str
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def pooler(self) -> str:
        """The method without its edit and its recipe."""
        return self.method.partition("+")[0]

    @cached_property
    def label(self) -> str:
        """The name in tables: `max_cls k=2, optimizer.lr=1e-05`, `mean+mixout recipe.p=0.5`."""
        settings = ", ".join(f"{key.removeprefix('pooling.')}={_plain(value)}" for key, value in self.settings)
        return f"{self.method} {settings}".strip()


@dataclass
class Cell:
    """The runs of one row on one task and subset, by seed."""

    runs: list[Run] = field(default_factory=list)  # completed, one a seed
    failed: list[Run] = field(default_factory=list)

    @property
    def seeds(self) -> list[int]:
        """Seeds of the completed runs, rising."""
        return [run.result["seed"] for run in self.runs]

    @property
    def counts(self) -> str:
        """How many runs the mean is of, how many of them collapsed, and how many have no score: `5, 1c, 1f`."""
        parts = [(self.summary.n, ""), (self.summary.collapsed, "c"), (self.summary.failed, "f")]
        return ", ".join(f"{n}{letter}" for n, letter in parts if n or not letter)

    @cached_property
    def summary(self) -> Summary:
        """Of the scores in points; failed runs, and those without a score, count as failed."""
        scores = np.array([100 * run.score for run in self.runs] + [math.nan] * len(self.failed))
        return stats.summarise(scores, [run.result["collapsed"] is True for run in self.runs])


@dataclass
class Panel:
    """All runs of one encoder, fine-tuned or as probes."""

    encoder: str
    kind: str
    rows: list[Row]
    subsets: list[Subset]
    tasks: list[str]
    cells: dict[tuple[Row, Subset, str], Cell]
    default: str = ""  # the method that rows are compared with, unless the user says or a row has its own
    _distances: dict[tuple[Row, Row, Subset], int | None] = field(default_factory=dict, repr=False)

    def cell(self, row: Row, subset: Subset, task: str) -> Cell:
        """Return a cell, empty where no run is over."""
        return self.cells.get((row, subset, task)) or Cell()

    def runs(self, subset: Subset, task: str) -> list[tuple[Row, Run]]:
        """Return the runs that have a score, row by row."""
        return [
            (row, run) for row in self.rows for run in self.cell(row, subset, task).runs if not math.isnan(run.score)
        ]

    def compared_with(self, row: Row, subset: Subset, baseline: str | None = None) -> str:
        """Return the name of what a row is compared with: `baseline`, a method or a row's label, if that is given.

        Else a method with an edit or a recipe is compared with its pooler without them, where both have runs of a task
        on this subset, and everything else with the panel's default.
        """
        if baseline is not None:
            return baseline
        own = self._rows_of.get(row.pooler, []) if row.pooler != row.method else []
        return row.pooler if any(self._distance(row, other, subset) is not None for other in own) else self.default

    def baseline_of(self, row: Row, subset: Subset, baseline: str | None = None) -> Row | None:
        """Return the row that one is compared with: that of the label, or the method's row of the nearest settings.

        None where the method has no row on the same task and subset, or several that differ as much.
        """
        name = self.compared_with(row, subset, baseline)
        rows = self._rows_of.get(name, [])
        if rows and rows[0].label == name:
            return rows[0]
        far = {other: n for other in rows if (n := self._distance(row, other, subset)) is not None}
        nearest = [other for other, n in far.items() if n == min(far.values())]
        return nearest[0] if len(nearest) == 1 else None

    @cached_property
    def _rows_of(self) -> dict[str, list[Row]]:
        """Rows by method, and each by its label: one that is called as its method stands for it."""
        found: dict[str, list[Row]] = defaultdict(list)
        for row in self.rows:
            found[row.method].append(row)
        return found | {row.label: [row] for row in self.rows}

    def _distance(self, row: Row, other: Row, subset: Subset) -> int | None:
        """Return how many settings differ, less those of parts that only one has; None without a common task."""
        if (row, other, subset) not in self._distances:
            cells = ((self.cell(row, subset, task), self.cell(other, subset, task)) for task in self.tasks)
            both = next(((one.runs[0], another.runs[0]) for one, another in cells if one.runs and another.runs), None)
            self._distances[row, other, subset] = _distance(*both) if both else None
        return self._distances[row, other, subset]


@dataclass
class Study:
    """Everything that a report is made of."""

    panels: list[Panel]
    tasks: dict[str, Mapping[str, Any]]  # each task's config, in GLUE's order
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
    tasks = {run.result["task"]: run.task for run in sorted(runs, key=lambda run: _task_order(run.result["task"]))}
    by_panel: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for run in runs:
        by_panel[run.panel].append(run)
    also_left_out = list(left_out)
    panels = [_panel(*name, group, list(tasks), also_left_out) for name, group in sorted(by_panel.items())]
    for run in runs:
        if not run.completed:
            also_left_out.append(LeftOut(run.folder, f"failed: {_first_line(run.result['error'])}", "failed runs"))
        elif math.isnan(run.score):
            also_left_out.append(LeftOut(run.folder, "the score is not a number", "runs without a score"))
    notes = [note for panel in panels for note in _notes(panel)] + _partial(runs)
    found = Study(panels, tasks, notes, also_left_out, list(runs))
    for panel in panels:
        panel.default = found.default_baseline()
    return found


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
    return Panel(encoder, kind, rows, subsets, [task for task in tasks if task in here], dict(cells))


def _varying(runs: Iterable[Run]) -> dict[str, list[str]]:
    """Return the settings that tell a method's runs on one task and subset apart: the fewest, recipes' names first."""
    cells: dict[tuple[str, Subset, str], dict[tuple[Any, ...], Run]] = defaultdict(dict)
    for run in runs:
        cells[run.result["method"], run.subset, run.result["task"]][run.completed, *run.settings.items()] = run
    keys: dict[str, set[str]] = defaultdict(set)
    variants: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for (method, _, _), different in cells.items():
        keys[method] |= _differing(list(different.values()))
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


def _differing(runs: Sequence[Run]) -> set[str]:
    """Return the settings whose values differ; what a failed run has not come to know is no difference."""
    if len(runs) < 2:
        return set()
    keys = {key for run in runs for key in run.settings}
    return {key for key in keys if len({_value(run, key) for run in runs if run.completed or key in run.settings}) > 1}


def _distance(run: Run, other: Run) -> int:
    parts = tuple(f"{part}." for part in PARTS if run.result[part] != other.result[part])
    return len([key for key in _differing([run, other]) if not key.startswith(("model.", *parts))])


def _value(run: Run, key: str) -> Any:
    return run.settings.get(key, "not recorded")


def _row(run: Run, varying: list[str], cells: Iterable[tuple[Row, Subset, str]]) -> Row:
    row = Row(run.result["method"], tuple((k, _value(run, k)) for k in varying if run.completed or k in run.settings))
    known = set(row.settings)  # it may have failed before precision and the like were known
    fits = {other for other, _, _ in cells if other.method == row.method and known <= set(other.settings)}
    return fits.pop() if not run.completed and len(fits) == 1 else row


def _notes(panel: Panel) -> list[str]:
    """Say where runs of a panel are fewer, collapsed, failed, or made with other settings than the baseline's."""
    where = f"{panel.encoder}, {panel.kind}"
    notes = []
    for subset in panel.subsets:
        for task in panel.tasks:
            cells = {row: panel.cells[row, subset, task] for row in panel.rows if (row, subset, task) in panel.cells}
            place = f"{task}, {subset_label(subset)} ({where})"
            notes += _unequal_seeds(cells, place) + _bad_runs(cells, place) + _other_settings(cells, place)
    return _merged(notes) + _merged(_between_tasks(panel, where)) + _draws(panel, where) + _mixed(panel, where)


def _between_tasks(panel: Panel, where: str) -> Iterator[tuple[str, str]]:
    """Name what differs between the tasks of a row: an average of them mixes it."""
    for row, subset in dict.fromkeys((row, subset) for row, subset, _ in panel.cells):
        runs = {task: cell.runs[0] for task in panel.tasks if (cell := panel.cell(row, subset, task)).runs}
        for key in sorted(_differing(list(runs.values()))):
            if not key.startswith(("task.", "data.fingerprint")):
                tasks_of: dict[str, list[str]] = defaultdict(list)
                for task, run in runs.items():
                    tasks_of[_plain(_value(run, key))].append(task)
                values = ", ".join(f"{value} ({_some(tasks)})" for value, tasks in tasks_of.items())
                yield f"{key} differs between tasks: {values}", f"{row.label}, {subset_label(subset)} ({where})"


def _draws(panel: Panel, where: str) -> list[str]:
    sizes = Counter(size for size, _ in panel.subsets)
    return [
        f"{where}: {n} draws of {size} rows (subset.seed) are in tables of their own, and never averaged"
        for size, n in sizes.items()
        if n > 1
    ]


def _unequal_seeds(cells: Mapping[Row, Cell], place: str) -> list[tuple[str, str]]:
    every = sorted({seed for cell in cells.values() for seed in cell.seeds})
    return [
        (f"{row.label} lacks {_listed('seed', [seed for seed in every if seed not in cell.seeds])}", place)
        for row, cell in cells.items()
        if len(cell.seeds) < len(every)
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
    differing = sorted(key for key in _differing(list(of_rows.values())) if not key.startswith(MADE_OF))
    notes = []
    for key in differing:
        rows_of: dict[str, list[str]] = defaultdict(list)
        for row, run in of_rows.items():
            rows_of[_plain(_value(run, key))].append(row.label)
        values = ", ".join(f"{value} ({_some(rows)})" for value, rows in rows_of.items())
        notes.append((f"{key} differs between methods: {values}", place))
    return notes


def _mixed(panel: Panel, where: str) -> list[str]:
    """Name what numbers may depend on but no row is made of: code, hardware, threads."""
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


def _partial(runs: Iterable[Run]) -> list[str]:
    """Name splits that are not GLUE's own."""
    seen: dict[tuple[str, str], set[str]] = defaultdict(set)
    for run in runs:
        for split, about in run.result["splits"].items():
            if not about["official"]:
                seen[run.result["task"], split].add(f"{about['rows']} rows")
    return [
        f"{task}: the {split} split is not GLUE's own ({', '.join(sorted(rows))}), so this is no GLUE score"
        if split in _dev_splits(runs, task)
        else f"{task}: the {split} split is not GLUE's own ({', '.join(sorted(rows))})"
        for (task, split), rows in sorted(seen.items())
    ]


def _dev_splits(runs: Iterable[Run], task: str) -> Sequence[str]:
    return next(run.task["dev_splits"] for run in runs if run.result["task"] == task)


def _merged(notes: Iterable[tuple[str, str]]) -> list[str]:
    """Join the places of which the same is to be said."""
    places: dict[str, list[str]] = defaultdict(list)
    for text, place in notes:
        places[text].append(place)
    return [f"{'; '.join(where)}: {text}" for text, where in places.items()]


def subset_label(subset: Subset) -> str:
    """Return `all rows`, or `500 rows` with the seed that drew them if it is not 0."""
    size, seed = subset
    if size is None:
        return "all rows"
    return f"{size} rows" + (f" (subset seed {seed})" if seed else "")


def _task_order(task: str) -> tuple[int, str]:
    return (GLUE.index(task) if task in GLUE else len(GLUE)), task


def _row_order(row: Row) -> tuple[Any, ...]:
    numbers = [
        (key, isinstance(value, str), value if isinstance(value, int | float) else 0, str(value))
        for key, value in row.settings
    ]
    return row.method, numbers


def _plain(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _listed(name: str, numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:10])) + (" and more" if len(numbers) > 10 else "")
    return f"{name}{'s' if len(numbers) > 1 else ''} {shown}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:2])} and {len(names) - 2} more"


def _first_line(text: Any) -> str:
    return str(text).strip().splitlines()[0][:300] if str(text).strip() else "no error given"
