"""Everything the page shows, as plain data that its script reads: scores as shown, times in seconds, memory in MB."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import numpy as np
import yaml

from glue_pool import stats
from glue_pool.report import remarks
from glue_pool.report.comparisons import Comparison
from glue_pool.report.panels import Cell, Draws, Panel, Row, Subset, counted, subset_label
from glue_pool.report.study import Study
from glue_pool.report.verdicts import Power, Table, Verdict, power
from glue_pool.result import SplitFacts
from glue_pool.stats.nodes import on_unit_interval

COMPARISON = (
    "subset", "task", "baseline", "method", "estimate", "low", "high", "p", "pairs", "missing", "pair_mark",
    "equivalent", "by_seeds_low", "by_seeds_high", "bootstrap_low", "bootstrap_high", "permutation_p", "wins", "ties",
    "losses", "improvement", "violation", "violation_std", "detectable", "seeds_needed", "fewest_seeds", "most_seeds",
)  # fmt: skip
VERDICT = ("row", "task", "mark", "adjusted_p", "row_p", "with_failures")


def payload(study: Study, tables: Sequence[Table], baseline: str | None, tasks: Sequence[str]) -> dict[str, Any]:
    """Return the page's data; NaN and infinity are null. The baseline "" is the default of each row.

    Rows are indices. `families` has of each choice of baseline the verdicts of its rows, and why others have none.
    """
    shown = [task for task in study.tasks if task in tasks]
    content: dict[str, Any] = _finite(
        {
            "version": version("glue-pool"),
            "baseline": baseline or "",
            "default": study.default_baseline(),
            "alpha": stats.ALPHA,
            "margin": tables[0].margin,
            "coverage": stats.MEASURED_COVERAGE,
            "claim_below": stats.CLAIM_BELOW,
            "order_z": _order_z(len(study.tasks)),
            "tasks": [_task(study, task) for task in shown],
            "panels": [_panel(study, panel, [t for t in tables if t.panel is panel], shown) for panel in study.panels],
            "comparison": COMPARISON,
            "verdict": VERDICT,
            "best_of": _best_of(max(len(panel.rows) for panel in study.panels)),
            "published": yaml.safe_load(
                files("glue_pool.report").joinpath("published.yaml").read_text(encoding="utf-8")
            ),
            "environments": _environments(study),
            "notes": study.notes,
            "left_out": [{"path": str(i.path), "reason": i.reason, "counted": i.counted} for i in study.left_out],
        }
    )
    return content


def _order_z(tasks: int) -> float:
    """Return z(1 - alpha / tasks): the bound of Almost Stochastic Order is its violation + z * std."""
    from scipy.special import ndtri

    return float(ndtri(1 - stats.ALPHA / tasks))


def _task(study: Study, task: str) -> dict[str, Any]:
    of = study.tasks[task]
    splits: dict[str, SplitFacts] = {}
    for run in study.runs:
        if run.result["task"] == task:
            splits |= run.result["splits"]
    return {
        "name": task,
        "metric": of.metric.title,
        "unit": of.unit,
        "digits": of.digits,
        "better": of.metric.better,
        "average": of.averaged,
        "official": of.config["dev_splits"][0] in of.official_rows,
        "dev_split": of.config["dev_splits"][0],
        "splits": splits,
    }


def _panel(study: Study, panel: Panel, tables: Sequence[Table], tasks: Sequence[str]) -> dict[str, Any]:
    at = {row: index for index, row in enumerate(panel.rows)}
    names = dict.fromkeys(["", *(row.method for row in panel.rows), *(row.label for row in panel.rows)])
    return {
        "encoder": panel.encoder,
        "kind": panel.kind,
        "subsets": [_subset(table.subset, tables) for table in tables],
        "rows": [{"label": row.label, "method": row.method, "settings": dict(row.settings)} for row in panel.rows],
        "baselines": {
            name: [[_baseline(panel, row, table.subset, name, at) for row in panel.rows] for table in tables]
            for name in names
        },
        "own_baselines": [[table.own_baseline(row) for row in panel.rows] for table in tables],  # of each subset
        "average_tasks": [table.average_tasks for table in tables],  # of each subset
        "tests": [table.tests for table in tables],
        "ranks": [{column: _ranks(table, column, at) for column in table.comparisons} for table in tables],
        "families": [_families(table, names, at) for table in tables],
        "uncounted": [_uncounted(table, at) for table in tables],
        "cells": [
            {
                "row": at[row],
                "subset": subset,
                "task": task,
                **_cell(cell, study.tasks[task].metric.better),
            }
            for subset, table in enumerate(tables)
            for row in panel.rows
            for task in tasks
            if (cell := panel.cell(row, table.subset, task)).runs or cell.failed
        ],
        "comparisons": [[subset, *found] for subset, table in enumerate(tables) for found in _comparisons(table, at)],
    }


def _subset(subset: Subset, tables: Sequence[Table]) -> dict[str, Any]:
    """Return a subset; pooled draws have no one seed, but the places of their tables."""
    size, seed = subset
    about = {"size": size, "label": subset_label(subset), "counted": f"{counted(subset)}s"}
    if isinstance(seed, int):
        return {**about, "seed": seed, "draws": None}
    draws = [at for at, table in enumerate(tables) if table.subset[0] == size and table.subset[1] in seed]
    return {**about, "seed": None, "draws": draws}


def _baseline(panel: Panel, row: Row, subset: Subset, name: str, at: Mapping[Row, int]) -> int | None:
    other = panel.baseline_of(row, subset, name or None)
    return None if other is None else at[other]


def _cell(cell: Cell, better: int) -> dict[str, Any]:
    results = [run.result for run in cell.runs]
    scores = np.array([score for _, score, _ in cell.points])
    seconds = [timing["total_seconds"] for result in results if (timing := result["timing"])]
    memory = [result["peak_memory_bytes"] / 1e6 for result in results if result["peak_memory_bytes"]]
    return {
        **asdict(cell.summary),
        "runs": cell.points,
        "fixed": cell.fixed,
        "expected_best": []  # no one keeps the best draw
        if isinstance(cell, Draws)
        else (better * stats.expected_validation_performance(better * scores)).tolist(),
        "train_rows": results[0]["train_rows"] if results else None,
        "parameters": results[0]["parameters"] if results else None,
        "seconds": float(np.median(seconds)) if seconds else None,
        "memory": float(np.median(memory)) if memory else None,
    }


def _ranks(table: Table, column: str, at: Mapping[Row, int]) -> list[list[int]]:
    return [[at[row], first, last] for row, (first, last) in table.ranks(column).items()]


def _uncounted(table: Table, at: Mapping[Row, int]) -> list[list[Any]]:
    """Return of each cell how many runs are in its mean, and in no comparison."""
    return [[at[row], task, len(items)] for (task, row), items in table.uncounted.items()]


def _families(table: Table, names: Iterable[str], at: Mapping[Row, int]) -> dict[str, Any]:
    """Return by baseline the verdicts, why a row has none, what to mind of them, and what an average rests on."""
    found = {}
    for name in names:
        family = table.family(name or None)
        found[name] = {
            "verdicts": [[at[row], column, *_verdict(of)] for (row, column), of in family.verdicts.items()],
            "not_compared": [[at[row], column, reason] for (row, column), reason in family.not_compared.items()],
            "cautions": [
                [at[row], column, line]
                for (row, column), lines in remarks.cautions(table, name or None).items()
                for line in lines
            ],
            "without": [
                [at[row], task, d.estimate, d.low, d.high]
                for (row, task), d in remarks.without_each(table, name or None).items()
            ],
        }
    return found


def _verdict(of: Verdict) -> list[Any]:
    other = of.with_failures
    failures = other and [other.difference.estimate, other.difference.low, other.difference.high, other.mark]
    return [of.mark, of.adjusted_p, of.row_p, failures]


def _comparisons(table: Table, at: Mapping[Row, int]) -> Iterator[list[Any]]:
    """Yield the table's pairs, as COMPARISON has them, less the subset."""
    for task, pairs in table.comparisons.items():
        for of, found in zip(pairs, power([of.difference for of in pairs], table, task), strict=True):
            verdict = Verdict(of.difference, of.pair_p, of.pair_p, table.equivalent(of.difference, task))
            yield [task, at[of.baseline], at[of.method], *_values(of, verdict, found)]


def _values(of: Comparison, verdict: Verdict, found: Power) -> list[Any]:
    difference, by_seeds, bootstrap = of.difference, of.by_seeds, of.bootstrap
    return [
        difference.estimate, difference.low, difference.high, difference.p, difference.pairs, difference.missing,
        verdict.mark, verdict.equivalent, by_seeds.low, by_seeds.high, bootstrap.low, bootstrap.high, of.permutation_p,
        of.counts.wins, of.counts.ties, of.counts.losses, of.improvement, of.violation, of.violation_std,
        found.detectable, found.seeds, found.fewest, found.most,
    ]  # fmt: skip


def _best_of(most: int) -> list[float]:
    """Return the expected largest of 1, 2, … normal numbers: how much better the best of so many equals looks."""
    from scipy.special import ndtri

    x, weights = on_unit_interval(200)
    return [float(n * (ndtri(x) * x ** (n - 1)) @ weights) for n in range(1, most + 1)]


def _environments(study: Study) -> list[dict[str, Any]]:
    """Return the names and values that runs were made with, and how many runs with each value."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for run in study.runs:
        if run.completed:
            for name, value in run.environment.items():
                counts[name][value] += 1
    return [{"name": name, "values": of.most_common()} for name, of in counts.items()]


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value
