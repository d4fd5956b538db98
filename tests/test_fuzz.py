"""Fuzz: what people write into a task's YAML and its files ends in a run whose numbers are right, or in one line.

The suite tries a few dozen examples of each kind, always the same; `make test-long` draws thousands (minutes).
"""

import csv
import dataclasses
import io
import json
import math
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

import glue_pool
from glue_pool import choices, commandline
from glue_pool.data import sources
from glue_pool.data.rows import Rows
from glue_pool.errors import UserError
from glue_pool.schema import Config
from glue_pool.tasks import SourceConfig, TaskConfig

TINY = Path(__file__).parent / "written_by_0_1" / "tiny_bert"
LINE = (
    f"task=mine encoder=bert_base encoder.name={TINY} pooling=mean tracking=none train.max_steps=2 train.batch_size=8 "
    "train.max_length=16 train.threads=1 train.precision=fp32"
)
WORDS = "the a small red old dog cat bird house garden sees likes follows finds near under with and not".split()


def few(count: int) -> settings:
    """The suite's examples: few, and always the same."""
    return settings(max_examples=count, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])


def many(count: int) -> settings:
    """The long run's examples: more, and the same as well, so that what fails fails again."""
    return few(count)


# tasks that are right, of every kind: a field a line, and the columns of their files

TEXTS = [" ".join(WORDS[(i * k) % len(WORDS)] for k in range(1, 2 + i % 5)) for i in range(24)]
COMMON = {
    "name": "mine",
    "source": "{files: {train: train.FORMAT, dev: dev.FORMAT}}",
    "columns": "[text]",
    "dev_splits": "[dev]",
}
TASKS: dict[str, tuple[dict[str, str], dict[str, Sequence[Any]]]] = {
    "single": (
        {"labels": "[bad, good]", "metrics": "[accuracy, f1]", "primary_metric": "accuracy"},
        {"text": TEXTS, "label": ["bad", "good", "good"] * 8, "idx": range(100, 124)},
    ),
    "pairs": (
        {
            "columns": "[text, '{other}: {number}']",
            "label": "answer",
            "labels": "['no', 'yes', perhaps]",
            "label_map": "{1: 'no', 2: 'yes', 3: perhaps}",
            "metrics": "[accuracy]",
            "primary_metric": "accuracy",
        },
        {"text": TEXTS, "other": TEXTS[::-1], "number": [1, 2, 3, 4] * 6, "answer": [1, 2, 3] * 8},
    ),
    "scores": (
        {
            "metrics": "[pearson, spearmanr]",
            "primary_metric": "pearson",
            "score_range": "[0, 5]",
            "standardise": "true",
        },
        {"text": TEXTS, "label": [i / 5 for i in range(24)]},
    ),
    "sets": (
        {"multi_label": "true", "labels": "[calm, warm, sad]", "metrics": "[f1_micro]", "primary_metric": "f1_micro"},
        {"text": TEXTS, "label": ["calm,warm", "", "sad"] * 8},
    ),
}


def write(file: Path, columns: Mapping[str, Sequence[Any]], kind: pa.DataType | None = None) -> None:
    """Write columns as the file's ending says; kind: what the label's column is to be of, where columns have a type."""
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if file.suffix in (".csv", ".tsv"):
        with file.open("w", newline="", errors="surrogatepass") as stream:
            writer = csv.writer(stream, delimiter="," if file.suffix == ".csv" else "\t")
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
    elif file.suffix == ".jsonl":
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    elif file.suffix == ".json":
        file.write_text(json.dumps(rows))
    else:
        table = pa.table({name: list(values) for name, values in columns.items()})
        if kind is not None:
            at = table.column_names.index(
                next(name for name in ("label", "answer", table.column_names[0]) if name in table.column_names)
            )
            table = table.set_column(at, table.column_names[at], table.column(at).cast(kind))
        if file.suffix == ".parquet":
            pq.write_table(table, file)
        else:
            with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)


def right(kind: str, ending: str) -> bytes:
    """A task's YAML as it should be."""
    fields = COMMON | TASKS[kind][0]
    return "".join(f"{name}: {said}\n" for name, said in fields.items()).replace("FORMAT", ending).encode()


