"""Edits: duplicated layers, temperature, and tokens that leave on the way, held against transformers' own layers."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from glue_pool.data.layout import Layout, layout
from glue_pool.errors import UserError
from glue_pool.models import families, pretrained
from glue_pool.models.edit import Edit
from glue_pool.models.edits.duplicate import Duplicate
from glue_pool.models.edits.temperature import Temperature
from glue_pool.models.encoder import Encoder
from glue_pool.schema import EncoderConfig
from models.test_encoder import FAMILIES, LENGTHS, PACKED, SIZES, tokens

L = 3  # of the small encoders
Make = Callable[..., Encoder]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """`make("bert", Duplicate(repeat=[1]))` is a small random encoder of that family, edited, in evaluation."""
    folders: dict[str, Path] = {}

    def encoder(family: str, edit: Edit | None = None, batching: str = "auto") -> Encoder:
        if family not in folders:
            torch.manual_seed(0)
            folders[family] = tmp_path_factory.mktemp(family)
            model = AutoModel.from_config(AutoConfig.for_model(family, **(SIZES | FAMILIES[family])))
            model.save_pretrained(folders[family])
        cfg = EncoderConfig(name=str(folders[family]))
        edit = edit or Edit()
        config = pretrained.read_config(cfg, folders[family], edit)
        return pretrained.load(cfg, folders[family], config, families.batching(config, batching), edit)[0].eval()

    return encoder


def run(encoder: Encoder, lengths: list[int] = LENGTHS, layers: tuple[int, ...] | None = None) -> list[Tensor]:
    """All layers' states of some texts, `(tokens, d)` each."""
    ids, types = tokens(lengths)
    layers = layers or tuple(range(1, encoder.num_layers + 1))
    hidden = encoder(ids, types, layout(lengths), layers)
    return [hidden.tokens(layer) for layer in layers]


# layers that run twice


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "nomic_bert", "modernbert", "deberta-v2"])
@pytest.mark.parametrize("repeat", [[1], [-1], [1, 3]])
@torch.no_grad()
def test_a_repeated_layer_runs_again_on_its_own_output(make: Make, family: str, repeat: list[int]) -> None:
    plain, tied, untied = (
        make(family),
        make(family, Duplicate(repeat=repeat, tie=True)),
        make(family, Duplicate(repeat=repeat)),
    )
    assert tied.num_layers == untied.num_layers == L + len(repeat)
    states, copies = run(tied), run(untied)
    assert len(states) == L + len(repeat)
    assert all(torch.equal(a, b) for a, b in zip(states, copies, strict=True))
    before = run(plain)
    first = repeat[0] if repeat[0] > 0 else L
    if family != "modernbert" or first < L:  # whose last layer's states are those after its final norm
        assert all(torch.equal(a, b) for a, b in zip(states[:first], before[:first], strict=True))
    assert not torch.equal(states[first], states[first - 1])
    count = [sum(p.numel() for p in encoder.parameters()) for encoder in (plain, tied, untied)]
    blocks = [sum(p.numel() for p in plain.blocks[layer - 1 if layer > 0 else L - 1].parameters()) for layer in repeat]
    assert count == [count[0], count[0], count[0] + sum(blocks)]
    assert not torch.equal(states[-1], before[-1])


def test_the_gradient_of_a_tied_layer_is_the_sum_of_both_runs(make: Make) -> None:
    tied, untied = make("bert", Duplicate(repeat=[2], tie=True)), make("bert", Duplicate(repeat=[2]))
    for encoder in (tied, untied):
        run(encoder)[-1].square().sum().backward()
    shared = dict(tied.blocks[1].named_parameters())
    first, second = (dict(untied.blocks[i].named_parameters()) for i in (1, 2))
    assert tied.blocks[1] is tied.blocks[2]
    for name, parameter in shared.items():
        once, again = first[name].grad, second[name].grad
        assert once is not None
        assert again is not None
        torch.testing.assert_close(parameter.grad, once + again, rtol=1e-4, atol=1e-5)


