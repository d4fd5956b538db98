"""Files of every format, their shards, and what identifies them."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glue_pool.data import files
from glue_pool.data.sources import content_id, read
from glue_pool.errors import UserError
from glue_pool.schema import DataConfig
from glue_pool.tasks import SourceConfig, TaskConfig

HUB = DataConfig(name="hub", cache_dir="")
TEXTS = ['a "quoted" word, and a comma', "two\nlines", "", "ünicode 漢字 \N{GRINNING FACE}", "plain", "0123"]
LABELS = ["bad", "good", "bad", "good", "good", "bad"]


def task(**keys: Any) -> TaskConfig:
    given: dict[str, Any] = {"columns": ["text"], "labels": ["bad", "good"], "dev_splits": ["validation"]} | keys
    return TaskConfig(name="mine", metrics=["accuracy"], primary_metric="accuracy", **given)


def of_files(*, quotes: bool = True, **paths: Any) -> TaskConfig:
    return task(source=SourceConfig(files={name: str(path) for name, path in paths.items()}, quotes=quotes))


def write_csv(file: Path) -> None:
    lines = ["text,label"] + [f'"{t.replace(chr(34), chr(34) * 2)}",{y}' for t, y in zip(TEXTS, LABELS, strict=True)]
    file.write_text("\n".join(lines) + "\n")


def write_excel_csv(file: Path) -> None:
    """With a byte-order mark, semicolons and Windows' line ends."""
    write_csv(file)
    text = file.read_text().replace('",', '";').replace("text,", "text;")
    file.write_bytes(b"\xef\xbb\xbf" + text.replace("bad\n", "bad\r\n").replace("good\n", "good\r\n").encode())


def write_tsv(file: Path) -> None:
    write_csv(file)
    file.write_text(file.read_text().replace('",', '"\t').replace("text,", "text\t"))


def write_gzip(file: Path) -> None:
    write_csv(file)
    file.write_bytes(gzip.compress(file.read_bytes()))


def write_jsonl(file: Path) -> None:
    rows = [
        {"text": t, "label": y, "n": i if i % 2 else str(i)} for i, (t, y) in enumerate(zip(TEXTS, LABELS, strict=True))
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_json(file: Path) -> None:
    file.write_text(json.dumps([{"text": t, "label": y} for t, y in zip(TEXTS, LABELS, strict=True)]))


def table() -> pa.Table:
    return pa.table({"text": TEXTS, "label": LABELS})


def write_parquet(file: Path) -> None:
    pq.write_table(table(), file)


def write_stream(file: Path) -> None:
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, table().schema) as writer:
        writer.write_table(table())


def write_arrow(file: Path) -> None:
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table().schema) as writer:
        writer.write_table(table())


FORMATS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "csv": ("rows.csv", write_csv),
    "a spreadsheet's csv": ("rows.CSV", write_excel_csv),
    "packed csv": ("rows.csv.gz", write_gzip),
    "tsv": ("rows.tsv", write_tsv),
    "jsonl": ("rows.jsonl", write_jsonl),
    "json": ("rows.json", write_json),
    "parquet": ("rows.parquet", write_parquet),
    "arrow stream": ("rows.arrow", write_stream),
    "arrow file": ("rows.arrow", write_arrow),
}


