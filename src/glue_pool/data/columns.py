"""What a table's columns are called and what stands for a label in them."""

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

FIELD = re.compile(r"\{([^{}]+)\}")  # of a template of columns


def names_in_metadata(schema: "pa.Schema", label: str | None) -> list[str] | None:
    """Return the label names that `datasets` wrote into a Parquet or Arrow file, where it wrote the file."""
    try:
        feature = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][label]
        return list(feature["names"] if "names" in feature else feature["feature"]["names"])
    except (KeyError, TypeError, ValueError):
        return None
