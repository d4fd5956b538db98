"""The rows of a test split in the order of GLUE's index; their labels are never read."""

import numpy as np

from glue_pool.data.rows import Rows
from glue_pool.errors import UserError
from glue_pool.saved import rows
from glue_pool.submission.official import AX_TASK
from glue_pool.submission.runs import NO_SPLIT, OTHER_SIZE, Missing, Part


def read(part: Part, data: str | None) -> Rows | Missing:
    """Return the rows that a file is to be of, in the order of their idx, or why they are not at hand.

    They are from where the first run's rows came from, or from a folder of <task>/<split>.parquet.
    """
    try:
        source = rows.of(part.models[0], data)
        found = (source.beside(AX_TASK) if part.is_ax else source).read(part.split, labelled=False)
    except UserError as error:
        return Missing(part.file, NO_SPLIT, str(error))
    if len(found) != part.file.rows:
        return Missing(part.file, OTHER_SIZE, f"{part.split} has {len(found):,} rows, GLUE's {part.file.rows:,}")
    order = np.argsort(found.idx, kind="stable")
    idx = found.idx[order]
    if (again := np.flatnonzero(idx[1:] == idx[:-1])).size:
        return Missing(part.file, NO_SPLIT, f"{part.split} has idx {idx[again[0]]} twice, so that it gives no order")
    return found.select(order)
