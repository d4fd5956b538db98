"""`glue-pool export`: ONNX files against the saved model's own logits, both padding sides, int8, what is refused."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

import glue_pool
import local_data
from conftest import Compose, choices
from glue_pool.commands import export as command
from glue_pool.data.layout import Layout
from glue_pool.data.tokens import Tokenizer
from glue_pool.errors import UserError
from glue_pool.export import export, graph
from glue_pool.hardware import Hardware
from glue_pool.models import factory
from glue_pool.models.classifier import Scale
from glue_pool.models.edit import Edit
from glue_pool.models.poolers import Mean, Pooler, first_token, last_layers
from glue_pool.pipeline import run
from glue_pool.results import run_folder
from glue_pool.saved.folder import save
from glue_pool.schema import Config
from test_tokenizers import BERT, IDS, XLNET, tokenizer

Printed = pytest.CaptureFixture[str]
Make = Callable[..., Path]
MINILM = ("encoder=minilm_l6", "encoder.num_hidden_layers=2", "train.max_length=48")
SIZES = {
    "vocab_size": len(IDS), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "max_position_embeddings": 64, "initializer_range": 0.3,
}  # fmt: skip
TINY = ("train.max_length=48", "train.precision=fp32", "tracking=none", "task=sst2")


def kept(cfg: Config, folder: Path, scale: Scale | None = None) -> Path:
    """Save a model as a run would, untrained, with no parameter of its head at 0."""
    torch.manual_seed(0)
    blueprint = factory.plan(cfg)
    model = factory.build(cfg, blueprint)
    with torch.no_grad():
        for parameter in (*model.pooler.parameters(), *model.output.parameters()):
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.scale = scale or Scale()
    cls, _, _ = Tokenizer(blueprint.folder).frame("the cat", len(cfg.task.columns))
    save(model, cfg, blueprint, Hardware.choose("cpu", "fp32"), cls, folder)
    return folder


def encoder(folder: Path, templates: tuple[str, str], kind: str = "bert", **sizes: Any) -> Path:
    """Write a small random encoder with a tokenizer of these templates."""
    tokenizer(folder, *templates, cls_token="[CLS]", pad_token="[PAD]")
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model(kind, **SIZES | sizes)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def make(composed: Compose, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """`make("pooling=mean")` is the folder of a saved model that was not trained."""

    def build(*overrides: str, scale: Scale | None = None) -> Path:
        return kept(composed(*overrides), tmp_path_factory.mktemp("made") / "model", scale)

    return build


@pytest.fixture(scope="module")
def trained(composed: Compose, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's folder of a tiny BERT with maxpool, which was trained for two steps."""
    folder = tmp_path_factory.mktemp("trained")
    encoder(folder / "encoder", BERT)
    local_data.write(folder / "data", composed("task=sst2").task)
    where = [f"data.dir={folder}/data", f"data.cache_dir={folder}/cache", f"output_root={folder}/outputs"]
    keys = ["model=maxpool", "pooling.k=2", "pooling.num_heads=2", "data=local", "save_model=true", "train.max_steps=2"]
    cfg = composed(*TINY, *keys, *where, f"encoder.name={folder}/encoder")
    return run_folder(cfg, run(cfg)["run_key"]).path


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained run's model, to change."""
    return shutil.copytree(trained / "model", tmp_path / "model")


def texts_of(columns: int) -> list[list[str]]:
    draw = np.random.default_rng(1)
    lengths = [1, 2, 3, 7, 12, 20, 90]
    return [[" ".join(draw.choice(local_data.WORDS, n)) for n in draw.permutation(lengths)] for _ in range(columns)]


def runs(file: Path, folder: Path, side: str, texts: Sequence[list[str]]) -> np.ndarray:
    """What onnxruntime says of texts that the folder's own tokenizer pads."""
    session = onnxruntime.InferenceSession(file)
    about = session.get_modelmeta().custom_metadata_map
    loaded = Tokenizer(folder).loaded
    loaded.pad_token = loaded.pad_token or loaded.unk_token
    given = loaded(
        *texts, padding=True, padding_side=side, truncation="longest_first", max_length=int(about["max_length"]),
        return_tensors="np", return_token_type_ids=True,
    )  # fmt: skip
    return np.asarray(
        session.run(["logits"], {of.name: given[of.name].astype(np.int64) for of in session.get_inputs()})[0]
    )


def agrees(folder: Path, classes: Sequence[type] = (), tolerance: float = 1e-4) -> None:
    """Export a folder; the file says what the saved model does, of batches and of single rows, on either side."""
    done = export(folder, classes=classes)
    assert 0 <= done.difference <= 1e-4
    (file,) = (file for file in done.files if file.suffix == ".onnx")
    model = glue_pool.load(folder, classes, device="cpu", precision="fp32")
    texts = texts_of(len(model.columns))
    expected = model.logits(*texts)
    assert expected.std() > 1e-3
    for side in ("right", "left"):
        np.testing.assert_allclose(runs(file, folder, side, texts), expected, rtol=0, atol=tolerance)
    one = runs(file, folder, "right", [column[:1] for column in texts])
    np.testing.assert_allclose(one, expected[:1], rtol=0, atol=tolerance)


