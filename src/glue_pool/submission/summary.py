"""What is said of a submission: what is missing, what was done, and what comes next."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glue_pool.submission.official import FILES
from glue_pool.submission.runs import Missing, Part, grouped

if TYPE_CHECKING:
    from glue_pool.submission import Submitted

WAYS_OUT = "mend that, or --allow-missing fills such files with their first label (STS-B: 0)"


def of_missing(lacking: Sequence[Missing]) -> Iterator[str]:
    """Yield a line for each thing that is missing, with what is known of it."""
    yield from grouped((one.file.name, one.said) for one in lacking)


def refusal(output: Path, lacking: Sequence[Missing], *, nothing: bool) -> str:
    """Return in one line all that is missing; nothing: whether no file at all can be predicted."""
    reasons: dict[str, list[str]] = {}
    for one in lacking:
        reasons.setdefault(one.why, []).append(one.file.name)
    said = "; ".join(f"{why}: {', '.join(names)}" for why, names in reasons.items())
    files = len({one.file.name for one in lacking})
    way_out = "no file can be predicted, so none is written" if nothing else WAYS_OUT
    return f"{output}: {files} of {len(FILES)} files lack something: {said}; {way_out}"


def lines(done: "Submitted") -> Iterator[str]:
    """Yield what was written, file by file, what was filled in, and what comes next."""
    rows = [("file", "rows", "seeds", "dev score", "runs")]
    parts = {part.file.name: part for part in done.parts}
    for file in FILES.values():
        part = parts.get(file.name)
        rows.append((file.name, f"{file.rows:,}", *(_of(part) if part else ("0", "", "(filled)"))))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    yield f"{done.output}: {len(FILES)} files, {sum(file.rows for file in FILES.values()):,} rows"
    for name, count, seeds, dev, of in rows:
        yield f"{name:{widths[0]}}  {count:>{widths[1]}}  {seeds:>{widths[2]}}  {dev:<{widths[3]}}  {of}".rstrip()
    if any(part.dev and not part.dev[2] for part in done.parts):
        yield "* on another dev split than the official one, by its number of rows: not GLUE's dev score"
    if any(len(part.runs) > 1 for part in done.parts):
        yield "dev scores are means over seeds; predictions are of the seeds' mean, which is an ensemble, not one model"
    fewer = [(one.file.name, f"predicted without a {one.said}") for one in done.missing if one.file.name in parts]
    filled = [one for one in done.missing if one.file.name not in parts]
    yield from grouped(fewer + [(one.file.name, f"filled with {one.file.filling}; {one.said}") for one in filled])
    yield f"next: upload {done.output} at gluebenchmark.com"


def _of(part: Part) -> tuple[str, str, str]:
    """Return a file's seeds, dev score and runs."""
    first = part.runs[0].folder
    folder = str(first) if len(part.runs) == 1 else os.path.commonpath([run.folder for run in part.runs])
    dev = ""
    if part.dev is not None:
        metric, score, official = part.dev
        dev = f"{score:.2f} {metric}{'' if official else '*'}"
    return str(len(part.runs)), dev, folder
