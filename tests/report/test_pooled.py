"""Several draws of as many train rows: a table in which each counts as one, wherever tables are shown."""

import csv
from pathlib import Path

import numpy as np
import pytest

from glue_pool import stats
from glue_pool.report import report
from glue_pool.report.comparisons import pair
from glue_pool.report.draws import with_pooled
from glue_pool.report.payload import payload
from glue_pool.report.scan import scan
from glue_pool.report.study import Study, study
from glue_pool.report.tables import tables
from glue_pool.report.verdicts import AVERAGE, Table
from run_folders import Drawn, grid

DRAWS = {0: (1, 2), 3: (3, 4), 7: (5, 6, 7)}  # seeds, by the seed that drew the rows


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three draws of rte and cola; bert lacks a seed of one, and mean is on one draw alone."""
    root = tmp_path_factory.mktemp("runs")
    for run in grid(("rte", "cola"), ("bert", "maxpool", "mean"), 7, ("n100",)):
        (draw,) = (draw for draw, seeds in DRAWS.items() if run.seed in seeds)
        method = run.overrides[1].partition("=")[2]
        if not (method == "bert" and run.seed == 7) and not (method == "mean" and draw):
            Drawn((*run.overrides, f"subset.seed={draw}"), run.seed, run.skill + draw / 20).write(root)
    Drawn(("task=rte", "pooling=bert"), 1).write(root)
    return root


@pytest.fixture(scope="module")
def found(root: Path) -> tuple[Study, list[Table]]:
    of = study(*scan([root]))
    return of, with_pooled(of, tables(of))


def test_the_pooled_table_comes_after_its_draws(found: tuple[Study, list[Table]]) -> None:
    of, shown = found
    assert [table.subset for table in shown] == [(100, 0), (100, 3), (100, 7), (100, (0, 3, 7)), (None, 0)]
    assert any("3 draws of 100 rows (subset.seed)" in note and "pooled in one more" in note for note in of.notes)
    assert not any("share seeds" in note for note in of.notes)


def test_a_cell_is_over_draws(found: tuple[Study, list[Table]]) -> None:
    *draws, pooled, _ = found[1]
    bert, maxpool, mean = pooled.panel.rows
    means = [table.panel.cell(maxpool, table.subset, "rte").summary.mean for table in draws]
    summary = pooled.panel.cell(maxpool, pooled.subset, "rte").summary
    assert (summary.n, summary.mean, summary.std) == pytest.approx((3, np.mean(means), np.std(means, ddof=1)))
    assert pooled.panel.cell(mean, pooled.subset, "rte").summary.n == 0
    assert pooled.difference("rte", bert, mean) is None
    average = pooled.average(maxpool, pooled.average_tasks)
    assert average is not None
    assert average.n == 3


@pytest.mark.parametrize("task", ["rte", AVERAGE])
def test_the_verdict_is_that_of_draws_over_the_seeds_that_both_have(
    found: tuple[Study, list[Table]], task: str
) -> None:
    *draws, pooled, _ = found[1]
    bert, maxpool, _ = pooled.panel.rows
    both = [pair(table.scores[task, bert], table.scores[task, maxpool]) for table in draws]
    paired = [of for of in both if of]
    assert [len(of.baseline.actual) for of in paired] == [2, 2, 2]  # bert lacks seed 7
    want = stats.compare(stats.pooled([of.baseline for of in paired]), stats.pooled([of.method for of in paired]))
    verdict = pooled.family("bert").verdicts[maxpool, task].difference
    assert (verdict.pairs, verdict.missing) == (3, 0)
    assert (verdict.estimate, verdict.p) == pytest.approx((want.estimate, want.p))


def test_an_average_is_that_of_its_draws(found: tuple[Study, list[Table]]) -> None:
    *draws, pooled, _ = found[1]
    bert, _, mean = pooled.panel.rows
    means = [of.mean for table in draws if (of := table.average(bert, ["cola", "rte"]))]
    average = pooled.average(bert, ["cola", "rte"])
    assert average is not None
    assert (average.n, average.mean, average.std) == pytest.approx((3, np.mean(means), np.std(means, ddof=1)))
    assert pooled.average(mean, ["cola", "rte"]) is None
    assert pooled.average(bert, ["rte"]) is None


def test_an_average_without_a_task_is_pooled_as_well(tmp_path: Path) -> None:
    for draw, run in enumerate(grid(("rte", "cola", "mrpc"), ("bert", "maxpool"), 3, ("n100",))):
        Drawn((*run.overrides, f"subset.seed={draw % 3}"), run.seed, run.skill).write(tmp_path)
    of = study(*scan([tmp_path]))
    pooled = with_pooled(of, tables(of))[-1]
    bert, maxpool = pooled.panel.rows
    rest = pooled.without_each(maxpool, bert)
    assert set(rest) == {"rte", "cola", "mrpc"}
    of_rest = [pooled.difference(task, bert, maxpool) for task in ("cola", "mrpc")]
    assert rest["rte"].estimate == pytest.approx(np.mean([d.estimate for d in of_rest if d]))
    assert rest["rte"].pairs == 3


def test_a_draw_without_predictions_is_in_the_mean_and_in_no_comparison(tmp_path: Path) -> None:
    for draw in range(3):
        for pooling in ("bert", "mean"):
            run = Drawn(("task=rte", f"pooling={pooling}", "subset=n100", f"subset.seed={draw}"), draw).write(tmp_path)
    (run / "predictions.parquet").write_bytes(b"")
    of = study(*scan([tmp_path]))
    pooled = with_pooled(of, tables(of))[-1]
    bert, mean = pooled.panel.rows
    assert pooled.panel.cell(mean, pooled.subset, "rte").summary.n == 3
    difference = pooled.difference("rte", bert, mean)
    assert difference is not None
    assert (difference.pairs, difference.missing) == (2, 1)
    assert {at: len(items) for at, items in pooled.uncounted.items()} == {("rte", mean): 1}


def test_a_draw_that_one_row_lacks_is_missing(tmp_path: Path) -> None:
    for draw in range(3):
        for pooling in ("bert", "mean") if draw else ("mean",):
            Drawn(("task=rte", f"pooling={pooling}", "subset=n100", f"subset.seed={draw}"), draw).write(tmp_path)
    of = study(*scan([tmp_path]))
    pooled = with_pooled(of, tables(of))[-1]
    difference = pooled.difference("rte", *pooled.panel.rows)
    assert difference is not None
    assert (difference.pairs, difference.missing) == (2, 1)


def test_one_draw_of_each_row_is_not_pooled(tmp_path: Path) -> None:
    for draw, pooling in enumerate(("bert", "mean")):
        Drawn(("task=rte", f"pooling={pooling}", "subset=n100", f"subset.seed={draw}")).write(tmp_path)
    of = study(*scan([tmp_path]))
    assert [table.subset for table in with_pooled(of, tables(of))] == [(100, 0), (100, 1)]
    assert "are in tables of their own" in of.notes[0]
    assert "pooled" not in of.notes[0]


def test_the_page_has_the_pooled_draws_as_a_subset(found: tuple[Study, list[Table]]) -> None:
    of, shown = found
    (panel,) = payload(of, shown, None, list(of.tasks))["panels"]
    assert panel["subsets"][3] == {
        "size": 100, "label": "100 rows, 3 draws pooled", "counted": "draws", "seed": None, "draws": [0, 1, 2]
    }  # fmt: skip
    assert len(panel["own_baselines"]) == len(panel["average_tasks"]) == len(panel["baselines"][""]) == 5
    row = next(i for i, row in enumerate(panel["rows"]) if row["label"] == "maxpool")
    (cell,) = (c for c in panel["cells"] if (c["subset"], c["row"], c["task"]) == (3, row, "rte"))
    assert [seed for seed, _, _ in cell["runs"]] == [0, 3, 7]
    assert np.mean([score for _, score, _ in cell["runs"]]) == pytest.approx(cell["mean"], rel=1e-5)
    assert any(subset == 3 and task == "rte" for subset, task, *_ in panel["comparisons"])


def test_the_terminal_and_the_files_have_it(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report([root], tmp_path)
    printed = capsys.readouterr().out
    assert "100 rows, 3 draws pooled" in printed
    assert "draws for 1.25 points" in printed
    assert "(n seeds and draws; c: collapsed" in printed
    tex = (tmp_path / "tables.tex").read_text()
    assert "over 3 draws." in tex
    assert "for new draws, seeds and new dev examples, not corrected, over 3 paired draws." in tex
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert len({row["folder"] for row in rows}) == len(rows) == 2 * (6 + 7 + 2) + 1


def test_a_draw_that_is_anothers_once_more_counts_once(tmp_path: Path) -> None:
    """Runs are drawn by their seed, not by their rows: these three draws are one and the same."""
    for draw in range(3):
        for pooling, skill in (("bert", 1.0), ("mean", 1.4)):
            Drawn(("task=rte", f"pooling={pooling}", "subset=n100", f"subset.seed={draw}"), 1, skill).write(tmp_path)
    of = study(*scan([tmp_path]))
    pooled = with_pooled(of, tables(of))[-1]
    bert, mean = pooled.panel.rows
    difference = pooled.difference("rte", bert, mean)
    assert difference is not None
    assert (difference.pairs, pooled.family(None).verdicts[mean, "rte"].mark) == (1, "")
    assert pooled.family(None).not_compared[mean, "rte"] == "only one draw in common: no spread to judge by"
