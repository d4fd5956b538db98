"""Saved models as ONNX files, checked against torch, and in int8 with what became of their scores.

padded.py is the form that is exported, graph.py writes and compares it, session.py runs it, scores.py measures it.
"""

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from glue_pool.disk import check_room, missing
from glue_pool.errors import NotWritten, UserError
from glue_pool.progress import say
from glue_pool.shell import expanded, one_line

if TYPE_CHECKING:
    from glue_pool.data.rows import Rows
    from glue_pool.export.scores import Score
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
    full. A model's files are there once all is known of it.
    """
    given = [folders] if isinstance(folders, str | Path) else list(folders)
    paths = [Path(expanded(str(folder))) for folder in given]
    _check_options(paths, output, int8, data, limit, opset)
    places = [folder / "onnx" if output is None else Path(expanded(str(output))) for folder in paths]
    for folder, place in zip(paths, places, strict=True):
        _check_place(folder, place, named=output is not None, force=force)

    from glue_pool.export import padded, scores
    from glue_pool.hardware import THREADS, within_memory
    from glue_pool.saved.folder import load

    rows: list[Rows | None] = []
    task = None
    for folder in paths:
        saved = load(folder, classes, device="cpu")
        padded.check(saved)
        task = task or saved.task
        if int8 and limit != 0:
            if (saved.task.name, saved.task.primary_metric) != (task.name, task.primary_metric):
                raise UserError(
                    f"{folder}: a model of {saved.task.name}, that in {paths[0]} of {task.name}; name them apart"
                )
            rows.append(scores.dev_rows(saved, None if data is None else expanded(str(data)), limit))
        else:
            rows.append(None)
    done = []
    for folder, place, its_rows in zip(paths, places, rows, strict=True):
        with within_memory("exporting", "export where there is more of it"):
            done.append(_export(load(folder, classes, device="cpu"), place, its_rows, opset, int8, THREADS))
    found = [score for one in done for score in one.scores]
    if found and task is not None:
        for line in scores.lines(found, task.primary_metric, len(rows[0] or []), THREADS):
            say(one_line(line), sys.stdout)
    return Exported([file for one in done for file in one.files], opset, max(of.difference for of in done), found)


def _check_options(
    folders: Sequence[Path],
    output: str | Path | None,
    int8: bool,
    data: str | Path | None,
    limit: int | None,
    opset: int,
) -> None:
    for package in ("onnx", "onnxruntime", "onnxscript"):
        if find_spec(package) is None:
            raise UserError(f'export: the package {package} is missing; pip install "glue-pool[export]"')
    if not folders:
        raise UserError("export: no saved model is named")
    if len({folder.absolute() for folder in folders}) < len(folders):
        raise UserError("export: a folder is named twice")
    if output is not None and len(folders) > 1:
        raise UserError(f"--output {output}: is for the files of one model, and {len(folders)} are named; leave it out")
    if not int8 and (data is not None or limit is not None):
        raise UserError(f"--{'data' if data is not None else 'limit'}: is for the scores of --int8")
    if limit is not None and limit < 0:
        raise UserError(f"--limit {limit}: takes a number of rows; 0 asks for no scores")
    if opset not in OPSETS:
        raise UserError(f"--opset {opset}: takes {OPSETS[0]} to {OPSETS[-1]}")


def _check_place(folder: Path, place: Path, *, named: bool, force: bool) -> None:
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
    check_room(place, int(1.5 * weights.stat().st_size) if weights.is_file() else 0, name, way_out)


def _export(saved: "SavedModel", place: Path, rows: "Rows | None", opset: int, int8: bool, threads: int) -> Exported:
    """Write the files of one model in a folder beside, check them there, and move them to their place."""
    from glue_pool.export import graph, scores

    try:
        with tempfile.TemporaryDirectory(prefix=".onnx-", dir=place.absolute().parent) as folder:
            files = [Path(folder, FP32)]
            texts = graph.samples(saved)
            graph.write(saved, files[0], opset, texts)
            difference = graph.compare(saved, files[0], texts)
            if int8:
                files.append(Path(folder, INT8))
                graph.quantise(*files)
            found = [] if rows is None else scores.measure(saved, rows, files, threads)
            place.mkdir(exist_ok=True)
            written = [name for name in FILES if Path(folder, name).exists()]
            for name in FILES:
                if name in written:
                    os.replace(Path(folder, name), place / name)
                else:
                    (place / name).unlink(missing_ok=True)  # of another model
    except OSError as error:
        raise NotWritten(f"{place}: can't be written ({error.strerror or error}); choose another --output") from None
    for name in written:
        beside = ", whose weights are beside it in .data" if f"{name}.data" in written else ""
        about = f"opset {opset}, at most {difference:.1e} from torch" if name == FP32 else "weights in int8"
        if not name.endswith(".data"):
            say(one_line(f"{place / name}: {_megabytes(place, name)} MB, {about}{beside}"), sys.stdout)
    return Exported([place / name for name in written], opset, difference, found)


def _megabytes(place: Path, name: str) -> str:
    parts = (place / part for part in (name, f"{name}.data"))
    return f"{sum(part.stat().st_size for part in parts if part.exists()) / 1e6:.1f}"
