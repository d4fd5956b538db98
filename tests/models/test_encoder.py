"""Encoders: packed equals padded, and hidden states are those that plain transformers gives (about 10 s)."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoTokenizer

import local_data
import try_families
from conftest import Compose
from glue_pool.data.batches import Batch
from glue_pool.data.layout import Layout, layout
from glue_pool.errors import UserError
from glue_pool.models import factory, families, identity, packing, pretrained
from glue_pool.models.classifier import Classifier
from glue_pool.models.encoder import Encoder
from glue_pool.pipeline import run
from glue_pool.results import run_folder
from glue_pool.schema import Config, EncoderConfig

Save = Callable[..., Path]
MOST = 38  # tokens that each of these encoders takes: 40 positions, of which RoBERTa's kin use two otherwise

# Small encoders: weights large enough that a wrong position or neighbour shows, dropout wherever a family has it.
SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 40,
    "initializer_range": 0.2,
    "hidden_dropout_prob": 0.3,
    "attention_probs_dropout_prob": 0.3,
}
LIKE_ROBERTA: dict[str, Any] = {"pad_token_id": 1, "type_vocab_size": 1}
PACKED: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": LIKE_ROBERTA,
    "xlm-roberta": LIKE_ROBERTA,
    "camembert": LIKE_ROBERTA,
    "electra": {"embedding_size": 16},
    "distilbert": {"dropout": 0.3, "attention_dropout": 0.3},
    "albert": {"embedding_size": 16},
    "ernie": {},
    "nomic_bert": {},
    "modernbert": {
        "local_attention": 8,  # shorter than most of the texts
        "pad_token_id": 0,
        **{f"{name}_token_id": 2 for name in ("bos", "eos", "cls", "sep")},
        **{f"{name}_dropout": 0.3 for name in ("attention", "embedding", "mlp")},
    },
}
PADDED: dict[str, dict[str, Any]] = {
    "deberta-v2": try_families.SPECIAL["deberta-v2"],
    "mpnet": {"pad_token_id": 1},
}
FAMILIES = PACKED | PADDED
WITH_POOLER = ["bert", "roberta", "xlm-roberta", "camembert", "albert", "ernie", "mpnet"]
LENGTHS = [1, 2, 3, 3, 4, 9, 10, 11, 12, 17, 20, 29, 35, 38]  # several blocks; more tokens than there are positions

every_family = pytest.mark.parametrize("family", FAMILIES)
packed_families = pytest.mark.parametrize("family", PACKED)


@pytest.fixture(scope="module")
def save(tmp_path_factory: pytest.TempPathFactory) -> Save:
    """`save("bert", hidden_size=16)` is a folder with a small random encoder of that family."""
    saved: dict[str, Path] = {}

    def make(family: str, **changes: Any) -> Path:
        name = json.dumps([family, changes])
        if name not in saved:
            torch.manual_seed(0)
            model = AutoModel.from_config(AutoConfig.for_model(family, **(SIZES | FAMILIES[family] | changes)))
            for parameter in model.parameters():  # biases and LayerNorms too
                parameter.data += 0.05 * torch.randn(parameter.shape)
            saved[name] = tmp_path_factory.mktemp(family)
            model.save_pretrained(saved[name])
        return saved[name]

    return make


@pytest.fixture(scope="module")
def using(composed: Compose) -> Compose:
    """`using(folder, "model=bert")` is the config of a run with that encoder."""
    compose = cache(composed)

    def make(folder: Path, *overrides: str) -> Config:
        cfg = compose(f"train.max_length={MOST}", *overrides)
        return replace(cfg, encoder=replace(cfg.encoder, name=str(folder)))

    return make


def load(folder: Path, batching: str = "auto", **options: Any) -> tuple[Encoder, nn.Linear | None]:
    cfg = EncoderConfig(name=str(folder), **options)
    config = pretrained.read_config(cfg, folder)
    encoder, dense = pretrained.load(cfg, folder, config, families.batching(config, batching))
    return encoder.eval(), dense


def tokens(lengths: list[int]) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    total = sum(lengths)
    return torch.randint(5, 64, (total,), generator=draw), torch.randint(0, 2, (total,), generator=draw)


def batch(lengths: list[int], arranged: Layout) -> Batch:
    return Batch(*tokens(lengths), arranged, torch.zeros(len(lengths), dtype=torch.long), np.arange(len(lengths)))


def padded(
    encoder: Encoder, ids: Tensor, types: Tensor | None, arranged: Layout, layers: tuple[int, ...]
) -> tuple[list[Tensor], Tensor]:
    """Some layers' hidden states in their padded form, and its mask."""
    hidden = encoder(ids, types, arranged, layers)
    return [hidden.pad(hidden.states[layer]) for layer in layers], hidden.mask


