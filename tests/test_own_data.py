"""A task of one's own from its files: `glue-pool task new`, and the way of docs/own-data.md."""

import csv
import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import glue_pool
from glue_pool import cli, commandline
from glue_pool.data import sources
from glue_pool.data.task_file import text as yaml_text
from glue_pool.errors import UserError
from glue_pool.tasks import TaskConfig
from test_docs import OWN_DATA, Block, blocks, finished, run_section

Printed = pytest.CaptureFixture[str]
WORDS = "plain film story actor quick slow bright dull music scene light end warm cold long short".split()
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(
    lambda name: name != "???"
)  # OmegaConf's own


def sentence(draw: Random, words: int = 8) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(words))


def texts(rows: int, seed: int = 0, words: int = 8) -> list[str]:
    draw = Random(seed)
    return [f"{sentence(draw, words)} {i}" for i in range(rows)]


def write(file: Path, columns: Mapping[str, Sequence[Any]]) -> Path:
    """Write columns as the file's ending says."""
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if file.suffix in (".csv", ".tsv"):
        with file.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(columns), delimiter="\t" if file.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    elif file.suffix == ".jsonl":
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    elif file.suffix == ".parquet":
        pq.write_table(pa.table(dict(columns)), file)
    else:
        feather.write_feather(pa.table(dict(columns)), str(file), compression="uncompressed")
    return file


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def composed(name: str, folder: str = "my_conf") -> TaskConfig:
    """The task as `train` composes it."""
    (cfg,) = commandline.jobs(["--config-dir", folder, f"task={name}"])
    return cfg.task


def names_by_value(task: TaskConfig) -> dict[str, str]:
    return {str(value): name for value, name in task.label_map.items()}


def new(capsys: Printed, *arguments: str) -> tuple[TaskConfig, str]:
    """Write a task, and return it as `train` composes it, and what was said."""
    capsys.readouterr()
    cli.main(["task", "new", *arguments])
    said = capsys.readouterr()
    assert said.err == ""
    return composed(arguments[0]), said.out


def refused(capsys: Printed, here: Path, *arguments: str) -> str:
    """Refuse a command line before anything is written, and return the one line it says."""
    before = {path: path.is_file() and path.read_bytes() for path in here.rglob("*")}
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main(["task", "new", *arguments])
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert {path: path.is_file() and path.read_bytes() for path in here.rglob("*")} == before
    return err


def test_two_files_of_single_texts(here: Path, capsys: Printed) -> None:
    train: dict[str, Sequence[Any]] = {
        "id": range(7, 47),
        "text": texts(40),
        "sentiment": ["positive", "negative", "negative", "positive"] * 10,
    }
    dev = {
        "id": range(3),
        "text": [train["text"][4], "", " ".join(WORDS * 9)],
        "sentiment": ["negative"] * 2 + ["positive"],
    }
    write(here / "train.csv", train)
    write(here / "dev.csv", dev)
    task, said = new(capsys, "reviews", "train.csv", "dev.csv")
    assert (task.columns, task.label, task.idx) == (["text"], "sentiment", "id")
    assert task.labels == ["negative", "positive"]
    assert (task.metrics[:2], task.primary_metric) == (["accuracy", "f1"], "accuracy")
    assert task.source.files == {"train": str(here / "train.csv"), "dev": str(here / "dev.csv")}
    assert (task.train_split, task.dev_splits, task.dev_share, task.test_splits) == ("train", ["dev"], None, [])
    for words in (
        "40 train, 3 dev",
        "id, text, sentiment",
        "text: by its name (--text COLUMN says otherwise)",
        "sentiment: by its name (--label COLUMN says otherwise)",
        "one label a row: 2 different texts (--kind says otherwise)",
        "negative      20 train       2 dev",
        "positive      20 train       1 dev",
        "long texts   1 of 3 dev rows (33.3 %) have more than 128 words",
        "empty texts  1 of 3 dev rows (33.3 %) have an empty text",
        "1 of 3 dev rows (33.3 %) are in train, too",
        "my_conf/task/reviews.yaml",
        "glue-pool train --config-dir my_conf task=reviews encoder=minilm_l6\n",
        "task=reviews encoder=minilm_l6 pooling=bert,mean,maxpool seed=1,2,3,4,5\n",
        "glue-pool report\n",
    ):
        assert words in said
    first = (here / "my_conf/task/reviews.yaml").read_text().splitlines()[0]
    assert first == "# Which of 2 labels fits a text? (train.csv, dev.csv)"
    cli.main(["list", "task", "--config-dir", "my_conf"])
    assert "Which of 2 labels fits a text? (train.csv, dev.csv)" in " ".join(capsys.readouterr().out.split())


