"""Model cards: what the Hub reads back, what the words say and don't, whatever names a user gave (about 10 s)."""

import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import yaml
from huggingface_hub import ModelCard, ModelCardData
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

import local_data
from conftest import Compose
from glue_pool import commandline, composing, pipeline, results
from glue_pool.cli import main
from glue_pool.models.identity import PACKAGED
from glue_pool.results import run_folder
from glue_pool.saved import card
from glue_pool.shell import one_line, readable
from glue_pool.sweeps.attempt import Ending
from glue_pool.sweeps.plan import Planned
from glue_pool.sweeps.sweep import run_sweep
from run_folders import Drawn

SECTIONS = ["Use", "Score", "Method", "Training", "Limits", "Licences"]
MINILM = PACKAGED["minilm_l6"][2]
TINY = (
    "encoder=minilm_l6", "encoder.num_hidden_layers=2", "data=local", "tracking=none", "train.max_steps=2",
    "train.batch_size=8", "save_model=true",
)  # fmt: skip


def made(
    source: str, encoder: str = "google-bert/bert-base-uncased@main", data: str = "nyu-mll/glue/…"
) -> dict[str, Any]:
    """What a manifest says of where rows and encoder came from."""
    return {
        "data": {"source": source, "identity": data, "fingerprints": {"train": "a" * 64, "validation": "b" * 64}},
        "encoder": {"name": "…", "weights": encoder, "identity": "5" * 64, "model_type": "bert"},
    }


def written(root: Path, *overrides: str, **others: Any) -> Path:
    """A finished run with a model, of BERT-base on the Hub's rows unless told otherwise."""
    line = ("encoder=bert_base", "data=hub", *overrides)
    folder = Drawn(line, **{"manifest": made("hub"), **others}).write(root)
    (folder / "model").mkdir(exist_ok=True)
    return folder


def data_of(folder: Path) -> ModelCardData:
    """A run's card, written and read back: its metadata."""
    data = ModelCard.load(card.write(folder)).data
    assert isinstance(data, ModelCardData)
    return data


def text_of(folder: Path) -> str:
    """A run's card, written and read back: its text."""
    return str(ModelCard.load(card.write(folder)).text)


def words(folder: Path) -> str:
    return " ".join(text_of(folder).split())


def change(folder: Path, said: Callable[[dict[str, Any]], object], name: str = "config.yaml") -> None:
    """Let a function change what a file of a run holds."""
    content = yaml.safe_load((folder / name).read_text())
    said(content)
    write = results.write_json if name.endswith(".json") else write_yaml
    write(folder / name, content)


def write_yaml(file: Path, content: Any) -> None:
    file.write_text(yaml.safe_dump(results.as_text(content)))


TASKS = {
    "rte": {("validation", "accuracy")},
    "mnli": {("validation_matched", "accuracy"), ("validation_mismatched", "accuracy")},
    "mrpc": {("validation", name) for name in ("accuracy", "f1", "acc_and_f1")},
    "stsb": {("validation", name) for name in ("pearsonr", "spearmanr", "corr")},
    "cola": {("validation", "matthews_correlation")},
}


@pytest.mark.parametrize("task", TASKS)
def test_the_hub_reads_the_scores_back_as_fractions(task: str, tmp_path: Path) -> None:
    folder = written(tmp_path, f"task={task}", "pooling=mean")
    data = data_of(folder)
    assert data.eval_results
    found = {(of.dataset_split, of.metric_type): of.metric_value for of in data.eval_results}
    assert found.keys() == TASKS[task]
    metrics = json.loads((folder / "result.json").read_text())["metrics"]
    assert sorted(found.values()) == sorted(value for of in metrics.values() for value in of.values())
    assert max(map(abs, found.values())) <= 1
    assert {(of.dataset_type, of.dataset_config, of.task_type) for of in data.eval_results} == {
        ("nyu-mll/glue", task, "text-classification")
    }
    assert (data.base_model, data.datasets) == ("google-bert/bert-base-uncased", ["nyu-mll/glue"])
    assert (data.language, data.license, data.library_name) == ("en", "apache-2.0", "transformers")
    assert data.tags == ["glue_pool", "mean", task]


@pytest.mark.parametrize("task", ["risk", "price", "topics", "spam"])
def test_tasks_of_ones_own_have_cards_that_name_no_data_set(task: str, tmp_path: Path) -> None:
    data = data_of(written(tmp_path, f"task={task}", "pooling=mean", manifest=made("files")))
    assert (data.datasets, data.language) == (None, None)
    assert data.eval_results
    assert {of.dataset_type for of in data.eval_results} == {task}


