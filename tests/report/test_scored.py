"""What of runs' predictions is compared, and what is said where it is not."""

import json
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glue_pool import stats
from glue_pool.metrics import METRICS, compute
from glue_pool.report import scored
from glue_pool.report.scan import Run, scan
from glue_pool.report.scored import Scored, resampled
from glue_pool.report.study import Study, study
from glue_pool.report.tables import tables
from glue_pool.report.verdicts import Table
from run_folders import Drawn

Columns = dict[str, Any]
Change = Callable[[Columns], Columns]
SEEDS = (1, 2, 3)
REAL = {"data": {"source": "files", "fingerprints": {"train": "a" * 64}}}


def rewrite(folder: Path, change: Change) -> None:
    file = folder / "predictions.parquet"
    pq.write_table(pa.table(change(pq.read_table(file).to_pydict())), file)


def result(folder: Path, **changes: object) -> None:
    content = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(content | changes))


def write(root: Path, task: str = "rte", manifest: dict[str, Any] | None = None) -> dict[str, list[Path]]:
    """Write three runs of two methods, and return their folders."""
    return {
        name: [Drawn((f"task={task}", f"pooling={name}"), seed, manifest=manifest or {}).write(root) for seed in SEEDS]
        for name in ("bert", "mean")
    }


def read(root: Path) -> tuple[Study, Table]:
    found = study(*scan([root]))
    (of,) = tables(found)
    return found, of


def verdict(root: Path, task: str = "rte") -> stats.Difference:
    _, of = read(root)
    return of.family("bert").verdicts[of.panel.rows[1], task].difference


def left_out(root: Path) -> dict[Path, str]:
    return {item.path.parent: item.reason for item in read(root)[0].left_out}


def in_order(order: Sequence[int]) -> Change:
    return lambda columns: {name: [values[i] for i in order] for name, values in columns.items()}


# dev rows


