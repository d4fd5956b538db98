"""`glue-pool submit`: the zip holds what the models say, in GLUE's order; what is missing is said before any work."""

import io
import re
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers import BertConfig, BertModel

import local_data
from conftest import Compose
from glue_pool import cli
from glue_pool.errors import Interrupted, UserError
from glue_pool.models import identity
from glue_pool.pipeline import run
from glue_pool.predict import job
from glue_pool.results import run_folder
from glue_pool.saved import folder as saved
from glue_pool.schema import EncoderConfig
from glue_pool.submission import Submitted, check, submit
from glue_pool.submission.official import FILES, score
from glue_pool.tasks import TaskConfig

KEYS = (
    "data=local", "tracking=none", "train.precision=fp32", "train.max_length=32", "train.max_steps=2",
    "train.batch_size=8", "optimizer.lr=1e-2", "save_model=true",
)  # fmt: skip
MINILM = identity.locate(EncoderConfig(name="minilm_l6"))
NAMES = "cola sst2 mrpc stsb mnli qnli qqp rte wnli".split()
OPTIONS: dict[str, Any] = {"allow_missing": True, "window": 500}
Train = Callable[..., Path]


def write_test_split(folder: Path, task: TaskConfig, split: str, rows: int) -> None:
    """Write a test split of random sentences in the task's columns: idx in no order, labels that nobody can read."""
    draw = np.random.default_rng(7)
    idx, words = draw.permutation(rows), np.array(local_data.WORDS)
    texts = {name: [" ".join(words[draw.integers(0, len(words), 4)]) for _ in range(rows)] for name in task.columns}
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(texts | {"label": ["none of the labels"] * rows, "idx": idx}), folder / f"{split}.parquet")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small random encoder."""
    folder = tmp_path_factory.mktemp("submission")
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 24,
    }
    BertModel(BertConfig(vocab_size=30522, initializer_range=0.5, **sizes)).save_pretrained(folder / "encoder")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(MINILM / name, folder / "encoder" / name)
    return folder


@pytest.fixture(scope="module")
def train(composed: Compose, home: Path) -> Train:
    """`train("task=rte")` is the folder of a run with a saved model, trained once; its data have the test splits."""
    done: dict[tuple[str, ...], Path] = {}

    def make(*overrides: str, outputs: str = "outputs", rows: bool = True) -> Path:
        if (*overrides, outputs) not in done:
            places = [f"data.dir={home}/data", f"data.cache_dir={home}/cache", f"output_root={home}/{outputs}"]
            cfg = composed(f"encoder.name={home}/encoder", "pooling=mean", *KEYS, *places, *overrides)
            if not (home / "data" / cfg.task.name).exists():
                local_data.write(home / "data", cfg.task)
                for split, file in cfg.task.submission.items() if rows else ():
                    write_test_split(home / "data" / cfg.task.name, cfg.task, split, FILES[file].rows)
            done[*overrides, outputs] = run_folder(cfg, run(cfg)["run_key"]).path
        return done[*overrides, outputs]

    return make


@pytest.fixture(scope="module")
def two(train: Train, home: Path) -> Path:
    """Outputs with two seeds on WNLI and one on STS-B."""
    for overrides in (("task=wnli",), ("task=wnli", "seed=1"), ("task=stsb",)):
        train(*overrides)
    return home / "outputs"


def content(file: Path, name: str) -> list[list[str]]:
    """The lines of a file in a zip, split at tabs."""
    with zipfile.ZipFile(file) as archive, archive.open(name) as lines:
        return [line.rstrip("\n").split("\t") for line in io.TextIOWrapper(lines, "utf-8", newline="")]


def said_by_models(models: Sequence[Path], data: Path, columns: Sequence[str]) -> np.ndarray:
    """The mean over models of what they say of a split, in the order of its idx."""
    table = pq.read_table(data)
    texts = [table[name].to_pylist() for name in columns]
    logits = np.array([saved.load(model).logits(*texts) for model in models]).astype(float)
    values = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True) if logits.shape[-1] > 1 else logits
    return np.asarray(values.mean(0)[np.argsort(table["idx"].to_numpy())])


def test_scores_are_clipped_and_have_three_decimals() -> None:
    assert [score(value) for value in (7.2, 5, 4.99951, 1 / 3, -1e-9, -1)] == [
        "5.000", "5.000", "5.000", "0.333", "0.000", "0.000",
    ]  # fmt: skip


def test_the_files_are_those_that_the_tasks_name(load_task: Callable[[str], TaskConfig]) -> None:
    tasks = [load_task(name) for name in NAMES]
    named = {file: (task, task.official_rows[split]) for task in tasks for split, file in task.submission.items()}
    assert set(named) | {"AX.tsv"} == set(FILES)
    for name, (task, rows) in named.items():
        assert (FILES[name].rows, FILES[name].labels) == (rows, tuple(task.labels))


@pytest.fixture(scope="module")
def whole(two: Path, tmp_path_factory: pytest.TempPathFactory) -> Submitted:
    """A submission of those."""
    return submit(two, "mean", tmp_path_factory.mktemp("whole") / "whole.zip", **OPTIONS)


def test_the_zip_has_the_models_mean_by_idx_and_the_rest_is_filled(whole: Submitted, home: Path) -> None:
    stsb, wnli = whole.parts
    assert len(wnli.models) == 2
    columns = ["sentence1", "sentence2"]
    means = said_by_models(wnli.models, home / "data" / "wnli" / "test.parquet", columns)
    written = content(whole.output, "WNLI.tsv")
    assert written == [["index", "prediction"], *([str(i), str(of.argmax())] for i, of in enumerate(means))]
    assert {value for _, value in written[1:]} == {"0", "1"}
    scores = said_by_models(stsb.models, home / "data" / "stsb" / "test.parquet", columns)[:, 0]
    assert [float(value) for _, value in content(whole.output, "STS-B.tsv")[1:]] == pytest.approx(
        scores.clip(0, 5).tolist(), abs=6e-4
    )
    assert all(len(value) == 5 for _, value in content(whole.output, "STS-B.tsv")[1:])
    assert {value for _, value in content(whole.output, "MNLI-mm.tsv")[1:]} == {"entailment"}
    assert len(whole.filled) == 9
    assert [file.name for file in whole.output.parent.iterdir()] == ["whole.zip"]
    with zipfile.ZipFile(whole.output) as archive:
        assert archive.namelist() == list(FILES)


def test_all_that_is_missing_is_one_error_and_nothing_is_written(
    two: Path, home: Path, tmp_path: Path, composed: Compose, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = shutil.copytree(two, tmp_path / "outputs")
    for model in outputs.glob("stsb/**/seed=*/model"):
        shutil.rmtree(model)
    write_test_split(tmp_path / "data" / "wnli", composed("task=wnli").task, "test", 145)
    twice = pq.read_table(home / "data" / "wnli" / "test.parquet")
    idx = pa.array([0, *twice["idx"].to_pylist()[1:]])
    (tmp_path / "twice" / "wnli").mkdir(parents=True)
    pq.write_table(twice.set_column(3, "idx", idx), tmp_path / "twice" / "wnli" / "test.parquet")
    damaged = outputs.glob("wnli/**/seed=1-*/model/model.safetensors")
    next(damaged).write_bytes(b"0" * 100)
    for data, why in (
        (tmp_path, "no test split that can be read"),
        (tmp_path / "twice", "no test split that can be read"),
        (tmp_path / "data", "split of another size than GLUE's"),
    ):
        with pytest.raises(UserError) as refused:
            submit(outputs, "mean", tmp_path / "out.zip", data=data)
        message, lines = str(refused.value), capsys.readouterr().err
        assert "11 of 11 files lack something: no finished run: CoLA.tsv, SST-2.tsv, MRPC.tsv, MNLI-m.tsv" in message
        assert f"no saved model that can be used: STS-B.tsv, WNLI.tsv; {why}: WNLI.tsv" in message
        assert "save_model=true keeps it" in lines
        assert "seed=1-" in lines
        assert "/model: not a saved model" in lines
        odd = {tmp_path: "no folder wnli in it", tmp_path / "twice": "test has idx 0 twice, so that it gives no order"}
        assert odd.get(data, "test has 145 rows, GLUE's 146") in lines
    assert {file.name for file in tmp_path.iterdir()} == {"outputs", "data", "twice"}


def test_a_seed_counts_once_and_one_that_cannot_be_used_is_said(
    train: Train, two: Path, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = shutil.copytree(two / "wnli", tmp_path / "outputs" / "wnli")
    auto = train("task=wnli", "train.batching=packed", outputs="again")
    shutil.copytree(auto, outputs / "mean" / "encoder" / "full" / auto.name)
    (broken,) = outputs.glob("**/seed=1-*/result.json")
    broken.write_text("{")
    roots = [tmp_path / "outputs", two / "stsb"]
    with pytest.raises(UserError, match=r"10 of 11 files lack something.*no saved model that can be used: WNLI.tsv"):
        submit(roots, "mean", tmp_path / "out.zip")
    assert f"{broken.parent}" in capsys.readouterr().err
    done = submit(roots, "mean", tmp_path / "out.zip", allow_missing=True)
    said = capsys.readouterr().out
    assert [run.result["seed"] for part in done.parts for run in part.runs] == [0, 0]
    assert f"WNLI.tsv: predicted by the other seeds; no saved model that can be used: {broken}: damaged" in said
    for part in done.parts:
        assert re.search(rf"^{part.file.name} +[0-9,]+  0 +{part.runs[0].shown:.2f} ", said, re.MULTILINE)
    assert re.search(r"seed=0-\w+: the same seed and settings as .*seed=0-\w+; it is not counted again", said)


CHOICES = {
    "method": ({"method": "maen"}, r"--method maen: no finished run of it; did you mean 'mean'\? \(there are .*max"),
    "encoder": ({"encoder": "bert"}, "no finished run of mean is of --encoder bert; there are --encoder .*--seed 0, 1"),
    "folder": ({"outputs": "nowhere"}, "nowhere: there is no such folder"),
    "name": ({"output": "glue.tsv"}, r"glue.tsv: a submission is a zip"),
    "data": ({"data": "nowhere"}, "--data nowhere: there is no such folder"),
}


@pytest.mark.parametrize("case", CHOICES)
def test_what_chooses_nothing_is_one_line(train: Train, two: Path, tmp_path: Path, case: str) -> None:
    train("task=wnli", "pooling=max", outputs="others")
    given, reason = CHOICES[case]
    call: dict[str, Any] = {"outputs": [two, two.parent / "others"], "method": "mean", "output": tmp_path / "o.zip"}
    with pytest.raises(UserError, match=reason):
        submit(**call | given)
    assert not list(tmp_path.iterdir())


def test_runs_of_several_configurations_are_one_error_until_options_choose(
    train: Train, two: Path, tmp_path: Path
) -> None:
    train("task=wnli", "subset.size=32", outputs="subsets")
    train("task=wnli", "optimizer.lr=1e-3", outputs="rates")
    roots, output = [two, two.parent / "subsets"], tmp_path / "out.zip"
    with pytest.raises(UserError, match=r"WNLI.tsv: --subset full or n32-seed0"):
        submit(roots, "mean", output, allow_missing=True)
    with pytest.raises(
        UserError, match=r"WNLI.tsv: optimizer.lr 0.01 or 0.001, as in .* or .*/rates/.*/seed=0-\w+: name"
    ):
        submit([two, two.parent / "rates"], "mean", output, allow_missing=True)
    done = submit(roots, "mean", output, subset="full", seed=1, allow_missing=True)
    assert [(part.file.name, len(part.runs), part.runs[0].result["seed"]) for part in done.parts] == [
        ("WNLI.tsv", 1, 1)
    ]


def test_a_task_of_ones_own_on_glues_rows_goes_by_its_labels_names_and_its_columns(
    train: Train, home: Path, tmp_path: Path
) -> None:
    own = (
        "task=rte",
        "task.name=own",
        "task.columns=[a,b]",
        "task.official_rows={}",
        "task.submission.test=WNLI.tsv",
    )
    turned = "task.labels=[entailment,not_entailment]"
    trained = train(*own, turned, outputs="own")
    submit(home / "own", "mean", tmp_path / "out.zip", allow_missing=True)
    mean = said_by_models([trained / "model"], home / "data" / "own" / "test.parquet", ["a", "b"])
    written = [value for _, value in content(tmp_path / "out.zip", "WNLI.tsv")[1:]]
    assert written == ["10"[place] for place in mean.argmax(1)]
    config = trained / "config.yaml"
    shutil.copytree(home / "own", tmp_path / "foreign")
    foreign = tmp_path / "foreign" / config.relative_to(home / "own")
    foreign.write_text(config.read_text().replace("  - entailment\n  - not_entailment\n", "  - wrong\n  - right\n"))
    with pytest.raises(
        UserError, match="its labels are wrong, right; GLUE's are not_entailment, entailment, by these names"
    ):
        submit(tmp_path / "foreign", "mean", tmp_path / "no.zip", allow_missing=True)


def test_ax_is_predicted_by_mnlis_model(
    train: Train, home: Path, tmp_path: Path, load_task: Callable[[str], TaskConfig]
) -> None:
    trained = train("task=mnli", outputs="nli", rows=False)
    write_test_split(home / "data" / "ax", load_task("mnli"), "test", 1104)
    done = submit(home / "nli", "mean", tmp_path / "out.zip", allow_missing=True)
    assert [part.file.name for part in done.parts] == ["AX.tsv"]
    mean = said_by_models([trained / "model"], home / "data" / "ax" / "test.parquet", ["premise", "hypothesis"])
    names = load_task("mnli").labels
    assert [value for _, value in content(tmp_path / "out.zip", "AX.tsv")[1:]] == [names[i] for i in mean.argmax(1)]


def test_a_stopped_command_goes_on_to_the_same_bytes(
    two: Path,
    whole: Submitted,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stopped = tmp_path / "stopped.zip"
    calls = iter(range(10))

    def interrupt() -> None:
        if next(calls) == 1:  # in STS-B's second window of three
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(job, "give_back_memory", interrupt)
        with pytest.raises(
            Interrupted, match=r"1,000 rows are kept in .*stopped.zip.partial; the same command goes on"
        ):
            submit(two, "mean", stopped, **OPTIONS)
    with pytest.raises(UserError, match=r"another window \(500 there, 400 now\); --force starts over"):
        submit(two, "mean", stopped, allow_missing=True, window=400)
    with pytest.raises(UserError, match=r"rows of STS-B.tsv are kept, which is not predicted this time; --force drops"):
        submit(two / "wnli", "mean", stopped, **OPTIONS)
    (kept,) = (tmp_path / "stopped.zip.partial").glob("STS-B*.partial")
    shutil.copytree(kept.parent, tmp_path / "garbled.zip.partial")
    with (tmp_path / "garbled.zip.partial" / kept.name).open("a") as lines:
        lines.write("garbage,,\n" * 379)
    with pytest.raises(UserError, match=r"garbled.*holds what no prediction wrote .*; --force starts over"):
        submit(two, "mean", tmp_path / "garbled.zip", **OPTIONS)
    shutil.rmtree(tmp_path / "garbled.zip.partial")
    capsys.readouterr()
    submit(two, "mean", stopped, **OPTIONS)
    assert "STS-B.tsv: 1,379 rows, 1,000 were there already, " in capsys.readouterr().out
    assert stopped.read_bytes() == whole.output.read_bytes()
    assert {file.name for file in tmp_path.iterdir()} == {"stopped.zip"}
    with pytest.raises(UserError, match="is there already; --force replaces it"):
        submit(two, "mean", stopped, **OPTIONS)


def test_the_command_line_writes_and_checks(two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = str(tmp_path / "out.zip")
    cli.main(["submit", str(two), "--method", "mean", "--output", output, "--allow-missing", "--seed", "0"])
    said = capsys.readouterr().out
    assert "MRPC.tsv, QQP.tsv: filled with 0; no finished run of mean --seed 0" in said
    assert f"next: upload {output} at gluebenchmark.com" in said
    cli.main(["submit", "--check", output])
    assert "QQP.tsv      390,965 rows  0 100.0%, 1 0.0%" in capsys.readouterr().out
    for wrong in (
        ["--check", output, "--method", "mean"],
        ["--check", output, "--force"],
        ["--method", "mean"],
        ["--check", str(tmp_path)],
    ):
        with pytest.raises(SystemExit) as ended:
            cli.main(["submit", *wrong])
        assert ended.value.code == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.long
@pytest.mark.parametrize("rows", ["generated", "real"])
def test_test_splits_of_all_tasks_fill_all_files(
    train: Train, home: Path, tmp_path: Path, composed: Compose, request: pytest.FixtureRequest, rows: str
) -> None:
    data, output = request.getfixturevalue("glue_dir") if rows == "real" else None, tmp_path / "all.zip"
    for name in NAMES:
        train(f"task={name}", "train.max_steps=1", outputs="all")
    mnli = composed("task=mnli").task  # a test before may have written its train split alone
    for split, file in mnli.submission.items():
        write_test_split(home / "data" / "mnli", mnli, split, FILES[file].rows)
    write_test_split(home / "data" / "ax", mnli, "test", FILES["AX.tsv"].rows)
    done = submit(home / "all", "mean", output, data=data, allow_missing=data is not None)
    assert done.filled == (["MNLI-m.tsv", "MNLI-mm.tsv", "QQP.tsv"] if data else [])
    found = check(output).files
    assert {name: sum(of.values.values()) for name, of in found.items()} == {of.name: of.rows for of in FILES.values()}
