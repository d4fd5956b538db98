"""Tasks of one's own: scores in other units than points, or better where they are lower, and labels of every kind."""

import csv
import io
import json
import os
import re
import shutil
import statistics
import zlib
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import run_folders
import tex_tables
from glue_pool import stats
from glue_pool.metrics import METRICS, MULTI, REGRESSION, SINGLE, ProblemType
from glue_pool.report import files, latex, terminal
from glue_pool.report.payload import payload
from glue_pool.report.scan import Predictions, read_predictions, scan
from glue_pool.report.study import Study, study
from glue_pool.report.tables import tables
from glue_pool.report.verdicts import AVERAGE, Table
from run_folders import OWN, Drawn, grid

METHODS = ("bert", "maxpool")
TWO = ["no", "yes"]
LOWER = ("price", "risk", "topics")
OWN_UNITS = {"price": METRICS["mean_squared_error"].unit, "risk": "nats", "topics": "nats"}
KINDS: dict[ProblemType, dict[str, Any]] = {
    SINGLE: {"labels": ["no", "yes"]},
    MULTI: {"labels": ["a", "b", "c"], "multi_label": True},
    REGRESSION: {"labels": []},
}
FITS = [(metric.name, kind) for metric in METRICS.values() for kind in sorted(metric.fits)]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two methods, the second far better, on tasks of every kind with five seeds."""
    root = tmp_path_factory.mktemp("mixed")
    for task, (method, skill), seed in product(("rte", "cola", *OWN), zip(METHODS, (0.5, 1.5), strict=True), range(5)):
        Drawn((f"task={task}", f"pooling={method}"), seed, skill).write(root)
    return study(*scan([root]))


@pytest.fixture(scope="module")
def table(mixed: Study) -> Table:
    (only,) = tables(mixed)
    return only


def scores(found: Study, task: str, method: str) -> list[float]:
    """What result.json says, seed by seed."""
    of = [run for run in found.runs if (run.result["task"], run.result["method"]) == (task, method)]
    return [run.score for run in sorted(of, key=lambda run: run.result["seed"])]


def difference(found: Study, task: str, positive: int) -> stats.Difference:
    """The statistics' verdict on the stored predictions of a task's two methods, in the metric's own direction."""
    both = [[run for run in found.runs if (run.result["task"], run.result["method"]) == (task, m)] for m in METHODS]
    read = [[read_predictions(run) for run in runs] for runs in both]
    outputs = [np.stack([of.outputs for of in runs if isinstance(of, Predictions)]) for runs in read]
    assert isinstance(read[0][0], Predictions)
    resampled = [
        stats.resample(read[0][0].labels, of, both[0][0].metric.name, positive=positive, seed=zlib.crc32(task.encode()))
        for of in outputs
    ]
    return stats.compare(*resampled)


@pytest.mark.parametrize("task", OWN)
def test_a_verdict_is_the_statistics_of_the_turned_scores(mixed: Study, table: Table, task: str) -> None:
    _, maxpool = table.panel.rows
    got = table.family("bert").verdicts[maxpool, task].difference
    expected = difference(mixed, task, positive=0 if task == "spam" else 1)
    metric = METRICS[OWN[task].primary_metric]
    ends = [metric.better * metric.scale * end for end in (expected.low, expected.high)]
    assert got.pairs == 5
    assert got.p == pytest.approx(expected.p)
    assert got.estimate == pytest.approx(metric.better * metric.scale * expected.estimate)
    assert [got.low, got.high] == pytest.approx(sorted(ends))
    assert got.estimate > 0


