"""The classifier: encoder, pooler, an optional tanh layer, dropout and one linear map."""

import torch
from torch import Tensor, nn

from glue_pool.data.batches import Batch, StateBatch
from glue_pool.models.encoder import Encoder
from glue_pool.models.poolers import Pooler


class Classifier(nn.Module):
    """An encoder whose pooled hidden states go through dropout and a linear layer.

    tanh: the layer tanh(W z + b) between pooler and dropout (BERT's pooler, if pre-trained), or None.
    """

    def __init__(self, encoder: Encoder, pooler: Pooler, tanh: nn.Linear | None, dropout: float, outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooler = pooler
        self.tanh = tanh
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(tanh.out_features if tanh is not None else pooler.out_dim, outputs)

    def forward(self, batch: Batch | StateBatch) -> Tensor:
        """Return logits `(batch, outputs)` in fp32."""
        pooled = self.pool(batch)
        if self.tanh is not None:
            pooled = torch.tanh(self.tanh(pooled))
        with torch.autocast(pooled.device.type, enabled=False):  # rounded logits would tie in rank metrics
            logits: Tensor = self.output(self.dropout(pooled.float()))
        return logits

    def pool(self, batch: Batch | StateBatch) -> Tensor:
        """Return the pooled vectors `(batch, out_dim)`, from tokens or from a frozen encoder's known hidden states."""
        pooler = self.pooler
        if isinstance(batch, Batch):
            states, mask = self.encoder(
                batch.input_ids, batch.token_type_ids, batch.layout, pooler.layers, pooler.reads, pooler.fold
            )
            pooled: Tensor = pooler(states, mask)
            return pooled
        if batch.pooled:
            return torch.cat([states[0][:, 0] for states, _ in batch.parts])
        return torch.cat([pooler(states, mask) for states, mask in batch.parts])

    def parameter_counts(self) -> dict[str, int]:
        """Count all parameters, and those between encoder and classifier (pooler and tanh layer)."""
        pooling: list[nn.Module] = [self.pooler] if self.tanh is None else [self.pooler, self.tanh]
        return {
            "total": sum(p.numel() for p in self.parameters()),
            "pooling": sum(p.numel() for module in pooling for p in module.parameters()),
        }
