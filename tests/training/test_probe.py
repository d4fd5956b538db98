"""Probes: heads trained from the cached hidden states of a frozen encoder."""

import importlib
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from conftest import Compose, choices
from glue_pool.data.features import Features
from glue_pool.data.load import TaskData, load
from glue_pool.errors import UserError
from glue_pool.hardware import Hardware
from glue_pool.models import factory
from glue_pool.models.classifier import Classifier
from glue_pool.models.encoder import Encoder
from glue_pool.schema import Config
from glue_pool.training import probe
from glue_pool.training.loop import Outcome, fit

POOLERS = choices("pooling")
Using = Callable[..., Config]


@pytest.fixture
def using(composed: Compose, tmp_path: Path) -> Using:
    """A probe of a two-layer encoder on 40 generated rows of RTE, with a cache of its own."""

    def make(*overrides: str) -> Config:
        return composed(
            "experiment=offline",
            "encoder.num_hidden_layers=2",
            "encoder.freeze=true",
            "data.train_rows=40",
            "data.dev_rows=24",
            "optimizer.lr=1e-2",
            "train.precision=fp32",
            "train.batch_size=8",
            f"data.cache_dir={tmp_path / 'cache'}",
            *overrides,
        )

    return make


def prepare(cfg: Config) -> tuple[Classifier, TaskData, TaskData]:
    """Build the model and load its data, as tokens and as features."""
    blueprint = factory.plan(cfg)
    model, data = factory.build(cfg, blueprint), load(cfg, blueprint.folder)
    return model, data, probe.with_features(model, data, cfg, blueprint, Hardware.of(cfg.train))


def train(cfg: Config, model: Classifier, data: TaskData) -> Outcome:
    return fit(model, data.train, data.dev, cfg)


def files(cfg: Config) -> list[Path]:
    return sorted(Path(cfg.data.cache_dir, "features").rglob("*.npy"))


@pytest.mark.parametrize("pooling", POOLERS)
def test_a_probe_from_the_cache_is_the_one_from_tokens(using: Using, pooling: str) -> None:
    k = ["pooling.k=2"] if any(part in pooling for part in ("t_cls", "n_cls", "x_cls", "seq", "maxpool")) else []
    cfg = using(f"pooling={pooling}", *k, "subset.size=30")
    model, data, features = prepare(cfg)
    cached = train(cfg, model, features)
    plain = train(cfg, prepare(cfg)[0], data)
    np.testing.assert_allclose(cached.last.logits["validation"], plain.last.logits["validation"], atol=1e-5)
    assert abs(cached.last.score - plain.last.score) <= 1e-5
    assert plain.last.logits["validation"].std() > 0
    assert cached.cost.tokens == plain.cost.tokens > 0


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_encoder_fills_the_same_cache(using: Using, side: str) -> None:
    packed, padded = (
        prepare(using("pooling=mean_seq_mha", "pooling.k=2", *batching))[2]
        for batching in ([], ["train.batching=padded", f"train.padding_side={side}"])
    )
    for one, other in ((packed.train, padded.train), (packed.dev["validation"], padded.dev["validation"])):
        assert isinstance(one, Features)
        assert isinstance(other, Features)
        for layer in range(2):
            np.testing.assert_allclose(one.states[layer], other.states[layer], atol=1e-5)
    assert len(files(using())) == 2 * 2 * 3  # each keeps its own


def test_bf16_takes_half_the_room(using: Using) -> None:
    sizes = {}
    for precision in ("fp32", "bf16"):
        cfg = using(
            "pooling=mha", f"train.precision={precision}", f"data.cache_dir={using().data.cache_dir}-{precision}"
        )
        prepare(cfg)
        sizes[precision] = sum(file.stat().st_size - 128 for file in files(cfg))  # less NumPy's headers
    assert sizes["bf16"] * 2 == sizes["fp32"]


def test_a_second_run_does_not_need_the_encoder(using: Using, monkeypatch: pytest.MonkeyPatch) -> None:
    def runs(*_: object) -> None:
        raise AssertionError("the encoder ran")

    first = prepare(using("pooling=mha"))[2]
    monkeypatch.setattr(Encoder, "forward", runs)
    for pooling in ("mha", "mean", "cls", "layer_lstm", "attention"):
        prepare(using(f"pooling={pooling}", "seed=7"))
    with pytest.raises(UserError, match="the encoder ran"):
        prepare(using("pooling=mha", "encoder.num_hidden_layers=1"))
    with pytest.raises(UserError, match="the encoder ran"):
        prepare(using("pooling=mha", "train.max_length=16"))
    with pytest.raises(UserError, match="the encoder ran"):
        prepare(using("pooling=mha", "subset.size=10"))
    with pytest.raises(UserError, match="the encoder ran"):
        prepare(using("pooling=mha", "encoder.reinit_layers=1"))
    assert isinstance(first.train, Features)


