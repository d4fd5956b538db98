"""What is wrong with anybody's zip of a submission, beside GLUE's sample submission: every fault with file and line.

What the server tolerates beyond that is not public. As much is unpacked as a submission can have, whatever the zip says
of its sizes.
"""

import lzma
import re
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from glue_pool.disk import missing
from glue_pool.errors import UserError, nearest
from glue_pool.progress import say
from glue_pool.shell import expanded, one_line
from glue_pool.submission.lines import Found, look
from glue_pool.submission.official import FILES

ZIP_BYTES = 16 << 20  # GLUE's sample submission unpacked has 5 MB
FILE_BYTES = 16 << 20  # of a file, unpacked: QQP's has some 4 MB
NAMED = 100  # files that are none of GLUE's
UNREADABLE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError, ValueError)


@dataclass(frozen=True)
class Checked:
    """What a zip holds: by file its rows and how often each value is there, and its faults, a line each."""

    files: dict[str, Found]
    faults: Sequence[str]


def check(zip_file: str | Path) -> Checked:
    """Print what is wrong with a submission, or what it holds; raises UserError where faults are.

    It need not be written by this package, or be a zip at all.
    """
    path = Path(expanded(str(zip_file)))
    if not path.is_file():
        raise UserError(f"{path}: {missing(path, 'file')}")
    try:
        checked = _checked(path)
    except OSError as error:
        raise UserError(f"{path}: can't be read ({error.strerror})") from None
    for fault in checked.faults:
        say(one_line(fault), sys.stdout)
    if checked.faults:
        number = len(checked.faults)
        above = "the line above says why" if number == 1 else f"the {number:,} lines above say why"
        raise UserError(f"{path}: not as GLUE's sample submission has it; {above}")
    for line in _lines(path, checked):
        say(one_line(line), sys.stdout)
    return checked


def _checked(path: Path) -> Checked:
    if path.stat().st_size > ZIP_BYTES:
        return Checked({}, [f"more than {ZIP_BYTES >> 20} MB; GLUE's files have 5 MB unpacked"])
    try:
        archive = zipfile.ZipFile(path)
    except tuple(kind for kind in UNREADABLE if kind is not OSError) as error:
        return Checked({}, [f"no zip that can be read ({error})"])
    with archive:
        members, faults = _members(archive)
        files: dict[str, Found] = {}
        for name, file in FILES.items():
            if name not in members:
                faults.append(f"{name}: missing")
                continue
            content = _content(archive, members[name])
            if isinstance(content, str):
                faults.append(f"{name}: {content}")
                continue
            files[name] = look(content, file)
            faults += [f"{name}{fault}" for fault in files[name].faults]
        return Checked(files, faults)


def _members(archive: zipfile.ZipFile) -> tuple[dict[str, zipfile.ZipInfo], list[str]]:
    """Return GLUE's files in a zip by name, and what is wrong with how they are called and what else is there."""
    members: dict[str, zipfile.ZipInfo] = {}
    faults, others = [], []
    for name, times in Counter(info.filename for info in archive.infolist()).items():
        base = name.rpartition("/")[2]
        if times > 1:
            faults.append(f"{name}: {times} files have this name")
        if base not in FILES:
            others.append(name)
            continue
        if base != name:
            faults.append(f"{name}: in a folder; the files have to be at the top of the zip")
        if base not in members or base == name:
            members[base] = archive.getinfo(name)
    faults += [f"{name}: {_foreign(name)}" for name in others[:NAMED]]
    more = [f"{len(others) - NAMED:,} files more that are none of GLUE's"] if len(others) > NAMED else []
    return members, [*faults, *more]


def _foreign(name: str) -> str:
    if name.endswith("/"):
        return "a folder; GLUE's files are in none"
    by_case = {file.lower(): file for file in FILES}
    near = nearest(name.rpartition("/")[2].lower(), list(by_case))
    return "none of GLUE's files" + re.sub(r"'(.*)'", lambda found: repr(by_case[found[1]]), near)


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes | str:
    """Return what a file holds, or what keeps it from being read."""
    if info.flag_bits & 1:
        return "encrypted"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "packed in another way than deflate"
    try:
        with archive.open(info) as stream:
            content = stream.read(FILE_BYTES + 1)
    except UNREADABLE as error:
        return f"can't be unpacked ({error})"
    return (
        content if len(content) <= FILE_BYTES else f"more than {FILE_BYTES >> 20} MB unpacked, so it wasn't looked at"
    )


def _lines(path: Path, checked: Checked) -> list[str]:
    """Return the lines of a table: file, rows, and the share of each label."""
    shown = [f"{path}: as GLUE's sample submission has it"]
    for name, found in checked.files.items():
        rows = sum(found.values.values())
        if FILES[name].labels:
            shares = ", ".join(f"{value} {found.values[value] / rows:.1%}" for value in FILES[name].values.values())
        else:
            shares = f"scores from {found.lowest:.3f} to {found.highest:.3f}"
        shown.append(f"{name:11}  {rows:>7,} rows  {shares}")
    return shown