def build(cfg: Config) -> Classifier:
    return factory.build(cfg, factory.plan(cfg))


def logits_and_gradients(model: Classifier, arranged: Layout) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    labels = torch.arange(len(LENGTHS)) % 2
    logits = model.train()(batch(LENGTHS, arranged)).logits
    F.cross_entropy(logits, labels).backward()
    return logits.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@packed_families
@pytest.mark.parametrize("pooling", ["maxpool", "layer_attention"])  # reads tokens; reads [CLS], every layer
def test_packed_equals_padded_on_either_side(using: Compose, save: Save, family: str, pooling: str) -> None:
    results = []
    for batching in ("packed", "padded"):
        keys = ["encoder.dropout=0", "model.dropout=0", f"pooling={pooling}", f"train.batching={batching}"]
        model = build(using(save(family), *keys))
        assert model.encoder.batching == batching
        results += [logits_and_gradients(model, layout(LENGTHS, side)) for side in ("right", "left")]
    (logits, gradients), *others = results
    assert logits.std() > 0.05
    assert {name.split(".")[0] for name in gradients} == {"encoder", "pooler", "output"}
    for other_logits, other_gradients in others:
        torch.testing.assert_close(other_logits, logits, atol=1e-5, rtol=0)
        torch.testing.assert_close(other_gradients, gradients, atol=1e-5, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12).map(sorted),
    window=st.sampled_from([None, 1, 3, 9]),
    side=st.sampled_from(["right", "left"]),
)
def test_attention_on_a_gpu_is_that_on_a_cpu(lengths: list[int], window: int | None, side: str) -> None:
    # each form is chosen by its device; both run on a CPU
    draw = torch.Generator().manual_seed(0)
    arranged, results = layout(lengths, side), []
    inputs = torch.randn(4, 2, sum(lengths), 8, generator=draw)
    for attend in (packing._attend_on_cpu, packing._attend):
        query, key, value = (x.clone().requires_grad_() for x in inputs[:3])
        output = attend(query, key, value, arranged, 0.3, 0.0, window)
        output.backward(inputs[3].transpose(0, 1))
        results.append([output.detach(), query.grad, key.grad, value.grad])
    torch.testing.assert_close(results[0], results[1], atol=1e-5, rtol=1e-5)


@every_family
def test_parameters_have_one_name_and_memory_of_their_own(save: Save, family: str) -> None:
    encoder, _ = load(save(family))
    storages = [p.untyped_storage().data_ptr() for p in encoder.parameters()]
    assert len(set(storages)) == len(storages)  # else safetensors can't save it
    assert {name for name, _ in encoder.named_parameters()} <= set(encoder.state_dict())
    assert all(name.startswith("backbone.") for name in encoder.state_dict())


@every_family
def test_an_encoder_runs_in_bf16(save: Save, family: str) -> None:
    encoder, _ = load(save(family), dropout=0.0)
    ids, types = tokens(LENGTHS)
    with torch.autocast("cpu", torch.bfloat16):
        hidden = encoder.train()(ids, types, layout(LENGTHS), (3,))
        hidden.cls(3).float().square().mean().backward()
    expected = encoder(ids, types, layout(LENGTHS), (3,)).cls(3)
    torch.testing.assert_close(hidden.cls(3).float(), expected, atol=0.3, rtol=0.1)


