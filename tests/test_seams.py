"""What every recipe and every edit has to hold, over all shipped YAMLs, and that somebody's own need no line here.

That a killed run of each ends as an undisturbed one is in test_checkpoints.py, which really kills them.
"""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

import glue_pool
import local_data
from conftest import Compose, choices, some
from glue_pool.data.batches import batches
from glue_pool.data.load import TaskData, load
from glue_pool.errors import UserError
from glue_pool.hardware import Hardware
from glue_pool.models import factory
from glue_pool.models.classifier import Classifier
from glue_pool.pipeline import run
from glue_pool.results import run_folder
from glue_pool.schema import Config
from glue_pool.seeds import drawing_from
from glue_pool.train import main
from glue_pool.training import recipe
from glue_pool.training.loop import Outcome, fit, main_phase

# the values at which each changes nothing; a new YAML needs a line here
NEUTRAL = {
    "recipe=plain": (),
    "recipe=mixout": ("recipe.p=0",),
    "recipe=guided": ("recipe.weight=0",),
    "edit=none": (),
    "edit=duplicate": ("edit.repeat=[]",),
    "edit=temperature": ("edit.tau=1",),
}
PROBE = {  # what a probe says of those that it refuses
    "recipe=mixout": "encoder.freeze: recipe=mixout is for training the encoder, too",
    "recipe=guided": "encoder.freeze: recipe=guided is for training the encoder, too",
}
SHIPPED = [f"{group}={name}" for group in ("recipe", "edit") for name in choices(group)]
every_choice = pytest.mark.parametrize("choice", some("recipe=mixout", "recipe=guided", "edit=duplicate"))


@pytest.fixture(scope="module")
def small(composed: Compose, tmp_path_factory: pytest.TempPathFactory) -> Compose:
    """A run of two layers of MiniLM on 40 rows of RTE's shape, in fp32."""
    folder = tmp_path_factory.mktemp("seams")
    for task in ("rte", "stsb"):
        local_data.write(folder, composed(f"task={task}").task)

    def make(*overrides: str) -> Config:
        return composed(
            "encoder=minilm_l6", "encoder.num_hidden_layers=2", "task=rte", "pooling=mean", "data=local",
            f"data.dir={folder}", f"data.cache_dir={folder}/cache", f"output_root={folder}/outputs", "tracking=none",
            "train.precision=fp32", "train.batch_size=8", "train.max_steps=4", "optimizer.lr=1e-3", *overrides,
        )  # fmt: skip

    return make


def built(cfg: Config) -> tuple[Classifier, TaskData, recipe.Recipe]:
    blueprint = factory.plan(cfg)
    chosen = recipe.plan(cfg, recipe.Shape(blueprint.d, blueprint.layers))
    return factory.build(cfg, blueprint), load(cfg, blueprint.folder), chosen


def trained(cfg: Config) -> tuple[Classifier, Outcome]:
    model, data, chosen = built(cfg)
    return model, fit(model, data.train, data.dev, cfg, recipe=chosen)


def test_every_shipped_choice_says_what_its_neutral_value_is() -> None:
    assert set(NEUTRAL) == set(SHIPPED)


@pytest.mark.parametrize("choice", SHIPPED)
def test_the_neutral_value_is_the_plain_model_bit_for_bit(small: Compose, choice: str) -> None:
    plain, expected = trained(small())
    model, outcome = trained(small(choice, *NEUTRAL[choice]))
    assert np.array_equal(outcome.last.logits["validation"], expected.last.logits["validation"])
    assert outcome.last.train_loss == expected.last.train_loss
    weights = plain.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert model.state_dict().keys() == weights.keys()


@every_choice
def test_any_other_value_is_not(small: Compose, choice: str) -> None:
    _, expected = trained(small())
    _, outcome = trained(small(choice))
    same = np.array_equal(outcome.last.logits["validation"], expected.last.logits["validation"])
    assert same == (choice in ("recipe=plain", "edit=none"))


def loss_and_gradients(cfg: Config) -> tuple[float, dict[str, Tensor]]:
    """Of one step on all train rows; weights are moved first, so that mixing with the pre-trained ones shows."""
    model, data, chosen = built(cfg)
    with drawing_from(cfg.seed, "recipe"):
        chosen.prepare(model, data.train)
    model.train()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.01)
    torch.manual_seed(0)
    phase = main_phase(data.train, cfg, chosen)
    (batch,) = batches(data.train, np.arange(len(data.train)), len(data.train), cfg.train.padding_side)
    loss = phase.loss(model(batch, phase.reads), batch)
    loss.backward()
    return float(loss.detach()), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@every_choice
