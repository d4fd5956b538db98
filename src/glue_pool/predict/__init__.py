"""From saved models and rows in a file to a file of predictions, of any size; a command that was stopped goes on.

glue-pool predict FOLDER [FOLDER ...] INPUT --output FILE
"""

import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from glue_pool import locks
from glue_pool.errors import Held, Interrupted, UserError
from glue_pool.progress import say
from glue_pool.shell import expanded, one_line

if TYPE_CHECKING:
    from glue_pool.predict.scores import Score


@dataclass(frozen=True)
class Predicted:
    """What a command has done: rows of the output, how many of them are empty, and how many texts were cut.

    now: the rows that were predicted by this call in so many seconds, the others by one that was stopped; cut is of
    these alone. scores: the metrics of all rows and then by category, where labels were given.
    """

    output: Path
    rows: int
    skipped: int
    now: int
    cut: int
    seconds: float
    scores: "Sequence[Score]"


def predict(
    folders: str | Path | Sequence[str | Path],
    source: str | Path,
    output: str | Path,
    *,
    columns: Sequence[str] | None = None,
    labels: str | None = None,
    by: str | Sequence[str] = (),
    by_separator: str | None = None,
    metrics: str | Sequence[str] | None = None,
    positive: str | None = None,
    format: str | None = None,
    header: bool = True,
    quotes: bool = True,
    on_error: Literal["stop", "skip"] = "stop",
    force: bool = False,
    batch_size: int = 64,
    device: str = "auto",
    precision: str = "auto",
    classes: Sequence[type] = (),
    window: int | None = None,
) -> Predicted:
    """Write what saved models say of every row of an input, and print the metrics where labels are given.

    folders: what `save_model=true` left, one or several of one task, whose probabilities (or scores) are averaged.
    source: a csv, tsv, jsonl, parquet or txt file, or "-", standard input; `columns`, `labels`, `by`, `format`,
    `header` and `quotes` as `reading.read` has them. by_separator: what stands between several categories of a row.
    metrics: names of `glue_pool.metrics` in place of the task's. positive: a label, against all others: the labels may
    be those of two classes. output: a .csv, .jsonl or .parquet file, a row for every row of
    the input. on_error: whether a row that can't be read ends it, or has no values. force: replaces an output that is
    there, and what is there of another command's. window: rows predicted together, `windows.ROWS` if None.

    Raises UserError for what can't be used, before anything is written, and for a row that can't be read; NotWritten
    where the disk is full, Held where another process writes the output, Interrupted at Ctrl-C. After these the same
    call goes on with what is in `<output>.partial`, to the same bytes.
    """
    from glue_pool.hardware import bound_caches
    from glue_pool.predict import identity, models, scores, table, windows
    from glue_pool.predict.job import Job
    from glue_pool.predict.partial import Partial
    from glue_pool.predict.reading import read

    folders = [folders] if isinstance(folders, str | Path) else list(folders)
    by = [by] if isinstance(by, str) else list(by)
    source, output = str(source), Path(expanded(str(output)))
    source = source if source == "-" else expanded(source)
    if not folders:
        raise UserError("predict: no saved model is named")
    if on_error not in ("stop", "skip"):
        raise UserError(f"--on-error {on_error}: takes stop or skip")
    if window is not None and window < 1:
        raise UserError(f"window={window}: takes a number from 1")
    if batch_size < 1:
        raise UserError(f"--batch-size {batch_size}: takes a number from 1")
    table.check_output(output, source, force=force)
    bound_caches()
    try:
        with locks.hold(output.with_name(f"{output.name}.lock"), in_own_folder=False) as lease:
            table.check_output(output, source, force=force)  # another command may just have written it
            loaded = models.load(folders, classes, device=device, precision=precision)
            asked = scores.question(loaded, labels, by, by_separator, metrics, positive)
            reads: dict[str, Any] = {"columns": None if columns is None else list(columns), "labels": labels, "by": by}
            reads |= {"format": format, "header": header, "quotes": quotes}
            rows = read(source, asked.task if asked else loaded.task, **reads)
            again = identity.is_file(source)
            options = {**reads, "positive": positive, "batch_size": batch_size, "window": window or windows.ROWS}
            partial = Partial(output, table.Table.of(loaded.task, output))
            of_models = [(member.folder, member.hardware) for member in loaded.members]
            about = identity.identity(of_models, identity.of_source(source), options, classes)
            done = partial.begin(about, goes_on=again, force=force)
            gold = scores.Gold(asked) if asked else None
            job = Job(loaded, partial, gold, source, done, on_error == "skip", batch_size)
            try:
                job.run(rows, window or windows.ROWS, lease, identity.count(source, format))
                found = gold.scores(partial.values(), loaded.task.outputs) if gold else []
                lease.check()
                partial.finish()
            except UserError as error:  # a row, or the rest of the input, can't be read
                kept = f"; {partial.kept_line()}" if partial.kept() else ""
                raise UserError(f"{error}{kept}") from None
            except KeyboardInterrupt:
                way_on = "the same command goes on from there" if again else "standard input starts over"
                raise Interrupted(signal.SIGINT, f"interrupted: {partial.kept_line()}; {way_on}") from None
            finally:
                if not partial.kept():
                    partial.remove()
    except Held as held:
        raise Held(f"{output}: {held}") from None
    say(one_line(f"{output}: {job.summary()}"), sys.stdout)
    for line in scores.lines(found):
        say(one_line(line), sys.stdout)
    return Predicted(output, job.rows, job.skipped, job.now, job.cut, job.seconds, found)
