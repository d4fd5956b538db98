"""A saved model as transformers knows one: AutoModelForSequenceClassification, its pipeline and its Trainer take it."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.modeling_outputs import SequenceClassifierOutput

from glue_pool.data.batches import Batch
from glue_pool.data.layout import layout
from glue_pool.metrics import MULTI, REGRESSION
from glue_pool.models import families, pretrained
from glue_pool.models.classifier import Classifier, Scale
from glue_pool.models.encoder import Encoder
from glue_pool.models.factory import build_edit, build_pooler
from glue_pool.saved.configuration import GluePoolConfig


def build(config: GluePoolConfig, classes: Iterable[type] = ()) -> Classifier:
    """Build the classifier that a config describes, without its weights; also on torch.device("meta").

    classes: those of the pooler and the edit, if they are not this package's: no module is imported because a config
    names it. Raises UserError where one is not there.
    """
    of_encoder = pretrained.usable(config.read_encoder_config(), "encoder_config")
    encoder = Encoder(of_encoder, families.batching(of_encoder, "auto"), edit=build_edit(config.edit, classes))
    pretrained.take_pooler(encoder.backbone)
    pooling = config.pooling
    pooler = build_pooler(pooling, encoder.d, encoder.num_layers, classes)
    tanh = nn.Linear(pooler.out_dim, pooler.out_dim) if pooling["tanh"] != "none" else None
    model = Classifier(encoder, pooler, tanh, config.dropout, outputs=int(config.num_labels or 0))
    model.scale = Scale(**config.scale)
    return model


class GluePoolForSequenceClassification(PreTrainedModel):
    """An encoder, a pooler and a linear map on the pooled vector, from a folder that `save_model=true` left.

    classes: as `build` takes them; `from_pretrained(folder, classes=[MyPooler])` hands them on. classifier: one that is
    there already.
    """

    config: GluePoolConfig
    config_class = GluePoolConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    _supports_sdpa = True  # the encoder looks to its attention itself

    def __init__(
        self, config: GluePoolConfig, *, classes: Iterable[type] = (), classifier: Classifier | None = None
    ) -> None:
        super().__init__(config)
        self.classes = tuple(classes)
        self.model = build(config, self.classes) if classifier is None else classifier
        self._tied_weights_keys = _ties(self)
        self.post_init()  # type: ignore[no-untyped-call]

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load a folder as any model of transformers, `classes` among the keywords."""
        found = super().from_pretrained(*args, **kwargs)
        model = found[0] if isinstance(found, tuple) else found
        model._fill_tables()
        return found

    @torch.no_grad()
    def _fill_tables(self) -> None:
        """Compute what no folder keeps, a pooler's or an edit's fixed tables: loading left them empty."""
        if mine := _unsaved(self.model):
            with torch.device("cpu"), no_init_weights():
                fresh = build(self.config, self.classes)
            for table, computed in zip(mine, _unsaved(fresh), strict=True):
                table.copy_(computed)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput | tuple[Tensor, ...]:
        """Return the logits `(batch, outputs)` in fp32, a regression task's in its unit, and with labels the loss.

        input_ids, attention_mask, token_type_ids: `(batch, tokens)`, padded on either side; a row has at least one
        token. labels: `(batch,)` class ids or scores, or `(batch, labels)` of 0 and 1, a multi-label task's.
        """
        mask = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        sizes = mask.sum(1)
        order = sizes.argsort(stable=True)  # attention costs least where lengths ascend
        mask = mask[order]
        where = layout(sizes[order].cpu().numpy(), cls=self.config.cls_position or 0).to(input_ids.device)
        types = None if token_type_ids is None else token_type_ids[order][mask]
        batch = Batch(input_ids[order][mask], types, where, sizes, order.cpu().numpy())
        logits = self.model(batch).logits[order.argsort()]
        loss = None if labels is None else self._loss(logits, labels)
        logits = self.model.scale.restored_logits(logits)
        if return_dict is False or (return_dict is None and not self.config.return_dict):
            return (logits,) if loss is None else (loss, logits)
        return SequenceClassifierOutput(loss=loss, logits=logits)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The task's own loss, of scores as they were standardised to train it."""
        if self.config.problem_type == MULTI:
            labels = labels.to(logits.dtype)
        if self.config.problem_type == REGRESSION:
            labels = (labels.to(logits.dtype) - self.model.scale.mean) / self.model.scale.deviation
        loss: Tensor = self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
        return loss

    def get_input_embeddings(self) -> nn.Module:
        """Return the table of token ids."""
        table: nn.Module = self.model.encoder.embeddings
        return table

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Put another table of token ids in its place."""
        self.model.encoder.backbone.set_input_embeddings(value)
        self.config.encoder_config["vocab_size"] = len(value.weight)  # type: ignore[arg-type]

    def get_expanded_tied_weights_keys(self, all_submodels: bool = False) -> dict[str, str]:
        """Return the parameters that go by a second name, with the first one's; no key of a config decides that."""
        return dict(self._tied_weights_keys)


def _unsaved(model: nn.Module) -> list[Tensor]:
    kept = model.state_dict().keys()
    return [buffer for name, buffer in model.named_buffers() if name not in kept]


def _ties(model: nn.Module) -> dict[str, str]:
    """Return for each parameter's further names its first: a layer that an edit lets run twice has two."""
    first: dict[int, str] = {}
    named = model.named_parameters(remove_duplicate=False)
    return {name: at for name, parameter in named if (at := first.setdefault(id(parameter), name)) != name}


__all__ = ["GluePoolForSequenceClassification"]
