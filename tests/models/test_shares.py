"""Shares: which layers and tokens a pooled vector came from, as properties and against plain loops."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from glue_pool.data.layout import layout
from glue_pool.models import poolers
from glue_pool.models.encoder import Hidden
from glue_pool.models.poolers import Pooler, taken
from pooler_cases import (
    YAMLS,
    Array,
    Batch,
    Layers,
    Options,
    Parameters,
    attention_weights,
    average,
    build,
    cases,
    close,
    each_token,
    largest,
    pooler_class,
    properties,
    random_batch,
    softmax,
    total,
)

HAVING = [name for name in YAMLS if pooler_class(name).shares is not Pooler.shares]
each = pytest.mark.parametrize("name", HAVING)

# Plain references, one sequence at a time: by head a `(layers, tokens)` array of the layers that a pooler reads.

Shares = list[Array]


def at_cls(by_layer: list[float], tokens: int) -> Array:
    return np.array([[weight] + [0.0] * (tokens - 1) for weight in by_layer])


def of_tokens(weights: list[float]) -> Array:
    return np.array([weights])


def counted(vectors: list[Array]) -> list[float]:
    """The share of features whose max each vector has."""
    winners = [max(range(len(vectors)), key=lambda i: vectors[i][j]) for j in range(len(vectors[0]))]
    return [winners.count(i) / len(winners) for i in range(len(vectors))]


def winners_of_tokens(x: Layers, weights: list[float]) -> Array:
    by_token = [
        [w * share for share in counted(vectors)]
        for w, vectors in zip(weights, map(list, zip(*x, strict=True)), strict=True)
    ]
    return np.array(by_token).T


def seq_mha(fold: Callable[[list[Array]], Array], w: Parameters, x: Layers, o: Options) -> Shares:
    folded = each_token(fold, x)
    heads = attention_weights(w, o, folded[0], folded)
    if fold is largest:
        return [winners_of_tokens(x, weights) for weights in heads]
    return [np.array([weights] * len(x)) / len(x) for weights in heads]


def gem(w: Parameters, x: Layers, o: Options) -> Shares:
    powers = np.maximum(np.array(x[0]), o["eps"]) ** w["p"]
    return [of_tokens(list((powers / powers.sum(0)).mean(1)))]


def logsumexp(w: Parameters, x: Layers, o: Options) -> Shares:
    return [of_tokens(list(np.mean([softmax(list(o["r"] * feature)) for feature in np.array(x[0]).T], axis=0)))]


def attention(w: Parameters, x: Layers, o: Options) -> Shares:
    return [of_tokens(softmax([(w["score.weight"] @ np.tanh(w["inner.weight"] @ h)).item() for h in x[0]]))]


def scalar_mix(w: Parameters, x: Layers, o: Options) -> Shares:
    mix, n = softmax([float(v) for v in w["weights"]]), len(x[0])
    return [at_cls(mix, n) if o["then"] == "cls" else np.array([[share / n] * n for share in mix])]


def uniform(w: Parameters, x: Layers, o: Options) -> Shares:
    return [np.full((len(x), len(x[0])), 1 / len(x) / len(x[0]))]


def cls_of_each(w: Parameters, x: Layers, o: Options) -> Shares:
    return [at_cls([1 / len(x)] * len(x), len(x[0]))]


REFERENCES: dict[str, Callable[[Parameters, Layers, Options], Shares]] = {
    "cls": cls_of_each,
    "bert": cls_of_each,
    "concat_cls": cls_of_each,
    "mean_cls": cls_of_each,
    "mean": uniform,
    "first_last_mean": uniform,
    "max": lambda w, x, o: [of_tokens(counted(x[0]))],
    "mean_max": lambda w, x, o: [of_tokens([(1 / len(x[0]) + top) / 2 for top in counted(x[0])])],
    "gem": gem,
    "logsumexp": logsumexp,
    "attention": attention,
    "scalar_mix": scalar_mix,
    "layer_attention": lambda w, x, o: [at_cls(softmax([float(w["query"] @ layer[0]) for layer in x]), len(x[0]))],
    "max_cls": lambda w, x, o: [at_cls(counted([layer[0] for layer in x]), len(x[0]))],
    "max_seq_mean": lambda w, x, o: [winners_of_tokens(x, [1 / len(x[0])] * len(x[0]))],
    "mha": lambda w, x, o: seq_mha(largest, w, x, o),
    "maxpool": lambda w, x, o: seq_mha(largest, w, x, o),
    "mean_seq_mha": lambda w, x, o: seq_mha(average, w, x, o),
    "sum_seq_mha": lambda w, x, o: seq_mha(total, w, x, o),
    "adapool": lambda w, x, o: [of_tokens(head) for head in attention_weights(w, o, average(x[0]), x[0])],
}


def test_only_two_shipped_poolers_have_no_weights() -> None:
    assert set(YAMLS) - set(HAVING) == {"layer_lstm", "mlp_control"}


def shares(pooler: Pooler, *batch: Any) -> Tensor:
    found = pooler.shares(*batch)
    assert found is not None
    return found


@each
def test_shares_are_those_of_plain_loops(name: str) -> None:
    assert name in REFERENCES, f"write {name}'s shares into REFERENCES"

    @properties
    @given(cases(name))
    def check(case: tuple[Pooler, Options, Batch]) -> None:
        pooler, options, batch = case
        parameters = {k: v.double().numpy() for k, v in pooler.state_dict().items()}
        found = shares(pooler, *batch.padded(pooler.layers))
        for of_row, sequence in zip(found, batch.sequences, strict=True):
            layers = [list(sequence.double().numpy()[layer - 1]) for layer in pooler.layers]
            expected = torch.as_tensor(np.array(REFERENCES[name](parameters, layers, options)))
            close(of_row[..., : sequence.shape[1]], expected.to(of_row.dtype))

    check()


@each
def test_shares_are_one_in_total_and_none_at_padding(name: str) -> None:
    fills = st.sampled_from([1e4, -1e4, 1e30, math.inf, -math.inf, math.nan])

    @properties
    @given(cases(name), st.integers(0, 9), st.booleans(), fills)
    def check(case: tuple[Pooler, Options, Batch], extra: int, left: bool, fill: float) -> None:
        pooler, options, batch = case
        hidden, mask = batch.padded(pooler.layers, extra=extra, left=left, fill=fill)
        with torch.no_grad():  # as in an evaluation
            found = shares(pooler, hidden, mask)
        assert found.shape == (len(mask), options.get("num_heads", 1), len(pooler.layers), mask.shape[1])
        assert (found >= 0).all()
        assert not found.masked_select(~mask[:, None, None]).any()
        close(found.sum((2, 3)), torch.ones_like(found[..., 0, 0]))
        for i, sequence in enumerate(batch.sequences):
            alone = shares(pooler, *Batch([sequence]).padded(pooler.layers))
            close(found[i][..., mask[i]], alone[0])
        assert all(h.grad is None for h in hidden)

    check()


@each
def test_packed_rows_have_the_shares_of_padded_ones(name: str) -> None:
    pooler = build(name, 8, 4).double().eval()
    batch = random_batch([2, 3, 6], 8, 4)
    padded, mask = batch.padded(pooler.layers)
    packed = {layer: torch.cat([s[layer - 1] for s in batch.sequences]) for layer in pooler.layers}
    hidden = Hidden(packed, layout([2, 3, 6]), packed=True)
    if pooler.reads == "cls":
        states = [hidden.cls(layer)[:, None] for layer in pooler.layers]
        close(shares(pooler, states, mask[:, :1]), shares(pooler, padded, mask)[..., :1])
    else:
        states = [hidden.pad(hidden.states[layer]) for layer in pooler.layers]
        close(shares(pooler, states, hidden.mask), shares(pooler, padded, mask))


def test_ties_have_what_forwards_gradient_gives_them() -> None:
    hidden, mask = [torch.ones(1, 2, 4), torch.ones(1, 2, 4)], torch.ones(1, 2, dtype=torch.bool)
    variants: dict[str, Options] = {"max": {}, "max_cls": {"k": 2}, "max_seq_mean": {"k": 2}, "maxpool": {"k": 2}}
    poolers = {name: build(name, 4, 2, **options).eval() for name, options in variants.items()}
    of = {name: shares(pooler, hidden[: len(pooler.layers)], mask)[0, 0].tolist() for name, pooler in poolers.items()}
    assert of["max"] == [[0.5, 0.5]]
    assert of["max_cls"] == [[0.5, 0], [0.5, 0]]  # torch's amax parts its gradient
    assert of["max_seq_mean"] == of["maxpool"] == [[0.5, 0.5], [0, 0]]  # `larger` hands it to the lowest layer


def test_half_precision_still_makes_one_in_total() -> None:
    hidden, mask = random_batch([300, 7], 8, 4, torch.float32).padded((1, 2, 3, 4))
    states = [h.detach().bfloat16() for h in hidden]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for name in HAVING:
            pooler = build(name, 8, 4).eval()
            found = shares(pooler, [states[layer - 1] for layer in pooler.layers], mask)
            torch.testing.assert_close(found.sum((2, 3)), torch.ones_like(found[..., 0, 0]), rtol=1e-5, atol=1e-5)


def test_a_pooler_of_ones_own_has_its_shares_in_a_line() -> None:
    class LastTwo(Pooler):
        def __init__(self, d: int, num_layers: int) -> None:
            super().__init__(d, num_layers)
            self.layers = poolers.last_layers(2, num_layers)

        def forward(self, hidden_states: Any, attention_mask: Tensor) -> Tensor:
            lower, upper = (poolers.first_token(h, attention_mask) for h in hidden_states)
            return 0.25 * lower + 0.75 * upper

    pooler = LastTwo(8, 3)
    batch = random_batch([4, 2], 8, 3).padded(pooler.layers)
    assert pooler.shares(*batch) is None
    found = taken(lambda states: pooler(states, batch[1]), batch[0])
    assert found[:, 0, :, 0].tolist() == [[0.25, 0.75]] * 2
    assert not found[..., 1:].any()