def test_a_file_its_int8_and_what_became_of_the_score(trained: Path, copied: Path, capsys: Printed) -> None:
    shutil.copyfile(trained / "config.yaml", copied.parent / "config.yaml")
    command.main([str(copied), "--int8"])
    printed = capsys.readouterr()
    assert printed.err == ""
    first, second, head, *table, facts = printed.out.splitlines()
    onnx = copied / "onnx"
    assert first.startswith(f"{onnx}/model.onnx: ")
    assert "opset 18, at most " in first
    assert second.startswith(f"{onnx}/model_int8.onnx: ")
    assert head.split() == ["model", "form", "accuracy", "MB", "ms", "a", "row", "rows/s"]
    score = json.loads((trained / "result.json").read_text())["score"]
    assert [line.split()[-6:-4] for line in table] == [["torch", "fp32"], ["ONNX", "fp32"], ["ONNX", "int8"]]
    assert [line.split()[-4] for line in table[:2]] == [f"{100 * score:.2f}"] * 2
    assert facts.startswith("24 dev rows; ")
    assert {file.name for file in onnx.iterdir()} == {"model.onnx", "model_int8.onnx"}
    assert {file.name for file in copied.parent.iterdir()} == {"model", "config.yaml"}
    assert not list(copied.glob(".onnx*"))

    model = glue_pool.load(copied)
    texts = texts_of(1)
    expected = model.logits(*texts)
    for side in ("right", "left"):
        np.testing.assert_allclose(runs(onnx / "model.onnx", copied, side, texts), expected, rtol=0, atol=1e-4)
        quantised = runs(onnx / "model_int8.onnx", copied, side, texts)
        assert 0 < np.abs(quantised - expected).max() < 0.5 * expected.std()
    session = onnxruntime.InferenceSession(onnx / "model.onnx")
    assert [(of.name, of.type, len(of.shape)) for of in session.get_inputs()] == [
        (name, "tensor(int64)", 2) for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["labels"]) == model.labels
    assert (about["opset"], about["pooling"], about["max_length"]) == ("18", "maxpool", "48")

    before = [(file, file.read_bytes()) for file in sorted(onnx.iterdir())]
    with pytest.raises(UserError, match=r"model\.onnx: is there already; --force replaces it"):
        export(copied)
    assert [(file, file.read_bytes()) for file in sorted(onnx.iterdir())] == before


class BetweenLayers(Edit):
    """Works between layers."""

    def before_layer(self, layer: int, hidden: Tensor, layout: Layout) -> tuple[Tensor, Tensor | None]:
        return 2 * hidden, None


class Shortens(BetweenLayers):
    shortens = True


class Positional(Mean):
    """Takes an input of its own."""

    def forward(  # type: ignore[override]
        self, hidden_states: Sequence[Tensor], attention_mask: Tensor, positions: Tensor | None = None
    ) -> Tensor:
        return super().forward(hidden_states, attention_mask)


def say(folder: Path, section: str, cls: type, **keys: Any) -> None:
    """Let a model's folder name another pooler or edit."""
    about = json.loads((folder / "config.json").read_text())
    about[section] = {"name": "mine", "_target_": f"{cls.__module__}.{cls.__qualname__}", **keys}
    (folder / "config.json").write_text(json.dumps(about))


@pytest.mark.parametrize(
    ("section", "cls", "reason"),
    [
        ("edit", BetweenLayers, "the edit BetweenLayers works between layers, on packed batches only"),
        ("edit", Shortens, "the edit Shortens leaves tokens out on the way"),
        ("pooling", Positional, r"the pooler Positional takes more than hidden states and mask \(positions\)"),
    ],
)
def test_what_has_no_padded_form_is_refused_by_name(make: Make, section: str, cls: type, reason: str) -> None:
    folder = make(*MINILM, "task=sst2", "pooling=mean")
    say(folder, section, cls, **({"tanh": "none"} if section == "pooling" else {}))
    before = sorted(folder.iterdir())
    with pytest.raises(UserError, match=f"{folder}: can't be exported: {reason}"):
        export(folder, classes=[cls])
    assert sorted(folder.iterdir()) == before


