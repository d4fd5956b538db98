"""What columns say: texts and templates, labels in every form, scores and idx."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from glue_pool.data.rows import Rows
from glue_pool.data.sources import read
from glue_pool.errors import UserError
from glue_pool.schema import DataConfig
from glue_pool.tasks import SourceConfig, TaskConfig

HUB = DataConfig(name="hub", cache_dir="")


def task(file: Path, **keys: Any) -> TaskConfig:
    given: dict[str, Any] = {"columns": ["text"], "labels": ["bad", "good"]} | keys
    source = SourceConfig(files={"train": str(file), "validation": str(file)})
    return TaskConfig(
        name="mine", source=source, metrics=["accuracy"], primary_metric="accuracy", dev_splits=["validation"], **given
    )


def rows(folder: Path, of: dict[str, Any], names: list[str] | None = None, **keys: Any) -> Rows:
    """Read a table from Parquet; its columns have three rows, and `text` is there anyway."""
    table = pa.table({"text": ["a", "b", "c"]} | of)
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, folder / "rows.parquet")
    return read(HUB, task(folder / "rows.parquet", **keys))["train"]


def refused(folder: Path, of: dict[str, Any], names: list[str] | None = None, **keys: Any) -> str:
    with pytest.raises(UserError) as caught:
        rows(folder, of, names, **keys)
    message = str(caught.value)
    assert message.startswith(f"{folder}/rows.parquet: ")
    assert "\n" not in message
    return message.removeprefix(f"{folder}/rows.parquet: ")


# texts


def test_a_template_joins_columns(tmp_path: Path) -> None:
    columns = {"label": [0, 1, 0], "word": ["place", "{text}", ""], "year": [1999, 2000, -1], "x": [0.5, 2.0, 1e9]}
    got = rows(tmp_path, columns, columns=["{word}: {text} ({year})", "{x}"])
    assert got.texts == (["place: a (1999)", "{text}: b (2000)", ": c (-1)"], ["0.5", "2", "1000000000"])


def test_a_nan_is_no_text(tmp_path: Path) -> None:
    said = refused(tmp_path, {"label": [0, 1, 0], "year": [1999.0, float("nan"), 2001.0]}, columns=["{text} {year}"])
    assert said == "column year has no value in row 1, but a NaN"
    (tmp_path / "rows.jsonl").write_text('{"text": "a", "label": 0}\n{"text": NaN, "label": 1}\n')
    with pytest.raises(UserError, match="column text has no value in row 1"):
        read(HUB, task(tmp_path / "rows.jsonl"))


def test_a_column_of_a_template_has_to_be_there(tmp_path: Path) -> None:
    said = refused(tmp_path, {"label": [0, 1, 0]}, columns=["{word}: {text}"])
    assert said == "no column word; the columns are text, label"


def test_text_may_be_of_any_arrow_type_of_text(tmp_path: Path) -> None:
    kinds = [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string()), pa.string_view()]
    for kind in kinds:
        file = tmp_path / "rows.arrow"
        table = pa.table({"text": pa.array(["a", "b"]).cast(kind), "label": pa.array(["bad", "good"]).cast(kind)})
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        got = read(HUB, task(file))["train"]
        assert (got.texts, got.labels.tolist()) == ((["a", "b"],), [0, 1])


def test_numbers_are_no_text_but_a_template_writes_them_out(tmp_path: Path) -> None:
    said = refused(tmp_path, {"label": [0, 1, 0], "text": [1, 2, 3]})
    assert said == "column text holds int64, not text; the template '{text}' writes numbers out"
    assert rows(tmp_path, {"label": [0, 1, 0], "text": [1, 2, 3]}, columns=["{text}"]).texts == (["1", "2", "3"],)


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"]), pa.array([0])], ["text", "text", "label"])
    pq.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(UserError, match="2 columns are called text"):
        read(HUB, task(tmp_path / "rows.parquet"))


# labels

NONE = "is none of task mine's labels"
STARS: dict[str, Any] = {"labels": ["negative", "positive"], "label_map": {"1": "negative", "5": "positive"}}
SETS: dict[str, Any] = {"labels": ["x", "y", "z"], "multi_label": True}
OF_SETS = [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
MEANT: list[tuple[str, list[Any], dict[str, Any], list[Any]]] = [
    ("names", ["bad", "good", "bad"], {}, [0, 1, 0]),
    ("ids", [0, 1, 0], {}, [0, 1, 0]),
    ("ids as text", ["0", "1", "0"], {}, [0, 1, 0]),
    ("ids as floats", [0.0, 1.0, 0.0], {}, [0, 1, 0]),
    ("bools by name", [False, True, False], {"labels": ["True", "False"]}, [1, 0, 1]),
    ("bools as JSON has them", [False, True, False], {"labels": ["true", "false"]}, [1, 0, 1]),
    ("bools, yes and no", [False, True, False], {"labels": ["yes", "no"]}, [1, 0, 1]),
    ("yes and no, which YAML took for bools", ["no", "yes", "No"], {"labels": ["False", "True"]}, [0, 1, 0]),
    ("bools as text", ["True", "false", "TRUE"], {"labels": ["no", "yes"]}, [1, 0, 1]),
    ("bools by a map", [False, True, False], {"label_map": {"True": "bad", "False": "good"}}, [1, 0, 1]),
    ("bools by a map, as text", ["false", "true", "yes"], {"label_map": {"True": "bad", "False": "good"}}, [1, 0, 0]),
    ("a map", [1, 5, 1], STARS, [0, 1, 0]),
    ("a map of text", ["1", "5", "1"], STARS, [0, 1, 0]),
    ("a map of floats", [1.0, 5.0, 1.0], STARS, [0, 1, 0]),
    ("a map of floats as text", ["1.0", "5.0", "1"], STARS, [0, 1, 0]),
    ("names that look like floats", ["1.0", "2.0", "1.0"], {"labels": ["2.0", "1.0"]}, [1, 0, 1]),
    ("a map that says nothing of names", ["1", "positive", "1"], STARS, [0, 1, 0]),
    ("names that are numbers, as text", ["1", "2", "1"], {"labels": ["1", "2"]}, [0, 1, 0]),
    ("names that are the ids", [0, 1, 0], {"labels": ["0", "1"]}, [0, 1, 0]),
    ("another column", [1, 0, 1], {"label": "gold"}, [1, 0, 1]),
    ("lists of names", [["x", "z"], [], ["y"]], SETS, OF_SETS),
    ("lists of ids", [[0, 2], [], [1]], SETS, OF_SETS),
    ("lists of 0 and 1", OF_SETS, SETS, OF_SETS),
    ("lists of one id", [[0], [2], [0]], SETS, [[1, 0, 0], [0, 0, 1], [1, 0, 0]]),
    ("lists of bools", [[bool(n) for n in row] for row in OF_SETS], SETS, OF_SETS),
    ("lists of 0.0 and 1.0", [[float(n) for n in row] for row in OF_SETS], SETS, OF_SETS),
    ("a name twice", ["x, z, x", "", "y"], SETS, OF_SETS),
    ("text with separators", ["x, z", "", "y"], SETS, OF_SETS),
    ("text with other separators", ["z|x", " ", "y|"], SETS | {"separator": "|"}, OF_SETS),
]


@pytest.mark.parametrize(("what", "values", "keys", "meant"), MEANT, ids=[of[0] for of in MEANT])
def test_labels_are_what_the_data_say(
    tmp_path: Path, what: str, values: list[Any], keys: dict[str, Any], meant: list[Any]
) -> None:
    got = rows(tmp_path, {keys.get("label", "label"): values}, **keys)
    assert got.labels.dtype == np.int64
    assert got.labels.tolist() == meant


def test_labels_may_be_columns_of_0_and_1(tmp_path: Path) -> None:
    columns = {"x": [1, 0, 0], "y": [False, False, True], "z": ["1", "0", "0"]}
    assert rows(tmp_path, columns, label=None, **SETS).labels.tolist() == OF_SETS
    assert (
        refused(tmp_path, columns | {"y": [0, 2, 1]}, label=None, **SETS)
        == "column y has 2 in row 1; a label's column has 0 or 1"
    )
    assert refused(tmp_path, {"x": [0, 1, 0]}, label=None, **SETS) == "no column y; the columns are text, x"


TWO: dict[str, Any] = {"labels": ["x", "y"], "multi_label": True}


@pytest.mark.parametrize(
    ("train", "dev", "meant"),
    [
        ([[0], [0, 1], [1]], [[0, 1], [1, 0]], [[1, 1], [1, 1]]),  # ids in train, so in dev
        ([[0, 0], [0, 1], [1, 0]], [[0, 1], [1, 0]], [[0, 1], [1, 0]]),  # places
        ([[0, 1], [1, 0], [1, 0]], [[1, 1], [1, 0]], [[1, 1], [1, 0]]),  # dev says so
    ],
)
def test_lists_of_0_and_1_have_one_meaning_in_all_splits(tmp_path: Path, train: Any, dev: Any, meant: Any) -> None:
    for name, labels in (("train", train), ("dev", dev)):
        pq.write_table(pa.table({"text": ["a"] * len(labels), "label": labels}), tmp_path / f"{name}.parquet")
    of = task(tmp_path / "train.parquet", **TWO)
    of.source.files["validation"] = str(tmp_path / "dev.parquet")
    assert read(HUB, of)["validation"].labels.tolist() == meant


@pytest.mark.parametrize(("values", "labels"), [([[0, 1], [1, 0], [0, 1]], ["x", "y"]), ([[0], [0], [0]], ["x"])])
def test_lists_that_could_be_ids_or_places_are_refused(tmp_path: Path, values: Any, labels: list[str]) -> None:
    with pytest.raises(UserError, match="could be class ids, or a 0 or 1 for each label"):
        rows(tmp_path, {"label": values}, **(TWO | {"labels": labels}))


def test_a_data_sets_own_names_are_asserted_or_mapped(tmp_path: Path) -> None:
    assert rows(tmp_path, {"label": [0, 1, 0]}, ["bad", "good"]).labels.tolist() == [0, 1, 0]
    assert "its labels are good, bad (in this order), task mine has bad, good" in refused(
        tmp_path, {"label": [0, 1, 0]}, ["good", "bad"]
    )
    assert "task mine has scores" in refused(tmp_path, {"label": [0, 1, 0]}, ["good", "bad"], labels=[])
    names: dict[str, Any] = {"labels": ["different", "same"], "label_map": {"0": "different", "1": "same"}}
    assert rows(tmp_path, {"label": [0, 1, 0]}, ["0", "1"], **names).labels.tolist() == [0, 1, 0]
    for said in ({0: "bad", 1: "good"}, {1: "bad", 0: "good"}):  # by the ids that stand for the names
        by_id: dict[str, Any] = {"label_map": {str(i): name for i, name in said.items()}}
        meant = [{"bad": 0, "good": 1}[said[i]] for i in (0, 1, 0)]
        for own in (["neg", "pos"], ["bad", "good"]):
            assert rows(tmp_path, {"label": [0, 1, 0]}, own, **by_id).labels.tolist() == meant
    turned: dict[str, Any] = {"labels": ["same", "different"], "label_map": {"no": "different", "yes": "same"}}
    assert rows(tmp_path, {"label": [0, 1, 0]}, ["no", "yes"], **turned).labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("values", "keys", "said"),
    [
        (["bad", "goood", "bad"], {}, f"label 'goood' in row 1 {NONE} (0 bad, 1 good); did you mean 'good'?"),
        ([0, 1, 2], {}, f"label 2 in row 2 {NONE} (0 bad, 1 good)"),
        ([0, -1, 1], {}, f"label -1 in row 1 {NONE} (0 bad, 1 good): this split's labels are hidden"),
        ([1, 5, 3], STARS, f"label 3 in row 2 {NONE} (negative, positive, 1, 5)"),
        ([1, 0, 1], STARS, f"label 0 in row 1 {NONE} (negative, positive, 1, 5)"),
        ([True, False, True], {}, f"label True in row 0 {NONE} (0 bad, 1 good); label_map: {{true: …, false: …}} says"),
        (["no", "maybe", "no"], {"labels": ["False", "True"]}, f"label 'maybe' in row 1 {NONE} (0 False, 1 True)"),
        ([["x"], ["y", "w"], []], SETS, f"label 'w' in row 1 {NONE} (0 x, 1 y, 2 z)"),
        ([0, 1, 2], SETS, "column label holds int64; a multi-label task takes lists, or text"),
        ([None, 0, 1], {}, "column label has no value in row 0"),
        ([0.5, 2.0, 1.0], {"labels": ["0.5", "1.0", "2.0"]}, "the number 0.5 is the label '0.5', or no class id"),
        (
            [0.0, 1.0, 0.0],
            {"labels": ["1.0", "0.0"]},
            "the number 0 is no label by that name, or the class id of '1.0'",
        ),
        (["0", "1", "0"], {"labels": ["1.0", "0.0"]}, f"label '0' in row 0 {NONE} (0 1.0, 1 0.0)"),
        ([[0, 1, 1], [1, 0], [0, 0, 0]], SETS, "row 0 says 1 twice; a 0 or a 1 for every label stands in every row"),
        (["0,1,1", "1,0,0", "2"], SETS, "row 0 says '1' twice; a 0 or a 1 for every label stands in every row"),
        ([["bad"], ["good"], []], {}, "column label holds list<element: string>, no labels; multi_label: true takes"),
        ([{"a": 1}, {"a": 2}, {"a": 1}], {}, "column label holds struct<a: int64>, no labels"),
    ],
)
def test_a_label_that_the_list_lacks_is_named_with_its_row(
    tmp_path: Path, values: list[Any], keys: dict[str, Any], said: str
) -> None:
    assert said in refused(tmp_path, {"label": values}, **keys)


@pytest.mark.parametrize("values", [[1, 2, 1], [1, 2, 3], [0, 1, 0], [1.0, 2.0, 3.0]])
def test_numbers_that_may_be_names_or_ids_are_refused_with_both_readings(tmp_path: Path, values: list[Any]) -> None:
    said = refused(tmp_path, {"label": values}, labels=["1", "2", "3"])
    first = "the label '1'" if values[0] else "no label by that name"
    as_id = "'2'" if values[0] else "'1'"
    assert said.startswith(
        f"the number {int(values[0])} is {first}, or the class id of {as_id}; task.label_map says which"
    )
    mapped: dict[str, Any] = {"labels": ["1", "2", "3"], "label_map": {"0": "1", "1": "2", "2": "3", "3": "3"}}
    assert rows(tmp_path, {"label": values}, **mapped).labels.tolist() == [min(int(value), 2) for value in values]


def test_negative_numbers_are_no_class_ids(tmp_path: Path) -> None:
    said = refused(tmp_path, {"label": [-1, 1, -1]}, labels=["-1", "1"])
    assert said.startswith(
        "the number -1 is the label '-1', or no class id; task.label_map says which: label_map: {-1: "
    )
    mapped: dict[str, Any] = {"labels": ["-1", "1"], "label_map": {"-1": "-1", "1": "1"}}
    assert rows(tmp_path, {"label": [-1, 1, -1]}, **mapped).labels.tolist() == [0, 1, 0]


# scores and idx


def test_scores_may_be_of_any_range(tmp_path: Path) -> None:
    got = rows(tmp_path, {"label": ["-3", "1e4", "0.25"]}, labels=[])
    assert got.labels.dtype == np.float32
    assert got.labels.tolist() == [-3.0, 10000.0, 0.25]
    said = refused(tmp_path, {"label": ["1", "good", "2"]}, labels=[])
    assert said == "column label has 'good' in row 1, no score; task.labels lists the names of classes"
    assert (
        refused(tmp_path, {"label": [1, 2, 7]}, labels=[], score_range=[0.0, 5.0])
        == "score 7 in row 2 lies outside 0 to 5"
    )


def test_rows_go_by_the_column_that_is_named_or_by_their_number(tmp_path: Path) -> None:
    columns = {"label": [0, 1, 0], "idx": [4, 2, 9], "doc": ["7", "8", "6"], "name": ["u", "v", "w"]}
    assert rows(tmp_path, columns).idx.tolist() == [4, 2, 9]
    assert rows(tmp_path, columns, idx="doc").idx.tolist() == [7, 8, 6]
    assert rows(tmp_path, columns, idx=None).idx.tolist() == [0, 1, 2]
    assert rows(tmp_path, {"label": [0, 1, 0]}).idx.tolist() == [0, 1, 2]
    assert refused(tmp_path, columns, idx="name").startswith("column name has 'u' in row 0, not integers")
    assert refused(tmp_path, columns, idx="number").startswith("no column number;")


# groups


def dev_rows(folder: Path, of: dict[str, Any], **keys: Any) -> Rows:
    rows(folder, of, **keys)
    return read(HUB, task(folder / "rows.parquet", **keys))["validation"]


@pytest.mark.parametrize(
    ("group", "columns", "groups"),
    [
        ("text", {}, [0, 1, 2]),
        ("of", {"of": ["x", "y", "x"]}, [0, 1, 0]),
        ("of", {"of": [7, 7, 1]}, [0, 0, 2]),
        ("{a} {b}", {"a": [1, 1, 1], "b": ["x", "y", "x"]}, [0, 1, 0]),
    ],
)
def test_rows_of_equal_text_are_a_group(tmp_path: Path, group: str, columns: dict[str, Any], groups: list[int]) -> None:
    got = dev_rows(tmp_path, {"label": [0, 1, 0]} | columns, group=group).groups
    assert got is not None
    assert got.tolist() == groups


def test_a_share_of_the_train_rows_keeps_its_groups(tmp_path: Path) -> None:
    of = {"label": [0, 1] * 20, "text": [f"row {i}" for i in range(40)], "of": [i // 20 for i in range(40)]}
    table = pa.table(of)
    pq.write_table(table, tmp_path / "rows.parquet")
    one = dataclasses.replace(task(tmp_path / "rows.parquet", group="of", dev_share=0.5), dev_splits=["dev"])
    one.source.files.pop("validation")
    got = read(HUB, one)["dev"]
    assert got.groups is not None
    assert [got.groups[i] == 20 for i in range(len(got))] == [row >= 20 for row in got.idx]


def test_groups_are_of_dev_rows_alone(tmp_path: Path) -> None:
    """The train file need not have the column."""
    assert rows(tmp_path, {"label": [0, 1, 0], "of": [1, 1, 2]}, group="of").groups is None


@pytest.mark.parametrize(
    ("of", "said"),
    [
        ({}, "no column doc; the columns are text, label"),
        ({"doc": ["a", None, "b"]}, "column doc has no value in row 1"),
        ({"doc": [["a"], [], []]}, "column doc holds list<element: string>, not text"),
    ],
)
def test_a_group_that_no_column_says_is_refused(tmp_path: Path, of: dict[str, Any], said: str) -> None:
    assert refused(tmp_path, {"label": [0, 1, 0]} | of, group="doc") == said