def test_a_score_that_is_not_a_number_is_in_no_index(tmp_path: Path) -> None:
    folder = written(tmp_path, "task=rte", "pooling=mean", nan=True)
    assert data_of(folder).eval_results is None
    assert "**not a number**" in words(folder)


def test_the_seeds_that_lie_beside_it_are_counted_and_no_other_runs(tmp_path: Path) -> None:
    line = ("task=rte", "pooling=mean")
    first = written(tmp_path, *line, seed=1, skill=0.5)
    assert "No other seed of the same settings" in words(first)
    scores = [json.loads((first / "result.json").read_text())["score"]]
    for seed in (2, 3):
        other = written(tmp_path, *line, seed=seed, skill=seed)
        scores.append(json.loads((other / "result.json").read_text())["score"])
    written(tmp_path, *line, "optimizer.lr=1e-3", seed=4)
    written(tmp_path, *line, "subset=n100", seed=5)
    written(tmp_path, *line, "encoder.freeze=true", seed=6)
    Drawn(("encoder=bert_base", "data=hub", *line), 7, error="no memory").write(tmp_path)
    (written(tmp_path, *line, seed=8) / "result.json").write_text("{")
    (written(tmp_path, *line, seed=9) / "config.yaml").unlink()
    mean = sum(scores) / 3
    spread = (sum((score - mean) ** 2 for score in scores) / 2) ** 0.5
    said = words(first)
    assert f"Over 3 seeds of the same settings (1, 2, 3) the accuracy is {mean:.4f}" in said
    assert f"standard deviation of {spread:.4f}." in said
    assert "This model is that of seed 1, whatever its place among them, which is not told" in said
    assert f"**{scores[0]:.4f}**" in said


def test_collapsed_and_undefined_seeds_are_said(tmp_path: Path) -> None:
    line = ("task=rte", "pooling=mean")
    collapsed = written(tmp_path, *line, seed=1, collapsed=True)
    written(tmp_path, *line, seed=2, nan=True)
    written(tmp_path, *line, seed=3)
    assert "over the 2 that have one; 1 of the seeds collapsed." in words(collapsed)
    assert "**It collapsed**" in words(collapsed)
    shutil.rmtree(written(tmp_path, *line, seed=3))
    assert "Over 2 seeds of the same settings (1, 2) the accuracy is not a number for all, or all but one;" in words(
        collapsed
    )


ROWS = {
    "the Hub's": ((), made("hub"), True, "as many as the data set's own split", "nyu-mll/glue"),
    "part of the Hub's": ((), made("hub"), False, "this is no official score", "nyu-mll/glue"),
    "a folder laid out like it": ((), made("hub", data="sha256:1"), True, "as many as", None),
    "files like the Hub's": ((), made("local", data="sha256:1"), True, "as many as", "nyu-mll/glue"),
    "other files": ((), made("local", data="sha256:1"), False, "this is no official score", None),
    "a share of the Hub's": (("task.dev_share=0.1",), made("hub"), False, "drawn, and not trained on", "nyu-mll/glue"),
    "generated": (("data=synthetic",), made("synthetic"), False, "**The rows are generated**", None),
}


@pytest.mark.parametrize(("overrides", "manifest", "official", "said", "data_set"), ROWS.values(), ids=ROWS)
def test_the_card_says_which_rows_these_are(
    overrides: tuple[str, ...],
    manifest: dict[str, Any],
    official: bool,
    said: str,
    data_set: str | None,
    tmp_path: Path,
) -> None:
    folder = written(tmp_path, "task=rte", "pooling=mean", *overrides, manifest=manifest, official=official)
    assert said in words(folder)
    assert data_of(folder).datasets == (data_set and [data_set])
    assert (
        "Rows, RTE of [nyu-mll/glue](https://huggingface.co/datasets/nyu-mll/glue): `other`" in text_of(folder)
    ) == (data_set is not None)


def test_a_licence_is_that_of_what_it_was_stated_for(tmp_path: Path) -> None:
    def licence(number: int, weights: str, *overrides: str) -> Any:
        return data_of(written(tmp_path / str(number), "task=rte", *overrides, manifest=made("hub", weights)))

    roberta = licence(1, "FacebookAI/roberta-base@main", "encoder=roberta_base")
    assert (roberta.license, roberta.base_model) == ("mit", "FacebookAI/roberta-base")
    packaged = licence(2, MINILM, "encoder=minilm_l6")
    assert (packaged.license, packaged.base_model) == ("apache-2.0", "sentence-transformers/all-MiniLM-L6-v2")
    other = licence(3, "me/mine@main", "encoder.name=me/mine")  # named on top of bert_base.yaml
    assert (other.license, other.base_model) == (None, "me/mine")
    stated = licence(4, "me/mine@main", "encoder.name=me/mine", "encoder.license=mit")
    assert stated.license == "mit"
    own = licence(5, "me/mine@main", "encoder.name=me/mine", "encoder.license='Ours, ask us'")
    assert (own.license, own.license_name) == ("other", "Ours, ask us")


