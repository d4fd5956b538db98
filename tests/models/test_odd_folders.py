"""Fuzz: an encoder's folder whose JSON says odd things is refused in one line, or gives plain transformers' logits.

The suite tries some dozen examples of each file, always the same; `make test-long` draws thousands (minutes).
"""

import io
import json
import re
import shutil
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerFast
from transformers.utils import logging

import glue_pool
import try_families
from glue_pool import commandline, pipeline
from glue_pool.data import load as data
from glue_pool.errors import UserError
from glue_pool.hardware import Hardware
from glue_pool.models import factory
from glue_pool.models.classifier import predict
from glue_pool.results import find
from glue_pool.schema import Config
from test_fuzz import LINE, WORDS, few, lay_out, many, read, refused, right, there

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LIKE_ROBERTA = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "type_vocab_size": 1}
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": LIKE_ROBERTA,
    "distilbert": {"dropout": 0.1, "attention_dropout": 0.1},
    "deberta-v2": try_families.SPECIAL["deberta-v2"],
}
SIZES = {
    "vocab_size": len(SPECIAL) + len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
    "initializer_range": 0.3,
}


HOME = tempfile.TemporaryDirectory(prefix="encoders-")  # until the process ends


@cache
def saved(family: str) -> Path:
    """A small random encoder of a family, its tokenizer, and the special tokens in a file of their own."""
    folder = Path(HOME.name, family)
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model(family, **(SIZES | FAMILIES[family]))).save_pretrained(folder)
    special = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"] if family == "roberta" else SPECIAL
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(special + WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [(token, special.index(token)) for token in ("[SEP]", "[CLS]")]
    tokenizer.post_processor = processors.BertProcessing(*ends)
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=40, **names).save_pretrained(folder)
    (folder / "special_tokens_map.json").write_text(json.dumps(names))
    return folder