def lay_out(folder: Path, kind: str, ending: str, content: bytes) -> None:
    """Write a task's files, 24 rows to train on and 12 to evaluate, and its YAML."""
    columns = TASKS[kind][1]
    write(folder / f"train.{ending}", columns)
    write(folder / f"dev.{ending}", {name: values[::2] for name, values in columns.items()})
    (folder / "conf/task").mkdir(parents=True)
    (folder / "conf/task/mine.yaml").write_bytes(content)


def there(folder: Path) -> dict[str, bytes | None]:
    """What is in a folder."""
    paths = sorted(path for path in folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def refused(error: UserError) -> None:
    """A refusal is a line that can be printed."""
    said = str(error)
    assert said.strip(), "a line that says nothing"
    assert said.isprintable(), f"no single line: {said!r}"
    assert len(said) < 1500, f"too long: {said[:200]!r}"


def train(folder: Path) -> Path | None:
    """Train on the task in a folder; return the run's folder, or None where that was refused with nothing written."""
    before = there(folder)
    places = [f"data.cache_dir={folder}/cache", f"output_root={folder}/outputs"]
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            result = glue_pool.run([*LINE.split(), *places], config_dir=folder / "conf")
    except UserError as error:
        refused(error)
        assert there(folder) == before
        return None
    (file,) = (folder / "outputs").rglob("result.json")
    assert json.loads(file.read_text()) == result
    assert result["status"] == "completed"
    return file.parent


# an independent reading of the same files


NUMBER = {int: float}  # which go together in a column


def read(file: Path) -> list[dict[str, Any]]:
    if file.suffix in (".csv", ".tsv"):
        with file.open(newline="", encoding="utf-8-sig") as stream:
            return list(csv.DictReader(stream, delimiter="," if file.suffix == ".csv" else "\t"))
    if file.suffix in (".jsonl", ".json"):
        content = file.read_text(encoding="utf-8-sig")
        lines = [content] if file.suffix == ".json" else [line for line in content.split("\n") if line.strip()]
        rows = json.loads(lines[0]) if file.suffix == ".json" else [json.loads(line) for line in lines]
        mixed = {name for name in rows[0] if len({NUMBER.get(type(row[name]), type(row[name])) for row in rows}) > 1}
        return [
            {
                name: json.dumps(value) if name in mixed and not isinstance(value, str) else value
                for name, value in row.items()
            }
            for row in rows
        ]
    table = pq.read_table(file) if file.suffix == ".parquet" else pa.ipc.open_file(str(file)).read_all()
    found: list[dict[str, Any]] = table.to_pylist()
    return found


def meant(task: TaskConfig, row: Mapping[str, Any]) -> Any:
    """What a row's label says: a class id, a score, or a 0 or 1 for every label."""
    if task.label is None:
        return [int(row[name]) for name in task.labels]
    value = row[task.label]
    if not task.labels:
        return float(np.float32(value))
    if not task.multi_label:
        return class_id(task, value)
    if not isinstance(value, str) and len(value) == len(task.labels) and set(value) <= {0, 1}:
        return [int(one) for one in value]
    given = [part.strip() for part in value.split(task.separator)] if isinstance(value, str) else value
    ids = {class_id(task, part) for part in given if part != ""}
    return [int(i in ids) for i in range(len(task.labels))]


def class_id(task: TaskConfig, value: Any) -> int:
    """A name counts before an id, `label_map` before both; 1.0 is 1, and of two labels one may be true."""
    texts = dict.fromkeys((str(value), re.sub(r"\.0+$", "", str(value))))
    for text in texts:
        if text in task.label_map or text in task.labels:
            return task.labels.index(task.label_map.get(text, text))
    true = {"true", "yes"} if str(value).lower() in ("true", "yes") else {"false", "no"}
    if str(value).lower() in ("true", "yes", "false", "no"):
        (found,) = {task.label_map.get(name, name) for name in task.label_map or task.labels if name.lower() in true}
        return task.labels.index(found)
    assert not task.label_map
    return range(len(task.labels))[int(re.sub(r"\.0+$", "", str(value)))]


def expected(folder: Path, task: TaskConfig, split: str) -> list[tuple[list[str], int, Any]]:
    """Texts, idx and label of a split's rows, as its files have them."""
    files = task.source.files[split]
    rows = [row for file in ([files] if isinstance(files, str) else files) for row in read(folder / file)]
    idx = task.idx if task.idx in rows[0] else None
    return [
        ([text(row, entry) for entry in task.columns], i if idx is None else int(row[idx]), meant(task, row))
        for i, row in enumerate(rows)
    ]


def text(row: Mapping[str, Any], entry: str) -> str:
    """A column, or a template of some."""
    if not re.search(r"{[^{}]+}", entry):
        return str(row[entry])
    pieces = re.split(r"{([^{}]+)}", entry)
    return "".join(said if i % 2 == 0 else written(row[said]) for i, said in enumerate(pieces))


def written(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def check_text(written: bytes, task: TaskConfig) -> None:
    """Hold a task's text against its YAML, where that is no reference."""
    content = yaml.safe_load(written)
    texts = {name: value for name, value in content.items() if isinstance(value, str)}
    for name, value in texts.items() if "defaults" not in content else ():
        if name != "positive" and "$" not in value and value != "???":  # OmegaConf's own
            read = getattr(task, name)
            assert read == (type(read)(value) if type(read) in (int, float) else value)  # a number may be text: "1"


def check_rows(folder: Path, task: TaskConfig, rows: Mapping[str, Rows]) -> None:
    """Hold what was read against the files."""
    held_out = task.dev_share is not None
    for split in [task.train_split] if held_out else [task.train_split, *task.dev_splits]:
        parts = list(rows.values()) if held_out else [rows[split]]
        got = [
            (list(texts), idx, label)
            for part in parts
            for *texts, idx, label in zip(*part.texts, part.idx.tolist(), part.labels.tolist(), strict=True)
        ]
        of_file = expected(folder, task, split)
        if held_out:
            got, of_file = sorted(got, key=repr), sorted(of_file, key=repr)
        assert got == of_file


def check_run(run: Path, task: TaskConfig, rows: Mapping[str, Rows]) -> None:
    """Hold a run's predictions against the rows, and its scores against scikit-learn's."""
    result = json.loads((run / "result.json").read_text())
    predictions = [row for row in pq.read_table(run / "predictions.parquet").to_pylist() if row["epoch"] == "last"]
    for split in task.dev_splits:
        of_split = [row for row in predictions if row["split"] == split]
        assert [row["idx"] for row in of_split] == rows[split].idx.tolist()
        assert [row["label"] for row in of_split] == rows[split].labels.tolist()
        logits = np.array([row["logits"] for row in of_split])
        for name, value in result["metrics"][split].items():
            if name in SKLEARN:
                again = SKLEARN[name](task, rows[split].labels, logits)
                assert value == pytest.approx(again, nan_ok=True, abs=1e-6)


SKLEARN: dict[str, Any] = {
    "accuracy": lambda task, labels, logits: sklearn_metrics.accuracy_score(labels, logits.argmax(1)),
    "f1": lambda task, labels, logits: sklearn_metrics.f1_score(
        labels, logits.argmax(1), pos_label=task.positive_id, zero_division=0
    ),
    "f1_micro": lambda task, labels, logits: sklearn_metrics.f1_score(
        labels, logits > 0, average="micro", zero_division=0
    ),
}


# a task's YAML

KINDS = {field.name: str(field.type) for of in (SourceConfig, TaskConfig) for field in dataclasses.fields(of)}
FIELDS = [field.name for field in dataclasses.fields(TaskConfig) if field.name != "source"]
SOURCE = [field.name for field in dataclasses.fields(SourceConfig)]
ODD = re.split(r"\s{2,}|\n", r"""
null  ~  ''  ' '  []  {}  [[]]  [null]  ['']  {a: }  true  no  yes  'yes'  on  y  n  off  0  1  -1  2  7  012  0x1F
0o17  0b1  1_000  1e3  1e-400  1e400  .inf  -.inf  .nan  nan  inf  1.0  0.5  -0.0  0.1  2.5  99999999999999999999999
1_0.5  9223372036854775808  9007199254740993  '1'  '0'  '01'  "1.0"  2020-01-01  2020-01-01T00:00:00Z  2020-99-99
12:30:45  bad  good  text  label  idx  train  dev  test  Bad  accuracy  f1  pearson  nope  dev.csv  train.jsonl
'*.csv'  '*'  '**'  .  ..  /  ~/  ~no_one/x  /dev/null  /dev/zero  /proc/self/environ  '\0'  "\0"  "a\0b"  "\ud800"
"\uDC80x"  "\n"  "a\nb"  "\r"  "\t"  "\x1b[31m"  "\u2028"  "\u202e"  "\ufeff"  é  日本  "😀"  " bad"  "bad "  "{text}"
'{text} {text}'  '{'  '}'  '{}'  '{nope}'  '{{text}}'  "{te\nxt}"  '${name}'  '${task.name}'  '${nope}'  '${'  '${}'
'${oc.env:HOME}'  '${task}'  '${oc.env:NOPE}'  '${.}'  '\${name}'  '???'  '${seed}'  '${oc.decode:"["}'
'${oc.create:{a: 1}}'  '${now:%Y}'  @x  `x`  %x  '${hydra:runtime.cwd}'  '${task.columns}'  '${task.title}'
!!python/object/apply:os.getcwd []  !!python/name:os.system  !!binary aGk=  !!str 1  !!int x  !!float 1  !!set {a}
!!bool yes  !!null x  !!omap [a: 1]  !mine x  &a bad  *a  &a [*a]  |x  >x  '"'  "'"  ' # '  :  - a  ?  ','  a,b  a: b
{a, b}  {1: a, 1: b}  {a: {b: c}}  [a, [b]]  [bad, bad]  [no, yes]  [1, 2]  [bad, good, bad]  [1.0, 2]  [true, false]
{true: bad, false: good}  {1: bad}  {1.5: bad}  {null: bad}  {'': bad}  <<: x  {bad: good, good: bad}
{train: train.csv}  {train: [], dev: dev.csv}  {dev: }  hydra  _target_  {2020-01-01: bad}  {[a]: b}
""".strip())  # fmt: skip
MANY = ", ".join(f"k{i}: v" for i in range(999))
LONG = ["x" * 300, f"'{'ä' * 5000}'", "[" * 60 + "]" * 60, "[" * 2000, f"[{'a, ' * 3000}b]", f"{{{MANY}}}"]
scalars = st.one_of(
    st.sampled_from(ODD),
    st.sampled_from(ODD),
    st.sampled_from(LONG),
    st.text(max_size=12).map(lambda text: json.dumps(text)),
    st.integers().map(str),
    st.floats().map(str),
)
INSIDE = {
    "list": ["[{}]", "[bad, {}]", "[{}, good]", "[text, {}]", "[accuracy, {}]", "[0, {}]", "[calm, warm, sad, {}]"],
    "dict": ["{{{}: bad}}", "{{1: {}}}", "{{train: {}}}", "{{train: train.FORMAT, dev: {}}}", "{{{}: train.FORMAT}}"],
    "": ["{}"],
}
NUMBERS = "0 1 2 5 0.1 0.5 0.3 1e-9 -1 1e3 1e400 .nan 2.5 0.99 9007199254740993".split()
GUESSES = """
text label idx other number answer bad good calm warm 1 2 yes 'no' '{text}' '{text}:{other}' train dev test accuracy f1
pearson spearmanr mean_squared_error f1_micro '1'
""".split()


def values(name: str) -> st.SearchStrategy[str]:
    """What people may write for a field: of its type or not."""
    kind = KINDS.get(name.removeprefix("source."), "")
    scalar = scalars
    if "float" in kind or "int" in kind:
        scalar = st.one_of(st.sampled_from(NUMBERS), st.sampled_from(NUMBERS), scalars)
    elif "bool" in kind:
        scalar = st.one_of(st.sampled_from(["true", "false"]), scalars)
    elif "str" in kind:
        scalar = st.one_of(st.sampled_from(GUESSES), scalars)
    of = next((form for form in ("list", "dict", "") if kind.startswith(form)), "")
    fitting = st.sampled_from(INSIDE[of])
    others = st.sampled_from([form for forms in INSIDE.values() for form in forms])
    return st.builds(put, st.one_of(fitting, fitting, fitting, others), scalar)


def put(form: str, value: str) -> str:
    """Fill a form's gaps."""
    return form.replace("{{", "\0").replace("}}", "\1").replace("{}", value).replace("\0", "{").replace("\1", "}")


@st.composite
def task_yamls(draw: st.DrawFn) -> tuple[str, str, bytes]:
    """The kind of a task, its files' ending, and its YAML with a field or some that are not as they should be."""
    kind, ending = draw(st.sampled_from(sorted(TASKS))), draw(st.sampled_from(["csv", "jsonl", "parquet"]))
    fields = COMMON | TASKS[kind][0]
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        name = draw(st.sampled_from([*FIELDS, *(f"source.{name}" for name in SOURCE), "source", ODD_KEY]))
        value = draw(st.sampled_from(SENSIBLE[name]) if name in SENSIBLE and draw(st.booleans()) else values(name))
        if name.startswith("source."):
            given = {"files": "{train: train.FORMAT, dev: dev.FORMAT}"} | {name.removeprefix("source."): value}
            name, value = "source", "{" + ", ".join(f"{key}: {said}" for key, said in given.items()) + "}"
        elif name == ODD_KEY:
            name = draw(scalars)
        if draw(st.integers(0, 9)) == 0:
            fields = {other: said for other, said in fields.items() if other != name}
        else:
            fields = fields | {name: value}
    text = "".join(f"{name}: {value}\n" for name, value in fields.items()).replace("FORMAT", ending)
    return kind, ending, draw(st.sampled_from(FORMS))(text)


SENSIBLE = {  # at least for some of the tasks
    "title": ["Mine", "'a: b'"],
    "order": ["3", "-1"],
    "columns": ["[text, text]", "['{text}']", "['{text}: {text}', text]", "['{number}', text]", "[text, other]"],
    "label": ["label", "answer"],
    "idx": ["null", "number", "idx"],
    "labels": ["[good, bad]", "[bad, good, fair]", "[sad, warm, calm]", "[perhaps, 'yes', 'no']"],
    "label_map": ["{0: bad}", "{2: 'no', 1: 'yes', 3: perhaps}", "{'1.0': 'no', 2: 'yes', 3: 'yes'}", "{calm: sad}"],
    "positive": ["bad", "good"],
    "separator": ["','", "';'"],
    "score_range": ["null", "[-1, 9]", "[0, 4.6]"],
    "standardise": ["false"],
    "metrics": [
        "[accuracy, f1_macro]",
        "[pearson, mean_squared_error]",
        "[f1_micro, f1_macro]",
        "[accuracy, log_loss]",
    ],
    "dev_splits": ["[dev, train]", "[train]", "[held_out]\ndev_share: 0.25"],
    "dev_seed": ["7"],
    "train_split": ["dev"],
    "test_splits": ["[test]"],
    "official_rows": ["{train: 24, dev: 12}", "{dev: 1}"],
    "submission": ["{test: x.tsv}"],
    "default_average": ["false"],
    "synthetic": ["rte"],
    "source": [
        "{files: {train: [train.FORMAT, dev.FORMAT], dev: [dev.FORMAT]}}",
        "{files: {train: ./train.FORMAT, dev: dev.FORMAT}, quotes: false}",
    ],
}
ODD_KEY = "(a key that there is not)"


def raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


FORMS: list[Callable[[str], bytes]] = [
    *[raw] * 80,
    lambda text: b"\xef\xbb\xbf" + raw(text),
    lambda text: raw(text).replace(b"\n", b"\r\n"),
    lambda text: raw(text).replace(b"\n", b"\r"),
    lambda text: text.encode("utf-16", "surrogatepass"),
    lambda text: raw(text) + b"title: caf\xe9\n",
    lambda text: raw(text) + b"\x00",
    lambda text: raw(text) + raw(text),
    lambda text: raw(text) + b"name: other\n",
    lambda text: raw(text) + b"---\n" + raw(text),
    lambda text: b"---\n" + raw(text) + b"...\n",
    lambda text: raw(text).replace(b": ", b":\t"),
    lambda text: b"\t" + raw(text),
    lambda text: b"# @package _global_\n" + raw(text),
    lambda text: b"# @package task.source\n" + raw(text),
    lambda text: b"defaults: [rte]\n" + raw(text),
    lambda text: b"defaults: [rte, _self_]\n" + raw(text),
    lambda text: b"defaults: [nope]\n" + raw(text),
    lambda text: b"defaults: nope\n" + raw(text),
    lambda text: b"defaults: [mine]\n" + raw(text),
    lambda text: b"defaults: [{/pooling: nope}, _self_]\n" + raw(text),
    lambda text: b"defaults: [[]]\n" + raw(text),
    lambda text: b"",
    lambda text: b"null\n",
    lambda text: b"defaults: 5\n",
    lambda text: b"[a, b]\n",
    lambda text: b"text\n",
    lambda text: b"%YAML 1.2\n---\n" + raw(text),
    lambda text: raw(text)[: len(text) // 2],
]  # fmt: skip


def try_yaml(case: tuple[str, str, bytes]) -> bool:
    kind, ending, content = case
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        patch.chdir(folder)
        patch.setenv("HF_HUB_OFFLINE", "1")
        lay_out(folder, kind, ending, content)
        with suppress(UserError):  # as `glue-pool list` does
            choices.read(folder / "conf/task/mine.yaml")
        run = train(folder)
        if run:
            (cfg,) = commandline.jobs([f"--config-dir={folder}/conf", *LINE.split()])
            rows = sources.read(cfg.data, cfg.task)
            check_text(content, cfg.task)
            check_rows(folder, cfg.task, rows)
            check_run(run, cfg.task, rows)
        return run is not None


# a task's files

CELLS: list[Any] = [
    None, "", " ", "bad", "good", " good", "GOOD", "calm", "calm,warm", "calm;warm", "warm, calm", "sad,sad",
    "nope,", "0", "1", "2", "01", "1.0", "1.", "-1", "-0", "1e0", "1_0", "+1", "\u0661", "½", "0x1", "1,5", "5.0",
    "5.0001", "nan", "inf", "1e400", "9" * 30, "9223372036854775808", "true", "False", "yes", "No", 0, 1, 2, 3, 4,
    -1, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63), 10**400, 0.0, 1.0, 1.5, -0.0, 2.0**60, 1e300, 1e-300, 3.4e38,
    3.5e38, math.nan, math.inf, True, False, [], [0], [1, 0, 1], ["calm"], ["calm", None], [[0]],
    [True, False, True], [0.0, 1.0, 1.0], ["0", "2"], {}, {"a": 1}, {"a": None}, "\0", "a\0b", "a\nb", "a\r\nb",
    "a\tb", 'say "so"', '"', "\ufeffx", "é", "e\u0301", "\ud800", "\u2028", "😀", "x" * 40_000, "[CLS]",
    "[PAD] [MASK]", "{text}", "${name}", "2020-01-01", "no", "perhaps",
]  # fmt: skip
NAMES = ["text", "label", "idx", "answer", "number", "Text", " text", "", "\ufefftext", "x", "日本", "a,b", "\ud800"]
Files = tuple[str, str, str, dict[str, list[Any]], Any]
COLUMN_TYPES: dict[str, Any] = {
    "bool": pa.bool_(), "int8": pa.int8(), "uint64": pa.uint64(), "float16": pa.float16(), "float32": pa.float32(),
    "decimal": pa.decimal128(30, 3),
    "date": pa.date32(), "timestamp": pa.timestamp("us"), "binary": pa.binary(), "large": pa.large_string(),
    "view": pa.string_view(), "null": pa.null(),
    "dictionary": pa.dictionary(pa.int8(), pa.string()), "list": pa.list_(pa.string()),
    "ints": pa.list_(pa.int64()), "duration": pa.duration("s"),
    "fixed": pa.list_(pa.int64(), 3), "large list": pa.large_list(pa.string()),
}  # fmt: skip


ENDINGS = ["csv", "tsv", "jsonl", "json", "parquet", "arrow"]
HOW = ["cell", "cell", "all", "cycle", "rename", "drop", "add", "repeat"]


@st.composite
def task_files(draw: st.DrawFn) -> Files:
    """The kind of a task, its files' ending, which of its files is odd, the columns there, and how it is written."""
    kind, ending = draw(st.sampled_from(sorted(TASKS))), draw(st.sampled_from(ENDINGS))
    split = draw(st.sampled_from(["train", "dev"]))
    columns = {name: list(values)[: 24 if split == "train" else 12] for name, values in TASKS[kind][1].items()}
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 3]))):
        name = draw(st.sampled_from(sorted(columns)))
        how, value = draw(st.sampled_from(HOW)), draw(st.sampled_from(CELLS))
        if how == "cell":
            columns[name][draw(st.integers(0, 11))] = value
        elif how == "all":
            columns[name] = [value] * len(columns[name])
        elif how == "cycle":
            some = draw(st.lists(st.sampled_from(CELLS), min_size=1, max_size=3))
            columns[name] = [some[i % len(some)] for i in range(len(columns[name]))]
        elif how == "repeat":
            columns = {name: values * 2 for name, values in columns.items()}
        elif how == "drop" and len(columns) > 1:
            del columns[name]
        else:
            columns[draw(st.sampled_from(NAMES))] = columns[name]
            if how == "rename" and len(columns) > 1:
                del columns[name]
    return kind, ending, split, columns, draw(st.sampled_from([None] * 40 + [*COLUMN_TYPES, *BYTES]))