def test_the_commands_that_it_prints_compose(here: Path, capsys: Printed) -> None:
    write(here / "train.csv", {"text": texts(20), "label": ["a", "b"] * 10})
    cli.main(["task", "new", "mine", "train.csv", "--config-dir", "other conf"])
    said = capsys.readouterr().out
    lines = [line[line.index("glue-pool") :] for line in said.splitlines() if "glue-pool train" in line]
    counts = []
    for line in lines:
        words = subprocess.run(["bash", "-c", f'printf "%s\\n" {line}'], capture_output=True, text=True, check=True)
        counts.append(len(commandline.jobs(words.stdout.splitlines()[2:])))
    assert counts == [1, 15]


def test_one_file_gives_a_share_of_itself(here: Path, capsys: Printed) -> None:
    write(here / "all.tsv", {"review": [*texts(30), *texts(6)], "stars": [1, 2, 3, 4, 5, 6] * 6})
    task, said = new(capsys, "stars", "all.tsv", "--dev-share", "0.2")
    assert (task.dev_splits, task.dev_share, list(task.source.files)) == (["dev"], 0.2, ["train"])
    assert task.labels == ["1", "2", "3", "4", "5", "6"]
    assert task.label_map == {}  # text that is a name is that label
    assert (task.metrics, task.primary_metric) == (["accuracy", "f1_macro"], "accuracy")
    assert "--kind regression makes scores of them" in said
    assert "6 of 36 train rows (16.7 %) repeat another's texts" in said
    assert new(capsys, "stars", "all.tsv", "--force")[0].dev_share == 0.1


