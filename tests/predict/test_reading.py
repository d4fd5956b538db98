"""Inputs of every format, row by row: what is read, what is wrong with one row, and what with all of them."""

import bz2
import csv
import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glue_pool.data import files
from glue_pool.data.columns import to_rows
from glue_pool.errors import UserError
from glue_pool.predict.formats import QUOTED
from glue_pool.predict.reading import Row, read
from glue_pool.tasks import TaskConfig


def task(**keys: Any) -> TaskConfig:
    given: dict[str, Any] = {"columns": ["text"], "labels": ["bad", "good"], "metrics": ["accuracy"]} | keys
    return TaskConfig(name="mine", primary_metric="accuracy", **given)


ONE, PAIR = task(), task(columns=["question", "answer"])
SETS: dict[str, Any] = {"labels": ["x", "y", "z"], "multi_label": True}


@pytest.fixture
def file(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, content: str | bytes) -> Path:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path / name

    return write


Write = Callable[..., Path]


def good(rows: Iterator[Row]) -> list[tuple[int, tuple[str, ...]]]:
    """Lines and texts; nothing is wrong with any row."""
    found = list(rows)
    assert [row.wrong for row in found] == [None] * len(found)
    return [(row.line, row.texts) for row in found if row.texts is not None]


def mixed(rows: Iterator[Row]) -> list[tuple[int, str | None]]:
    """Lines, with the first text of a row, or in brackets what is wrong with it."""
    return [(row.line, f"[{row.wrong}]" if row.texts is None else row.texts[0]) for row in rows]


# what is read


TEXTS = ['a "quoted" word, and a comma', "two\nlines", "", "ünicode 漢字 \N{GRINNING FACE}", "0123", " x\t"]
QUOTED_ROWS = "".join(f'"{text.replace(chr(34), chr(34) * 2)}",x\n' for text in TEXTS)
LINES = [2, 3, 5, 6, 7, 8]


def as_table() -> pa.Table:
    return pa.table({"text": TEXTS, "more": ["x"] * 6})


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


JSONL = "".join(json.dumps({"text": text, "more": 1}) + "\n" for text in TEXTS)
CSV = f"text,more\n{QUOTED_ROWS}"
FORMATS: dict[str, tuple[str, bytes, list[int]]] = {
    "csv": ("rows.csv", CSV.encode(), LINES),
    "a spreadsheet's": ("rows.CSV", CSV.replace('",x\n', '";x\r\n').replace("t,m", "t;m").encode("utf-8-sig"), LINES),
    "gz": ("rows.csv.gz", gzip.compress(CSV[:50].encode()) + gzip.compress(CSV[50:].encode()), LINES),
    "bz2": ("rows.csv.bz2", bz2.compress(CSV.encode()), LINES),
    "zst": ("rows.csv.zst", pa.compress(CSV.encode(), codec="zstd", asbytes=True), LINES),
    "jsonl": ("rows.jsonl", JSONL.encode(), [1, 2, 3, 4, 5, 6]),
    "ndjson, packed": ("rows.ndjson.gz", gzip.compress(JSONL.encode("utf-8-sig")), [1, 2, 3, 4, 5, 6]),
    "jsonl with blank lines": ("rows.jsonl", JSONL.replace("\n", "\r\n \r\n").encode(), [1, 3, 5, 7, 9, 11]),
    "parquet": ("rows.parquet", parquet(as_table()), [1, 2, 3, 4, 5, 6]),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_rows(file: Write, kind: str) -> None:
    name, content, lines = FORMATS[kind]
    assert good(read(file(name, content), ONE)) == [(n, (text,)) for n, text in zip(lines, TEXTS, strict=True)]


def test_txt_is_a_text_a_line_blank_ones_among_them(file: Write) -> None:
    rows = good(read(file("rows.txt", b'\xef\xbb\xbfone, "two\r\n\n  three \n\nlast'), ONE))
    assert rows == [(1, ('one, "two',)), (2, ("",)), (3, ("  three ",)), (4, ("",)), (5, ("last",))]


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())])
def test_parquet_may_have_any_type_of_text(file: Write, kind: Any) -> None:
    table = pa.table({"text": pa.array(["a", "b"]).cast(kind), "label": pa.array(["bad", "good"]).cast(kind)})
    rows = list(read(file("rows.parquet", parquet(table)), ONE, labels="label", by=["label"]))
    assert [(row.texts, row.label, row.categories) for row in rows] == [(("a",), 0, ("bad",)), (("b",), 1, ("good",))]


