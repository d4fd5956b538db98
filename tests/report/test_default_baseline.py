"""What rows are compared with unless the user says: a recipe or an edit with its pooler without, all else with one."""

import csv
import re
import zlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import tex_tables
from glue_pool import stats
from glue_pool.report import report
from glue_pool.report.__main__ import main
from run_folders import Drawn, grid

Printed = pytest.CaptureFixture[str]
MIXOUT = ("recipe=mixout", "recipe.p=0.7")
DUPLICATE = ("edit=duplicate",)
METRICS = {"rte": "accuracy", "stsb": "corr"}
LEGEND = "bert or the method in brackets"


def write(root: Path, *overrides: str, tasks: Sequence[str] = ("rte",), seeds: int = 4, skill: float = 1.0) -> None:
    for task in tasks:
        for seed in range(1, seeds + 1):
            Drawn((f"task={task}", *overrides), seed, skill).write(root)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Methods with a recipe or an edit, on two tasks; of one there is no run of its pooler alone."""
    root = tmp_path_factory.mktemp("outputs")
    for run in grid(tuple(METRICS), ("bert", "mean"), 4):
        run.write(root)
    write(root, "pooling=mean", *MIXOUT, tasks=tuple(METRICS), skill=1.6)
    write(root, "pooling=mean", *DUPLICATE, *MIXOUT, tasks=tuple(METRICS), skill=1.2)
    write(root, "pooling=bert", *DUPLICATE, tasks=tuple(METRICS), skill=0.5)
    write(root, "pooling=maxpool", *DUPLICATE, tasks=tuple(METRICS), skill=1.3)
    return root


@cache
def resampled(root: Path, task: str, method: str) -> stats.Scores:
    """A method's scores from its stored predictions, in fractions."""
    files = sorted((root / task / method).glob("*/full/seed=*/predictions.parquet"), key=lambda file: file.parent.name)
    runs = [pq.read_table(file) for file in files]
    logits = np.array([run["logits"].to_pylist() for run in runs])
    outputs = logits.argmax(axis=2) if logits.shape[2] > 1 else logits[:, :, 0]
    labels = np.array(runs[0]["label"].to_pylist())
    return stats.resample(labels, outputs, METRICS[task], seed=zlib.crc32(task.encode()))


def expected(root: Path, task: str, baseline: str, method: str) -> stats.Difference:
    """The statistics of two methods on a task, or on the average of all, in fractions."""
    both = [[resampled(root, of, m) for of in (METRICS if task == "average" else [task])] for m in (baseline, method)]
    return stats.compare(*(of[0] if len(of) == 1 else stats.average(of) for of in both))


def tex(folder: Path, number: int) -> dict[str, list[str]]:
    """The cells of the first table of scores (0) or of differences (1), by the name of their row."""
    return {name: cells for name, cells in tex_tables.read(folder / "tables.tex")[number].items() if name != "method"}


def arrow(cell: str) -> int:
    return ("uparrow" in cell) - ("downarrow" in cell)


def names(printed: str) -> list[str]:
    """The rows of the first table on the terminal."""
    table = printed.split("method", 1)[1].split("gain found")[0]
    return [re.split(r"  +\d|  +\(", line.strip())[0] for line in table.splitlines()[1:] if line.strip()]


PAIRS = [  # a row as tables name it, and what it is to be compared with
    ("bert+duplicate", "bert"),
    ("maxpool+duplicate", "bert"),  # there is no maxpool
    ("mean", "bert"),
    ("mean+duplicate+mixout (to mean)", "mean"),
    ("mean+mixout (to mean)", "mean"),
]


