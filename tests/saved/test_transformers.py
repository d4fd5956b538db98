"""A saved model in transformers' own hands: AutoConfig, AutoModel, pipeline, Trainer."""

import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, pipeline
from transformers.initialization import no_init_weights

import glue_pool
import local_data
import try_families
from conftest import Compose, choices
from glue_pool.errors import UserError
from glue_pool.models.classifier import Classifier
from glue_pool.models.encoder import Encoder
from glue_pool.models.factory import build_pooler
from glue_pool.pipeline import run
from glue_pool.results import run_folder
from glue_pool.saved.configuration import GluePoolConfig, labelled, of_encoder
from glue_pool.saved.modeling import GluePoolForSequenceClassification
from glue_pool.schema import NO_EDIT

Train = Callable[..., Path]
KEYS = (
    "encoder=minilm_l6", "encoder.num_hidden_layers=2", "data=local", "tracking=none", "train.precision=fp32",
    "train.max_steps=2", "train.batch_size=8", "optimizer.lr=1e-3", "save_model=true",
)  # fmt: skip
TAGS = "task=cola task.name=tags task.labels=[a,b,c] task.multi_label=true task.metrics=[f1_micro] " \
    "task.primary_metric=f1_micro pooling=mean task.official_rows={}"  # fmt: skip
KINDS = {
    "pairs": "task=rte pooling=maxpool pooling.k=2",
    "regression": "task=stsb pooling=mean task.name=scores task.standardise=true task.score_range=null",
    "label sets": TAGS,
    "pretrained tanh": "task=cola model=bert",
}
POOLINGS = [
    name if name in ("gem", "layer_lstm") else pytest.param(name, marks=pytest.mark.long) for name in choices("pooling")
]
FEW = ["A dog barks.", "It rained all day, and nobody minded.", "No.", "Two people and a cat watch what the sea does."]


