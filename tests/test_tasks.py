"""A task's YAML: slips are one line with the key, file and line, before a row is read."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import glue_pool
from glue_pool import cli, commandline, schema, tasks
from glue_pool.commands import prepare
from glue_pool.data import findings
from glue_pool.data.sources import read
from glue_pool.errors import UserError
from glue_pool.metrics import METRICS
from glue_pool.schema import DataConfig
from glue_pool.tasks import SourceConfig, TaskConfig

GOOD = """\
# mine
name: reviews
source:
  files: {train: train.csv, validation: dev.csv}
columns: [text]
labels: [bad, good]
metrics: [accuracy, f1]
primary_metric: accuracy
dev_splits: [validation]
"""
ROWS = "text,label\n" + "".join(f"text {i},{('bad', 'good')[i % 2]}\n" for i in range(20))
Refused = Callable[..., str]


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """`refused(yaml, *more)`: what a run of the task says, which is one line and leaves nothing behind."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_conf/task").mkdir(parents=True)
    for name in ("train.csv", "dev.csv"):
        (tmp_path / name).write_text(ROWS)

    def run(yaml: str, *more: str) -> str:
        (tmp_path / "my_conf/task/reviews.yaml").write_text(yaml, errors="surrogateescape")
        line = ["train", "--config-dir", "my_conf", "task=reviews", "encoder=minilm_l6", "tracking=none"]
        with pytest.raises(SystemExit) as ended:
            cli.main([*line, f"data.cache_dir={tmp_path}/cache", *more])
        assert ended.value.code == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.count("\n") == 1
        assert not (tmp_path / "outputs").exists()
        assert not (tmp_path / "cache").exists()
        return said.err.strip().removeprefix("error: ")

    return run


