"""An edit: a change to a pre-trained encoder that trains nothing first. The base changes nothing.

One of your own is one class in any importable module and one YAML: docs/extending.md. Keyword arguments are the YAML's
keys; refuse a bad one with `UserError` in `__init__`, and an encoder that it can't change in `apply`.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from glue_pool.data.layout import Layout


class Edit:
    """No change; subclasses change what they need.

    `config` is called before the encoder's modules exist, `apply` when they do, with the pre-trained weights or on
    torch.device("meta"), and again when a saved model is loaded; `before_layer` at run time.
    """

    added: ClassVar[Mapping[str, Any]] = {}
    """Keyword arguments that came after the first release, with the values that change nothing."""
    shortens: ClassVar[bool] = False
    """Whether `before_layer` leaves tokens out; then a probe has no fixed hidden states to keep, and refuses it."""

    def config(self, config: Any) -> None:
        """Change the encoder's transformers config in place; what a saved model has is the changed one."""

    def apply(self, encoder: Any) -> None:
        """Change the modules of a `glue_pool.models.encoder.Encoder` in place.

        `encoder.blocks` are the layers as they run, `encoder.insert` adds to them.
        """

    def before_layer(self, layer: int, hidden: Tensor, layout: Layout) -> tuple[Tensor, Tensor | None]:
        """Return what goes into a layer, 1-based, and which tokens go on from here.

        hidden: `(tokens, d)`, packed as `layout` says. The second value is the ascending rows `(kept,)` of the tokens
        that go on, None for all; every sequence keeps its [CLS] (`layout.cls`). An edit that has this takes packed
        batches only.
        """
        return hidden, None
