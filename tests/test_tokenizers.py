"""Tokenizers that put [CLS] elsewhere or nowhere, that don't fit the encoder, or are damaged (about 10 s)."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, AutoTokenizer

import glue_pool
from conftest import Compose
from glue_pool.data.load import load
from glue_pool.data.rows import Rows
from glue_pool.data.tokens import Tokenizer, encode
from glue_pool.errors import UserError
from glue_pool.hardware import Hardware
from glue_pool.models import factory
from glue_pool.models.classifier import Classifier, predict
from glue_pool.pipeline import run
from glue_pool.results import run_folder
from glue_pool.schema import Config
from glue_pool.training import probe
from local_data import WORDS

Small = Callable[..., Config]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "<s>", "</s>", "<en>"]
IDS = {word: i for i, word in enumerate([*SPECIAL, *WORDS, "new"])}
BERT = "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"
XLNET = "$A [SEP] [CLS]", "$A [SEP] $B:1 [SEP]:1 [CLS]"
NOTHING = "$A", "$A $B:1"


def tokenizer(
    folder: Path, single: str, pair: str, change: Callable[[tokenizers.Tokenizer], object] = id, **config: Any
) -> Path:
    """Write a tokenizer of whole words that adds special tokens as these templates say."""
    raw = tokenizers.Tokenizer(models.WordLevel(IDS, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    raw.add_special_tokens(SPECIAL)
    raw.post_processor = processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=[(token, IDS[token]) for token in SPECIAL]
    )
    change(raw)
    folder.mkdir(parents=True, exist_ok=True)
    raw.save(str(folder / "tokenizer.json"))
    common = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    (folder / "tokenizer_config.json").write_text(json.dumps(common | {"model_input_names": inputs} | config))
    return folder


def write(data: Path, task: str, texts: list[str]) -> None:
    """Write texts as a single-sentence or pair task's splits; the second text of a pair is the first one's end."""
    (data / task).mkdir(parents=True, exist_ok=True)
    columns = {"sentence": texts}
    if task == "rte":
        columns = {"sentence1": texts, "sentence2": [" ".join(text.split()[-3:]) for text in texts]}
    label, idx = np.arange(len(texts)) % 2, np.arange(len(texts)) + 100
    for split in ("train", "validation"):
        pq.write_table(pa.table({**columns, "label": label, "idx": idx}), data / task / f"{split}.parquet")


def sentences(rows: int = 24) -> list[str]:
    draw = np.random.default_rng(0)
    return [" ".join(draw.choice(WORDS, draw.integers(1, 20))) for _ in range(rows)]


@pytest.fixture
def small(composed: Compose, tmp_path: Path) -> Small:
    """`small(*BERT)` is the config of a run with a small random encoder and a tokenizer of these templates."""

    def make(single: str, pair: str, *overrides: str, sizes: dict[str, Any] | None = None, **options: Any) -> Config:
        folder = tokenizer(tmp_path / "encoder", single, pair, **options)
        torch.manual_seed(0)
        shape = {
            "vocab_size": len(IDS), "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
            "intermediate_size": 24, "max_position_embeddings": 64, "initializer_range": 0.3,
        }  # fmt: skip
        AutoModel.from_config(AutoConfig.for_model("bert", **shape | (sizes or {}))).save_pretrained(folder)
        for task in ("sst2", "rte"):
            if not (tmp_path / "data" / task).exists():
                write(tmp_path / "data", task, sentences())
        return composed(
            f"encoder.name={folder}", "data=local", f"data.dir={tmp_path}/data", f"data.cache_dir={tmp_path}/cache",
            f"output_root={tmp_path}/outputs", "tracking=none", "train.max_length=32", "train.precision=fp32",
            "train.batch_size=8", "train.max_steps=4", "optimizer.lr=1e-3", "model.dropout=0", "encoder.dropout=0",
            *overrides,
        )  # fmt: skip

    return make


def refused(cfg: Config) -> str:
    """The one line that a run says before anything is written."""
    with pytest.raises(UserError) as caught:
        run(cfg)
    assert "\n" not in str(caught.value)
    assert not list(Path(cfg.output_root).rglob("*.json"))
    return str(caught.value)


def finished(cfg: Config) -> tuple[np.ndarray, dict[str, Any], Path]:
    """The dev logits in the rows' order, the manifest and the folder of a run."""
    folder = run_folder(cfg, run(cfg)["run_key"]).path
    table = [row for row in pq.read_table(folder / "predictions.parquet").to_pylist() if row["epoch"] == "last"]
    logits = [row["logits"] for row in sorted(table, key=lambda row: row["idx"])]
    return np.array(logits), json.loads((folder / "manifest.json").read_text()), folder