def test_the_same_rows_in_another_order_are_the_same(tmp_path: Path) -> None:
    folders = write(tmp_path)
    before = verdict(tmp_path)
    for folder, seed in zip(folders["mean"], SEEDS, strict=True):
        rewrite(folder, in_order(np.random.default_rng(seed).permutation(277).tolist()))
    assert (verdict(tmp_path), left_out(tmp_path)) == (before, {})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (in_order(range(276)), "other dev rows than most runs of this task have: 276 of their 277 rows"),
        (
            lambda of: of | {"idx": [*range(1, 278)]},
            "other dev rows than most runs of this task have: 276 of their 277 rows and 1 others",
        ),
        (
            lambda of: of | {"label": [1 - of["label"][0], *of["label"][1:]]},
            "other labels than most runs of this task have for 1 of the same 277 dev rows: idx 0 has ",
        ),
        (in_order([*range(277), 17]), "idx 17 stands there twice"),
        (in_order([row // 16 for row in range(16 * 277)]), "idx 0 stands there 16 times"),
        (in_order([row % 277 for row in range(3 * 277)]), "idx 0 stands there 3 times"),
    ],
)
def test_other_rows_are_in_no_comparison_and_that_is_said(tmp_path: Path, change: Change, said: str) -> None:
    folder = write(tmp_path)["mean"][1]
    rewrite(folder, change)
    assert [(path, reason[: len(said)]) for path, reason in left_out(tmp_path).items()] == [(folder, said)]
    found = verdict(tmp_path)
    assert (found.pairs, found.missing) == (2, 1)


def test_other_rows_with_one_idx_are_one_group(tmp_path: Path) -> None:
    for folder in chain.from_iterable(write(tmp_path).values()):
        rewrite(folder, lambda of: of | {"idx": [row // 2 for row in of["idx"]]})
    found, of = read(tmp_path)
    assert found.left_out == []
    assert of.scores["rte", of.panel.rows[0]][1].examples == 139


# groups


def grouped(of: Columns) -> Columns:
    return of | {"group": [row - row % 4 for row in of["idx"]]}


def ungrouped(of: Columns) -> Columns:
    return {name: values for name, values in of.items() if name != "group"}


def test_the_groups_of_any_run_are_those_of_all(tmp_path: Path) -> None:
    """Two of a folder's runs say them, on a subset of their own; the others were made before."""
    for folder in chain.from_iterable(write(tmp_path, "mnli", REAL).values()):
        rewrite(folder, ungrouped)
    alone = verdict(tmp_path, "mnli")
    for seed in (1, 2):
        rewrite(Drawn(("task=mnli", "pooling=mean", "subset=n100"), seed, manifest=REAL).write(tmp_path), grouped)
    found = study(*scan([tmp_path]))
    _, of = tables(found)
    bert, mean = of.panel.rows
    assert of.scores["mnli", bert][1].examples == 500
    got = of.family("bert").verdicts[mean, "mnli"].difference
    assert (got.estimate, got.pairs) == (alone.estimate, alone.pairs)
    assert got.example_std != alone.example_std
    assert not [note for note in found.notes if "these runs don't say which" in note]


def test_runs_that_do_not_say_their_groups_are_noted(tmp_path: Path) -> None:
    for folder in chain.from_iterable(write(tmp_path, "mnli", REAL).values()):
        rewrite(folder, ungrouped)
    said = "mnli: rows share a premise, these runs don't say which: the interval takes rows for independent"
    assert said in read(tmp_path)[0].notes


@pytest.mark.parametrize("task", ["mnli task.group=null", "rte"])
def test_where_rows_stand_alone_nothing_is_noted(tmp_path: Path, task: str) -> None:
    for pooling in ("bert", "mean"):
        Drawn((*f"task={task}".split(), f"pooling={pooling}"), manifest=REAL).write(tmp_path)
    assert not [note for note in read(tmp_path)[0].notes if "rows share" in note]


# seeds


def copied(folders: Sequence[Path], **changes: object) -> None:
    """Let all runs be the first, but for their seeds."""
    first = json.loads((folders[0] / "result.json").read_text())
    for folder in folders:
        result(folder, score=first["score"], metrics=first["metrics"], **changes)
        (folder / "predictions.parquet").write_bytes((folders[0] / "predictions.parquet").read_bytes())


def test_a_seed_without_effect_is_no_evidence(tmp_path: Path) -> None:
    folders = write(tmp_path)["mean"]
    copied(folders)
    reason = "its 3 runs are one and the same: the seed has no effect"
    assert left_out(tmp_path) == dict.fromkeys(folders, reason)
    _, of = read(tmp_path)
    assert of.family("bert").verdicts == {}


def test_a_copy_under_another_seed_is_left_out(tmp_path: Path) -> None:
    folders = write(tmp_path)["mean"]
    copied(folders[:2])
    assert left_out(tmp_path) == {folders[1]: "one and the same as the run of seed 1"}
    assert (verdict(tmp_path).pairs, verdict(tmp_path).missing) == (2, 1)


def test_methods_may_be_one_and_the_same(tmp_path: Path) -> None:
    folders = write(tmp_path)
    for of_seed in zip(folders["bert"], folders["mean"], strict=True):
        copied(of_seed)
    found = verdict(tmp_path)
    assert (found.estimate, found.p, found.pairs, left_out(tmp_path)) == (0, 1, 3, {})


@pytest.mark.parametrize("runs", [1, 3])
def test_what_no_seed_changes_is_compared_with_every_seed(tmp_path: Path, runs: int) -> None:
    folders = write(tmp_path)["bert"]
    copied(folders, deterministic=True)
    for folder in folders[runs:]:
        (folder / "result.json").unlink()
    _, of = read(tmp_path)
    bert, mean = of.panel.rows
    fixed, others = of.scores["rte", bert], of.scores["rte", mean]
    assert (fixed[0], len(fixed[1].actual)) == (None, 1)
    expected = stats.compare(fixed[1].of([0, 0, 0]), others[1])
    assert of.family("bert").verdicts[mean, "rte"].difference == expected
    assert (expected.pairs, expected.missing) == (3, 0)


def test_an_average_with_a_fixed_reference_is_of_the_others_seeds(tmp_path: Path) -> None:
    copied(write(tmp_path)["bert"], deterministic=True)
    write(tmp_path, "cola")
    found = study(*scan([tmp_path]))
    (of,) = tables(found)
    bert, mean = of.panel.rows
    assert [average and average.n for row in (bert, mean) for average in [of.average(row, of.average_tasks)]] == [3, 3]
    verdicts = of.family("bert").verdicts
    estimates = [verdicts[mean, task].difference.estimate for task in ("cola", "rte", "/average")]
    assert estimates[2] == pytest.approx(np.mean(estimates[:2]))


def test_a_result_that_says_a_wrong_kind_of_determinism_is_damaged(tmp_path: Path) -> None:
    folder = write(tmp_path)["bert"][0]
    result(folder, deterministic="yes")
    _, items = scan([tmp_path])
    assert [item.reason for item in items] == ["damaged (deterministic is 'yes')"]


# what a row's runs come to


def of_task(root: Path, task: str) -> tuple[Scored, list[Run]]:
    found = study(*scan([root]))
    (panel,) = found.panels
    return resampled(panel.runs(panel.subsets[0], task), found.tasks[task].metric), found.runs


@pytest.mark.parametrize(
    ("task", "constant"),
    [
        ("rte", lambda labels: np.eye(2)[np.full(len(labels), np.bincount(labels).argmax())]),
        ("stsb", None),
        ("price", lambda labels: np.full((len(labels), 1), labels.mean())),
        ("risk", lambda labels: np.tile(np.log(np.bincount(labels) / len(labels)), (len(labels), 1))),
        ("topics", lambda labels: np.tile(np.log(labels.mean(axis=0) / (1 - labels.mean(axis=0))), (len(labels), 1))),
    ],
)
def test_chance_is_the_best_constant(
    tmp_path: Path, task: str, constant: Callable[[np.ndarray], np.ndarray] | None
) -> None:
    folder = Drawn((f"task={task}", "pooling=mean")).write(tmp_path)
    got, (run,) = of_task(tmp_path, task)
    assert got.chance is not None
    labels = np.array(pq.read_table(folder / "predictions.parquet")["label"].to_pylist())
    metric = METRICS[run.result["primary_metric"]]
    want = compute([metric.name], labels, constant(labels))[metric.name] if constant else 0.0
    assert got.chance.actual == pytest.approx([metric.better * metric.scale * want])
    assert got.chance.resampled.shape == (stats.RESAMPLES, 1)
    assert np.isfinite(got.chance.resampled).all()
    assert (np.ptp(got.chance.resampled) > 0) == (constant is not None)


def test_every_row_says_which_of_its_runs_are_in_no_comparison(tmp_path: Path) -> None:
    folders = write(tmp_path)
    (folders["mean"][0] / "predictions.parquet").unlink()
    result(folders["mean"][1], score=0.5)
    rewrite(folders["bert"][2], in_order(range(9)))
    got, _ = of_task(tmp_path, "rte")
    said = {row.method: sorted(item.reason[:16] for item in items) for row, items in got.left_out.items()}
    assert said == {"bert": ["other dev rows t"], "mean": ["predictions.parq", "they give a scor"]}
    assert [row.method for row in got.of_rows] == ["bert", "mean"]


def test_of_no_runs_there_are_no_scores() -> None:
    assert scored.resampled([], METRICS["accuracy"]) == Scored()
