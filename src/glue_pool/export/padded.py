"""The classifier in a form that other runtimes know: padded batches in, logits out, plain attention."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from glue_pool.errors import UserError
from glue_pool.models.classifier import Classifier
from glue_pool.models.edit import Edit
from glue_pool.models.poolers import first_token
from glue_pool.saved.folder import SavedModel

INPUTS = ["input_ids", "attention_mask", "token_type_ids"]


class Padded(nn.Module):
    """What a saved model says of padded batches, the same on either padding side.

    cls: where a row has its [CLS], as an index of its tokens; -1 is the last.
    """

    def __init__(self, classifier: Classifier, cls: int) -> None:
        super().__init__()
        self.classifier = classifier
        self.cls = cls

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """Return the logits `(batch, outputs)` in fp32, of a regression task scores in its unit.

        input_ids, attention_mask, token_type_ids: `(batch, sequence)` int64; a row's real tokens follow one another, at
        least one.
        """
        encoder, pooler = self.classifier.encoder, self.classifier.pooler
        mask = attention_mask.bool()
        position = (attention_mask.cumsum(1) - 1).clamp(min=0)  # among a row's own tokens
        inputs = {"input_ids": input_ids.masked_fill(~mask, encoder.padding_id), "attention_mask": attention_mask}
        if encoder.takes_positions:
            inputs["position_ids"] = position + encoder.first_position
        if token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        found = encoder.backbone_states(inputs, pooler.layers)
        states = [found[layer] for layer in pooler.layers]
        if pooler.reads == "cls":  # sequences of one token
            vectors = [first_token(state, mask & (position == self._place(mask)))[:, None] for state in states]
            pooled: Tensor = pooler(vectors, torch.ones_like(mask[:, :1]))
        else:
            pooled = pooler([self._lead(state, mask, position) for state in pooler.fold(states)], mask)
        if self.classifier.tanh is not None:
            pooled = torch.tanh(self.classifier.tanh(pooled))
        return self.classifier.scale.restored_logits(self.classifier.output(pooled))

    def _place(self, mask: Tensor) -> Tensor | int:
        """Where [CLS] is among a row's own tokens: `(batch, 1)`, or the same for all."""
        return self.cls if self.cls >= 0 else mask.sum(1, keepdim=True) + self.cls

    def _lead(self, state: Tensor, mask: Tensor, position: Tensor) -> Tensor:
        """Let [CLS] be the first real token of `(batch, sequence, d)`; the others follow as they are."""
        if self.cls == 0:
            return state
        place = self._place(mask)
        source = torch.where(position <= place, position - 1, position)
        source = torch.where(position == 0, place, source) + mask.int().argmax(1, keepdim=True)
        source = torch.where(mask, source, 0)
        return state.gather(1, source[:, :, None].expand(-1, -1, state.shape[-1]))


@contextmanager
def plain_attention(classifier: Classifier) -> Iterator[None]:
    """Let an encoder run on padded batches meanwhile, with transformers' own attention, written out."""
    from transformers import PreTrainedConfig

    configs = [getattr(module, "config", None) for module in classifier.encoder.backbone.modules()]
    theirs = {id(config): config for config in configs if isinstance(config, PreTrainedConfig)}  # an edit's copies' own
    before = {key: config._attn_implementation for key, config in theirs.items()}
    try:
        for config in theirs.values():
            config._attn_implementation = "eager"
        yield
    finally:
        for key, config in theirs.items():
            config._attn_implementation = before[key]


def check(saved: SavedModel) -> None:
    """Refuse, by name, a saved model that has no padded form; UserError."""
    classifier = saved.classifier
    encoder, edit, pooler = classifier.encoder, classifier.encoder.edit, classifier.pooler
    why = None
    if type(edit).before_layer is not Edit.before_layer:
        does = "leaves tokens out on the way" if edit.shortens else "works between layers"
        why = f"the edit {type(edit).__name__} {does}, on packed batches only"
    elif encoder.batching == "equal":
        why = f"a {encoder.kind} encoder looks at padding, and runs rows of one length at a time"
    elif len(takes := list(inspect.signature(pooler.forward).parameters)) > 2:
        why = f"the pooler {type(pooler).__name__} takes more than hidden states and mask ({', '.join(takes[2:])})"
    if why is not None:
        raise UserError(f"{saved.folder}: can't be exported: {why}; glue-pool predict runs it")
