"""`python -m glue_pool.report`: the table on the terminal, scores.csv and tables.tex, and what can go wrong."""

import csv
import io
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tex_tables
from glue_pool.report import files, latex, page, terminal
from glue_pool.report.__main__ import main
from glue_pool.report.payload import payload
from glue_pool.report.scan import scan
from glue_pool.report.study import study
from glue_pool.report.tables import tables
from run_folders import Drawn, grid

Printed = pytest.CaptureFixture[str]
METHODS = ("bert", "mean", "maxpool")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three methods on three tasks with five seeds; one run collapsed, one failed."""
    root = tmp_path_factory.mktemp("outputs")
    for run in grid(("rte", "stsb", "wnli"), METHODS, 5):
        run.write(root)
    Drawn(("task=rte", "pooling=mean"), 6, collapsed=True).write(root)
    Drawn(("task=rte", "pooling=mean"), 7, error="RuntimeError: 100 % & more_of_it").write(root)
    return root


@pytest.fixture(scope="module")
def report(root: Path) -> Path:
    main([str(root)])
    return root / "report"


def results(root: Path) -> list[dict[str, object]]:
    return [json.loads(file.read_text()) for file in root.rglob("result.json")]


def points(root: Path, task: str, method: str) -> list[float]:
    of = [r for r in results(root) if (r["task"], r["method"], r["status"]) == (task, method, "completed")]
    return [100 * float(str(r["score"])) for r in of]


@pytest.mark.parametrize(("task", "method"), [("rte", "bert"), ("rte", "mean"), ("stsb", "maxpool")])
def test_the_terminal_shows_mean_and_spread_of_the_results(root: Path, capsys: Printed, task: str, method: str) -> None:
    main([str(root), "--tasks", task])
    scores = points(root, task, method)
    n = "6, 1c, 1f" if (task, method) == ("rte", "mean") else "5"
    assert f"{statistics.mean(scores):.2f} ± {statistics.stdev(scores):.2f} ({n})" in capsys.readouterr().out


def test_a_clear_gain_is_marked_and_the_notes_say_what_to_mind(root: Path, capsys: Printed) -> None:
    main([str(root)])
    printed = capsys.readouterr().out
    assert re.search(r"maxpool .*▲", printed)
    assert "average of 2" in printed  # without WNLI
    assert "mean: 1 of 6 runs collapsed" in printed
    assert "bert lacks seed 6" in printed
    assert "failed: RuntimeError: 100 % & more_of_it" in printed


def test_another_baseline_turns_the_marks_round(root: Path, capsys: Printed) -> None:
    main([str(root), "--baseline", "maxpool", "--tasks", "stsb"])
    printed = capsys.readouterr().out
    assert re.search(r"bert .*▼", printed)
    assert "then the difference to maxpool, on the seeds" in printed


def test_a_terminal_without_unicode_gets_other_signs(root: Path) -> None:
    command = [sys.executable, "-m", "glue_pool.report", str(root)]
    environment = {"PATH": "/usr/bin", "PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.isascii()
    table = done.stdout.partition("mind")[0]
    assert "\\x" not in table
    assert re.search(r"maxpool .* \+- .*\^", table)
    assert max(map(len, table.splitlines())) <= 120


def test_the_csv_has_a_row_a_run(root: Path, report: Path) -> None:
    with (report / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    by_key = {str(result["run_key"]): result for result in results(root)}
    assert {row["run_key"] for row in rows} == set(by_key)
    assert len(rows) == len(by_key)
    for row in rows:
        result = by_key[row["run_key"]]
        assert (row["task"], row["status"], int(row["seed"])) == (result["task"], result["status"], result["seed"])
        assert (float(row["score"]) if row["score"] else None) == result["score"]


def test_the_tex_is_booktabs_with_as_many_cells_in_every_line(report: Path) -> None:
    text = (report / "tables.tex").read_text()
    tex_tables.check(text)
    tabulars = re.findall(r"\\begin{tabular}{(l+r+)}(.*?)\\end{tabular}", text, re.DOTALL)
    assert len(tabulars) == 4  # two of each table
    for columns, body in tabulars:
        lines = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert {len(re.split(r"(?<!\\)&", line)) for line in lines} == {len(columns)}
        assert all(rule in body for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
    assert "% mind: rte, all rows (minilm_l6, fine-tuned): mean: 1 of 6 runs collapsed" in text


def test_the_tex_counts_only_runs_with_a_score(tmp_path: Path) -> None:
    for run in [*grid(("cola",), ("bert",), 3), *grid(("cola",), ("mean",), 2)]:
        run.write(tmp_path)
    Drawn(("task=cola", "pooling=mean"), 3, nan=True).write(tmp_path)
    main([str(tmp_path)])
    scores, differences = (tmp_path / "report" / "tables.tex").read_text().split(r"\begin{table}")[1:]
    assert re.search(r"bert \(baseline\) & .* \(3\)", scores)
    assert re.search(r"mean & .* \(2, 1f\)", scores)
    assert "over 2 paired seeds" in differences


def test_a_folder_whose_name_is_no_text_is_reported(tmp_path: Path) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    Drawn(("task=rte", "pooling=mean")).write(tmp_path / "runs")
    Drawn(("task=rte", "pooling=mean"), 2, error="\ud800").write(tmp_path / "runs")
    (tmp_path / "runs").rename(root)
    main([str(root)])
    assert r"/\xff/rte/" in (root / "report" / "scores.csv").read_text()


def test_the_same_runs_give_the_same_files(root: Path, report: Path, tmp_path: Path) -> None:
    main([str(root), "--output", str(tmp_path / "again")])
    for file in report.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes(), file.name


def error(arguments: list[str], capsys: Printed) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


def test_a_folder_that_isnt_there_is_one_line(tmp_path: Path, capsys: Printed) -> None:
    assert error([str(tmp_path / "no")], capsys) == f"error: {tmp_path / 'no'}: there is no such folder\n"


def test_an_empty_folder_says_so_and_nothing_is_written(tmp_path: Path, capsys: Printed) -> None:
    assert error([str(tmp_path)], capsys) == f"error: {tmp_path}: no completed run to report on\n"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_failed_and_foreign_files_names_them(tmp_path: Path, capsys: Printed) -> None:
    Drawn(("task=rte",), error="ValueError: no").write(tmp_path)
    (tmp_path / "result.json").write_text("{}")
    said = error([str(tmp_path)], capsys)
    assert "no completed run to report on; 1 failed" in said
    assert f"left out: {tmp_path / 'result.json'}: not a result of glue_pool" in said
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--baseline", "maxpol"], "--baseline maxpol: no run of it; did you mean 'maxpool'?"),
        (["--tasks", "rte,stbs"], "--tasks stbs: no run of it; did you mean 'stsb'?"),
    ],
)
def test_a_misspelt_choice_names_the_nearest(root: Path, capsys: Printed, arguments: list[str], said: str) -> None:
    assert said in error([str(root), *arguments], capsys)


@pytest.mark.parametrize("margin", ["0", "-1", "nan", "inf"])
def test_a_margin_that_is_none_is_one_line(root: Path, tmp_path: Path, capsys: Printed, margin: str) -> None:
    said = error([str(root), f"--margin={margin}", "--output", str(tmp_path / "out")], capsys)
    assert said == f"error: --margin {margin}: takes a finite number of points above 0, as 1.25\n"
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cant_be_written_is_one_line(root: Path, tmp_path: Path, capsys: Printed) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        main([str(root), "--output", str(tmp_path / "file")])
    assert f"error: --output {tmp_path / 'file'}: can't be written" in capsys.readouterr().err


def test_it_starts_without_the_slow_libraries(root: Path, tmp_path: Path) -> None:
    """Each takes as long to import as a report on a hundred runs."""
    code = (
        f"import sys; from glue_pool.report.__main__ import main; main([{str(root)!r}, '--output', {str(tmp_path)!r}])"
    )
    seen = f"{code}; print(*(m for m in ('torch', 'pandas', 'scipy.stats', 'sklearn', 'plotly') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""


JUNK = st.sampled_from([None, "", "x", -1, 1e300, True, [], {}, [None], {"a": 1}])


@pytest.fixture(scope="module")
def four_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("four")
    for run in grid(("rte",), ("bert", "mean"), 2):
        run.write(root)
    return root


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(["result.json", "manifest.json"]), at=st.integers(0, 200), junk=JUNK)
def test_no_value_in_a_file_stops_the_report(four_runs: Path, name: str, at: int, junk: object) -> None:
    file = next(four_runs.rglob(name))
    whole = file.read_text()
    content = json.loads(whole)
    places = list(nodes(content))
    holder, key = places[at % len(places)]
    holder[key] = junk
    file.write_text(json.dumps(content))
    try:
        reported(four_runs)
    finally:
        file.write_text(whole)


def reported(root: Path) -> None:
    """Everything that a report writes, not written."""
    found = study(*scan([root]))
    compared = tables(found)
    terminal.show(found, compared, None, ["rte"], io.StringIO())
    assert files.scores_csv(found)
    assert latex.tables_tex(compared, found.notes, None, ["rte"])
    assert page.html(payload(found, compared, None, ["rte"]))


def nodes(content: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Every place in nested dicts that holds a value."""
    for key, value in content.items():
        yield content, key
        if isinstance(value, dict):
            yield from nodes(value)