def built(cfg: Config) -> Classifier:
    return factory.build(cfg, factory.plan(cfg)).eval()


@torch.no_grad()
def by_hand(model: Classifier, folder: Path, texts: list[tuple[str, ...]], cls: str) -> np.ndarray:
    """Logits from plain transformers, a text at a time, with the only token of this name as [CLS]."""
    direct, encoder = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    rows = []
    for text in texts:
        encoded = direct(*text, return_tensors="pt", padding_side="right")
        (place,) = (encoded["input_ids"][0] == IDS[cls]).nonzero().flatten().tolist()
        states = encoder(**encoded, output_hidden_states=True).hidden_states
        led = [torch.cat([s[:, place, None], s[:, :place], s[:, place + 1 :]], 1) for s in states]
        pooled = model.pooler([led[layer] for layer in model.pooler.layers], torch.ones_like(encoded["input_ids"]) > 0)
        rows.append(model.output(pooled)[0])
    return torch.stack(rows).numpy()


@pytest.mark.parametrize(
    ("templates", "config", "cls"),
    [
        (BERT, {"cls_token": "[CLS]"}, "[CLS]"),
        (XLNET, {"cls_token": "[CLS]", "padding_side": "left", "truncation_side": "left"}, "[CLS]"),
        (("<en> [CLS] $A </s>", "<en> [CLS] $A $B:1 </s>:1"), {"cls_token": "[CLS]"}, "[CLS]"),
        (("$A </s>", "$A [SEP] $B:1 </s>:1"), {"eos_token": "</s>", "cls_token": "[CLS]"}, "</s>"),
    ],
    ids=["first", "last", "second", "only eos"],
)
def test_cls_is_where_the_tokenizer_puts_it(
    small: Small, templates: tuple[str, str], config: dict[str, Any], cls: str
) -> None:
    for task, pooling in (("sst2", "cls"), ("rte", "maxpool")):
        cfg = small(*templates, f"task={task}", f"pooling={pooling}", "encoder.freeze=true", **config)
        folder = Path(str(cfg.encoder.name))
        split = pq.read_table(Path(str(cfg.data.dir)) / task / "validation.parquet")
        texts = list(zip(*(split[column].to_pylist() for column in cfg.task.columns), strict=True))
        expected = by_hand(built(cfg), folder, texts, cls)
        assert expected.std() > 0.01
        tokens, hardware = load(cfg, folder), Hardware.of(cfg.train)
        said = f"adds no [CLS] at an end: {cls}, a row's last token, stands for it"
        assert any(said in line for line in tokens.about["findings"]) == (cls != "[CLS]")
        for batching, size in (("packed", 24), ("packed", 1), ("padded", 5)):
            model = built(replace(cfg, train=replace(cfg.train, batching=batching)))
            for side in ("right", "left"):
                got = predict(model, tokens.dev["validation"], hardware, size, side)
                np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
        model = built(cfg)
        features = probe.with_features(model, tokens, cfg, factory.plan(cfg), hardware)
        got = predict(model, features.dev["validation"], hardware, 5)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


ADDED = st.lists(st.sampled_from(["[CLS]", "[SEP]", "<s>", "<en>"]), max_size=3)
TEXT = st.lists(st.sampled_from([*WORDS[:5], "[CLS]", "</s>", "unheard-of"]), max_size=8).map(" ".join)


@settings(max_examples=30, deadline=None)
@given(st.tuples(ADDED, ADDED, ADDED), st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5), st.sampled_from([1, 2]))
def test_whatever_a_tokenizer_adds_cls_is_a_token_that_it_added(
    tmp_path_factory: pytest.TempPathFactory,
    added: tuple[list[str], list[str], list[str]],
    texts: list[tuple[str, str]],
    columns: int,
) -> None:
    before, between, after = added
    pair = " ".join([*before, "$A", *between, "$B", *after])
    folder = tokenizer(tmp_path_factory.mktemp("any"), " ".join([*before, "$A", *after]), pair, cls_token="[CLS]")
    idx = np.arange(len(texts))
    rows = Rows(tuple([text[i] for text in texts] for i in range(columns)), idx, idx)
    ends = [*before, *after]
    if not ends and not (columns == 2 and between) and not all(any(text[:columns]) for text in texts):
        with pytest.raises(UserError, match="makes no token of"):
            encode(rows, Tokenizer(folder), 40)
        return
    tokens = encode(rows, Tokenizer(folder), 40)
    if not any(any(text[:columns]) for text in texts):
        return  # rows of special tokens alone, which all have them at the same places
    if "[CLS]" in ends:
        place = before.index("[CLS]") if "[CLS]" in before else after.index("[CLS]") - len(after)
    else:
        place = 0 if before else -1
    assert tokens.cls == (place if ends else None)
    assert tokens.joined == (columns == 2 and not between)
    firsts = [tokens.input_ids[begin : begin + n] for begin, n in zip(tokens.offsets, tokens.lengths, strict=True)]
    if ends:
        expected = "[CLS]" if "[CLS]" in ends else (before[0] if before else after[-1])
        assert {int(row[place]) for row in firsts} == {IDS[expected]}


