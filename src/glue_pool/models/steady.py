"""Kernels that give the same bits on any number of CPU threads, in the place of those of torch that don't.

Threads share out the elements of a result, each computed as one thread would, in nearly every kernel that training
runs. Not so in two backward passes: a layer norm's weight and bias sum over all tokens, each thread over its own, and
the softmax in fp32 is compiled otherwise where one thread runs it. Both are left to one thread here. MKL, which
multiplies in fp32, shares out the terms of a sum, too, unless it is told not to before its first product.
"""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")


@contextmanager
def alone() -> Iterator[None]:
    """Compute on one CPU thread inside the block; to change their number takes a tenth of a microsecond."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class Steady(TorchFunctionMode):
    """Inside it, softmax and attention with dropout on the CPU are those of this module, whoever calls them."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, or what takes its place."""
        if (ours := _INSTEAD.get(func)) and torch.is_grad_enabled():
            return ours(func, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def softmax(input: Tensor, dim: int = -1, *, dtype: torch.dtype | None = None) -> Tensor:
    """Return `F.softmax`."""
    x = input if dtype is None else input.to(dtype)
    if x.device.type != "cpu" or not torch.is_grad_enabled():
        return F.softmax(x, dim)
    weights: Tensor = _Softmax.apply(x.movedim(dim, -1).contiguous())  # type: ignore[no-untyped-call]
    return weights.movedim(-1, dim)


def _softmax(
    torchs: Callable[..., Tensor], input: Tensor, dim: int | None = None, *stacklevel: int, **others: Any
) -> Tensor:
    dtype = others.pop("dtype", None)
    others.pop("_stacklevel", None)
    if dim is None or stacklevel[1:] or others:  # F.softmax then chooses the dimension; there is an out
        return torchs(input, dim, *stacklevel, dtype=dtype, **others)
    return softmax(input, dim, dtype=dtype)


def _attention(
    torchs: Callable[..., Tensor],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **others: Any,
) -> Tensor:
    """Return `F.scaled_dot_product_attention`, with dropout by the same steps as torch takes on a CPU."""
    scale, rest = others.get("scale"), any(others.get(name) for name in others if name != "scale")
    if not dropout_p or is_causal or rest or query.device.type != "cpu":
        return torchs(query, key, value, attn_mask, dropout_p, is_causal, **others)
    scores = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if attn_mask is not None:
        bias = attn_mask
        if bias.dtype == torch.bool:
            bias = torch.zeros_like(bias, dtype=scores.dtype).masked_fill(~bias, -math.inf)
        scores = scores + bias
    nowhere = (scores == -math.inf).all(-1, keepdim=True)  # a row that sees nothing: its weights are 0, as torch has it
    weights = softmax(scores.masked_fill(nowhere, 0)).masked_fill(nowhere, 0)
    return F.dropout(weights.to(value.dtype), dropout_p) @ value


_INSTEAD: dict[Any, Callable[..., Tensor]] = {
    F.softmax: _softmax,
    torch.softmax: _softmax,
    Tensor.softmax: _softmax,
    F.scaled_dot_product_attention: _attention,
}


def softmax_backward(gradient: Tensor, weights: Tensor) -> Tensor:
    """Return the gradient of a softmax's input over the last dimension, from that of its output."""
    if weights.dtype == torch.bfloat16:
        return torch._softmax_backward_data(gradient, weights, -1, weights.dtype)
    with alone():
        return torch._softmax_backward_data(gradient, weights, -1, weights.dtype)


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        weights = torch.softmax(x, -1)
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (weights,) = ctx.saved_tensors
        return softmax_backward(gradients[0], weights)


class LayerNorm(nn.LayerNorm):
    """`nn.LayerNorm`, whose weight and bias get their gradients on one thread."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise over the last dimensions of a tensor of any shape."""
        if input.device.type != "cpu" or not torch.is_grad_enabled() or self.weight is None:
            return super().forward(input)
        normed: Tensor = _Normed.apply(input, self.weight, self.bias, self.normalized_shape, self.eps)  # type: ignore[no-untyped-call]
        return normed


class _Normed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, shape: tuple[int, ...], eps: float) -> Tensor:
        normed, mean, deviation = torch.native_layer_norm(x, shape, weight, bias, eps)
        ctx.save_for_backward(x, mean, deviation, weight, bias)
        ctx.shape = shape
        return normed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, deviation, weight, bias = ctx.saved_tensors
        kernel = torch.ops.aten.native_layer_norm_backward
        facts = (gradients[0].contiguous(), x, ctx.shape, mean, deviation, weight, bias)
        of_x, of_weight, of_bias = ctx.needs_input_grad[:3]
        d_x = kernel(*facts, [True, False, False])[0] if of_x else None
        d_weight = d_bias = None
        if of_weight or of_bias:
            with alone():
                _, d_weight, d_bias = kernel(*facts, [False, of_weight, of_bias])
        return d_x, d_weight, d_bias, None, None


def settle(module: nn.Module) -> None:
    """Let every `nn.LayerNorm` inside a module be one of these; not a subclass of it, which may compute otherwise."""
    for inner in module.modules():
        if type(inner) is nn.LayerNorm:
            inner.__class__ = LayerNorm  # the same parameters, hooks and place