VALUES: list[Any] = [
    None, True, False, 0, 1, 2, 3, 5, 7, -1, -100, 16, 24, 40, 2**31, 10**9, 10**30, 0.0, 0.5, 1.0, 2.5, -0.5,
    1e-12, 1e300, float("nan"), float("inf"),
    "", "nope", "1", "float16", "bfloat16", "float32", "torch.float16", "gelu", "relu", "gelu_new", "silu", "bert",
    "roberta", "gpt2", "t5", "eager", "sdpa", "flash_attention_2",
    "absolute", "relative_key", "single_label_classification", "\ud800", "x" * 300, "a\nb", "[PAD]", "[UNK]",
    "[CLS]", "[NEW]", "the", "left", "right", "longest_first",
    [], [0], ["BertModel"], ["NopeModel"], [1, 2], ["full_attention", "full_attention"], ["nope"], {}, {"a": 1},
    {"0": "a"}, {"content": "[PAD]"}, [[]],
    {"content": "[NEW]", "__type": "AddedToken"}, {"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil",
    "AutoTokenizer": ["evil.Evil", None]}, {"quant_method": "bitsandbytes"},
    {"rope_type": "default"}, {"rope_theta": 1e4}, "BertTokenizer", "RobertaTokenizerFast",
    "PreTrainedTokenizerFast", "BertTokenizerFast", "TokenizersBackend", "T5Tokenizer",
]  # fmt: skip
EXTRA = """
is_decoder is_encoder_decoder add_cross_attention cross_attention_hidden_size pad_token_id bos_token_id dtype
torch_dtype auto_map architectures model_type quantization_config _name_or_path layer_types type_vocab_size
max_position_embeddings attn_implementation _attn_implementation tie_word_embeddings chunk_size_feed_forward
output_hidden_states output_attentions use_return_dict return_dict position_embedding_type id2label label2id
num_labels problem_type use_cache layer_norm_eps rms_norm_eps hidden_act activation num_attention_heads
num_key_value_heads pruned_heads torchscript gradient_checkpointing transformers_version rope_scaling rope_parameters
sliding_window vocab_size hidden_size d_model dim n_layers num_hidden_layers intermediate_size classifier_dropout
text_config vision_config sub_configs attribute_map base_config_key _commit_hash is_composition embedding_size
num_hidden_groups local_attention pooler_hidden_act tokenizer_class initializer_range hidden_dropout_prob
attention_probs_dropout_prob dropout prefix finetuning_task attn_dropout name_or_path bad_words_ids generation_config
peft_type task_specific_params
""".split()
OF_TOKENIZER = """
tokenizer_class model_max_length padding_side truncation_side pad_token unk_token cls_token sep_token mask_token
bos_token eos_token added_tokens_decoder additional_special_tokens extra_special_tokens clean_up_tokenization_spaces
do_lower_case strip_accents tokenize_chinese_chars model_input_names auto_map add_prefix_space add_bos_token
add_eos_token add_special_tokens backend is_local name_or_path never_split special_tokens_map_file tokenizer_file
vocab_file merges_file max_length truncation padding stride chat_template processor_class legacy use_fast
do_basic_tokenize unk_id vocab_size model_type local_files_only trust_remote_code return_tensors return_token_type_ids
errors
""".split()
OF_JSON = "version truncation padding added_tokens normalizer pre_tokenizer post_processor decoder model".split()
FILES = {
    "config.json": EXTRA,
    "tokenizer_config.json": OF_TOKENIZER,
    "special_tokens_map.json": [f"{name}_token" for name in ("pad", "unk", "cls", "sep", "mask", "bos")],
    "tokenizer.json": OF_JSON,
}
COUNTED = ["num_hidden_layers", "n_layers", "num_labels"]  # of which transformers makes one after another
FORMS: list[Callable[[str], bytes]] = [
    *[str.encode] * 60,
    lambda text: b"\xef\xbb\xbf" + text.encode(),
    lambda text: text.encode("utf-16"),
    lambda text: text.encode() + b"\xe9",
    lambda text: text.encode()[: len(text) // 2],
    lambda text: b"",
    lambda text: b"null",
    lambda text: b"[]",
    lambda text: b"1",
    lambda text: b'"text"',
    lambda text: b"{}",
    lambda text: b"[" * 5000,
    lambda text: b'{"a": 1' + b"1" * 5000 + b"}",
]
Change = tuple[str, str, list[tuple[str, Any]], int]


@st.composite
def changes(draw: st.DrawFn, file: str) -> Change:
    """A family, one of its files, what its keys are to say instead, and how that is written."""
    family = draw(st.sampled_from(sorted(FAMILIES)))
    names = sorted({*json.loads((saved(family) / file).read_text()), *FILES[file]})
    changed = []
    for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
        name, value = draw(st.sampled_from(names)), draw(st.sampled_from(VALUES))
        assume(name not in COUNTED or type(value) is not int or value < 100)
        changed.append((name, value))
    return family, file, changed, draw(st.integers(0, len(FORMS) - 1))


@cache
def base() -> Config:
    """A run with nothing to find where it says."""
    with tempfile.TemporaryDirectory() as name:
        lay_out(Path(name), "single", "csv", right("single", "csv"))
        (cfg,) = commandline.jobs(
            [f"--config-dir={name}/conf", *LINE.split(), "pooling=cls", "save_model=true", "train.max_steps=1"]
        )
    return cfg


def plainly(folder: Path, texts: list[str]) -> np.ndarray:
    """The first token's last hidden state of every text by itself, by transformers alone."""
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    states = []
    for text in texts:
        inputs = tokenizer(text, truncation="longest_first", max_length=16, padding=False, return_tensors="pt")
        with torch.no_grad():
            states.append(model(**inputs, return_dict=True).last_hidden_state[0, 0].numpy())
    return np.array(states)


def try_folder(change: Change) -> bool:
    """Refuse the folder, or hold its logits against transformers', and a run's against those of its saved model."""
    family, name, changed, form = change
    cfg = base()
    logging.set_verbosity_error()
    with tempfile.TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as patch:
        folder = Path(temporary)
        patch.chdir(folder)
        patch.setenv("HF_HUB_OFFLINE", "1")
        lay_out(folder, "single", "csv", right("single", "csv"))
        shutil.copytree(saved(family), folder / "encoder")
        file = folder / "encoder" / name
        file.write_bytes(FORMS[form](json.dumps(json.loads(file.read_text()) | dict(changed))))
        cfg = replace(
            cfg,
            encoder=replace(cfg.encoder, name=str(folder / "encoder")),
            data=replace(cfg.data, cache_dir=str(folder / "cache")),
            output_root=str(folder / "outputs"),
        )
        before = there(folder)
        try:
            with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                result = pipeline.run(cfg)
        except UserError as error:
            refused(error)
            assert {path for path in there(folder) if not path.startswith("cache")} == set(before)
            return False
        assert result["status"] == "completed"
        check_logits(cfg, folder)
        return True


def check_logits(cfg: Config, folder: Path) -> None:
    dev = [row["text"] for row in read(folder / "dev.csv")]
    model = glue_pool.load(find(cfg).model)
    predictions = pq.read_table(find(cfg).path / "predictions.parquet").to_pylist()
    trained = np.array([row["logits"] for row in predictions if row["epoch"] == "last"])
    np.testing.assert_allclose(model.logits(dev), trained, atol=1e-5)
    np.testing.assert_allclose(model.logits(dev, batch_size=1), trained, atol=1e-5)
    blueprint = factory.plan(cfg)
    tokens = data.load(cfg, blueprint.folder).dev["dev"]
    built = factory.build(cfg, blueprint).eval()
    logits = predict(built, tokens, Hardware(torch.device("cpu"), "fp32"), 64)
    try:
        states = torch.tensor(plainly(folder / "encoder", dev))
    except Exception:  # what transformers alone can't run has no other answer
        return
    np.testing.assert_allclose(logits, built.output(states).detach().numpy(), atol=1e-5)


CONFIG, TOKENIZER, SPECIAL_TOKENS, WHOLE_TOKENIZER = FILES


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_as_it_should_be_runs_and_has_another_answer(family: str) -> None:
    assert try_folder((family, CONFIG, [], 0))
    assert np.isfinite(plainly(saved(family), ["the red dog"])).all()


@few(12)
@given(changes(CONFIG))
def test_a_config(change: Change) -> None:
    try_folder(change)


@few(10)
@given(st.sampled_from([TOKENIZER, SPECIAL_TOKENS, WHOLE_TOKENIZER]).flatmap(changes))
def test_a_tokenizer(change: Change) -> None:
    try_folder(change)


SAID: list[dict[str, Any]] = [
    json.loads(f"{{{entry}}}") for entry in re.split(r"\s{2,}|\n", r"""
"is_decoder": true  "add_cross_attention": true  "is_encoder_decoder": true  "pad_token_id": -1
"pad_token_id": 1000000000  "pad_token_id": null  "pad_token_id": 3  "pad_token_id": [0]  "pad_token_id": 24
"num_attention_heads": 5  "num_attention_heads": 0  "hidden_act": "nope"  "activation": "nope"  "dtype": "float16"
"torch_dtype": "float16"  "dtype": "nope"  "dtype": "bfloat16"
"auto_map": {"AutoModel": "evil.Evil", "AutoConfig": "evil.Evil"}  "architectures": ["NopeModel"]
"model_type": "roberta"  "model_type": "bert"  "model_type": "gpt2"  "model_type": "nope"
"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true}
"quantization_config": {"quant_method": "nope"}  "_name_or_path": "/nowhere"
"layer_types": ["sliding_attention", "sliding_attention"]  "layer_types": ["full_attention"]  "type_vocab_size": 0
"type_vocab_size": 5  "max_position_embeddings": 3  "max_position_embeddings": null
"_attn_implementation": "flash_attention_2"  "attn_implementation": "nope"  "tie_word_embeddings": false
"chunk_size_feed_forward": 2  "chunk_size_feed_forward": null  "output_hidden_states": true
"output_attentions": true  "return_dict": false  "use_return_dict": false  "position_embedding_type": "relative_key"
"id2label": ["a"]  "problem_type": "nope"  "use_cache": null  "layer_norm_eps": null  "layer_norm_eps": 1
"vocab_size": 10  "hidden_size": 32  "num_hidden_layers": 0  "num_hidden_layers": 1  "num_hidden_layers": 3
"initializer_range": null  "initializer_range": -0.5  "hidden_dropout_prob": 1.0  "hidden_dropout_prob": 2
"hidden_dropout_prob": NaN  "pruned_heads": {"0": [1]}  "relative_attention": false  "pos_att_type": ["nope"]
"conv_kernel_size": 3  "share_att_key": true  "attribute_map": {"hidden_size": "intermediate_size"}
"sub_configs": {"a": 1}  "text_config": {"hidden_size": 8}
""".strip())
]  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("said", SAID, ids=json.dumps)
@pytest.mark.parametrize("family", FAMILIES)
def test_what_configs_have_said(family: str, said: dict[str, Any]) -> None:
    try_folder((family, CONFIG, list(said.items()), 0))


@pytest.mark.long
@many(150)
@given(st.sampled_from(list(FILES)).flatmap(changes))
def test_a_folder_at_length(change: Change) -> None:
    try_folder(change)
