"""Every folder under the one that is reported on is a run or is named with the reason why not."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glue_pool.report.scan import LeftOut, Predictions, read_predictions, scan
from run_folders import Drawn

RUN = Drawn(("task=rte", "pooling=mean"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One run."""
    return RUN.write(tmp_path)


def edited(**changes: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        file = folder / "result.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return edit


def written(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flood of brackets": (written("result.json", "[" * 200_000), "damaged"),
    "a number beyond all": (edited(score=10**400), "score is 1000"),
    "no metric": (edited(primary_metric="glory"), "primary_metric is 'glory'"),
    "half-written": (written("result.json", '{"schema": 1, "run_key": "'), "damaged"),
    "empty": (written("result.json", ""), "damaged"),
    "not text": (lambda folder: (folder / "result.json").write_bytes(b"\xff\xfe\x00"), "damaged"),
    "another tool's": (written("result.json", '{"accuracy": 0.9}'), "not a result of glue_pool"),
    "a list": (written("result.json", "[1, 2]"), "not a result of glue_pool"),
    "older": (edited(schema=0), "schema 0; this version reads 1 to 2"),
    "newer": (edited(schema=3), "schema 3; this version reads 1 to 2"),
    "unknown end": (edited(status="running"), "status is 'running'"),
    "no score": (edited(score="high"), "score is 'high'"),
    "no timing": (edited(timing=None), "timing is None"),
    "half a timing": (edited(timing={"setup_seconds": 1.0}), "timing/train_seconds is None"),
    "words for a metric": (edited(metrics={"test": {"f1": "high"}}), "metrics/test/f1 is 'high'"),
    "a truth for a number": (edited(seed=True), "seed is True"),
    "no subset": (edited(subset=None), "subset is None"),
    "no config": (lambda folder: (folder / "config.yaml").unlink(), "missing: the run's settings are not known"),
    "damaged config": (written("config.yaml", "task: [rte"), "damaged"),
    "foreign config": (written("config.yaml", "a: 1"), "damaged"),
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), "missing: the run's settings are not known"),
    "damaged manifest": (written("manifest.json", "{"), "damaged"),
    "foreign manifest": (written("manifest.json", "{}"), "damaged"),
    "another folder's": (lambda folder: (folder / "result.json").rename(folder / "result.txt"), "no result yet"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_not_a_whole_run_is_left_out_by_name(folder: Path, damage: str) -> None:
    good = Drawn(("task=rte", "pooling=mean"), seed=2).write(folder.parents[4])
    break_it, reason = DAMAGE[damage]
    break_it(folder)
    runs, left_out = scan([folder.parents[4]])
    assert [run.folder for run in runs] == [good]
    (item,) = left_out
    assert folder in (item.path, item.path.parent)
    assert reason in item.reason


def test_a_run_that_is_under_way_is_named(folder: Path) -> None:
    (folder / "result.json").unlink()
    assert scan([folder.parents[4]]) == ([], [LeftOut(folder, "no result yet: it runs, or was interrupted")])


def test_a_failed_run_needs_no_manifest(tmp_path: Path) -> None:
    Drawn(("task=rte",), error="ValueError: no").write(tmp_path)
    (run,), left_out = scan([tmp_path])
    assert (run.completed, run.result["error"], left_out) == (False, "ValueError: no", [])


def test_a_run_that_was_copied_counts_once(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy / folder.name)
    runs, left_out = scan([folder.parents[4]])
    assert len(runs) == 1
    assert [item.reason.split(" /")[0] for item in left_out] == ["the same run as"]


def test_a_folder_named_twice_or_within_another_counts_once(folder: Path) -> None:
    root = folder.parents[4]
    runs, left_out = scan([root, root, root / "rte"])
    assert (len(runs), left_out) == (1, [])


def test_links_are_followed_and_a_loop_ends(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "loop").mkdir(parents=True)
    (elsewhere / "runs").symlink_to(folder.parents[4] / "rte")
    (elsewhere / "loop" / "up").symlink_to(elsewhere)
    runs, left_out = scan([elsewhere])
    assert (len(runs), left_out) == (1, [])


@pytest.mark.parametrize("part", ["config.yaml", "manifest.json", "history.jsonl", "predictions.parquet"])
def test_any_part_of_a_run_without_its_result_is_named(tmp_path: Path, part: str) -> None:
    (tmp_path / part).touch()
    assert [item.path for item in scan([tmp_path])[1]] == [tmp_path]


def test_two_machines_folders_are_one(tmp_path: Path) -> None:
    for seed, machine in ((1, "a"), (2, "b")):
        Drawn(("task=rte",), seed=seed).write(tmp_path / machine)
    runs, _ = scan([tmp_path / "a", tmp_path / "b"])
    assert [run.result["seed"] for run in runs] == [1, 2]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["result.json", "manifest.json", "config.yaml", "predictions.parquet"]),
    cut=st.floats(0, 1),
    junk=st.binary(max_size=20),
)
def test_no_file_however_damaged_stops_the_reading(
    tmp_path_factory: pytest.TempPathFactory, name: str, cut: float, junk: bytes
) -> None:
    folder = RUN.write(tmp_path_factory.mktemp("damaged"))
    whole = (folder / name).read_bytes()
    at = int(cut * len(whole))
    (folder / name).write_bytes(whole[:at] + junk + whole[at + len(junk) :])
    runs, left_out = scan([folder])
    assert len(runs) + len(left_out) == 1
    for run in runs:
        read_predictions(run)


