"""Several draws of as many train rows in one table: what methods do on another draw, too."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from glue_pool import stats
from glue_pool.report.columns import Column
from glue_pool.report.comparisons import Pair, all_pairs, pair
from glue_pool.report.panels import Panel, Row, Subset
from glue_pool.report.scored import OfTasks, averages
from glue_pool.report.study import Study
from glue_pool.report.verdicts import AVERAGE, Table
from glue_pool.stats import Scores

OfDraws = Mapping[int, OfTasks]  # each draw's scores, by its seed


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
    """Return the table in which each draw counts as one run, the mean over its runs.

    Its scores are of the draws, and in the place of a training seed is the seed that drew the rows. No second verdict
    counts failed runs: a draw has the mean of those that have a score.
    """
    there = {task for _, of, task in panel.pooled if of == subset}
    tasks = [task for task in panel.tasks if any(task in draw.tasks for draw in draws) and task in there]
    averaged = [task for task in tasks if study.tasks[task].averaged]
    of_draws: dict[int, OfTasks] = {}
    for draw, of_tasks in _on_the_same(draws, tasks):
        of_average = averages(of_tasks, panel.rows, averaged)
        of_draws[draw] = of_tasks | {(AVERAGE, row): of_row for row, of_row in of_average.items()}
    scores = _over_draws(of_draws)
    return Table(
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
                partial(_pair, of_draws, column),
            )
            for column in [*tasks, AVERAGE]
        },
        {},
        {},
        draws[0].margin,
    )


def _pair(of_draws: OfDraws, column: str, baseline: Row, method: Row) -> Pair | None:
    """Return both rows' scores of the draws that both have, each over the seeds that both have there."""
    found, either = [], 0
    for scores in of_draws.values():
        both = [scores[column, row] for row in (baseline, method) if (column, row) in scores]
        either += bool(both)
        if len(both) == 2 and (paired := pair(*both)):
            found.append(paired)
    if not found:
        return None
    baselines, methods = (stats.pooled(of) for of in zip(*((p.baseline, p.method) for p in found), strict=True))
    return Pair(baselines, methods, either - len(found))


def _on_the_same(draws: Sequence[Table], tasks: Sequence[str]) -> Iterator[tuple[int, OfTasks]]:
    """Yield each draw's seed and its scores on as many dev examples as most draws' scores on a task are."""
    examples: dict[str, Counter[int]] = {task: Counter() for task in tasks}
    for draw in draws:
        for (task, _), (_, scores) in draw.scores.items():
            if task in examples:
                examples[task][scores.examples] += 1
    most = {task: counts.most_common(1)[0][0] for task, counts in examples.items() if counts}
    for draw in draws:
        _, seed = draw.subset
        if isinstance(seed, int):
            yield seed, {at: of for at, of in draw.scores.items() if of[1].examples == most.get(at[0])}


def _over_draws(of_draws: OfDraws) -> OfTasks:
    """Return the scores of the rows' draws, with the draws' seeds."""
    found: dict[tuple[str, Row], dict[int, Scores]] = defaultdict(dict)
    for draw, of_tasks in of_draws.items():
        for at, (_, scores) in of_tasks.items():
            found[at][draw] = scores
    return {at: (list(draws), stats.pooled(list(draws.values()))) for at, draws in found.items() if len(draws) > 1}
