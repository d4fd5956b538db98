"""A table's verdicts: what they are corrected for, where there are none and why, and what else they say."""

import json
import math
import re
import zlib
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import tex_tables
from glue_pool import stats
from glue_pool.report import report
from glue_pool.report.payload import payload
from glue_pool.report.scan import scan
from glue_pool.report.study import Study, study
from glue_pool.report.tables import tables
from glue_pool.report.verdicts import AVERAGE, GAIN, Table, Verdict, power
from run_folders import Drawn, grid

Printed = pytest.CaptureFixture[str]
TASKS = ("mrpc", "rte", "stsb")


def write(root: Path, runs: Iterable[Drawn]) -> list[Path]:
    return [run.write(root) for run in runs]


def runs(method: str, seeds: Iterable[int], task: str = "rte", skill: float = 1.0) -> list[Drawn]:
    return [Drawn((f"task={task}", f"pooling={method}"), seed, skill) for seed in seeds]


def read(root: Path, margin: float = GAIN) -> tuple[Study, Table]:
    found = study(*scan([root]))
    (of,) = tables(found, margin)
    return found, of


def verdicts(of: Table, baseline: str | None = None) -> dict[tuple[str, str], Verdict]:
    return {(row.label, column): verdict for (row, column), verdict in of.family(baseline).verdicts.items()}


def copied(folders: list[Path], **changes: object) -> None:
    """Let all runs be the first, but for their seeds."""
    first = json.loads((folders[0] / "result.json").read_text())
    for folder in folders:
        of = json.loads((folder / "result.json").read_text())
        of |= {"score": first["score"], "metrics": first["metrics"], **changes}
        (folder / "result.json").write_text(json.dumps(of))
        (folder / "predictions.parquet").write_bytes((folders[0] / "predictions.parquet").read_bytes())


def differences(folder: Path) -> dict[str, list[str]]:
    """The cells of tables.tex's first table of differences, by the name of their row, and its heads by `method`."""
    return tex_tables.read(folder / "tables.tex")[1]


# what they are corrected for


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("outputs")
    write(root, grid(TASKS, ("bert", "mean", "maxpool"), 4))
    return root


def test_no_mark_depends_on_the_tasks_that_are_shown(root: Path, tmp_path: Path, capsys: Printed) -> None:
    found, of = read(root)
    report([root], tmp_path / "all")
    whole, shown = capsys.readouterr().out, differences(tmp_path / "all")
    assert shown["method"] == ["MRPC", "STS-B", "RTE", "average"]
    assert any("uparrow" in cell for cells in shown.values() for cell in cells)
    everything = payload(found, [of], None, TASKS)["panels"][0]["families"]
    for tasks, columns in ((["stsb"], [1]), (["rte"], [2]), (["mrpc", "stsb"], [0, 1])):
        report([root], tmp_path / "some", chosen=tasks)
        some = differences(tmp_path / "some")
        assert some == {name: [cells[at] for at in columns] for name, cells in shown.items()}
        printed = capsys.readouterr().out
        for row in ("mean", "maxpool"):
            signed = [re.findall(rf"^  {row}  .*$", text, re.MULTILINE) for text in (whole, printed)]
            of_all, of_some = ([re.findall(r"\(4\) +([+-]\S+)", line) for line in lines] for lines in signed)
            assert [*chain(*of_some)][: len(tasks)] == [[*chain(*of_all)][at] for at in columns]
        assert payload(found, [of], None, tasks)["panels"][0]["families"] == everything


@pytest.mark.parametrize("more", [{"methods": ("mha", "max_cls", "mlp_control")}, {"tasks": ("cola", "wnli")}])
def test_p_is_larger_in_a_table_of_more(root: Path, tmp_path: Path, more: dict[str, tuple[str, ...]]) -> None:
    alone = verdicts(read(root)[1])
    write(tmp_path, grid(more.get("tasks", TASKS), more.get("methods", ("bert", "mean", "maxpool")), 4))
    found = study(*scan([root, tmp_path]))
    (of,) = tables(found)
    together = verdicts(of)
    assert len(together) > len(alone)
    on_tasks = [at for at in alone if at[1] != AVERAGE]
    assert all(together[at].difference == alone[at].difference for at in on_tasks)
    assert all(together[at].adjusted_p >= alone[at].adjusted_p for at in on_tasks)
    assert sum(together[at].adjusted_p > alone[at].adjusted_p for at in on_tasks) >= 3
    assert all(verdict.row_p <= verdict.adjusted_p for verdict in [*alone.values(), *together.values()])