def test_columns_go_by_name_by_position_or_in_a_template(file: Write) -> None:
    table = file("rows.tsv", "3\tanswer\tquestion\na\tb\tc\n")
    assert good(read(table, PAIR)) == [(2, ("c", "b"))]
    assert good(read(table, PAIR, columns=["3", "2"])) == [(2, ("a", "b"))]  # a column is called 3
    assert good(read(table, PAIR, columns=["{2}: {question}", "1"])) == [(2, ("b: c", "a"))]
    assert good(read(table, PAIR, header=False)) == [(1, ("3", "answer")), (2, ("a", "b"))]
    assert good(read(table, PAIR, header=False, columns=["3", "1"]))[1] == (2, ("c", "a"))


def test_numbers_are_no_text_but_a_template_writes_them_out(file: Write) -> None:
    lines = '{"text": "a"}\n{"text": 2}\n{"text": 2.5}\n{"text": true}\n{"text": ["b"]}\n'
    said = "not text; the template '{text}' writes numbers out]"
    assert mixed(read(file("rows.jsonl", lines), ONE)) == [
        (1, "a"), (2, f"[column text holds a number, {said}"), (3, f"[column text holds a number, {said}"),
        (4, f"[column text holds true or false, {said}"), (5, "[column text holds a list, not text]"),
    ]  # fmt: skip
    assert [text for _, text in mixed(read(file("rows.jsonl", lines), ONE, columns=["{text}."]))] == [
        "a.", "2.", "2.5.", "True.", "[column text holds a list, not text]",
    ]  # fmt: skip


def test_quotes_may_be_text(file: Write) -> None:
    table = file("rows.tsv", 'text\tmore\n"Hello\tx\n5" nails\tx\n')
    assert good(read(table, ONE, quotes=False)) == [(2, ('"Hello',)), (3, ('5" nails',))]


def test_standard_input_comes_as_it_is_written() -> None:
    """A row is there before the next one is written."""
    code = (
        "import sys; from glue_pool.predict.reading import read; from test_reading import ONE\n"
        "for row in read('-', ONE): print(row.texts, flush=True)\n"
        "print(sys.stdin.buffer.closed)"
    )
    folder = str(Path(__file__).parent)
    run = [sys.executable, "-c", f"import sys; sys.path.insert(0, {folder!r})\n{code}"]
    with subprocess.Popen(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for text in ("a", "b"):
            process.stdin.write(f"{text}\n")
            process.stdin.flush()
            assert process.stdout.readline() == f"('{text}',)\n"
        process.stdin.close()
        assert process.stdout.read() == "False\n"


def test_standard_input_may_have_any_format_that_is_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    def given(text: str) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    given("question,answer\na,b\n")
    assert good(read("-", PAIR, format="csv")) == [(2, ("a", "b"))]
    given("a\nb\n")
    assert good(read(Path("-"), ONE)) == [(1, ("a",)), (2, ("b",))]
    with pytest.raises(UserError, match=r"^standard input: its format is not known; --format csv"):
        read("-", PAIR)
    with pytest.raises(UserError, match=r"^standard input: parquet is read from a file"):
        read("-", ONE, format="parquet")


# as data/files.py reads them


text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(text, st.sampled_from(["bad", "good", "1"])), min_size=1, max_size=5), st.sampled_from(",;\t")
)
def test_rows_are_those_of_the_table(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], mark: str
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    if mark == "\t":
        rows = [(text.replace("\t", " "), label) for text, label in rows]
    names = [folder / "rows.csv", folder / "rows.jsonl", folder / "rows.parquet", folder / "rows.tsv"]
    with names[0].open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream, delimiter=mark).writerows([["text", "label"], *rows])
    lines = [json.dumps({"text": text, "label": label}, ensure_ascii=mark == ",") for text, label in rows]
    names[1].write_bytes("\n".join(lines).encode())
    pq.write_table(pa.table({"text": [of[0] for of in rows], "label": [of[1] for of in rows]}), names[2])
    names = names[:3]
    for name in names:
        whole = to_rows({"": (files.read_tables([name]), None)}, ONE, {"": "it"})[""]
        found = list(read(name, ONE, labels="label", by=["label"]))
        assert [row.texts for row in found] == list(zip(*whole.texts, strict=True))
        assert [row.label for row in found] == whole.labels.tolist()
        assert [row.categories for row in found] == [(of[1],) for of in rows]


