"""Families of encoders: a row's numbers are its own in any batch, or one line says why not (about 20 s)."""

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, BertConfig, BertModel

import glue_pool
import local_data
import try_families
from conftest import Compose
from glue_pool.data.layout import layout
from glue_pool.errors import UserError
from glue_pool.models import factory, identity
from glue_pool.pipeline import run
from glue_pool.results import run_folder
from glue_pool.schema import Config, EncoderConfig

MINILM = identity.locate(EncoderConfig(name="minilm_l6"))
SIZES: dict[str, Any] = {
    "vocab_size": 30522,  # of MiniLM's tokenizer
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "initializer_range": 0.2,
}
# One of each way to run and to be refused; the others are `long`.
SOME = ["bert", "convbert", "deberta", "eurobert", "gpt2", "layoutlm", "mra", "squeezebert", "t5", "xlnet"]
PAGE = try_families.PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("family", SOME)
def test_what_the_page_says_of_a_family_is_so(family: str) -> None:
    outcome = try_families.tried(family)
    (said,) = [line for line in PAGE.splitlines() if f"`{family}`" in line and not line.startswith("- `")]
    assert said.startswith(f"- {outcome.heading}: ")
    assert set(try_families.minds([outcome])) <= set(PAGE.splitlines())


@pytest.mark.long
def test_the_page_says_what_becomes_of_every_family() -> None:
    assert try_families.page([try_families.tried(family) for family in try_families.names()]) == PAGE


Made = Callable[..., Path]
Using = Callable[..., Config]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The folder of a small encoder with random weights and MiniLM's tokenizer, for good: copy it to change it."""

    @cache
    def make(family: str, **others: Any) -> Path:
        folder = tmp_path_factory.mktemp(family)
        config = AutoConfig.for_model(family, **(SIZES | others))
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(folder)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(MINILM / name, folder / name)
        return folder

    return make


@pytest.fixture
def using(composed: Compose, tmp_path: Path) -> Using:
    """The config of a short run of an encoder on a pair task, in a folder of its own."""
    data = local_data.write(tmp_path / "data", composed("task=mrpc").task)

    def make(encoder: Path, *overrides: str) -> Config:
        return composed(
            "task=mrpc",
            "data=local",
            f"data.dir={data}",
            f"data.cache_dir={tmp_path}/cache",
            f"output_root={tmp_path}/outputs",
            f"encoder.name={encoder}",
            "pooling=maxpool",
            "pooling.k=1",
            "pooling.num_heads=2",
            "tracking=none",
            "train.precision=fp32",
            "train.max_length=64",
            "train.max_steps=3",
            "train.batch_size=8",
            "optimizer.lr=1e-3",
            *overrides,
        )

    return make


def logits(cfg: Config) -> np.ndarray:
    """The last logits of a run, in its rows' order."""
    folder = run_folder(cfg, run(cfg)["run_key"]).path
    table = pq.read_table(folder / "predictions.parquet").to_pylist()
    return np.array([row["logits"] for row in sorted(table, key=lambda row: row["idx"]) if row["epoch"] == "last"])


@pytest.mark.parametrize(
    ("family", "others"),
    [
        ("fnet", {}),
        ("nystromformer", {"num_landmarks": 8, "segment_means_seq_len": 8, "conv_kernel_size": 5}),
        ("mobilebert", {"intra_bottleneck_size": 16, "true_hidden_size": 16, "embedding_size": 16}),
        ("squeezebert", {"embedding_size": 16, "q_groups": 1, "k_groups": 1, "v_groups": 1}),
    ],
)
def test_a_run_gives_a_row_the_same_logits_in_any_batch(
    made: Made, using: Using, family: str, others: dict[str, Any]
) -> None:
    encoder = made(family, **others)
    one = using(encoder, "train.eval_batch_size=64", "save_model=true")
    by_itself = logits(using(encoder, "train.eval_batch_size=1"))
    assert by_itself.std() > 1e-3
    assert abs(logits(one) - by_itself).max() < 1e-5
    rows = pq.read_table(Path(str(one.data.dir), "mrpc", "validation.parquet")).to_pydict()
    order = np.argsort(rows["idx"])
    saved = glue_pool.load(run_folder(one, run(one)["run_key"]).model)
    again = saved.logits(*([rows[name][i] for i in order] for name in one.task.columns), batch_size=3)
    assert abs(again - by_itself).max() < 1e-5


