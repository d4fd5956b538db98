"""Cheap dropout masks drop what `nn.Dropout` would: the share asked for, independently, scaled to keep the mean."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from glue_pool.models.dropout import Dropout, apply_mask, cheapen, keep_mask


@settings(deadline=None, max_examples=20)
@given(p=st.floats(0.01, 0.95), seed=st.integers(0, 100))
def test_a_mask_drops_the_share_asked_for(p: float, seed: int) -> None:
    torch.manual_seed(seed)
    mask, scale = keep_mask((200, 500), p)
    kept = (mask == -1).double()
    assert ((mask == 0) | (mask == -1)).all()
    assert abs(kept.mean() - (1 - p)) < 5 * (p * (1 - p) / 100_000) ** 0.5 + 2**-15
    assert scale == pytest.approx(1 / (1 - p), rel=1e-3 / (1 - p))
    for neighbour in (kept[:, 1:] * kept[:, :-1], kept[1:] * kept[:-1]):  # independent of each other
        assert abs(neighbour.mean() - (1 - p) ** 2) < 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_kept_is_untouched_and_the_gradient_goes_where_the_value_went(dtype: torch.dtype) -> None:
    x = torch.randn(7, 33, dtype=dtype, requires_grad=True)
    torch.manual_seed(0)
    dropped = Dropout(0.25).train()(x)
    torch.manual_seed(0)
    mask, scale = keep_mask((7, 33), 0.25)
    expected = torch.where(mask == -1, x.detach() * scale, 0)
    torch.testing.assert_close(dropped, expected.to(dtype))
    dropped.backward(torch.ones_like(x))
    torch.testing.assert_close(x.grad, ((mask == -1) * scale).to(dtype))


def test_special_values_survive_a_mask() -> None:
    x = torch.tensor([float("inf"), -0.0, float("nan"), 3.0])
    assert apply_mask(x, torch.tensor([0, 0, 0, -1], dtype=torch.int16)).tolist() == [0, 0, 0, 3]


def test_evaluation_and_p_0_drop_nothing() -> None:
    x = torch.randn(5)
    assert Dropout(0.5).eval()(x) is x
    assert torch.equal(Dropout(0.0).train()(x), x)


def test_something_is_kept_whatever_p_rounds_to_and_a_p_of_1_is_refused() -> None:
    torch.manual_seed(0)
    mask, scale = keep_mask((2**20,), 0.999999)
    assert scale == 2**15
    assert 0 < (mask == -1).sum() < 100
    with pytest.raises(ValueError, match="has to be at least 0 and below 1"):
        cheapen(nn.Sequential(nn.Dropout(1.0)))


def test_every_dropout_inside_a_module_is_replaced() -> None:
    module = nn.Sequential(nn.Dropout(0.3), nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.2)))
    cheapen(module)
    assert [m.p for m in module.modules() if isinstance(m, Dropout)] == [0.3, 0.2]
    assert not [m for m in module.modules() if type(m) is nn.Dropout]
