"""The files for `wandb sweep`: a grid, a random and a Bayesian search whose jobs are runs of `glue_pool.train`."""

import shutil
from pathlib import Path

from glue_pool.errors import UserError

FILES = sorted((Path(__file__).parent / "sweeps").glob("*.yaml"))


def copy(folder: Path) -> list[Path]:
    """Copy the files into a folder, which is made if it isn't there, and return the copies; none is overwritten."""
    copies = [folder / file.name for file in FILES]
    for file in copies:
        if file.exists():
            raise UserError(f"{file}: is there already; take another folder, or move it away")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, to in zip(FILES, copies, strict=True):
            shutil.copyfile(file, to)
    except OSError as error:
        raise UserError(f"{folder}: can't be written ({error.strerror})") from None
    return copies