def test_training_with_cls_at_the_end_is_the_same_packed_and_padded(small: Small) -> None:
    logits = []
    for recipe in ("plain", "guided"):
        keys = "task=rte", "pooling=maxpool", "optimizer.lr=1e-2", f"recipe={recipe}"
        for batching in (["packed"], ["padded"], ["padded", "train.padding_side=left"]):
            cfg = small(*XLNET, *keys, f"train.batching={batching[0]}", *batching[1:], cls_token="[CLS]")
            got, manifest, _ = finished(cfg)
            assert manifest["data"]["tokens"]["train"]["cls"] == -1
            logits.append(got)
    for of_recipe in (logits[:3], logits[3:]):
        np.testing.assert_allclose(of_recipe[1], of_recipe[0], rtol=0, atol=2e-5)
        np.testing.assert_allclose(of_recipe[2], of_recipe[0], rtol=0, atol=2e-5)
    assert abs(logits[3] - logits[0]).max() > 1e-3


def test_a_saved_model_finds_cls_where_the_run_did(small: Small) -> None:
    cfg = small(*XLNET, "task=sst2", "pooling=maxpool", "save_model=true", cls_token="[CLS]")
    logits, _, folder = finished(cfg)
    texts = pq.read_table(Path(str(cfg.data.dir)) / "sst2/validation.parquet")["sentence"].to_pylist()
    model = glue_pool.load(folder / "model")
    for size in (1, 24):
        np.testing.assert_allclose(model.logits(texts, batch_size=size), logits, rtol=0, atol=1e-5)
    np.testing.assert_allclose(model.logits(texts[0]), logits[:1], rtol=0, atol=1e-5)
    assert model.logits("").shape == (1, 2)  # special tokens alone
    assert model.logits([]).shape == (0, 2)
    with pytest.raises(UserError, match="takes texts, not None"):
        model.logits(["a", None])  # type: ignore[list-item]


def test_what_reads_cls_is_refused_where_there_is_none(small: Small) -> None:
    for key in ("pooling=cls", "pooling=maxpool", "recipe=guided"):
        others = [] if key.startswith("pooling") else ["pooling=mean"]
        said = refused(small(*NOTHING, "task=sst2", key, *others))
        assert said.startswith(f"{key} reads [CLS], and the tokenizer of ")
    packed, manifest, _ = finished(small(*NOTHING, "task=sst2", "pooling=attention"))
    padded, _, _ = finished(small(*NOTHING, "task=sst2", "pooling=attention", "train.batching=padded"))
    assert manifest["data"]["tokens"]["train"]["cls"] is None
    np.testing.assert_allclose(padded, packed, rtol=0, atol=1e-5)


def test_a_row_without_a_token_is_one_line_with_its_split_and_idx(small: Small, tmp_path: Path) -> None:
    write(tmp_path / "data", "sst2", ["the dog", " ", "a cat", ""])
    said = refused(small(*NOTHING, "task=sst2", "pooling=mean"))
    assert "sst2: rows of train: the tokenizer in " in said
    assert "makes no token of 2 of 4 rows (the first has idx 101: ' ') and adds no special ones; leave such" in said
    logits, manifest, _ = finished(small(*BERT, "task=sst2", "pooling=mean", cls_token="[CLS]"))
    assert np.isfinite(logits).all()
    assert manifest["data"]["tokens"]["train"]["empty"] == 2


def test_texts_that_run_together_are_said(small: Small, capsys: pytest.CaptureFixture[str]) -> None:
    together = "puts nothing between the two texts of a row"
    for templates, joined in ((("[CLS] $A", "[CLS] $A $B"), True), (BERT, False)):
        cfg = small(*templates, "task=rte", "pooling=mean", "force=true")
        _, manifest, _ = finished(cfg)
        assert (together in capsys.readouterr().out) == joined
        assert any(together in line for line in manifest["data"]["findings"]) == joined