@pytest.mark.parametrize(("name", "kind"), FITS)
def test_every_metric_has_a_verdict_of_every_kind_of_task_it_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: ProblemType
) -> None:
    task = run_folders.own("mine", name, **KINDS[kind])
    monkeypatch.setitem(OWN, "mine", task)
    run_folders.config.cache_clear()
    for run in grid(("mine",), METHODS, 3):
        run.write(tmp_path)
    found = study(*scan([tmp_path]))
    (of,) = tables(found)
    metric = METRICS[name]
    got = of.family("bert").verdicts[of.panel.rows[1], "mine"].difference
    means = [metric.better * metric.scale * statistics.mean(scores(found, "mine", method)) for method in METHODS]
    assert found.left_out == []
    assert got.estimate == pytest.approx(means[1] - means[0])
    assert got.low < got.estimate < got.high
    run_folders.config.cache_clear()


def test_what_compares_single_runs_follows_the_metric(mixed: Study, table: Table) -> None:
    content = payload(mixed, [table], None, list(mixed.tasks))
    for task in LOWER:
        bert, maxpool = (np.array(scores(mixed, task, method)) for method in METHODS)
        ((found,),) = ([f for f in panel["comparisons"] if f[1] == task] for panel in content["panels"])
        of = dict(zip(content["comparison"], found, strict=True))
        assert (of["wins"], of["losses"]) == ((maxpool < bert).sum(), (maxpool > bert).sum())
        assert of["improvement"] == pytest.approx((maxpool[:, None] < bert).mean())
        assert of["violation"] < 0.5
        assert [of[name] for name in ("fewest_seeds", "seeds_needed", "most_seeds")] == [None] * 3
        assert of["detectable"] > 0


def test_the_best_of_n_runs_is_the_lowest(mixed: Study, table: Table) -> None:
    content = payload(mixed, [table], None, list(mixed.tasks))
    cells = {(c["task"], c["row"]): c for c in content["panels"][0]["cells"]}
    for task in OWN:
        best = cells[task, 0]["expected_best"]
        assert best == sorted(best, reverse=task in LOWER)
        assert best[0] == pytest.approx(cells[task, 0]["mean"])
    shown = {task["name"]: (task["unit"], task["better"], task["average"]) for task in content["tasks"]}
    assert shown["rte"] == shown["spam"] == ("points", 1, True)
    assert {name: shown[name] for name in LOWER} == {name: (OWN_UNITS[name], -1, False) for name in LOWER}


def printed(found: Study, *of: Table, tasks: list[str] | None = None) -> str:
    out = io.StringIO()
    terminal.show(found, of, None, tasks or list(found.tasks), out)
    return out.getvalue()


@pytest.mark.parametrize(("task", "digits"), [("price", 0), ("risk", 4), ("topics", 4)])
def test_the_terminal_shows_a_unit_of_its_own_as_it_is(mixed: Study, task: str, digits: int) -> None:
    text = printed(mixed, *tables(mixed), tasks=[task])
    assert f"{task} ({OWN[task].primary_metric}, {OWN_UNITS[task]})" in text
    bert, maxpool = (scores(mixed, task, method) for method in METHODS)
    means = [f"{statistics.mean(of):.{digits}f} ± {statistics.stdev(of):.{digits}f} (5)" for of in (bert, maxpool)]
    gain = f"{statistics.mean(bert) - statistics.mean(maxpool):+.{digits}f}▲"
    assert re.search(rf"bert +{re.escape(means[0])}\n", text)
    assert re.search(rf"maxpool +{re.escape(means[1])} +{re.escape(gain)}\n", text)
    assert re.search(r"seeds for 1.25 points\n", text)
    assert re.search(r"gain found at 80 % +[\d.]+\n", text)
    assert "in the unit at a column's head (n seeds" in text


def test_the_average_is_of_points_alone_and_that_is_said(mixed: Study, table: Table) -> None:
    assert table.average_tasks == ["cola", "rte", "spam"]
    assert {task for _, task in table.family("bert").verdicts} == {*mixed.tasks, AVERAGE}
    text = printed(mixed, table)
    assert "average of 3" in text
    assert "in points, or in the unit at a column's head (n seeds" in text
    assert (
        "risk; topics: log loss is not in points (unit: nats) and better where it is lower, so outside the average"
        in text
    )
    assert "differences are reductions, so that positive is better" in text


