"""Saved models: the run's own logits again, from safetensors alone; poolers from outside the package (about 12 s)."""

import importlib
import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from torch import nn

import glue_pool
import local_data
from conftest import Compose
from glue_pool.errors import UserError
from glue_pool.models import identity
from glue_pool.models.factory import build_pooler
from glue_pool.pipeline import run
from glue_pool.results import run_folder
from glue_pool.schema import Config, EncoderConfig
from glue_pool.train import main

MINILM = identity.locate(EncoderConfig(name="minilm_l6"))
KEYS = (
    "encoder=minilm_l6",
    "encoder.num_hidden_layers=2",
    "data=local",
    "tracking=none",
    "train.precision=fp32",
    "train.max_steps=2",
    "train.batch_size=8",
    "optimizer.lr=1e-3",
    "save_model=true",
)


@dataclass(frozen=True)
class Saved:
    """A finished run: its config, its model's folder, its last logits on the dev split, and that split's texts."""

    cfg: Config
    folder: Path
    logits: np.ndarray
    texts: list[list[str]]


def places(folder: Path, cfg: Config) -> list[str]:
    """Where a run finds its data and leaves its results."""
    if not (folder / cfg.task.name).exists():
        local_data.write(folder, cfg.task)
    return [f"data.dir={folder}", f"data.cache_dir={folder}/cache", f"output_root={folder}/outputs"]


def finished(cfg: Config, folder: Path) -> Saved:
    """What a finished run left in its folder."""
    predictions = pq.read_table(folder / "predictions.parquet").to_pylist()
    logits = {row["idx"]: row["logits"] for row in predictions if row["epoch"] == "last"}
    rows = pq.read_table(Path(str(cfg.data.dir), cfg.task.name, "validation.parquet")).to_pylist()
    return Saved(
        cfg,
        folder / "model",
        np.array([logits[row["idx"]] for row in rows]),
        [[row[name] for row in rows] for name in cfg.task.columns],
    )


Train = Callable[..., Saved]


