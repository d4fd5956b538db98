"""What a report keeps: the next one is quicker, and never another one."""

import csv
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glue_pool import stats
from glue_pool.report import kept, report, scan
from glue_pool.report.__main__ import main
from glue_pool.report.records import COLUMNS
from run_folders import Drawn, grid

FILES = ("index.html", "scores.csv", "tables.tex", "results.parquet")
Printed = pytest.CaptureFixture[str]


def drawn(root: Path, seed: int, method: str = "mean", **others: object) -> Path:
    return Drawn(("task=wnli", f"pooling={method}"), seed, **others).write(root)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("template")
    for run in grid(("wnli", "stsb"), ("bert", "mean"), 2):
        run.write(root)
    drawn(root, 9, error="RuntimeError: out of memory")
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    shutil.copytree(template, tmp_path / "runs")
    settle()
    return tmp_path / "runs"


def settle() -> None:
    """Let the clock go on until a later change has another time: what changed just now is not kept."""
    time.sleep(0.12)


def files(root: Path, cache: Path | None) -> dict[str, bytes]:
    """Report with this cache, and return what is written."""
    output = root.parent / "report"
    report([root], output, cache=cache)
    return {name: (output / name).read_bytes() for name in FILES}


def folder(root: Path, method: str, seed: int, task: str = "wnli") -> Path:
    (found,) = (root / task / method).rglob(f"seed={seed}-*")
    return found


def change(file: Path, **fields: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def same_time(file: Path, content: bytes) -> None:
    before = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def other_logits(root: Path) -> None:
    """Another seed's predictions in a run's place, with their score, at the time and size that its file had."""
    here, there = folder(root, "mean", 1), folder(root, "bert", 2)
    same_time(here / "predictions.parquet", (there / "predictions.parquet").read_bytes())
    result = json.loads((there / "result.json").read_text())
    change(here / "result.json", score=result["score"], metrics=result["metrics"])


def longer(root: Path) -> None:
    file = folder(root, "mean", 2) / "result.json"
    same_time(file, json.dumps(json.loads(file.read_text()) | {"train_rows": 12345}).encode())


QUICK = ("a run more", "other logits", "longer at the same time")
CHANGES: dict[str, Callable[[Path], object]] = {
    "a run more": lambda root: drawn(root, 3),
    "a method more": lambda root: [drawn(root, seed, "maxpool") for seed in (1, 2)],
    "a failed run more": lambda root: drawn(root, 8, error="RuntimeError: no"),
    "a run less": lambda root: shutil.rmtree(folder(root, "mean", 2)),
    "other logits": other_logits,
    "longer at the same time": longer,
    "another score": lambda root: change(folder(root, "bert", 1) / "result.json", score=0.5),
    "a damaged result": lambda root: (folder(root, "bert", 2) / "result.json").write_text("{"),
    "no predictions": lambda root: (folder(root, "mean", 1) / "predictions.parquet").unlink(),
    "another config": lambda root: (folder(root, "mean", 1) / "config.yaml").write_text(
        (folder(root, "mean", 1) / "config.yaml").read_text().replace("lr: ", "lr: 1")
    ),
    "collapsed": lambda root: change(folder(root, "bert", 1, "stsb") / "result.json", collapsed=True),
}


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.long) for name in CHANGES]
)
def test_a_report_after_a_change_is_a_first_one(root: Path, tmp_path: Path, name: str) -> None:
    cache = tmp_path / "cache"
    before = files(root, cache)
    CHANGES[name](root)
    after = files(root, cache)
    assert after == files(root, None)
    assert after != before
    assert files(root, cache) == after


@pytest.mark.long
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(list(CHANGES)), st.integers(1, 4))
def test_after_any_changes_in_turn_too(
    template: Path, tmp_path_factory: pytest.TempPathFactory, names: list[str], n: int
) -> None:
    place = tmp_path_factory.mktemp("turns")
    shutil.copytree(template, place / "runs")
    for name in names[:n]:
        settle()
        files(place / "runs", place / "cache")
        try:
            CHANGES[name](place / "runs")
        except (ValueError, OSError):  # an earlier one has taken away what it changes
            continue
        assert files(place / "runs", place / "cache") == files(place / "runs", None)


def test_a_second_report_reads_no_run_and_shows_the_same(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    first, shown = files(root, tmp_path / "cache"), capsys.readouterr().out
    monkeypatch.setattr(scan, "read", None)
    monkeypatch.setattr("glue_pool.report.study.study", None)
    assert (files(root, tmp_path / "cache"), capsys.readouterr().out) == (first, shown)


def test_what_did_not_change_is_neither_read_nor_scored_nor_compared_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(root, tmp_path / "cache")
    new = drawn(root, 1, "maxpool")
    done: list[object] = []
    read, resample, bootstrap = scan.read, stats.resample, stats.multi_bootstrap

    def reading(place: Path) -> scan.Run | scan.LeftOut:
        done.append(place)
        return read(place)

    def scoring(labels: np.ndarray, outputs: np.ndarray, *args: Any, **options: Any) -> stats.Scores:
        done.append(f"{len(outputs)} scored")
        return resample(labels, outputs, *args, **options)

    def comparing(baseline: stats.Scores, method: stats.Scores) -> stats.Difference:
        done.append(f"{len(method.actual)} compared")
        return bootstrap(baseline, method)

    monkeypatch.setattr(scan, "read", reading)
    monkeypatch.setattr(stats, "resample", scoring)
    monkeypatch.setattr(stats, "multi_bootstrap", comparing)
    files(root, tmp_path / "cache")
    assert done == [new, "1 scored", "1 compared", "1 compared"]  # with bert and mean, on the seed that it has


@pytest.fixture
def small(tmp_path: Path) -> Path:
    written = kept.Kept(tmp_path / "small.kept")
    for name, block in (("none", b""), ("text", b"two\nlines"), ("numbers", np.arange(3.0).tobytes())):
        written.put(name, block)
    written.write()
    assert kept.Kept(tmp_path / "small.kept").before == written.used
    return tmp_path / "small.kept"


def test_of_a_file_that_is_not_as_it_was_written_nothing_is_read(small: Path) -> None:
    content = small.read_bytes()
    flipped = [content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :] for at in range(len(content))]
    for other in [*flipped, *(content[:end] for end in range(len(content))), content + b"\0", content + content]:
        small.write_bytes(other)
        assert kept.Kept(small).before == {}
    small.unlink()
    small.mkdir()
    assert kept.Kept(small).before == {}


