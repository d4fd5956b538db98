"""Tasks of one's own in sweeps and reports: two CSV files each, to the verdict; slips and odd rows on the way."""

import csv
import json
import math
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.stats
import sklearn.metrics

from glue_pool import cli

SMALL = (
    "encoder=minilm_l6", "encoder.num_hidden_layers=1", "train.batch_size=8", "train.threads=1", "tracking=none",
    "data.cache_dir=cache",
)  # fmt: skip
NOUNS = "train bus ship plane horse bike".split()
Printed = pytest.CaptureFixture[str]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GLUE_POOL_OUTPUTS", raising=False)
    return tmp_path


def write(file: str, rows: int, seed: int, row: Callable[[random.Random, int], dict[str, Any]]) -> None:
    draw = random.Random(seed)
    records = [row(draw, i) for i in range(rows)]
    with Path(file).open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(records[0]))
        writer.writeheader()
        writer.writerows(records)


def single(draw: random.Random, i: int) -> dict[str, Any]:
    kind = NOUNS[i % 6]
    return {"text": f"We took the {kind}, number {draw.randrange(10**6)}.", "kind": kind.upper()}


def pair(draw: random.Random, i: int) -> dict[str, Any]:
    first, second = draw.sample(NOUNS, 2)
    said = first if i % 2 else second
    return {
        "premise": f"The {first} left at {draw.randrange(10**6)}.",
        "hypothesis": f"A {said} left, as was said.",
        "label": ("no", "yes")[i % 2],
    }


def score(draw: random.Random, i: int) -> dict[str, Any]:
    n = i % 5
    return {"text": f"It was {'very ' * n}late at gate {draw.randrange(10**6)}.", "price": f"{100 * n + 20.5}"}


def tags(draw: random.Random, i: int) -> dict[str, Any]:
    chosen = [noun for bit, noun in enumerate(NOUNS[:3]) if i >> bit & 1]
    return {"text": f"Seen at {draw.randrange(10**6)}: {' and '.join(chosen)}.", "tags": "; ".join(chosen)}


KINDS = {"single": single, "pair": pair, "score": score, "tags": tags}


def made(*kinds: str) -> None:
    """Two CSV files and a YAML of each kind of task."""
    for kind in kinds:
        write(f"{kind}-train.csv", 48, 0, KINDS[kind])
        write(f"{kind}-dev.csv", 30, 1, KINDS[kind])
        cli.main(["task", "new", kind, f"{kind}-train.csv", f"{kind}-dev.csv"])


def sweep(tasks: str, *more: str) -> None:
    line = [f"task={tasks}", "hydra.launcher.workers=1", *SMALL, *more]
    cli.main(["train", "-m", "--config-dir", "my_conf", *line])


def results(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for file in sorted((folder / "outputs").rglob("result.json")):
        yield file.parent, json.loads(file.read_text())


BY_HAND: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "single": lambda gold, logits: float((logits.argmax(1) == gold).mean()),
    "pair": lambda gold, logits: float((logits.argmax(1) == gold).mean()),
    "score": lambda gold, logits: float(scipy.stats.pearsonr(gold, logits[:, 0]).statistic),
    "tags": lambda gold, logits: float(sklearn.metrics.f1_score(gold, logits > 0, average="micro", zero_division=0)),
}


@pytest.mark.long
def test_two_csv_files_of_every_kind_come_to_a_verdict(here: Path, capsys: Printed) -> None:
    made(*KINDS)
    sweep(",".join(KINDS), "pooling=bert,mean", "seed=1,2,3", "train.max_steps=6")
    found = list(results(here))
    assert len(found) == 4 * 2 * 3
    for folder, result in found:
        table = pq.read_table(folder / "predictions.parquet").to_pydict()
        last = np.array(table["epoch"]) == "last"
        gold, logits = (np.array(table[name])[last] for name in ("label", "logits"))
        assert len(gold) == 30
        assert result["score"] == pytest.approx(BY_HAND[result["task"]](gold, logits), abs=1e-6)
    capsys.readouterr()
    cli.main(["report"])
    said = capsys.readouterr().out
    for head in ("single (accuracy)", "pair (accuracy)", "score (pearson)", "tags (f1_micro)", "average of 4"):
        assert head in said
    assert "worse for new seeds and new dev examples" in said
    assert "no comparison" not in said
    differences = (here / "outputs/report/tables.tex").read_text()
    assert len(re.findall(r"\$[+-]\d+\.\d\d\$ \{\\scriptsize\[", differences)) == 5  # four tasks and their average
    rows = list(csv.DictReader((here / "outputs/report/scores.csv").open()))
    assert {row["task"]: row["metric"] for row in rows} == {
        "single": "accuracy", "pair": "accuracy", "score": "pearson", "tags": "f1_micro",
    }  # fmt: skip
    assert all(math.isfinite(float(row["score"])) for row in rows)