# averages


def test_an_average_is_of_the_seeds_that_all_its_tasks_have(tmp_path: Path, capsys: Printed) -> None:
    has = {"bert": (range(1, 6), range(1, 6)), "mean": (range(1, 6), range(1, 3)), "maxpool": ((1, 2), (3, 4))}
    for method, of_tasks in has.items():
        for task, seeds in zip(("rte", "cola"), of_tasks, strict=True):
            write(tmp_path, runs(method, seeds, task))
    _, of = read(tmp_path)
    averages = {row.label: of.average(row, of.average_tasks) for row in of.panel.rows}
    bert, mean, maxpool = (averages[name] for name in ("bert", "mean", "maxpool"))
    assert bert is not None
    assert mean is not None
    assert maxpool is not None
    assert (bert.n, mean.n, maxpool.n) == (5, 2, 0)
    (row,) = (row for row in of.panel.rows if row.label == "mean")
    cells = [of.panel.cell(row, of.subset, task).runs for task in ("rte", "cola")]
    of_seeds = [np.mean([runs[at].shown for runs in cells]) for at in (0, 1)]
    assert (mean.mean, mean.std) == pytest.approx((np.mean(of_seeds), np.std(of_seeds, ddof=1)))
    assert verdicts(of)["mean", AVERAGE].difference.pairs == 2
    report([tmp_path])
    shown = capsys.readouterr().out.partition("mean ±")[0]
    lines = [line for line in shown.splitlines() if line.startswith(("  mean ", "  maxpool "))]
    ends = {line.split()[0]: line for line in lines}  # the last part's, in which the average is
    assert re.search(rf" {mean.mean:.2f} ± {mean.std:.2f} \(2\) +[+-]", ends["mean"])
    assert re.search(r"[▲▼≈ ] +\(0\)", ends["maxpool"])
    scored = tex_tables.read(tmp_path / "report" / "tables.tex")[0]
    assert scored["method"][-1] == "average of 2"
    assert (scored["mean"][-1], scored["maxpool"][-1]) == (f"{mean.mean:.2f}", "")


# what is not compared


def test_what_is_not_compared_is_marked_and_said_why(tmp_path: Path, capsys: Printed) -> None:
    write(tmp_path, [*runs("bert", (1, 2, 3)), *runs("maxpool", (1, 2, 3), skill=1.5)])
    for folder in write(tmp_path, runs("mean", (1, 2, 3))):
        (folder / "predictions.parquet").unlink()
    write(tmp_path, [*runs("mha", (7, 8)), *runs("mlp_control", (3, 4))])
    copied(write(tmp_path, runs("cls", (1, 2, 3))))
    report([tmp_path])
    printed = capsys.readouterr().out
    said = printed.partition("\n  not compared (°)\n")[2].partition("\n\n")[0].splitlines()
    reasons = {
        "cls": "its 3 runs are one and the same: the seed has no effect",
        "mean": "predictions.parquet is missing",
        "mha": "no seed in common with bert",
        "mlp_control": "only one seed in common: no spread to judge by",
    }
    where = "    minilm_l6, fine-tuned, all rows"
    assert sorted(said) == [f"{where}: {row} on rte: {reason}" for row, reason in reasons.items()]
    marked = {line.split()[0] for line in printed.partition("mean ±")[0].splitlines() if line.endswith("°")}
    assert marked == set(reasons)
    cells = {name: of for name, of in differences(tmp_path / "report").items() if name != "method"}
    assert {name: "circ" in cell for name, (cell,) in cells.items()} == {"maxpool": False, r"mlp\_control": True}
    assert set(read(tmp_path)[1].family(None).not_compared.values()) == set(reasons.values())