@pytest.mark.long
@settings(max_examples=500, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_nor_of_one_with_any_damage(small: Path, data: st.DataObject) -> None:
    content = small.read_bytes()
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(content))] * 2)))
    other = content[:start] + data.draw(st.binary(max_size=40)) + content[end:]
    small.with_name("other").write_bytes(other)
    assert (kept.Kept(small.with_name("other")).before == {}) == (other != content)


@pytest.mark.parametrize("at", [-20, *(pytest.param(at, marks=pytest.mark.long) for at in (0, 40))])
def test_a_damaged_cache_is_none(root: Path, tmp_path: Path, at: int) -> None:
    first = files(root, tmp_path / "cache")
    for file in (tmp_path / "cache" / "report").iterdir():
        content = bytearray(file.read_bytes())
        content[at] ^= 255
        file.write_bytes(content)
    assert files(root, tmp_path / "cache") == first


def test_a_cache_that_cannot_be_written_is_said_and_none(root: Path, tmp_path: Path, capsys: Printed) -> None:
    (tmp_path / "cache").write_text("a file")
    without, _ = files(root, None), capsys.readouterr()
    assert files(root, tmp_path / "cache") == without
    said = f"--cache {tmp_path / 'cache'}: can't be written (Not a directory), so the next report makes everything anew"
    assert capsys.readouterr().err.splitlines() == [said]


@pytest.mark.parametrize(("most", "most_bytes"), [(3, 10**6), (9, 3500)])
def test_what_was_not_used_for_longest_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, most_bytes: int
) -> None:
    monkeypatch.setattr(kept, "MOST", most)
    monkeypatch.setattr(kept, "MOST_BYTES", most_bytes)
    old = [
        "index.html",
        *(f"{name}{kept.SUFFIX}" for name in "abc"),
        f".d{kept.SUFFIX}-of-a-killed-one",
        f"e{kept.SUFFIX}",
    ]
    for age, name in enumerate(old):
        (tmp_path / name).write_bytes(bytes(1000))
        os.utime(tmp_path / name, (age, age))
    new = kept.Kept(tmp_path / f"new{kept.SUFFIX}")
    new.put("block", bytes(1000))
    new.write()
    assert {file.name for file in tmp_path.iterdir()} == {"index.html", *old[-2:], f"new{kept.SUFFIX}"}


@pytest.mark.long
def test_the_command_keeps_where_train_does_unless_told_otherwise(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLUE_POOL_CACHE", str(tmp_path / "usual"))
    main([str(root), "--no-cache"])
    assert not (tmp_path / "usual").exists()
    main([str(root), "--cache", str(tmp_path / "other")])
    assert ((tmp_path / "other").exists(), (tmp_path / "usual").exists()) == (True, False)
    main([str(root)])
    assert (tmp_path / "usual" / "report").is_dir()


def test_where_nothing_says_what_home_is_a_report_keeps_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    monkeypatch.setenv("GLUE_POOL_CACHE", "~nobody.here/cache")
    monkeypatch.setenv("GLUE_POOL_OUTPUTS", "~nobody.here/outputs")  # nor is it asked for
    main([str(root), "--no-cache"])
    shown = capsys.readouterr()
    assert shown.err == ""
    main([str(root)])
    out, said = capsys.readouterr()
    assert out == shown.out
    (line,) = said.splitlines()
    assert line.startswith("--cache ~nobody.here/cache: no home folder is known of a user nobody.here")
    assert line.endswith("(nothing is kept for the next report)")


def test_results_parquet_has_every_run_that_is_over(root: Path, tmp_path: Path) -> None:
    Drawn(("task=wnli", "pooling=mean", "optimizer.lr=1e-3"), 1).write(root)
    shutil.copytree(folder(root, "bert", 1), root / "copy")
    change(root / "copy" / "result.json", run_key="f" * 64)  # the same seed and settings
    files(root, None)
    table = pq.read_table(tmp_path / "report" / "results.parquet")
    metrics = [f"validation/{name}" for name in ("accuracy", "corr", "pearson", "spearmanr")]
    assert table.column_names == [*COLUMNS, *metrics, "setting/optimizer.lr"]
    rows = {row["folder"]: row for row in table.to_pylist()}
    assert rows.keys() == {str(file.parent) for file in root.rglob("result.json")}
    with (tmp_path / "report" / "scores.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            of = rows.pop(row["folder"])
            assert [str("" if of[name] is None else of[name]) for name in row] == list(row.values())
    (row,) = rows.values()
    assert "the same seed and settings" in row["not_compared"]
