"""The zip of a submission: its bytes depend on what is predicted alone."""

import itertools
import os
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from glue_pool.submission.official import HEADER, File

EARLIEST = (1980, 1, 1, 0, 0, 0)  # that a zip can say
LINES = 8192  # compressed at once


def write(zip_file: Path, files: Iterable[tuple[File, Iterator[str]]]) -> None:
    """Write files of predictions, each row's after its index, to the disk."""
    with zipfile.ZipFile(zip_file, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, predictions in files:
            about = zipfile.ZipInfo(file.name, EARLIEST)
            about.compress_type, about.create_system, about.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
            lines = itertools.chain([HEADER], (f"{i}\t{value}" for i, value in enumerate(predictions)))
            with archive.open(about, "w") as out:
                while some := list(itertools.islice(lines, LINES)):
                    out.write("".join(f"{line}\n" for line in some).encode())
    with zip_file.open("rb") as written:
        os.fsync(written.fileno())