@pytest.fixture(scope="module")
def train(composed: Compose, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """`train("task=rte")` is a run with its saved model, trained once."""
    folder = tmp_path_factory.mktemp("saved")
    done: dict[tuple[str, ...], Saved] = {}

    def make(*overrides: str) -> Saved:
        if overrides not in done:
            cfg = composed(*KEYS, *overrides, *places(folder, composed(*overrides)))
            done[overrides] = finished(cfg, run_folder(cfg, run(cfg)["run_key"]).path)
        return done[overrides]

    return make


@pytest.fixture
def model(train: Train, tmp_path: Path) -> Path:
    """A copy of a saved model, to damage."""
    return shutil.copytree(train("task=rte", "model=bert").folder, tmp_path / "model")


METHODS = {
    "pretrained tanh": ("task=rte", "model=bert"),
    "attention over tokens": ("task=cola", "model=maxpool", "pooling.k=2"),
    "regression": ("task=stsb", "pooling=mean_max", "pooling.tanh=new"),
    "standardised": ("task=stsb", "pooling=mean", "task.name=scores", "task.standardise=true", "task.score_range=null"),
    "label sets": (
        "task=cola",
        "task.name=tags",
        "task.labels=[a,b,c]",
        "task.multi_label=true",
        "task.metrics=[f1_micro]",
        "task.primary_metric=f1_micro",
        "pooling=mean",
        "task.official_rows={}",
    ),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_saved_model_gives_the_runs_own_logits(train: Train, method: tuple[str, ...]) -> None:
    saved = train(*method)
    assert {path.name for path in saved.folder.iterdir()} == {
        "config.json",
        "model.safetensors",
        "run_config.yaml",
        "tokenizer.json",
        "tokenizer_config.json",
        "README.md",
    }
    loaded = glue_pool.load(saved.folder)
    logits = loaded.logits(*saved.texts)
    assert logits.shape == (24, saved.cfg.task.outputs)
    assert logits.dtype == np.float32
    assert saved.logits.std() > 1e-3
    np.testing.assert_allclose(logits, saved.logits, rtol=0, atol=1e-5)
    np.testing.assert_allclose(loaded.logits(*saved.texts, batch_size=5), logits, rtol=0, atol=1e-5)
    assert loaded.labels == saved.cfg.task.labels
    assert loaded.columns == saved.cfg.task.columns


def test_a_saved_model_needs_nothing_from_where_it_was_trained(train: Train, model: Path) -> None:
    saved = train("task=rte", "model=bert")
    for name in ("config.json", "tokenizer_config.json"):
        assert str(MINILM) not in (model / name).read_text()
    np.testing.assert_allclose(glue_pool.load(model).logits(*saved.texts), saved.logits, rtol=0, atol=1e-5)


def test_texts_have_to_be_the_columns_of_the_task(model: Path) -> None:
    loaded = glue_pool.load(model)
    for texts in ([["one"]], [["one"], ["two", "three"]], [["one"], ["two"], ["three"]]):
        with pytest.raises(UserError, match="takes lists of equal length for sentence1 and sentence2"):
            loaded.logits(*texts)


class Executed:
    """What unpickling this would do: make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def plant(folder: Path) -> Path:
    """Put pickles and code into a model's folder; return the folder that any of them would make."""
    executed = folder.parent / "executed"
    for name in ("pytorch_model.bin", "model.pt", "model.pkl", "training_args.bin", "tokenizer.pkl"):
        (folder / name).write_bytes(pickle.dumps(Executed(executed)))
    code = f"import os\nos.mkdir({str(executed)!r})\nclass Config: ...\nclass Model: ...\n"
    for name in ("configuration.py", "modeling.py", "tokenization.py"):
        (folder / name).write_text(code)
    code_of: dict[str, dict[str, Any]] = {
        "config.json": {"AutoConfig": "configuration.Config", "AutoModel": "modeling.Model"},
        "tokenizer_config.json": {"AutoTokenizer": [None, "tokenization.Config"]},
    }
    for name, auto_map in code_of.items():
        config = json.loads((folder / name).read_text()) | {"auto_map": auto_map}
        (folder / name).write_text(json.dumps(config))
    return executed


def test_pickles_and_code_in_a_models_folder_are_never_run(train: Train, model: Path) -> None:
    saved = train("task=rte", "model=bert")
    executed = plant(model)
    with pytest.raises(FileExistsError):  # the trap works
        pickle.loads(pickle.dumps(Executed(model)))
    np.testing.assert_allclose(glue_pool.load(model).logits(*saved.texts), saved.logits, rtol=0, atol=1e-5)
    (model / "model.safetensors").unlink()
    with pytest.raises(UserError, match="not a saved model"):
        glue_pool.load(model)
    assert not executed.exists()


def test_pickles_and_code_in_an_encoders_folder_are_never_run(composed: Compose, tmp_path: Path) -> None:
    encoder = shutil.copytree(MINILM, tmp_path / "encoder")
    executed = plant(encoder)
    cfg = composed(*KEYS, f"encoder.name={encoder}", "model=bert", *places(tmp_path, composed("task=rte")))
    assert run(cfg)["status"] == "completed"
    (encoder / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no model\.safetensors there"):
        run(cfg)
    assert not executed.exists()


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("glue_pool.models.encoder.Encoder", r"not a glue_pool\.models\.poolers\.Pooler"),
        ("glue_pool.models.poolers.Nothing", "can't be imported"),
        ("os.mkdir", r"no class of this package; hand it in: classes=\[…\]"),
        ("a_trap.Pooler", r"no class of this package; hand it in: classes=\[…\]"),
        ("Nothing", r"no class of this package; hand it in: classes=\[…\]"),
    ],
)
def test_a_folder_that_names_no_pooler_is_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, reason: str
) -> None:
    (tmp_path / "a_trap.py").write_text("raise SystemExit('a module was imported because a folder names it')")
    monkeypatch.syspath_prepend(tmp_path)
    said = json.loads((model / "config.json").read_text())
    said["pooling"]["_target_"] = target
    (model / "config.json").write_text(json.dumps(said))
    with pytest.raises(UserError, match=rf"pooling\._target_={target}: {reason}"):
        glue_pool.load(model)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "weights cut short": lambda model: os.truncate(model / "model.safetensors", 1000),
    "weights of another shape": lambda model: shutil.copyfile(
        MINILM / "model.safetensors", model / "model.safetensors"
    ),
    "no weights": lambda model: (model / "model.safetensors").unlink(),
    "no config": lambda model: (model / "config.json").unlink(),
    "damaged config": lambda model: (model / "config.json").write_text("{"),
    "nothing about the pooler": lambda model: (model / "config.json").write_text('{"model_type": "glue_pool"}'),
    "of an earlier version, cut short": lambda model: (model / "glue_pool.json").write_text("{}"),
    "an encoder's": lambda model: shutil.copyfile(MINILM / "config.json", model / "config.json"),
    "no folder": shutil.rmtree,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_folder_that_is_no_saved_model_is_refused_in_one_line(model: Path, damage: Callable[[Path], object]) -> None:
    damage(model)
    with pytest.raises(UserError, match=r"not a saved model|there is no such folder") as refused:
        glue_pool.load(model)
    assert "\n" not in str(refused.value)


