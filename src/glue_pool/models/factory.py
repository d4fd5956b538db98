"""From config to classifier: every module draws its start from a stream of its own."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from glue_pool import components
from glue_pool.errors import UserError
from glue_pool.models import families, identity, pretrained, shape, steady
from glue_pool.models.classifier import Classifier
from glue_pool.models.edit import Edit
from glue_pool.models.encoder import Encoder
from glue_pool.models.families import Batching
from glue_pool.models.poolers import Pooler
from glue_pool.models.shape import Shape
from glue_pool.schema import Config
from glue_pool.seeds import drawing_from


@dataclass(frozen=True)
class Blueprint:
    """A model that has been checked but not built: no weights are read, no memory is taken."""

    folder: Path
    """The encoder's folder."""
    weights: str
    """What says which weights these are."""
    identity: str
    """What says which encoder this is: its weights, and what is changed in them before training."""
    encoder_config: Any
    """Its transformers config, edits applied."""
    batching: Batching
    """The batches that it runs on."""
    edit: Edit
    """What is changed in the encoder; it has been tried on its shape."""
    d: int
    """The size of its hidden states."""
    layers: int
    """The layers that run."""
    reads: str
    """What the pooler reads of them, as its class says: cls, tokens or both."""


def plan(cfg: Config) -> Blueprint:
    """Find the encoder and check that edit and pooler fit it, before any data or weight is read."""
    folder = identity.locate(cfg.encoder)
    identity.verify(cfg.encoder, folder)
    edit = build_edit(cfg.edit)
    config = pretrained.read_config(cfg.encoder, folder, edit)
    batching = families.batching(config, cfg.train.batching)
    encoder = pretrained.plan(config, batching, edit, f"encoder.name={cfg.encoder.name}")
    with torch.device("meta"):
        pooler = build_pooler(cfg.pooling, encoder.d, encoder.num_layers)
    shape.fits(cfg, Shape(encoder.d, encoder.num_layers, encoder.max_tokens))
    if cfg.encoder.reinit_layers:
        encoder.own_layers("encoder.reinit_layers")
        _check_drawable(encoder, cfg.encoder.reinit_layers)
    if cfg.optimizer.layer_decay < 1:
        encoder.own_layers("optimizer.layer_decay")
    if cfg.encoder.freeze and edit.shortens:
        raise UserError(f"encoder.freeze: edit={cfg.edit['name']} leaves tokens out; a probe keeps those of all")
    if cfg.pooling["tanh"] == "pretrained" and pretrained.take_pooler(encoder.backbone) is None:
        raise _no_pretrained_pooler(encoder)
    if cfg.pooling["tanh"] == "pretrained" and pooler.out_dim != encoder.d:
        raise UserError(
            f"pooling.tanh=pretrained: the encoder's pooler takes d={encoder.d}, "
            f"{cfg.pooling['name']} gives {pooler.out_dim}; use none or new"
        )
    weights = identity.weights(cfg.encoder)
    key = identity.identity(cfg)
    return Blueprint(folder, weights, key, config, batching, edit, encoder.d, encoder.num_layers, pooler.reads)


def build(cfg: Config, blueprint: Blueprint) -> Classifier:
    """Load the encoder and put a pooler and a classifier on it, drawn from the training seed's own streams."""
    encoder, dense = pretrained.load(
        cfg.encoder,
        blueprint.folder,
        blueprint.encoder_config,
        blueprint.batching,
        blueprint.edit,
    )
    if not cfg.encoder.freeze:  # a probe's may have run long ago
        pretrained.try_out(encoder, cfg)
    if cfg.encoder.reinit_layers:
        with drawing_from(cfg.seed, "reinit"):
            reinitialise(encoder, cfg.encoder.reinit_layers, dense)
    with drawing_from(cfg.seed, "pooler"):
        pooler = build_pooler(cfg.pooling, encoder.d, encoder.num_layers)
        tanh = _tanh_layer(str(cfg.pooling["tanh"]), dense, pooler.out_dim, encoder)
    with drawing_from(cfg.seed, "classifier"):
        model = Classifier(encoder, pooler, tanh, cfg.model.dropout, cfg.task.outputs)
        nn.init.normal_(model.output.weight, std=_initializer_range(encoder))
        nn.init.zeros_(model.output.bias)
    steady.settle(model)
    if cfg.encoder.freeze:
        encoder.freeze()
    return model


def build_pooler(pooling: Mapping[str, Any], d: int, layers: int, classes: Iterable[type] | None = None) -> Pooler:
    """Build the pooler that a pooling config names, for an encoder of width d with so many layers."""
    base: type[Pooler] = Pooler  # type: ignore[type-abstract]
    return components.build(pooling, base, "pooling", d, layers, beside=("tanh",), classes=classes)


def build_edit(edit: Mapping[str, Any], classes: Iterable[type] | None = None) -> Edit:
    """Build the edit that an edit config names."""
    return components.build(edit, Edit, "edit", classes=classes)


def _tanh_layer(tanh: str, dense: nn.Linear | None, d: int, encoder: Encoder) -> nn.Linear | None:
    if tanh == "none":
        return None
    if tanh == "pretrained":
        if dense is None:
            raise _no_pretrained_pooler(encoder)
        return dense
    layer = nn.Linear(d, d)
    nn.init.normal_(layer.weight, std=_initializer_range(encoder))
    nn.init.zeros_(layer.bias)
    return layer


def _no_pretrained_pooler(encoder: Encoder) -> UserError:
    kind = encoder.kind
    return UserError(f"pooling.tanh=pretrained: this {kind} encoder has no pre-trained pooler; use pooling.tanh=new")


def _initializer_range(encoder: Encoder) -> float:
    said = getattr(encoder.config, "initializer_range", 0.02)
    if not isinstance(said, int | float) or not 0 <= said < math.inf:
        raise UserError(f"the encoder's config.json says initializer_range={said}: has to be a number from 0 on")
    return float(said)


def reinitialise(encoder: Encoder, layers: int, dense: nn.Linear | None) -> None:
    """Draw the top layers and the pooler's affine map anew (Zhang et al. 2021): N(0, 0.02), norms at 1, biases at 0.

    `_check_drawable` has found nothing else in them.
    """
    encoder.drawn_anew = list(dict.fromkeys(encoder.blocks[-layers:]))
    for module in (m for top in (*encoder.drawn_anew, dense) if top is not None for m in top.modules()):
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=_initializer_range(encoder))
        elif _is_norm(module):
            nn.init.ones_(module.weight)  # type: ignore[arg-type]
        for name, parameter in module.named_parameters(recurse=False):
            if name.endswith("bias"):
                nn.init.zeros_(parameter)


def _check_drawable(encoder: Encoder, layers: int) -> None:
    """Raise UserError for weights in the top layers of which it isn't known how to draw them anew."""
    for module in (m for top in encoder.blocks[-layers:] for m in top.modules()):
        for name, parameter in module.named_parameters(recurse=False):
            is_bias = name.endswith("bias") and parameter.dim() == 1
            if not (is_bias or isinstance(module, nn.Linear) or _is_norm(module)):
                said = f"the {type(module).__name__}s of a {encoder.kind} encoder are no linear layers"
                raise UserError(f"encoder.reinit_layers: {said}, and not known how to draw anew")


def _is_norm(module: nn.Module) -> bool:
    """Whether it is a LayerNorm or RMSNorm that begins with a weight of 1; Gemma's begins with 0."""
    name = type(module).__name__
    return name.endswith(("LayerNorm", "RMSNorm")) and "Gemma" not in name and hasattr(module, "weight")