def test_six_classes_of_pairs_by_name_in_three_splits(here: Path, capsys: Printed) -> None:
    names = ["who", "what", "where", "when", "why", "no"]
    for split, rows in (("train", 36), ("dev", 12)):
        columns = {"question": texts(rows), "passage": texts(rows, 1), "topic": names * (rows // 6)}
        write(here / f"{split}.jsonl", columns)
    write(here / "test.jsonl", {"question": texts(5), "passage": texts(5, 2)})
    task, said = new(capsys, "six", "train.jsonl", "dev.jsonl", "test.jsonl")
    assert (task.columns, task.label, task.labels) == (["question", "passage"], "topic", sorted(names))
    assert (task.dev_splits, task.test_splits) == (["dev"], ["test"])
    assert list(task.source.files) == ["train", "dev", "test"]
    assert "36 train, 12 dev, 5 test" in said
    assert "repeated     12 of 12 dev rows (100.0 %) are in train, too" in said


def test_scores(here: Path, capsys: Printed) -> None:
    draw = Random(0)
    scores = [0.0, 5.0, *(round(draw.uniform(0, 5), 2) for _ in range(28))]
    for ending in ("parquet", "csv", "arrow"):
        write(here / f"sim.{ending}", {"sentence1": texts(30), "sentence2": texts(30, 1), "score": scores})
        task, said = new(capsys, f"sim_{ending}", f"sim.{ending}")
        assert (task.labels, task.standardise, task.score_range) == ([], True, [0.0, 5.0])
        assert task.primary_metric == "pearson"
        assert "scores are 0 to 5" in said
    write(here / "price.csv", {"text": texts(60), "label": [7 * i for i in range(60)]})
    task, said = new(capsys, "price", "price.csv")
    assert (task.labels, task.standardise, task.score_range) == ([], True, None)
    assert "--kind single makes labels of them" in said
    write(here / "floats.parquet", {"text": texts(60), "label": [1.0, 0.0] * 30})
    task, said = new(capsys, "floats", "floats.parquet")
    assert (task.labels, task.score_range) == ([], [0.0, 1.0])
    assert "--kind single makes labels of them" in said
    assert new(capsys, "classes", "floats.parquet", "--kind", "single")[0].labels == ["0", "1"]
    write(here / "stars.csv", {"text": texts(60), "stars": [1, 2, 3] * 20})
    assert new(capsys, "stars", "stars.csv", "--kind", "regression")[0].labels == []


@pytest.mark.parametrize("separator", [", ", ";", "|"])
def test_several_labels_as_text(here: Path, capsys: Printed, separator: str) -> None:
    sets = [["calm", "warm"], ["calm"], [], ["sad", "warm"], ["no"], ["calm", "sad", "no"]] * 5
    write(here / "m.csv", {"text": texts(30), "mood": [separator.join(labels) for labels in sets]})
    task, said = new(capsys, "m", "m.csv")
    assert (task.label, task.multi_label, task.separator) == ("mood", True, separator.strip())
    assert task.labels == ["calm", "no", "sad", "warm"]
    assert (task.metrics, task.primary_metric) == (["f1_micro", "f1_macro", "accuracy"], "f1_micro")
    assert "calm      15 train" in said
    assert new(capsys, "m1", "m.csv", "--kind", "multi", "--label", "mood")[0].labels == task.labels


def test_several_labels_as_lists(here: Path, capsys: Printed) -> None:
    sets = [["calm", "warm"], ["calm"], [], ["sad", "warm"]] * 5
    write(here / "m.jsonl", {"text": texts(20), "emotions": sets})
    task, _ = new(capsys, "m", "m.jsonl")
    assert (task.label, task.multi_label, task.labels) == ("emotions", True, ["calm", "sad", "warm"])
    write(here / "ids.parquet", {"text": texts(20), "labels": [[0, 2], [1], [], [2]] * 5})
    task, _ = new(capsys, "ids", "ids.parquet")
    assert (task.label, task.labels, task.label_map) == ("labels", ["0", "1", "2"], {})


def test_several_labels_as_lists_of_0_and_1(here: Path, capsys: Printed) -> None:
    write(here / "m.jsonl", {"text": texts(20), "labels": [[0, 1, 1], [1, 0, 0], [0, 0, 0], [1, 0, 1]] * 5})
    task, said = new(capsys, "m", "m.jsonl")
    assert (task.labels, task.label_map) == (["0", "1", "2"], {})
    assert "0      10 train" in said
    assert "1       5 train" in said


def test_label_names_in_a_files_metadata_are_its_ids_names(here: Path, capsys: Printed) -> None:
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["c", "b", "a"])}
    )
    rows = datasets.Dataset.from_dict({"text": texts(20), "label": [2, 0] * 10}, features=features)
    rows.to_parquet(here / "rows.parquet")
    task, said = new(capsys, "mine", "rows.parquet")
    assert (task.labels, task.label_map) == (["c", "b", "a"], {})
    assert "no row of rows.parquet has b" in said


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_several_labels_as_columns_of_0_and_1(here: Path, capsys: Printed, ending: str) -> None:
    columns: dict[str, Sequence[Any]] = {
        "text": texts(20),
        "toxic": [0, 1] * 10,
        "rude": [0, 0, 0, 1] * 5,
        "no": [0] * 20,
    }
    write(here / f"m.{ending}", columns)
    task, said = new(capsys, "m", f"m.{ending}")
    assert (task.label, task.multi_label, task.labels) == (None, True, ["toxic", "rude", "no"])
    assert "rude        5 train" in said


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["yes", "no"], ["no", "yes"]),
        (["Positive", "Neutral", "Negative"], ["Negative", "Neutral", "Positive"]),
        (["equivalent", "not_equivalent"], ["not_equivalent", "equivalent"]),
        (["acceptable", "unacceptable"], ["unacceptable", "acceptable"]),
        (["True", "False"], ["False", "True"]),
        ([True, False], ["false", "true"]),
        (["spam", "ham"], ["ham", "spam"]),
        ([1, 0], ["0", "1"]),
        ([1, -1], ["-1", "1"]),
        (["b", "c", "a"], ["a", "b", "c"]),
        (["Arts, Culture", "Sports"], ["Arts, Culture", "Sports"]),
    ],
)
def test_labels_have_their_usual_order(here: Path, capsys: Printed, values: list[Any], labels: list[str]) -> None:
    write(here / "rows.jsonl", {"text": texts(6 * len(values)), "label": values * 6})
    task, _ = new(capsys, "mine", "rows.jsonl")
    assert (task.labels, task.multi_label) == (labels, False)
    assert names_by_value(task) == ({"-1": "-1", "1": "1"} if -1 in values else {})


def test_what_is_asked_for_wins_over_every_guess(here: Path, capsys: Printed) -> None:
    columns: dict[str, Sequence[Any]] = {
        "title": texts(20),
        "body": texts(20, 1),
        "text": texts(20, 2),
        "label": [0, 1] * 10,
        "mood": ["a", "b"] * 10,
    }
    write(here / "rows.csv", columns | {"row": range(20), "idx": ["x"] * 20})
    task, said = new(capsys, "mine", "rows.csv", "--text", "{title}: {body}", "text", "--label", "mood", "--idx", "row")
    assert (task.columns, task.label, task.idx) == (["{title}: {body}", "text"], "mood", "row")
    assert said.count("as asked") == 3
    assert new(capsys, "other", "rows.csv")[0].idx is None  # its column idx is none
    write(here / "rows.jsonl", {"year": range(20), "text": texts(20), "label": [0, 1] * 10})
    assert new(capsys, "years", "rows.jsonl", "--text", "{year}: {text}")[0].columns == ["{year}: {text}"]


