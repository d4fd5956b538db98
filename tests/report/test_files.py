"""tables.tex and scores.csv of what names may hold, of many rows and columns, and of numbers that no model gives."""

import csv
import json
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import tex_tables
from glue_pool.report import latex, report, tex_text
from glue_pool.report.scan import NO_COMPARISON, scan
from glue_pool.report.study import study
from run_folders import Drawn, grid

Printed = pytest.CaptureFixture[str]


def change(folder: Path, title: str | None = None, **fields: Any) -> None:
    """Change what result.json says, and the task's title in config.yaml."""
    file = folder / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))
    if title is not None:
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["task"]["title"] = title
        (folder / "config.yaml").write_text(yaml.safe_dump(config))


def rows(root: Path) -> list[dict[str, str]]:
    with (root / "report" / "scores.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@given(st.text(max_size=30) | st.text("-'`?!,\"<>\\{}$~^_ ai\N{COMBINING ACUTE ACCENT}", max_size=30))
def test_any_text_is_ascii_that_latex_takes(text: str) -> None:
    tex_tables.check(tex_text.escaped(text))
    assert all(tex_text.width(line) <= 6 for line in tex_text.broken(text, 6))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\u03b2-\u039b\u0391 \u03ac", r"$\beta$-$\Lambda$$\mathrm{A}$ $\acute{\alpha}$"),
        ("na\u00efve \u00c5 \u0161 \u00e7 \u0151 e\u0301", r"na\"{\i{}}ve \r{A} \v{s} \c{c} \H{o} \'{e}"),
        ("\u65e5\u0105", "{[}U+65E5]{[}U+0105]"),
        ("a--b ''x`` ?`", "a-{}-b '{}'x`{}` ?{}`"),
        ("\u201ca\u201d \u2013 \u2026", r"{``}a{''} {--} \ldots{}"),
        ("\uff21 \ufb01 m\u00b2 x\u2081", "{A} {fi} m$^{2}$ x$_{1}$"),
        ('a_b & 5 % "q" [x*', r"a\_b \& 5 \% {''}q{''} {[}x{*}"),
    ],
)
def test_what_has_no_ascii_is_written_as_latex_knows_it(text: str, shown: str) -> None:
    assert tex_text.escaped(text) == shown


def test_names_of_every_kind_break_no_table(tmp_path: Path, capsys: Printed) -> None:
    odd = "\u03b2\nmax\u202e \x1b[31m\u65e5\u672c -- [*]"
    for seed in (1, 2):
        for method in ("bert", "mean"):
            folder = Drawn(("task=rte", f"pooling={method}"), seed, skill=1.0 + (method == "mean")).write(tmp_path)
            change(folder, "RTE\r\n\u65e5 & co", encoder="enc\n\u03b2", **({"method": odd} if method == "mean" else {}))
    report([tmp_path])
    printed = capsys.readouterr().out
    name = "\u03b2\\nmax\\u202e \\x1b[31m\u65e5\u672c -- [*]"
    assert any(line.startswith(f"  {name}  ") for line in printed.splitlines())
    assert "  enc\\n\u03b2, fine-tuned, all rows" in printed.splitlines()
    text = (tmp_path / "report" / "tables.tex").read_text()
    tex_tables.check(text)
    assert r"$\beta$\textbackslash{}nmax" in text
    assert r"RTE\textbackslash{}r\textbackslash{}n{[}U+65E5] \& co" in text
    assert {row["method"] for row in rows(tmp_path)} == {"bert", name}
    assert len((tmp_path / "report" / "scores.csv").read_text().splitlines()) == 5


def test_many_columns_and_rows_go_on_within_the_text(tmp_path: Path) -> None:
    for run in grid(("stsb", "rte", "wnli"), ("mean", "bert"), 2):
        run.write(tmp_path / "wide")
    one = next(grid(("wnli",), ("bert",), 1)).write(tmp_path / "long")
    for i in range(40):
        change(shutil.copytree(one, one.parent / f"{i}"), method=f"method {i}", run_key=f"{i}")
    for root, columns, names in ((tmp_path / "wide", 4, 2), (tmp_path / "long", 1, 41)):
        report([root])
        text = (root / "report" / "tables.tex").read_text()
        tex_tables.check(text)
        assert tex_tables.widest(text) <= latex.WIDTH
        of_scores = tex_tables.read(root / "report" / "tables.tex")[0]
        assert len(of_scores) == 1 + names
        assert {len(cells) for cells in of_scores.values()} == {columns}
    wide = (tmp_path / "wide" / "report" / "tables.tex").read_text()
    assert "\\midrule\n    bert (baseline) & " in wide
    assert wide.count("\\medskip") >= 1
    assert text.count("\\addtocounter{table}{-1}") == 2  # scores and differences
    assert "all rows: continued." in text