def test_no_repetition_is_the_encoder_itself_and_what_has_no_layers_of_its_own_refuses(make: Make) -> None:
    assert all(
        torch.equal(a, b) for a, b in zip(run(make("bert", Duplicate(repeat=[]))), run(make("bert")), strict=True)
    )
    assert make("albert", Duplicate(repeat=[])).num_layers == L
    with pytest.raises(UserError, match="edit=duplicate: this albert encoder shares its layers"):
        make("albert", Duplicate(repeat=[1]))


# temperature


def sharpened(encoder: Encoder, tau: float) -> Encoder:
    """The same encoder with queries divided by tau, which is the same for attention without relative positions."""
    encoder = copy.deepcopy(encoder)
    for name, module in encoder.named_modules():
        if isinstance(module, nn.Linear) and name.endswith(("query", "q_lin", "q_proj")):
            with torch.no_grad():
                for parameter in module.parameters():
                    parameter.div_(tau)
    return encoder


@pytest.mark.parametrize("family", [name for name in PACKED if name != "modernbert"])
@pytest.mark.parametrize("batching", ["packed", "padded"])
@torch.no_grad()
def test_a_temperature_divides_the_scores(make: Make, family: str, batching: str) -> None:
    plain = make(family, batching=batching)
    for tau in (0.5, 2.0):
        for got, wanted in zip(
            run(make(family, Temperature(tau=tau), batching)), run(sharpened(plain, tau)), strict=True
        ):
            torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)
    assert not torch.equal(run(make(family, Temperature(tau=0.5), batching))[-1], run(plain)[-1])


@torch.no_grad()
def test_scores_0_and_ln_3_become_a_tenth_and_nine_tenths_at_one_half(make: Make) -> None:
    encoder = make("bert", Temperature(tau=0.5))
    attention = encoder.blocks[0].get_submodule("attention.self")
    width = 32 // 4
    key = torch.zeros(1, 4, 2, width)
    key[:, :, 1, 0] = torch.log(torch.tensor(3.0)) / width**-0.5  # so that q.k scale is (0, ln 3)
    query = torch.zeros_like(key)
    query[..., 0] = 1
    value = torch.eye(2, width).expand(1, 4, 2, width)
    encoder._running.start(layout([2]))
    from glue_pool.models.packing import packed_attention

    scaling = attention.scaling
    output, _ = packed_attention(attention, query, key, value, None, scaling=scaling)  # type: ignore[arg-type]
    torch.testing.assert_close(output[0, 0, :, :2], torch.tensor([[0.1, 0.9]] * 4))


@torch.no_grad()
def test_a_temperature_of_evaluation_leaves_training_alone(make: Make) -> None:
    plain, edited = make("bert"), make("bert", Temperature(tau=0.5, where="evaluation"))
    always = make("bert", Temperature(tau=0.5))
    assert torch.equal(run(edited)[-1], run(always)[-1])
    for encoder in (plain, edited):
        encoder.train()
    states = []
    for encoder in (plain, edited):
        torch.manual_seed(0)
        states.append(run(encoder)[-1])
    assert torch.equal(*states)
    assert torch.equal(run(edited.eval())[-1], run(always)[-1])


@torch.no_grad()
def test_a_temperature_of_some_layers_starts_there(make: Make) -> None:
    plain, edited = run(make("bert")), run(make("bert", Temperature(layers=[2])))
    assert torch.equal(edited[0], plain[0])
    assert not torch.equal(edited[1], plain[1])


@pytest.mark.parametrize("family", ["modernbert", "deberta-v2", "mpnet"])
def test_attention_without_a_scale_of_its_own_refuses_a_temperature(make: Make, family: str) -> None:
    with pytest.raises(
        UserError, match=f"edit=temperature: the attention of this {family} encoder has no scale to divide"
    ):
        make(family, Temperature())


# tokens that leave between two layers


class Shorter(Edit):
    """Before layer 2 every text keeps the first share of its tokens; before layer 3, where that is asked, again."""

    shortens = True

    def __init__(self, share: float, layers: tuple[int, ...] = (2,)) -> None:
        self.share, self.layers = share, layers

    def before_layer(self, layer: int, hidden: Tensor, layout: Layout) -> tuple[Tensor, Tensor | None]:
        if layer not in self.layers:
            return hidden, None
        ends = torch.cat([layout.starts[1:], torch.tensor([len(hidden)])])
        lengths = (ends - layout.starts).tolist()
        kept = [max(1, round(self.share * n)) for n in lengths]
        return hidden, torch.cat([torch.arange(s, s + n) for s, n in zip(layout.starts.tolist(), kept, strict=True)])