def test_names_that_yaml_would_read_as_something_else_stay_names(here: Path, capsys: Printed) -> None:
    names = [
        "no",
        "yes",
        "null",
        "1",
        "1e3",
        "0x1F",
        "~",
        "2020-01-01",
        ": a",
        "# b",
        "${seed}",
        "it's",
        'say "x"',
        "é",
        "a  b",
    ]
    write(here / "rows.jsonl", {"text": texts(30), "${label}": names * 2})
    task, _ = new(capsys, "mine", "rows.jsonl", "--label", "${label}")
    assert (task.labels, task.label) == (sorted(names), "${label}")


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.lists(NAMES, min_size=2, unique=True))
@example(names=["y", "n"])
@example(names=["\\${x}", "\\\\${x}", "$", "\\"])
def test_any_label_is_written_so_that_it_is_read(here: Path, names: list[str]) -> None:
    task: dict[str, Any] = {"name": "mine", "columns": ["text"], "labels": names, "dev_splits": ["dev"]}
    task |= {"metrics": ["accuracy"], "primary_metric": "accuracy"}
    task |= {"source": {"files": {"train": "rows.csv", "dev": "dev.csv"}}}
    (here / "my_conf/task").mkdir(parents=True, exist_ok=True)
    (here / "my_conf/task/mine.yaml").write_text(yaml_text(task), encoding="utf-8")
    assert composed("mine").labels == names


def test_a_text_with_stray_quotes_swallows_no_rows(here: Path, capsys: Printed) -> None:
    lines = [f"{text}\t{'ab'[i % 2]}" for i, text in enumerate(texts(20))]
    lines[4], lines[9] = '"Well, I never\ta', 'he said "no"\tb'
    lines[11] = 'and so on"\tb'
    (here / "rows.tsv").write_text("\n".join(["text\tlabel", *lines]) + "\n")
    task, said = new(capsys, "mine", "rows.tsv")
    assert "20 train" in said
    assert not task.source.quotes
    assert "quotes are read as part of the texts" in said
    write(here / "rows.csv", {"text": [f'{text}, "x"\nand' for text in texts(20)], "label": ["a", "b"] * 10})
    assert new(capsys, "other", "rows.csv")[0].source.quotes


def test_single_words_are_texts_where_there_are_no_others(here: Path, capsys: Printed) -> None:
    write(here / "rows.csv", {"": range(20), "word": WORDS + WORDS[:4], "label": ["a", "b"] * 10})
    task, said = new(capsys, "mine", "rows.csv")
    assert task.columns == ["word"]
    assert "(no name), word, label" in said


def test_shards_are_a_glob(here: Path, capsys: Printed) -> None:
    for i in range(3):
        write(here / f"train-{i}.parquet", {"text": texts(10, i), "label": ["a", "b"] * 5})
    task, said = new(capsys, "mine", "train-*.parquet")
    assert task.source.files == {"train": str(here / "train-*.parquet")}
    assert "30 train" in said


def test_a_label_that_train_does_not_have_is_said(here: Path, capsys: Printed) -> None:
    write(here / "train.csv", {"text": texts(20), "label": ["a", "b"] * 10})
    write(here / "dev.csv", {"text": texts(4, 1), "label": ["a", "b", "c", "c"]})
    task, said = new(capsys, "mine", "train.csv", "dev.csv")
    assert task.labels == ["a", "b", "c"]
    assert "no row of train.csv has c" in said


@pytest.mark.parametrize("name", "cola sst2 mrpc stsb qqp mnli qnli rte wnli".split())
def test_glues_own_files_are_found_to_be_what_they_are(
    glue_dir: Path, load_task: Callable[[str], TaskConfig], capsys: Printed, name: str
) -> None:
    known = load_task(name)
    splits = [known.train_split, known.dev_splits[0]]
    task, _ = new(capsys, f"my_{name}", *(str(glue_dir / name / f"{split}.parquet") for split in splits))
    assert (task.columns, task.label, task.idx) == (known.columns, "label", "idx")
    assert (task.labels, task.score_range, task.label_map) == (known.labels, known.score_range, {})


