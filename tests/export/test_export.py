"""`glue-pool export`: an ONNX file and its int8 beside the run's own logits and score, and what is refused."""

import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.parquet as pq
import pytest
from torch import Tensor

import glue_pool
import local_data
from conftest import Compose
from exported import MINILM, TINY, agrees, encoder, kept, runs, say, texts_of
from glue_pool.commands import export as command
from glue_pool.data.layout import Layout
from glue_pool.errors import UserError
from glue_pool.export import export
from glue_pool.export.scores import Score, dev, lines
from glue_pool.models.edit import Edit
from glue_pool.models.poolers import Mean
from glue_pool.pipeline import run
from glue_pool.results import run_folder
from test_tokenizers import BERT

Printed = pytest.CaptureFixture[str]


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
    assert [(of.name, of.type, of.shape) for of in session.get_inputs()] == [
        (name, "tensor(int64)", ["batch", "sequence"]) for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["labels"]) == model.labels
    assert (about["opset"], about["pooling"], about["max_length"]) == ("18", "maxpool", "48")

    before = [(file, file.read_bytes()) for file in sorted(onnx.iterdir())]
    with pytest.raises(UserError, match=r"model\.onnx: is there already; --force replaces it"):
        export(copied)
    assert [(file, file.read_bytes()) for file in sorted(onnx.iterdir())] == before


@pytest.mark.parametrize("pooling", ["bert", "gem", "layer_lstm"])  # and maxpool: one of each kind
def test_one_pooler_of_each_kind(trained: Path, composed: Compose, tmp_path: Path, pooling: str) -> None:
    cfg = composed(*TINY, f"encoder.name={trained.parents[5]}/encoder", f"pooling={pooling}")
    agrees(kept(cfg, tmp_path / "model"))


class BetweenLayers(Edit):
    """Works between layers."""

    def before_layer(self, layer: int, hidden: Tensor, layout: Layout) -> tuple[Tensor, Tensor | None]:
        return 2 * hidden, None


class Shortens(BetweenLayers):
    shortens = True


class Positional(Mean):
    """Takes an input of its own."""

    def forward(
        self, hidden_states: Sequence[Tensor], attention_mask: Tensor, positions: Tensor | None = None
    ) -> Tensor:
        return super().forward(hidden_states, attention_mask)


@pytest.mark.parametrize(
    ("section", "cls", "reason"),
    [
        ("edit", BetweenLayers, "the edit BetweenLayers works between layers, on packed batches only"),
        ("edit", Shortens, "the edit Shortens leaves tokens out on the way"),
        ("pooling", Positional, r"the pooler Positional takes more than hidden states and mask \(positions\)"),
    ],
)
def test_what_has_no_padded_form_is_refused_by_name(
    composed: Compose, tmp_path: Path, section: str, cls: type, reason: str
) -> None:
    folder = kept(composed(*MINILM, "task=sst2", "pooling=mean"), tmp_path / "model")
    say(folder, section, cls, **({"tanh": "none"} if section == "pooling" else {}))
    before = sorted(folder.iterdir())
    with pytest.raises(UserError, match=f"{folder}: can't be exported: {reason}"):
        export(folder, classes=[cls])
    assert sorted(folder.iterdir()) == before


def test_a_table_is_of_the_same_rows_and_says_how_far_methods_are_apart(
    trained: Path, tmp_path: Path, capsys: Printed
) -> None:
    folders = [shutil.copytree(trained, tmp_path / name) / "model" for name in ("one", "other")]
    config = folders[1].parent / "config.yaml"
    for file in (config, folders[1] / "run_config.yaml"):
        changed = file.read_text().replace("name: plain", "name: mixout").replace("name: maxpool", "name: mean")
        file.write_text(re.sub(r"(recipe:\n(  .*\n)*?  _target_: ).*", r"\1some.Recipe", changed))
    found = dev(folders[1], None, 5)
    assert (found.method, len(found.rows), len(dev(folders[0], None, None).rows)) == ("mean+mixout", 5, 24)
    rows = pq.read_table(trained.parents[5] / "data" / "sst2" / "validation.parquet")
    (tmp_path / "data" / "sst2").mkdir(parents=True)
    pq.write_table(rows.slice(1), tmp_path / "data" / "sst2" / "validation.parquet")
    for file in (config, folders[1] / "run_config.yaml"):
        file.write_text(re.sub(r"dir: .*/data$", f"dir: {tmp_path}/data", file.read_text(), flags=re.MULTILINE))
    with pytest.raises(
        UserError, match=r"other/model: is of other dev rows than .*one/model; one table is of the same"
    ):
        export(folders, int8=True)
    assert not list(tmp_path.rglob("onnx"))

    scores = [
        Score(Path(f"{method}/{seed}"), method, form, 0.5 + 0.1 * (method == "b") + 0.01 * seed - drop, 1, 1.0, 1.0)
        for method in "ab"
        for seed in (1, 2)
        for form, drop in (("ONNX fp32", 0.0), ("ONNX int8", 0.06 * (method == "b")))
    ]
    *_, apart = lines(scores, "accuracy", 24, 2)
    assert apart == "b less a: +10.00 ONNX fp32, +4.00 ONNX int8 (means of 2 and 2 models)"


def test_an_encoder_that_looks_at_padding_is_refused(composed: Compose, tmp_path: Path) -> None:
    encoder(tmp_path / "fnet", BERT, "fnet")
    folder = kept(composed(*TINY, f"encoder.name={tmp_path}/fnet", "pooling=mean"), tmp_path / "model")
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
    with pytest.raises(UserError, match=r'package onnxscript can\'t be imported .*; pip install "glue-pool\[export\]"'):
        export(trained / "model")