def test_a_tokenizer_larger_than_the_embeddings_is_refused_where_they_miss_a_token(
    small: Small, tmp_path: Path
) -> None:
    fewer = {"vocab_size": len(IDS) - 1}
    keys = "task=sst2", "pooling=mean", "save_model=true"
    _, _, folder = finished(small(*BERT, *keys, sizes=fewer))  # no row has the last token
    with pytest.raises(UserError, match=r"a text \(idx 1\) has token \d+ \('new'\) of a tokenizer of \d+, and "):
        glue_pool.load(folder / "model").logits(["the dog", "the new dog"])
    write(tmp_path / "data", "sst2", ["the dog", "a cat", "new cat"])
    with pytest.raises(UserError) as caught:
        run(small(*BERT, *keys, sizes=fewer))
    said = str(caught.value)
    size = len(IDS)
    assert f"sst2's train (idx 102) has token {size - 1} ('new') of a tokenizer of {size}, and the encoder has" in said
    assert f"embeddings for {size - 1}; are its files of one model?" in said


def test_token_types_beyond_the_encoders_are_refused(small: Small) -> None:
    keys = "task=rte", "pooling=mean"
    beyond = "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:3 [SEP]:3"
    said = refused(small(*beyond, *keys))
    assert "rte's train (idx 100) has token type 3, and the encoder's type_vocab_size is 2; mend the post" in said
    said = refused(small("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:300 [SEP]", *keys))
    assert "gives token type 300; types end at 255 here" in said
    finished(small(*beyond, *keys, model_input_names=["input_ids", "attention_mask"]))
    finished(small(*beyond, *keys, "force=true", sizes={"type_vocab_size": 1}))  # takes no types


def test_special_tokens_that_leave_no_room_are_refused(small: Small) -> None:
    crowded = "[CLS] <en> $A [SEP] </s>", "[CLS] <en> $A [SEP] $B [SEP]"
    for task in ("sst2", "rte"):
        said = refused(small(*crowded, f"task={task}", "train.max_length=4", "pooling=mean"))
        assert said.startswith("train.max_length=4: the tokenizer in ")
    finished(small(*BERT, "task=rte", "train.max_length=4", "pooling=mean"))


def test_what_a_tokenizers_file_says_of_padding_and_length_does_not_matter(tmp_path: Path) -> None:
    rows = Rows((sentences(),), np.zeros(24, int), np.arange(24))

    def padded(raw: tokenizers.Tokenizer) -> None:
        raw.enable_padding(length=40)
        raw.enable_truncation(3)

    plain = Tokenizer(tokenizer(tmp_path / "plain", *XLNET, cls_token="[CLS]"))
    other = tokenizer(tmp_path / "other", *XLNET, padded, cls_token="[CLS]", model_max_length=5, padding_side="left")
    for max_length in (10, 32):
        expected, got = (encode(rows, which, max_length) for which in (plain, Tokenizer(other)))
        assert got.lengths.tolist() == [min(len(text.split()) + 2, max_length) for text in rows.texts[0]]
        assert np.array_equal(got.input_ids, expected.input_ids)
        assert (got.cls, got.truncated) == (-1, expected.truncated)


def test_truncation_on_the_left_keeps_a_texts_end_and_cls(tmp_path: Path) -> None:
    text = "the small dog sees a cat under the red house"
    folder = tokenizer(tmp_path, *XLNET, cls_token="[CLS]", truncation_side="left")
    tokens = encode(Rows(([text],), np.zeros(1, int), np.zeros(1, int)), Tokenizer(folder), 6)
    assert Tokenizer(folder).loaded.decode(tokens.input_ids) == "under the red house [SEP] [CLS]"
    assert (tokens.cls, tokens.truncated) == (-1, 1)


def test_no_rows_are_no_tokens(tmp_path: Path) -> None:
    nothing = np.zeros(0, int)
    for columns in (1, 2):
        rows = Rows(tuple([[]] * columns), nothing, nothing)
        tokens = encode(rows, Tokenizer(tokenizer(tmp_path, *XLNET)), 32)
        assert (len(tokens), len(tokens.input_ids), tokens.truncated, tokens.empty) == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"tokenizer.json": "{"}, "can't be loaded: "),
        ({"tokenizer.json": "{}"}, "can't be loaded: KeyError: 'added_tokens'"),
        ({"tokenizer.json": "[]"}, "can't be loaded: "),
        ({"tokenizer.json": '{"added_tokens": [], "model": {"type": "Odd"}}'}, "can't be loaded: "),
        ({"tokenizer_config.json": "{"}, "can't be loaded: "),
        ({"tokenizer_config.json": "[]"}, "can't be loaded: AttributeError: "),
        ({"special_tokens_map.json": "{"}, "can't be loaded: "),
        ({"added_tokens.json": "["}, "can't be loaded: "),
        ({"tokenizer_config.json": '{"tokenizer_class": "BertJapaneseTokenizer"}'}, "can't be loaded: TypeError: "),
        ({"tokenizer_config.json": '{"tokenizer_class": "CanineTokenizer"}'}, "is a CanineTokenizer, which has no "),
    ],
)  # fmt: skip
def test_a_tokenizer_that_can_not_be_used_is_one_line(
    small: Small, tmp_path: Path, files: dict[str, str], said: str
) -> None:
    cfg = small(*BERT, "task=sst2", "pooling=mean")
    for name, content in files.items():
        (tmp_path / "encoder" / name).write_text(content)
    assert said in refused(cfg)


