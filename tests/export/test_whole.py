"""Whole exports: every pooler on MiniLM, heads, edits, families, places of [CLS], opsets, files beside (long)."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

import glue_pool
import local_data
from conftest import Compose, choices
from exported import MINILM, SIZES, TINY, Make, agrees, encoder, kept, runs, say, texts_of
from glue_pool.choices import CONF
from glue_pool.data.tokens import Tokenizer
from glue_pool.errors import UserError
from glue_pool.export import OPSETS, export, graph
from glue_pool.models.classifier import Scale
from glue_pool.models.poolers import Mean, Pooler, first_token, last_layers
from test_tokenizers import BERT, XLNET

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def make(composed: Compose, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """`make("pooling=mean")` is the folder of a saved model that was not trained."""

    def build(*overrides: str, scale: Scale | None = None) -> Path:
        return kept(composed(*overrides), tmp_path_factory.mktemp("made") / "model", scale)

    return build


@pytest.mark.parametrize("pooling", choices("pooling"))
def test_every_pooler_on_minilm(make: Make, pooling: str) -> None:
    k = ["pooling.k=2"] if "\nk: " in (CONF / "pooling" / f"{pooling}.yaml").read_text() else []
    agrees(make(*MINILM, "task=rte", f"pooling={pooling}", *k))


HEADS = {
    "residual": ("task=cola", "model=maxpool", "pooling.k=2", "pooling.residual=true", "pooling.layer_norm=true"),
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


@pytest.mark.parametrize("keys", HEADS.values(), ids=HEADS)
def test_heads_and_edits(make: Make, keys: tuple[str, ...]) -> None:
    agrees(make(*MINILM, *keys))


def test_scores_are_in_their_unit(make: Make) -> None:
    scale = Scale(mean=300.0, deviation=40.0)
    folder = make(*MINILM, "task=stsb", "pooling=mean", scale=scale)
    agrees(folder, tolerance=1e-4 * scale.deviation)
    assert abs(glue_pool.load(folder).logits(*texts_of(2)).mean() - 300) < 200


@pytest.mark.parametrize("kind", ["roberta", "modernbert", "albert", "deberta-v2"])
def test_families(make: Make, tmp_path: Path, kind: str) -> None:
    windows = {"local_attention": 8, "pad_token_id": 0} if kind == "modernbert" else {}
    encoder(tmp_path / kind, BERT, kind, **windows)
    agrees(make(*TINY, f"encoder.name={tmp_path}/{kind}", "pooling=maxpool", "pooling.k=2", "pooling.num_heads=2"))


def test_a_tokenizer_that_makes_no_token_types(make: Make, tmp_path: Path) -> None:
    shutil.copytree(local_data.roberta_tokenizer(), tmp_path / "roberta")
    sizes = SIZES | {"vocab_size": len(Tokenizer(tmp_path / "roberta").loaded), "max_position_embeddings": 66}
    AutoModel.from_config(AutoConfig.for_model("roberta", **sizes)).save_pretrained(tmp_path / "roberta")
    folder = make(*TINY, "task=rte", f"encoder.name={tmp_path}/roberta", "pooling=attention")
    agrees(folder)
    session = onnxruntime.InferenceSession(folder / "onnx" / "model.onnx")
    assert [of.name for of in session.get_inputs()] == ["input_ids", "attention_mask"]


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


def test_a_pooler_of_ones_own(make: Make) -> None:
    folder = make(*MINILM, "task=sst2", "pooling=mean")
    about = glue_pool.load(folder)
    about.model.config.pooling = {"name": "gated", "_target_": f"{__name__}.GatedTwo", "tanh": "none", "share": 0.25}
    about.classifier.pooler = GatedTwo(384, 2, share=0.25)
    about.model.save_pretrained(folder)
    with pytest.raises(UserError, match="hand it in"):
        export(folder)
    agrees(folder, [GatedTwo])


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


def test_weights_beyond_a_files_size_lie_beside_it(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "ONE_FILE", 0)
    folder = make(*MINILM, "task=sst2", "pooling=mean")
    agrees(folder)
    done = export(folder, int8=True, limit=0, force=True)
    names = {"model.onnx", "model.onnx.data", "model_int8.onnx", "model_int8.onnx.data"}
    assert {file.name for file in done.files} == {file.name for file in (folder / "onnx").iterdir()} == names
    texts = texts_of(1)
    expected = glue_pool.load(folder).logits(*texts)
    assert np.abs(runs(folder / "onnx" / "model_int8.onnx", folder, "left", texts) - expected).max() < 0.5
    assert export(folder, output=folder / "other", force=True).files[0] == folder / "other" / "model.onnx"


def test_another_opset_in_another_folder(make: Make, tmp_path: Path) -> None:
    folder = make(*MINILM, "task=sst2", "model=maxpool", "pooling.k=2")
    done = export(folder, output=tmp_path / "onnx", opset=OPSETS[-1], int8=True, limit=0)
    assert {file.parent for file in done.files} == {tmp_path / "onnx"}
    about = onnxruntime.InferenceSession(done.files[0]).get_modelmeta().custom_metadata_map
    assert about["opset"] == str(OPSETS[-1])


def test_files_of_the_export_before_go_and_that_is_said(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make(*MINILM, "task=cola", "pooling=mean")
    (folder / "onnx").mkdir()
    for name in ("model.onnx", "model_int8.onnx"):
        (folder / "onnx" / name).touch()
    done = export(folder, force=True)
    assert sorted((folder / "onnx").iterdir()) == list(done.files) == [folder / "onnx" / "model.onnx"]
    assert "model_int8.onnx: removed, for it was of the export before" in capsys.readouterr().out
