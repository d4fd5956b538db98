"""Saved models as ONNX files, checked against torch, and in int8 with what became of their scores.

padded.py is the form that is exported, graph.py writes and compares it, session.py runs it, scores.py measures it.
"""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from glue_pool import locks
from glue_pool.disk import check_room, missing
from glue_pool.errors import Held, NotWritten, UserError
from glue_pool.progress import say
from glue_pool.shell import expanded, one_line

if TYPE_CHECKING:
    from glue_pool.export.scores import Dev, Score
    from glue_pool.saved.folder import SavedModel

OPSETS = range(18, 24)  # which both torch's exporter and onnxruntime know
OPSET = 18
FP32, INT8 = "model.onnx", "model_int8.onnx"  # as the Hub has them, in a folder onnx
FILES = (FP32, f"{FP32}.data", INT8, f"{INT8}.data")


@dataclass(frozen=True)
class Exported:
    """What was written.

    difference: by how much a logit differs at most from torch's, in relation to the largest if that is above 1.
    scores: of each model torch's, ONNX's and that in int8; none unless asked for.
    """

    files: Sequence[Path]
    opset: int
    difference: float
    scores: "Sequence[Score]"


def export(
    folders: str | Path | Sequence[str | Path],
    *,
    output: str | Path | None = None,
    int8: bool = False,
    data: str | Path | None = None,
    limit: int | None = None,
    opset: int = OPSET,
    force: bool = False,
    classes: Sequence[type] = (),
) -> Exported:
    """Write saved models as ONNX files, `<folder>/onnx/model.onnx`, and print how far they are from torch.

    folders: what `save_model=true` left, one or several. output: the folder for the files of one. int8: write
    model_int8.onnx, too, and print score, size and speed before and after on the task's first dev split, whose rows are
    where the run read them or in `data`, <task>/<split>.parquet; limit: so many of them, drawn at random; 0 for no
    scores. force: replace files that are there. classes: those of a pooler and an edit of one's own.

    Raises UserError for what can't be used or exported, or comes out as another model; NotWritten where the disk is
    full, Held where another process exports to the same place. The files are there once all is known of all models.
    """
    given = [folders] if isinstance(folders, str | Path) else list(folders)
    paths = [Path(expanded(str(folder))) for folder in given]
    _check_options(paths, output, int8, data, limit, opset)
    places = [folder / "onnx" if output is None else Path(expanded(str(output))) for folder in paths]
    for folder, place in zip(paths, places, strict=True):
        _check_place(folder, place, named=output is not None, int8=int8, force=force)

    from glue_pool.export import padded, scores
    from glue_pool.hardware import THREADS, within_memory
    from glue_pool.saved.folder import load

    scored = int8 and limit != 0
    devs: list[Dev | None] = []
    for folder in paths:
        padded.check(load(folder, classes, device="cpu"))
        devs.append(scores.dev(folder, None if data is None else expanded(str(data)), limit) if scored else None)
        _check_alike(paths[0], devs[0], folder, devs[-1])
    made, done = [], []
    with ExitStack() as stack:
        for folder, place, dev in zip(paths, places, devs, strict=True):
            made.append(stack.enter_context(_beside(place)))
            # again: another may have written it meanwhile
            _check_place(folder, place, named=output is not None, int8=int8, force=force)
            with within_memory("exporting", "export where there is more of it"):
                saved = load(folder, classes, device="cpu")
                done.append(_make(saved, made[-1], dev, opset, int8, THREADS))
        files = [_move(*at) for at in zip(made, places, strict=True)]
    for place, there, (difference, _) in zip(places, files, done, strict=True):
        for line in _lines(place, there, opset, difference):
            say(one_line(line), sys.stdout)
    found = [score for _, of_model in done for score in of_model]
    if found and devs[0] is not None:
        for line in scores.lines(found, devs[0].task.primary_metric, len(devs[0].rows), THREADS):
            say(one_line(line), sys.stdout)
    return Exported([file for there in files for file in there], opset, max(by for by, _ in done), found)


