"""Poolers: from an encoder's hidden states to one vector a sequence.

Notation in the docstrings: H^l is layer l's output, l = 1..L (the embedding output is not a
layer), c_l its [CLS] vector, m the attention mask, d the hidden size. [CLS] is the first real token,
wherever the tokenizer puts it. Every pooler ignores padding, on either side and whatever values it holds.

By what they read: cls.py, the last layer's [CLS]; tokens.py, the last layer's tokens; layers.py, several layers;
attention.py, one or more, by a query that attends to their tokens. All go by this package's name, in YAMLs as well.
"""

from glue_pool.models.poolers.attention import (
    MHA,
    AdaPool,
    Attention,
    MaxSeqMHA,
    MeanSeqMHA,
    SumSeqMHA,
    single_query_attention,
)
from glue_pool.models.poolers.base import Pooler, last_layers
from glue_pool.models.poolers.cls import Cls, MLPControl
from glue_pool.models.poolers.layers import (
    ConcatCls,
    FirstLastMean,
    LayerAttention,
    LayerLSTM,
    MaxCls,
    MaxSeqMean,
    MeanCls,
    ScalarMix,
    larger,
)
from glue_pool.models.poolers.masked import first_token, masked_max, masked_mean
from glue_pool.models.poolers.shares import taken
from glue_pool.models.poolers.tokens import GeM, LogSumExp, Max, Mean, MeanMax

__all__ = [
    "MHA",
    "AdaPool",
    "Attention",
    "Cls",
    "ConcatCls",
    "FirstLastMean",
    "GeM",
    "LayerAttention",
    "LayerLSTM",
    "LogSumExp",
    "MLPControl",
    "Max",
    "MaxCls",
    "MaxSeqMHA",
    "MaxSeqMean",
    "Mean",
    "MeanCls",
    "MeanMax",
    "MeanSeqMHA",
    "Pooler",
    "ScalarMix",
    "SumSeqMHA",
    "first_token",
    "larger",
    "last_layers",
    "masked_max",
    "masked_mean",
    "single_query_attention",
    "taken",
]
