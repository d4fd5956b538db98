"""A temperature in self-attention against length collapse (TempScale, arXiv 2410.24200)."""

from typing import Any, Literal

from torch import nn

from glue_pool.errors import UserError
from glue_pool.models.edit import Edit
from glue_pool.models.encoder import Encoder


class Temperature(Edit):
    """softmax(q k^T scale / tau) in every layer: below 1 attention is sharper, above 1 flatter; 1 changes nothing.

    The authors set it in evaluation of trained embedding models (0.5 to 0.8 did best). where: `always`, which is ours
    for fine-tuning, or `evaluation`, theirs. layers: those to change, 1 the lowest; null is all.
    """

    def __init__(
        self, *, tau: float = 0.7, where: Literal["always", "evaluation"] = "always", layers: list[int] | None = None
    ) -> None:
        if tau <= 0:
            raise UserError(f"edit.tau={tau}: has to be above 0")
        self.tau, self.where, self.layers = tau, where, layers

    def apply(self, encoder: Encoder) -> None:
        """Divide the attention's scale; UserError for a family whose attention has none of its own to divide."""
        if not encoder.blocks:
            raise UserError(f"edit=temperature: the layers of this {encoder.kind} encoder can't be told apart")
        count = encoder.num_layers
        layers = list(range(1, count + 1)) if self.layers is None else self.layers
        if not layers or len(set(layers)) < len(layers):
            raise UserError(f"edit.layers={layers}: has to name layers, each once; null is all")
        if outside := [layer for layer in layers if not 1 <= layer <= count]:
            raise UserError(f"edit.layers: this encoder has {count} layers, numbered from 1, and no {outside[0]}")
        if encoder.shares_layers and len(set(layers)) < count:
            raise UserError(f"edit.layers: this {encoder.kind} encoder shares its layers; null changes all")
        blocks = {id(block): block for block in encoder.blocks}
        if self.layers is not None:
            blocks = {id(block): block for block in (encoder.blocks[layer - 1] for layer in layers)}
        scaled = [m for block in blocks.values() for m in block.modules() if isinstance(vars(m).get("scaling"), float)]
        if not scaled:
            raise UserError(f"edit=temperature: the attention of this {encoder.kind} encoder has no scale to divide")
        for attention in scaled:
            if self.where == "always":
                attention.scaling = attention.scaling / self.tau  # type: ignore[operator, assignment]
            else:
                attention.register_forward_pre_hook(_Switch(float(attention.scaling), self.tau))  # type: ignore[arg-type]


class _Switch:
    """Sets an attention's scale before it runs: its own in training, divided in evaluation."""

    def __init__(self, scaling: float, tau: float) -> None:
        self.training, self.evaluation = scaling, scaling / tau

    def __call__(self, attention: nn.Module, _: Any) -> None:
        attention.scaling = self.training if attention.training else self.evaluation  # type: ignore[assignment]
