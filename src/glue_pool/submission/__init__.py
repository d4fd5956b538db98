"""From one method's saved models to the zip that GLUE's server takes, and what is wrong with anybody's.

official.py has GLUE's files, runs.py chooses what each is predicted from, splits.py reads the rows, work.py predicts
them, archive.py writes the zip, summary.py says what was done. faults.py looks at a zip, lines.py at a file in it.
"""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from glue_pool import disk, locks
from glue_pool.errors import Held, Interrupted, UserError
from glue_pool.progress import say
from glue_pool.shell import expanded, one_line
from glue_pool.submission.faults import check

if TYPE_CHECKING:
    from glue_pool.submission.runs import Missing, Part
    from glue_pool.submission.work import LookedAt, Settings

__all__ = ["Submitted", "check", "submit"]

ROW_BYTES = 32  # of a label's name and its probability, in the partial file
ZIP_BYTES = 5_000_000  # at most


@dataclass(frozen=True)
class Submitted:
    """What was written.

    parts: what files were predicted from. missing: what was not there, of files that were filled and of those predicted
    by fewer seeds. remarks: what else a reader has to know.
    """

    output: Path
    parts: "Sequence[Part]"
    missing: "Sequence[Missing]"
    remarks: Sequence[str]

    @property
    def filled(self) -> list[str]:
        """The files in which the first label (0 of STS-B) stands in every row."""
        predicted = {part.file.name for part in self.parts}
        return list(dict.fromkeys(one.file.name for one in self.missing if one.file.name not in predicted))


def submit(
    outputs: str | Path | Sequence[str | Path],
    method: str,
    output: str | Path,
    *,
    encoder: str | None = None,
    kind: str | None = None,
    subset: str | None = None,
    seed: int | None = None,
    data: str | Path | None = None,
    allow_missing: bool = False,
    force: bool = False,
    batch_size: int = 64,
    device: str = "auto",
    precision: str = "auto",
    classes: Sequence[type] = (),
    window: int | None = None,
) -> Submitted:
    """Predict GLUE's test splits with a method's saved models and write the zip of a submission.

    outputs: folders of runs. method: as results call it; its seeds are averaged, or `seed` picks one. encoder, kind,
    subset (`full`, `n250` or `n250-seed0`): which of a task's runs, where there are several. data: a folder of
    <task>/<split>.parquet with the test splits, in place of where the runs' rows came from. allow_missing: files that
    can't be predicted have their first label (STS-B: 0) in every row. The rest is as `predict` has it.

    Raises UserError before the first prediction for all that is missing at once and for what can't be used; else
    as `predict` does: after a stop the same call goes on with what is in `<output>.partial`, to the same bytes.
    """
    roots = [Path(expanded(str(root))) for root in ([outputs] if isinstance(outputs, str | Path) else outputs)]
    output = Path(expanded(str(output)))
    for name, number in (("--batch-size", batch_size), ("window", 1 if window is None else window)):
        if number < 1:
            raise UserError(f"{name} {number}: takes a number from 1")
    if lost := next((root for root in roots if not root.is_dir()), None):
        raise UserError(f"{lost}: {disk.missing(lost)}; name the folders where runs are")
    data = None if data is None else expanded(str(data))
    if data is not None and not os.path.isdir(data):
        raise UserError(f"--data {data}: {disk.missing(data)}")
    _check_output(output, force=force)

    from glue_pool.hardware import bound_caches
    from glue_pool.predict import windows
    from glue_pool.report.scan import scan
    from glue_pool.submission import official, runs, summary
    from glue_pool.submission.work import Settings, Work

    wanted = runs.Wanted(method, encoder, kind, subset, seed)
    settings = Settings(data, batch_size, window or windows.ROWS, device, precision, classes)
    bound_caches()
    try:
        with locks.hold(output.with_name(f"{output.name}.lock"), in_own_folder=False) as lease:
            _check_output(output, force=force)  # another may have written it meanwhile
            parts, lacking, remarks = runs.choose(*scan(roots), wanted)
            parts, looked_at, without_models = _models(parts, settings)
            parts, hashes, without_rows = _rows(parts, data)
            order = list(official.FILES)
            lacking = sorted([*lacking, *without_models, *without_rows], key=lambda one: order.index(one.file.name))
            done = Submitted(output, parts, lacking, remarks)
            lines = list(summary.lines(done))
            if lacking and (not allow_missing or not parts):
                for line in summary.of_missing(lacking):
                    say(one_line(line), sys.stderr)
                raise UserError(summary.refusal(output, lacking, nothing=not parts))
            needed = ZIP_BYTES + sum(ROW_BYTES * part.file.rows * (1 + len(part.file.labels)) for part in parts)
            disk.check_room(output.parent, needed, str(output), "name another --output")
            work = Work(output, parts, looked_at, hashes, settings)
            try:
                work.run(lease, force=force)
                work.finish(lease)
            except KeyboardInterrupt:
                said = f"interrupted: {work.kept_line()}; the same command goes on from there"
                raise Interrupted(signal.SIGINT, said) from None
            finally:
                work.tidy()
    except Held as held:
        raise Held(f"{output}: {held}") from None
    for line in lines:
        say(one_line(line), sys.stdout)
    return done


def _check_output(output: Path, *, force: bool) -> None:
    """Refuse an output by its name, its folder and what is there."""
    if output.suffix.lower() != ".zip":
        raise UserError(f"{output}: a submission is a zip; name it so, as {output.name or 'glue'}.zip")
    folder = output.with_name(f"{output.name}.partial")
    if os.path.lexists(folder) and not folder.is_dir():
        raise UserError(f"{folder}: is there, and is no folder; remove it, or name another --output")
    disk.check_output(output, force=force)


def _models(parts: "Sequence[Part]", settings: "Settings") -> "tuple[list[Part], dict[Path, LookedAt], list[Missing]]":
    """Return the files with the runs whose models can be used, what these are, and what the others lack.

    Models are loaded one at a time.
    """
    from glue_pool.saved.folder import load
    from glue_pool.submission.runs import NO_MODEL, Missing
    from glue_pool.submission.work import LookedAt

    looked_at: dict[Path, LookedAt] = {}
    wrong: dict[Path, str] = {}
    for run in {run.folder: run for part in parts for run in part.runs}.values():
        model = run.folder / "model"
        try:
            saved = load(model, settings.classes, device=settings.device, precision=settings.precision)
            looked_at[model] = LookedAt(saved.task, saved.hardware)
            if saved.labels != list(run.task["labels"]):
                said = f"its labels ({', '.join(saved.labels)}) are not those of its run's config"
                wrong[run.folder] = f"{model}: {said}"
        except UserError as error:
            wrong[run.folder] = str(error)
    there, lacking = [], []
    for part in parts:
        usable = [run for run in part.runs if run.folder not in wrong]
        lacking += [Missing(part.file, NO_MODEL, wrong[run.folder]) for run in part.runs if run.folder in wrong]
        there += [replace(part, runs=usable)] if usable else []
    return there, looked_at, lacking


def _rows(parts: "Sequence[Part]", data: str | None) -> "tuple[list[Part], dict[str, str], list[Missing]]":
    """Return which files have their rows at hand, the rows' hashes by file, and what others lack."""
    from glue_pool.submission import splits
    from glue_pool.submission.runs import Missing

    there, hashes, lacking = [], {}, []
    for part in parts:
        found = splits.read(part, data)
        if isinstance(found, Missing):
            lacking.append(found)
        else:
            there.append(part)
            hashes[part.file.name] = found.fingerprint()
    return there, hashes, lacking