LABELS: list[tuple[dict[str, Any], list[Any]]] = [
    ({}, ["bad", "good", "1"]),
    ({}, [0, 1, 1.0]),
    ({"labels": ["no", "yes"]}, [True, False, True]),
    ({"labels": ["negative", "positive"], "label_map": {"1": "negative", "5": "positive"}}, [1, 5, 1]),
    (SETS, [["x", "z"], [], ["y"]]),
    (SETS, [[0, 2], [], [1]]),
    (SETS, [[1, 0, 1], [0, 0, 0], [0, 1, 0]]),
    (SETS | {"separator": "|"}, ["z|x", " ", "y|"]),
    ({"labels": []}, [0.1, 2, 1e-9]),
    ({"labels": []}, ["0.1", "2", "1e-9"]),
]


@pytest.mark.parametrize(("keys", "values"), LABELS)
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_labels_are_those_of_the_table(tmp_path: Path, keys: dict[str, Any], values: list[Any], kind: str) -> None:
    name, of = tmp_path / f"rows.{kind}", task(**keys)
    if kind == "parquet":
        pq.write_table(pa.table({"text": ["a", "b", "c"], "label": values}), name)
    else:
        name.write_text("".join(json.dumps({"text": "a", "label": value}) + "\n" for value in values))
    whole = to_rows({"": (files.read_tables([name]), None)}, of, {"": "it"})[""]
    assert [row.label for row in read(name, of, labels="label")] == whole.labels.tolist()


def test_a_category_that_few_objects_have_may_come_late(file: Write) -> None:
    lines = [json.dumps({"text": "a"} | ({"of": "late"} if i == 1103 else {})) + "\n" for i in range(1104)]
    rows = list(read(file("rows.jsonl", "".join(lines)), ONE, by=["of"]))
    assert [row.categories for row in rows] == [("",)] * 1103 + [("late",)]


def test_labels_may_be_columns_of_0_and_1(file: Write) -> None:
    of = task(label=None, **SETS)
    rows = read(file("rows.csv", "text,z,y,x\na,1,0,0\nb,0,2,1\n"), of, labels="x", by=["z"])
    assert [(row.label, row.categories, row.wrong) for row in rows] == [
        ([0, 0, 1], ("1",), None), (None, ("0",), "column y has '2'; a label's column has 0 or 1"),
    ]  # fmt: skip
    bare = file("bare.csv", "a,1,0,0\nb,0,false,1\n")
    assert [row.label for row in read(bare, of, header=False, labels="2")] == [[1, 0, 0], [0, 0, 1]]
    with pytest.raises(UserError, match="3 labels from column 3 on; there are 4 columns"):
        read(bare, of, header=False, labels="3")


def test_lists_of_0_and_1_have_the_meaning_that_all_rows_leave(tmp_path: Path, file: Write) -> None:
    two = task(labels=["x", "y"], multi_label=True)

    def labels(*values: list[int]) -> list[Any]:
        lines = "".join(json.dumps({"text": "a", "label": value}) + "\n" for value in values)
        return [row.label for row in read(file("rows.jsonl", lines), two, labels="label")]

    assert labels([0, 1], [1, 0], [1, 1]) == [[0, 1], [1, 0], [1, 1]]
    assert labels([0, 1], [1, 0], [1]) == [[1, 1], [1, 1], [0, 1]]
    with pytest.raises(UserError, match=r"rows\.jsonl: the lists of column label could be class ids, or a 0 or 1"):
        labels([0, 1], [1, 0])