def test_a_probe_keeps_the_states_of_rows_of_one_length(made: Made, using: Using) -> None:
    one, other = (
        logits(using(made("fnet"), "encoder.freeze=true", "pooling.k=2", f"train.eval_batch_size={n}")) for n in (2, 64)
    )
    assert abs(one - other).max() < 1e-5


def test_packed_batches_are_refused_where_rows_are_run_by_length(made: Made, using: Using) -> None:
    for batching in ("packed", "padded"):
        with pytest.raises(UserError, match=f"train.batching={batching}: a fnet encoder .*auto"):
            factory.plan(using(made("fnet"), f"train.batching={batching}"))


@pytest.mark.parametrize("family", ["squeezebert", "bert"])
def test_padding_is_what_it_was_while_a_part_of_the_embeddings_trains(
    made: Made, using: Using, tmp_path: Path, family: str
) -> None:
    others = {"embedding_size": 16, "q_groups": 1, "k_groups": 1, "v_groups": 1} if family == "squeezebert" else {}
    encoder = changed(made(family, **others), tmp_path / "encoder", pad_token_id=30000)
    far = logits(using(encoder, "train.batching=padded"))
    near = logits(using(made(family, **others), "train.batching=padded"))
    assert abs(far - near).max() < 1e-5  # no row looks at it


def test_layers_that_depend_on_how_many_there_are_can_not_be_left_out(made: Made, using: Using) -> None:
    cfg = using(made("esmc"), "encoder.num_hidden_layers=1")
    with pytest.raises(UserError, match=r"encoder\.num_hidden_layers=1: what esmc is depends on its depth"):
        factory.plan(cfg)


def test_what_a_config_lists_for_each_layer_is_cut_with_them(made: Made, using: Using, tmp_path: Path) -> None:
    encoder = changed(made("longformer"), tmp_path / "encoder", attention_window=[8, 16])
    cfg = using(encoder, "encoder.num_hidden_layers=1", "encoder.dropout=0.2")
    backbone: Any = factory.build(cfg, factory.plan(cfg)).encoder.backbone
    assert backbone.config.attention_window == [8]


def test_a_precision_that_a_family_fails_in_is_refused(made: Made, using: Using) -> None:
    cfg = using(made("deberta"), "train.precision=bf16")
    with pytest.raises(UserError, match=r"train\.precision=bf16: a deberta encoder fails in bf16; use fp32, or auto"):
        run(cfg)


def changed(folder: Path, to: Path, **said: Any) -> Path:
    """Copy an encoder with another config.json."""
    shutil.copytree(folder, to)
    file = to / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | said))
    return to


CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "a decoder": ({"is_decoder": True}, "makes a decoder of it"),
    "heads that don't divide": ({"num_attention_heads": 5}, "describes no bert model: .*attention heads"),
    "an unknown activation": ({"hidden_act": "nope"}, "describes no bert model: .*nope"),
    "padding outside the table": ({"pad_token_id": 99999}, "config.json.*(P|p)ad"),
    "positions of another kind": ({"position_embedding_type": "relative_key"}, "relative_key, which transformers no"),
    "quantised": ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantised weights are not read"),
    "weights elsewhere": ({"transformers_weights": "other.safetensors"}, "weights elsewhere are not read"),
    "an unknown family": ({"model_type": "newbert"}, "no usable config.json there"),
    "custom code": (
        {"model_type": "newbert", "auto_map": {"AutoModel": "modeling.NewBert"}},
        r"code of its own \(modeling.NewBert\), which is never run",
    ),
    "a decoder's family": ({"model_type": "gpt2"}, "gpt2 is a decoder"),
    "fewer layers than there are weights for": ({"num_hidden_layers": 1}, r"layer\.1.* is no weight of a bert encoder"),
    "more layers": ({"num_hidden_layers": 3}, "weights without encoder.layer.2"),
    "fewer types": ({"type_vocab_size": 1}, "token_type_embeddings.weight is"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_that_can_not_be_used_is_one_line_before_anything_is_written(
    made: Made, using: Using, tmp_path: Path, case: str
) -> None:
    said, reason = CONFIGS[case]
    cfg = using(changed(made("bert"), tmp_path / "encoder", **said))
    with pytest.raises(UserError, match=reason) as refused:
        run(cfg)
    assert "\n" not in str(refused.value)
    assert not Path(cfg.output_root).exists()


def with_weights(folder: Path, to: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    """Copy an encoder with other weights."""
    shutil.copytree(folder, to)
    weights = load_file(to / "model.safetensors")
    change(weights)
    save_file(weights, to / "model.safetensors", metadata={"format": "pt"})
    return to


QUERY = "encoder.layer.0.attention.self.query"
WEIGHTS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], object], str]] = {
    "an adapter's": (
        lambda weights: weights.update({f"{QUERY}.lora_A.weight": torch.ones(4, 16)}),
        r"query\.lora_A\.weight \(1 such\) is no weight of a bert encoder",
    ),
    "not a number": (lambda weights: weights[f"{QUERY}.weight"].fill_(torch.nan), "its hidden states are not finite"),
    "quantised": (
        lambda weights: weights.update({f"{QUERY}.weight": torch.ones(16, 16, dtype=torch.int8)}),
        r"query\.weight is I8: quantised weights are not read",
    ),
}