@given(name=st.text(min_size=1, max_size=150), titles=st.lists(st.text(max_size=80), min_size=1, max_size=4))
def test_no_name_makes_a_table_too_wide(name: str, titles: list[str]) -> None:
    cell = latex.Cell("1.0", 1.3)
    text = "\n\n".join(latex.floats(titles, [(f"x{name}", [cell] * len(titles))] * 40, "here", "said"))
    tex_tables.check(text)
    assert tex_tables.widest(text) <= latex.WIDTH
    assert text.count(r"\begin{table}") > 1


def test_the_csv_says_what_was_compared_and_why_not(tmp_path: Path) -> None:
    for run in grid(("rte", "wnli"), ("bert", "max_cls"), 2):
        run.write(tmp_path)
    for k in (1, 4):
        Drawn(("task=rte", "pooling=max_cls", f"pooling.k={k}")).write(tmp_path)
    Drawn(("task=rte", "pooling=mean"), error="\r=cmd|'/c calc'!A0").write(tmp_path)
    Drawn(("task=rte", "pooling=mean"), 2, error="\uff1dcmd").write(tmp_path)
    Drawn(("task=rte", "pooling=cls"), collapsed=True).write(tmp_path)
    lacking = next(tmp_path.glob("rte/bert/**/seed=1-*"))
    (lacking / "predictions.parquet").unlink()
    report([tmp_path], chosen=["rte"])
    found = rows(tmp_path)
    why = {(row["task"], row["method"], row["settings"], row["seed"]): row["not_compared"] for row in found}
    assert why["rte", "bert", "", "1"] == "predictions.parquet is missing"
    assert why["rte", "bert", "", "2"] == ""
    assert why["wnli", "bert", "", "1"] == "not in --tasks"
    assert why["rte", "mean", "", "1"] == "failed"
    assert {settings for task, method, settings, _ in why if (task, method) == ("rte", "max_cls")} == {
        "k=1", "k=3", "k=4",
    }  # fmt: skip
    assert all((row["compared"] == "True") == (row["not_compared"] == "") for row in found)
    assert {row["error"] for row in found} == {"", "\\r=cmd|'/c calc'!A0", "'\uff1dcmd"}
    text = (tmp_path / "report" / "tables.tex").read_text()
    assert f"% left out: {lacking}/predictions.parquet: predictions.parquet is missing\n" in text
    assert {item.counted for item in study(*scan([tmp_path])).left_out} <= {NO_COMPARISON, "failed runs"}


def test_no_text_in_the_csv_is_a_formula_and_numbers_stay(tmp_path: Path) -> None:
    signs = ["=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"]
    one = Drawn(("task=stsb", "pooling=mean")).write(tmp_path)
    for i, start in enumerate([*signs, *(f" {sign}" for sign in signs)]):
        change(shutil.copytree(one, one.parent / f"{i}"), method=f"{start}cmd", run_key=f"{i}", score=-0.25)
    report([tmp_path])
    found = [row for row in rows(tmp_path) if "cmd" in row["method"]]
    assert len(found) == 2 * len(signs)
    assert all(row["method"].startswith("'") for row in found)
    assert {float(row["score"]) for row in found} == {-0.25}


@pytest.mark.parametrize(
    ("task", "factor", "said"),
    [("price", 1e200, "more than fp32 holds"), ("stsb", 1e200, "more than fp32 holds"), ("stsb", 1e-200, None)],
)
def test_predictions_of_any_size_give_a_line_or_the_score(
    tmp_path: Path, capsys: Printed, task: str, factor: float, said: str | None
) -> None:
    for run in grid((task,), ("bert", "mean"), 2):
        file = run.write(tmp_path) / "predictions.parquet"
        of = pq.read_table(file).to_pydict()
        logits = [[value * factor for value in values] for values in of["logits"]]
        pq.write_table(pa.table(of | {"logits": logits}), file)
    with warnings.catch_warnings(), np.errstate(all="warn"):
        warnings.simplefilter("error")
        report([tmp_path])
    printed, _, left_out = capsys.readouterr().out.partition("\n  left out\n")
    assert left_out.count("e+20") == (4 if said else 0)
    assert (said is None) or left_out.count(said) == 4
    assert re.search(rf"mean on {task}: .*{said}", printed) or said is None
    assert all((row["compared"] == "True") == (said is None) for row in rows(tmp_path))


def test_a_score_that_no_predictions_give_is_left_out(tmp_path: Path, capsys: Printed) -> None:
    for seed in (1, 2):
        folder = Drawn(("task=price",), seed).write(tmp_path)
    change(folder, score=1e300)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report([tmp_path])
    assert "damaged (score is 1e+300, which no predictions in fp32 give)" in capsys.readouterr().out
