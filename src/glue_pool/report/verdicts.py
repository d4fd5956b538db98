"""A table with its rows' scores, and its verdicts: each row against its baseline, corrected for the whole table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np

from glue_pool import stats
from glue_pool.report.columns import Column
from glue_pool.report.comparisons import PARTS, Comparison, OfSeeds, Pair, pair
from glue_pool.report.kept import Kept, digest
from glue_pool.report.panels import Panel, Row, Subset, counted, subset_label
from glue_pool.report.scan import LeftOut, Run
from glue_pool.report.scored import OfTasks, averages
from glue_pool.stats import Difference, Summary

GAIN = 1.25  # points: the average gain that MaxPoolBERT reports
AVERAGE = "/average"  # the name of the column; no task, which is a folder, can be called so
Mark = Literal["better", "worse", "equivalent", ""]


@dataclass(frozen=True)
class Verdict:
    """A difference, positive where the method is better, and what is shown of it.

    Its p-values are corrected for the whole table, or for its row's tasks alone. With failures: the same where failed
    runs count with the score of a constant prediction; None where that makes no pair more.
    """

    difference: Difference
    adjusted_p: float
    row_p: float
    equivalent: bool  # within the margin, at 5 %: a test of its own for each comparison
    with_failures: "Verdict | None" = None

    @property
    def sign(self) -> int:
        """1 where the method is better than the baseline, -1 where it is worse, 0 where that isn't shown."""
        return int(np.sign(self.difference.estimate)) if self.adjusted_p < stats.ALPHA else 0

    @property
    def mark(self) -> Mark:
        """What stands at a cell."""
        return ("", "better", "worse")[self.sign] or ("equivalent" if self.equivalent else "")


@dataclass(frozen=True)
class Family:
    """All verdicts of a table against one choice of baseline: what their p-values are corrected for."""

    verdicts: Mapping[tuple[Row, str], Verdict]
    not_compared: Mapping[tuple[Row, str], str]  # why, of rows that have scores