def test_a_shard_that_is_a_link_to_nothing_is_not_passed_over(tmp_path: Path) -> None:
    write_csv(tmp_path / "train-a.csv")
    (tmp_path / "train-b.csv").symlink_to("gone")
    said = r"train-b.csv is a link to gone, which is not there"
    with pytest.raises(UserError, match=said):
        files.expand(f"{tmp_path}/*.csv", "task.source.files.train")
    with pytest.raises(UserError, match=said):
        files.in_folder(tmp_path, "train")


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_rows(tmp_path: Path, kind: str) -> None:
    name, write = FORMATS[kind]
    write(tmp_path / name)
    rows = read(HUB, of_files(train=tmp_path / name, validation=tmp_path / name))["train"]
    assert rows.texts == (TEXTS,)
    assert rows.labels.tolist() == [0, 1, 0, 1, 1, 0]
    assert rows.idx.tolist() == list(range(6))


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\r")), min_size=1, max_size=5))
def test_csv_gives_back_whatever_a_csv_writer_wrote(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    import csv

    file = tmp_path_factory.mktemp("csv") / "rows.csv"
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([["text", "label"], *([text, "bad"] for text in texts)])
    assert files.read_tables([file])["text"].to_pylist() == texts


def test_text_in_csv_is_text_whatever_it_looks_like(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\nNA,0\nnull,1\n007,0\ntrue,1\n1e3,0\n")
    rows = read(HUB, of_files(train=tmp_path / "rows.csv", validation=tmp_path / "rows.csv"))["train"]
    assert rows.texts == (["NA", "null", "007", "true", "1e3"],)
    assert rows.labels.tolist() == [0, 1, 0, 1, 0]


def test_quotes_that_are_text_are_read_where_the_task_says_so(tmp_path: Path) -> None:
    (tmp_path / "rows.tsv").write_text('text\tlabel\n"Hello\tbad\n5" nails\tgood\nsaid "no"\tbad\n')
    quoted, plain = (
        of_files(train=tmp_path / "rows.tsv", validation=tmp_path / "rows.tsv", quotes=q) for q in (True, False)
    )
    with pytest.raises(
        UserError, match=r"rows\.tsv can't be read as tsv: line \d: .*; .*task\.source\.quotes=false"
    ) as said:
        read(HUB, quoted)
    assert "\n" not in str(said.value)
    assert read(HUB, plain)["train"].texts == (['"Hello', '5" nails', 'said "no"'],)
    assert content_id(HUB, quoted) != content_id(HUB, plain)


BROKEN: dict[str, tuple[str, bytes, str]] = {
    "latin": ("rows.csv", "text,label\ncafé,bad\n".encode("latin-1"), "it is no UTF-8"),
    "ragged": ("rows.csv", b"text,label\na,bad\nb,good,more\n", "line 3: 3 columns, the first line has 2"),
    "nothing": ("rows.csv", b"", "the split is empty"),
    "header": ("rows.csv", b"text,label\n", "the split is empty"),
    "no json": ("rows.jsonl", b'{"text": "a", "label": "bad"}\n{"text": \n', "line 2: Expecting value"),
    "no end": ("rows.json", b"[" * 9999, "can't be read as json"),
    "no objects": ("rows.jsonl", b'["a", "bad"]\n', "a row is an object"),
    "no gzip": ("rows.csv.gz", b"text,label\na,bad\n", "can't be read as csv"),
    "no parquet": ("rows.parquet", b"text,label\na,bad\n", "can't be read as parquet"),
    "no arrow": ("rows.arrow", b"text,label\na,bad\n", "can't be read as arrow"),
    "no format": ("rows.txt", b"text,label\na,bad\n", "ends in none of .csv, .tsv,"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, what: str) -> None:
    name, content, said = BROKEN[what]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        read(HUB, of_files(train=tmp_path / name, validation=tmp_path / name))
    assert said in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["train.csv", "sub/*.csv", "."])
def test_a_file_that_is_not_there_is_named_with_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^task\.source\.files\.train: "):
        content_id(HUB, of_files(train=file, validation=file))


def test_a_split_that_the_source_lacks_is_named(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv")
    with pytest.raises(UserError, match="no split validation; did you mean 'validate'"):
        content_id(HUB, of_files(train=tmp_path / "a.csv", validate=tmp_path / "a.csv"))
    with pytest.raises(UserError, match="says nothing of where its rows are"):
        content_id(HUB, task())


# shards


def shards(folder: Path, *names: str) -> None:
    for i, name in enumerate(names):
        pq.write_table(pa.table({"text": [f"{i}"], "label": ["bad"]}), folder / name)


def test_a_glob_of_shards_is_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    shards(tmp_path, "train-00000-of-00002.parquet", "train-00001-of-00002.parquet")
    of = of_files(train=tmp_path / "train-*.parquet", validation=tmp_path / "train-00001-of-00002.parquet")
    rows = read(HUB, of)
    assert (rows["train"].texts, rows["validation"].texts) == ((["0", "1"],), (["1"],))


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("train-00000-of-00002.parquet",), "1 of 2 shards are there"),
        (("train-00000-of-00001-0a1b.parquet", "train-00000-of-00001-9f8e.parquet"), "written twice"),
        (("train-00000-of-00001.parquet", "train-00001-of-00002.parquet"), "written twice"),
        (("train-00000-of-00001.parquet", "train-more.parquet"), "which of them are the rows"),
    ],
)
def test_shards_that_do_not_belong_together_are_refused(
    tmp_path: Path, names: tuple[str, ...], said: str, local: bool
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    shards(folder, *names)
    write_parquet(folder / "validation.parquet")
    data = DataConfig(name="local", dir=str(tmp_path), cache_dir="") if local else HUB
    with pytest.raises(UserError, match=said):
        content_id(data, of_files(train=folder / "train-*", validation=folder / "validation.parquet"))


def test_a_local_folder_may_have_any_format_but_one_of_each_split(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    write_jsonl(tmp_path / "mine/train.jsonl")
    write_csv(tmp_path / "mine/validation.csv")
    data = DataConfig(name="local", dir=str(tmp_path), cache_dir="")
    assert [rows.texts for rows in read(data, task()).values()] == [(TEXTS,), (TEXTS,)]
    write_parquet(tmp_path / "mine/train.parquet")
    with pytest.raises(UserError, match="which of them is the split train"):
        read(data, task())


# what identifies them


def test_what_is_read_decides_and_not_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        write_csv(tmp_path / folder / "a.csv")
    relative = of_files(train="a.csv", validation="a.csv")
    found = []
    for folder in ("one", "other"):
        monkeypatch.chdir(tmp_path / folder)
        found.append(content_id(HUB, relative))
    assert found[0] == found[1]
    with (tmp_path / "other/a.csv").open("a") as file:
        file.write("more,good\n")
    assert content_id(HUB, relative) != found[1]
    absolute = of_files(train=tmp_path / "one/a.csv", validation=tmp_path / "one/a.csv")
    assert content_id(HUB, absolute) == found[0]


def test_a_folder_in_the_place_of_a_hub_data_set_goes_by_its_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    for split in ("train", "validation"):
        write_csv(folder / f"{split}.csv")
    of = task(source=SourceConfig(path=str(folder)))
    first = content_id(HUB, of)
    moved = folder.rename(tmp_path / "moved")
    of.source.path = str(moved)
    assert content_id(HUB, of) == first
    (moved / "train.csv").write_text((moved / "train.csv").read_text().replace("plain", "other"))
    assert content_id(HUB, of) != first


def test_files_of_a_hub_data_set_are_read_within_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "set/mine/train").mkdir(parents=True)
    (tmp_path / "set/mine/dev").mkdir()
    for split in ("train", "dev"):
        write_parquet(tmp_path / f"set/mine/{split}/0000.parquet")
    within = {"train": "mine/train/*.parquet", "validation": "mine/dev/*.parquet"}
    of = task(source=SourceConfig(path=str(tmp_path / "set"), files=within))
    assert [rows.texts for rows in read(HUB, of).values()] == [(TEXTS,), (TEXTS,)]