def test_a_cell_beside_verdicts_that_is_not_compared_is_marked_in_the_tex(tmp_path: Path) -> None:
    write(tmp_path, grid(("rte", "cola"), ("bert", "mean"), 3))
    for file in (tmp_path / "cola" / "mean").rglob("predictions.parquet"):
        file.unlink()
    report([tmp_path])
    cola, rte, *average = differences(tmp_path / "report")["mean"]
    assert (cola, average) == (r"\rlap{$^{\circ}$}", [])
    assert rte.startswith("$+")
    assert "circ}" not in rte


# failed runs


def scores(root: Path, task: str, method: str, at_chance: Iterable[int]) -> stats.Scores:
    """A method's scores from its stored predictions, in points, and with that of the commonest class at these seeds."""
    folder = root / task / method
    of_seeds = {
        int(file.parent.name.removeprefix("seed=").partition("-")[0]): pq.read_table(file)
        for file in folder.rglob("predictions.parquet")
    }
    labels = np.array(next(iter(of_seeds.values()))["label"].to_pylist())
    outputs = {seed: np.array(of["logits"].to_pylist()).argmax(axis=1) for seed, of in of_seeds.items()}
    outputs |= {seed: np.full(len(labels), np.bincount(labels).argmax()) for seed in at_chance}
    of = stats.resample(
        labels, np.stack([outputs[s] for s in sorted(outputs)]), "accuracy", seed=zlib.crc32(task.encode())
    )
    return stats.Scores(100 * of.actual, 100 * of.resampled, of.examples)


def test_failed_runs_count_as_chance_in_a_second_verdict(tmp_path: Path) -> None:
    """Of bert one fails, of mean another one: without them there are two pairs less."""
    failed = {"bert": 2, "mean": 4}
    tasks = ("rte", "qnli")
    for task in tasks:
        for method in ("bert", "mean", "maxpool"):
            lost = failed.get(method) if task == "rte" else None
            write(tmp_path, runs(method, {1, 2, 3, 4, 5} - {lost}, task, 1.0 + (method == "maxpool")))
    for method, seed in failed.items():
        Drawn(("task=rte", f"pooling={method}"), seed, error="RuntimeError: out of memory").write(tmp_path)
    got = verdicts(read(tmp_path)[1])
    lacking = {("rte", method): [seed] for method, seed in failed.items()}
    of_rows = {
        method: {task: scores(tmp_path, task, method, lacking.get((task, method), [])) for task in tasks}
        for method in ("bert", "mean", "maxpool")
    }
    want = {}
    for method in ("mean", "maxpool"):
        for task in tasks:
            want[method, task] = stats.compare(of_rows["bert"][task], of_rows[method][task])
        averaged = [stats.average([of_rows[name][task] for task in tasks]) for name in ("bert", method)]
        want[method, AVERAGE] = stats.compare(*averaged)
    adjusted = stats.family(list(want.values()), [column for _, column in want])
    pairs = {"mean": 3, "maxpool": 4}
    for (at, difference), p in zip(want.items(), adjusted, strict=True):
        method, column = at
        if column == "qnli":
            assert got[at].with_failures is None
            continue
        second = got[at].with_failures
        assert second is not None
        assert (got[at].difference.pairs, second.difference.pairs) == (pairs[method], 5)
        for name in ("estimate", "low", "high", "p", "seed_std"):
            assert getattr(second.difference, name) == pytest.approx(getattr(difference, name)), (at, name)
        assert second.adjusted_p == pytest.approx(p)
        assert second.difference.estimate != pytest.approx(got[at].difference.estimate)


def test_without_failed_runs_there_is_no_second_verdict(root: Path) -> None:
    assert all(verdict.with_failures is None for verdict in verdicts(read(root)[1]).values())


# the margin


def test_equivalent_is_what_lies_within_the_margin(tmp_path: Path, capsys: Printed) -> None:
    write(tmp_path, [*runs("bert", range(16), "qnli"), *runs("mean", range(16), "qnli")])
    for margin, mark in ((5.0, "≈"), (0.1, "")):
        report([tmp_path], margin=margin)
        printed = capsys.readouterr().out
        assert re.search(rf"^  mean +\S+ ± \S+ \(16\) +[+-]\d\.\d\d{mark}$", printed, re.MULTILINE)
        assert f"≈ within ±{margin:g} points" in printed
        (cell,) = differences(tmp_path / "report")["mean"]
        assert ("approx" in cell) == bool(mark)
        verdict = verdicts(read(tmp_path, margin)[1])["mean", "qnli"]
        assert (verdict.equivalent, verdict.mark) == (bool(mark), "equivalent" if mark else "")