def test_a_slip_in_the_rows_ends_a_sweep_before_it_starts(here: Path, capsys: Printed) -> None:
    made("pair", "tags")
    with Path("tags-dev.csv").open("a") as file:
        file.write("Another one.,train; boat\n")
    capsys.readouterr()
    before = sorted(here.rglob("*"))
    with pytest.raises(SystemExit) as ended:
        sweep("pair,tags", "pooling=bert,mean", "train.max_steps=1")
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert re.fullmatch(
        r"error: my_conf/task/tags\.yaml:\d+: task=tags: \S*tags-dev\.csv: label 'boat' in row 30 is none of .*\n", said
    )
    assert sorted(here.rglob("*")) == before


def test_odd_rows_are_said_in_a_sweep_and_in_the_report(here: Path, capsys: Printed) -> None:
    made("pair")
    with Path("pair-dev.csv").open("a") as file:
        file.write("".join(Path("pair-train.csv").read_text().splitlines(keepends=True)[1:4]))
    sweep("pair", "pooling=bert,mean", "train.max_steps=1")
    odd = "pair: 3 of 33 rows of dev are in train, too, word for word"
    assert f"mind: {odd}" in capsys.readouterr().out
    for folder, _ in results(here):
        assert json.loads((folder / "manifest.json").read_text())["data"]["findings"] == [odd.removeprefix("pair: ")]
    cli.main(["report"])
    assert capsys.readouterr().out.count(odd) == 1


def test_a_dev_share_is_recorded_and_said(here: Path, capsys: Printed) -> None:
    write("rows.csv", 60, 0, single)
    cli.main(["task", "new", "share", "rows.csv", "--dev-share", "0.2"])
    sweep("share", "pooling=bert", "seed=1,2", "subset.size=12", "train.max_steps=1")
    capsys.readouterr()
    shares = []
    for folder, result in results(here):
        assert {name: of["rows"] for name, of in result["splits"].items()} == {"train": 48, "dev": 12}
        table = pq.read_table(folder / "predictions.parquet").to_pydict()
        shares.append(json.loads((folder / "manifest.json").read_text())["data"]["dev_share"])
        assert (shares[-1]["rows"], len(set(table["idx"]))) == (12, 12)
        assert np.bincount(np.array(table["label"])[np.array(table["epoch"]) == "last"]).tolist() == [2] * 6
    assert shares[0] == shares[1]  # whatever the training seed
    cli.main(["report"])
    said = "share: dev is a share of the train split (task.dev_share=0.2, task.dev_seed=0)"
    assert said in capsys.readouterr().out
    cli.main(["train", "--config-dir", "my_conf", "task=share", *SMALL, "data=synthetic", "data.train_rows=8",
              "data.dev_rows=8", "pooling=bert", "train.max_steps=1"])  # fmt: skip
    generated = [json.loads(file.read_text()) for file in here.rglob("manifest.json")]
    assert [of["data"]["source"] for of in generated if "dev_share" not in of["data"]] == ["synthetic"]
    assert "the rows are generated: the score says nothing of the task" in capsys.readouterr().out


def test_changed_files_are_another_run_and_moved_ones_the_same(here: Path, capsys: Printed) -> None:
    made("pair")
    run = ["train", "--config-dir", "my_conf", "task=pair", *SMALL, "pooling=bert", "train.max_steps=1"]
    cli.main(run)
    Path("elsewhere").mkdir()
    for file in ("pair-train.csv", "pair-dev.csv"):
        Path(file).rename(Path("elsewhere", file))
    yaml = Path("my_conf/task/pair.yaml")
    yaml.write_text(yaml.read_text().replace(f"{here}/pair", f"{here}/elsewhere/pair"))
    capsys.readouterr()
    cli.main(run)
    assert "this result was there already" in capsys.readouterr().out
    dev = Path("elsewhere/pair-dev.csv")
    dev.write_text(dev.read_text().replace("yes", "no", 1))
    cli.main(run)
    assert "this result was there already" not in capsys.readouterr().out
    assert len(list(results(here))) == 2