SLIPS: list[tuple[str, str, int, str]] = [  # what, put instead of what, its line, what is said
    ("metrics: [acuracy]", "metrics: [accuracy, f1]", 7, "task.metrics: no metric acuracy; did you mean 'accuracy'?"),
    ("metrics: []", "metrics: [accuracy, f1]", 7, "task.metrics: is empty; a task with one label a row takes accuracy"),
    (
        "primary_metric: f2",
        "primary_metric: accuracy",
        8,
        "task.primary_metric=f2: none of task.metrics (accuracy, f1)",
    ),
    ("metrics: [accuracy, pearson]", "metrics: [accuracy, f1]", 7, "pearson doesn't fit a task with one label a row"),
    ("labels: [bad, good, fair]", "labels: [bad, good]", 7, "task.metrics: f1 takes two labels, the task has 3"),
    ("labels: []", "labels: [bad, good]", 7, "accuracy takes classes, and without task.labels the task has scores"),
    ("labels: [bad, bad]", "labels: [bad, good]", 6, "task.labels: 'bad' stands there twice"),
    ("labels: [bad]", "labels: [bad, good]", 6, "task.labels: 'bad' alone leaves nothing to tell apart"),
    (
        "labels: [bad, goood]",
        "labels: [bad, good]",
        6,
        "train.csv: label 'good' in row 1 is none of task reviews's labels",
    ),
    ("dev_splits: []", "dev_splits: [validation]", 9, "task.dev_splits: is empty; dev_share=0.1 takes a tenth"),
    (
        "dev_splits: [dev]",
        "dev_splits: [validation]",
        4,
        "task.source.files: no split dev (there are train, validation)",
    ),
    ("columns: []", "columns: [text]", 5, "task.columns: 0 of them; a task has one text or two"),
    (
        "columns: [a, b, c]",
        "columns: [text]",
        5,
        "task.columns: 3 of them; a task has one text or two (a template joins",
    ),
    ("columns: [txt]", "columns: [text]", 5, "train.csv: no column txt; the columns are text, label"),
    ("columns: text", "columns: [text]", 5, "task=reviews: task.columns: "),
    (
        "score_range: [0, 1]\ncolumns: [text]",
        "columns: [text]",
        5,
        "task.score_range: a task with labels has no scores",
    ),
    (
        "positive: god\ncolumns: [text]",
        "columns: [text]",
        5,
        "task.positive=god: none of the labels (bad, good); did you",
    ),
    ("label: gold\ncolumns: [text]", "columns: [text]", 5, "train.csv: no column gold; the columns are text, label"),
    ("label: null\ncolumns: [text]", "columns: [text]", 5, "task.label=null: only a multi-label task can do without"),
    ("label_map: {1: god}\ncolumns: [text]", "columns: [text]", 5, "task.label_map.1: 'god' is none of the labels"),
    ("dev_share: 2\ncolumns: [text]", "columns: [text]", 5, "task.dev_share=2.0: has to be above 0 and below 1"),
    ("dev_splits: [dev]\ndev_share: 0.01", "dev_splits: [validation]", 10, "task.dev_share=0.01: of 20 rows that is 0"),
    (
        "test_splits: [validation]\ncolumns: [text]",
        "columns: [text]",
        5,
        "task.test_splits: validation is trained on or",
    ),
    ("multi_label: true\nseparator: ''\ncolumns: [text]", "columns: [text]", 6, "task.separator=: is empty"),
    ("columns: [{text}]", "columns: [text]", 5, "task.columns: takes a plain list, and {'text': None} is none of text"),
    ("labels: [[a, b], c]", "labels: [bad, good]", 6, "task.labels: takes a plain list"),
    ("metrics: accuracy", "metrics: [accuracy, f1]", 7, "task.metrics: takes a list, as [a, b]"),
    ("label_map: {1: bad, '1': good}\ncolumns: [text]", "columns: [text]", 5, "task.label_map: 1 is 'bad' and 'good'"),
    (
        "dev_share: 0.2\ncolumns: [text]",
        "columns: [text]",
        5,
        "task.dev_share=0.2: source.files has rows for validation",
    ),
    ("group: txt\ncolumns: [text]", "columns: [text]", 5, "dev.csv: no column txt; the columns are text, label"),
    ("group: ''\ncolumns: [text]", "columns: [text]", 5, "task.group=: is empty"),
    ("group: [text]\ncolumns: [text]", "columns: [text]", 5, "task.group"),
    ("  revision: main\ncolumns: [text]", "columns: [text]", 5, "task.source.revision=main: is of a Hub data set"),
    ("columns: [text", "columns: [text]", 6, "expected ',' or ']'"),
    ("colums: [text]", "columns: [text]", 5, "task=reviews: task.colums: no such key; did you mean 'columns'?"),
    ("train.csv, validation: gone.csv}", "train.csv, validation: dev.csv}", 4, "gone.csv: there is no such file"),
]


@pytest.mark.parametrize(("put", "instead_of", "line", "said"), SLIPS, ids=[slip[0] for slip in SLIPS])
def test_a_slip_is_one_line_with_file_and_line(
    refused: Refused, put: str, instead_of: str, line: int, said: str
) -> None:
    assert instead_of in GOOD
    got = refused(GOOD.replace(instead_of, put))
    assert f"my_conf/task/reviews.yaml:{line}: " in got
    assert said in got


WITHOUT_LINE = [
    ("labels: {0: bad, 1: good}", "labels: [bad, good]"),
    ("source: train.csv", "source:\n  files: {train: train.csv, validation: dev.csv}"),
    ("", "primary_metric: accuracy\n"),
    ("title: caf\udce9\ncolumns: [text]", "columns: [text]"),  # no UTF-8
    ("title: \0\ncolumns: [text]", "columns: [text]"),
    ("defaults: [reviews]\ncolumns: [text]", "columns: [text]"),
    ("columns: &all [*all]", "columns: [text]"),
]


@pytest.mark.parametrize(("put", "instead_of"), WITHOUT_LINE)
def test_a_slip_whose_line_is_not_known_names_the_file(refused: Refused, put: str, instead_of: str) -> None:
    assert instead_of in GOOD
    assert refused(GOOD.replace(instead_of, put)).startswith("my_conf/task/reviews.yaml")


