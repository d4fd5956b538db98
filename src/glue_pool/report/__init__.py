"""From a folder of results to what the numbers support: a table, two files to go on with, and a page with plots.

glue-pool report outputs/
"""

import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from glue_pool.disk import missing
from glue_pool.errors import UserError, nearest
from glue_pool.progress import say
from glue_pool.shell import one_line


def report(
    folders: Sequence[Path],
    output: Path | None = None,
    baseline: str | None = None,
    chosen: Sequence[str] | None = None,
    margin: float | None = None,
) -> None:
    """Print the tables of all runs under some folders and write the report's files.

    output: a folder, `report` in the first of the folders if None. baseline: a method or a row's name, each row's
    default if None (`study.Panel.compared_with`). chosen: tasks to show, all if None; no verdict depends on it. margin:
    points that a difference has to reach to matter, `verdicts.GAIN` if None. Raises UserError if there is nothing to
    report on, or the folder can't be written.
    """
    from glue_pool.report import files, remarks, terminal
    from glue_pool.report.draws import with_pooled
    from glue_pool.report.scan import scan
    from glue_pool.report.study import study
    from glue_pool.report.tables import tables
    from glue_pool.report.verdicts import GAIN

    if margin is not None and not 0 < margin < math.inf:
        raise UserError(f"--margin {margin:g}: takes a finite number of points above 0, as 1.25")
    for folder in folders:
        if not os.path.isdir(folder):
            raise UserError(f"{folder}: {missing(folder)}")
    runs, left_out = scan(folders)
    if not any(run.completed for run in runs):
        for item in left_out[:20]:
            say(one_line(f"left out: {item.path}: {item.reason}"), sys.stderr)
        failed = f"; {len(runs)} failed" if runs else ""
        raise UserError(f"{', '.join(map(str, folders))}: no completed run to report on{failed}")
    found = study(runs, left_out)
    for task in chosen or ():
        _check("--tasks", task, list(found.tasks))
    tasks = [task for task in found.tasks if chosen is None or task in chosen]
    if baseline is not None:
        names = {name for panel in found.panels for row in panel.rows for name in (row.method, row.label)}
        _check("--baseline", baseline, sorted(names))
    compared = with_pooled(found, tables(found, GAIN if margin is None else margin))
    for table in compared:
        found.notes += [*remarks.of_table(table, baseline, tasks), *table.uncompared(baseline)]
    terminal.show(found, compared, baseline, tasks, sys.stdout)
    written = files.write(found, compared, baseline, tasks, output or folders[0] / "report")
    say("", sys.stdout)
    for path in written:
        say(f"  {path}", sys.stdout)


def _check(option: str, name: str, names: Sequence[str]) -> None:
    """Refuse a name of which there is no run."""
    if name not in names:
        raise UserError(f"{option} {name}: no run of it{nearest(name, names)} (there are {', '.join(names)})")