def test_every_row_has_the_difference_to_its_own_baseline(root: Path, tmp_path: Path) -> None:
    report([root], tmp_path)
    shown = tex(tmp_path, 1)
    assert list(shown) == [name for name, _ in PAIRS]
    columns = ("stsb", "rte", "average")
    of = [expected(root, task, baseline, name.split()[0]) for name, baseline in PAIRS for task in columns]
    adjusted = stats.family(of, [*columns] * len(PAIRS))
    cells = [cell for name, _ in PAIRS for cell in shown[name]]
    signs = set()
    for cell, one, p in zip(cells, of, adjusted, strict=True):
        low, high = 100 * one.low, 100 * one.high
        shown_as = rf"${100 * one.estimate:+.2f}$ {{\scriptsize[{low:.2f}, {high:.2f}]}}"
        assert cell.replace("$-$", "-").startswith(shown_as)
        sign = int(np.sign(one.estimate)) if p < stats.ALPHA else 0
        assert arrow(cell) == sign, (cell, p)
        signs.add(sign)
    assert signs >= {0, 1}
    assert not any(arrow(cell) for of_row in tex(tmp_path, 0).values() for cell in of_row)
    text = (tmp_path / "tables.tex").read_text()
    assert f"difference to {LEGEND} in points" in text
    assert text.count(f"better or worse than {LEGEND}, right for the whole table") == 1


def test_the_terminal_names_each_rows_own_baseline(root: Path, tmp_path: Path, capsys: Printed) -> None:
    report([root], tmp_path)
    printed = capsys.readouterr().out
    assert names(printed) == [
        "bert", "bert+duplicate", "maxpool+duplicate", "mean", "mean+duplicate+mixout (to mean)",
        "mean+mixout (to mean)",
    ]  # fmt: skip
    assert f"then the difference to {LEGEND}, on the seeds" in printed
    arrows = {1: "▲", -1: "▼", 0: ""}
    for name, cells in tex(tmp_path, 1).items():
        lines = "".join(f"{line} " for line in printed.splitlines() if line.startswith(f"  {name}  "))
        shown = [(cell.split("$")[1], arrows[arrow(cell)]) for cell in cells]
        assert re.findall(r"\(4\) +([+-][\d.]+)([▲▼≈°]?)", lines) == shown
    assert not re.search(r"^  bert  .*[▲▼≈°]", printed, re.MULTILINE)


def test_a_baseline_that_is_given_is_that_of_every_row(root: Path, tmp_path: Path, capsys: Printed) -> None:
    report([root], tmp_path, "bert")
    printed = capsys.readouterr().out
    assert "then the difference to bert, on the seeds" in printed
    assert names(printed)[-1] == "mean+mixout"
    shown = tex(tmp_path, 1)
    for name, _ in PAIRS:
        method = name.split()[0]
        for task, cell in zip(("stsb", "rte"), shown[method], strict=False):
            assert cell.startswith(f"${100 * expected(root, task, 'bert', method).estimate:+.2f}$")
    report([root], tmp_path, "mean")
    assert names(capsys.readouterr().out) == [
        "mean", "mean+duplicate+mixout", "mean+mixout", "bert", "bert+duplicate", "maxpool+duplicate"
    ]  # fmt: skip
    report([root], tmp_path, "mean+mixout")
    assert names(capsys.readouterr().out)[0] == "mean+mixout"
    assert "mean+mixout" not in tex(tmp_path, 1)


def test_the_csv_says_what_a_method_is_made_of(root: Path, tmp_path: Path) -> None:
    report([root], tmp_path)
    with (tmp_path / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:6] == ["task", "method", "pooling", "edit", "recipe", "settings"]
    assert {(row["method"], row["pooling"], row["edit"], row["recipe"]) for row in rows} == {
        ("bert", "bert", "none", "plain"),
        ("mean", "mean", "none", "plain"),
        ("mean+mixout", "mean", "none", "mixout"),
        ("mean+duplicate+mixout", "mean", "duplicate", "mixout"),
        ("bert+duplicate", "bert", "duplicate", "plain"),
        ("maxpool+duplicate", "maxpool", "duplicate", "plain"),
    }


