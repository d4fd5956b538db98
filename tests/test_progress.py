"""What a person sees: a bar on a terminal, a few plain lines in a file, a table at the end."""

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from glue_pool.progress import Progress, print_table

SRC = Path(__file__).parents[1] / "src"
# a name that is hard to print and looks like rich's markup
TRAINING = """
from glue_pool.progress import Progress, print_table
with Progress(40, "caf\\u00e9 [bold]") as progress:
    for step in range(1, 41):
        progress.step(step, 1 / step, 123.45)
    progress.evaluation(1.0, {"validation": {"accuracy": 0.58}})
print_table({"task": "caf\\u00e9 [bold]"})
"""
C_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def environment(**changes: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(SRC), "COLUMNS": "100"} | changes


def on_a_terminal(code: str, **changes: str) -> str:
    """What code writes to a real terminal."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=theirs, env=environment(**changes))
    os.close(theirs)
    output = b""
    try:
        while part := os.read(ours, 65536):
            output += part
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(ours)
    assert process.wait(timeout=60) == 0, output.decode()
    return output.decode()


def lines_of(total: int, steps: range) -> list[str]:
    file = io.StringIO()
    with Progress(total, "rte/maxpool", file) as progress:
        for step in steps:
            progress.step(step, 0.5, 10.0)
    return file.getvalue().splitlines()


@pytest.mark.parametrize("total", [1, 9, 10, 79, 10_000])
def test_steps_make_ten_plain_lines_at_most_and_the_last_is_among_them(total: int) -> None:
    lines = lines_of(total, range(1, total + 1))
    assert len(lines) == min(total, 10)
    assert lines[-1].startswith(f"rte/maxpool: step {total}/{total}, loss 0.5000, 10.0 examples/s")


def test_steps_told_only_now_and_then_show_up_all_the_same() -> None:
    assert [re.findall(r"\d+/79", line) for line in lines_of(79, range(50, 80, 10))] == [
        ["50/79"],
        ["60/79"],
        ["70/79"],
    ]


def test_every_evaluation_is_a_line_and_every_line_is_there_at_once() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with open(writer, "w") as file, Progress(1000, "mnli/bert", file) as progress:
        progress.evaluation(0.5, {"matched": {"accuracy": 0.5, "f1": float("nan")}, "other": {"f1": 1}})
        line = os.read(reader, 4096).decode()
    os.close(reader)
    assert line == "mnli/bert: epoch 0.5, matched accuracy 0.5000, f1 nan; other f1 1.0000\n"


def test_a_terminal_shows_a_bar_with_loss_speed_and_time_left() -> None:
    shown = on_a_terminal(TRAINING, TERM="xterm", LC_ALL="C.UTF-8")
    assert "\x1b[2K" in shown  # lines are drawn over
    assert "40/40" in shown
    assert "━━━━" in shown
    assert "loss 0.0250" in shown
    assert "123.5 examples/s" in shown
    assert re.search(r"\d\d:\d\d", shown)
    assert "café [bold]: epoch 1, validation accuracy 0.5800" in shown


def test_a_terminal_that_cannot_draw_gets_lines() -> None:
    shown = on_a_terminal(TRAINING, TERM="dumb", LC_ALL="C.UTF-8")
    assert "\x1b" not in shown
    assert len(shown.splitlines()) == 10 + 1 + 3


def test_nothing_crashes_where_only_ascii_can_be_printed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TRAINING], env=environment(**C_LOCALE), check=True, capture_output=True
    )
    lines = done.stdout.decode("ascii").splitlines()
    assert lines[9].startswith(r"caf\xe9 [bold]: step 40/40")
    assert lines[12] == r"  task  caf\xe9 [bold]"
    assert r"caf\xe9 [bold]: epoch 1" in on_a_terminal(TRAINING, TERM="xterm", **C_LOCALE)


def test_rich_is_imported_for_a_terminal_only() -> None:
    code = f"{TRAINING}\nimport sys\nassert 'rich' not in sys.modules"
    command = [sys.executable, "-c", code]
    subprocess.run(command, env=environment(), check=True, stdout=subprocess.DEVNULL)


def test_the_table_keeps_order_and_columns_and_wraps_nothing() -> None:
    file = io.StringIO()
    path = "outputs/" + "x" * 200
    print_table([("task", "rte"), ("results", path), ("next", "a\nb"), ("", ""), ("n", 3)], file)
    assert file.getvalue().splitlines() == [
        "",
        "  task     rte",
        f"  results  {path}",
        "  next     a",
        "           b",
        "",
        "  n        3",
        "",
    ]
