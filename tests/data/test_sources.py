import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glue_pool.data.rows import Rows
from glue_pool.data.sources import content_id, read
from glue_pool.errors import UserError
from glue_pool.schema import DataConfig
from glue_pool.tasks import SourceConfig, TaskConfig

TASKS = ("cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli")
LoadTask = Callable[[str], TaskConfig]


def local(folder: Path | None) -> DataConfig:
    return DataConfig(name="local", dir=str(folder) if folder else None, cache_dir="")


def table(task: TaskConfig, rows: int = 4, /, **columns: Any) -> dict[str, Any]:
    """Columns of a good split, or those given instead; None leaves one out."""
    good: dict[str, Any] = {name: [f"{name} {i}" for i in range(rows)] for name in task.columns}
    good["label"] = [i % len(task.labels) if task.labels else 1.25 * i for i in range(rows)]
    good["idx"] = list(range(rows))
    return {name: values for name, values in (good | columns).items() if values is not None}


def write(file: Path, columns: dict[str, Any], names: list[str] | None = None) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    written = pa.table(columns)
    if names is not None:
        feature = {"label": {"names": names, "_type": "ClassLabel"}}
        info = json.dumps({"info": {"features": feature}})
        written = written.replace_schema_metadata({"huggingface": info})
    pq.write_table(written, file)


@pytest.fixture
def rte(load_task: LoadTask) -> TaskConfig:
    return load_task("rte")


@pytest.fixture
def stsb(load_task: LoadTask) -> TaskConfig:
    return load_task("stsb")


@pytest.fixture
def folder(tmp_path: Path, rte: TaskConfig, stsb: TaskConfig) -> Path:
    """A good local folder with two small tasks."""
    for task in (rte, stsb):
        for split in ("train", "validation"):
            write(tmp_path / task.name / f"{split}.parquet", table(task))
    return tmp_path


def refused(folder: Path | None, task: TaskConfig) -> str:
    with pytest.raises(UserError) as caught:
        read(local(folder), task)
    message = str(caught.value)
    assert "\n" not in message
    return message


# what is read


def test_a_local_folder_is_read_as_it_stands(folder: Path, rte: TaskConfig) -> None:
    write(folder / "rte/train.parquet", table(rte, 3, idx=[7, 9, 8], sentence1=["a", "b", "a"]))
    splits = read(local(folder), rte)
    assert list(splits) == ["train", "validation"]
    train = splits["train"]
    assert train.texts == (["a", "b", "a"], ["sentence2 0", "sentence2 1", "sentence2 2"])
    assert train.labels.tolist() == [0, 1, 0]
    assert train.idx.tolist() == [7, 9, 8]
    assert train.labels.dtype == train.idx.dtype == np.int64


def test_scores_are_float32_up_to_both_ends_of_the_range(folder: Path, stsb: TaskConfig) -> None:
    write(folder / "stsb/train.parquet", table(stsb, label=[0.0, 5.0, 2.6, 4.8]))
    labels = read(local(folder), stsb)["train"].labels
    assert labels.dtype == np.float32
    assert labels.tolist() == pytest.approx([0.0, 5.0, 2.6, 4.8])


def test_duplicate_and_empty_texts_are_kept(folder: Path, rte: TaskConfig) -> None:
    write(folder / "rte/train.parquet", table(rte, 3, sentence1=["same", "same", ""]))
    assert read(local(folder), rte)["train"].texts[0] == ["same", "same", ""]


def test_rows_without_idx_are_counted_from_0(folder: Path, rte: TaskConfig) -> None:
    write(folder / "rte/train.parquet", table(rte, idx=None))
    assert read(local(folder), rte)["train"].idx.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("encode", [pa.array, lambda names: pa.array(names).dictionary_encode()])
def test_string_labels_are_read_by_name(folder: Path, rte: TaskConfig, encode: Callable[[list[str]], pa.Array]) -> None:
    names = ["not_entailment", "entailment", "entailment", "not_entailment"]
    write(folder / "rte/train.parquet", table(rte, label=encode(names)))
    assert read(local(folder), rte)["train"].labels.tolist() == [1, 0, 0, 1]


def test_shards_named_as_on_the_hub_are_one_split(folder: Path, rte: TaskConfig) -> None:
    whole = read(local(folder), rte)["train"]
    (folder / "rte/train.parquet").unlink()
    columns = table(rte)
    for shard in range(2):
        part = {name: values[2 * shard :][:2] for name, values in columns.items()}
        write(folder / f"rte/train-0000{shard}-of-00002.parquet", part, rte.labels)
    assert read(local(folder), rte)["train"].fingerprint() == whole.fingerprint()


