"""What an encoder's config.json says is what transformers makes of it, and rules out what can't work."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
import transformers
import yaml

from conftest import Compose, choices
from glue_pool import components
from glue_pool.choices import CONF
from glue_pool.errors import UserError
from glue_pool.models import poolers, shape
from glue_pool.models.shape import Shape
from glue_pool.schema import EncoderConfig


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "xlm", "modernbert", "mpnet", "camembert"])
def test_sizes_are_those_of_the_model(kind: str, tmp_path: Path) -> None:
    config: Any = transformers.AutoConfig.for_model(kind, num_hidden_layers=3)
    config.save_pretrained(tmp_path)
    with torch.device("meta"):
        model = transformers.AutoModel.from_config(config)
    table = next((of for name, of in model.named_modules() if name.endswith("position_embeddings")), None)
    free = None if table is None else table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
    of_table = config.max_position_embeddings if free is None else free
    words = model.get_input_embeddings().num_embeddings
    whole = Shape(config.hidden_size, 3, of_table, words)
    assert shape.read(EncoderConfig(name=str(tmp_path))) == whole
    assert shape.read(EncoderConfig(name=str(tmp_path), num_hidden_layers=2)) == replace(whole, layers=2)
    with pytest.raises(UserError, match=r"encoder\.num_hidden_layers=4: this encoder has 3 layers"):
        shape.read(EncoderConfig(name=str(tmp_path), num_hidden_layers=4))


@pytest.mark.long
def test_no_family_has_other_sizes_than_are_read(tmp_path: Path) -> None:
    read = 0
    for kind, of in transformers.CONFIG_MAPPING.items():
        try:
            config: Any = of()
            sizes = config.hidden_size, config.num_hidden_layers
            config.save_pretrained(tmp_path / kind)
        except Exception:  # of several models, or of none that has layers
            continue
        found = shape.read(EncoderConfig(name=str(tmp_path / kind)))
        if found and all(isinstance(size, int) for size in sizes) and not config.is_encoder_decoder:
            assert kind == "longcat_flash" or (found.d, found.layers) == sizes  # which counts two a layer
            read += 1
    assert read > 200


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"hidden_size": [4, 8], "num_hidden_layers": 2}', None])
def test_what_does_not_tell_is_left_to_the_run(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    assert shape.read(EncoderConfig(name=str(tmp_path))) is None


def test_of_the_hub_only_what_is_there_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    encoder = EncoderConfig(name="some/body")
    assert shape.read(encoder) is None
    of = tmp_path / "models--some--body"
    for name, content in {
        "refs/main": "abc",
        "snapshots/abc/config.json": json.dumps({"hidden_size": 8, "num_hidden_layers": 2}),
    }.items():
        (of / name).parent.mkdir(parents=True)
        (of / name).write_text(content)
    assert shape.read(encoder) == Shape(8, 2)
    assert shape.read(replace(encoder, revision="other")) is None


OWN = """
from glue_pool.models.poolers import MaxCls, Pooler

class Largest(Pooler):
    def __init__(self, d, num_layers, *, k: int = 9):  # so many tokens
        super().__init__(d, num_layers)

class Inherited(MaxCls):
    "The package's k."

class Declared(Pooler):
    bounds = {"depth": "layers"}
    def __init__(self, d, num_layers, *, depth: int = 9):
        super().__init__(d, num_layers)
"""


@pytest.mark.parametrize("said", ["5", "{'k': 'layer'}", "('k', 'layers')"])
def test_bounds_that_say_nothing_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    (tmp_path / "odd_bounds.py").write_text(OWN.replace('{"depth": "layers"}', said))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match=r"bounds = .*: takes keywords with what bounds them, 'layers' or 'heads'"):
        components.declared("odd_bounds.Declared", "pooling")


def test_a_pooler_of_ones_own_says_which_keywords_the_encoder_bounds(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_bounds.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)

    def of(name: str, **keywords: int) -> None:
        pooling = {"name": name, "_target_": f"own_bounds.{name}", "tanh": "none", **keywords}
        shape.check(replace(composed("encoder=minilm_l6"), pooling=pooling))

    of("Largest", k=9)
    of("Declared", depth=6)
    with pytest.raises(UserError, match=r"pooling\.k=9: this encoder has 6 layers, so k lies in 1\.\.6"):
        of("Inherited", k=9)
    with pytest.raises(UserError, match=r"pooling\.depth=9: this encoder has 6 layers"):
        of("Declared", depth=9)


def test_what_a_pooler_says_is_read_where_its_package_has_it_from(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [CONF / "pooling" / f"{name}.yaml" for name in choices("pooling")]
    targets = {yaml.safe_load(file.read_text())["_target_"] for file in files}
    imported = {target: components.in_source(target) for target in targets}
    monkeypatch.delitem(sys.modules, poolers.__name__)
    assert {target: components.in_source(target) for target in targets} == imported
    assert poolers.__name__ not in sys.modules


@pytest.mark.parametrize(
    "exports",
    [
        "from .of import Declared",
        "from own_package import of\nfrom own_package.of import *",
        "from .of import Declared as D",
    ],
)
def test_a_package_may_export_a_pooler_of_ones_own(
    exports: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_package").mkdir()
    (tmp_path / "own_package" / "__init__.py").write_text(exports)
    file = tmp_path / "own_package" / "of.py"
    file.write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    target = f"own_package.{exports.split()[-1].replace('*', 'Declared')}"
    said = components.in_source(target)
    assert said is not None
    assert (said.bounds, said.defaults) == ({"depth": "layers"}, {"depth": 9})
    file.write_text(OWN.replace("depth: int = 9", "depth: int = 12"))
    assert components.declared(target, "pooling").defaults == {"depth": 12}
    assert "own_package" not in sys.modules


def test_an_edit_that_adds_layers_leaves_their_number_to_the_run(composed: Compose) -> None:
    shape.check(composed("encoder=minilm_l6", "edit=duplicate", "pooling.k=7"))
    with pytest.raises(UserError, match=r"pooling\.k=7: this encoder has 6 layers"):
        shape.check(composed("encoder=minilm_l6", "pooling.k=7"))