EDIT = """
from glue_pool.models.edit import Edit

class Mine(Edit):
    def before_layer(self, layer, hidden, layout):
        return hidden * {}, None
"""


def test_every_edit_and_every_version_of_ones_own_has_a_cache_of_its_own(
    using: Using, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    cfg = using("pooling=mha")
    mine = replace(cfg, edit={"name": "mine", "_target_": "an_edit_of_probes.Mine"})
    states = [prepare(using("pooling=mha", *edit))[2].train for edit in ((), ("edit=temperature",))]
    for factor in (1.5, 0.5):
        (tmp_path / "an_edit_of_probes.py").write_text(EDIT.format(factor))
        sys.modules.pop("an_edit_of_probes", None)
        importlib.invalidate_caches()
        states.append(prepare(mine)[2].train)
    tops = [split.states[-1] for split in states if isinstance(split, Features)]
    assert len(tops) == 4
    assert all(not np.array_equal(a, b) for a, b in combinations(tops, 2))


def test_only_layers_that_are_missing_are_added(using: Using) -> None:
    prepare(using("pooling=mha", "encoder.cache_layers=1"))
    before = {file: file.stat().st_mtime_ns for file in files(using())}
    assert {file.stem for file in before} == {"cls", "layer-2"}
    prepare(using("pooling=first_last_mean", "encoder.cache_layers=1"))
    after = {file: file.stat().st_mtime_ns for file in files(using())}
    assert {file.stem for file in set(after) - set(before)} == {"layer-1"}
    assert {file: after[file] for file in before} == before


def test_the_size_is_announced_before_it_is_written(using: Using, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    cfg = using("pooling=mha")
    model, data, _ = prepare(cfg)
    tokens = int(data.train.lengths.sum())
    written = (len(data.train) * 2 + tokens * 2) * model.encoder.d * 4 / 1e6
    assert f"Caching hidden states of train (40 rows; cls, layer-1, layer-2): {written:.0f} MB in" in caplog.text


def test_a_damaged_file_is_made_anew(using: Using) -> None:
    cfg = using("pooling=mha")
    expected = prepare(cfg)[2].train
    assert isinstance(expected, Features)
    states = expected.states[0].copy()
    for file in files(cfg):
        file.write_bytes(file.read_bytes()[:200])
    again = prepare(cfg)[2].train
    assert isinstance(again, Features)
    assert np.array_equal(again.states[0], states)


def test_processes_that_want_the_same_states_run_the_encoder_once(using: Using, tmp_path: Path) -> None:
    common = [
        sys.executable,
        *("-m", "glue_pool.train", "experiment=offline", "encoder.freeze=true", "tracking=none"),
        *("encoder.num_hidden_layers=2", "data.train_rows=300", "data.dev_rows=24", "train.max_steps=1"),
        f"data.cache_dir={tmp_path / 'cache'}",
        f"output_root={tmp_path / 'outputs'}",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    runs = [
        subprocess.Popen([*common, f"pooling={pooling}"], env=environment, stdout=subprocess.PIPE, text=True)
        for pooling in ("mha", "attention", "mean")
    ]
    said = "".join(run.communicate(timeout=120)[0] for run in runs)
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert said.count("Caching hidden states of train (300 rows; cls, layer-1, layer-2)") == 1
    assert len(list((tmp_path / "outputs").rglob("result.json"))) == 3


def test_what_a_killed_writer_leaves_is_cleaned_up(using: Using, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "features"
    command = [
        sys.executable,
        *("-m", "glue_pool.train", "experiment=offline", "encoder.freeze=true", "tracking=none", "pooling=mha"),
        *("data.train_rows=500", "data.dev_rows=24", "train.max_steps=1"),
        f"data.cache_dir={tmp_path / 'cache'}",
        f"output_root={tmp_path / 'outputs'}",
    ]
    run = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True)
    while not list(cache.glob("*/.writing-*/layer-6.npy")):
        assert run.poll() is None
        time.sleep(0.02)
    run.kill()
    run.communicate()
    assert list(cache.glob("*/.writing-*"))
    assert not list(cache.glob("*/*.npy"))
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not list(cache.glob("*/.writing-*"))
    assert {file.stem for file in cache.glob("*/*.npy")} == {"cls", "layer-4", "layer-5", "layer-6"}
