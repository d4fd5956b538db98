"""What is at a path, and whether a folder can be written and has room: asked before any long work, leaving no trace."""

import os
import tempfile
from pathlib import Path

from glue_pool.errors import UserError


def check_room(folder: Path, needed_bytes: int, name: str, way_out: str) -> None:
    """Refuse a folder, there or not, that can't be written or has too little room; name says where it was chosen."""
    there = folder.absolute()
    try:
        while not there.exists():
            if there.is_symlink():
                raise UserError(f"{name}: can't be written ({missing(there)}); {way_out}")
            there = there.parent
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(bytes(4096))
        disk = os.statvfs(there)
    except OSError as error:
        raise UserError(f"{name}: can't be written ({error.strerror}); {way_out}") from None
    free, needed = disk.f_bavail * disk.f_frsize / 1e6, needed_bytes / 1e6
    if free < needed:
        raise UserError(
            f"{name}: {free:.1f} MB are left there, some {needed:.1f} MB are needed; free some, or {way_out}"
        )


def check_output(output: Path, *, force: bool) -> None:
    """Refuse a file that is to be written, before any work: where it lies, and what is there already."""
    another, folder = "name another --output", output.parent
    if not folder.is_dir():
        raise UserError(f"{output}: can't be written: {folder}: {missing(folder)}; make it, or {another}")
    if output.exists() and not output.is_file():
        raise UserError(f"{output}: is there, and is no file; {another}")
    if os.path.lexists(output) and not force:
        raise UserError(f"{output}: is there already; --force replaces it")
    check_room(folder, 0, str(output), another)


def missing(path: str | Path, what: str = "folder") -> str:
    """Say why there is no folder, or no file, at a path."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        linked = next((place for place in (Path(path), *Path(path).parents) if os.path.islink(place)), None)
        if linked and not os.path.exists(linked):
            return f"{linked} is a link to {os.readlink(linked)}, which is not there"
        return f"there is no such {what}"
    except OSError as error:
        return f"can't be looked at ({error.strerror})"
    return f"that is no {what}"