def test_no_path_and_no_account_is_in_a_card(tmp_path: Path) -> None:
    secret = tmp_path / "home" / "somebody"
    places = [f"encoder.name={secret}/my_bert", f"data.dir={secret}/rows", f"data.cache_dir={secret}/cache"]
    account = ["tracking.entity=some-entity", "tracking.project=some-project", f"tracking.dir={secret}/wandb"]
    folder = written(tmp_path, "task=rte", "data=local", *places, *account, manifest=made("local", "5" * 64))
    found = card.write(folder).read_text()
    assert "my_bert" in found
    assert not [word for word in ("somebody", str(tmp_path), "some-entity", "some-project", "cache") if word in found]


def test_the_method_is_told_with_its_sources(tmp_path: Path) -> None:
    said = words(written(tmp_path, "task=rte", "pooling=maxpool", "recipe=mixout", "edit=duplicate"))
    assert "`maxpool`: MaxPoolBERT: max over the last k layers at every position" in said
    for paper in ("2505.15696", "1909.11299", "2001.09309"):
        assert f"[arXiv {paper}](https://arxiv.org/abs/{paper})" in said
    assert "z = MHA(query = M\\_0, key = value = M)" in said
    assert "`p=0.9`" in said
    plain = words(written(tmp_path, "task=rte", "pooling=mean"))
    assert "Recipe" not in plain
    assert "Edit" not in plain


def test_a_class_of_ones_own_is_named_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_trap_of_cards.py").write_text("raise SystemExit('imported because a folder names it')")
    monkeypatch.syspath_prepend(tmp_path)
    folder = written(tmp_path, "task=rte", "pooling=mean")
    section = {"name": "mine", "_target_": "a_trap_of_cards.Mine", "tanh": "none", "weight": 0.5}
    change(folder, lambda config: config.update(pooling=section))
    said = words(folder)
    assert "Pooler `mine`: a class of the author's own, `a_trap_of_cards.Mine`. Its keys: `weight=0.5`." in said
    assert 'glue_pool.load("FOLDER", classes=[…])' in said


def tokens(text: str) -> Iterator[Token]:
    """Everything that a Markdown parser makes of a text."""
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        yield token
        yield from token.children or ()


NASTY = (
    "a|b`c``\n---\n# d\r\n<script>x</script> [e](http://f) ![g](h) {{ i }} *j* ``` : - 'k' \"l\" & "
    "\u2028\u202e \ud800 \0"
)
anything = st.text(min_size=1, max_size=40)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("named"), "task=rte", "pooling=mean", manifest=made("files", "5" * 64))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(NASTY, NASTY, NASTY, NASTY)
@example("---", "`", " ", "```")
@given(title=anything, label=anything, licence=anything, encoder=anything)
def test_whatever_names_hold_the_card_is_one_card(
    finished: Path, title: str, label: str, licence: str, encoder: str
) -> None:
    def named(config: dict[str, Any]) -> None:
        config["task"] |= {"title": title, "labels": [label, "other"], "columns": [label], "license": title}
        config["task"]["source"] |= {"path": label, "config": title, "revision": licence}
        config["encoder"] |= {"name": encoder, "revision": encoder, "license": licence}

    change(finished, named)
    change(finished, lambda result: result.update(encoder=encoder), "result.json")
    data = data_of(finished)
    assert data.tags == ["glue_pool", "mean", "rte"]
    assert data.eval_results
    assert [of.metric_name for of in data.eval_results] == ["accuracy"]
    parsed = list(tokens(text_of(finished)))
    spans = {token.content.strip() for token in parsed if token.type == "code_inline"}
    assert {one_line(readable(name)).strip() for name in (label, encoder)} <= spans
    headings = [after.content for token, after in itertools.pairwise(parsed) if token.type == "heading_open"]
    assert headings[1:] == SECTIONS
    assert not {token.type for token in parsed} & {
        "html_block",
        "html_inline",
        "image",
        "table_open",
        "hr",
        "blockquote_open",
    }
    links = {str(token.attrs["href"]) for token in parsed if token.type == "link_open"}
    assert {link for link in links if not link.startswith("https://arxiv.org/abs/")} == set()
    assert [token.info for token in parsed if token.type == "fence"] == ["python", "sh"]


