"""What is said of a submission: what is missing, what was done, and what comes next."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glue_pool.shell import aligned
from glue_pool.submission.official import FILES
from glue_pool.submission.runs import Missing, Part, grouped

if TYPE_CHECKING:
    from glue_pool.submission import Submitted

WAYS_OUT = (
    "mend that, or --allow-missing takes the other seeds, and fills with its first label (STS-B: 0) what has none"
)


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
    rows: list[Sequence[str]] = [("file", "rows", "seeds", "dev score", "runs")]
    parts = {part.file.name: part for part in done.parts}
    for file in FILES.values():
        part = parts.get(file.name)
        rows.append((file.name, f"{file.rows:,}", *(_of(part) if part else ("", "", "(filled)"))))
    yield f"{done.output}: {len(FILES)} files, {sum(file.rows for file in FILES.values()):,} rows"
    yield from aligned(rows, left=(0, 2, 3, 4))
    if any(part.dev and not part.dev[2] for part in done.parts):
        yield "* on another dev split than the official one, by its number of rows: not GLUE's dev score"
    if any(len(part.runs) > 1 for part in done.parts):
        yield "dev scores are means over seeds; predictions are of the seeds' mean, which is an ensemble, not one model"
    fewer = [
        (one.file.name, f"predicted by the other seeds; {one.said}") for one in done.missing if one.file.name in parts
    ]
    filled = [one for one in done.missing if one.file.name not in parts]
    yield from grouped(fewer + [(one.file.name, f"filled with {one.file.filling}; {one.said}") for one in filled])
    yield from done.remarks
    yield f"next: upload {done.output} at gluebenchmark.com"


def _of(part: Part) -> tuple[str, str, str]:
    """Return a file's seeds, dev score and runs."""
    folders = [part.runs[0].folder] if len(part.runs) == 1 else [run.folder.parent for run in part.runs]
    where = ", ".join(dict.fromkeys(map(str, folders)))
    dev = ""
    if part.dev is not None:
        metric, score, official = part.dev
        dev = f"{score:.2f} {metric}{'' if official else '*'}"
    return ", ".join(str(run.result["seed"]) for run in part.runs), dev, where