def test_an_encoder_that_looks_at_padding_is_refused(make: Make, tmp_path: Path) -> None:
    encoder(tmp_path / "fnet", BERT, "fnet")
    folder = make(*TINY, f"encoder.name={tmp_path}/fnet", "pooling=mean")
    with pytest.raises(UserError, match=r"a fnet encoder looks at padding, and runs rows of one length at a time"):
        export(folder)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--opset", "17"], "--opset 17: takes 18 to 23"),
        (["--limit", "-1", "--int8"], "--limit -1: takes a number of rows"),
        (["--limit", "5"], "--limit: is for the scores of --int8"),
        (["--data", "somewhere"], "--data: is for the scores of --int8"),
        (["--int8", "--data", "nowhere"], r"--data nowhere: .*\(--limit 0 asks for no score\)"),
        (["--output", "no/such"], r"--output no/such: there is no such folder for it; make it, or choose another"),
        (["--output", "a_file"], "--output a_file: is no folder"),
        (["--output", "there"], r"there/model_int8\.onnx: is there already; --force replaces it"),
        (["elsewhere"], "elsewhere: there is no such folder"),
        (["elsewhere", "--output", "x"], "--output x: is for the files of one model, and 2 are named"),
    ],
)
def test_bad_arguments_are_one_line_and_leave_nothing(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], reason: str
) -> None:
    (tmp_path / "a_file").touch()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "model_int8.onnx").touch()
    monkeypatch.chdir(tmp_path)
    before = sorted([*tmp_path.rglob("*"), *trained.rglob("*")])
    with pytest.raises(UserError, match=reason) as refused:
        command.main([str(trained / "model"), *arguments])
    assert "\n" not in str(refused.value)
    assert sorted([*tmp_path.rglob("*"), *trained.rglob("*")]) == before


def test_without_the_extra_it_says_what_to_install(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r'the package onnxscript is missing; pip install "glue-pool\[export\]"'):
        export(trained / "model")


# Whole products.


@pytest.mark.long
@pytest.mark.parametrize("pooling", choices("pooling"))
def test_every_pooler_on_minilm(make: Make, pooling: str) -> None:
    k = ["pooling.k=2"] if "\nk: " in (glue_pool.choices.CONF / "pooling" / f"{pooling}.yaml").read_text() else []
    agrees(make(*MINILM, "task=rte", f"pooling={pooling}", *k))


HEADS = {
    "residual and norm": ("task=cola", "model=maxpool", "pooling.k=2", "pooling.residual=true", "pooling.layer_norm=true"),
    "mixed means": ("task=cola", "pooling=scalar_mix", "pooling.then=mean"),
    "a tanh of its own": ("task=stsb", "pooling=mean_max", "pooling.tanh=new"),
    "label sets": (
        "task=cola", "task.name=tags", "task.labels=[a,b,c]", "task.multi_label=true", "task.metrics=[f1_micro]",
        "task.primary_metric=f1_micro", "pooling=mean", "task.official_rows={}",
    ),
    "duplicate": ("task=cola", "model=maxpool", "pooling.k=3", "edit=duplicate", "edit.repeat=[1]"),
    "duplicate, tied": ("task=cola", "model=bert", "edit=duplicate", "edit.repeat=[-1]", "edit.tie=true"),
    "temperature": ("task=cola", "model=bert", "edit=temperature"),
    "temperature in evaluation": ("task=cola", "model=bert", "edit=temperature", "edit.where=evaluation"),
}  # fmt: skip


@pytest.mark.long
@pytest.mark.parametrize("keys", HEADS.values(), ids=HEADS)
def test_heads_and_edits(make: Make, keys: tuple[str, ...]) -> None:
    agrees(make(*MINILM, *keys))


@pytest.mark.long
def test_scores_are_in_their_unit(make: Make) -> None:
    scale = Scale(mean=300.0, deviation=40.0)
    folder = make(*MINILM, "task=stsb", "pooling=mean", scale=scale)
    agrees(folder, tolerance=1e-4 * scale.deviation)
    assert abs(glue_pool.load(folder).logits(*texts_of(2)).mean() - 300) < 200


@pytest.mark.long
@pytest.mark.parametrize("kind", ["roberta", "modernbert", "albert", "xlnet", "deberta-v2", "mpnet", "distilbert"])
def test_families(make: Make, tmp_path: Path, kind: str) -> None:
    special = {
        "modernbert": {"local_attention": 8, "pad_token_id": 0},
        "xlnet": {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 24},
        "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24},
    }
    encoder(tmp_path / kind, XLNET if kind == "xlnet" else BERT, kind, **special.get(kind, {}))
    agrees(make(*TINY, f"encoder.name={tmp_path}/{kind}", "pooling=maxpool", "pooling.k=2", "pooling.num_heads=2"))


