"""Several draws of as many train rows in one table: what methods do on another draw, too."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from glue_pool import stats
from glue_pool.report.columns import Column
from glue_pool.report.comparisons import Pair, all_pairs, pair
from glue_pool.report.kept import digest
from glue_pool.report.panels import Draws, Panel, Row, Subset
from glue_pool.report.scan import LeftOut, no_comparison
from glue_pool.report.scored import OfTasks, averages
from glue_pool.report.study import Study
from glue_pool.report.verdicts import AVERAGE, Table
from glue_pool.stats import Scores, Summary

OfDraws = Mapping[int, OfTasks]  # each draw's scores, by its seed


@dataclass(frozen=True, kw_only=True)
class Pooled(Table):
    """The table in which each draw counts as one run, the mean over its runs.

    Its scores are of the draws, and in the place of a training seed is the seed that drew the rows. No second verdict
    counts failed runs: a draw has the mean of those that have a score.
    """

    draws: Sequence[Table]
    of_draws: OfDraws  # what is pooled

    def average(self, row: Row, tasks: Sequence[str]) -> Summary | None:
        """Return a row's averages over tasks, one a draw, each of the seeds that the draw has on all of them.

        None of fewer than two tasks, or where the row is not on several draws of one of them.
        """
        if not all(self.panel.cell(row, self.subset, task).runs for task in tasks):
            return None
        found = [of for draw in self.draws if (of := draw.average(row, tasks)) is not None]
        return stats.summarise(np.array([of.mean for of in found if of.n])) if found else None

    def averaged(self, tasks: Sequence[str], baseline: Row, method: Row) -> Pair | None:
        """Return both rows' averages over tasks, of the draws that both have; None where they have none."""
        rows = [baseline, method]
        return _pair({draw: _averages(of, rows, tasks) for draw, of in self.of_draws.items()}, AVERAGE, *rows)


def with_pooled(study: Study, tables: Sequence[Table]) -> list[Table]:
    """Return the tables with one more after the draws of a size where a row has runs of a task on several of them."""
    found: list[Table] = []
    for panel in study.panels:
        pooled = {subset[0]: subset for _, subset, _ in panel.pooled}
        of_sizes: dict[int | None, list[Table]] = {}
        for table in tables:
            if table.panel is panel:
                of_sizes.setdefault(table.subset[0], []).append(table)
        for size, draws in of_sizes.items():
            found += draws
            if size in pooled:
                found.append(_pooled(study, panel, pooled[size], draws))
    return found


def _pooled(study: Study, panel: Panel, subset: Subset, draws: Sequence[Table]) -> Table:
    cells = {(task, row): cell for (row, of, task), cell in panel.pooled.items() if of == subset}
    there = {task for task, _ in cells}
    tasks = [task for task in panel.tasks if any(task in draw.tasks for draw in draws) and task in there]
    averaged = [task for task in tasks if study.tasks[task].averaged]
    of_draws = {
        draw: of_tasks | _averages(of_tasks, panel.rows, averaged)
        for draw, of_tasks in _on_the_same(draws, tasks, cells)
    }
    scores = _over_draws(of_draws)
    uncounted = {at: _uncounted(at, cell, draws, of_draws) for at, cell in cells.items()}
    return Pooled(
        panel,
        subset,
        tasks,
        averaged,
        {**study.tasks, AVERAGE: Column(name=AVERAGE, title=f"average of {len(averaged)}")},
        scores,
        {},
        {
            column: all_pairs(
                {row: scores[column, row] for row in panel.rows if (column, row) in scores},
                draws[0].kept,
                partial(_pair, of_draws, column),
                {row: _made_of(of_draws, column, row) for row in panel.rows},
            )
            for column in [*tasks, AVERAGE]
        },
        {at: items for at, items in uncounted.items() if items},
        {},
        draws[0].margin,
        draws[0].kept,
        draws=draws,
        of_draws=of_draws,
    )


def _averages(of_tasks: OfTasks, rows: Sequence[Row], tasks: Sequence[str]) -> OfTasks:
    return {(AVERAGE, row): of for row, of in averages(of_tasks, rows, tasks).items()}


def _uncounted(at: tuple[str, Row], cell: Draws, draws: Sequence[Table], of_draws: OfDraws) -> list[LeftOut]:
    """Return for each draw that is in a cell's mean, and in no comparison, the first reason."""
    found = []
    for draw in draws:
        _, seed = draw.subset
        if isinstance(seed, int) and seed in cell.draws and at not in of_draws[seed]:
            others = no_comparison(cell.draws[seed].runs[0], "other dev rows than most draws")
            found.append([*draw.uncounted.get(at, ()), others][0])
    return found


def _pair(of_draws: OfDraws, column: str, baseline: Row, method: Row) -> Pair | None:
    """Return both rows' scores of the draws that both have, each over the seeds that both have there.

    A draw whose runs are another's once more, number for number, counts once.
    """
    found: list[Pair] = []
    either = 0
    for scores in of_draws.values():
        both = [scores[column, row] for row in (baseline, method) if (column, row) in scores]
        either += bool(both)
        if len(both) == 2 and (paired := pair(*both)) and not any(_same(paired, of) for of in found):
            found.append(paired)
    if not found:
        return None
    baselines, methods = (stats.pooled(of) for of in zip(*((p.baseline, p.method) for p in found), strict=True))
    return Pair(baselines, methods, either - len(found))


def _made_of(of_draws: OfDraws, column: str, row: Row) -> str:
    """Return what all of a row's pairs are made of, in a hash: its seeds and scores on each draw."""
    found = [of_draw.get((column, row)) for of_draw in of_draws.values()]
    return digest([of and (of[0], of[1].actual, of[1].resampled, of[1].examples) for of in found])


def _same(one: Pair, other: Pair) -> bool:
    return all(
        np.array_equal(of.resampled, another.resampled)
        for of, another in ((one.baseline, other.baseline), (one.method, other.method))
    )


def _on_the_same(
    draws: Sequence[Table], tasks: Sequence[str], cells: Collection[tuple[str, Row]]
) -> Iterator[tuple[int, OfTasks]]:
    """Yield each draw's seed and these cells' scores, on as many dev examples as most draws' scores on a task are."""
    examples: dict[str, Counter[int]] = {task: Counter() for task in tasks}
    for draw in draws:
        for (task, _), (_, scores) in draw.scores.items():
            if task in examples:
                examples[task][scores.examples] += 1
    most = {task: counts.most_common(1)[0][0] for task, counts in examples.items() if counts}
    for draw in draws:
        _, seed = draw.subset
        if isinstance(seed, int):
            yield seed, {at: of for at, of in draw.scores.items() if at in cells and of[1].examples == most[at[0]]}


def _over_draws(of_draws: OfDraws) -> OfTasks:
    """Return the scores of the rows' draws, with the draws' seeds."""
    found: dict[tuple[str, Row], dict[int, Scores]] = defaultdict(dict)
    for draw, of_tasks in of_draws.items():
        for at, (_, scores) in of_tasks.items():
            found[at][draw] = scores
    return {at: (list(draws), stats.pooled(list(draws.values()))) for at, draws in found.items()}