@pytest.mark.parametrize("case", WEIGHTS)
def test_weights_that_are_not_the_encoders_are_one_line(made: Made, using: Using, tmp_path: Path, case: str) -> None:
    change, reason = WEIGHTS[case]
    with pytest.raises(UserError, match=reason):
        run(using(with_weights(made("bert"), tmp_path / "encoder", change)))


def test_heads_and_layers_that_were_left_out_on_purpose_are_no_foreign_weights(using: Using, tmp_path: Path) -> None:
    AutoModelForMaskedLM.from_config(BertConfig(**SIZES)).save_pretrained(tmp_path / "encoder")
    cfg = using(tmp_path / "encoder", "encoder.num_hidden_layers=1")
    assert factory.build(cfg, factory.plan(cfg)).encoder.num_layers == 1


def test_a_folder_with_an_adapter_is_refused(made: Made, using: Using, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made("bert"), tmp_path / "encoder"))
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"adapter_config\.json is there: merge the adapter"):
        run(using(folder))


@pytest.mark.parametrize("padding", [-1, None])
def test_the_lowest_token_id_of_a_run_trains_where_no_token_is_padding(
    made: Made, using: Using, tmp_path: Path, padding: int | None
) -> None:
    cfg = using(changed(made("bert"), tmp_path / "encoder", pad_token_id=padding), "save_model=true")
    saved = glue_pool.load(run_folder(cfg, run(cfg)["run_key"]).model).classifier.encoder.embeddings
    before = load_file(tmp_path / "encoder" / "model.safetensors")["embeddings.word_embeddings.weight"]
    moved = (saved.get_parameter("weight").detach() - before).abs().amax(1)
    cls = 101
    assert moved[cls] > 1e-4
    assert (moved > 0).sum() < 200  # those of the rows, and no others


def test_a_whole_file_beside_an_index_of_shards_is_what_is_read_and_what_is_hashed(
    made: Made, using: Using, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(made("bert"), tmp_path / "encoder"))
    BertModel(BertConfig(**SIZES)).save_pretrained(tmp_path / "shards", max_shard_size="1MB")
    shards = sorted((tmp_path / "shards").glob("model-*.safetensors"))
    assert len(shards) > 1
    for file in [*shards, tmp_path / "shards" / "model.safetensors.index.json"]:
        shutil.copyfile(file, folder / file.name)
    cfg = using(folder)
    first = run(cfg)
    read = factory.build(cfg, factory.plan(cfg)).encoder.backbone.get_parameter(f"{QUERY}.weight")
    assert torch.equal(read, load_file(folder / "model.safetensors")[f"{QUERY}.weight"])
    shutil.copyfile(with_weights(folder, tmp_path / "other", lambda of: of[f"{QUERY}.weight"].mul_(2)) /
                    "model.safetensors", folder / "model.safetensors")  # fmt: skip
    assert run(cfg)["run_key"] != first["run_key"]