POOLER = '''
import torch
from glue_pool.models.poolers import Pooler, first_token, last_layers


class GatedTwo(Pooler):
    """A learnt mix of the last two layers' [CLS]."""

    reads = "cls"

    def __init__(self, d: int, num_layers: int, *, share: float = 0.5) -> None:
        super().__init__(d, num_layers)
        self.layers = last_layers(2, num_layers)
        self.share = torch.nn.Parameter(torch.full((d,), share))

    def forward(self, hidden_states, attention_mask):
        lower, upper = (first_token(h, attention_mask) for h in hidden_states)
        return self.share * lower + (1 - self.share) * upper
'''
YAML = """
name: gated_two
_target_: {module}.GatedTwo
tanh: none
share: 0.25  # of the lower layer, 0..1
"""


@pytest.mark.parametrize("target", ["my_own_package.GatedTwo", "my_own_package.of.GatedTwo"])
def test_a_class_that_is_handed_in_goes_by_its_packages_name_too(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_own_package").mkdir()
    (tmp_path / "my_own_package" / "__init__.py").write_text("from .of import GatedTwo")
    (tmp_path / "my_own_package" / "of.py").write_text(POOLER)
    monkeypatch.syspath_prepend(tmp_path)
    classes = [importlib.import_module("my_own_package").GatedTwo]
    pooling = {"name": "gated_two", "_target_": target, "tanh": "none", "share": 0.25}
    assert type(build_pooler(pooling, 8, 2, classes)) is classes[0]
    with pytest.raises(UserError, match="hand it in"):
        build_pooler({**pooling, "_target_": "my_own_package.Pooler"}, 8, 2, classes)


def test_a_pooler_outside_the_package_is_one_class_and_one_yaml(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "a_pooler_of_my_own"
    (tmp_path / f"{module}.py").write_text(POOLER)
    (tmp_path / "my_conf" / "pooling").mkdir(parents=True)
    (tmp_path / "my_conf" / "pooling" / "gated_two.yaml").write_text(YAML.format(module=module))
    monkeypatch.syspath_prepend(tmp_path)
    cfg = composed("task=rte", "data=local", *places(tmp_path, composed("task=rte")))
    keys = [*KEYS, "task=rte", *places(tmp_path, cfg), "pooling=gated_two"]
    monkeypatch.setattr(sys, "argv", ["glue-pool-train", "--config-dir", str(tmp_path / "my_conf"), *keys])
    main()

    (file,) = (tmp_path / "outputs").rglob("result.json")
    result = json.loads(file.read_text())
    assert (result["status"], result["pooling"]) == ("completed", "gated_two")
    assert file.is_relative_to(tmp_path / "outputs" / "rte" / "gated_two")
    assert result["parameters"]["pooling"] == 384
    saved = finished(cfg, file.parent)
    with pytest.raises(UserError, match="hand it in"):
        glue_pool.load(saved.folder)
    loaded = glue_pool.load(saved.folder, classes=[importlib.import_module(module).GatedTwo])
    assert type(loaded.classifier.pooler).__module__ == module
    share = loaded.classifier.pooler.share
    assert isinstance(share, nn.Parameter)
    assert 0 < abs(share - 0.25).max() < 0.01  # trained for two steps
    np.testing.assert_allclose(loaded.logits(*saved.texts), saved.logits, rtol=0, atol=1e-5)
