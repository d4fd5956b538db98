"""What is said of a table's marks: collapses and failures that they may be owed to, tasks that an average rests on."""

from itertools import chain
from pathlib import Path

from glue_pool.report import remarks
from glue_pool.report.panels import Row
from glue_pool.report.scan import scan
from glue_pool.report.study import study
from glue_pool.report.tables import tables
from glue_pool.report.verdicts import AVERAGE, Table
from run_folders import Drawn

SEEDS = range(1, 6)


def runs(task: str, method: str, skill: float = 1.0, **more: object) -> list[Drawn]:
    """Five seeds; more: what differs in the fifth."""
    fifth = Drawn((f"task={task}", f"pooling={method}"), 5, skill, **more)  # type: ignore[arg-type]
    return [*(Drawn((f"task={task}", f"pooling={method}"), seed, skill) for seed in SEEDS if seed != 5), fifth]


def table(folder: Path, *drawn: list[Drawn]) -> tuple[Table, Row]:
    """The one table of some runs of bert and mean, and mean's row."""
    for run in chain(*drawn):
        run.write(folder)
    (of,) = tables(study(*scan([folder])))
    return of, of.panel.rows[1]


def test_a_mark_of_a_method_that_collapses_elsewhere_is_warned_of(tmp_path: Path) -> None:
    of, mean = table(
        tmp_path,
        [*runs("stsb", "bert"), *runs("stsb", "mean", 1.8)],
        [*runs("rte", "bert"), *runs("rte", "mean", collapsed=True)],
    )
    assert of.family(None).verdicts[mean, "stsb"].mark == "better"
    said = remarks.cautions(of, None)
    (line,) = said[mean, "stsb"]
    assert line.startswith("mean: none of 5 runs collapsed here (the rate may be up to 45 %), but 1 of 5 elsewhere.")
    assert [line.partition(" (")[0] for line in said[mean, "rte"]] == ["mean: 1 of 5 runs collapsed"]
    shown = remarks.of_table(of, None, ["stsb"])
    assert any("mean on stsb: none of 5 runs collapsed here" in line for line in shown)
    assert not any("rte" in line or "the average" in line for line in shown)


def test_an_equivalence_of_a_method_that_collapses_elsewhere_is_warned_of(tmp_path: Path) -> None:
    for run in [
        *runs("stsb", "bert", 1.5),
        *runs("stsb", "mean", 1.5),
        *runs("rte", "bert"),
        *runs("rte", "mean", collapsed=True),
    ]:
        run.write(tmp_path)
    (of,) = tables(study(*scan([tmp_path])), margin=20)
    mean = of.panel.rows[1]
    assert of.family(None).verdicts[mean, "stsb"].mark == "equivalent"
    assert any("elsewhere" in line for line in remarks.cautions(of, None)[mean, "stsb"])


def test_a_mark_that_failed_runs_would_take_away_is_said(tmp_path: Path) -> None:
    of, mean = table(
        tmp_path, [*runs("stsb", "bert", 1.5), *runs("stsb", "mean", 1.9, error="RuntimeError: out of memory")]
    )
    verdict = of.family(None).verdicts[mean, "stsb"]
    assert (verdict.mark, verdict.difference.pairs) == ("better", 4)
    other = verdict.with_failures
    assert other is not None
    assert (other.mark, other.difference.pairs) == ("", 5)
    assert other.difference.estimate < verdict.difference.estimate
    said = remarks.of_table(of, None, ["stsb"])
    assert any("mean on stsb: 1 of 5 runs without a score. If these were its worst fifth" in line for line in said)
    assert any("mean on stsb: better" in line and "but not shown to differ" in line for line in said)


def test_the_task_that_an_average_rests_on_is_named(tmp_path: Path) -> None:
    of, mean = table(
        tmp_path,
        [*runs("stsb", "bert"), *runs("stsb", "mean", 2.2)],
        *([*runs(task, "bert"), *runs(task, "mean")] for task in ("rte", "mrpc")),
    )
    assert of.family(None).verdicts[mean, AVERAGE].mark == "better"
    said = [line for line in remarks.of_table(of, None, of.tasks) if "on the average: without" in line]
    assert any("mean on the average: without stsb it is" in line for line in said)
    assert not any("without rte" in line for line in said)
    assert not any("on the average" in line for line in remarks.of_table(of, None, ["stsb", "rte"]))
