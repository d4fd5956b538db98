"""Kernels whose numbers do not depend on threads: torch's own numbers on one thread, and the same on several."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glue_pool import threads
from glue_pool.models.steady import LayerNorm, Steady, settle

SEVERAL = (2, 3, 4, 8)
Computed = Callable[[], Sequence[Tensor]]


def on(number: int, compute: Computed) -> Sequence[Tensor]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        torch.manual_seed(0)
        return compute()
    finally:
        torch.set_num_threads(before)


def same(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def check(ours: Computed, theirs: Computed) -> None:
    """Ours are torch's on one thread, and stay so on several, where torch's may differ."""
    expected = on(1, theirs)
    for number in (1, *SEVERAL):
        assert same(on(number, ours), expected), number


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("rows", "bias"), [(1, True), (37, True), (700, True), (700, False)])
def test_a_layer_norm(dtype: torch.dtype, rows: int, bias: bool) -> None:
    norm, settled = nn.LayerNorm(96, eps=1e-12, bias=bias), nn.LayerNorm(96, eps=1e-12, bias=bias)
    settled.load_state_dict(norm.state_dict())
    settle(settled)
    assert type(settled) is LayerNorm
    x, gradient = torch.randn(2, 1, rows, 96).to(dtype)
    x.requires_grad_()

    def of(module: nn.LayerNorm) -> Computed:
        def compute() -> Sequence[Tensor]:
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                normed = module(x)
            return normed, *torch.autograd.grad(normed, [x, *module.parameters()], gradient.to(normed.dtype))

        return compute

    check(of(settled), of(norm))


def test_torchs_own_layer_norm_and_softmax_do_depend_on_threads() -> None:
    """Else the module has no reason to be."""
    norm, x = nn.LayerNorm(96), torch.randn(700, 96)
    assert not same(
        *(on(n, lambda: torch.autograd.grad(norm(x).pow(3).sum(), [norm.weight])) for n in (1, 4)),
    )
    scores, gradient = torch.randn(2, 36, 23, 23)
    scores.requires_grad_()
    assert not same(*(on(n, lambda: torch.autograd.grad(scores.softmax(-1), [scores], gradient)) for n in (1, 4)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dim", [-1, 1])
@pytest.mark.parametrize(
    "softmax",
    [
        lambda x, dim: F.softmax(x, dim),
        lambda x, dim: F.softmax(x, dim, dtype=torch.float32),
        lambda x, dim: torch.softmax(x, dim),
        lambda x, dim: x.softmax(dim),
        lambda x, dim: nn.Softmax(dim)(x),
    ],
)
def test_a_softmax_whoever_calls_it(softmax: Callable[[Tensor, int], Tensor], dim: int, dtype: torch.dtype) -> None:
    x = torch.randn(36, 23, 19).to(dtype).requires_grad_()
    gradient = torch.randn(36, 23, 19)

    def ours() -> Sequence[Tensor]:
        with Steady():
            weights = softmax(x, dim)
        return weights, *torch.autograd.grad(weights, [x], gradient.to(weights.dtype))

    def theirs() -> Sequence[Tensor]:
        last = x.movedim(dim, -1).contiguous()
        weights = softmax(last, -1).movedim(-1, dim)
        return weights, *torch.autograd.grad(weights, [x], gradient.to(weights.dtype))

    check(ours, theirs)


def test_a_softmax_in_another_form_is_torchs() -> None:
    x = torch.randn(3, 4, requires_grad=True)
    with Steady(), pytest.warns(UserWarning, match="Implicit dimension"):
        assert torch.equal(F.softmax(x), x.softmax(1))
    with Steady():
        out = torch.empty(3, 4)
        torch.softmax(x.detach(), -1, out=out)
    assert torch.equal(out, x.softmax(-1))


@pytest.mark.parametrize("boolean", [True, False])
def test_attention_with_dropout_is_torchs_up_to_rounding(boolean: bool) -> None:
    q, k, v, gradient = (torch.randn(8, 4, 37, 16) for _ in range(4))
    mask = torch.arange(37)[None] < torch.randint(5, 37, (8, 1))
    if boolean:
        mask[3] = False  # its rows see nothing
    bias = mask if boolean else torch.zeros(8, 37).masked_fill(~mask, -10_000.0)
    for x in (q, k, v):
        x.requires_grad_()

    def compute() -> Sequence[Tensor]:
        out = F.scaled_dot_product_attention(q, k, v, bias[:, None, None], dropout_p=0.1, scale=0.2)
        return out, *torch.autograd.grad(out, [q, k, v], gradient)

    with Steady():
        ours = {number: on(number, compute) for number in (1, *SEVERAL)}
    assert all(same(ours[1], others) for others in ours.values())
    for mine, theirs in zip(ours[1], on(1, compute), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("d", [64, 128, 256, 384, 768])
def test_products_of_an_encoders_sizes_do_not_depend_on_threads(d: int, dtype: torch.dtype) -> None:
    for tokens in (1, 2, 5, 37, 352, 2500, 4096, 16_384):
        for inputs, outputs in ((d, d), (d, 4 * d), (4 * d, d), (d, 2)):
            x, gradient = (torch.randn(tokens, size).to(dtype) for size in (inputs, outputs))
            weight, bias = torch.randn(outputs, inputs).to(dtype), torch.randn(outputs).to(dtype)

            def compute(
                x: Tensor = x, gradient: Tensor = gradient, weight: Tensor = weight, bias: Tensor = bias
            ) -> Sequence[Tensor]:
                return F.linear(x, weight, bias), gradient @ weight, gradient.T @ x, gradient.sum(0)

            alone = on(1, compute)
            for number in {2, 4} & set(range(1, threads.unsplit(d) + 1)):
                assert same(on(number, compute), alone), (tokens, inputs, outputs, number)
