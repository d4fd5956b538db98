"""What a report averages and compares: runs that differ in their seed alone, and nothing in silence."""

import shutil
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from glue_pool import stats
from glue_pool.report.scan import Predictions, read_predictions, scan
from glue_pool.report.study import Study, study
from glue_pool.report.tables import tables
from glue_pool.report.verdicts import AVERAGE, Table
from run_folders import HARDWARE, VERSIONS, Drawn, grid

Make = Callable[..., Study]


@pytest.fixture
def made(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """`made(*runs)` is the study of these runs."""

    def make(*runs: Drawn) -> Study:
        root = tmp_path_factory.mktemp("runs")
        for run in runs:
            run.write(root)
        return study(*scan([root]))

    return make


RTE = ("task=rte", "pooling=mean")
ALL = (None, 0)  # rows


def labels(found: Study) -> list[str]:
    return [row.label for panel in found.panels for row in panel.rows]


def test_runs_that_differ_in_their_seed_alone_are_one_cell(made: Make) -> None:
    found = made(*(Drawn(RTE, seed) for seed in (3, 1, 2)))
    (((row, _, _), cell),) = found.panels[0].cells.items()
    assert (row.label, cell.seeds, found.notes) == ("mean", [1, 2, 3], [])


@pytest.mark.parametrize(
    ("other", "names"),
    [
        (Drawn((*RTE, "optimizer.lr=1e-3"), 2), ["mean optimizer.lr=2e-05", "mean optimizer.lr=0.001"]),
        (Drawn((*RTE, "optimizer=adamw_stable"), 2), ["mean optimizer.name=adamw", "mean optimizer.name=adamw_stable"]),
        (Drawn((*RTE, "train.max_steps=9"), 2), ["mean train.max_steps=null", "mean train.max_steps=9"]),
        (Drawn(RTE, 2, manifest={"precision": "fp32"}), ["mean precision=bf16", "mean precision=fp32"]),
        (
            Drawn(RTE, 2, manifest={"versions": VERSIONS | {"torch": "2.14.0"}}),
            ["mean torch=2.13.0", "mean torch=2.14.0"],
        ),
        (
            Drawn((*RTE, "pooling._target_=glue_pool.models.poolers.Max"), 2),
            ["mean _target_=Max", "mean _target_=Mean"],
        ),
    ],
)  # fmt: skip
def test_other_settings_are_a_row_of_their_own(made: Make, other: Drawn, names: list[str]) -> None:
    assert labels(made(Drawn(RTE, 1), other)) == names


def test_every_k_is_a_row_in_the_order_of_numbers(made: Make) -> None:
    runs = (Drawn(("task=rte", "pooling=max_cls", f"pooling.k={k}")) for k in (6, 1, 3))
    assert labels(made(*runs)) == ["max_cls k=1", "max_cls k=3", "max_cls k=6"]


def test_probes_and_fine_tuned_runs_are_in_different_tables(made: Make) -> None:
    found = made(Drawn(RTE), Drawn((*RTE, "encoder.freeze=true")))
    assert [panel.kind for panel in found.panels] == ["fine-tuned", "probe"]


def test_a_run_that_failed_before_its_manifest_is_in_its_methods_row(made: Make) -> None:
    found = made(Drawn((*RTE, "optimizer.lr=1e-3")), Drawn(RTE), Drawn(RTE, 2, error="OSError: disk"))
    cells = {row.label: cell for (row, _, _), cell in found.panels[0].cells.items()}
    assert {label: len(cell.failed) for label, cell in cells.items()} == {
        "mean optimizer.lr=2e-05": 1, "mean optimizer.lr=0.001": 0,
    }  # fmt: skip
    assert [item.reason for item in found.left_out] == ["failed: OSError: disk"]


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (Drawn(("task=rte", "pooling=cls")), "cls lacks seed 2"),
        (Drawn(RTE, 3, collapsed=True), "mean: 1 of 3 runs collapsed"),
        (Drawn(RTE, 3, error="ValueError"), "mean: 1 run without a score"),
        (Drawn(("task=stsb",), nan=True), "maxpool: 1 run without a score"),
        (Drawn(("task=cola",), official=False), "cola: the validation split is not CoLA's own (1043 rows)"),
        (Drawn(("task=rte", "pooling=cls", "optimizer.lr=0.5")), "optimizer.lr differs between methods: 0.5 (cls), 2"),
        (Drawn(RTE, 3, manifest={"git": {"commit": "f" * 40}}), "made with different commit: 0123456789 (2 runs), fff"),
    ],
)  # fmt: skip
def test_what_a_reader_has_to_mind_is_said(made: Make, run: Drawn, said: str) -> None:
    notes = made(Drawn(RTE, 1), Drawn(RTE, 2), run).notes
    assert any(said in note for note in notes), notes