def test_columns_stand_in_their_order_then_by_name(mixed: Study) -> None:
    assert list(mixed.tasks) == ["cola", "price", "rte", "risk", "spam", "topics"]  # price says 2


def test_the_tex_has_titles_units_and_directions(mixed: Study, table: Table, tmp_path: Path) -> None:
    text = latex.tables_tex([table], mixed.notes, None, list(mixed.tasks))
    (tmp_path / "tables.tex").write_text(text)
    tex_tables.check(text)
    scores_of, differences_of = tex_tables.read(tmp_path / "tables.tex")
    price = f"price ({OWN_UNITS['price']})"
    columns = ["CoLA", price, "RTE", r"Risk \& Co (nats)", "Spam", "topics (nats)"]
    assert (scores_of["method"], differences_of["method"]) == ([*columns, "average of 3"], [*columns, "average"])
    scored, differences = (line for line in text.splitlines() if r"\caption" in line)
    assert "Lower is better for price, Risk \\& Co, topics." in scored
    assert "Lower is better for price, Risk \\& Co, topics, and differences are reductions" in differences
    risk = [of["maxpool"][columns.index(r"Risk \& Co (nats)")] for of in (scores_of, differences_of)]
    assert ["uparrow" in cell for cell in risk] == [False, True]
    assert risk[1].startswith("$+0.")


def test_official_is_said_of_tasks_that_have_official_splits(tmp_path: Path) -> None:
    for task in ("rte", "spam"):
        Drawn((f"task={task}",), official=False).write(tmp_path)
    Drawn(("task=cola",)).write(tmp_path)
    found = study(*scan([tmp_path]))
    rows = csv.DictReader(io.StringIO(files.scores_csv(found)))
    assert {row["task"]: row["official"] for row in rows} == {"cola": "True", "rte": "False", "spam": ""}
    assert not any("spam" in note and "own" in note for note in found.notes)
    assert any("rte: the validation split is not RTE's own" in note for note in found.notes)


def with_metric(monkeypatch: pytest.MonkeyPatch, metric: str, **others: Any) -> None:
    """Let the task `risk` have another primary metric from now on."""
    monkeypatch.setitem(OWN, "risk", replace(OWN["risk"], metrics=[metric], primary_metric=metric, **others))
    run_folders.config.cache_clear()


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ({"metric": "log_loss"}, {"metric": "accuracy"}),
        ({"metric": "accuracy"}, {"metric": "matthews_correlation"}),
        ({"metric": "f1", "labels": TWO}, {"metric": "f1", "labels": TWO, "positive": TWO[0]}),
    ],
)
def test_a_score_by_another_metric_than_most_of_its_task_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: dict[str, Any], then: dict[str, Any]
) -> None:
    with_metric(monkeypatch, **first)
    for run in grid(("risk",), METHODS, 2):
        run.write(tmp_path)
    with_metric(monkeypatch, **then)
    odd = Drawn(("task=risk", "pooling=cls")).write(tmp_path)
    found = study(*scan([tmp_path]))
    (of,) = tables(found)
    assert found.tasks["risk"].metric.name == first["metric"]
    assert [(item.path, item.counted) for item in found.left_out] == [(odd, "nowhere")]
    assert found.left_out[0].reason.startswith("its score is another metric than that of most runs of risk")
    assert [row.method for row in found.panels[0].rows] == list(METHODS)
    assert of.difference("risk", *of.panel.rows) is not None
    run_folders.config.cache_clear()


