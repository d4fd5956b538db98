"""Which layers and tokens the pooled vector of a trained model came from: of a text, or over the rows of a split.

sources.py traces a batch; sentences.py and splits.py put it together, kinds.py says what a token is; terminal.py and
svg.py show it.
"""

from pathlib import Path

from glue_pool.inspection.sentences import Inspection, inspect
from glue_pool.inspection.splits import Overview, Spread, over_split

__all__ = ["Inspection", "Overview", "Spread", "inspect", "over_split", "report"]


def report(
    folder: str | Path,
    *texts: str,
    split: str | None = None,
    data: str | Path | None = None,
    limit: int | None = None,
    svg: str | Path | None = None,
    force: bool = False,
    device: str = "auto",
) -> None:
    """Print what `inspect` says of a row's texts, or `over_split` of a split, and write it as an SVG file if asked to.

    Raises UserError where neither or both are given, and before the work if the file is there already and not `force`.
    """
    import sys

    from glue_pool.errors import UserError
    from glue_pool.inspection import svg as pictures
    from glue_pool.inspection import terminal

    if bool(texts) == (split is not None):
        raise UserError("inspect: takes either the texts of a row or --split NAME")
    if split is None and (data is not None or limit is not None):
        raise UserError(f"--{'data' if data is not None else 'limit'}: is for --split")
    file = None if svg is None else pictures.check(svg, force=force)
    if split is None:
        found = inspect(folder, *texts, device=device)
        terminal.show(found, sys.stdout)
        drawn = None if file is None else pictures.of_row(found)
    else:
        overview = over_split(folder, split, data=data, limit=limit, device=device)
        terminal.show_overview(overview, sys.stdout)
        drawn = None if file is None else pictures.of_split(overview)
    if file is not None and drawn is not None:
        pictures.write(file, drawn)
