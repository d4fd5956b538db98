"""What the report says of how many seeds were planned, and how often more than one look finds a mark by chance."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from glue_pool import stats
from glue_pool.report import notes
from glue_pool.report.scan import scan
from glue_pool.report.study import study
from run_folders import Drawn, grid


def write(root: Path, planned: int | None, seeds: Sequence[int], pooling: str = "mean", written: int = 0) -> None:
    """Write runs with a plan, their results so many seconds after the first."""
    plan = () if planned is None else (f"plan.seeds={planned}",)
    for seed in seeds:
        folder = Drawn(("task=rte", f"pooling={pooling}", *plan), seed).write(root)
        os.utime(folder / "result.json", (1e9 + written, 1e9 + written))


def said(root: Path) -> list[str]:
    found = study(*scan([root]))
    assert [row.label for panel in found.panels for row in panel.rows] == sorted(
        {run.result["method"] for run in found.runs}
    )
    return [note for note in found.notes if "planned" in note]


def test_as_many_seeds_as_planned_are_no_news(tmp_path: Path) -> None:
    write(tmp_path, 2, [1])
    Drawn(("task=rte", "pooling=mean", "plan.seeds=2"), 2, error="OSError: disk").write(tmp_path)
    assert said(tmp_path) == []


def test_more_and_fewer_seeds_than_planned_are_said(tmp_path: Path) -> None:
    write(tmp_path, 2, [1, 2, 3])
    write(tmp_path, None, [1], "cls")
    write(tmp_path, None, [1], "bert")
    few, many = sorted(said(tmp_path))
    assert few.startswith("rte, all rows (minilm_l6, fine-tuned): bert, cls have 1 where 2 seeds were planned: a mark")
    assert "mean has 3 where 2 seeds were planned" in many
    assert "(4 looks at 5 to 20 seeds: 13.3 % of the time instead of 5 %, measured)" in many


@pytest.mark.parametrize("first", [1, 3])
def test_the_plan_is_the_one_that_was_written_first(tmp_path: Path, first: int) -> None:
    then = 4 - first
    write(tmp_path, then, [1], written=60)
    write(tmp_path, first, [2, 3], written=30)
    write(tmp_path, None, [4])
    changed, other = said(tmp_path)
    assert changed.endswith(f"planned {first} seeds, later {then}: the first plan counts")
    assert f"mean has 4 where {first} seeds were planned" in other


def test_every_subset_has_its_own_plan(tmp_path: Path) -> None:
    for run in grid(("rte",), ("mean",), 2, ("n100", "n250")):
        planned = 2 if "subset=n100" in run.overrides else 1
        Drawn((*run.overrides, f"plan.seeds={planned}"), run.seed).write(tmp_path)
    (only,) = said(tmp_path)
    assert only.startswith("rte, 250 rows")


def test_a_plan_that_is_no_number_leaves_the_run_out(tmp_path: Path) -> None:
    folder = Drawn(("task=rte", "plan.seeds=5")).write(tmp_path)
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("plan:\n  seeds: 5", "plan:\n  seeds: five"))
    _, (item,) = scan([tmp_path])
    assert item.reason == "damaged (ValueError: plan.seeds is 'five')"


def looks_that_mark(times: int) -> float:
    """Draw differences of seeds that are none, look as often as the note says and count those with a mark."""
    draw, marked = np.random.default_rng(0), 0
    for _ in range(times):
        seeds = draw.normal(size=notes.LOOKS[-1])
        marked += any(stats.difference_over_seeds(np.zeros(n), seeds[:n]).p < stats.ALPHA for n in notes.LOOKS)
    return marked / times


@pytest.mark.parametrize("times", [4000, pytest.param(100_000, marks=pytest.mark.long)])
def test_looks_up_to_the_first_mark_raise_as_many_false_alarms_as_the_note_says(times: int) -> None:
    expected = notes.FALSE_ALARMS
    off_by_chance = 3 * np.sqrt(expected * (1 - expected) / times)
    assert looks_that_mark(times) == pytest.approx(expected, abs=off_by_chance)
    assert expected - off_by_chance > stats.ALPHA