def columns(folder: Path, **changes: Sequence[object]) -> None:
    table = pq.read_table(folder / "predictions.parquet").to_pydict()
    pq.write_table(pa.table(table | changes), folder / "predictions.parquet")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "predictions.parquet").unlink(), "predictions.parquet is missing"),
        (written("predictions.parquet", "PAR1"), "damaged"),
        (lambda folder: columns(folder, epoch=["best"] * 277), "no predictions of the last epoch"),
        (lambda folder: columns(folder, logits=[[float("nan"), 0.0]] * 277), "predictions that are not finite"),
        (lambda folder: columns(folder, logits=[[0.0]] * 276 + [[0.0, 1.0]]), "damaged"),
        (lambda folder: columns(folder, idx=[[0]] * 277), "damaged (ValueError: idx holds lists)"),
    ],
)
def test_predictions_that_cant_be_used_are_named(folder: Path, damage: Callable[[Path], object], reason: str) -> None:
    damage(folder)
    (run,), _ = scan([folder])
    found = read_predictions(run)
    assert isinstance(found, LeftOut)
    assert reason in found.reason


def test_predictions_are_the_last_epochs_classes(folder: Path) -> None:
    (run,), _ = scan([folder])
    found = read_predictions(run)
    assert isinstance(found, Predictions)
    assert (found.outputs == found.labels).mean() == pytest.approx(run.score)


def test_settings_leave_out_what_cant_change_numbers(folder: Path) -> None:
    (run,), _ = scan([folder])
    assert {"optimizer.lr", "train.epochs", "precision", "torch", "weights", "encoder.num_hidden_layers"} <= set(
        run.settings
    )
    left = {"seed", "output_root", "force", "tracking.mode", "train.threads", "data.dir", "task.name", "encoder.name"}
    assert not left & set(run.settings)


def test_a_metric_may_be_larger_than_whole_numbers_are_exact(tmp_path: Path) -> None:
    """The squared error of prices in yen, for one."""
    folder = Drawn(("task=stsb",)).write(tmp_path)
    content = json.loads((folder / "result.json").read_text())
    content["metrics"]["validation"]["mean_squared_error"] = 1.14e16
    (folder / "result.json").write_text(json.dumps(content))
    runs, left_out = scan([tmp_path])
    assert (len(runs), left_out) == (1, [])