def test_glues_way_to_write_tsv(glue_dir: Path, here: Path, capsys: Printed) -> None:
    table = pq.read_table(glue_dir / "mrpc" / "validation.parquet")
    rows = zip(*(table.column(column).to_pylist() for column in ("label", "sentence1", "sentence2")), strict=True)
    lines = ["Quality\t#1 String\t#2 String", *("\t".join(map(str, row)) for row in rows)]  # quotes are text
    (here / "dev.tsv").write_text("\n".join(lines) + "\n")
    task, said = new(capsys, "mine", "dev.tsv", "--text", "#1 String", "#2 String")
    assert (task.label, task.labels, task.source.quotes) == ("Quality", ["0", "1"], '\t"' not in "\n".join(lines))
    assert "408 train" in said


ROWS: dict[str, Sequence[Any]] = {"text": texts(20), "label": ["a", "b"] * 10}


@pytest.mark.parametrize(
    ("columns", "arguments", "said"),
    [
        (ROWS, ["mine", "nowhere.csv"], "nowhere.csv"),
        (ROWS, ["rte", "rows.csv"], "rte: a task that comes with glue-pool; take another name"),
        (ROWS, ["a/b", "rows.csv"], "task.name=a/b: it names folders, and takes up to 80"),
        (ROWS, ["a" * 200, "rows.csv"], "it names folders, and takes up to 80 letters"),
        (ROWS, ["null", "rows.csv"], "null: this task can't be used: null.yaml: task=null"),
        (ROWS, ["mine"], "the following arguments are required: FILE"),
        (ROWS, ["mine", *["rows.csv"] * 4], "a task has a train, a dev and a test file; shards are a glob"),
        (ROWS, ["mine", "rows.csv", "--dev-share", "2"], "task.dev_share=2.0: has to be above 0 and below 1"),
        (ROWS, ["mine", "rows.csv", "rows.csv", "--dev-share", "0.2"], "--dev-share 0.2: the dev rows are those of"),
        (
            ROWS,
            ["mine", "rows.csv", "--label", "lable"],
            "--label lable: rows.csv has no such column; did you mean 'label'",
        ),
        (ROWS, ["mine", "rows.csv", "--text", "txt"], "--text txt: rows.csv has no such column; did you mean 'text'"),
        (ROWS, ["mine", "rows.csv", "--text", "{txt}"], "--text txt: rows.csv has no such column"),
        (
            ROWS,
            ["mine", "rows.csv", "--text", "{text"],
            "--text {text: rows.csv has no such column; did you mean 'text'",
        ),
        (ROWS, ["mine", "rows.csv", "--text", "label", "--label", "label"], "--text label: this is the label"),
        (
            {"a": texts(20), "b": texts(20), "c": texts(20), "label": ["a", "b"] * 10},
            ["mine", "rows.csv", "--text", *"abc"],
            "task.columns: 3 of them; a task has one text or two",
        ),
        (
            ROWS,
            ["mine", "rows.csv", "--label", "label", "--idx", "text"],
            "in row 0, not integers; task.idx=null numbers the rows",
        ),
        (
            ROWS,
            ["mine", "rows.csv", "--kind", "regression"],
            "--kind regression: column label of rows.csv holds a, b",
        ),
        (ROWS, ["mine", "rows.csv", "--kind", "many"], "argument --kind: invalid choice: 'many'"),
        ({"text": texts(20)}, ["mine", "rows.csv"], "none of its columns (text) looks like a label; --label COLUMN"),
        (ROWS | {"class": [1, 2] * 10}, ["mine", "rows.csv"], "rows.csv: label or class? --label COLUMN says which"),
        (
            {"text": texts(20), "colour": ["a", "b"] * 10, "size": ["c", "d"] * 10},
            ["mine", "rows.csv"],
            "rows.csv: the label could be colour, size; --label COLUMN says which\n",
        ),
        (
            {"text": texts(20), "a": [0, 1] * 10, "b": [0, 1] * 10, "size": ["c", "d"] * 10},
            ["mine", "rows.csv"],
            "the label could be a, b, size; --label COLUMN says which, --kind multi makes labels of the columns of 0",
        ),
        (
            {"one": texts(20), "two": texts(20, 1), "three": texts(20, 2), "label": ["a", "b"] * 10},
            ["mine", "rows.csv"],
            "rows.csv: the texts could be one, two, three; --text COLUMN says which, one or two",
        ),
        (
            {"n": range(20), "label": ["a", "b"] * 10},
            ["mine", "rows.csv"],
            "none of its columns (n, label) looks like text",
        ),
        ({"text": [], "label": []}, ["mine", "rows.csv"], "rows.csv: the split is empty"),
        ({"text": texts(20), "label": ["a"] * 20}, ["mine", "rows.csv"], "column label says nothing but 'a'"),
        ({"text": texts(60), "label": texts(60, 1)}, ["mine", "rows.csv"], "looks like a label"),
        (
            {"text": texts(20), "label": ["a", "", "b", "b"] * 5},
            ["mine", "rows.csv"],
            "label '' in row 1 is none of task mine's",
        ),
        ({"text": texts(20), "label": [0.5] * 20}, ["mine", "rows.csv"], "column label says nothing but '0.5'"),
        (
            {"3": [1, 2] * 10, texts(1)[0]: texts(20)},
            ["mine", "rows.csv"],
            "its first line has no column names but '3'",
        ),
        (
            {"text": texts(20), "labels": ["['a', 'b']", "['a']", "['b']", "['b', 'c']"] * 5},
            ["mine", "rows.csv", "--kind", "multi"],
            "column labels holds lists as text",
        ),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    here: Path, capsys: Printed, columns: Mapping[str, Sequence[Any]], arguments: list[str], said: str
) -> None:
    write(here / "rows.csv", columns)
    assert said in refused(capsys, here, *arguments)


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.jsonl", "rows.parquet", "rows.arrow", "rows.txt"])
@pytest.mark.parametrize("content", [b"", bytes(range(256)) * 4, b"text,label\xff\n"], ids=["empty", "binary", "latin"])
def test_what_is_no_such_file_is_one_line_and_writes_nothing(
    here: Path, capsys: Printed, name: str, content: bytes
) -> None:
    (here / name).write_bytes(content)
    assert name in refused(capsys, here, "mine", name)


def test_splits_that_do_not_fit_are_one_line(here: Path, capsys: Printed) -> None:
    write(here / "train.parquet", {"text": texts(20), "label": [0, 1] * 10})
    write(here / "dev.csv", {"text": texts(2), "lable": ["a", "b"]})
    said = refused(capsys, here, "mine", "train.parquet", "dev.csv")
    assert "dev.csv: no column label; the columns are text, lable" in said
    write(here / "dev.csv", {"text": texts(2), "label": ["a", "b"]})
    said = refused(capsys, here, "mine", "train.parquet", "dev.csv")
    assert "dev.csv: label 'a' in row 0 is none of task mine's labels (0 0, 1 1)" in said
    write(here / "dev.jsonl", {"text": ["a text", None], "label": [0, 1]})
    assert "column text has no value in row 1" in refused(capsys, here, "mine", "train.parquet", "dev.jsonl")
    write(here / "dev.jsonl", {"text": texts(2), "label": [-1, -1]})
    said = refused(capsys, here, "mine", "train.parquet", "dev.jsonl")
    assert "dev.jsonl: label -1 in row 0 is none of" in said
    assert "this split's labels are hidden" in said


def test_columns_of_one_name_are_an_error_where_they_are_used(here: Path, capsys: Printed) -> None:
    rows = "".join(f"x,y,{text},{'ab'[i % 2]}\n" for i, text in enumerate(texts(20)))
    (here / "rows.csv").write_text(f",,text,label\n{rows}")
    assert new(capsys, "mine", "rows.csv")[0].columns == ["text"]
    (here / "rows.csv").write_text(f"n,text,text,label\n{rows}")
    assert "rows.csv: 2 columns are called text" in refused(
        capsys, here, "other", "rows.csv", "--text", "text", "--label", "label"
    )


@pytest.mark.parametrize(
    "lists", [[[0, 1], [1, 0]], [[0, 1], [0, 1]], [[1.0, 0.0], [0.0, 1.0]]], ids=["ids", "one set", "floats"]
)
def test_lists_that_could_be_ids_or_places_are_refused_as_by_a_run(
    here: Path, capsys: Printed, lists: list[list[float]]
) -> None:
    columns: dict[str, Sequence[Any]] = {"text": texts(20), "labels": lists * 10}
    write(here / "rows.parquet", columns)
    said = refused(capsys, here, "mine", "rows.parquet")
    assert "could be class ids, or a 0 or 1 for each label" in said
    write(here / "rows.jsonl", columns | {"labels": [["a"], ["a", "b"]] * 10})
    new(capsys, "mine", "rows.jsonl")
    file = here / "my_conf/task/mine.yaml"
    file.write_text(file.read_text().replace("rows.jsonl", "rows.parquet"))
    (cfg,) = commandline.jobs(["--config-dir", "my_conf", "task=mine"])
    with pytest.raises(UserError) as by_a_run:
        sources.read(cfg.data, cfg.task)
    assert said == f"error: {by_a_run.value}\n"


def test_a_dev_file_of_more_labels_makes_ids_of_lists_of_0_and_1(here: Path, capsys: Printed) -> None:
    write(here / "train.jsonl", {"text": texts(20), "labels": [[0, 1], [1, 0]] * 10})
    write(here / "dev.jsonl", {"text": texts(2, 1), "labels": [[2, 1], [0]]})
    task, said = new(capsys, "mine", "train.jsonl", "dev.jsonl")
    assert task.labels == ["0", "1", "2"]
    assert "no row of train.jsonl has 2" in said


@pytest.mark.parametrize("label", [{}, {"label": [-1] * 5}, {"label": ["?"] * 5}], ids=["none", "hidden", "others"])
def test_a_test_file_needs_no_labels_that_fit(here: Path, capsys: Printed, label: dict[str, Sequence[Any]]) -> None:
    for split, rows in (("train", 20), ("dev", 4)):
        write(here / f"{split}.jsonl", {"text": texts(rows), "label": [0, 1] * (rows // 2)})
    write(here / "test.jsonl", {"text": [*texts(3), "", " ".join(WORDS * 9)], **label})
    _, said = new(capsys, "mine", "train.jsonl", "dev.jsonl", "test.jsonl")
    assert "20 train, 4 dev, 5 test" in said
    assert "1 of 5 test rows (20.0 %) have more than 128 words" in said
    assert "1 of 5 test rows (20.0 %) have an empty text" in said
    assert "3 of 5 test rows (60.0 %) are in train, too" in said


def test_a_yaml_that_is_there_stays_unless_forced(here: Path, capsys: Printed) -> None:
    write(here / "rows.csv", ROWS)
    new(capsys, "mine", "rows.csv")
    said = refused(capsys, here, "mine", "rows.csv")
    assert "my_conf/task/mine.yaml: is there already; --force replaces it" in said
    (here / "my_conf/task/mine.yaml").write_text("name: mine\n")
    assert new(capsys, "mine", "rows.csv", "--force")[0].columns == ["text"]
    assert os.listdir(here / "my_conf/task") == ["mine.yaml"]


def test_a_folder_that_can_not_be_made_is_one_line(here: Path, capsys: Printed) -> None:
    write(here / "rows.csv", ROWS)
    said = refused(capsys, here, "mine", "rows.csv", "--config-dir", "rows.csv")
    assert "rows.csv/task/mine.yaml: can't be written (Not a directory); --config-dir names another folder" in said


def page_blocks(language: str) -> list[Block]:
    return [block for block in blocks(OWN_DATA) if block.language == language]


def test_every_block_of_the_page_is_run_composed_or_rows() -> None:
    assert {block.language for block in blocks(OWN_DATA)} == {"sh", "yaml", "csv"}
    runs = {block.section for block in page_blocks("sh")}
    assert runs == {"From two CSV files to a verdict", "The same task from elsewhere"}


@pytest.mark.parametrize("block", page_blocks("yaml"), ids=lambda block: block.section.replace(" ", "-"))
def test_every_yaml_of_the_page_is_a_tasks(here: Path, block: Block) -> None:
    fragment = yaml.safe_load(block.text)
    files = {"train": "a.csv"} | ({} if "dev_share" in fragment else {"dev": "b.csv"})
    whole = {"name": "mine", "source": {"files": files}, "columns": ["text"]}
    whole |= {"metrics": ["accuracy"], "primary_metric": "accuracy", "dev_splits": ["dev"]}
    whole |= {} if {"labels", "standardise"} & set(fragment) else {"labels": ["a", "b"]}
    (here / "my_conf/task").mkdir(parents=True)
    (here / "my_conf/task/mine.yaml").write_text(yaml.safe_dump(whole | fragment))
    task = composed("mine")
    for key, value in fragment.items():
        if key not in ("source", "label_map", "score_range"):
            assert getattr(task, key) == value
    assert names_by_value(task) == {str(said): name for said, name in fragment.get("label_map", {}).items()}


# what follows trains: the whole way from files to a result

SMALL = (
    "encoder.num_hidden_layers=3 train.max_steps=1 train.batch_size=8 train.threads=1 data.cache_dir=cache "
    "tracking=none"
)


@pytest.mark.long
def test_the_pages_way_from_two_csv_files_to_a_verdict(here: Path) -> None:
    (header,) = [block.text.splitlines()[0].split(",") for block in page_blocks("csv")]
    for split, rows in (("train", 24), ("dev", 16)):
        write(
            here / f"{split}.csv",
            dict(zip(header, (texts(rows, rows), ["positive", "negative"] * (rows // 2)), strict=True)),
        )
    said = run_section("From two CSV files to a verdict", here, OWN_DATA, SMALL)
    (shown,) = [block.text for block in page_blocks("yaml") if block.file == "my_conf/task/reviews.yaml"]
    assert (here / "my_conf/task/reviews.yaml").read_text() == shown.replace("/home/me", str(here))
    runs = [(run["status"], run["task"], run["method"], run["seed"]) for run in finished(here)]
    seeds = [(method, seed) for method in ("bert", "mean", "maxpool") for seed in range(1, 6)]
    assert sorted(runs) == sorted(("completed", "reviews", *run) for run in [("maxpool", 0), *seeds])
    assert "reviews (accuracy)" in said
    assert "worse for new seeds and new dev examples" in said
    assert (here / "outputs/report/index.html").is_file()


def test_the_page_on_generated_rows(here: Path) -> None:
    for block in page_blocks("yaml"):
        if block.file:
            (here / block.file).parent.mkdir(parents=True)
            (here / block.file).write_text(block.text)
    small = f"{SMALL} data.train_rows=24 data.dev_rows=16"
    assert "reviews (synthetic data, 24 train rows)" in run_section(
        "The same task from elsewhere", here, OWN_DATA, small
    )


KINDS: dict[str, tuple[str, dict[str, Sequence[Any]]]] = {
    "stars": ("csv", {"text": texts(60), "stars": [1, 2, 3, 4, 5, 5] * 10}),
    "bools": ("jsonl", {"question": texts(60), "passage": texts(60, 1), "answer": [True, False, True] * 20}),
    "scores": ("tsv", {"text": texts(60), "score": [i / 7 for i in range(60)]}),
    "text": ("csv", {"text": texts(60), "tags": ["calm; warm", "calm", "", "sad; warm", "no", "calm; sad; no"] * 10}),
    "lists": ("jsonl", {"text": texts(60), "tags": [["calm", "warm"], ["calm"], [], ["sad"]] * 15}),
    "places": ("parquet", {"text": texts(60), "labels": [[0, 1, 1], [1, 0, 0], [0, 0, 0]] * 20}),
    "columns": ("arrow", {"text": texts(60), "toxic": [0, 1] * 30, "rude": [0, 0, 1] * 20}),
    "negative": ("parquet", {"text": texts(60), "label": [-1, 1] * 30}),
    "numerals": ("csv", {"text": texts(60), "label": ["01", "1", "2"] * 20}),
    "yes": ("csv", {"question": texts(60), "passage": texts(60, 1), "answer": ["Yes", "No", "Yes"] * 20}),
    "floats": ("parquet", {"text": texts(60), "labels": [[1.0, 3.0], [3.0], []] * 20}),
    "one_or_none": ("jsonl", {"text": texts(60), "labels": [[0], [1], [0]] * 20}),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_is_written_reads_every_row_to_what_was_counted(here: Path, capsys: Printed, name: str) -> None:
    ending, columns = KINDS[name]
    write(here / f"rows.{ending}", columns)
    write(here / f"dev.{ending}", {column: values[:12] for column, values in columns.items()})
    cli.main(["task", "new", name, f"rows.{ending}", f"dev.{ending}"])
    said = capsys.readouterr().out
    (cfg,) = commandline.jobs(["--config-dir", "my_conf", f"task={name}"])
    rows = sources.read(cfg.data, cfg.task)
    assert {split: len(of_split) for split, of_split in rows.items()} == {"train": 60, "dev": 12}
    assert list(rows["train"].texts[0]) == list(next(iter(columns.values())))
    for i, label in enumerate(cfg.task.labels):
        ones = {
            split: int((of.labels[:, i] if of.labels.ndim == 2 else of.labels == i).sum()) for split, of in rows.items()
        }
        assert re.search(rf" {re.escape(label)} +{ones['train']} train +{ones['dev']} dev$", said, re.MULTILINE)


@pytest.mark.long
@pytest.mark.parametrize("name", KINDS)
def test_a_task_of_each_kind_trains(here: Path, name: str) -> None:
    ending, columns = KINDS[name]
    write(here / f"rows.{ending}", columns)
    cli.main(["task", "new", name, f"rows.{ending}", "--dev-share", "0.2"])
    line = [f"task={name}", "encoder=minilm_l6", "pooling=mean", *SMALL.split()]
    result = glue_pool.run(line, config_dir="my_conf")
    assert result["status"] == "completed"
    assert {split: facts["rows"] for split, facts in result["splits"].items()} == {"train": 48, "dev": 12}
    assert set(result["metrics"]["dev"]) == set(composed(name).metrics)