def test_labels_that_yaml_takes_for_truth_values_are_told_to_take_quotes(refused: Refused) -> None:
    said = refused(GOOD.replace("labels: [bad, good]", "labels: [no, yes, maybe]").replace("accuracy, f1", "accuracy"))
    assert "(0 False, 1 True, 2 maybe); no, yes, off and on take quotes in a YAML: labels: ['no', 'yes']" in said


def test_what_a_line_quotes_is_printable_and_its_length_has_an_end(refused: Refused) -> None:
    said = refused(GOOD.replace("[bad, good]", r'["b\nad\e[31m", b]'))
    assert said.endswith(r"none of task reviews's labels (0 b ad\x1b[31m, 1 b)")
    said = refused(GOOD.replace("name: reviews", f"name: reviews\ntitle: [{'long, ' * 9999}]"))
    assert len(said) < 1200
    assert said.endswith("'")


def test_a_yaml_of_ones_own_with_the_name_of_a_shipped_one_is_refused(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "my_conf/task/trec.yaml").write_text(GOOD.replace("name: reviews", "name: trec"))
    assert refused(GOOD, "task=trec") == (
        "task=trec: my_conf/task/trec.yaml is not read: a task of that name comes with glue-pool; rename it"
    )


def test_a_split_may_be_added_on_the_command_line(refused: Refused) -> None:
    given = "task.source.files.more=dev.csv"
    assert f"+{given.split('=')[0]}=… adds it" in refused(GOOD, given)
    assert "no split there" in refused(GOOD, f"+{given}", "task.dev_splits=[more,there]")


DOORS: dict[str, Callable[[], object]] = {
    "prepare": lambda: prepare.main(["--config-dir", "my_conf", "task=reviews", "encoder=minilm_l6"]),
    "notebook": lambda: glue_pool.run(["task=reviews", "encoder=minilm_l6", "tracking=none"], config_dir="my_conf"),
}


@pytest.mark.parametrize("door", DOORS)
def test_every_door_names_file_and_line(refused: Refused, door: str) -> None:
    said = refused(GOOD.replace("labels: [bad, good]", "labels: [bad, fair]"))
    with pytest.raises(UserError) as caught:
        DOORS[door]()
    assert str(caught.value) == said


@pytest.mark.parametrize("sign", ["", "+", "++"])
def test_a_value_of_the_command_line_is_in_no_file(refused: Refused, sign: str) -> None:
    if sign == "+":  # it adds keys only
        assert refused(GOOD, "+task.label_map={1: god}").startswith("task.label_map.1: 'god' is none of the labels")
    else:
        assert refused(GOOD, f"{sign}task.metrics=[acuracy]").startswith("task.metrics: no metric acuracy")


def test_every_metric_is_refused_by_the_tasks_that_it_does_not_fit() -> None:
    for name, metric in METRICS.items():
        for of_labels, multi in (([], False), (["a", "b"], False), (["a", "b", "c"], False), (["a", "b"], True)):
            of = TaskConfig(
                name="mine", columns=["text"], labels=of_labels, multi_label=multi, metrics=[name], primary_metric=name,
                dev_splits=["dev"],
            )  # fmt: skip
            fits = of.problem_type in metric.fits and not (metric.two_classes and len(of_labels) == 3)
            if fits:
                tasks.check(of)
            else:
                with pytest.raises(UserError, match=f"task.metrics: {name} "):
                    tasks.check(of)


@pytest.mark.parametrize("given", [[], [1.0], [0.0, 1.0, 2.0], [5.0, 0.0], [1.0, 1.0], [0.0, float("inf")]])
def test_a_score_range_is_two_rising_numbers(given: list[float]) -> None:
    of = TaskConfig(name="mine", columns=["text"], metrics=["pearson"], primary_metric="pearson", dev_splits=["dev"])
    tasks.check(dataclasses.replace(of, score_range=[-1.0, 1.0]))
    with pytest.raises(UserError, match="takes the lowest and the highest score"):
        tasks.check(dataclasses.replace(of, score_range=given))