BYTES: dict[str, Any] = {
    "bom": lambda b: b"\xef\xbb\xbf" + b,
    "crlf": lambda b: b.replace(b"\n", b"\r\n"),
    "cr": lambda b: b.replace(b"\n", b"\r"),
    "utf-16": lambda b: b.decode("utf-8", "replace").encode("utf-16"),
    "latin": lambda b: b.replace(b"small", b"caf\xe9"),
    "nul": lambda b: b + b"\x00",
    "half": lambda b: b[: len(b) // 2],
    "empty": lambda b: b"",
    "line": lambda b: b.split(b"\n")[0],
    "blank": lambda b: b + b"\n\n",
    "quote": lambda b: b + b'"',
    "wide": lambda b: b + b"a,b,c,d,e,f,g\n",
    "deep": lambda b: b"[" * 5000 + b,
    "scalar": lambda b: b"1\n",
    "header twice": lambda b: b.split(b"\n")[0] + b"\n" + b,
    "NaN": lambda b: b.replace(b"1", b"NaN", 1),
    "long int": lambda b: b.replace(b"1", b"1" * 5000, 1),
    "flipped": lambda b: b[:50] + bytes(255 - x for x in b[50:70]) + b[70:],
}


@cache
def composed(kind: str, ending: str) -> Config:
    with tempfile.TemporaryDirectory() as name:
        lay_out(Path(name), kind, ending, right(kind, ending))
        (cfg,) = commandline.jobs([f"--config-dir={name}/conf", *LINE.split()])
    return cfg


def try_files(case: Files, whole: bool = False) -> bool:
    kind, ending, split, columns, form = case
    cfg = composed(kind, ending)
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder = Path(name)
        patch.chdir(folder)
        lay_out(folder, kind, ending, right(kind, ending))
        file = folder / f"{split}.{ending}"
        try:
            write(file, columns, COLUMN_TYPES.get(form))
        except (pa.ArrowException, UnicodeEncodeError, OverflowError, ValueError, TypeError):
            return False  # no file can hold that
        if form in BYTES:
            file.write_bytes(BYTES[form](file.read_bytes()))
        try:
            rows = sources.read(cfg.data, cfg.task)
        except UserError as error:
            refused(error)
            return False
        check_rows(folder, cfg.task, rows)
        if whole:
            run = train(folder)
            assert run
            check_run(run, cfg.task, rows)
        return True


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_task_as_it_should_be(kind: str, ending: str) -> None:
    columns = {name: list(values)[:12] for name, values in TASKS[kind][1].items()}
    assert try_files((kind, ending, "dev", columns, None), whole=ending == "csv")


def test_a_score_that_there_is_not_is_null_in_what_is_returned_and_in_the_file() -> None:
    columns: dict[str, list[Any]] = {"text": ["the same"] * 12, "label": [i / 3 for i in range(12)]}
    assert try_files(("scores", "jsonl", "dev", columns, None), whole=True)


@few(10)
@given(task_yamls())
def test_a_tasks_yaml(case: tuple[str, str, bytes]) -> None:
    try_yaml(case)


@few(50)
@given(task_files())
def test_a_tasks_files(case: Files) -> None:
    try_files(case)


@pytest.mark.long
@many(150)
@given(task_yamls())
def test_a_tasks_yaml_at_length(case: tuple[str, str, bytes]) -> None:
    try_yaml(case)


@pytest.mark.long
@many(400)
@given(task_files(), st.integers(0, 20))
def test_a_tasks_files_at_length(case: Files, whole: int) -> None:
    try_files(case, whole == 0)