def test_packed_equals_padded_on_either_side(small: Compose, choice: str) -> None:
    keys = (choice, "encoder.dropout=0", "model.dropout=0")
    loss, gradients = loss_and_gradients(small(*keys, "train.batching=packed"))
    for side in ("right", "left"):
        padded = small(*keys, "train.batching=padded", f"train.padding_side={side}")
        other_loss, other = loss_and_gradients(padded)
        assert other_loss == pytest.approx(loss, abs=1e-5)
        torch.testing.assert_close(other, gradients, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("choice", [*some("recipe=guided"), "edit=duplicate edit.tie=true"])
def test_a_saved_model_gives_the_runs_own_logits(small: Compose, choice: str) -> None:
    cfg = small(*choice.split(), "save_model=true")
    folder = run_folder(cfg, run(cfg)["run_key"]).path
    rows = pq.read_table(Path(str(cfg.data.dir), "rte", "validation.parquet")).to_pylist()
    written = {row["idx"]: row["logits"] for row in pq.read_table(folder / "predictions.parquet").to_pylist()}
    loaded = glue_pool.load(folder / "model")
    logits = loaded.logits([row["sentence1"] for row in rows], [row["sentence2"] for row in rows])
    np.testing.assert_allclose(logits, [written[row["idx"]] for row in rows], rtol=0, atol=1e-5)
    names = {name for name, _ in loaded.classifier.named_parameters()}
    assert not [name for name in names if "parametrizations" in name or "guides" in name]


@every_choice
def test_a_probe_works_or_says_why_not(small: Compose, choice: str) -> None:
    cfg = small(choice, "encoder.freeze=true")
    if choice in PROBE:
        with pytest.raises(UserError, match=PROBE[choice]):
            run(cfg)
        return
    assert run(cfg)["kind"] == "probe"
    model, data, _ = built(cfg)
    from glue_pool.training import probe

    features = probe.with_features(model, data, cfg, factory.plan(cfg), Hardware.of(cfg.train))
    cached = fit(model, features.train, features.dev, cfg)
    model, data, _ = built(cfg)
    plain = fit(model, data.train, data.dev, cfg)
    np.testing.assert_allclose(cached.last.logits["validation"], plain.last.logits["validation"], atol=1e-5)


def test_a_method_is_its_pooler_its_edit_and_its_recipe(small: Compose) -> None:
    names = {
        (): "mean",
        ("recipe=mixout",): "mean+mixout",
        ("edit=duplicate",): "mean+duplicate",
        ("edit=duplicate", "recipe=guided"): "mean+duplicate+guided",
        ("model=maxpool", "pooling=maxpool", "recipe=mixout"): "maxpool+mixout",
    }
    assert {overrides: small(*overrides).method for overrides in names} == names


OWN = '''
from typing import Any, ClassVar

import torch
from glue_pool.errors import UserError
from glue_pool.models.edit import Edit
from glue_pool.training.recipe import Recipe


class LabelSmoothing(Recipe):
    """Cross-entropy against labels that are mixed with the uniform distribution."""

    def __init__(self, *, epsilon: float = 0.1) -> None:
        self.epsilon = epsilon

    def check(self, shape, task):
        if not task.labels:
            raise UserError(f"recipe=smoothing: {task.name} has scores, no labels")

    def loss(self, output, batch, task_loss):
        uniform = -output.logits.log_softmax(-1).mean()
        return (1 - self.epsilon) * task_loss(output.logits, batch.labels) + self.epsilon * uniform


class Scaled(Edit):
    """Every layer's input times a constant."""

    def __init__(self, *, scale: float = 1.0) -> None:
        self.scale = scale

    def before_layer(self, layer, hidden, layout):
        return hidden * self.scale, None


class Reads(Recipe):
    reads = (1,)
'''
YAMLS = {
    "recipe/smoothing.yaml": "name: smoothing\n_target_: {module}.LabelSmoothing\nepsilon: 0.2\n",
    "recipe/reads.yaml": "name: reads\n_target_: {module}.Reads\n",
    "edit/scaled.yaml": "name: scaled\n_target_: {module}.Scaled\nscale: 1.1\n",
}


@pytest.fixture
def own(small: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Somebody's own recipe and edit, in a module and two YAMLs; call it with overrides to run it."""
    module = "seams_of_my_own"
    (tmp_path / f"{module}.py").write_text(OWN)
    (tmp_path / "broken_seams.py").write_text("class Mine(:")
    (tmp_path / "raising_seams.py").write_text("1 / 0")
    for name, text in YAMLS.items():
        (tmp_path / "my_conf" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "my_conf" / name).write_text(text.format(module=module))
    monkeypatch.syspath_prepend(tmp_path)
    cfg = small()

    def call(*overrides: str) -> Path:
        keys = [
            "encoder=minilm_l6", "encoder.num_hidden_layers=2", "data=local", f"data.dir={cfg.data.dir}",
            f"data.cache_dir={cfg.data.cache_dir}", "pooling=mean", "tracking=none", "train.precision=fp32",
            "train.max_steps=2", "train.batch_size=8", f"output_root={tmp_path}/outputs", "save_model=true",
        ]  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["train", "--config-dir", str(tmp_path / "my_conf"), *keys, *overrides])
        main()
        (result,) = (tmp_path / "outputs").rglob("result.json")
        return result.parent

    return call


def test_somebodys_own_recipe_and_edit_are_a_class_and_a_yaml_each(own: Callable[..., Path]) -> None:
    folder = own("task=rte", "recipe=smoothing", "edit=scaled")
    result = json.loads((folder / "result.json").read_text())
    assert (result["method"], result["recipe"], result["edit"]) == ("mean+scaled+smoothing", "smoothing", "scaled")
    assert folder.parts[-4] == "mean+scaled+smoothing"
    with pytest.raises(UserError, match=r"edit\._target_=seams_of_my_own\.Scaled: no class of this package"):
        glue_pool.load(folder / "model")
    scaled = importlib.import_module("seams_of_my_own").Scaled
    loaded = glue_pool.load(folder / "model", classes=[scaled])
    assert vars(loaded.classifier.encoder.edit) == {"scale": 1.1}


def test_a_keyword_that_a_yaml_does_not_list_has_its_default_or_is_added(
    own: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    yaml = tmp_path / "my_conf" / "recipe" / "smoothing.yaml"
    yaml.write_text(yaml.read_text().replace("epsilon: 0.2\n", ""))
    with pytest.raises(SystemExit):
        own("task=rte", "recipe=smoothing", "recipe.epsilon=0.3")
    wanted = "error: recipe.epsilon: its YAML does not list it; +recipe.epsilon=… adds it\n"
    assert capsys.readouterr().err == wanted
    folder = own("task=rte", "recipe=smoothing", "+recipe.epsilon=0.3")
    assert "epsilon: 0.3" in (folder / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (("recipe=smothing",), "recipe=smothing: no such recipe; did you mean 'smoothing'?"),
        (("recipe=smoothing", "recipe.epsilon=x"), "recipe.epsilon=x: has to be float"),
        (("recipe=smoothing", "recipe.epsilom=1"), "recipe.epsilom: no such key; did you mean 'recipe.epsilon'?"),
        (("recipe=smoothing", "recipe._target_=seams_of_my_own.Scaled"), "not a glue_pool.training.recipe.Recipe"),
        (("recipe=smoothing", "recipe._target_=os.path"), "recipe._target_=os.path: not a class"),
        (("recipe=smoothing", "recipe._target_=builtins.dict"), "not a glue_pool.training.recipe.Recipe"),
        (("recipe=smoothing", "recipe._target_=broken_seams.Mine"), "can't be imported (SyntaxError: "),
        (("recipe=smoothing", "recipe._target_=raising_seams.Mine"), "can't be imported (ZeroDivisionError: "),
        (("recipe=smoothing", "task=stsb"), "recipe=smoothing: stsb has scores, no labels"),
        (("edit=scaled", "train.batching=padded"), "the edit Scaled: it works between layers, on packed batches only"),
        (("recipe=mixout", "recipe.p=1"), "recipe.p=1.0: has to be at least 0 and below 1"),
        (("recipe=mixout", "recipe.gradient=approximate"), "recipe.gradient=approximate: has to be exact or official"),
        (("recipe=guided", "recipe.layers=[3]"), "recipe.layers: this encoder has 2 layers, numbered from 1, and no 3"),
        (("recipe=guided", "recipe.layers=[1,1]"), "recipe.layers=[1, 1]: has to name layers, each once"),
        (("recipe=guided", "recipe.layers=all"), "recipe.layers=all: has to be list[int] or null"),
        (("edit=duplicate", "edit.repeat=[3]"), "edit.repeat: this encoder has 2 layers, 1..2 or -2..-1, and no 3"),
        (("edit=duplicate", "edit.repeat=[2,-1]"), "edit.repeat=[2, -1]: names a layer twice"),
        (("edit=temperature", "edit.tau=0"), "edit.tau=0.0: has to be above 0"),
        (("edit=temperature", "edit.tau=nan"), "edit.tau=nan: not a finite number"),
        (("edit=temperature", "edit.layers=[]"), "edit.layers=[]: has to name layers, each once; null is all"),
        (("edit=temperature", "edit.layers=[1,1]"), "edit.layers=[1, 1]: has to name layers, each once; null is all"),
        (("recipe=reads", "encoder.freeze=true"), "encoder.freeze: recipe=reads reads hidden states, which a probe"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_written(
    own: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], overrides: tuple[str, ...], said: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        own("task=rte", *overrides)
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "outputs").exists()
