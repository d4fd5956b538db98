"""What tests of poolers share: each YAML's pooler of random size and options, ragged batches, parts of formulas."""

import importlib
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import Tensor

from conftest import choices
from glue_pool.choices import CONF
from glue_pool.models.poolers import Pooler

Options = dict[str, Any]
YAMLS = {name: dict(OmegaConf.load(CONF / "pooling" / f"{name}.yaml")) for name in choices("pooling")}


def pooler_class(name: str) -> type[Pooler]:
    module, _, cls = str(YAMLS[name]["_target_"]).rpartition(".")
    found: type[Pooler] = getattr(importlib.import_module(module), cls)
    assert issubclass(found, Pooler)
    return found


def keywords(name: str) -> Options:
    """The class's keyword hyper-parameters and their defaults."""
    parameters = inspect.signature(pooler_class(name)).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


def build(name: str, d: int, num_layers: int, **options: Any) -> Pooler:
    cls: Callable[..., Pooler] = pooler_class(name)
    return cls(d, num_layers, **options)


def with_keyword(key: str) -> list[str]:
    return [name for name in YAMLS if key in keywords(name)]


CLS_READERS = [name for name in YAMLS if build(name, 8, 8).reads == "cls"]
every_pooler = pytest.mark.parametrize("name", YAMLS)
properties = settings(max_examples=30, deadline=None)


@dataclass
class Batch:
    """Ragged sequences: for each one, its layers 1..L as a `(layers, tokens, d)` tensor."""

    sequences: list[Tensor]

    def padded(
        self, layers: tuple[int, ...], *, extra: int = 0, left: bool = False, fill: float = 0.0
    ) -> tuple[list[Tensor], Tensor]:
        num_layers, _, d = self.sequences[0].shape
        tokens = max(s.shape[1] for s in self.sequences) + extra
        hidden = self.sequences[0].new_full((num_layers, len(self.sequences), tokens, d), fill)
        mask = torch.zeros(len(self.sequences), tokens, dtype=torch.bool)
        for i, s in enumerate(self.sequences):
            at = slice(tokens - s.shape[1], tokens) if left else slice(0, s.shape[1])
            hidden[:, i, at] = s
            mask[i, at] = True
        return [hidden[layer - 1].clone().requires_grad_() for layer in layers], mask


def random_batch(
    lengths: list[int], d: int, num_layers: int, dtype: torch.dtype = torch.float64, seed: int = 0
) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    return Batch([torch.randn(num_layers, n, d, generator=generator, dtype=dtype) for n in lengths])


@st.composite
def cases(draw: st.DrawFn, name: str) -> tuple[Pooler, Options, Batch]:
    """A pooler of random size, options and parameters, and a batch for it."""
    d, num_layers = draw(st.sampled_from([4, 8, 12])), draw(st.integers(1, 6))
    drawable: dict[str, st.SearchStrategy[Any]] = {
        "k": st.integers(1, num_layers),
        "num_heads": st.sampled_from([1, 2, 4]),
        "residual": st.booleans(),
        "layer_norm": st.booleans(),
        "inner_size": st.none() | st.integers(1, 9),
        "p": st.floats(0.5, 6),
        "r": st.floats(0.01, 20),
        "eps": st.sampled_from([1e-6, 1e-3]),
        "then": st.sampled_from(["cls", "mean"]),
    }
    options = {k: draw(drawable[k]) if k in drawable else v for k, v in keywords(name).items()}
    seed, dtype = draw(st.integers(0, 2**31)), draw(st.sampled_from([torch.float32, torch.float64]))
    torch.manual_seed(seed)
    pooler = build(name, d, num_layers, **options).to(dtype).eval()
    with torch.no_grad():
        for parameter in pooler.parameters():  # so that no bias is 0
            parameter.add_(0.3 * torch.rand_like(parameter))
    lengths = draw(st.lists(st.integers(1, 7), min_size=1, max_size=4))
    return pooler, options, random_batch(lengths, d, num_layers, dtype, seed)


def close(actual: Tensor, expected: Tensor) -> None:
    tolerance = 1e-4 if actual.dtype == torch.float32 else 1e-9
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


# Parts of the formulas of METHODS, one sequence at a time without padding, on numpy arrays: x[l][t] is layer l+1's
# vector at token t, w the pooler's parameters by name.

Array = np.ndarray[Any, np.dtype[np.float64]]
Layers = list[list[Array]]
Parameters = dict[str, Array]


def softmax(scores: list[float]) -> list[float]:
    total = sum(math.exp(s) for s in scores)
    return [math.exp(s) / total for s in scores]


def weighted(weights: list[float], vectors: list[Array]) -> Array:
    return sum((a * v for a, v in zip(weights, vectors, strict=True)), np.zeros_like(vectors[0]))


def average(vectors: list[Array]) -> Array:
    return weighted([1 / len(vectors)] * len(vectors), vectors)


def total(vectors: list[Array]) -> Array:
    return weighted([1.0] * len(vectors), vectors)


def largest(vectors: list[Array]) -> Array:
    return np.array([max(v[j] for v in vectors) for j in range(len(vectors[0]))])


def each_token(fold: Callable[[list[Array]], Array], x: Layers) -> list[Array]:
    return [fold([layer[t] for layer in x]) for t in range(len(x[0]))]


def full_attention(w: Parameters, o: Options, query: Array, tokens: list[Array]) -> Array:
    d = len(query)
    size = d // o["num_heads"]
    projection = np.split(w["attention.in_proj_weight"], 3)[2]
    bias = np.split(w.get("attention.in_proj_bias", np.zeros(3 * d)), 3)[2]
    values = [projection @ token + bias for token in tokens]
    heads = [
        weighted(weights, [value[head * size : (head + 1) * size] for value in values])
        for head, weights in enumerate(attention_weights(w, o, query, tokens))
    ]
    z: Array = w["attention.out_proj.weight"] @ np.concatenate(heads)
    return z + w.get("attention.out_proj.bias", np.zeros(d))


def attention_weights(w: Parameters, o: Options, query: Array, tokens: list[Array]) -> list[list[float]]:
    """By head."""
    d = len(query)
    size = d // o["num_heads"]
    w_q, w_k, _ = np.split(w["attention.in_proj_weight"], 3)
    b_q, b_k, _ = np.split(w.get("attention.in_proj_bias", np.zeros(3 * d)), 3)
    q, keys = w_q @ query + b_q, [w_k @ token + b_k for token in tokens]
    heads = [slice(head * size, (head + 1) * size) for head in range(o["num_heads"])]
    return [softmax([float(q[at] @ key[at]) / math.sqrt(size) for key in keys]) for at in heads]
