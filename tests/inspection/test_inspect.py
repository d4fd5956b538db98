"""`glue-pool inspect`: a saved model's shares against plain loops, what is printed and drawn, what is refused."""

import dataclasses
import io
import json
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from torch import Tensor

import glue_pool
import local_data
from conftest import Compose
from glue_pool.commands import inspect as command
from glue_pool.data.batches import collate, over
from glue_pool.data.layout import Layout
from glue_pool.data.tokens import Tokenizer
from glue_pool.errors import UserError
from glue_pool.inspection import Inspection, inspect, over_split, svg, terminal
from glue_pool.inspection.kinds import KINDS, Kinds
from glue_pool.inspection.sources import Traced, trace
from glue_pool.inspection.splits import TENTHS
from glue_pool.models.edit import Edit
from glue_pool.models.poolers import Max, Pooler
from glue_pool.pipeline import run
from glue_pool.results import run_folder

PAIR = ("A dog sees the house.", "The cat, too")
KEYS = (
    "encoder=minilm_l6",
    "encoder.num_hidden_layers=2",
    "data=local",
    "tracking=none",
    "train.precision=fp32",
    "train.max_steps=2",
    "train.batch_size=8",
    "train.max_length=48",
    "optimizer.lr=1e-3",
    "save_model=true",
)
Train = Callable[..., Path]


