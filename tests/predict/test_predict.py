"""`glue-pool predict`: a row for every row, the run's own numbers, and the same bytes after a stop (about 12 s)."""

import csv
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import matthews_corrcoef

import local_data
import measure_predict
from conftest import Compose
from glue_pool import cli, locks
from glue_pool.data.tokens import Tokens
from glue_pool.errors import Held, Interrupted, NotWritten, UserError
from glue_pool.pipeline import run
from glue_pool.predict import predict
from glue_pool.predict.table import Table
from glue_pool.result import Result
from glue_pool.results import run_folder
from glue_pool.saved import folder as saved
from glue_pool.saved.folder import SavedModel
from glue_pool.tasks import TaskConfig

KEYS = (
    "encoder=minilm_l6", "encoder.num_hidden_layers=1", "data=local", "tracking=none", "train.precision=fp32",
    "train.max_steps=2", "train.batch_size=8", "optimizer.lr=1e-2", "save_model=true", "pooling=mean",
)  # fmt: skip
TAGS = (
    "task=cola", "task.name=tags", "task.labels=[a,b,c]", "task.multi_label=true", "task.metrics=[f1_micro]",
    "task.primary_metric=f1_micro", "task.official_rows={}", "task.separator=|",
)  # fmt: skip
ONE, OTHER, PAIRS = ("task=sst2",), ("task=sst2", "seed=1"), ("task=rte",)
SCORES = ("task=stsb", "optimizer.lr=1e-3")  # at 1e-2 scores are within 0.03 of -3.2: metrics to five digits only
THREE = ("task=mnli", "task.dev_splits=[validation_matched]")


@dataclass(frozen=True)
class Trained:
    """A run's task, its saved model, its dev split's file and its result."""

    task: TaskConfig
    model: Path
    dev: Path
    result: Result

    def texts(self, row: int) -> list[str]:
        """The texts of a dev row."""
        return [pq.read_table(self.dev)[column][row].as_py() for column in self.task.columns]


Train = Callable[..., Trained]


@pytest.fixture(scope="module")
def train(composed: Compose, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """`train("task=rte")` is a run, trained once."""
    folder, done = tmp_path_factory.mktemp("predict"), {}

    def make(*overrides: str) -> Trained:
        if overrides not in done:
            data = folder / "data"
            places = [f"data.dir={data}", f"data.cache_dir={folder}/cache", f"output_root={folder}/outputs"]
            cfg = composed(*KEYS, *overrides, *places)
            if not (data / cfg.task.name).exists():
                local_data.write(data, cfg.task)
            result = run(cfg)
            kept = run_folder(cfg, result["run_key"]).path / "model"
            dev = data / cfg.task.name / f"{cfg.task.dev_splits[0]}.parquet"
            done[overrides] = Trained(cfg.task, kept, dev, result)
        return done[overrides]

    return make


@pytest.fixture
def texts(train: Train, tmp_path: Path) -> Path:
    """A csv of 24 texts of SST-2's kind, with labels by name and a category."""
    rows = pq.read_table(train(*ONE).dev).to_pylist()
    file = tmp_path / "texts.csv"
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["sentence", "label", "length"])
        for row in rows:
            label, length = ["negative", "positive"][row["label"]], len(row["sentence"]) > 50
            writer.writerow([row["sentence"], label, "long" if length else "short"])
    return file


def probabilities(file: Path) -> np.ndarray:
    with file.open(newline="") as rows:
        return np.array([list(row.values())[1:] for row in csv.DictReader(rows)], float)


def test_every_row_has_the_models_label_and_probabilities_in_every_format(
    train: Train, texts: Path, tmp_path: Path
) -> None:
    model = train(*ONE).model
    for ending in ("csv", "jsonl", "parquet"):
        assert predict(model, texts, tmp_path / f"out.{ending}", window=7).rows == 24
    logits = saved.load(model).logits([row["sentence"] for row in csv.DictReader(texts.open())]).astype(float)
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert list(found[0]) == ["label", "p(negative)", "p(positive)"]
    np.testing.assert_allclose([[row["p(negative)"], row["p(positive)"]] for row in found], expected, atol=1e-6)
    assert [row["label"] for row in found] == [["negative", "positive"][i] for i in expected.argmax(1)]
    assert expected.std() > 1e-3
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").open()] == found
    with (tmp_path / "out.csv").open(newline="") as rows:
        assert [
            {"label": row.pop("label")} | {k: float(v) for k, v in row.items()} for row in csv.DictReader(rows)
        ] == found
    assert {file.name for file in tmp_path.iterdir()} == {"texts.csv", "out.csv", "out.jsonl", "out.parquet"}