# what is wrong with one row


def test_a_row_that_cannot_be_read_is_named_and_the_next_one_is_read(file: Write) -> None:
    table = b"text,more\na,x\nb\nc,x,y\n\nd\0,x\ncaf\xe9,x\nlast,x"
    assert mixed(read(file("rows.csv", table), ONE)) == [
        (2, "a"), (3, "[1 columns, the first line has 2]"), (4, "[3 columns, the first line has 2]"),
        (6, "[a NUL, which is no text]"), (7, "[bytes that are no UTF-8]"), (8, "last"),
    ]  # fmt: skip
    lines = b'{"text": "a"}\n{"text": \n["b"]\n{"more": 1}\n{"text": null}\n{"text": "caf\xe9"}\n{"text": "\\ud800"}\n'
    lines += b'{"text": "\\u0000"}\n' + b"[" * 99999 + b'\n{"text": "last"}'
    assert mixed(read(file("rows.jsonl", lines), ONE)) == [
        (1, "a"), (2, "[no JSON: Expecting value at character 11]"), (3, "[no object, {column: text}]"),
        (4, "[column text has no value]"), (5, "[column text has no value]"), (6, "[bytes that are no UTF-8]"),
        (7, "[bytes that are no UTF-8]"), (8, "[a NUL, which is no text]"),
        (9, "[no JSON: too many brackets within another]"), (10, "last"),
    ]  # fmt: skip
    plain = b"a\ncaf\xe9\n\0\nlast"
    assert [text for _, text in mixed(read(file("rows.txt", plain), ONE))] == [
        "a", "[bytes that are no UTF-8]", "[a NUL, which is no text]", "last",
    ]  # fmt: skip
    values = pa.array([b"a", None, b"caf\xe9", b"last"]).cast(pa.string(), safe=False)
    broken = pa.StringArray.from_buffers(
        4, *pa.array([b"a", None, b"caf\xe9", b"last"]).buffers()[1:], values.buffers()[0]
    )
    assert [text for _, text in mixed(read(file("rows.parquet", parquet(pa.table({"text": broken}))), ONE))] == [
        "a", "[column text has no value]", "[bytes that are no UTF-8]", "last",
    ]  # fmt: skip


def test_a_label_that_is_none_of_the_tasks_is_named(file: Write) -> None:
    rows = list(read(file("rows.csv", "text,label\na,goood\nb,1\nc,-1\n"), ONE, labels="label"))
    none = "is none of task mine's labels (0 bad, 1 good)"
    assert [(row.texts, row.label, row.wrong) for row in rows] == [
        (None, None, f"label 'goood' {none}; did you mean 'good'?"), (("b",), 1, None),
        (None, None, f"label '-1' {none}: this split's labels are hidden"),
    ]  # fmt: skip
    (long,) = read(file("rows.csv", f"text,label\na,{'x' * 9999}\n"), ONE, labels="label")
    assert len(long.wrong or "") < 200
    scores = task(labels=[], score_range=[0.0, 5.0])
    rows = list(read(file("rows.csv", "text,label\na,x\nb,7\nc,nan\nd,2.5\n"), scores, labels="label"))
    assert [row.label for row in rows] == [None, None, None, 2.5]
    assert rows[1].wrong == "score 7 lies outside 0 to 5"
    sets = '{"text": "a", "label": [0, 1, 1]}\n{"text": "b", "label": [1]}\n{"text": "c", "label": 1}\n'
    rows = list(read(file("rows.jsonl", sets), task(**SETS), labels="label"))
    assert [row.label for row in rows] == [[0, 1, 1], None, None]
    assert rows[1].wrong == "a list of 1; the first has a 0 or a 1 for every label"


