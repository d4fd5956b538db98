"""The rows of a test split in the order of GLUE's index; their labels are never read."""

import numpy as np

from glue_pool.data.rows import Rows
from glue_pool.errors import UserError
from glue_pool.saved import rows
from glue_pool.submission.official import AX_TASK
from glue_pool.submission.runs import NO_SPLIT, OTHER_SIZE, Missing, Part


def read(part: Part, data: str | None) -> Rows:
    """Return the rows that a file is to be of, from where the first run's rows came from or from a folder.

    Where their idx counts them from 0, they are in its order, else in the split's. Raises UserError where there are
    none.
    """
    source = rows.of(part.models[0], data)
    if part.is_ax:
        source = source.beside(AX_TASK)
    found = source.read(part.split, labelled=False)
    order = np.argsort(found.idx, kind="stable")
    return found.select(order) if np.array_equal(found.idx[order], np.arange(len(found))) else found


def not_at_hand(part: Part, error: UserError) -> Missing:
    """Return that a file's rows couldn't be read."""
    return Missing(part.file, NO_SPLIT, str(error))


def other_size(part: Part, found: Rows) -> Missing | None:
    """Say that rows are not as many as GLUE's; None where they are."""
    if len(found) == part.file.rows:
        return None
    return Missing(part.file, OTHER_SIZE, f"{part.split} has {len(found):,} rows, GLUE's {part.file.rows:,}")
