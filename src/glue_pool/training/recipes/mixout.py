"""Mixout (Lee et al. 2020, arXiv 1909.11299): in training, weights are mixed with the pre-trained ones."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from glue_pool.data.tokens import Split
from glue_pool.errors import UserError
from glue_pool.models.classifier import Classifier
from glue_pool.models.encoder import Encoder
from glue_pool.training.recipe import Recipe


class Mixout(Recipe):
    """W_used = W_pre + B (W - W_pre) / (1 - p), B ~ Bernoulli(1 - p), in every linear layer of the encoder.

    That is [(1 - B) W_pre + B W - p W_pre] / (1 - p), whose mean over B is W. As in the official code, B is drawn once
    for every input feature and shared by all outputs, biases are not mixed, evaluation uses W, and the encoder's
    dropout is off. Pooler, classifier and layers that were drawn anew have no pre-trained weights, and are not mixed.
    p = 0 is plain fine-tuning, the encoder's dropout included. With `train.accumulate` every pass draws its own B.

    gradient: `exact` is the derivative, B / (1 - p); `official` is B, which the authors' code has.
    """

    on_frozen = False

    def __init__(self, *, p: float = 0.9, gradient: Literal["exact", "official"] = "exact") -> None:
        if not 0 <= p < 1:
            raise UserError(f"recipe.p={p}: has to be at least 0 and below 1 (at 1 the encoder would not be trained)")
        self.p, self.official = p, gradient == "official"
        self._mixed: list[nn.Linear] = []
        self._dropped: list[tuple[nn.Module, str, float]] = []

    def prepare(self, model: Classifier, train: Split) -> None:
        """Mix the encoder's linear layers, whose weights now are the pre-trained ones."""
        if self.p == 0:
            return
        _check_mixable(model.encoder)
        anew = {id(module) for layer in model.encoder.drawn_anew for module in layer.modules()}
        linears = (module for module in model.encoder.modules() if isinstance(module, nn.Linear))
        self._mixed = [linear for linear in linears if id(linear) not in anew]
        for linear in self._mixed:
            parametrize.register_parametrization(linear, "weight", _Mixed(linear.weight, self.p, self.official))
        self._dropped = _dropouts(list(model.encoder.modules()))
        for module, name, _ in self._dropped:
            setattr(module, name, 0.0)

    def finish(self, model: Classifier) -> None:
        """Leave plain linear layers with W, and the encoder's dropout as it was."""
        for linear in self._mixed:
            weight = linear.parametrizations.weight.original  # type: ignore[union-attr]
            parametrize.remove_parametrizations(linear, "weight", leave_parametrized=False)
            assert linear.weight is weight
        for module, name, p in self._dropped:
            setattr(module, name, p)


class _Mixed(nn.Module):
    """From W to W_used."""

    def __init__(self, pretrained: Tensor, p: float, official: bool) -> None:
        super().__init__()
        self.pretrained: Tensor
        self.register_buffer("pretrained", pretrained.detach().clone(), persistent=False)
        self.p, self.official = p, official

    def forward(self, weight: Tensor) -> Tensor:
        """`(outputs, inputs)` to the same; W itself in evaluation."""
        if not self.training:
            return weight
        keep = torch.bernoulli(torch.full_like(weight[:1], 1 - self.p))
        difference = keep * (weight - self.pretrained)
        if self.official and difference.requires_grad:
            difference.register_hook(lambda gradient: gradient * (1 - self.p))
        return torch.add(self.pretrained, difference, alpha=1 / (1 - self.p))


def _check_mixable(encoder: Encoder) -> None:
    """Raise UserError for matrices of an encoder that are no linear layer's, which would be left as they are."""
    for module in encoder.backbone.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            continue
        if any(parameter.dim() > 1 for parameter in module.parameters(recurse=False)):
            said = f"a {encoder.kind} encoder has weights in a {type(module).__name__}"
            raise UserError(f"recipe=mixout: mixes linear layers, and {said}")


def _dropouts(modules: Sequence[nn.Module]) -> list[tuple[nn.Module, str, float]]:
    """Return where some modules keep a share that they drop, and the share."""
    found: list[tuple[nn.Module, str, float]] = []
    for module in modules:
        is_dropout = isinstance(module, nn.Dropout)  # else it may keep the share of attention weights that it drops
        names = ["p"] if is_dropout else [name for name in vars(module) if name.endswith(("dropout", "dropout_prob"))]
        found += [(module, name, p) for name in names if isinstance(p := getattr(module, name), float)]
    return found