def test_a_weight_that_two_shards_hold_is_refused(made: Made, using: Using, tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    AutoModel.from_pretrained(made("bert")).save_pretrained(folder, max_shard_size="1MB")
    first, last = (sorted(folder.glob("model-*.safetensors"))[i] for i in (0, -1))
    save_file(load_file(last) | {f"{QUERY}.weight": torch.zeros(16, 16)}, last, metadata={"format": "pt"})
    save_file(load_file(first) | {f"{QUERY}.weight": torch.ones(16, 16)}, first, metadata={"format": "pt"})
    with pytest.raises(
        UserError, match=rf"query\.weight is in {first.name} and in model-.*; keep the shards of one time"
    ):
        run(using(folder))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_an_encoder_that_was_saved_in_half_precision_is_loaded_and_saved_in_fp32(
    made: Made, using: Using, tmp_path: Path, dtype: str
) -> None:
    AutoModel.from_pretrained(made("bert")).to(getattr(torch, dtype)).save_pretrained(tmp_path / "encoder")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(MINILM / name, tmp_path / "encoder" / name)
    assert json.loads((tmp_path / "encoder/config.json").read_text())["dtype"] == dtype
    cfg = using(tmp_path / "encoder", "save_model=true")
    by_run = logits(cfg)
    saved = glue_pool.load(run_folder(cfg, run(cfg)["run_key"]).model)
    assert {p.dtype for p in saved.classifier.parameters()} == {torch.float32}
    assert json.loads((saved.folder / "config.json").read_text())["dtype"] == "float32"
    rows = pq.read_table(Path(str(cfg.data.dir), "mrpc", "validation.parquet")).to_pydict()
    order = np.argsort(rows["idx"])
    again = saved.logits(*([rows[name][i] for i in order] for name in cfg.task.columns))
    assert abs(again - by_run).max() < 1e-5


def test_a_short_batch_leaves_big_bird_as_it_is(made: Made, using: Using) -> None:
    cfg = using(made("big_bird", max_position_embeddings=1024, block_size=16), "train.max_length=800")
    model = factory.build(cfg, factory.plan(cfg)).eval()
    texts = torch.arange(800) % 1000 + 5
    with torch.no_grad():
        before, _, after = (model.encoder(texts[:n], None, layout([n]), (2,)).states[2][0, :n] for n in (800, 20, 800))
    assert torch.equal(before, after)


SQUEEZED: dict[str, Any] = {"embedding_size": 16, "q_groups": 1, "k_groups": 1, "v_groups": 1}


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        (["encoder.reinit_layers=1"], r"reinit_layers: the Conv1ds of a squeezebert encoder are no linear layers"),
        (["recipe=mixout"], "recipe=mixout: mixes linear layers, and a squeezebert encoder has weights in a Conv1d"),
    ],
)
def test_what_is_for_linear_layers_is_refused_where_a_family_has_others(
    made: Made, using: Using, overrides: list[str], reason: str
) -> None:
    with pytest.raises(UserError, match=reason):
        run(using(made("squeezebert", **SQUEEZED), *overrides))


@pytest.mark.parametrize("family", ["deberta", "eurobert"])
def test_all_of_a_layer_is_drawn_anew(made: Made, using: Using, tmp_path: Path, family: str) -> None:
    def move(weights: dict[str, torch.Tensor]) -> None:
        for name, weight in weights.items():
            weights[name] = weight + 1

    encoder = with_weights(made(family, pad_token_id=0), tmp_path / "encoder", move)
    cfg = using(encoder, "encoder.reinit_layers=1")
    model = factory.build(cfg, factory.plan(cfg))
    before = dict(factory.build(using(encoder), factory.plan(using(encoder))).encoder.blocks[-1].named_parameters())
    for name, parameter in model.encoder.blocks[-1].named_parameters():
        assert not torch.isclose(parameter, before[name]).any(), name


def test_weights_that_are_there_twice_or_in_a_wrapper_are_refused(made: Made, using: Using, tmp_path: Path) -> None:
    def twice(weights: dict[str, torch.Tensor]) -> None:
        weights.update({f"bert.{name}": weight * 2 for name, weight in list(weights.items())})

    def wrapped(weights: dict[str, torch.Tensor]) -> None:
        for name in list(weights):
            weights[f"_orig_mod.{name}"] = weights.pop(name)

    with pytest.raises(UserError, match=r"is there twice, once as bert\.e.*; keep the weights of one model"):
        run(using(with_weights(made("bert"), tmp_path / "twice", twice)))
    with pytest.raises(UserError, match=r"its weights are named _orig_mod\.…: torch\.compile or DataParallel left it"):
        run(using(with_weights(made("bert"), tmp_path / "wrapped", wrapped)))


@pytest.mark.parametrize("name", ["base_model.model.encoder.x.lora_A.weight", "prefix_encoder.embedding.weight"])
def test_an_adapter_beside_the_encoder_is_refused_too(made: Made, using: Using, tmp_path: Path, name: str) -> None:
    encoder = with_weights(made("bert"), tmp_path / "encoder", lambda of: of.update({name: torch.ones(4, 16)}))
    with pytest.raises(UserError, match=f"{name} .1 such. is no weight .*; merge it into its model, and save that"):
        run(using(encoder))