def _check_options(
    folders: Sequence[Path],
    output: str | Path | None,
    int8: bool,
    data: str | Path | None,
    limit: int | None,
    opset: int,
) -> None:
    for package in ("onnx", "onnxruntime", "onnxscript"):
        try:
            import_module(package)
        except ImportError as error:
            said = f"the package {package} can't be imported ({error})"
            raise UserError(f'export: {said}; pip install "glue-pool[export]"') from None
    if not folders:
        raise UserError("export: no saved model is named")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UserError("export: a folder is named twice")
    if output is not None and len(folders) > 1:
        raise UserError(f"--output {output}: is for the files of one model, and {len(folders)} are named; leave it out")
    if not int8 and (data is not None or limit is not None):
        raise UserError(f"--{'data' if data is not None else 'limit'}: is for the scores of --int8")
    if limit is not None and limit < 0:
        raise UserError(f"--limit {limit}: takes a number of rows; 0 asks for no scores")
    if opset not in OPSETS:
        raise UserError(f"--opset {opset}: takes {OPSETS[0]} to {OPSETS[-1]}")


def _check_place(folder: Path, place: Path, *, named: bool, int8: bool, force: bool) -> None:
    """Refuse a folder for the files before anything is loaded."""
    way_out = "choose another --output"
    name = f"--output {place}" if named else str(place)
    if not folder.is_dir():
        raise UserError(f"{folder}: {missing(folder)}")
    if not place.absolute().parent.is_dir():
        raise UserError(f"{name}: {missing(place.absolute().parent)} for it; make it, or {way_out}")
    if os.path.lexists(place) and not place.is_dir():
        raise UserError(f"{name}: is no folder; {way_out}")
    if not force and (there := [file for file in FILES if os.path.lexists(place / file)]):
        raise UserError(f"{place / there[0]}: is there already; --force replaces it, or {way_out}")
    weights = folder / "model.safetensors"
    times = 4 if int8 else 1.5  # of the weights: quantising needs copies
    check_room(place, int(times * weights.stat().st_size) if weights.is_file() else 0, name, way_out)


def _check_alike(first: Path, of_first: "Dev | None", folder: Path, dev: "Dev | None") -> None:
    """Refuse models that are not scored on the same rows by the same metric: a table compares them."""
    if of_first is None or dev is None:
        return
    for what, here, there in (
        ("task", of_first.task.name, dev.task.name),
        ("metric", of_first.task.primary_metric, dev.task.primary_metric),
        ("dev rows", of_first.rows.fingerprint(), dev.rows.fingerprint()),
    ):
        if here != there:
            said = f"another {what}" if what != "dev rows" else "other dev rows"
            raise UserError(
                f"{folder}: is of {said} than {first}; one table is of the same rows (--limit 0: no scores)"
            )


@contextmanager
def _beside(place: Path) -> Iterator[Path]:
    """Hold the folder for the files while the `with` lasts, and make one in it for what is not whole yet."""
    folder = place / ".unfinished"
    try:
        with locks.hold(place / ".export.lock"):
            shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
            try:
                with _writing(place):
                    folder.mkdir()
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except Held as held:
        raise Held(f"{place}: {held}") from None


@contextmanager
def _writing(place: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise NotWritten(f"{place}: can't be written ({error.strerror or error}); choose another --output") from None


def _make(
    saved: "SavedModel", folder: Path, dev: "Dev | None", opset: int, int8: bool, threads: int
) -> "tuple[float, Sequence[Score]]":
    """Write the files of a model and check them; return how far they are from torch, and their scores."""
    from glue_pool.export import graph, scores

    files, texts = [folder / FP32], graph.samples(saved)
    with _writing(folder.parent):
        graph.write(saved, files[0], opset, texts)
        difference = graph.compare(saved, files[0], texts)
        if int8:
            files.append(folder / INT8)
            graph.quantise(*files)
        return difference, scores.measure(saved, dev, files, threads) if dev is not None else []


def _move(made: Path, place: Path) -> list[Path]:
    """Give the files of a model their place; those of another export, which they don't replace, go."""
    written = [place / name for name in FILES if (made / name).exists()]
    with _writing(place):
        for name in FILES:
            if place / name in written:
                os.replace(made / name, place / name)
            elif (place / name).exists():
                (place / name).unlink()
                say(one_line(f"{place / name}: removed, for it was of the export before"), sys.stdout)
    return written


def _lines(place: Path, written: Sequence[Path], opset: int, difference: float) -> Iterator[str]:
    for name, about in ((FP32, f"opset {opset}, at most {difference:.1e} from torch"), (INT8, "weights in int8")):
        parts = [part for part in written if part.name in (name, f"{name}.data")]
        beside = f", whose weights are beside it in {name}.data" if len(parts) > 1 else ""
        if parts:
            megabytes = sum(part.stat().st_size for part in parts) / 1e6
            yield f"{place / name}: {megabytes:.1f} MB, {about}{beside}"