def test_a_quote_left_open_costs_its_row_alone(file: Write) -> None:
    table = 'text,more\n"a\nb",x\nc,"open\nd,x\n\n"e",x\n"f"g,x\nh,x\n'
    badly = "',' expected after '\"'"
    assert mixed(read(file("rows.csv", table), ONE)) == [
        (2, "a\nb"), (4, f"[the quote that opens in line 4 is not closed well: {badly} in line 7]"), (5, "d"), (7, "e"),
        (8, f"[{badly}; are quotes text here (--no-quotes)?]"), (9, "h"),
    ]  # fmt: skip
    at_the_end = 'text,more\na,x\n"b\nc","open\r\n\nd,x'
    assert mixed(read(file("rows.csv", at_the_end), ONE)) == [
        (2, "a"), (3, "[the quote that opens in line 4 is not closed]"), (6, "d"),
    ]  # fmt: skip


def test_a_quote_left_open_is_not_looked_for_without_end(file: Write) -> None:
    long = "y" * 999
    lines = [f"{long},{i}\n" for i in range(QUOTED // 500)]
    table = file("rows.csv", "text,more\n" + lines[0] + '"open,x\n' + "".join(lines) + '"x",x\n')
    rows = list(read(table, ONE))
    assert len(rows) == len(lines) + 3
    assert [(row.line, row.wrong) for row in rows if row.wrong] == [(3, "the quote that opens in line 3 is not closed")]
    assert rows[-1].texts == ("x",)


def test_a_very_long_line_is_one_row(file: Write) -> None:
    long = "word " * (QUOTED // 2)
    for name, content in (("a.txt", long), ("a.csv", f'text\n"{long}"\n'), ("a.jsonl", json.dumps({"text": long}))):
        assert good(read(file(name, content), ONE))[0][1] == (long,)


# what is wrong with the whole


WHOLE: list[tuple[str, str | bytes, dict[str, Any], str]] = [
    ("rows.csv", "", {}, "it is empty"),
    ("rows.csv", "text,more\n\n", {}, "it is empty, there is no row in it"),
    ("rows.csv", "\ntext\na\n", {}, "its first line has no names of columns: it is blank"),
    ("rows.csv", 'text,"more\na,x\n', {}, "its first line has no names of columns: the quote that opens in line 1"),
    ("rows.txt", "", {}, "it is empty"),
    ("rows.jsonl", "\n \n", {}, "it is empty"),
    ("rows.parquet", parquet(as_table().slice(0, 0)), {}, "it is empty"),
    (
        "rows.xlsx",
        "a",
        {},
        "its name ends in none of .csv, .tsv, .jsonl, .ndjson, .parquet, .txt; --format says what it is",
    ),
    ("rows.csv", "text\na\n", {"format": "json"}, "format=json: there are csv, tsv, jsonl,"),
    ("rows.csv", "texts,label\na,x\n", {}, "no column text; the columns are texts, label; did you mean 'texts'?"),
    ("rows.jsonl", '{"texts": "a"}\n' * 3, {}, "no column text; the columns are texts; did you mean 'texts'?"),
    ("rows.parquet", parquet(as_table()), {"labels": "label"}, "no column label; the columns are text, more"),
    ("rows.csv", "text\na\n", {"by": ["of"]}, "no column of; the columns are text"),
    ("rows.csv", "text\na\n", {"columns": ["2"]}, "no column 2; the columns are text"),
    ("rows.csv", "text\na\n", {"columns": ["text", "more"]}, "columns: 2 given, task mine takes 1 (text)"),
    ("rows.csv", "a,b\n", {"header": False, "columns": ["text"]}, "no column text; the columns are 1, 2"),
    ("rows.csv", "text,text\na,b\n", {}, "2 columns are called text"),
    ("rows.csv", "text\ncafé\n".encode("utf-16"), {}, "it is no UTF-8 from its first line on; iconv"),
    ("rows.txt", "café".encode("latin-1"), {}, "it is no UTF-8 from its first line on; iconv"),
    ("rows.jsonl", "text,more\na,b\n", {}, "line 1: no JSON: Expecting value"),
    ("rows.csv.gz", "text\na\n", {}, "can't be read as csv: "),
    ("rows.parquet", "text\na\n", {}, "can't be read as parquet: "),
    ("rows.parquet", parquet(pa.table({"text": [1]})), {}, "column text holds int64, not text; the template '{text}'"),
    ("rows.parquet", parquet(pa.table({"text": [["a"]]})), {}, "column text holds list<"),
    ("rows.parquet", parquet(as_table().append_column("label", [[[1]] * 6])), {"labels": "label"}, "no labels; multi"),
]


@pytest.mark.parametrize(("name", "content", "keys", "said"), WHOLE)
def test_what_concerns_the_whole_is_said_before_a_row_is_asked_for(
    file: Write, name: str, content: str | bytes, keys: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as caught:
        read(file(name, content), ONE, **keys)
    assert said in str(caught.value)
    assert name in str(caught.value) or said.startswith(("format=", "columns:"))


def test_a_file_that_is_not_there_or_of_another_kind_is_refused(tmp_path: Path, file: Write) -> None:
    with pytest.raises(UserError, match=r"gone\.csv: there is no such file"):
        read(tmp_path / "gone.csv", ONE)
    with pytest.raises(UserError, match="can't be a path"):
        read("rows\0.csv", ONE)
    with pytest.raises(UserError, match=r"no column question; the columns are a, b; --columns says which ones are the"):
        read(file("rows.csv", "a,b\nc,d\n"), PAIR)
    with pytest.raises(UserError, match="is a folder; a file is read"):
        read(tmp_path, ONE)
    with pytest.raises(UserError, match=r"txt is a text a line, and task mine takes two \(question, answer\)"):
        read(file("rows.txt", "a\n"), PAIR)


def test_numbers_with_two_meanings_are_refused_at_once(file: Write) -> None:
    stars = task(labels=["1", "2", "3"])
    table = pa.table({"text": ["a"], "label": [1]})
    with pytest.raises(UserError, match=r"rows\.parquet: the number 1 is the label '1', or the class id of '2'"):
        read(file("rows.parquet", parquet(table)), stars, labels="label")
    features = {"label": {"names": ["good", "bad"], "_type": "ClassLabel"}}
    named = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    with pytest.raises(UserError, match=r"its labels are good, bad \(in this order\), task mine has bad, good"):
        read(file("rows.parquet", parquet(named)), ONE, labels="label")


def test_a_column_that_the_first_rows_of_jsonl_lack_may_come_later(file: Write) -> None:
    lines = file("rows.jsonl", '{"more": 1}\n{"te\n{"text": "a"}\n')
    assert [row.line for row in read(lines, ONE) if row.wrong] == [1, 2]


def test_a_packed_file_that_was_cut_off_says_so_where_it_ends(file: Write) -> None:
    packed = gzip.compress("".join(f"row {i * 7919 % 10007}\n" for i in range(50000)).encode())
    rows = read(file("rows.txt.gz", packed[: len(packed) // 2]), ONE)
    with pytest.raises(UserError, match=r"rows\.txt\.gz can't be read as txt: "):
        list(rows)


@pytest.mark.long
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "csv.gz", "open.csv"])
def test_any_size_is_read_in_the_memory_of_a_row(tmp_path: Path, kind: str) -> None:
    name, rows, word = tmp_path / f"rows.{kind}", 3_000_000, "some words of a text " * 5
    if kind == "parquet":
        with pq.ParquetWriter(name, pa.schema({"text": pa.string()}), compression="none", use_dictionary=False) as out:
            out.write_table(pa.table({"text": [f"{word}{i}" for i in range(rows)]}), row_group_size=rows)
    else:
        with gzip.open(name, "wt", compresslevel=1) if kind.endswith("gz") else name.open("w") as stream:
            stream.write("" if kind == "jsonl" else "text\n")
            stream.write('"open\n' if kind == "open.csv" else "")
            for i in range(rows):
                stream.write(f'{{"text": "{word}{i}"}}\n' if kind == "jsonl" else f"{word}{i}\n")
    code = (
        "import resource, sys; import pyarrow.parquet; from glue_pool.predict.reading import read\n"
        "from glue_pool.tasks import TaskConfig\n"
        "rows = read(sys.argv[1], TaskConfig(name='mine', columns=['text'], labels=['a', 'b']))\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "before = peak(); print(sum(row.wrong is None for row in rows), peak() - before)"
    )
    out = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, check=True).stdout
    count, mb = out.split()
    assert int(count) == rows
    assert float(mb) < 40