@pytest.mark.parametrize("newer", ["a", "b"])
def test_of_two_data_sets_most_runs_count_and_of_as_many_the_newest(tmp_path: Path, newer: str) -> None:
    """Rows that changed take the place of what they were; another task, and the average, stay whole."""
    for task in ("risk", "rte", "cola"):
        for which in "ab" if task == "risk" else "a":
            data = {"data": {"source": "files", "fingerprints": {"train": which * 64}}}
            for method in METHODS:
                for seed in (1, 2):
                    of = (f"task={task}", f"pooling={method}")
                    folder = Drawn(of, seed, manifest=data, data=which).write(tmp_path / which)
                    os.utime(folder / "result.json", (1, 2 if which == newer else 1))
    found = study(*scan([tmp_path]))
    compared = tables(found)[0]
    assert {row.label for row in compared.panel.rows} == set(METHODS)
    assert {item.path.relative_to(tmp_path).parts[0] for item in found.left_out} == {"b" if newer == "a" else "a"}
    assert {run.folder.relative_to(tmp_path).parts[0] for run in found.runs if run.result["task"] == "risk"} == {newer}
    assert compared.difference("risk", *compared.panel.rows) is not None
    of_b = {"data": {"source": "files", "fingerprints": {"train": "b" * 64}}}
    Drawn(("task=risk", f"pooling={METHODS[0]}"), 3, manifest=of_b, data="b").write(tmp_path / "b")
    most = {
        run.folder.relative_to(tmp_path).parts[0]
        for run in study(*scan([tmp_path])).runs
        if run.result["task"] == "risk"
    }
    assert most == {"b"}


def test_what_does_not_change_a_score_leaves_no_run_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The positive class of accuracy, and further dev splits, do not; a failed run on other rows is left out."""
    fingerprints = {"train": "a" * 64, "dev": "b" * 64}
    for seed, (positive, of) in enumerate([(None, fingerprints), (TWO[0], fingerprints | {"more": "c" * 64})]):
        with_metric(monkeypatch, "accuracy", labels=TWO, positive=positive)
        Drawn(("task=risk",), seed, manifest={"data": {"source": "files", "fingerprints": of}}).write(tmp_path)
    found = study(*scan([tmp_path]))
    assert ([run.result["seed"] for run in found.runs], found.left_out) == ([0, 1], [])
    other = {"data": {"source": "files", "fingerprints": {"train": "d" * 64, "dev": "b" * 64}}}
    failed = Drawn(("task=risk",), 2, manifest=other).write(tmp_path)
    content = json.loads((failed / "result.json").read_text())
    (failed / "result.json").write_text(json.dumps(content | {"status": "failed", "error": "it stopped"}))
    assert [item.path for item in study(*scan([tmp_path])).left_out] == [failed]
    run_folders.config.cache_clear()


def test_generated_rows_count_where_there_are_no_others(tmp_path: Path) -> None:
    for source, seeds in (("files", range(2)), ("synthetic", range(4))):
        data = {"data": {"source": source, "fingerprints": {"train": source[0] * 64}}}
        for seed in seeds:
            Drawn(("task=risk",), seed, manifest=data, data=source).write(tmp_path / source)
    of = {run.folder.relative_to(tmp_path).parts[0] for run in study(*scan([tmp_path])).runs}
    assert of == {"files"}
    assert len(study(*scan([tmp_path / "synthetic"])).runs) == 4


def test_logits_of_more_labels_than_most_runs_have_are_in_no_comparison(mixed: Study, tmp_path: Path) -> None:
    risk = [run.folder for run in mixed.runs if run.result["task"] == "risk"]
    copies = [shutil.copytree(folder, tmp_path / folder.name / folder.parents[2].name) for folder in risk]
    predictions = pq.read_table(copies[0] / "predictions.parquet").to_pydict()
    wider = predictions | {"logits": [[*logits, -30.0] for logits in predictions["logits"]]}
    pq.write_table(pa.table(wider), copies[0] / "predictions.parquet")
    found = study(*scan([tmp_path]))
    (of,) = tables(found)
    assert [(i.path.parent, i.reason) for i in found.left_out] == [
        (copies[0], "other labels to choose from than most runs of this task have")
    ]
    difference = of.difference("risk", *of.panel.rows)
    assert difference is not None
    assert (difference.pairs, difference.missing) == (4, 1)