def test_nothing_is_said_of_sound_runs(made: Make) -> None:
    one, *others = grid(("rte", "cola"), ("bert", "mean"), 2)
    found = made(replace(one, manifest={"hardware": {**HARDWARE, "threads": 4}}), *others)  # numbers don't depend on it
    assert (found.notes, found.left_out) == ([], [])
    other_cpu = made(replace(one, manifest={"hardware": {**HARDWARE, "cpu": "another"}}), *others)
    assert ["made with different CPU" in note for note in other_cpu.notes] == [True]


def table(found: Study) -> Table:
    (only,) = tables(found)
    return only


def test_a_verdict_is_that_of_the_statistics_on_the_stored_predictions(made: Make) -> None:
    found = made(*grid(("rte", "mrpc"), ("bert", "maxpool"), 5))
    of = table(found)
    baseline, maxpool = of.panel.rows
    verdicts = of.family("bert").verdicts
    assert {task for row, task in verdicts} == {"mrpc", "rte", AVERAGE}
    columns = ["mrpc", "rte", AVERAGE]
    want = stats.family([verdicts[maxpool, column].difference for column in columns], columns)
    assert [verdicts[maxpool, column].adjusted_p for column in columns] == pytest.approx(want)
    read = [[read_predictions(run) for run in of.panel.cell(row, of.subset, "rte").runs] for row in (baseline, maxpool)]
    labels = next(found.labels for found in read[0] if isinstance(found, Predictions))
    outputs = [np.stack([found.outputs for found in runs if isinstance(found, Predictions)]) for runs in read]
    expected = stats.difference(labels, outputs[0], outputs[1], "accuracy", seed=zlib.crc32(b"rte"))
    rte = verdicts[maxpool, "rte"].difference
    assert rte.pairs == 5
    assert rte.p == pytest.approx(expected.p)
    for name in ("estimate", "low", "high", "seed_std", "example_std"):
        assert getattr(rte, name) == pytest.approx(100 * getattr(expected, name))
    mean = np.mean([verdicts[maxpool, task].difference.estimate for task in ("mrpc", "rte")])
    assert verdicts[maxpool, AVERAGE].difference.estimate == pytest.approx(mean)


def test_wnli_is_outside_the_average(made: Make) -> None:
    of = table(made(*grid(("rte", "cola", "wnli"), ("mean",), 1)))
    assert of.average_tasks == ["cola", "rte"]
    average = of.average(of.panel.rows[0], of.average_tasks)
    assert average is not None
    assert average.mean == pytest.approx(
        np.mean([100 * of.panel.cell(of.panel.rows[0], of.subset, task).runs[0].score for task in ("cola", "rte")])
    )


def test_a_method_that_lacks_a_task_has_no_average(made: Make) -> None:
    of = table(made(*grid(("rte", "cola"), ("mean",), 2), *grid(("rte",), ("bert",), 2)))
    assert {row.label: of.average(row, of.average_tasks) is None for row in of.panel.rows} == {
        "bert": True,
        "mean": False,
    }


def test_a_row_is_compared_with_the_baseline_of_its_settings(made: Make) -> None:
    runs = (Drawn(("task=rte", f"pooling={p}", f"optimizer.lr={lr}")) for p in ("cls", "mean") for lr in (1e-3, 1e-5))
    (panel,) = made(*runs).panels
    pairs = {row.label: other.label for row in panel.rows if (other := panel.baseline_of(row, ALL, "cls"))}
    assert pairs["mean optimizer.lr=1e-05"] == "cls optimizer.lr=1e-05"
    assert pairs["mean optimizer.lr=0.001"] == "cls optimizer.lr=0.001"
    by_name = panel.baseline_of(panel.rows[-1], ALL, "cls optimizer.lr=1e-05")
    assert by_name is not None
    assert by_name.label == "cls optimizer.lr=1e-05"