def test_code_that_a_tokenizers_config_names_is_never_run(tmp_path: Path) -> None:
    executed = tmp_path / "executed"
    for name, others in (("Own", False), ("PreTrainedTokenizerFast", True)):
        auto_map = {"AutoTokenizer": ["own.Own", None]}
        folder = tokenizer(tmp_path / name, *BERT, tokenizer_class=name, auto_map=auto_map)
        (folder / "own.py").write_text(f"open({str(executed)!r}, 'w')\nclass Own: pass\n")
        if others:
            assert Tokenizer(folder).loaded.tokenize("the dog") == ["the", "dog"]
        else:
            with pytest.raises(UserError, match=r"can't be loaded: .* custom code"):
                _ = Tokenizer(folder).loaded
    assert not executed.exists()


def test_a_tokenizer_that_knows_no_text_is_one_line(small: Small) -> None:
    def of_another(raw: tokenizers.Tokenizer) -> None:
        raw.model = models.BPE({token: IDS[token] for token in [*SPECIAL, "new"]}, [])

    said = refused(small(*BERT, "task=sst2", "pooling=mean", change=of_another))
    assert "sst2: rows of train: the tokenizer in " in said
    assert "makes no token of any text (the first is '" in said


def test_a_tokenizer_that_fails_on_a_text_is_one_line(small: Small, tmp_path: Path) -> None:
    def without_unknown(raw: tokenizers.Tokenizer) -> None:
        raw.model = models.WordLevel(IDS)

    cfg = small(*BERT, "task=sst2", "pooling=mean", change=without_unknown, unk_token=None)
    write(tmp_path / "data", "sst2", ["the dog", "a zebra"])
    assert "fails on these texts: WordLevel error: Missing [UNK] token" in refused(cfg)


@pytest.mark.parametrize(
    ("words", "config", "tokens"),
    [
        (["Paris", "London", "is", "big"], None, None),
        (["Paris", "London", "is", "big"], {"do_lower_case": False}, ["Paris", "is", "big"]),
        (["paris", "london", "is", "big"], None, ["paris", "is", "big"]),
    ],
)
def test_a_vocabulary_with_capitals_is_not_lower_cased_unless_a_file_says_so(
    tmp_path: Path, words: list[str], config: dict[str, Any] | None, tokens: list[str] | None
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]) + "\n")
    if config:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    if tokens is None:
        with pytest.raises(UserError, match=r'vocab\.txt has words with capitals.*"do_lower_case": false'):
            Tokenizer(tmp_path).loaded  # noqa: B018
    else:
        assert Tokenizer(tmp_path).loaded.tokenize("Paris is big") == tokens


def test_merges_are_not_dropped_at_random(tmp_path: Path) -> None:
    raw = tokenizers.Tokenizer(models.BPE(dropout=0.5, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    raw.train_from_iterator([" ".join(WORDS)] * 9, tokenizers.trainers.BpeTrainer(special_tokens=SPECIAL))
    raw.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "PreTrainedTokenizerFast"}')
    assert json.loads((tmp_path / "tokenizer.json").read_text())["model"]["dropout"] == 0.5
    nothing = np.zeros(50, dtype=np.int64)
    tokens = encode(Rows((["garden house finds follows"] * 50,), nothing, nothing), Tokenizer(tmp_path), 64)
    assert len(np.unique(tokens.input_ids.reshape(50, -1), axis=0)) == 1


def test_a_class_of_another_kind_than_the_file_is_one_line(tmp_path: Path) -> None:
    tokenizer(tmp_path, *BERT, tokenizer_class="LlamaTokenizer")
    with pytest.raises(UserError, match=r"is of WordLevel, of which \w+ makes BPE; correct tokenizer_class"):
        Tokenizer(tmp_path).loaded  # noqa: B018