SHORTENS = [name for name in PACKED if name != "modernbert"]


def by_hand(encoder: Encoder, ids: Tensor, types: Tensor, edit: Shorter) -> list[Tensor]:
    """The states of one text, layer by layer through the family's own modules; all at the tokens that survive."""
    seen: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    handle = encoder.blocks[0].register_forward_pre_hook(
        lambda _, args, kwargs: seen.append((args, kwargs)), with_kwargs=True
    )
    encoder(ids, types, layout([len(ids)]), (1,))
    handle.remove()
    (hidden, *rest), kwargs = seen[0]
    states: list[Tensor] = []
    for layer, block in enumerate(encoder.blocks, 1):
        if layer in edit.layers:
            n = max(1, round(edit.share * hidden.shape[1]))
            hidden = hidden[:, :n]
            states = [state[:n] for state in states]
            if "position_embeddings" in kwargs:
                kwargs["position_embeddings"] = tuple(part[:, :n] for part in kwargs["position_embeddings"])
        encoder._running.start(layout([hidden.shape[1]]))
        output = block(hidden, *rest, **kwargs)
        hidden = output[0] if isinstance(output, tuple) else output
        states.append(hidden[0])
    return states


@pytest.mark.parametrize("family", SHORTENS)
@pytest.mark.parametrize("layers", [(2,), (2, 3)])
@torch.no_grad()
def test_tokens_that_leave_are_gone_in_the_layers_above(make: Make, family: str, layers: tuple[int, ...]) -> None:
    edit = Shorter(0.5, layers)
    encoder, plain = make(family, edit), make(family)
    ids, types = tokens(LENGTHS)
    hidden = encoder(ids, types, layout(LENGTHS), (1, 2, 3))
    kept = hidden.mask.sum(1).tolist()
    expected = LENGTHS
    for _ in layers:
        expected = [max(1, round(0.5 * n)) for n in expected]
    assert kept == expected
    for i, (text, of_type) in enumerate(zip(ids.split(LENGTHS), types.split(LENGTHS), strict=True)):
        wanted = by_hand(plain, text, of_type, edit)
        for layer in (1, 2, 3):
            got = hidden.pad(hidden.states[layer])[i][hidden.mask[i]]
            torch.testing.assert_close(got, wanted[layer - 1], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(hidden.cls(layer)[i], wanted[layer - 1][0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", SHORTENS)
@torch.no_grad()
def test_keeping_all_tokens_is_the_plain_encoder_bit_for_bit(make: Make, family: str) -> None:
    assert all(torch.equal(a, b) for a, b in zip(run(make(family, Shorter(1.0))), run(make(family)), strict=True))


def test_gradients_flow_to_tokens_that_stayed_alone(make: Make) -> None:
    encoder = make("bert", Shorter(0.5))
    ids, types = torch.tensor([2, 7, 8, 9]), torch.zeros(4, dtype=torch.long)
    hidden = encoder(ids, types, layout([4]), (3,))
    assert hidden.states[3].shape == (2, 32)
    hidden.states[3][1].square().cumsum(0).sum().backward()
    table = encoder.backbone.get_input_embeddings().weight.grad  # type: ignore[operator]
    assert (table[[2, 7, 8, 9]].abs().sum(1) > 0).all()  # the lower layer mixed all of them


class WithoutCls(Shorter):
    """Leaves [CLS] out."""

    def before_layer(self, layer: int, hidden: Tensor, layout: Layout) -> tuple[Tensor, Tensor | None]:
        return hidden, torch.arange(1, len(hidden))


class WithoutEnds(Edit):
    """Before layer 3 every text loses its first and its last token, but not [CLS]."""

    shortens = True

    def before_layer(self, layer: int, hidden: Tensor, layout: Layout) -> tuple[Tensor, Tensor | None]:
        if layer < 3:
            return hidden, None
        lengths = torch.bincount(torch.searchsorted(layout.starts, torch.arange(len(hidden)), right=True) - 1)
        inner = (layout.positions > 0) & (layout.positions < lengths.repeat_interleave(lengths) - 1)
        return hidden, (inner | torch.isin(torch.arange(len(hidden)), layout.cls)).nonzero().flatten()


@pytest.mark.parametrize(("place", "stay"), [(1, 2), (-2, 2), (-1, 1)])
@torch.no_grad()
def test_cls_is_found_where_tokens_around_it_left(make: Make, place: int, stay: int) -> None:
    lengths = [4, 7, 9]
    ids, types = tokens(lengths)
    left, plain = (make("bert", edit)(ids, types, layout(lengths, cls=place), (2, 3)) for edit in (WithoutEnds(), None))
    assert left.mask.sum(1).tolist() == [n - stay for n in lengths]
    assert torch.equal(left.cls(2), plain.cls(2))
    assert torch.equal(left.pad(left.states[3])[:, 0], left.cls(3))
    assert not torch.equal(left.cls(3), plain.cls(3))


class Forgetful(Shorter):
    """Does not say what it does."""

    shortens = False


class Norms(Edit):
    """Changes the config before there are modules."""

    def config(self, config: Any) -> None:
        config.layer_norm_eps = 0.5


def test_an_edit_may_change_the_config_before_the_modules_exist(make: Make) -> None:
    encoder = make("bert", Norms())
    assert {m.eps for m in encoder.modules() if isinstance(m, nn.LayerNorm)} == {0.5}
    assert encoder.config.layer_norm_eps == 0.5  # which a saved model has


class Given(Shorter):
    """Lets go on what it is given."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def before_layer(self, layer: int, hidden: Tensor, layout: Layout) -> tuple[Tensor, Tensor | None]:
        return hidden, self.rows


def test_what_would_go_wrong_is_refused(make: Make) -> None:
    with pytest.raises(UserError, match="the edit Shorter: it works between layers, on packed batches only"):
        make("bert", Shorter(0.5), "padded")
    with pytest.raises(UserError, match="it works between layers, on packed batches only"):
        make("deberta-v2", Shorter(0.5))
    with pytest.raises(UserError, match="would move this modernbert encoder's windows of attention"):
        make("modernbert", Shorter(0.5))
    with pytest.raises(UserError, match="would move this ultrabert encoder's windows of attention"):
        Encoder(ultrabert(), "packed", edit=Shorter(0.5))
    with pytest.raises(UserError, match="the edit Forgetful leaves tokens out; its class has to say shortens = True"):
        run(make("bert", Forgetful(0.5)))
    with pytest.raises(UserError, match=r"the edit WithoutCls: a sequence lost its \[CLS\]"):
        run(make("bert", WithoutCls(1.0)))
    for rows in (torch.tensor([2, 1, 0]), torch.ones(sum(LENGTHS), dtype=torch.bool)):
        with pytest.raises(UserError, match="the edit Given: the tokens that go on have to be ascending row numbers"):
            run(make("bert", Given(rows)))


def ultrabert() -> Any:
    """A config that lists something for each layer, and says its windows' size by another key than ModernBERT."""
    kinds = ["sliding_attention", "full_attention", "full_attention"]
    return AutoConfig.for_model("ultrabert", **SIZES, sliding_window=4, layer_types=kinds, head_dim=8, pad_token_id=0)


@torch.no_grad()
def test_a_layer_that_is_put_in_is_what_the_config_says_of_its_neighbour() -> None:
    torch.manual_seed(0)
    encoder = Encoder(ultrabert(), "packed", edit=Duplicate(repeat=[1])).eval()
    config: Any = encoder.backbone.config
    assert config.layer_types == ["sliding_attention", *ultrabert().layer_types]
    assert all(state.isfinite().all() for state in run(encoder))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_encoder_knows_its_layers_as_they_run(make: Make, family: str) -> None:
    encoder = make(family)
    assert len(encoder.blocks) == encoder.num_layers == L
    assert len({id(block) for block in encoder.blocks}) == (1 if family == "albert" else L)
    ran: list[int] = []
    for i, block in enumerate(encoder.blocks):
        if family != "albert":
            block.register_forward_hook(lambda *_, i=i: ran.append(i))
    run(encoder)
    assert ran == ([] if family == "albert" else list(range(L)))