@dataclass(frozen=True)
class Table:
    """The comparisons of one panel and subset, by task; AVERAGE is the mean over the tasks of the default average."""

    panel: Panel
    subset: Subset
    tasks: list[str]  # with a run that is over
    average_tasks: list[str]
    columns: Mapping[str, Column]  # of all tasks, and of AVERAGE
    scores: OfTasks  # seeds with predictions, and their scores
    with_failures: OfTasks  # of rows with failed runs: those at the score of a constant prediction, too
    comparisons: Mapping[str, list[Comparison]]  # all pairs, by task
    uncounted: Mapping[tuple[str, Row], list[LeftOut]]  # by task and row, runs in the mean but in no comparison
    chance: Mapping[str, float]  # by task, the score of a constant prediction, turned as all scores
    margin: float  # points
    kept: Kept = field(default_factory=Kept, repr=False, compare=False)
    _families: dict[str | None, Family] = field(default_factory=dict, repr=False)
    _verdicts_of: dict[tuple[tuple[Row, Row], ...], dict[tuple[Row, str], Verdict]] = field(
        default_factory=dict, repr=False
    )
    _without: dict[tuple[Row, Row], dict[str, Difference]] = field(default_factory=dict, repr=False)

    @property
    def tests(self) -> int:
        """How many differences a family has at most: one baseline against all other rows."""
        return max(1, sum(max(0, len(self.rows_of(column)) - 1) for column in [*self.tasks, AVERAGE]))

    def rows_of(self, column: str) -> list[Row]:
        """Return the rows that are compared on a column."""
        return [row for row in self.panel.rows if (column, row) in self.scores]

    def average(self, row: Row, tasks: Sequence[str]) -> Summary | None:
        """Return a row's scores averaged over tasks, of the seeds that it has on all; None of fewer than two tasks.

        None, too, where it has no run of a task.
        """
        cells = [self.panel.cell(row, self.subset, task) for task in tasks]
        if len(cells) < 2 or not all(cell.runs for cell in cells):
            return None
        of_seeds = [{seed: score for seed, score, _ in cell.points} for cell in cells]
        fixed = [cell.runs[0].shown if cell.fixed else None for cell in cells]
        varying = [set(of) for of, score in zip(of_seeds, fixed, strict=True) if score is None]
        means = [
            np.mean([of[seed] if score is None else score for of, score in zip(of_seeds, fixed, strict=True)])
            for seed in (sorted(set.intersection(*varying)) if varying else [0])
        ]
        return stats.summarise(np.array(means))

    def baseline_of(self, row: Row, baseline: str | None = None) -> Row | None:
        """Return the row that one is compared with here (`Panel.baseline_of`)."""
        return self.panel.baseline_of(row, self.subset, baseline)

    def own_baseline(self, row: Row) -> str | None:
        """Return what a row is compared with by default, less shared settings; None where it is the panel's default."""
        other = self.baseline_of(row)
        if other is None or other.method == self.panel.default:
            return None
        return replace(other, settings=tuple(of for of in other.settings if of not in row.settings)).label

    def name(self, row: Row, baseline: str | None) -> str:
        """Return a row's label, by default with its own baseline in brackets."""
        own = self.own_baseline(row) if baseline is None else None
        return f"{row.label} (to {own})" if own else row.label

    def uncompared(self, baseline: str | None = None) -> list[str]:
        """Say which rows are compared with nothing: what they would be has no run here, or no single row is nearest."""
        where = f"{self.panel.encoder}, {self.panel.kind}, {subset_label(self.subset)}"
        here = {row for (row, of, _), cell in self.panel.cells.items() if of == self.subset and cell.runs}
        names = {name for row in here for name in (row.method, row.label)}
        of_rows = {r: self.panel.compared_with(r, self.subset, baseline) for r in self.panel.rows if r in here}
        lacking = [name for name in of_rows.values() if name not in names]
        alone = [(r.label, name) for r, name in of_rows.items() if name in names and not self.baseline_of(r, baseline)]
        what = "nothing" if len(lacking) == len(here) else "only what has a baseline of its own"
        return [f"{where}: no run of {name}, so {what} is compared" for name in dict.fromkeys(lacking)] + [
            f"{where}: {label} is compared with nothing: no single row of {name} is nearest to its settings"
            for label, name in alone
        ]

    def difference(self, column: str, baseline: Row, method: Row) -> Difference | None:
        """Return method less baseline on a column, positive where the method is better; None without a common seed."""
        if found := self._differences.get((column, baseline, method)):
            return found
        other = self._differences.get((column, method, baseline))
        return other and replace(other, estimate=-other.estimate or 0.0, low=-other.high, high=-other.low)

    @cached_property
    def _differences(self) -> dict[tuple[str, Row, Row], Difference]:
        return {
            (column, of.baseline, of.method): of.difference
            for column, pairs in self.comparisons.items()
            for of in pairs
        }

    def family(self, baseline: str | None) -> Family:
        """Return every row's verdict on each task and on the average, corrected for all of them.

        It is the same whatever of the table is shown.
        """
        if baseline not in self._families:
            self._families[baseline] = self._family(baseline)
        return self._families[baseline]

    def _family(self, baseline: str | None) -> Family:
        others = {
            row: other for row in self.panel.rows if (other := self.baseline_of(row, baseline)) not in (None, row)
        }
        if (of := tuple(others.items())) not in self._verdicts_of:
            self._verdicts_of[of] = self._judged(others)
        verdicts = self._verdicts_of[of]
        return Family(verdicts, self._not_compared(others, verdicts, baseline))

    def _judged(self, others: Mapping[Row, Row]) -> dict[tuple[Row, str], Verdict]:
        """Return the verdicts of rows against others, and their second ones where runs failed."""
        found = {
            (row, column): difference
            for row, other in others.items()
            for column in [*self.tasks, AVERAGE]
            if (difference := self.difference(column, other, row))
        }
        verdicts = self._verdicts(found)
        if self.with_failures:
            scores = {**self.scores, **self.with_failures}
            filled = {
                (row, column): both.difference()
                for row, column in found
                if not self.with_failures.keys().isdisjoint({(column, row), (column, others[row])})
                and (both := _pair(scores, column, others[row], row))
            }
            failed = self._verdicts(found | filled)
            verdicts |= {
                of: replace(verdict, with_failures=failed[of])
                for of, verdict in verdicts.items()
                if of in failed and failed[of].difference.pairs > verdict.difference.pairs
            }
        return verdicts

    def _verdicts(self, found: Mapping[tuple[Row, str], Difference]) -> dict[tuple[Row, str], Verdict]:
        differences, columns = list(found.values()), [column for _, column in found]
        numbers = np.array([[getattr(of, name) for name in PARTS] for of in differences], dtype=float)
        p = self.kept.numbers(digest("p", numbers, columns), lambda: stats.true_p(differences, columns))
        adjusted, p_of = stats.holm(p), dict(zip(found, p.tolist(), strict=True))
        of_rows: dict[tuple[Row, str], float] = {}
        for row in dict.fromkeys(row for row, _ in found):
            of_row = [of for of in found if of[0] == row and of[1] != AVERAGE]
            of_rows |= dict(zip(of_row, stats.holm(np.array([p_of[of] for of in of_row])).tolist(), strict=True))
        return {
            of: Verdict(d, float(p), of_rows.get(of, p_of[of]), self.equivalent(d, of[1]))
            for (of, d), p in zip(found.items(), adjusted, strict=True)
        }

    def equivalent(self, difference: Difference, column: str) -> bool:
        """Whether a difference is shown to lie within the margin; never where scores are in no points."""
        return self.columns[column].in_points and difference.equivalent(self.margin)

    def _not_compared(
        self, others: Mapping[Row, Row], verdicts: Mapping[tuple[Row, str], Verdict], baseline: str | None
    ) -> dict[tuple[Row, str], str]:
        """Say why a row that has scores has no verdict, or one that can't show anything."""
        found = {}
        for row in self.panel.rows:
            other = self.baseline_of(row, baseline)
            for column in [*self.tasks, AVERAGE]:
                has = row in self._averaged if column == AVERAGE else self._runs(row, column)
                if has and other != row and (said := self._why_not(row, other, column, verdicts.get((row, column)))):
                    found[row, column] = said
        return found

    @cached_property
    def _averaged(self) -> set[Row]:
        return {row for row in self.panel.rows if self.average(row, self.average_tasks)}

    def _runs(self, row: Row, task: str) -> list[Run]:
        return self.panel.cell(row, self.subset, task).runs

    def _why_not(self, row: Row, other: Row | None, column: str, verdict: Verdict | None) -> str | None:
        n = counted(self.subset)
        if verdict is not None:
            if not math.isnan(verdict.difference.p):
                return None
            return (
                f"only one {n} in common: no spread to judge by"
                if verdict.difference.pairs < 2
                else "differences without any spread"
            )
        if other is None:
            return "no row to compare it with"
        for of in (row, other):
            if (column, of) not in self.scores:
                left_out = self.uncounted.get((column, of), ())
                alone = f"no {n} that all tasks have" if column == AVERAGE else "no predictions to compare"
                why = left_out[0].reason if left_out else alone
                return why if of == row else f"{other.label}: {why}"
        return f"no {n} in common with {other.label}"

    def without_each(self, row: Row, baseline: Row) -> dict[str, Difference]:
        """Return the average's difference of two rows without each of its tasks in turn."""
        if (row, baseline) not in self._without:
            found = self._without[row, baseline] = {}
            for task in self.average_tasks if len(self.average_tasks) > 2 else ():
                if both := self.averaged([of for of in self.average_tasks if of != task], baseline, row):
                    found[task] = both.difference()
        return self._without[row, baseline]

    def averaged(self, tasks: Sequence[str], baseline: Row, method: Row) -> Pair | None:
        """Return both rows' averages over tasks, of the seeds that both have on all; None where they have none."""
        found = averages(self.scores, [baseline, method], tasks)
        return pair(found[baseline], found[method]) if len(found) == 2 else None

    def ranks(self, column: str) -> dict[Row, tuple[int, int]]:
        """Return the first and the last rank that each row may have, the best being 1: of all rows at once, in 95 %."""
        rows = self.rows_of(column)
        at = {row: index for index, row in enumerate(rows)}
        estimates, p = np.zeros((len(rows), len(rows))), np.full((len(rows), len(rows)), np.nan)
        for of in self.comparisons[column]:
            b, m = at[of.baseline], at[of.method]
            estimates[m, b], estimates[b, m] = of.difference.estimate, -of.difference.estimate
            p[m, b] = p[b, m] = of.pair_p
        return {
            row: (int(first), int(last))
            for row, (first, last) in zip(rows, stats.rank_intervals(estimates, p), strict=True)
        }


