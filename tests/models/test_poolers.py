"""Poolers: what every YAML in conf/pooling promises, as properties and against plain formulas."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from glue_pool import components
from glue_pool.errors import UserError
from glue_pool.models import poolers
from glue_pool.models.poolers import Pooler
from pooler_cases import (
    CLS_READERS,
    YAMLS,
    Array,
    Batch,
    Layers,
    Options,
    Parameters,
    average,
    build,
    cases,
    close,
    each_token,
    every_pooler,
    full_attention,
    keywords,
    largest,
    pooler_class,
    properties,
    random_batch,
    softmax,
    total,
    weighted,
    with_keyword,
)

MHA_FAMILY = ["mha", "maxpool", "mean_seq_mha", "sum_seq_mha"]


def seq_mha(fold: Callable[[list[Array]], Array], w: Parameters, x: Layers, o: Options) -> Array:
    folded = each_token(fold, x[-o.get("k", 1) :])
    z = full_attention(w, o, folded[0], folded)
    if o["residual"]:
        z = z + folded[0]
    if o["layer_norm"]:
        z = (z - z.mean()) / np.sqrt(z.var() + 1e-5) * w["norm.weight"] + w["norm.bias"]
    return z


def sigmoid(v: Array) -> Array:
    return 1 / (1 + np.exp(-v))


def lstm(w: Parameters, x: Layers, o: Options) -> Array:
    h = c = np.zeros(len(x[0][0]))
    for layer in x:
        gates = w["lstm.weight_ih_l0"] @ layer[0] + w["lstm.bias_ih_l0"]
        gates = gates + w["lstm.weight_hh_l0"] @ h + w["lstm.bias_hh_l0"]
        i, f, g, out = np.split(gates, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(out) * np.tanh(c)
    return np.asarray(w["out.weight"] @ h + w["out.bias"])


def layer_attention(w: Parameters, x: Layers, o: Options) -> Array:
    weights = softmax([float(w["query"] @ layer[0]) for layer in x])
    return np.asarray(w["out.weight"] @ weighted(weights, [y[0] for y in x]) + w["out.bias"])


def attention(w: Parameters, x: Layers, o: Options) -> Array:
    scores = [(w["score.weight"] @ np.tanh(w["inner.weight"] @ h)).item() for h in x[-1]]
    return weighted(softmax(scores), x[-1])


def gem(w: Parameters, x: Layers, o: Options) -> Array:
    powers = [np.array([max(value, o["eps"]) ** w["p"] for value in h]) for h in x[-1]]
    return np.asarray(average(powers) ** (1 / w["p"]))


def logsumexp(w: Parameters, x: Layers, o: Options) -> Array:
    return np.asarray(np.log(average([np.exp(o["r"] * h) for h in x[-1]])) / o["r"])


def scalar_mix(w: Parameters, x: Layers, o: Options) -> Array:
    shares = softmax([float(v) for v in w["weights"]])
    mixed = each_token(lambda layers: float(w["gamma"]) * weighted(shares, layers), x)
    return mixed[0] if o["then"] == "cls" else average(mixed)


def adapool(w: Parameters, x: Layers, o: Options) -> Array:
    query = average(x[-1])
    return full_attention(w, o, query, x[-1]) + query


def mlp_control(w: Parameters, x: Layers, o: Options) -> Array:
    inner = np.tanh(w["inner.weight"] @ x[-1][0] + w["inner.bias"])
    return np.asarray(w["gain"] * (w["outer.weight"] @ inner) + w["bias"])


FORMULAS: dict[str, Callable[[Parameters, Layers, Options], Array]] = {
    "cls": lambda w, x, o: x[-1][0],
    "bert": lambda w, x, o: x[-1][0],
    "mean": lambda w, x, o: average(x[-1]),
    "max": lambda w, x, o: largest(x[-1]),
    "mean_max": lambda w, x, o: np.concatenate([average(x[-1]), largest(x[-1])]),
    "first_last_mean": lambda w, x, o: (average(x[0]) + average(x[-1])) / 2,
    "attention": attention,
    "gem": gem,
    "logsumexp": logsumexp,
    "scalar_mix": scalar_mix,
    "concat_cls": lambda w, x, o: np.concatenate([layer[0] for layer in x[-o["k"] :]]),
    "mean_cls": lambda w, x, o: average([layer[0] for layer in x[-o["k"] :]]),
    "layer_lstm": lstm,
    "layer_attention": layer_attention,
    "max_cls": lambda w, x, o: largest([layer[0] for layer in x[-o["k"] :]]),
    "mha": lambda w, x, o: seq_mha(largest, w, x, o),
    "maxpool": lambda w, x, o: seq_mha(largest, w, x, o),
    "mean_seq_mha": lambda w, x, o: seq_mha(average, w, x, o),
    "sum_seq_mha": lambda w, x, o: seq_mha(total, w, x, o),
    "max_seq_mean": lambda w, x, o: average(each_token(largest, x[-o["k"] :])),
    "adapool": adapool,
    "mlp_control": mlp_control,
}


@every_pooler
def test_each_pooler_equals_its_formula(name: str) -> None:
    assert name in FORMULAS, f"write {name}'s formula into FORMULAS"

    @properties
    @given(cases(name))
    def check(case: tuple[Pooler, Options, Batch]) -> None:
        pooler, options, batch = case
        parameters = {k: v.double().numpy() for k, v in pooler.state_dict().items()}
        out = pooler(*batch.padded(pooler.layers))
        assert out.shape == (len(batch.sequences), pooler.out_dim)
        for z, sequence in zip(out, batch.sequences, strict=True):
            layers = [list(layer) for layer in sequence.double().numpy()]
            expected = FORMULAS[name](parameters, layers, options)
            close(z, torch.as_tensor(expected, dtype=z.dtype))

    check()


@every_pooler
def test_padding_does_not_change_any_pooler(name: str) -> None:
    fills = st.sampled_from([1e4, -1e4, 1e30, math.inf, -math.inf, math.nan])

    @properties
    @given(cases(name), st.integers(0, 9), st.booleans(), fills)
    def check(case: tuple[Pooler, Options, Batch], extra: int, left: bool, fill: float) -> None:
        pooler, _, batch = case
        hidden, mask = batch.padded(pooler.layers, extra=extra, left=left, fill=fill)
        out = pooler(hidden, mask)
        for i, sequence in enumerate(batch.sequences):
            close(out[i], pooler(*Batch([sequence]).padded(pooler.layers))[0])
        out.square().sum().backward()
        assert all((h.grad is not None and not h.grad[~mask].any()) for h in hidden)
        gradients = [h.grad for h in hidden] + [p.grad for p in pooler.parameters()]
        assert all(g is not None and g.isfinite().all() for g in gradients)

    check()


@every_pooler
@pytest.mark.parametrize("seed", range(3))
def test_gradients_reach_every_parameter(name: str, seed: int) -> None:
    torch.manual_seed(seed)
    variants: list[Options] = [{}]
    if name in MHA_FAMILY:
        variants.append({"residual": True, "layer_norm": True})
    for options in variants:
        pooler = build(name, 16, 5, **options).double()
        out = pooler(*random_batch([6, 4, 3], 16, 5, seed=seed).padded(pooler.layers))
        (out * torch.randn_like(out)).sum().backward()
        for key, parameter in pooler.named_parameters():
            assert parameter.grad is not None, key
            # A packed in-projection has to be reached in its query, key and value part.
            parts = parameter.grad.chunk(3) if "in_proj_weight" in key else [parameter.grad]
            assert all(part.abs().max() > 0 for part in parts), key


def test_poolers_of_cls_vectors_say_so() -> None:
    layers = {"max_cls", "mean_cls", "concat_cls", "scalar_mix", "layer_lstm", "layer_attention"}
    assert {"cls", "bert", "mlp_control"} | layers <= set(CLS_READERS)


@pytest.mark.parametrize("name", CLS_READERS)
def test_poolers_that_read_cls_need_nothing_else(name: str) -> None:
    @properties
    @given(cases(name), st.booleans())
    def check(case: tuple[Pooler, Options, Batch], left: bool) -> None:
        pooler, _, batch = case
        assume(pooler.reads == "cls")  # scalar_mix: then=mean reads tokens
        cls_only = Batch([s[:, :1] for s in batch.sequences])
        full = pooler(*batch.padded(pooler.layers, left=left, fill=1e4))
        close(full, pooler(*cls_only.padded(pooler.layers)))

    check()


@every_pooler
def test_yaml_holds_exactly_the_keywords_of_the_class_at_their_defaults(name: str) -> None:
    config = dict(YAMLS[name])
    assert config.pop("name") == name
    assert config.pop("tanh") == ("pretrained" if name == "bert" else "none")
    del config["_target_"]
    assert config == keywords(name)
    assert {k: type(v) for k, v in config.items()} == {k: type(v) for k, v in keywords(name).items()}


@every_pooler
def test_a_pooler_goes_by_its_name_in_the_package(name: str) -> None:
    assert components.full_name(pooler_class(name)) == YAMLS[name]["_target_"]


@every_pooler
def test_layers_are_ascending_and_within_the_encoder(name: str) -> None:
    pooler = build(name, 12, 6)
    assert list(pooler.layers) == sorted(set(pooler.layers))
    assert set(pooler.layers) <= set(range(1, 7))
    assert pooler.layers[-1] == 6


@pytest.mark.parametrize("name", with_keyword("k"))
def test_k_outside_the_encoder_is_refused(name: str) -> None:
    for k in (-1, 0, 7, 99):
        message = f"^pooling.k={k}: this encoder has 6 layers, so k lies in 1..6$"
        with pytest.raises(UserError, match=message):
            build(name, 12, 6, k=k)
    assert build(name, 12, 6, k=2).layers == (5, 6)
    assert build(name, 12, 6, k=6).layers == (1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize("name", with_keyword("num_heads"))
def test_heads_that_do_not_divide_d_are_refused(name: str) -> None:
    for heads in (-4, 0, 5, 768):
        message = f"^pooling.num_heads={heads} does not divide the encoder's d=384; .*1, 2, 3, 4"
        with pytest.raises(UserError, match=message):
            build(name, 384, 6, num_heads=heads)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        *[("gem", "p", p) for p in (0.0, -3.0, math.inf, math.nan)],
        *[("gem", "eps", eps) for eps in (0.0, -1e-6, math.inf, math.nan)],
        *[("logsumexp", "r", r) for r in (0.0, -1.0, math.inf, math.nan)],
        *[("attention", "inner_size", size) for size in (0, -8)],
        *[(name, "dropout", p) for name in MHA_FAMILY for p in (-0.1, 1.0, math.nan)],
        ("scalar_mix", "then", "max"),
    ],
)
def test_impossible_values_are_refused(name: str, key: str, value: object) -> None:
    with pytest.raises(UserError, match=f"^pooling.{key}={value} has to "):
        build(name, 8, 4, **{key: value})


def parameter_count(pooler: Pooler) -> int:
    return sum(p.numel() for p in pooler.parameters())


@pytest.mark.parametrize("name", [*MHA_FAMILY, "mlp_control"])
def test_mha_and_its_control_have_as_many_parameters(name: str) -> None:
    with torch.device("meta"):
        assert parameter_count(build(name, 768, 12)) == 2_362_368
        assert parameter_count(build(name, 384, 6)) == 4 * 384**2 + 4 * 384


@every_pooler
def test_poolers_build_on_the_meta_device(name: str) -> None:
    with torch.device("meta"):
        pooler = build(name, 16, 4)
    assert all(p.is_meta for p in pooler.parameters())
    state = build(name, 16, 4).state_dict()
    assert {k: v.shape for k, v in pooler.state_dict().items()} == {k: v.shape for k, v in state.items()}


@every_pooler
def test_the_global_seed_decides_the_start(name: str) -> None:
    def start(seed: int) -> list[Tensor]:
        torch.manual_seed(seed)
        return list(build(name, 16, 4).state_dict().values())

    assert all(torch.equal(a, b) for a, b in zip(start(1), start(1), strict=True))
    drawn = [not torch.equal(a, b) for a, b in zip(start(1), start(2), strict=True)]
    assert any(drawn) == any(p.ndim > 1 for p in build(name, 16, 4).parameters())


@pytest.mark.parametrize("name", [*MHA_FAMILY, "adapool"])
def test_mha_starts_xavier_uniform_with_zero_biases(name: str) -> None:
    torch.manual_seed(0)
    mha = build(name, 64, 4).attention
    assert isinstance(mha, nn.MultiheadAttention)
    for weight in (mha.in_proj_weight, mha.out_proj.weight):
        bound = math.sqrt(6 / sum(weight.shape))
        assert 0.98 * bound < weight.abs().max() <= bound
    for bias in (mha.in_proj_bias, mha.out_proj.bias):
        assert bias is None if name == "adapool" else not bias.any()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_single_query_attention_is_multihead_attention(bias: bool, dropout: float) -> None:
    @properties
    @given(st.integers(0, 2**31), st.sampled_from([1, 2, 4, 8]), st.booleans())
    def check(seed: int, heads: int, left: bool) -> None:
        torch.manual_seed(seed)
        mha = nn.MultiheadAttention(32, heads, dropout=dropout, bias=bias, batch_first=True)
        if bias:
            nn.init.normal_(mha.in_proj_bias)
        batch = random_batch([9, 1, 5], 32, 1, torch.float32, seed)
        (tokens,), mask = batch.padded((1,), extra=2, left=left, fill=1e4)
        query = torch.randn(3, 32)
        for training in (True, False):
            mha.train(training)
            torch.manual_seed(seed)  # the same weights are dropped
            expected, _ = mha(query.unsqueeze(1), tokens, tokens, key_padding_mask=~mask)
            torch.manual_seed(seed)
            actual = poolers.single_query_attention(mha, query, tokens, mask)
            torch.testing.assert_close(actual, expected.squeeze(1), rtol=1e-5, atol=1e-5)

    check()


@pytest.mark.parametrize("name", ["maxpool", "mean_seq_mha", "sum_seq_mha"])
def test_seq_mha_over_one_layer_is_mha(name: str) -> None:
    mha, seq = build("mha", 16, 4), build(name, 16, 4, k=1)
    seq.load_state_dict(mha.state_dict())
    assert seq.layers == mha.layers
    hidden, mask = random_batch([7, 3], 16, 4).padded(mha.layers)
    assert torch.equal(seq.double()(hidden, mask), mha.double()(hidden, mask))


@pytest.mark.parametrize("name", MHA_FAMILY)
def test_attention_dropout_acts_in_training_only(name: str) -> None:
    torch.manual_seed(0)
    pooler = build(name, 16, 4, dropout=0.5).double()
    inputs = random_batch([9, 8], 16, 4).padded(pooler.layers)
    assert not torch.equal(pooler(*inputs), pooler(*inputs))
    pooler.eval()
    assert torch.equal(pooler(*inputs), pooler(*inputs))


@every_pooler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bf16_autocast_stays_finite_and_near_fp32(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    pooler = build(name, 64, 4)
    batch = Batch([10 * s for s in random_batch([40, 300, 5], 64, 4, torch.float32).sequences])
    hidden, mask = batch.padded(pooler.layers, fill=1e4)
    hidden = [h.detach().to(dtype).requires_grad_() for h in hidden]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = pooler(hidden, mask)
    out.float().square().sum().backward()
    gradients = [h.grad for h in hidden] + [p.grad for p in pooler.parameters()]
    assert all(g is not None and g.isfinite().all() for g in gradients)
    expected = pooler([h.float() for h in hidden], mask)
    assert (out - expected).norm() < 0.05 * expected.norm()


@every_pooler
def test_a_pooler_in_bf16_takes_bf16_hidden_states(name: str) -> None:
    pooler = build(name, 16, 4).bfloat16()
    batch = random_batch([3, 9], 16, 4, torch.bfloat16)
    assert pooler(*batch.padded(pooler.layers)).dtype == torch.bfloat16


def test_logsumexp_runs_from_the_mean_to_the_max() -> None:
    (hidden,), mask = random_batch([9, 4], 8, 1, torch.float32).padded((1,))
    near_mean = build("logsumexp", 8, 1, r=1e-6)([hidden], mask)
    torch.testing.assert_close(near_mean, build("mean", 8, 1)([hidden], mask), rtol=0, atol=1e-5)
    near_max = build("logsumexp", 8, 1, r=1e6)([hidden], mask)
    torch.testing.assert_close(near_max, build("max", 8, 1)([hidden], mask), rtol=0, atol=1e-5)


def test_gem_runs_from_the_mean_to_the_max_of_positive_activations() -> None:
    (hidden,), mask = random_batch([9, 4], 8, 1, torch.float32).padded((1,))
    hidden = 100 * hidden.abs()
    mean = build("gem", 8, 1, p=1.0)([hidden], mask)
    torch.testing.assert_close(mean, build("mean", 8, 1)([hidden], mask))
    near_max = build("gem", 8, 1, p=1e5)([hidden], mask)
    torch.testing.assert_close(near_max, build("max", 8, 1)([hidden], mask), rtol=1e-4, atol=0)


def test_mixes_of_layers_start_as_their_mean() -> None:
    hidden, mask = random_batch([5, 2], 8, 4, torch.float32).padded((1, 2, 3, 4))
    mean = build("mean_cls", 8, 4, k=4)(hidden, mask)
    torch.testing.assert_close(build("scalar_mix", 8, 4)(hidden, mask), mean)
    layers = build("layer_attention", 8, 4)
    assert isinstance(layers, poolers.LayerAttention)
    torch.testing.assert_close(layers(hidden, mask), layers.out(mean))


def test_first_token_is_the_first_real_one() -> None:
    hidden = torch.arange(12.0).reshape(3, 4, 1)
    mask = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1], [0, 1, 1, 0]]).bool()
    assert poolers.first_token(hidden, mask).flatten().tolist() == [0, 6, 9]


@every_pooler
def test_folding_before_padding_changes_nothing(name: str) -> None:
    pooler = build(name, 16, 5).eval()
    hidden, mask = random_batch([6, 4, 1], 16, 5).padded(pooler.layers)
    pooler.double()
    folded = pooler.fold(hidden)
    close(pooler(folded, mask), pooler(hidden, mask))
    assert all(torch.equal(once, twice) for once, twice in zip(folded, pooler.fold(folded), strict=True))
    token = pooler.fold([layer[:1, 2:3] for layer in hidden])
    assert all(torch.equal(whole[:1, 2:3], alone) for whole, alone in zip(folded, token, strict=True))


@given(st.integers(0, 2**31))
@properties
def test_larger_is_the_maximum_with_its_gradient(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b, gradient = torch.randn(3, 4, 5, generator=generator, dtype=torch.float64)
    found, expected = ([x.clone().requires_grad_() for x in (a, b)] for _ in range(2))
    poolers.larger(*found).backward(gradient)
    torch.maximum(*expected).backward(gradient)
    assert torch.equal(poolers.larger(a, b), torch.maximum(a, b))
    assert all(torch.equal(x.grad, y.grad) for x, y in zip(found, expected, strict=True))
    assert poolers.larger(torch.tensor(math.nan), torch.tensor(1.0)).isnan()
    assert poolers.larger(torch.tensor(1.0), torch.tensor(math.nan)).isnan()