@pytest.mark.long
def test_a_tokenizer_that_makes_no_token_types(make: Make, tmp_path: Path) -> None:
    shutil.copytree(local_data.roberta_tokenizer(), tmp_path / "roberta")
    sizes = SIZES | {"vocab_size": len(Tokenizer(tmp_path / "roberta").loaded), "max_position_embeddings": 66}
    AutoModel.from_config(AutoConfig.for_model("roberta", **sizes)).save_pretrained(tmp_path / "roberta")
    folder = make(*TINY, "task=rte", f"encoder.name={tmp_path}/roberta", "pooling=attention")
    agrees(folder)
    session = onnxruntime.InferenceSession(folder / "onnx" / "model.onnx")
    assert [of.name for of in session.get_inputs()] == ["input_ids", "attention_mask"]


@pytest.mark.long
@pytest.mark.parametrize("pooling", ["cls", "maxpool"])
@pytest.mark.parametrize("templates", [XLNET, ("<en> [CLS] $A [SEP]", "<en> [CLS] $A $B:1 [SEP]:1")])
def test_cls_last_or_second(make: Make, tmp_path: Path, templates: tuple[str, str], pooling: str) -> None:
    encoder(tmp_path / "encoder", templates)
    more = ["pooling.k=2", "pooling.num_heads=2"] if pooling == "maxpool" else []
    agrees(make(*TINY, f"encoder.name={tmp_path}/encoder", f"pooling={pooling}", *more))


class GatedTwo(Pooler):
    """A learnt mix of the last two layers' [CLS]."""

    reads = "cls"

    def __init__(self, d: int, num_layers: int, *, share: float = 0.5) -> None:
        super().__init__(d, num_layers)
        self.layers = last_layers(2, num_layers)
        self.share = nn.Parameter(torch.full((d,), share))

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        lower, upper = (first_token(h, attention_mask) for h in hidden_states)
        return self.share * lower + (1 - self.share) * upper


class Undecided(Mean):
    """Asks the numbers which way to go, which no graph does."""

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        pooled = super().forward(hidden_states, attention_mask)
        return pooled if float(pooled.sum()) > 0 else 2 * pooled


class Restless(Mean):
    """Says another thing each time it is asked, as no export does."""

    calls = 0

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        Restless.calls += 1
        return super().forward(hidden_states, attention_mask) * Restless.calls


@pytest.mark.long
def test_a_pooler_of_ones_own(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(*MINILM, "task=sst2", "pooling=mean")
    about = glue_pool.load(folder)
    about.model.config.pooling = {"name": "gated", "_target_": f"{__name__}.GatedTwo", "tanh": "none", "share": 0.25}
    about.classifier.pooler = GatedTwo(384, 2, share=0.25)
    about.model.save_pretrained(folder)
    with pytest.raises(UserError, match="hand it in"):
        export(folder)
    agrees(folder, [GatedTwo])


@pytest.mark.long
@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        (Undecided, "pooling=mine on a bert encoder can't be translated to ONNX"),
        (Restless, r"pooling=mine on a bert encoder differs by .* as ONNX, more than 1e-04"),
    ],
)
def test_what_no_graph_says_is_refused_and_leaves_nothing(make: Make, cls: type, reason: str) -> None:
    folder = make(*MINILM, "task=sst2", "pooling=mean")
    say(folder, "pooling", cls, tanh="none")
    before = sorted(folder.iterdir())
    with pytest.raises(UserError, match=reason) as refused:
        export(folder, classes=[cls])
    assert "\n" not in str(refused.value)
    assert sorted(folder.iterdir()) == before


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(graph, "ONE_FILE", 0)
    yield


@pytest.mark.long
@pytest.mark.usefixtures("small_files")
def test_weights_beyond_a_files_size_lie_beside_it(make: Make) -> None:
    folder = make(*MINILM, "task=sst2", "pooling=mean")
    agrees(folder)
    done = export(folder, int8=True, limit=0, force=True)
    names = {"model.onnx", "model.onnx.data", "model_int8.onnx", "model_int8.onnx.data"}
    assert {file.name for file in done.files} == {file.name for file in (folder / "onnx").iterdir()} == names
    texts = texts_of(1)
    expected = glue_pool.load(folder).logits(*texts)
    assert np.abs(runs(folder / "onnx" / "model_int8.onnx", folder, "left", texts) - expected).max() < 0.5
    assert export(folder, output=folder / "other", force=True).files[0] == folder / "other" / "model.onnx"


@pytest.mark.long
@pytest.mark.parametrize("opset", [20, 23])
def test_other_opsets(make: Make, tmp_path: Path, opset: int) -> None:
    folder = make(*MINILM, "task=sst2", "model=maxpool", "pooling.k=2")
    done = export(folder, output=tmp_path / "onnx", opset=opset, int8=True, limit=0)
    assert {file.parent for file in done.files} == {tmp_path / "onnx"}
    about = onnxruntime.InferenceSession(done.files[0]).get_modelmeta().custom_metadata_map
    assert about["opset"] == str(opset)