@every_family
@pytest.mark.parametrize("side", ["right", "left"])
@torch.no_grad()
def test_hidden_states_are_those_of_each_text_alone_in_plain_transformers(save: Save, family: str, side: str) -> None:
    encoder, _ = load(save(family))
    plain = AutoModel.from_pretrained(save(family)).eval()
    ids, types = tokens(LENGTHS)
    with_types = getattr(plain.config, "type_vocab_size", 0) > 1
    arranged = layout(LENGTHS, side)
    states, mask = padded(encoder, ids, types, arranged, (1, 2, 3))
    hidden = encoder(ids, types, arranged, (1, 2, 3))
    (top,), _ = padded(encoder, ids, types, arranged, (3,))

    assert hidden.tokens(2).shape == (sum(LENGTHS), 32)
    assert [int(row.sum()) for row in mask] == LENGTHS
    for i, (text, type_ids) in enumerate(zip(ids.split(LENGTHS), types.split(LENGTHS), strict=True)):
        extra = {"token_type_ids": type_ids[None]} if with_types else {}
        expected = plain(text[None], **extra, output_hidden_states=True)
        assert len(expected.hidden_states) == 1 + 3  # [0] is the embeddings' output
        wanted = [*expected.hidden_states[1:3], expected.last_hidden_state]  # ModernBERT's ends in its final norm
        for layer in range(3):
            torch.testing.assert_close(states[layer][i][mask[i]], wanted[layer][0], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(hidden.cls(layer + 1)[i], wanted[layer][0, 0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(top[i][mask[i]], wanted[2][0], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_texts_without_token_types_are_all_of_type_0(save: Save) -> None:
    for batching in ("packed", "padded"):
        encoder, _ = load(save("bert"), batching)
        ids, types = tokens(LENGTHS)
        arranged = layout(LENGTHS)
        (without,), mask = padded(encoder, ids, None, arranged, (3,))
        (zeros,), _ = padded(encoder, ids, torch.zeros_like(types), arranged, (3,))
        assert torch.equal(without[mask], zeros[mask])


@pytest.mark.parametrize("family", PADDED)
def test_an_encoder_with_attention_of_its_own_runs_padded(using: Compose, save: Save, family: str) -> None:
    assert factory.plan(using(save(family))).batching == "padded"
    with pytest.raises(UserError, match=rf"train\.batching=packed: a {family} encoder .* use auto") as refused:
        factory.plan(using(save(family), "train.batching=packed"))
    assert "\n" not in str(refused.value)


@every_family
def test_the_lowest_layers_are_kept_with_their_weights(save: Save, family: str) -> None:
    whole, _ = load(save(family))
    cut, _ = load(save(family), num_hidden_layers=2)
    assert cut.num_layers == 2
    if family != "albert":  # which runs one layer over and over
        assert len(cut.own_layers("a key")) == len(cut.blocks) == 2
    kept, weights = cut.backbone.state_dict(), whole.backbone.state_dict()
    assert all(torch.equal(kept[name], weights[name]) for name in kept)
    ids, types = tokens(LENGTHS)
    layers = (1,) if family == "modernbert" else (1, 2)  # its last layer is followed by the final norm
    with torch.no_grad():
        states, mask = padded(cut, ids, types, layout(LENGTHS), layers)
        expected, _ = padded(whole, ids, types, layout(LENGTHS), layers)
    assert all(torch.equal(a[mask], b[mask]) for a, b in zip(states, expected, strict=True))


def test_two_layers_of_minilm_are_its_lowest_two(composed: Compose) -> None:
    cfg = composed("encoder=minilm_l6", "encoder.num_hidden_layers=2", "model=bert")
    model = build(cfg)
    weights = load_file(identity.locate(cfg.encoder) / "model.safetensors")
    kept = model.encoder.backbone.state_dict()
    assert len(kept) == 5 + 2 * 16
    assert all(torch.equal(tensor, weights[name]) for name, tensor in kept.items())
    assert model.tanh is not None
    assert torch.equal(model.tanh.weight, weights["pooler.dense.weight"])
    assert torch.equal(model.tanh.bias, weights["pooler.dense.bias"])


def test_more_layers_than_there_are_is_refused(save: Save) -> None:
    with pytest.raises(UserError, match=r"encoder\.num_hidden_layers=4: this encoder has 3 layers"):
        load(save("bert"), num_hidden_layers=4)


@every_family
def test_encoder_dropout_sets_every_dropout_of_the_family(save: Save, family: str) -> None:
    encoder, _ = load(save(family), dropout=0.0)
    assert {m.p for m in encoder.modules() if isinstance(m, nn.Dropout)} <= {0.0}
    ids, types = tokens(LENGTHS)
    with torch.no_grad():
        (first,), mask = padded(encoder.train(), ids, types, layout(LENGTHS), (3,))
        (second,), _ = padded(encoder, ids, types, layout(LENGTHS), (3,))
        (evaluated,), _ = padded(encoder.eval(), ids, types, layout(LENGTHS), (3,))
    assert torch.equal(first[mask], second[mask])  # nor is there one outside a module
    assert torch.equal(first[mask], evaluated[mask])

    encoder, _ = load(save(family), dropout=0.2)
    assert {m.p for m in encoder.modules() if isinstance(m, nn.Dropout)} == {0.2}


def test_a_dropout_that_is_written_as_an_integer_is_set_too(save: Save) -> None:
    folder = save("bert", hidden_dropout_prob=0, attention_probs_dropout_prob=0)
    assert json.loads((folder / "config.json").read_text())["hidden_dropout_prob"] == 0
    encoder, _ = load(folder, dropout=0.2)
    assert {m.p for m in encoder.modules() if isinstance(m, nn.Dropout)} == {0.2}


@pytest.mark.parametrize("batching", ["packed", "padded"])
def test_attention_weights_are_dropped_in_training(save: Save, batching: str) -> None:
    folder = save("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.5)
    encoder, _ = load(folder, batching)
    ids, types = tokens(LENGTHS)
    with torch.no_grad():
        (first,), mask = padded(encoder.train(), ids, types, layout(LENGTHS), (3,))
        (second,), _ = padded(encoder, ids, types, layout(LENGTHS), (3,))
    assert (first[mask] - second[mask]).abs().amax(-1)[1:].min() > 0  # a text of one token has one weight


def changed(cfg: Config, other: Config) -> set[str]:
    models = [dict(build(c).named_parameters()) for c in (cfg, other)]
    return {name for name, p in models[0].items() if not torch.equal(p, models[1][name])}


def test_reinitialising_changes_the_top_layers_and_the_pooler_only(composed: Compose) -> None:
    minilm = ["encoder=minilm_l6", "encoder.num_hidden_layers=3", "model=bert"]
    plain, anew = composed(*minilm), composed(*minilm, "encoder.reinit_layers=2")
    model = build(anew)
    tops = ("encoder.backbone.encoder.layer.1.", "encoder.backbone.encoder.layer.2.", "tanh.")
    redrawn = {name for name, _ in model.named_parameters() if name.startswith(tops)}
    assert changed(plain, anew) == redrawn - {"tanh.bias"}  # which is 0 in the checkpoint
    for name in redrawn:
        parameter = model.get_parameter(name)
        if parameter.ndim == 2:
            assert abs(parameter.mean()) < 1e-3, name
            assert abs(parameter.std() - 0.02) < 1e-3, name
        else:
            assert (parameter == ("LayerNorm.weight" in name)).all(), name
    assert changed(anew, anew) == set()
    another_seed = composed(*minilm, "encoder.reinit_layers=2", "seed=1")
    assert changed(anew, another_seed) == {
        name for name in redrawn if name.endswith("weight") and "Norm" not in name
    } | {"output.weight"}


@pytest.mark.parametrize("key", ["encoder.reinit_layers=1", "optimizer.layer_decay=0.9"])
def test_layers_that_share_their_weights_take_no_edit_of_their_own(using: Compose, save: Save, key: str) -> None:
    with pytest.raises(UserError, match=rf"{key.partition('=')[0]}: this albert encoder shares its layers"):
        factory.plan(using(save("albert"), key))


def test_a_frozen_encoder_gets_no_gradients(using: Compose, save: Save) -> None:
    model = build(using(save("bert"), "encoder.freeze=true"))
    _, gradients = logits_and_gradients(model, layout(LENGTHS))
    assert set(gradients) == {name for name, _ in model.named_parameters() if not name.startswith("encoder.")}
    assert gradients


@pytest.mark.parametrize("family", WITH_POOLER)
def test_the_pretrained_tanh_layer_is_that_of_the_checkpoint(save: Save, family: str) -> None:
    encoder, dense = load(save(family))
    weights = load_file(save(family) / "model.safetensors")
    name = "pooler" if family == "albert" else "pooler.dense"
    assert dense is not None
    assert torch.equal(dense.weight, weights[f"{name}.weight"])
    assert torch.equal(dense.bias, weights[f"{name}.bias"])
    assert not any("pooler" in name for name, _ in encoder.named_parameters())


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in WITH_POOLER])
def test_pretrained_tanh_is_refused_where_a_family_has_no_pooler(using: Compose, save: Save, family: str) -> None:
    with pytest.raises(UserError, match=r"this .* encoder has no pre-trained pooler; use pooling\.tanh=new"):
        factory.plan(using(save(family), "model=bert"))


def test_pretrained_tanh_is_refused_where_the_checkpoint_has_no_pooler(using: Compose, tmp_path: Path) -> None:
    AutoModelForMaskedLM.from_config(AutoConfig.for_model("bert", **SIZES)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="this bert encoder has no pre-trained pooler"):
        build(using(tmp_path, "model=bert"))
    model = build(using(tmp_path, "model=bert", "pooling.tanh=new"))
    assert model.tanh is not None
    assert abs(model.tanh.weight.std() - SIZES["initializer_range"]) < 0.02


@pytest.mark.parametrize(("family", "most"), [("bert", 40), ("roberta", MOST), ("mpnet", MOST)])
def test_texts_as_long_as_the_encoder_allows_run_and_longer_ones_are_refused(
    using: Compose, save: Save, family: str, most: int
) -> None:
    cfg = using(save(family), "pooling=cls")
    model = build(replace(cfg, train=replace(cfg.train, max_length=most))).eval()
    assert np.isfinite(model(batch([most], layout([most]))).logits.detach().numpy()).all()
    with pytest.raises(UserError, match=rf"train\.max_length={most + 1}: this encoder takes at most {most} tokens"):
        factory.plan(replace(cfg, train=replace(cfg.train, max_length=most + 1)))


def test_a_model_that_is_no_encoder_is_refused(tmp_path: Path) -> None:
    AutoConfig.for_model("t5", vocab_size=64, d_model=16).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="t5 is an encoder-decoder, and no encoder alone"):
        pretrained.read_config(EncoderConfig(name=str(tmp_path)), tmp_path)


def test_a_roberta_type_run_gives_the_same_logits_packed_or_padded(composed: Compose, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(local_data.roberta_tokenizer())
    torch.manual_seed(0)
    sizes = SIZES | LIKE_ROBERTA | {"vocab_size": len(tokenizer), "max_position_embeddings": 66}
    encoder = tmp_path / "encoder"
    AutoModel.from_config(AutoConfig.for_model("roberta", **sizes)).save_pretrained(encoder)
    tokenizer.save_pretrained(encoder)
    common = [
        f"encoder.name={encoder}",
        "encoder.dropout=0",
        "model.dropout=0",
        "task=mrpc",
        "data=local",
        f"data.dir={local_data.write(tmp_path / 'data', composed('task=mrpc').task)}",
        f"data.cache_dir={tmp_path / 'cache'}",
        f"output_root={tmp_path / 'outputs'}",
        "tracking=none",
        "train.max_length=64",
        "train.max_steps=5",
        "train.batch_size=8",
        "train.precision=fp32",
        "optimizer.lr=1e-3",
    ]
    logits = []
    for keys in (
        ["train.batching=packed"],
        ["train.batching=padded"],
        ["train.batching=padded", "train.padding_side=left"],
    ):
        cfg = composed(*common, *keys)
        key = run(cfg)["run_key"]
        table = pq.read_table(run_folder(cfg, key).path / "predictions.parquet").to_pylist()
        logits.append(np.array([row["logits"] for row in table if row["epoch"] == "last"]))
    assert logits[0].shape == (24, 2)
    assert logits[0].std() > 0.01
    assert abs(logits[1] - logits[0]).max() < 1e-5
    assert abs(logits[2] - logits[0]).max() < 1e-5
