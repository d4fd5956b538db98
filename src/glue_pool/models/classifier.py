"""The classifier: encoder, pooler, an optional tanh layer, dropout and one linear map."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn

from glue_pool.data.batches import Batch, HiddenBatch, over
from glue_pool.data.tokens import Split
from glue_pool.hardware import Hardware
from glue_pool.models.encoder import Encoder, Hidden
from glue_pool.models.poolers import Pooler
from glue_pool.result import Parameters


class Output(NamedTuple):
    """What a classifier says of a batch: logits `(batch, outputs)` in fp32, and the hidden states that were asked for.

    hidden: None where they are not there, from a frozen encoder's known hidden states.
    """

    logits: Tensor
    hidden: Hidden | None


@dataclass(frozen=True)
class Scale:
    """Which scores a model's outputs of 0 and of 1 stand for: mean, and mean plus deviation."""

    mean: float = 0.0
    deviation: float = 1.0

    @classmethod
    def of(cls, labels: np.ndarray) -> Self:
        """Return mean and standard deviation of train scores `(rows,)`; those of a constant have deviation 1."""
        deviation = float(labels.std(dtype=float))
        return cls(float(labels.mean(dtype=float)), deviation if deviation > 0 else 1.0)

    def standardised(self, labels: np.ndarray) -> np.ndarray:
        """Return fp32 scores with mean 0 and deviation 1."""
        return ((labels.astype(float) - self.mean) / self.deviation).astype(np.float32)

    def restored(self, outputs: np.ndarray) -> np.ndarray:
        """Return outputs as scores in the data's unit, fp32."""
        if self == Scale():
            return outputs
        return (outputs.astype(float) * self.deviation + self.mean).astype(np.float32)

    def restored_logits(self, logits: Tensor) -> Tensor:
        """Return the same of a tensor."""
        return logits if self == Scale() else (logits.double() * self.deviation + self.mean).float()


class Classifier(nn.Module):
    """An encoder whose pooled hidden states go through dropout and a linear layer.

    tanh: the layer tanh(W z + b) between pooler and dropout (BERT's pooler, if pre-trained), or None. scale: what the
    outputs stand for where a regression task's scores were standardised to train it.
    """

    def __init__(self, encoder: Encoder, pooler: Pooler, tanh: nn.Linear | None, dropout: float, outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooler = pooler
        self.tanh = tanh
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(tanh.out_features if tanh is not None else pooler.out_dim, outputs)
        self.scale = Scale()

    def forward(self, batch: Batch | HiddenBatch, reads: Sequence[int] = ()) -> Output:
        """Return the logits, and the hidden states of the layers in `reads` (1-based) and of the pooler's own."""
        if isinstance(batch, Batch):
            layers = sorted({*self.pooler.layers, *reads})
            hidden = self.encoder(batch.input_ids, batch.token_type_ids, batch.layout, layers)
            pooled = self._pool_hidden(hidden)
        else:
            hidden, pooled = None, self.pool(batch)
        if self.tanh is not None:
            pooled = torch.tanh(self.tanh(pooled))
        with torch.autocast(pooled.device.type, enabled=False):  # rounded logits would tie in rank metrics
            logits: Tensor = self.output(self.dropout(pooled.to(self.output.weight.dtype))).float()
        return Output(logits, hidden)

    def pool(self, batch: HiddenBatch) -> Tensor:
        """Return the pooled vectors `(batch, out_dim)` from a frozen encoder's known hidden states."""
        if batch.pooled:
            return torch.cat([states[0][:, 0] for states, _ in batch.parts])
        return torch.cat([self.pooler(states, mask) for states, mask in batch.parts])

    def _pool_hidden(self, hidden: Hidden) -> Tensor:
        pooler = self.pooler
        if pooler.reads == "cls":  # sequences of one token
            vectors = [hidden.cls(layer)[:, None] for layer in pooler.layers]
            pooled: Tensor = pooler(vectors, torch.ones_like(hidden.mask[:, :1]))
        else:
            folded = pooler.fold([hidden.states[layer] for layer in pooler.layers])
            pooled = pooler([hidden.pad(state) for state in folded], hidden.mask)
        return pooled

    def parameter_counts(self) -> Parameters:
        """Count all parameters, and those between encoder and classifier (pooler and tanh layer)."""
        pooling: list[nn.Module] = [self.pooler] if self.tanh is None else [self.pooler, self.tanh]
        return {
            "total": sum(p.numel() for p in self.parameters()),
            "pooling": sum(p.numel() for module in pooling for p in module.parameters()),
        }


def predict(
    model: Classifier,
    split: Split,
    hardware: Hardware,
    batch_size: int,
    padding_side: str = "right",
    between: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Return the logits `(rows, outputs)` of a split in fp32, in its own order; the model is in evaluation mode.

    Those of a regression task are scores in the data's unit.

    between: called after each batch; it may raise.
    """
    rows: list[np.ndarray] = []
    logits: list[Tensor] = []  # on the device: fetching a batch's would wait for it

    def keep(batch: Batch | HiddenBatch) -> None:
        rows.append(batch.rows)
        logits.append(model(batch).logits)
        between()

    over(split, keep, hardware, batch_size, padding_side)
    result = np.empty((len(split), model.output.out_features), dtype=np.float32)
    if rows:
        result[np.concatenate(rows)] = torch.cat(logits).cpu().numpy()
    return model.scale.restored(result)