@pytest.mark.parametrize("name", ["x" * 300, "\N{HIRAGANA LETTER A}" * 90, "a/b", "..", " ", "a b"])
def test_a_name_that_can_be_no_folder_is_refused(refused: Refused, name: str) -> None:
    assert "task.name=" in refused(GOOD.replace("name: reviews", f"name: '{name}'"))


def test_a_name_of_a_component_is_a_folders_too() -> None:
    for section in schema.COMPONENTS:
        with pytest.raises(UserError, match=f"{section}.name=xxx.*: it names folders, and takes up to 80 letters"):
            commandline.jobs(["data=synthetic", f"{section}.name={'x' * 300}"])


def test_a_sweep_over_tasks_names_the_one_that_is_wrong(tmp_path: Path, refused: Refused) -> None:
    other = GOOD.replace("name: reviews", "name: other").replace("metrics: [accuracy, f1]", "metrics: [f2]")
    (tmp_path / "my_conf/task/other.yaml").write_text(other)
    (tmp_path / "my_conf/task/reviews.yaml").write_text(GOOD)
    line = ["-m", "--config-dir", "my_conf", "task=reviews,other", "encoder=minilm_l6"]
    with pytest.raises(UserError, match=r"my_conf/task/other\.yaml:7: .*task=other: task\.metrics: no metric f2"):
        commandline.jobs(line)


def test_keys_that_only_fit_together_may_be_given_one_by_one() -> None:
    overrides = ["task=rte", "task.metrics=[f1]", "task.primary_metric=f1", "data=synthetic"]
    assert commandline.jobs(overrides)[0].task.metric is METRICS["f1"]
    swept = commandline.jobs(["-m", *overrides[:1], "task.metrics=[f1,accuracy]", "task.primary_metric=f1,accuracy"])
    assert [cfg.task.primary_metric for cfg in swept] == ["f1", "accuracy"]


# what is odd and no error


def rows_of(folder: Path, train: str, dev: str, **keys: Any) -> list[str]:
    """What is said of a task whose CSV files are these."""
    for name, text in (("train", train), ("dev", dev)):
        (folder / f"{name}.csv").write_text("idx,text,label\n" + text)
    source = SourceConfig(files={name: str(folder / f"{name}.csv") for name in ("train", "dev")})
    given: dict[str, Any] = {"labels": ["bad", "good", "fair"]} | keys
    of = TaskConfig(name="mine", source=source, columns=["text"], primary_metric="", dev_splits=["dev"], **given)
    return findings.of(read(DataConfig(name="hub", cache_dir=""), of), of)


def test_odd_rows_are_counted(tmp_path: Path) -> None:
    assert rows_of(tmp_path, "1,a,bad\n2,b,good\n3,c,fair\n", "1,d,bad\n2,e,good\n3,f,fair\n") == []
    assert rows_of(tmp_path, "1,a,bad\n1,b,good\n1,c,good\n2,d,bad\n", "1,a,bad\n2,b,good\n3,c!,fair\n") == [
        "2 of 4 rows of train repeat an idx (1, 3 times)",
        "2 of 3 rows of dev are in train, too, word for word",
        "no row of train has the label fair",
    ]
    many = {"labels": ["bad", "good", "fair"], "multi_label": True}
    assert rows_of(tmp_path, '1,a,\n2,b,"bad,good"\n', '1,c,"bad,fair"\n', **many) == [
        "no row of train has the label fair",
        "no row of dev has the label good",
    ]
    assert rows_of(tmp_path, "1,a,0.5\n", "1,a,7\n", labels=[]) == [
        "1 of 1 rows of dev are in train, too, word for word",
        "all rows of train have the score 0.5",
        "all rows of dev have the score 7",
    ]