def test_a_run_of_0_1_has_a_card(tmp_path: Path) -> None:
    of_0_1 = Path(__file__).parents[1] / "written_by_0_1" / "outputs"
    outputs = shutil.copytree(of_0_1, tmp_path / "outputs")
    folder = next(file.parent for file in sorted(outputs.rglob("result.json")))
    (folder / "model").mkdir(exist_ok=True)
    data = data_of(folder)
    assert data.eval_results
    assert data.eval_results[0].metric_value == json.loads((folder / "result.json").read_text())["score"]
    assert "seeds of the same settings" in words(folder)


def refused(capture: pytest.CaptureFixture[str], *folders: Path) -> str:
    """The one line with which `glue-pool card` ends."""
    with pytest.raises(SystemExit) as ended:
        main(["card", *map(str, folders)])
    assert ended.value.code == 2
    printed, said = capture.readouterr()
    assert (printed, said.count("\n")) == ("", 1)
    return said


def test_a_folder_without_a_card_to_write_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = written(tmp_path, "task=rte", "pooling=mean")
    failed = Drawn(("task=rte", "pooling=mean"), 2, error="RuntimeError: out\nof memory").write(tmp_path)
    without = Drawn(("task=rte", "pooling=mean"), 3).write(tmp_path)
    damaged = written(tmp_path, "task=rte", "pooling=mean", seed=4)
    change(damaged, lambda manifest: manifest.pop("hardware"), "manifest.json")
    odd = written(tmp_path, "task=rte", "pooling=mean", seed=5)
    change(odd, lambda config: config.update(train=None))
    assert f"{tmp_path}/none: there is no such folder" in refused(capsys, tmp_path / "none")
    assert "no run's folder, or its run is not over: no result.json in it" in refused(capsys, tmp_path)
    assert f"a saved model, and no run's folder; that is {good}" in refused(capsys, good / "model")
    assert "the run failed, and left no model (RuntimeError" in refused(capsys, good, failed)
    assert "no model in it; the same command with save_model=true keeps one" in refused(capsys, without)
    assert "damaged (KeyError: 'hardware')" in refused(capsys, damaged)
    assert "damaged" in refused(capsys, odd)
    assert not list(tmp_path.rglob("README.md"))


def test_the_command_prints_where_the_cards_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [written(tmp_path, "task=rte", "pooling=mean", seed=seed) for seed in (1, 2)]
    main(["card", *(os.path.relpath(folder) for folder in folders)])
    assert capsys.readouterr().out.splitlines() == [os.path.relpath(folder / "model/README.md") for folder in folders]
    assert all("Over 2 seeds" in (folder / "model/README.md").read_text() for folder in folders)


def test_a_card_that_cannot_be_written_is_a_warning_to_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = written(tmp_path, "task=rte", "pooling=mean")
    (folder / "manifest.json").write_text("{")
    card.renew([folder])
    said = capsys.readouterr().out
    assert said.startswith("mind: no model card in")
    assert said.count("\n") == 1


class Here:
    """A sweep's backend that carries out its runs in this process, one after another."""

    parallel, about = 1, None

    def __init__(self) -> None:
        self.ended: list[Planned] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, run: Planned) -> None:
        pipeline.run(run.cfg)
        self.ended.append(run)

    def endings(self) -> Iterator[tuple[Planned, Ending]]:
        while self.ended:
            yield self.ended.pop(), Ending("over")


def test_a_run_writes_its_card_and_a_sweep_those_of_all_its_seeds(composed: Compose, tmp_path: Path) -> None:
    local_data.write(tmp_path, composed("task=rte").task)
    places = [f"data.dir={tmp_path}", f"data.cache_dir={tmp_path}/cache", f"output_root={tmp_path}/outputs"]
    line = [*TINY, "task=rte", "pooling=mean", *places]
    one = composed(*line, "seed=0")
    first = run_folder(one, pipeline.run(one)["run_key"]).path / "model" / "README.md"
    assert "No other seed" in first.read_text()
    checked = commandline.check(["-m", *line, "seed=0,1"])
    with composing.opened(checked.args) as hydra:
        config = hydra.compose_config("config", checked.overrides, run_mode=checked.mode, with_log_configuration=False)
        run_sweep(hydra.config_loader, config, [[*line, f"seed={seed}"] for seed in (0, 1)], lambda left: Here())
    cards = list((tmp_path / "outputs").rglob("README.md"))
    assert len(cards) == 2
    for file in cards:
        assert "Over 2 seeds of the same settings (0, 1)" in " ".join(file.read_text().split())
        assert "value: " in file.read_text()
        assert str(tmp_path) not in file.read_text()
