"""Dropout whose masks cost little on a CPU, where torch draws one Bernoulli number at a time on one thread.

An element is dropped if 15 random bits of torch's generator, read as a number, fall below p * 2^15: p = 0.1 becomes
3277/32768 = 0.10001, and what is kept is scaled by exactly that. A mask is all ones or all zeros in every element,
so that applying it is a bitwise `and`.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn


def keep_mask(shape: tuple[int, ...], p: float) -> tuple[Tensor, float]:
    """Draw an int16 mask on the CPU, 0 with probability p and else -1; return it with the scale of what it keeps."""
    count, dropped = math.prod(shape), min(round(p * 2**15), 2**15 - 1)  # some are kept, else there is no scale
    bits = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    mask = bits.view(torch.int16)[:count].bitwise_right_shift_(1)  # 15 bits, so that the difference can't overflow
    mask = mask.neg_().add_(dropped - 2**14 - 1).bitwise_right_shift_(15)  # its sign, in every bit
    return mask.view(shape), 2**15 / (2**15 - dropped)


def apply_mask(x: Tensor, mask: Tensor) -> Tensor:
    """Return x where the mask is -1, and 0 elsewhere."""
    if x.element_size() == 4:
        mask = mask.int()
    return x.view(mask.dtype).bitwise_and(mask).view(x.dtype)


class Dropout(nn.Dropout):
    """`nn.Dropout` with cheap masks on the CPU, and itself elsewhere."""

    def forward(self, input: Tensor) -> Tensor:
        """Drop elements of a tensor of any shape while training."""
        if self.training and self.p > 0 and input.device.type == "cpu":
            dropped: Tensor = _Dropped.apply(input, self.p)  # type: ignore[no-untyped-call]
            return dropped
        return super().forward(input)


def cheapen(module: nn.Module) -> None:
    """Replace every `nn.Dropout` inside a module; raises ValueError where one keeps nothing, or is no probability."""
    for name, child in module.named_children():
        if type(child) is nn.Dropout:
            if not 0 <= child.p < 1:
                raise ValueError(f"dropout of {child.p}, which has to be at least 0 and below 1")
            setattr(module, name, Dropout(child.p))
        else:
            cheapen(child)


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float) -> Tensor:
        mask, ctx.scale = keep_mask(tuple(x.shape), p)
        ctx.save_for_backward(mask)
        return apply_mask(x, mask).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        return apply_mask(gradients[0].contiguous(), mask).mul_(ctx.scale), None