def test_nothing_is_equivalent_in_a_unit_that_is_no_points(tmp_path: Path) -> None:
    write(tmp_path, [run for method in ("bert", "mean") for run in runs(method, range(3), "risk")])
    verdict = verdicts(read(tmp_path, margin=1e6)[1])["mean", "risk"]
    assert not math.isnan(verdict.difference.p)
    assert not verdict.equivalent


# rows that no seed changes


def test_a_row_that_no_seed_changes_has_every_seed(tmp_path: Path, capsys: Printed) -> None:
    write(tmp_path, [*runs("bert", (1, 2, 3)), *runs("bert", (1, 2, 3), "cola"), *runs("mean", (1, 2, 3), "cola")])
    copied(write(tmp_path, runs("mean", (1,), skill=1.5)), deterministic=True)
    found, of = read(tmp_path)
    got = verdicts(of)
    fixed, bert = (
        [run.shown for run in found.runs if (run.result["task"], run.result["method"]) == ("rte", name)]
        for name in ("mean", "bert")
    )
    assert (got["mean", "rte"].difference.pairs, got["mean", "rte"].difference.missing) == (3, 0)
    assert got["mean", "rte"].difference.estimate == pytest.approx(fixed[0] - np.mean(bert))
    assert got["mean", AVERAGE].difference.pairs == 3
    assert of.family(None).not_compared == {}
    cells = payload(found, [of], None, ["rte", "cola"])["panels"][0]["cells"]
    assert {(cell["row"], cell["task"]) for cell in cells if cell["fixed"]} == {(1, "rte")}
    report([tmp_path])
    assert re.search(rf"^  mean .* {fixed[0]:.2f} \(1\) +[+-]\S+ \(3\)", capsys.readouterr().out, re.MULTILINE)


def test_runs_that_differ_are_no_fixed_row_whatever_they_say(tmp_path: Path) -> None:
    write(tmp_path, [run for task in ("rte", "cola") for run in runs("bert", (1, 2, 3), task)])
    write(tmp_path, runs("mean", (1, 2, 3), "cola"))
    for folder in write(tmp_path, runs("mean", (1, 2))):
        of = json.loads((folder / "result.json").read_text())
        (folder / "result.json").write_text(json.dumps(of | {"deterministic": True}))
    found, of = read(tmp_path)
    assert verdicts(of)["mean", "rte"].difference.pairs == 2
    mean = of.average(of.panel.rows[1], of.average_tasks)
    assert mean is not None
    assert (mean.n, verdicts(of)["mean", AVERAGE].difference.pairs) == (2, 2)
    cells = payload(found, [of], None, ["rte", "cola"])["panels"][0]["cells"]
    assert not any(cell["fixed"] for cell in cells)


# power


def test_the_seeds_it_takes_lie_between_the_fewest_and_the_most(root: Path) -> None:
    _, of = read(root, margin=8.0)
    for column in (*TASKS, AVERAGE):
        differences = [v.difference for (_, name), v in verdicts(of).items() if name == column]
        found = power(differences, of, column)
        assert len(found) == 2
        for one in found:
            assert 2 <= one.fewest <= one.seeds <= one.most
            assert one.fewest < one.most
            assert one.detectable > 0
    assert any(math.isfinite(one.seeds) for one in found)


def test_scores_in_no_points_have_power_and_no_seeds_to_take(tmp_path: Path) -> None:
    write(tmp_path, [run for method in ("bert", "mean") for run in runs(method, range(3), "risk")])
    _, of = read(tmp_path)
    (one,) = power([verdicts(of)["mean", "risk"].difference], of, "risk")
    assert one.detectable > 0
    assert all(math.isnan(seeds) for seeds in (one.seeds, one.fewest, one.most))
    assert power([], of, "risk") == []