@pytest.fixture
def hub(folder: Path, rte: TaskConfig, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    """The same folder, read as `datasets` reads a data set on the hub."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
    card = {"config_name": "rte", "data_dir": "rte"}
    (folder / "README.md").write_text(f"---\nconfigs: [{json.dumps(card)}]\n---\n")
    rte.source.path = str(folder)
    return DataConfig(name="hub", cache_dir="")


def test_the_hub_data_set_gives_the_same_rows(hub: DataConfig, folder: Path, rte: TaskConfig) -> None:
    from_hub, from_folder = read(hub, rte), read(local(folder), rte)
    assert {split: rows.fingerprint() for split, rows in from_hub.items()} == {
        split: rows.fingerprint() for split, rows in from_folder.items()
    }


def test_the_hub_data_sets_label_names_are_checked(hub: DataConfig, folder: Path, rte: TaskConfig) -> None:
    import datasets

    names = datasets.ClassLabel(names=["not_entailment", "entailment"])
    for split in ("train", "validation"):
        rows = datasets.Dataset.from_dict(table(rte)).cast_column("label", names)
        rows.to_parquet(folder / "rte" / f"{split}.parquet")
    with pytest.raises(UserError, match="its labels are not_entailment, entailment"):
        read(hub, rte)


def test_a_hub_data_set_without_the_dev_split_is_refused(hub: DataConfig, folder: Path, rte: TaskConfig) -> None:
    (folder / "rte/validation.parquet").unlink()
    with pytest.raises(UserError, match="no split validation: there are train"):
        read(hub, rte)


def test_an_unreachable_hub_is_one_error_that_names_the_ways_out(
    tmp_path: Path,
) -> None:
    code = (
        "from glue_pool.data.sources import read; from glue_pool.errors import UserError\n"
        "from glue_pool.schema import DataConfig; from glue_pool.tasks import SourceConfig, TaskConfig\n"
        "data = DataConfig(name='hub', cache_dir='')\n"
        "source = SourceConfig(path='nyu-mll/glue', config='rte')\n"
        "try: read(data, TaskConfig(name='rte', source=source, primary_metric='accuracy'))\n"
        "except UserError as error: print(error)"
    )
    env = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    for words in (
        "nyu-mll/glue",
        "data.dir=PATH",
        "data=synthetic",
        "experiment=offline",
        "HF_HOME",
    ):
        assert words in done.stdout


# what is refused


def test_data_dir_not_set(rte: TaskConfig) -> None:
    assert "data.dir is not set" in refused(None, rte)


def test_folder_missing(tmp_path: Path, rte: TaskConfig) -> None:
    missing = tmp_path / "nowhere"
    assert f"data.dir={missing}: there is no such folder" in refused(missing, rte)


def test_task_folder_missing(folder: Path, load_task: LoadTask) -> None:
    assert refused(folder, load_task("cola")).endswith("no folder cola in it; there are rte, stsb")


def test_split_missing(folder: Path, rte: TaskConfig) -> None:
    (folder / "rte/validation.parquet").rename(folder / "rte/dev.parquet")
    message = refused(folder, rte)
    assert f"{folder / 'rte/validation.parquet'} is missing" in message
    assert message.endswith("there are dev.parquet, train.parquet")


def test_shard_missing(folder: Path, rte: TaskConfig) -> None:
    (folder / "rte/train.parquet").rename(folder / "rte/train-00000-of-00002.parquet")
    assert "train-00000-of-00002.parquet: 1 of 2 shards are there" in refused(folder, rte)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def no_parquet(file: Path) -> None:
    file.write_text("sentence1,sentence2,label\n")


def spoil_pages(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[:4] + b"\xff" * 200 + whole[204:])


@pytest.mark.parametrize("spoil", [cut, empty, no_parquet, spoil_pages])
def test_corrupt_parquet(folder: Path, rte: TaskConfig, spoil: Callable[[Path], None]) -> None:
    spoil(folder / "rte/train.parquet")
    assert f"{folder / 'rte/train.parquet'} can't be read as parquet: " in refused(folder, rte)


def test_text_that_is_not_utf8(folder: Path, rte: TaskConfig) -> None:
    latin = pa.Array.from_buffers(
        pa.string(),
        1,
        [None, pa.py_buffer(np.array([0, 1], np.int32).tobytes()), pa.py_buffer(b"\xe9")],
    )
    write(folder / "rte/train.parquet", table(rte, 1, sentence2=latin))
    assert "train.parquet can't be read as parquet: " in refused(folder, rte)


@pytest.mark.parametrize("missing", ["sentence2", "label"])
def test_column_missing(folder: Path, rte: TaskConfig, missing: str) -> None:
    write(folder / "rte/train.parquet", table(rte, **{missing: None}))
    message = refused(folder, rte)
    assert f"rte/train.parquet: no column {missing}; the columns are sentence1, " in message


def test_empty_split(folder: Path, rte: TaskConfig) -> None:
    strings, numbers = pa.array([], pa.string()), pa.array([], pa.int64())
    columns = dict.fromkeys(rte.columns, strings) | {"label": numbers}
    write(folder / "rte/validation.parquet", columns)
    assert "rte/validation.parquet: the split is empty" in refused(folder, rte)


@pytest.mark.parametrize("label", [2, 2**40, -7])
def test_label_outside_the_tasks_labels(folder: Path, rte: TaskConfig, label: int) -> None:
    write(folder / "rte/train.parquet", table(rte, label=[0, 1, label, 0]))
    message = refused(folder, rte)
    assert f"rte/train.parquet: label {label} in row 2 is none of task rte's labels" in message
    assert message.endswith("(0 entailment, 1 not_entailment)")


def test_hidden_labels(folder: Path, rte: TaskConfig) -> None:
    write(folder / "rte/validation.parquet", table(rte, label=[-1] * 4))
    assert "validation.parquet: label -1 in row 0" in refused(folder, rte)
    assert "hidden" in refused(folder, rte)


def test_unknown_label_name(folder: Path, rte: TaskConfig) -> None:
    names = ["entailment", "not_entailment", "neutral", "entailment"]
    write(folder / "rte/train.parquet", table(rte, label=names))
    assert "label 'neutral' in row 2" in refused(folder, rte)


@pytest.mark.parametrize("names", [["not_entailment", "entailment"], ["yes", "no"], ["entailment", "neutral", "no"]])
def test_other_label_names_or_another_order(folder: Path, rte: TaskConfig, names: list[str]) -> None:
    write(folder / "rte/train.parquet", table(rte), names)
    message = refused(folder, rte)
    assert f"rte/train.parquet: its labels are {', '.join(names)} (in this order)" in message
    assert message.endswith("task rte has entailment, not_entailment")


def test_classes_where_scores_belong(folder: Path, stsb: TaskConfig) -> None:
    write(folder / "stsb/train.parquet", table(stsb, label=[0, 1, 1, 0]), ["no", "yes"])
    assert "its labels are no, yes (in this order), task stsb has scores" in refused(folder, stsb)


@pytest.mark.parametrize(("score", "shown"), [(5.5, "5.5"), (-0.1, "-0.1"), (1e300, "1e+300")])
def test_score_that_is_none(folder: Path, stsb: TaskConfig, score: float, shown: str) -> None:
    write(folder / "stsb/validation.parquet", table(stsb, label=[1.0, 2.0, 3.0, score]))
    expected = f"stsb/validation.parquet: score {shown} in row 3 lies outside 0 to 5"
    assert expected in refused(folder, stsb)


@pytest.mark.parametrize(
    ("column", "values", "complaint"),
    [
        ("sentence1", ["a", None, "b", "c"], "sentence1 has no value in row 1"),
        ("label", [0, 1, None, 1], "label has no value in row 2"),
        ("idx", [0, 1, 2, None], "idx has no value in row 3"),
        ("sentence2", [1, 2, 3, 4], "sentence2 holds int64, not text"),
        ("idx", ["0", "b", "c", "d"], "idx has 'b' in row 1, not integers; task.idx=null numbers the rows"),
    ],
)
def test_column_with_holes_or_of_the_wrong_type(
    folder: Path, rte: TaskConfig, column: str, values: list[Any], complaint: str
) -> None:
    write(folder / "rte/train.parquet", table(rte, **{column: values}))
    assert f"rte/train.parquet: column {complaint}" in refused(folder, rte)


# what identifies the data


def test_fingerprint_knows_where_each_text_ends() -> None:
    def of(*texts: list[str], labels: Any = (0, 0), idx: Any = (0, 1)) -> str:
        return Rows(texts, np.array(labels), np.array(idx)).fingerprint()

    different = [
        of(["ab", "c"]),
        of(["a", "bc"]),
        of(["", "abc"]),
        of(["a", "b"], ["c", ""]),
        of(["a", "b"], ["", "c"]),
        of(["c", ""], ["a", "b"]),
        of(["ab", "c"], labels=[0, 1]),
        of(["ab", "c"], labels=[0.0, 0.0]),
        of(["ab", "c"], idx=[1, 0]),
    ]
    assert len(set(different)) == len(different)


@given(st.lists(st.text(st.characters(), max_size=5), max_size=6), st.data())
def test_fingerprint_follows_from_the_rows_alone(texts: list[str], data: st.DataObject) -> None:
    labels = np.arange(len(texts))
    first = Rows((texts,), labels, labels).fingerprint()
    assert Rows((list(texts),), labels.astype(np.int32), labels[:]).fingerprint() == first
    other = data.draw(st.permutations(texts))
    assert (Rows((other,), labels, labels).fingerprint() == first) == (other == texts)


def test_fingerprint_of_400_000_rows_takes_less_than_a_second() -> None:
    texts = ["How do I learn to read faster than I do?"] * 400_000
    numbers = np.arange(400_000)
    started = time.perf_counter()
    Rows((texts, texts), numbers, numbers).fingerprint()
    assert time.perf_counter() - started < 1


def test_a_moved_folder_keeps_its_content_id_and_a_changed_one_does_not(folder: Path, rte: TaskConfig) -> None:
    first = content_id(local(folder), rte)
    moved = folder.rename(folder.with_name("moved"))
    assert content_id(local(moved), rte) == first
    train, dev = (moved / f"rte/{split}.parquet" for split in ("train", "validation"))
    write(dev, table(rte, 5))
    changed = content_id(local(moved), rte)
    train.rename(moved / "swap")
    dev.rename(train)
    (moved / "swap").rename(dev)
    assert len({first, changed, content_id(local(moved), rte)}) == 3


def test_content_id_needs_the_files(folder: Path, rte: TaskConfig) -> None:
    (folder / "rte/train.parquet").unlink()
    with pytest.raises(UserError, match=r"train\.parquet is missing"):
        content_id(local(folder), rte)


def test_content_id_of_hub_and_generated_rows_follows_from_the_config(rte: TaskConfig) -> None:
    configs = [
        DataConfig(name="hub", cache_dir=""),
        DataConfig(name="synthetic", cache_dir=""),
        DataConfig(name="synthetic", train_rows=9, cache_dir=""),
        DataConfig(name="synthetic", dev_rows=9, cache_dir=""),
        DataConfig(name="synthetic", seed=9, cache_dir=""),
    ]
    another = replace(rte, source=SourceConfig(path="nyu-mll/glue", config="rte", revision="abc"))
    found = [content_id(config, rte) for config in configs] + [content_id(configs[0], another)]
    assert len(set(found)) == len(found)
    assert found[0] == "nyu-mll/glue/rte@None"


# the shipped tasks


def test_nine_tasks_are_shipped_with_consistent_splits(load_task: LoadTask) -> None:
    for name in TASKS:
        task = load_task(name)
        assert task.name == name
        splits = [task.train_split, *task.dev_splits, *task.test_splits]
        assert list(task.official_rows) == splits
        assert list(task.submission) == task.test_splits
        assert bool(task.labels) == (task.score_range is None)
        assert task.default_average == (name != "wnli")


# rows of the local copy's splits that are parts of the official ones
SHARING = {"mnli": 9807, "qnli": 2725, "wnli": 14}  # rows of the first dev split that are not alone in their group
PARTS = {
    ("qnli", "train"): 9999,
    ("mnli", "train"): 9999,
    ("mnli", "validation_mismatched"): 1000,
    ("qqp", "train"): 31868,
    ("qqp", "validation"): 1000,
}


@pytest.mark.parametrize("name", TASKS)
def test_real_rows_have_the_tasks_columns_labels_and_counts(name: str, glue_dir: Path, load_task: LoadTask) -> None:
    task = load_task(name)
    for split, rows in read(local(glue_dir), task).items():
        if rows.groups is not None and (name, split) not in PARTS:
            sizes = np.unique(rows.groups, return_counts=True)[1]
            assert sizes[sizes > 1].sum() == SHARING[name]
        assert (rows.groups is None) == (name not in SHARING or split == task.train_split)
        assert len(rows) == PARTS.get((name, split), task.official_rows[split])
        assert len(rows.texts) == len(task.columns)
        assert all(len(column) == len(rows) for column in rows.texts)
        assert len(set(rows.idx)) == len(rows)
        if task.labels:
            assert set(rows.labels) == set(range(len(task.labels)))
            schema = pq.read_schema(glue_dir / name / f"{split}.parquet")
            features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
            assert features["label"]["names"] == task.labels


def test_parquet_is_read_without_pandas(folder: Path, rte: TaskConfig) -> None:
    code = (
        "import pickle, sys; from glue_pool.data.sources import read;"
        "read(*pickle.load(sys.stdin.buffer));"
        "sys.exit('pandas' in sys.modules)"
    )
    asked = pickle.dumps((local(folder), rte))
    assert subprocess.run([sys.executable, "-c", code], input=asked, check=False).returncode == 0
