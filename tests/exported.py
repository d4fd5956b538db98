"""What tests of `glue-pool export` share: small saved models, and what onnxruntime says of texts."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from transformers import AutoConfig, AutoModel

import glue_pool
import local_data
from glue_pool.data.tokens import Tokenizer
from glue_pool.export import export
from glue_pool.hardware import Hardware
from glue_pool.models import factory
from glue_pool.models.classifier import Scale
from glue_pool.saved.folder import save
from glue_pool.schema import Config
from test_tokenizers import IDS, tokenizer

Make = Callable[..., Path]
MINILM = ("encoder=minilm_l6", "encoder.num_hidden_layers=2", "train.max_length=48")
SIZES = {
    "vocab_size": len(IDS), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 24, "max_position_embeddings": 64, "initializer_range": 0.3,
}  # fmt: skip
TINY = ("train.max_length=48", "train.precision=fp32", "tracking=none", "task=sst2")


def kept(cfg: Config, folder: Path, scale: Scale | None = None) -> Path:
    """Save a model as a run would, untrained, with no parameter of its head at 0."""
    torch.manual_seed(0)
    blueprint = factory.plan(cfg)
    model = factory.build(cfg, blueprint)
    with torch.no_grad():
        for parameter in (*model.pooler.parameters(), *model.output.parameters()):
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.scale = scale or Scale()
    cls, _, _ = Tokenizer(blueprint.folder).frame("the cat", len(cfg.task.columns))
    save(model, cfg, blueprint, Hardware.choose("cpu", "fp32"), cls, folder)
    return folder


def encoder(folder: Path, templates: tuple[str, str], kind: str = "bert", **sizes: Any) -> Path:
    """Write a small random encoder with a tokenizer of these templates."""
    tokenizer(folder, *templates, cls_token="[CLS]", pad_token="[PAD]")
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model(kind, **SIZES | sizes)).save_pretrained(folder)
    return folder


def texts_of(columns: int) -> list[list[str]]:
    draw = np.random.default_rng(1)
    lengths = [1, 2, 3, 7, 12, 20, 90]
    return [[" ".join(draw.choice(local_data.WORDS, n)) for n in draw.permutation(lengths)] for _ in range(columns)]


def runs(file: Path, folder: Path, side: str, texts: Sequence[list[str]]) -> np.ndarray:
    """What onnxruntime says of texts that the folder's own tokenizer pads."""
    session = onnxruntime.InferenceSession(file)
    about = session.get_modelmeta().custom_metadata_map
    loaded = Tokenizer(folder).loaded
    loaded.pad_token = loaded.pad_token or loaded.unk_token
    given = loaded(
        *texts, padding=True, padding_side=side, truncation="longest_first", max_length=int(about["max_length"]),
        return_tensors="np", return_token_type_ids=True,
    )  # fmt: skip
    return np.asarray(
        session.run(["logits"], {of.name: given[of.name].astype(np.int64) for of in session.get_inputs()})[0]
    )


def agrees(folder: Path, classes: Sequence[type] = (), tolerance: float = 1e-4) -> None:
    """Export a folder; the file says what the saved model does, of batches and of single rows, on either side."""
    done = export(folder, classes=classes)
    assert 0 <= done.difference <= 1e-4
    (file,) = (file for file in done.files if file.suffix == ".onnx")
    model = glue_pool.load(folder, classes, device="cpu", precision="fp32")
    texts = texts_of(len(model.columns))
    expected = model.logits(*texts)
    assert expected.std() > 1e-3
    for side in ("right", "left"):
        np.testing.assert_allclose(runs(file, folder, side, texts), expected, rtol=0, atol=tolerance)
    one = runs(file, folder, "right", [column[:1] for column in texts])
    np.testing.assert_allclose(one, expected[:1], rtol=0, atol=tolerance)


def say(folder: Path, section: str, cls: type, **keys: Any) -> None:
    """Let a model's folder name another pooler or edit."""
    about = json.loads((folder / "config.json").read_text())
    about[section] = {"name": "mine", "_target_": f"{cls.__module__}.{cls.__qualname__}", **keys}
    (folder / "config.json").write_text(json.dumps(about))