def test_a_stray_run_of_the_baseline_takes_no_verdict_away(made: Make) -> None:
    stray = Drawn(("task=rte", "pooling=bert", "optimizer.lr=1e-3"))
    of = table(made(*grid(("rte",), ("bert", "mean"), 3), stray))
    (verdict,) = (v for (row, _), v in of.family("bert").verdicts.items() if row.label == "mean")
    assert verdict.difference.pairs == 3


def test_a_row_with_two_baselines_as_near_is_compared_with_none_and_that_is_said(made: Make) -> None:
    lrs = {"cls": (1e-3, 1e-5), "mean": (1e-4,)}
    of = table(made(*(Drawn(("task=rte", f"pooling={p}", f"optimizer.lr={lr}")) for p, of in lrs.items() for lr in of)))
    assert of.family("cls").verdicts == {}
    (note,) = of.uncompared("cls")
    assert "mean is compared with nothing: no single row of cls is nearest" in note
    assert "no run of bert, so nothing is compared" in of.uncompared("bert")[0]


def test_what_differs_between_the_tasks_of_an_average_is_said(made: Make) -> None:
    found = made(Drawn(RTE), Drawn(("task=cola", "pooling=mean", "optimizer.lr=1e-3"), manifest={"precision": "fp32"}))
    assert labels(found) == ["mean"]
    assert [note.partition(": ")[2] for note in found.notes] == [
        "optimizer.lr differs between tasks: 0.001 (cola), 2e-05 (rte)",
        "precision differs between tasks: fp32 (cola), bf16 (rte)",
    ]


def test_an_older_runs_missing_setting_is_a_difference(made: Make, tmp_path: Path) -> None:
    for seed in (1, 2):
        folder = Drawn(RTE, seed).write(tmp_path)
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("  weight_decay: 0.01\n", ""))
    names = ["mean optimizer.weight_decay=0.01", "mean optimizer.weight_decay=not recorded"]
    assert labels(study(*scan([tmp_path]))) == names


def test_draws_of_as_many_rows_are_kept_apart_and_that_is_said(made: Make) -> None:
    found = made(*(Drawn((*RTE, "subset=n100", f"subset.seed={seed}")) for seed in (0, 1)))
    assert found.panels[0].subsets == [(100, 0), (100, 1)]
    assert "2 draws of 100 rows (subset.seed) are in tables of their own, and pooled in one more" in found.notes[0]
    assert "draws of 100 rows share seeds" in found.notes[1]


def test_a_task_in_one_subset_alone_is_in_that_table_alone(made: Make) -> None:
    failed = Drawn(("task=stsb", "pooling=mean"), error="ValueError: no")
    found = made(*grid(("rte",), ("mean",), 1, ("n100",)), *grid(("rte", "cola"), ("mean",), 1), failed)
    assert [of.tasks for of in tables(found)] == [["rte"], ["cola", "rte"]]


def test_only_seeds_that_both_have_are_compared_and_the_others_counted(made: Make) -> None:
    runs = [Drawn(("task=rte", "pooling=cls"), seed) for seed in (1, 2, 3)] + [Drawn(RTE, seed) for seed in (2, 3, 4)]
    of = table(made(*runs))
    difference = of.difference("rte", *of.panel.rows)
    assert difference is not None
    assert (difference.pairs, difference.missing) == (2, 2)


def test_predictions_that_dont_give_the_score_are_in_no_comparison(tmp_path: Path) -> None:
    a, b = (Drawn(("task=rte", f"pooling={pooling}")).write(tmp_path) for pooling in ("cls", "mean"))
    shutil.copy(a / "predictions.parquet", b / "predictions.parquet")
    found = study(*scan([tmp_path]))
    of = table(found)
    assert of.difference("rte", *of.panel.rows) is None
    (item,) = found.left_out
    assert item.path == b / "predictions.parquet"
    assert "they give a score of" in item.reason
