"""From a folder of results to what the numbers support: a table, three files to go on with, and a page with plots.

glue-pool report outputs/
"""

import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glue_pool.disk import missing
from glue_pool.errors import UserError, nearest
from glue_pool.progress import say
from glue_pool.shell import one_line

if TYPE_CHECKING:
    from glue_pool.report.known import Known
    from glue_pool.report.scan import Run
    from glue_pool.report.study import Study

SHOWN = "shown"  # on the terminal


def report(
    folders: Sequence[Path],
    output: Path | None = None,
    baseline: str | None = None,
    chosen: Sequence[str] | None = None,
    margin: float | None = None,
    cache: Path | None = None,
) -> None:
    """Print the tables of all runs under some folders and write the report's files.

    output: a folder, `report` in the first of the folders if None. baseline: a method or a row's name, each row's
    default if None (`study.Panel.compared_with`). chosen: tasks to show, all if None; no verdict depends on it. margin:
    points that a difference has to reach to matter, `verdicts.GAIN` if None. cache: a folder that a report keeps in
    what the next one need not read and compute again, nowhere if None. Raises UserError if there is nothing to report
    on, or the folder can't be written.
    """
    from glue_pool.report import files, terminal
    from glue_pool.report.folders import places
    from glue_pool.report.kept import place
    from glue_pool.report.known import Finished, Known
    from glue_pool.report.scan import read_all
    from glue_pool.report.study import study
    from glue_pool.report.verdicts import GAIN

    if margin is not None and not 0 < margin < math.inf:
        raise UserError(f"--margin {margin:g}: takes a finite number of points above 0, as 1.25")
    for folder in folders:
        if not os.path.isdir(folder):
            raise UserError(f"{folder}: {missing(folder)}")
    now, there = time.time_ns(), places(folders)
    asked = [*map(str, folders)], baseline, chosen and [*chosen], margin, terminal.looks(sys.stdout)
    finished = Finished(cache, there, asked)
    if (contents := finished.contents()) is None:
        known = Known(cache and place(cache, "runs", [*map(os.path.realpath, folders)]))
        runs, left_out = read_all(there, known.run)
        if not any(run.completed for run in runs):
            for item in left_out[:20]:
                say(one_line(f"left out: {item.path}: {item.reason}"), sys.stderr)
            failed = f"; {len(runs)} failed" if runs else ""
            raise UserError(f"{', '.join(map(str, folders))}: no completed run to report on{failed}")
        found = study(runs, left_out)
        contents = _contents(found, runs, baseline, chosen, GAIN if margin is None else margin, known)
        try:
            known.write(now)
            finished.keep(contents, found, now)
        except OSError as error:
            what = f"--cache {cache}: can't be written ({error.strerror}), so the next report makes everything anew"
            say(one_line(what), sys.stderr)
    say(contents.pop(SHOWN).decode().removesuffix("\n"), sys.stdout)
    written = files.write(contents, output or folders[0] / "report")
    say("", sys.stdout)
    for path in written:
        say(f"  {path}", sys.stdout)


def _contents(
    found: "Study",
    runs: Sequence["Run"],
    baseline: str | None,
    chosen: Sequence[str] | None,
    margin: float,
    known: "Known",
) -> dict[str, bytes]:
    """Return what a report shows and writes, by file."""
    from glue_pool.report import files, remarks, terminal
    from glue_pool.report.draws import with_pooled
    from glue_pool.report.tables import tables

    for task in chosen or ():
        _check("--tasks", task, list(found.tasks))
    tasks = [task for task in found.tasks if chosen is None or task in chosen]
    if baseline is not None:
        names = {name for panel in found.panels for row in panel.rows for name in (row.method, row.label)}
        _check("--baseline", baseline, sorted(names))
    compared = with_pooled(found, tables(found, margin, known))
    for table in compared:
        found.notes += [*remarks.of_table(table, baseline, tasks), *table.uncompared(baseline)]
    shown = terminal.Recorded(sys.stdout)
    terminal.show(found, compared, baseline, tasks, shown)
    return {SHOWN: shown.getvalue().encode(), **files.contents(found, runs, compared, baseline, tasks)}


def _check(option: str, name: str, names: Sequence[str]) -> None:
    """Refuse a name of which there is no run."""
    if name not in names:
        raise UserError(f"{option} {name}: no run of it{nearest(name, names)} (there are {', '.join(names)})")