@pytest.mark.parametrize("elsewhere", ["task=cola", "subset=n100"])
def test_a_pooler_without_that_has_runs_elsewhere_alone_is_no_baseline(
    tmp_path: Path, capsys: Printed, elsewhere: str
) -> None:
    for run in grid(("rte",), ("bert",), 2):
        run.write(tmp_path)
    write(tmp_path, "pooling=mean", *MIXOUT, seeds=2)
    write(tmp_path, "pooling=mean", elsewhere, seeds=2)
    write(tmp_path, "pooling=mean", *MIXOUT, "subset=n100", seeds=2)
    Drawn(("task=rte", "pooling=mean"), error="OSError: disk").write(tmp_path)
    main([str(tmp_path)])
    of_all_rows = capsys.readouterr().out.split("fine-tuned, all rows")[1]
    assert "mean+mixout  " in of_all_rows
    assert "(to mean)" not in of_all_rows
    text = (tmp_path / "report" / "tables.tex").read_text().split("all rows: difference to bert")[1]
    estimate = 100 * expected(tmp_path, "rte", "bert", "mean+mixout").estimate
    assert f"mean+mixout & ${estimate:+.2f}$" in re.sub(r"mean\+mixout &\s+&", "mean+mixout &", text)


def test_a_row_is_compared_with_its_pooler_of_the_nearest_settings(tmp_path: Path, capsys: Printed) -> None:
    write(tmp_path, "pooling=bert", seeds=2)
    for k in (1, 3):
        write(tmp_path, "pooling=max_cls", f"pooling.k={k}", seeds=2, skill=k / 2)
    for lr in (1e-5, 1e-4):
        write(tmp_path, "pooling=mean", f"optimizer.lr={lr}", seeds=2)
        write(tmp_path, "pooling=mean", f"optimizer.lr={lr}", *MIXOUT, seeds=2)
    write(tmp_path, "pooling=max_cls", "pooling.k=3", *MIXOUT, seeds=2)
    main([str(tmp_path)])
    printed = capsys.readouterr().out
    assert names(printed)[1:] == [
        "max_cls k=1", "max_cls k=3", "max_cls+mixout (to max_cls k=3)", "mean optimizer.lr=1e-05",
        "mean optimizer.lr=0.0001", "mean+mixout optimizer.lr=1e-05 (to mean)",
        "mean+mixout optimizer.lr=0.0001 (to mean)",
    ]  # fmt: skip


def test_a_recipes_own_key_is_in_the_name_of_its_row(tmp_path: Path, capsys: Printed) -> None:
    write(tmp_path, "pooling=mean", seeds=2)
    for p in (0.5, 0.9):
        write(tmp_path, "pooling=mean", "recipe=mixout", f"recipe.p={p}", seeds=2)
    main([str(tmp_path)])
    printed = capsys.readouterr().out
    assert names(printed) == ["mean", "mean+mixout recipe.p=0.5", "mean+mixout recipe.p=0.9"]
    assert "differs between methods" not in printed
    main([str(tmp_path), "--baseline", "mean+mixout recipe.p=0.9"])
    assert "then the difference to mean+mixout recipe.p=0.9, on" in capsys.readouterr().out


def test_what_has_a_recipe_is_not_what_all_else_is_compared_with(tmp_path: Path, capsys: Printed) -> None:
    write(tmp_path, "pooling=mean", seeds=2)
    write(tmp_path, "pooling=mean", *MIXOUT, tasks=("rte", "cola"), seeds=2)
    main([str(tmp_path)])
    assert "then the difference to mean, on" in capsys.readouterr().out


def test_what_is_compared_with_nothing_is_said_of_a_recipe_too(tmp_path: Path, capsys: Printed) -> None:
    write(tmp_path, "pooling=bert", seeds=2)
    for lr in (1e-3, 1e-5):
        write(tmp_path, "pooling=mean", f"optimizer.lr={lr}", seeds=2)
    write(tmp_path, "pooling=mean", "optimizer.lr=1e-4", *MIXOUT, seeds=2)
    for more in ((), MIXOUT):
        write(tmp_path, "pooling=mean", "encoder.freeze=true", *more, seeds=2)
    main([str(tmp_path)])
    printed = capsys.readouterr().out
    reason = "no single row of mean is nearest to its settings"
    assert f"fine-tuned, all rows: mean+mixout is compared with nothing: {reason}" in printed
    assert "probe, all rows: no run of bert, so only what has a baseline of its own is compared" in printed
    assert "mean+mixout (to mean)" in printed.split("probe, all rows")[1]