@pytest.fixture(scope="module")
def train(composed: Compose, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """`train("task=rte")` is the folder of a run's saved model, trained once."""
    folder = tmp_path_factory.mktemp("hub")
    done: dict[str, Path] = {}

    def make(said: str) -> Path:
        if said not in done:
            overrides = said.split()
            task = composed(*overrides).task
            if not (folder / task.name).exists():
                local_data.write(folder, task)
            places = [f"data.dir={folder}", f"data.cache_dir={folder}/cache", f"output_root={folder}/outputs"]
            cfg = composed(*KEYS, *overrides, *places)
            done[said] = run_folder(cfg, run(cfg)["run_key"]).model
        return done[said]

    return make


def texts(loaded: Any) -> list[list[str]]:
    return [FEW, FEW[::-1]][: len(loaded.columns)]


def logits(folder: Path, *columns: list[str], side: str = "right", **options: Any) -> np.ndarray:
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side=side)
    model = AutoModelForSequenceClassification.from_pretrained(folder, **options).eval()
    with torch.no_grad():
        said = model(**tokenizer(*columns, padding=True, truncation=True, return_tensors="pt")).logits
    assert {parameter.dtype for parameter in model.parameters()} == {options.get("dtype", torch.float32)}
    return np.asarray(said)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_transformers_gives_the_runs_own_logits(train: Train, kind: str, tmp_path: Path) -> None:
    folder = train(kind)
    loaded = glue_pool.load(folder)
    expected = loaded.logits(*texts(loaded))
    assert type(AutoConfig.from_pretrained(folder)) is GluePoolConfig
    for side in ("right", "left"):
        np.testing.assert_allclose(logits(folder, *texts(loaded), side=side), expected, rtol=0, atol=1e-5)
    pipe: Any = pipeline("text-classification", model=str(folder), function_to_apply="none", top_k=None)
    rows = [dict(zip(("text", "text_pair"), row, strict=False)) for row in zip(*texts(loaded), strict=True)]
    names = loaded.labels or ["score"]
    said = [{one["label"]: one["score"] for one in row} for row in pipe(rows)]
    np.testing.assert_allclose([[row[name] for name in names] for row in said], expected, rtol=0, atol=1e-5)
    by_default: Any = pipeline("text-classification", model=str(folder), top_k=None)(rows)
    assert pipe.model.config.problem_type == loaded.task.problem_type
    if not loaded.labels:
        assert [row[0]["score"] for row in by_default] == pytest.approx(expected[:, 0], abs=1e-5)
    AutoModelForSequenceClassification.from_pretrained(folder).save_pretrained(tmp_path, max_shard_size="5MB")
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    np.testing.assert_allclose(logits(tmp_path, *texts(loaded)), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(glue_pool.load(tmp_path).logits(*texts(loaded)), expected, rtol=0, atol=1e-5)


def test_texts_are_cut_where_the_run_cut_them(train: Train) -> None:
    folder = train(KINDS["pretrained tanh"])
    loaded = glue_pool.load(folder)
    most = loaded.max_length - 2
    pipe: Any = pipeline("text-classification", model=str(folder), function_to_apply="none", top_k=None)
    assert pipe.tokenizer.model_max_length == loaded.max_length
    for words, how in ((most, {}), (most + 50, {"truncation": True})):
        text = "dog " * words
        said = {one["label"]: one["score"] for one in pipe([text], **how)[0]}
        np.testing.assert_allclose([said[name] for name in loaded.labels], loaded.logits(text)[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooler_is_handed_on_in_half_precision_too(train: Train, pooling: str) -> None:
    loaded = glue_pool.load(folder := train(f"task=rte pooling={pooling} encoder.num_hidden_layers=4"))
    expected = loaded.logits(*texts(loaded))
    np.testing.assert_allclose(logits(folder, *texts(loaded), side="left"), expected, rtol=0, atol=1e-5)
    for dtype in (torch.bfloat16, torch.float16):
        said = logits(folder, *texts(loaded), dtype=dtype)
        assert said.dtype == np.float32
        np.testing.assert_allclose(said, expected, rtol=0, atol=0.05)


def test_a_layer_that_runs_twice_is_one_that_is_tied(train: Train, tmp_path: Path) -> None:
    folder = train("task=rte pooling=mean edit=duplicate edit.tie=true edit.repeat=[1,2]")
    model, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
    first, second, third, fourth = (dict(layer.named_parameters()) for layer in model.model.encoder.blocks)
    assert all(parameter is second[name] for name, parameter in first.items())
    assert all(parameter is fourth[name] for name, parameter in third.items())
    assert len(model.all_tied_weights_keys) == len(first) * 2
    loaded = glue_pool.load(folder)
    np.testing.assert_allclose(logits(folder, *texts(loaded)), loaded.logits(*texts(loaded)), rtol=0, atol=1e-5)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in loaded.classifier.parameters())


def test_it_can_be_built_without_memory_and_with_other_labels(train: Train) -> None:
    folder = train(KINDS["pairs"])
    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    other = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=5, ignore_mismatched_sizes=True)
    assert other(torch.tensor([[101, 5, 102]])).logits.shape == (1, 5)


OWN = '''
import torch
from torch import nn
from glue_pool.models.poolers import Pooler, masked_mean


class Weighted(Pooler):
    """The mean, each feature by a fixed weight that no file keeps."""

    def __init__(self, d: int, num_layers: int) -> None:
        super().__init__(d, num_layers)
        self.register_buffer("weights", torch.linspace(0.5, 2.0, d), persistent=False)
        self.inner = nn.Module()
        self.inner.register_buffer("shift", torch.full((d,), 0.25), persistent=False)

    def forward(self, hidden_states, attention_mask):
        return masked_mean(hidden_states[-1], attention_mask) * self.weights + self.inner.shift
'''


def test_somebodys_own_class_is_handed_in_and_never_imported(
    train: Train, composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weighted_of_my_own.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    own = importlib.import_module("weighted_of_my_own").Weighted
    folder = train("task=rte pooling=mean pooling.name=weighted pooling._target_=weighted_of_my_own.Weighted")
    assert torch.equal(
        glue_pool.load(folder, classes=[own]).classifier.pooler.get_buffer("weights"), torch.linspace(0.5, 2, 384)
    )
    monkeypatch.delitem(sys.modules, "weighted_of_my_own")
    with pytest.raises(UserError, match=r"no class of this package; hand it in: classes=\[…\]") as refused:
        AutoModelForSequenceClassification.from_pretrained(folder)
    assert "\n" not in str(refused.value)
    assert "weighted_of_my_own" not in sys.modules
    loaded = glue_pool.load(folder, classes=[own])
    expected = loaded.logits(*texts(loaded))
    np.testing.assert_allclose(logits(folder, *texts(loaded), classes=[own]), expected, rtol=0, atol=1e-5)
    model = AutoModelForSequenceClassification.from_pretrained(folder, classes=[own])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    pipe: Any = pipeline("text-classification", model=model, tokenizer=tokenizer, function_to_apply="none", top_k=None)
    said: Any = pipe([{"text": FEW[0], "text_pair": FEW[-1]}])[0]
    assert {one["label"]: one["score"] for one in said} == pytest.approx(
        dict(zip(loaded.labels, expected[0], strict=True)), abs=1e-5
    )


@pytest.mark.parametrize("key", ["_attn_implementation", "attn_implementation"])
@pytest.mark.parametrize("inside", [True, False])
def test_no_code_is_fetched_because_a_folder_names_it(train: Train, tmp_path: Path, key: str, inside: bool) -> None:
    folder = shutil.copytree(train(KINDS["pairs"]), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (config["encoder_config"] if inside else config)[key] = "somebody/attention"
    (folder / "config.json").write_text(json.dumps(config))
    for load in (AutoModelForSequenceClassification.from_pretrained, glue_pool.load):
        with pytest.raises(UserError, match="attn_implementation='somebody/attention', which is no plain one"):
            load(folder)


def test_a_vocabulary_that_grew_comes_back(train: Train, tmp_path: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(train(KINDS["pairs"]))
    model.resize_token_embeddings(30530)
    model.save_pretrained(tmp_path)
    back = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert torch.equal(back.get_input_embeddings().weight, model.get_input_embeddings().weight)
    assert len(back.get_input_embeddings().weight) == 30530


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("task", {"columns": "sentence1"}),
        ("task", {"labels": ["a", "b", "c"]}),
        ("task", {"labels": []}),
        ("max_length", 100_000),
        ("max_length", "x"),
        ("scale", {"mean": "x"}),
        ("precision", "fp8"),
    ],
)
def test_a_config_that_no_run_writes_is_refused_before_long_work(
    train: Train, tmp_path: Path, key: str, value: Any
) -> None:
    folder = shutil.copytree(train(KINDS["pairs"]), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config[key] = config[key] | value if isinstance(value, dict) else value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=f"config.json says {key}"):
        glue_pool.load(folder)


def test_what_is_no_folder_is_not_asked_of_the_hub(tmp_path: Path) -> None:
    for name in ("nowhere", "nobody/nothing", tmp_path / "a" / "b"):
        with pytest.raises(UserError, match=f"{name}: there is no such folder"):
            glue_pool.load(name)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 99, "glue_pool_version": "9.0"}, "a saved model in format 99, written by glue_pool 9.0; this"),
        ({"encoder_config": {"model_type": "nobert"}}, "a saved model of a nobert encoder, which transformers"),
        ({"encoder_config": {}}, "its config.json has no encoder_config"),
    ],
)
def test_a_folder_of_another_version_is_refused_in_one_line(
    train: Train, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    folder = shutil.copytree(train(KINDS["pairs"]), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text()) | change
    (folder / "config.json").write_text(json.dumps(config))
    for load in (AutoModelForSequenceClassification.from_pretrained, glue_pool.load):
        with pytest.raises(UserError, match=said) as refused:
            load(folder)
        assert "\n" not in str(refused.value)


GOLD: dict[str, list[Any]] = {
    "pairs": [0, 1, 0, 1],
    "regression": [4.0, 1.0, 2.5, 0.0],
    "label sets": np.eye(4, 3, dtype=int).tolist(),
}


@pytest.mark.parametrize("kind", ["pairs", *(pytest.param(kind, marks=pytest.mark.long) for kind in list(GOLD)[1:])])
def test_trainer_goes_on_training_it(train: Train, tmp_path: Path, kind: str) -> None:
    from transformers import Trainer, TrainingArguments

    loaded = glue_pool.load(folder := train(KINDS[kind]))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    gold = GOLD[kind]
    encoded = tokenizer(*texts(loaded), truncation=True)
    rows = [{**{name: encoded[name][i] for name in encoded}, "labels": gold[i]} for i in range(4)]
    arguments = TrainingArguments(
        str(tmp_path / "t"), max_steps=25, learning_rate=1e-3, per_device_train_batch_size=4, save_strategy="no",
        report_to=[], use_cpu=True, disable_tqdm=True, logging_steps=1, lr_scheduler_type="constant",
    )  # fmt: skip
    trainer = Trainer(model=model, args=arguments, train_dataset=rows, processing_class=tokenizer)
    trainer.train()
    losses = [record["loss"] for record in trainer.state.log_history if "loss" in record]
    assert losses[-1] < losses[0] / 2
    trainer.save_model(str(tmp_path / kind))
    model.eval()
    np.testing.assert_allclose(
        glue_pool.load(tmp_path / kind).logits(*texts(loaded)),
        logits(tmp_path / kind, *texts(loaded)),
        rtol=0,
        atol=1e-5,
    )


@pytest.mark.parametrize(
    "code",
    [
        "import glue_pool; assert 'transformers' not in sys.modules; from transformers import AutoConfig",
        pytest.param("from transformers import AutoConfig; import glue_pool", marks=pytest.mark.long),
        pytest.param(
            "import transformers; import glue_pool.models.poolers; AutoConfig = transformers.AutoConfig",
            marks=pytest.mark.long,
        ),
    ],
)
def test_transformers_is_told_whoever_is_imported_first(train: Train, code: str) -> None:
    folder = train(KINDS["pairs"])
    code = f"import sys; {code}; print(AutoConfig.from_pretrained({str(folder)!r}).model_type)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "glue_pool\n", done.stderr


@pytest.mark.parametrize("command", ["--help", "report --help", "report nowhere", "list", "predict --help"])
def test_the_command_line_starts_without_torch(command: str, tmp_path: Path) -> None:
    code = (
        "import atexit, sys; atexit.register(lambda: print(sorted({'torch', 'transformers'} & set(sys.modules)))); "
        f"from glue_pool import cli; cli.main({command.split()!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


MIXED = {"name": "mean_max", "_target_": "glue_pool.models.poolers.MeanMax", "tanh": "none"}
RUNS = tuple(f"- {how}" for how in try_families.HOW.values())  # lines of the page
SOME = ["albert", "bert", "convbert", "deberta", "modernbert", "xlnet"]  # the others are `long`


def check_comes_back(encoder: Encoder, folder: Path) -> None:
    """Save an encoder with a pooler, and see that it gives its own logits again, padded on either side."""
    model = Classifier(encoder, build_pooler(MIXED, encoder.d, encoder.num_layers), None, 0.1, 3)
    said = GluePoolConfig(
        encoder_config=of_encoder(encoder.config), pooling=MIXED, edit={"name": "none", "_target_": NO_EDIT},
        problem_type="single_label_classification", **labelled(["a", "b", "c"]),
    )  # fmt: skip
    with no_init_weights():
        whole = GluePoolForSequenceClassification(said, classifier=model)
    whole.train(False)
    whole.save_pretrained(folder)
    back, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
    ids = torch.arange(36).view(4, 9) % 50 + 6
    mask = torch.arange(9) < torch.tensor([5, 7, 9, 9])[:, None]
    for side in (ids, mask), (ids.flip(1), mask.flip(1)):
        assert torch.equal(back(*side).logits, whole(*side).logits)


@pytest.mark.parametrize("family", SOME)
def test_a_familys_encoder_comes_back(family: str, tmp_path: Path) -> None:
    check_comes_back(try_families.encoder(family, tmp_path / "encoder"), tmp_path / "saved")


@pytest.mark.long
def test_every_familys_encoder_comes_back(tmp_path: Path) -> None:
    came = set()
    for family in try_families.names():
        try:
            encoder = try_families.encoder(family, tmp_path / "encoder" / family)
        except Exception:  # refused, or no small one of it can be made: docs/families.md says which
            continue
        check_comes_back(encoder, tmp_path / "saved" / family)
        came.add(family)
    ways = [line for line in try_families.PAGE.read_text().splitlines() if line.startswith(RUNS)]
    assert came == {family for line in ways for family in re.findall("`([a-z0-9_-]+)`", line.partition(": ")[2])}