@pytest.fixture(scope="module")
def train(composed: Compose, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """`train("task=rte")` is the folder of a run's saved model, trained once."""
    folder = tmp_path_factory.mktemp("inspected")
    done: dict[tuple[str, ...], Path] = {}

    def make(*overrides: str) -> Path:
        if overrides not in done:
            task = composed(*overrides).task
            if not (folder / "data" / task.name).exists():
                local_data.write(folder / "data", task)
            places = [f"data.dir={folder}/data", f"data.cache_dir={folder}/cache", f"output_root={folder}/outputs"]
            cfg = composed(*KEYS, *overrides, *places)
            done[overrides] = run_folder(cfg, run(cfg)["run_key"]).path / "model"
        return done[overrides]

    return make


@pytest.fixture
def maxpool(train: Train) -> Path:
    return train("task=rte", "model=maxpool", "pooling.k=2")


@pytest.fixture
def mean(train: Train) -> Path:
    return train("task=rte", "pooling=mean")


@pytest.fixture
def copied(mean: Path, tmp_path: Path) -> Path:
    """A copy of a run with `mean`, its model's folder, to change."""
    shutil.copytree(mean.parent, tmp_path / "run")
    return tmp_path / "run" / "model"


def say(folder: Path, section: str, **content: Any) -> Path:
    """Let a model's folder name another pooler or edit."""
    about = json.loads((folder / "config.json").read_text())
    about[section] = {"name": "mine", "tanh": "none"} | content if section == "pooling" else {"name": "mine"} | content
    (folder / "config.json").write_text(json.dumps(about))
    return folder


def target(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def traced(folder: Path, *texts: Sequence[str], classes: Sequence[type] = (), **changed: Any) -> list[Traced]:
    model = glue_pool.load(folder, classes)
    tokens = dataclasses.replace(model.tokens(*texts), **changed)
    found: list[Traced] = []
    over(tokens, lambda batch: found.extend(trace(model.classifier, batch)), model.hardware, 64)
    return sorted(found, key=lambda of: of.row)


def test_a_rows_shares_prediction_and_tokens(maxpool: Path) -> None:
    found = inspect(maxpool, *PAIR)
    model = glue_pool.load(maxpool)
    ids = model.tokens(*PAIR).input_ids
    assert found.tokens == model.tokenizer.loaded.convert_ids_to_tokens(ids.tolist())
    assert (found.tokens[0], found.tokens[-1], found.layers, found.method) == ("[CLS]", "[SEP]", (1, 2), "weights")
    assert found.shares.shape == (4, 2, len(ids))
    np.testing.assert_allclose(found.shares.sum((1, 2)), 1, rtol=1e-5)
    (logits,) = model.logits(*PAIR)
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(list(found.probabilities.values()), expected, rtol=1e-4)
    assert found.label == model.labels[logits.argmax()]


def test_a_maxs_shares_are_those_of_the_encoders_hidden_states(copied: Path) -> None:
    say(copied, "pooling", _target_="glue_pool.models.poolers.Max")
    found = inspect(copied, *PAIR)
    model = glue_pool.load(copied)
    batch = collate(model.tokens(*PAIR), np.array([0]))
    with torch.no_grad():
        states = model.classifier.encoder(batch.input_ids, batch.token_type_ids, batch.layout, (2,)).states[2]
    winners = states.argmax(0).tolist()
    expected = [winners.count(token) / len(winners) for token in range(len(states))]
    np.testing.assert_allclose(found.shares[0, 0], expected, rtol=1e-5)


class Slanted(Pooler):
    """A sum of tokens that says nothing of its shares; it does not use the lower layer."""

    def __init__(self, d: int, num_layers: int) -> None:
        super().__init__(d, num_layers)
        self.layers = (num_layers - 1, num_layers)

    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        place = attention_mask.cumsum(1) * attention_mask
        return (hidden_states[-1] * place.unsqueeze(-1)).sum(1)


def test_a_pooler_without_weights_is_traced_by_gradient_times_input(copied: Path) -> None:
    say(copied, "pooling", _target_=target(Slanted))
    found = inspect(copied, *PAIR, classes=[Slanted])
    assert found.method == "gradient times input"
    model = glue_pool.load(copied, [Slanted])
    batch = collate(model.tokens(*PAIR), np.array([0]))
    with torch.no_grad():
        states = model.classifier.encoder(batch.input_ids, batch.token_type_ids, batch.layout, (2,)).states[2]
    weight = model.classifier.output.weight[model.logits(*PAIR)[0].argmax()].detach()
    parts = [abs(float(state @ weight)) * (token + 1) for token, state in enumerate(states)]
    np.testing.assert_allclose(found.shares[0, 1], np.array(parts) / sum(parts), rtol=1e-3, atol=1e-6)
    assert not found.shares[0, 0].any()


class Wrong(Max):
    """A max that says twice of what there is."""

    def shares(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        return 2 * super().shares(hidden_states, attention_mask)


class Flat(Max):
    """A max whose shares have no heads."""

    def shares(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        return super().shares(hidden_states, attention_mask)[:, 0]


def test_a_poolers_shares_that_are_none_are_refused(copied: Path) -> None:
    for cls, said in (
        (Wrong, "1 in total for each head; the first is 2"),
        (Flat, r"returned \(1, 1, \d+\), has to be"),
    ):
        say(copied, "pooling", _target_=target(cls))
        with pytest.raises(UserError, match=rf"^{cls.__name__}\.shares: .*{said}"):
            inspect(copied, *PAIR, classes=[cls])


@pytest.mark.parametrize("pooler", ["Max", "LogSumExp"])
def test_rows_are_traced_alike_alone_in_a_batch_and_with_cls_at_another_place(copied: Path, pooler: str) -> None:
    texts = (["a", PAIR[0], "the red dog"], ["b b b b b b", PAIR[1], "a cat"])
    say(copied, "pooling", _target_=f"glue_pool.models.poolers.{pooler}")
    together, last = traced(copied, *texts), traced(copied, *texts, cls=-1)
    for row, (of_batch, cls_last) in enumerate(zip(together, last, strict=True)):
        (alone,) = traced(copied, [texts[0][row]], [texts[1][row]])
        np.testing.assert_allclose(of_batch.shares, alone.shares, atol=0.02)  # a near tie may turn
        np.testing.assert_array_equal(of_batch.positions, np.arange(of_batch.shares.shape[-1]))
        np.testing.assert_array_equal(cls_last.positions, of_batch.positions)
        np.testing.assert_allclose(cls_last.shares, of_batch.shares, atol=0.02)


class NoSecond(Edit):
    """Leaves out each row's second token."""

    shortens = True

    def before_layer(self, layer: int, hidden: Tensor, layout: Layout) -> tuple[Tensor, Tensor | None]:
        return hidden, (layout.positions != 1).nonzero().flatten() if layer == 2 else None


def test_tokens_that_an_edit_left_out_are_not_there(copied: Path) -> None:
    whole = inspect(copied, *PAIR)
    say(copied, "edit", _target_=target(NoSecond))
    found = inspect(copied, *PAIR, classes=[NoSecond])
    assert found.tokens == [whole.tokens[0], *whole.tokens[2:]]
    assert found.positions.tolist() == [0, *range(2, len(whole.tokens))]
    np.testing.assert_allclose(found.shares, 1 / len(found.tokens), rtol=1e-5)


def test_a_pooler_of_cls_alone_has_that_token_and_its_layers(train: Train) -> None:
    found = inspect(train("task=stsb", "pooling=max_cls", "pooling.k=2"), "a dog", "a cat")
    assert found.tokens == ["[CLS]"]
    assert found.shares.shape == (1, 2, 1)
    assert (found.label, dict(found.probabilities)) == (None, {})
    assert found.score is not None


def test_a_split_has_the_means_of_its_rows(maxpool: Path) -> None:
    found = over_split(maxpool, "validation")
    model = glue_pool.load(maxpool)
    rows = pq.read_table(maxpool.parents[6] / "data" / "rte" / "validation.parquet").to_pylist()
    by_layer, by_tenth, by_kind, correct = [], [], [], []
    texts = [[row[column] for row in rows] for column in model.columns]
    ids = model.tokens(*texts)
    for row, one in zip(rows, traced(maxpool, *texts), strict=True):
        tokens = model.tokenizer.loaded.convert_ids_to_tokens(ids.select(np.array([one.row])).own_ids.tolist())
        of_token = one.shares.mean(0).sum(0)
        by_layer.append(one.shares.mean(0).sum(1))
        tenth = [10 * place // len(of_token) for place in range(len(of_token))]
        by_tenth.append([sum(s for s, t in zip(of_token, tenth, strict=True) if t == i) for i in range(10)])
        kind = [{"[CLS]": 0, "[SEP]": 1}.get(token, 3) for token in tokens]
        by_kind.append([sum(s for s, k in zip(of_token, kind, strict=True) if k == i) for i in range(4)])
        correct.append(one.logits.argmax() == row["label"])
    for by, values in (("layer", by_layer), ("position", by_tenth), ("token", by_kind)):
        spread = found.spread["all"][by]
        np.testing.assert_allclose(spread.all_heads[0], np.mean(values, axis=0), atol=1e-5)
        np.testing.assert_allclose(spread.all_heads[1], np.std(values, axis=0, ddof=1), atol=1e-4)
        np.testing.assert_allclose(spread.mean.sum(1), 1, rtol=1e-5)
        some = np.mean([value for value, is_right in zip(values, correct, strict=True) if is_right], axis=0)
        np.testing.assert_allclose(found.spread["correct"][by].all_heads[0], some, atol=1e-5)
    assert (found.rows, found.of_rows, found.heads, found.groups["position"]) == (24, 24, 4, TENTHS)
    assert found.spread["correct"]["layer"].rows == sum(correct)
    assert found.spread["wrong"]["layer"].rows == 24 - sum(correct)


def kinds(folder: Path, *texts: str) -> dict[str, str]:
    tokenizer = Tokenizer(folder)
    (ids,) = tokenizer.encode([[text] for text in texts], 99)["input_ids"]
    names = tokenizer.loaded.convert_ids_to_tokens(ids)
    return {name: KINDS[kind] for name, kind in zip(names, Kinds(tokenizer).of(np.array(ids), 0), strict=True)}


def test_kinds_of_tokens_are_told_in_wordpieces_and_in_bytes(mean: Path) -> None:
    of = kinds(mean, "It costs $ 5, [unusedly] ☃ … [SEP]")
    assert {name for name, kind in of.items() if kind == "punctuation"} >= {"$", ",", "[", "]"}
    assert (of["[CLS]"], of["[SEP]"], of["it"], of["[UNK]"]) == ("[CLS]", "[SEP]", "other", "other")
    of = kinds(local_data.roberta_tokenizer(), "a dog, (a cat)")
    assert next(iter(of.values())) == "[CLS]"
    assert of["</s>"] == "[SEP]"
    assert {name for name, kind in of.items() if kind == "punctuation"} == {",", "Ġ(", ")"}


def test_a_part_of_a_split_is_the_same_part_each_time(mean: Path) -> None:
    some, again = (over_split(mean, "train", limit=7) for _ in range(2))
    assert (some.rows, some.of_rows) == (7, 40)
    np.testing.assert_array_equal(some.spread["all"]["token"].mean, again.spread["all"]["token"].mean)
    assert over_split(mean, "train", limit=99).rows == 40
    assert np.isnan(over_split(mean, "train", limit=1).spread["all"]["token"].deviation).all()


def test_scores_are_neither_correct_nor_wrong(train: Train) -> None:
    found = over_split(train("task=stsb", "pooling=max_cls", "pooling.k=2"), "validation")
    assert set(found.spread) == {"all"}
    assert set(found.groups) == {"layer"}


def test_nothing_is_imported_that_a_runs_config_names(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a_trap_of_config.py").write_text("raise SystemExit('imported because a config names it')")
    monkeypatch.syspath_prepend(tmp_path)
    file = copied / "run_config.yaml"
    content = yaml.safe_load(file.read_text())
    for section in ("pooling", "edit", "recipe"):
        content[section]["_target_"] = "a_trap_of_config.Anything"
    file.write_text(yaml.safe_dump(content))
    assert over_split(copied, "validation").rows == 24
    content["task"]["name"] = "elsewhere"
    (copied / "run_config.yaml").write_text(yaml.safe_dump(content))  # of the two, the one beside the model counts
    with pytest.raises(UserError, match=r"run_config\.yaml: data\.dir=.*no folder elsewhere.*--data FOLDER reads"):
        over_split(copied, "validation")


def test_rows_that_have_moved_are_found_where_one_says(copied: Path, mean: Path, tmp_path: Path) -> None:
    shutil.copytree(mean.parents[6] / "data", tmp_path / "moved")
    file = copied / "run_config.yaml"
    file.write_text(file.read_text().replace("/data\n", "/gone\n"))
    with pytest.raises(UserError, match=r"run_config\.yaml: data\.dir=.*gone.*--data FOLDER"):
        over_split(copied, "validation")
    moved = over_split(copied, "validation", data=tmp_path / "moved")
    np.testing.assert_array_equal(
        moved.spread["all"]["token"].mean, over_split(mean, "validation").spread["all"]["token"].mean
    )


def printed(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    command.main([str(arg) for arg in argv])
    return capsys.readouterr().out


def test_an_empty_text_has_special_tokens_alone(mean: Path) -> None:
    found = inspect(mean, "", "")
    assert found.tokens == ["[CLS]", "[SEP]", "[SEP]"]
    assert not found.truncated


def test_a_text_that_is_too_long_is_cut_and_that_is_said(mean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = printed(capsys, mean, "dog " * 10_000, "cat")
    assert "mind         the texts are cut" in said
    assert said.count("  dog ") == 44


REFUSED: dict[str, tuple[Callable[[Path], Sequence[object]], str]] = {
    "no weights": (
        lambda model: [(model / "model.safetensors").rename(model / "gone") and model, *PAIR],
        "not a saved model",
    ),
    "the run's folder": (lambda model: [model.parent, *PAIR], "its model is in"),
    "one text of two": (lambda model: [model, PAIR[0]], r"rte takes 2 texts \(sentence1, sentence2\), not 1"),
    "bytes that are no text": (lambda model: [model, PAIR[0], "caf\udce9"], "a text is no UTF-8: "),
    "no text": (lambda model: [model], "takes either the texts of a row or --split NAME"),
    "both": (lambda model: [model, *PAIR, "--split", "validation"], "takes either the texts of a row or --split NAME"),
    "a limit of nothing": (lambda model: [model, *PAIR, "--limit", 3], "--limit: is for --split"),
    "no split": (lambda model: [model, "--split", "valdation"], "rte has train, validation, test; did you mean 'valid"),
    "no rows": (lambda model: [model, "--split", "test"], r"test\.parquet is missing.*--data FOLDER"),
    "no such data": (
        lambda model: [model, "--split", "train", "--data", "/no"],
        "--data /no: data.dir=/no: there is no",
    ),
    "limit 0": (lambda model: [model, "--split", "train", "--limit", 0], "--limit 0: has to be at least 1"),
    "no config": (
        lambda model: [
            (model / "run_config.yaml").rename(model / "gone")
            and (model.parent / "config.yaml").rename(model.parent / "gone")
            and model,
            "--split",
            "train",
        ],
        "neither run_config.yaml in it nor config.yaml above it",
    ),
    "a broken config": (
        lambda model: [(model / "run_config.yaml").write_text("task: [") and model, "--split", "train"],
        "not a run's config",
    ),
    "a file that is there": (lambda model: [model, *PAIR, "--svg", model / "config.json"], "--force replaces it"),
    "a folder": (lambda model: [model, *PAIR, "--svg", model], "is a folder"),
}


@pytest.mark.parametrize(("argv", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_inspected_is_refused_in_one_line(
    copied: Path, argv: Callable[[Path], Sequence[object]], said: str, tmp_path: Path
) -> None:
    words = list(map(str, argv(copied)))
    words += [] if "--svg" in words else ["--svg", str(tmp_path / "new.svg")]
    with pytest.raises(UserError, match=said) as refused:
        command.main(words)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "new.svg").exists()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def example(tokens: Sequence[str] = ("[CLS]", "a", "dog", "[SEP]"), heads: int = 2, layers: int = 3) -> Inspection:
    shares = np.random.default_rng(0).dirichlet(np.ones(layers * len(tokens)), heads)
    return Inspection(
        "rte",
        "maxpool",
        list(tokens),
        np.arange(len(tokens)),
        tuple(range(1, layers + 1)),
        shares.reshape(heads, layers, len(tokens)),
        "weights",
        "yes",
        {"yes": 0.75, "no": 0.25},
        None,
        False,
    )


@pytest.mark.parametrize(("layers", "tokens"), [(1, "dog"), (3, "dog"), (3, "incomprehensibilities" * 3), (24, "漢字")])
def test_sixty_columns_are_enough(layers: int, tokens: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    file = io.StringIO()
    terminal.show(example(["[CLS]", tokens, "x\ny"], heads=4, layers=layers), file)
    lines = file.getvalue().splitlines()
    assert max(map(cell_len, lines)) <= 60
    assert "\x1b" not in file.getvalue()
    assert sum("[CLS]" in line for line in lines) >= 1
    assert any("x\\ny" in line for line in lines)


def test_cells_are_shaded_on_a_terminal_unless_it_can_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown = {}
    for name, variables in {"colours": {}, "none": {"NO_COLOR": "1"}, "dumb": {"TERM": "dumb"}}.items():
        with monkeypatch.context() as changed:
            for variable, value in variables.items():
                changed.setenv(variable, value)
            shown[name] = Terminal()
            terminal.show(example(), shown[name])
    assert "\x1b[30;48;5;" in shown["colours"].getvalue()
    assert ";48;" not in shown["none"].getvalue()
    assert "\x1b" not in shown["dumb"].getvalue()
    plain = re.sub(r"\x1b\[[\d;]*m", "", shown["colours"].getvalue())
    assert [line.rstrip() for line in plain.splitlines()] == shown["dumb"].getvalue().splitlines()


def test_a_terminal_without_blocks_has_bars_too() -> None:
    for layers in (3, 24):
        file = io.TextIOWrapper(io.BytesIO(), "ascii")
        terminal.show(example(layers=layers), file)
        file.seek(0)
        text = file.read()
        assert "\\u" not in text
        assert "#" in text


def drawn(text: str) -> ET.Element:
    assert not re.search(r"<script|url\(|@import|href", text)
    assert text.count("http") == 1  # the name space
    return ET.fromstring(text)


SVG = "{http://www.w3.org/2000/svg}"


@settings(max_examples=50)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=4), st.integers(1, 3), st.sampled_from([1, 3, 30]))
def test_any_token_can_be_drawn(tokens: list[str], heads: int, layers: int) -> None:
    picture = drawn(svg.of_row(example([*tokens, "<b>&\"'", "\ud800", "\x00", "\uffff"], heads, layers)))
    cells = [cell for cell in picture.iter(f"{SVG}rect") if cell.get("class") == "mark"]
    blocks = heads + (heads > 1)
    assert len(cells) == blocks * layers * (len(tokens) + 4)
    assert all(0 <= float(cell.get("fill-opacity", -1)) <= 1 for cell in cells)
    assert "<b>&\"'" in [text.text for text in picture.iter(f"{SVG}text")]


def test_a_large_picture_has_a_column_a_head() -> None:
    tokens = [f"token{i}" for i in range(500)]
    found = example(tokens, heads=16, layers=24)
    text = svg.of_row(found)
    assert len(text) < 4_000_000
    titles = [title.text or "" for title in drawn(text).iter(f"{SVG}title")]
    of_heads = [title for title in titles if title.startswith("token499, all layers: ")]
    expected = [f"token499, all layers: {100 * share:.2f} %" for share in found.shares.sum(1)[:, 499]]
    assert of_heads == expected


def test_pictures_are_written_whole_and_not_over_another(maxpool: Path, tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "row.svg"
    said = printed(capsys, maxpool, *PAIR, "--svg", file)
    assert "head 4" in said
    assert "[CLS]" in [text.text for text in drawn(file.read_text()).iter(f"{SVG}text")]
    with pytest.raises(UserError, match="--force replaces it"):
        command.main([str(maxpool), "--split", "validation", "--svg", str(file)])
    said = printed(capsys, maxpool, "--split", "validation", "--svg", file, "--force")
    texts = [text.text for text in drawn(file.read_text()).iter(f"{SVG}text")]
    assert {"layer 1", "layer 2", "punctuation", "[SEP]", "head 4"} <= set(texts)
    assert any((text or "").startswith("correct (") for text in texts)
    for kind in ("layer 2", "punctuation", "90 to 100 %"):
        (line,) = [line for line in said.splitlines() if line.strip().startswith(kind)]
        number = line.split("+-")[0].split()[-1]
        assert any((text or "").startswith(f"{number} ±") for text in texts), kind
    assert list(file.parent.iterdir()) == [file]