@pytest.mark.parametrize("of", [ONE, SCORES, TAGS], ids=["classes", "scores", "label sets"])
def test_the_metrics_of_the_dev_split_are_those_of_the_run(train: Train, tmp_path: Path, of: tuple[str, ...]) -> None:
    trained = train(*of)
    done = predict(trained.model, trained.dev, tmp_path / "out.csv", labels="label", window=10)
    assert done.scores[0].metrics == pytest.approx(trained.result["metrics"]["validation"], abs=1e-6, nan_ok=True)
    with (tmp_path / "out.csv").open(newline="") as rows:
        first = next(csv.DictReader(rows))
    if of == TAGS:
        assert first["label"] == "|".join(name for name in "abc" if float(first[f"p({name})"]) > 0.5)
    else:
        assert next(iter(first)) == ("score" if of == SCORES else "label")


def test_metrics_by_category_have_their_rows_and_are_the_same_after_a_stop(
    train: Train, texts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, output = train(*ONE).model, tmp_path / "out.csv"
    options: dict[str, Any] = {"labels": "label", "by": "length", "window": 5}
    whole = predict(model, texts, output, **options)
    table = capsys.readouterr().out
    assert whole.scores[0].category == "all"
    assert sum(one.rows for one in whole.scores[1:]) == whole.scores[0].rows == 24
    right = sum(one.rows * one.metrics["accuracy"] for one in whole.scores[1:])
    assert right == pytest.approx(24 * whole.scores[0].metrics["accuracy"])
    for one in whole.scores:
        assert f"{one.category} " in table
    bytes_of = output.read_bytes()
    with (
        stopped_after(monkeypatch, 3),
        pytest.raises(Interrupted, match=r"interrupted: 10 rows are kept in .*partial;"),
    ):
        predict(model, texts, output, force=True, **options)
    assert output.read_bytes() == bytes_of  # until it is replaced
    again = predict(model, texts, output, force=True, **options)
    assert again.now == 14
    assert again.scores == whole.scores
    assert output.read_bytes() == bytes_of


DIAGNOSTIC = [  # GLUE's diagnostic set: rows with several categories of a kind, or none
    {"Logic": logic, "Knowledge": knowledge, "label": ["entailment", "neutral", "contradiction"][i % 3]}
    for i, (logic, knowledge) in enumerate(
        [("Negation;Double negation", ""), ("Negation", "World knowledge"), ("", ""), (" Disjunction ; Negation ", "")]
        * 6
    )
]


def test_two_classes_of_labels_and_several_categories_a_row_as_in_the_diagnostic_set(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = train(*THREE)
    rows = [dict(zip(("premise", "hypothesis"), trained.texts(i), strict=True)) | DIAGNOSTIC[i] for i in range(24)]
    three, two = tmp_path / "three.jsonl", tmp_path / "two.jsonl"
    three.write_text("".join(json.dumps(row) + "\n" for row in rows))
    not_entailed = {"neutral": "not_entailment", "contradiction": "non-entailment", "entailment": "entailment"}
    two.write_text("".join(json.dumps(row | {"label": not_entailed[row["label"]]}) + "\n" for row in rows))
    output = tmp_path / "out.csv"
    options: dict[str, Any] = {"labels": "label", "metrics": ["matthews_correlation"], "force": True}
    of_classes = predict(trained.model, three, output, **options).scores
    predicted = [row["label"] for row in csv.DictReader(output.open())]
    gold = [row["label"] for row in rows]
    assert len(set(predicted)) > 1
    assert of_classes[0].metrics == pytest.approx({"matthews_correlation": matthews_corrcoef(gold, predicted)})
    capsys.readouterr()
    asked: dict[str, Any] = {"positive": "entailment", "by": ["Logic", "Knowledge"], "by_separator": ";"}
    found = predict(trained.model, two, output, **options, **asked).scores
    parts = [{part.strip() for part in row["Logic"].split(";")} for row in rows]
    having: dict[tuple[str, str], list[bool]] = {
        ("", "all"): [True] * 24,
        ("Logic", "(any)"): [part != {""} for part in parts],
        **{("Logic", name): [name in part for part in parts] for name in ("Negation", "Disjunction")},
        ("Logic", "Double negation"): ["Double negation" in part for part in parts],
        ("Logic", "(none)"): [part == {""} for part in parts],
        ("Knowledge", "(any)"): [bool(row["Knowledge"]) for row in rows],
        ("Knowledge", "(none)"): [not row["Knowledge"] for row in rows],
        ("Knowledge", "World knowledge"): [bool(row["Knowledge"]) for row in rows],
    }
    assert {(one.column, one.category): one.rows for one in found} == {of: sum(there) for of, there in having.items()}
    for one in found:
        of = having[one.column, one.category]
        pair = (
            [name == "entailment" for name, there in zip(names, of, strict=True) if there]
            for names in (gold, predicted)
        )
        assert one.metrics == pytest.approx({"matthews_correlation": matthews_corrcoef(*pair)})
    assert re.search(r"^Logic: Double negation +6 ", capsys.readouterr().out, re.MULTILINE)
    assert predict(trained.model, three, output, **options, **asked).scores == found  # three classes are two as well


def stopped_after(patch: pytest.MonkeyPatch, windows: int) -> Any:
    """Press Ctrl-C in some window."""
    of_tokens, calls = SavedModel.of_tokens, [0]

    def pressed(self: SavedModel, tokens: Tokens, **options: Any) -> np.ndarray:
        calls[0] += 1
        if calls[0] == windows:
            os.kill(os.getpid(), signal.SIGINT)
        return of_tokens(self, tokens, **options)

    context = patch.context()
    patched = context.__enter__()
    patched.setattr(SavedModel, "of_tokens", pressed)

    class Context:
        def __enter__(self) -> None: ...

        def __exit__(self, *error: object) -> None:
            context.__exit__(None, None, None)

    return Context()


KILLED = """
import os, signal, sys
from glue_pool.predict import job, partial, predict

fsync, at, model, texts, *outputs = os.fsync, int(sys.argv[1]), *sys.argv[2:]
calls = 0

def torn(file):
    global calls
    calls += 1
    if calls == at:  # in the middle of a row
        os.ftruncate(file, os.fstat(file).st_size - 9)
        os.kill(os.getpid(), signal.SIGKILL)
    fsync(file)

os.fsync = torn
for output in outputs:
    child = os.fork()
    if not child:
        predict(model, texts, output, window=4)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
"""


def test_a_killed_command_goes_on_to_the_same_bytes(train: Train, texts: Path, tmp_path: Path) -> None:
    model, outputs = train(*ONE).model, [tmp_path / "killed.csv", tmp_path / "killed.parquet"]
    subprocess.run([sys.executable, "-c", KILLED, "6", model, texts, *outputs], check=True, timeout=120)
    for output in outputs:
        assert output.with_name(f"{output.name}.partial").exists()
        assert not output.exists()
        assert predict(model, texts, output, window=4).now == 24 - 15  # the fourth window's last row was torn
        undisturbed = tmp_path / f"undisturbed{output.suffix}"
        predict(model, texts, undisturbed, window=4)
        assert output.read_bytes() == undisturbed.read_bytes()
    assert not list(tmp_path.glob("*partial*"))
    assert not list(tmp_path.glob("*.lock"))


def test_what_is_there_of_another_command_is_refused_until_forced(
    train: Train, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, output = shutil.copytree(train(*ONE).model, tmp_path / "model"), tmp_path / "out.csv"
    with stopped_after(monkeypatch, 3), pytest.raises(Interrupted):
        predict(model, texts, output, window=5)
    partial = output.with_name("out.csv.partial")
    kept = partial.read_bytes()
    other = tmp_path / "other.csv"
    other.write_text(texts.read_text().replace("dog", "cat"))
    differing: list[tuple[tuple[Path, Path], dict[str, Any], str]] = [
        ((train(*OTHER).model, texts), {}, "is of other models"),
        ((model, other), {}, "is of another input"),
        ((model, texts), {"batch_size": 3}, r"is of another batch size \(64 there, 3 now\)"),
        ((model, texts), {"columns": ["label"]}, r"is of other columns \(None there, \['label'\] now\)"),
    ]
    for arguments, options, said in differing:
        with pytest.raises(UserError, match=f"out.csv.partial: {said}.*--force starts over"):
            predict(*arguments, output, window=5, **options)
        assert partial.read_bytes() == kept
    moved = texts.rename(tmp_path / "moved.csv")
    assert predict(model, moved, output, window=5).now == 14
    partial.write_text("notes of mine\n")
    output.unlink()
    with pytest.raises(UserError, match=r"out.csv.partial: is there, and no readable out.csv.partial.json says what"):
        predict(model, moved, output)
    assert partial.read_text() == "notes of mine\n"
    assert predict(model, moved, output, force=True).now == 24


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(train: Train, texts: Path, tmp_path: Path) -> None:
    model, source = train(*ONE).model, tmp_path / "many.csv"
    head, *rows = texts.read_text().splitlines()
    source.write_text("\n".join([head, *rows * 10]) + "\n")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, before[1]))
    try:
        with pytest.raises(NotWritten, match=r"can't be written \(File too large\): (\d+) rows are kept") as full:
            predict(model, source, tmp_path / "out.csv", window=30)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    lines = (tmp_path / "out.csv.partial").read_text().split("\n")
    assert f" {len(lines) - 2} rows" in str(full.value)  # less the head and the row that was cut off
    done = predict(model, source, tmp_path / "out.csv", window=30)
    assert done.now == 240 - (len(lines) - 2)
    predict(model, source, tmp_path / "whole.csv", window=30)
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_row_that_cant_be_read_stops_or_is_empty(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, source, output = train(*ONE).model, tmp_path / "odd.jsonl", tmp_path / "out.csv"
    rows = [json.dumps({"sentence": f"a dog {i}"}) for i in range(40)]
    rows[12:25] = ["{"] * 13
    source.write_text("\n".join(rows) + "\n")
    with pytest.raises(UserError, match=r"odd.jsonl, line 13: .*--on-error skip .*; 10 rows are kept in"):
        predict(model, source, output, window=5)
    assert not output.exists()
    done = predict(model, source, output, window=5, on_error="skip")
    assert (done.rows, done.skipped, done.now) == (40, 13, 30)
    err = capsys.readouterr().err
    assert err.count("it has no values") == 10
    assert "odd.jsonl: 3 more rows that can't be read have no values" in err
    lines = output.read_text().splitlines()
    assert len(lines) == 41
    assert lines[13:26] == [",,"] * 13
    assert all(line.count(".") == 2 for line in lines[1:13] + lines[26:])
    predict(model, source, tmp_path / "out.parquet", on_error="skip", window=9)
    assert pq.read_table(tmp_path / "out.parquet").column("p(positive)").null_count == 13


def test_several_models_give_their_mean(train: Train, texts: Path, tmp_path: Path) -> None:
    one, other = train(*ONE).model, train(*OTHER).model
    for name, folders in (("one", [one]), ("other", [other]), ("mean", [one, other])):
        predict(folders, texts, tmp_path / f"{name}.csv")
    found = {name: probabilities(tmp_path / f"{name}.csv") for name in ("one", "other", "mean")}
    assert np.abs(found["one"] - found["other"]).max() > 1e-3
    np.testing.assert_allclose(found["mean"], (found["one"] + found["other"]) / 2, rtol=1e-15)


def test_texts_of_no_words_and_of_ten_thousand(train: Train, tmp_path: Path) -> None:
    source = tmp_path / "texts.jsonl"
    texts = ["", "dog " * 10_000, "a dog"]
    source.write_text("".join(json.dumps({"sentence": text}) + "\n" for text in texts))
    done = predict(train(*ONE).model, source, tmp_path / "out.csv")
    assert (done.rows, done.cut) == (3, 1)
    assert np.isfinite(probabilities(tmp_path / "out.csv")).all()


def test_bad_input_is_one_line_before_anything_is_written(
    train: Train, texts: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, free = train(*ONE).model, str(tmp_path / "out.csv")
    hollow = shutil.copytree(model, tmp_path / "hollow")
    (hollow / "model.safetensors").unlink()
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "there.csv").write_text("mine")
    (tmp_path / "narrow.csv").write_text("label\npositive\n")
    shutil.copy(texts, tmp_path / "in.csv.partial")
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    pairs, scores, scored = train(*PAIRS), train(*SCORES), [texts, "-o", free, "--labels", "label"]
    capfd.readouterr()
    for arguments, said in (
        ([hollow, texts, "-o", free], "hollow: not a saved model"),
        ([model, tmp_path / "empty.csv", "-o", free], "empty.csv"),
        ([model, tmp_path / "none.csv", "-o", free], "none.csv"),
        ([model, tmp_path / "narrow.csv", "-o", free], "no column sentence"),
        ([model, pairs.dev, "-o", free], "no column sentence"),
        ([pairs.model, texts, "-o", free], "no column sentence"),
        ([model, scores.model, texts, "-o", free], "its labels are none (scores), those of"),
        ([model, texts, "-o", free, "--by", "length"], "--by length: is for metrics; --labels names"),
        ([model, texts, "-o", free, "--positive", "negative"], "--positive negative: is for metrics; --labels names"),
        ([model, *scored, "--positive", "negativ"], "none of sst2's labels (negative, positive); did you mean 'negati"),
        ([model, *scored, "--metrics", "accuracy,f2"], "--metrics: no metric f2"),
        ([model, *scored, "--metrics", "corr"], "--metrics: corr doesn't fit a task with one label a row"),
        ([model, *scored, "--by", "length", "--by", "length"], "--by length: stands there twice"),
        ([model, *scored, "--by-separator", ";"], "--by-separator ';': is what stands between the categories of"),
        ([scores.model, *scored, "--positive", "3"], "--positive 3: is for a task with one label a row; stsb is none"),
        ([model, texts, "-o", free, "--batch-size", "0"], "--batch-size 0: takes a number from 1"),
        ([model, texts, "-o", tmp_path / "there.csv"], "there.csv: is there already; --force replaces it"),
        ([model, texts, "-o", texts, "--force"], "texts.csv is the input itself"),
        ([model, tmp_path / "in.csv.partial", "-o", tmp_path / "in.csv", "--format", "csv"], "is the input itself"),
        ([model, texts, "-o", tmp_path / "no" / "out.csv"], "there is no such folder; make it, or name another"),
        ([model, texts, "-o", "/proc/out.csv"], "/proc/out.csv: can't be written"),
        ([model, texts, "-o", tmp_path / "out.csv.gz"], "predictions are written unpacked; leave out .gz"),
        ([model, texts, "-o", tmp_path / "out.txt"], "its name ends in none of .csv, .jsonl, .parquet"),
        ([texts, "-o", free], "the following arguments are required: INPUT"),
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main(["predict", *map(str, arguments)])
        out, err = capfd.readouterr()
        assert ended.value.code == 2, said
        assert said in err
        assert (out, err.count("\n")) == ("", 1)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


HOLDER = """
import pathlib, sys
from glue_pool import locks
with locks.hold(pathlib.Path(sys.argv[1])):
    print(flush=True)
    sys.stdin.read()
"""


def test_one_process_writes_an_output(train: Train, texts: Path, tmp_path: Path) -> None:
    lock = tmp_path / "out.csv.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(Held, match=rf"out.csv: process {process.pid} on .* works on it"):
            predict(train(*ONE).model, texts, tmp_path / "out.csv")
        process.communicate()


def test_a_lease_leaves_the_folder_of_others_alone(tmp_path: Path) -> None:
    with locks.hold(tmp_path / "file.lock", in_own_folder=False):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_predicts_standard_input_and_says_so_in_a_line(
    train: Train,
    texts: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, output = train(*ONE).model, tmp_path / "out.csv"
    with texts.open() as rows:
        monkeypatch.setattr(sys, "stdin", rows)
        cli.main(["predict", str(model), "-", "--output", str(output), "--format", "csv"])
    out, err = capfd.readouterr()
    assert out.startswith(f"{output}: 24 rows, ")
    assert (out.count("\n"), err) == (1, "")
    predict(model, texts, tmp_path / "file.csv")
    assert output.read_bytes() == (tmp_path / "file.csv").read_bytes()


NAMES = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=2, max_size=4, unique=True)
NUMBERS = st.floats(0, 1)


@given(NAMES, st.booleans(), st.sampled_from([".csv", ".jsonl", ".parquet"]), st.data())
def test_numbers_and_names_come_back_and_a_cut_file_goes_on(
    names: list[str], multi: bool, ending: str, data: st.DataObject
) -> None:
    folder = Path(tempfile.mkdtemp())
    table = Table.of(TaskConfig(name="t", labels=names, multi_label=multi), Path(f"out{ending}"))
    row = st.none() | st.lists(NUMBERS, min_size=len(names), max_size=len(names))
    rows: Sequence[list[float] | None] = data.draw(st.lists(row, max_size=4))
    whole = table.head + table.encode(rows)
    file = folder / "rows"
    file.write_bytes(whole)
    assert list(table.values(file)) == rows
    if ending == ".parquet":
        table.to_parquet(file, folder / "out.parquet")
        assert pq.read_table(folder / "out.parquet").to_pylist() == [
            dict(zip(table.columns, table.cells(row), strict=True)) for row in rows
        ]
    cut = data.draw(st.integers(0, len(whole)))
    file.write_bytes(whole[:cut])
    done, size = table.end_of_rows(file)
    assert size <= cut
    assert (whole[:size] or table.head) + table.encode(rows[done:]) == whole
    shutil.rmtree(folder)


@pytest.mark.long
def test_memory_does_not_grow_with_the_rows(train: Train, tmp_path: Path) -> None:
    few, many = (measure_predict.measure(train(*ONE).model, rows, tmp_path).peak_mb for rows in (1_000, 20_000))
    assert many < few + 100