@dataclass(frozen=True)
class Power:
    """What a comparison's seeds find 4 times in 5 with the table's marks; NaN where that can't be told."""

    detectable: float  # the smallest true gain
    seeds: float  # that a gain of the margin takes; infinity where the dev examples are too few
    fewest: float  # as few and as many seeds may do: what the spread of so few pairs leaves open, 95 %
    most: float


def power(differences: Sequence[Difference], table: Table, column: str) -> list[Power]:
    """Return the power of differences on a column of a table."""
    if not differences:
        return []
    of_seeds = np.array([of.seed_std or math.nan for of in differences])  # no spread says nothing of new seeds
    of_examples, pairs = (np.array([getattr(of, name) for of in differences]) for name in ("example_std", "pairs"))
    tests, others = table.tests, max(0, len(table.rows_of(column)) - 2)
    margin = table.margin if table.columns[column].in_points else None

    def found() -> np.ndarray:
        detectable = stats.detectable_gain(pairs, of_seeds, of_examples, tests=tests, others=others)
        needed = np.full((3, len(differences)), math.nan)
        if margin is not None:
            spreads = np.stack([of_seeds, *stats.spread_interval(of_seeds, pairs)])
            needed = stats.seeds_needed(margin, spreads, of_examples, tests=tests, others=others)
        return np.stack([detectable, *needed], axis=1)

    name = digest("power", pairs, of_seeds, of_examples, tests, others, margin)
    return [Power(*of) for of in table.kept.numbers(name, found).reshape(-1, 4).tolist()]


def _pair(scores: Mapping[tuple[str, Row], OfSeeds], column: str, baseline: Row, method: Row) -> Pair | None:
    both = [scores[column, row] for row in (baseline, method) if (column, row) in scores]
    return pair(*both) if len(both) == 2 else None


def versus(tables: Sequence[Table], baseline: str | None) -> str:
    """Return what the rows of tables are compared with, in a legend's words."""
    if baseline is not None:
        return baseline
    own = any(table.own_baseline(row) for table in tables for row in table.panel.rows)
    return tables[0].panel.default + (" or the method in brackets" if own else "")
