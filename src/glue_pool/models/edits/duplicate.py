"""Duplicated layers (arXiv 2001.09309): pre-trained layers run twice, and nothing is trained before fine-tuning."""

import copy

from glue_pool.errors import UserError
from glue_pool.models.edit import Edit
from glue_pool.models.encoder import Encoder


class Duplicate(Edit):
    """Each of the named layers runs again, right after itself.

    repeat: layers, 1 the lowest, or -1 the topmost; each named once. tie: both runs share their weights and no
    parameter is added; else the copy starts with the same weights and is trained by itself. Which layers, whether
    copies stand beside their originals and whether they are tied is not public: ours. All that counts layers
    (`pooling.k`, `encoder.reinit_layers`, `optimizer.layer_decay`) counts those that run.
    """

    def __init__(self, *, repeat: list[int], tie: bool = False) -> None:
        self.repeat, self.tie = repeat, tie

    def apply(self, encoder: Encoder) -> None:
        """Insert the copies; UserError where the encoder has no such layer, or shares its layers."""
        key, count = "edit=duplicate", encoder.num_layers
        if self.repeat:
            encoder.own_layers(key)
        if outside := [layer for layer in self.repeat if not 1 <= abs(layer) <= count]:
            raise UserError(
                f"edit.repeat: this encoder has {count} layers, 1..{count} or -{count}..-1, and no {outside[0]}"
            )
        layers = [layer if layer > 0 else count + 1 + layer for layer in self.repeat]
        if len(set(layers)) < len(layers):
            raise UserError(f"edit.repeat={self.repeat}: names a layer twice; each runs once more")
        for layer in sorted(layers, reverse=True):
            block = encoder.blocks[layer - 1]
            encoder.insert(layer, block if self.tie else copy.deepcopy(block), key)
