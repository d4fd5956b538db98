"""Folders that versions before 0.3 left: the encoder's config.json, and glue_pool.json for all the rest."""

import json
from pathlib import Path
from typing import Any

from glue_pool.metrics import MULTI, REGRESSION, SINGLE
from glue_pool.models import pretrained
from glue_pool.saved.configuration import GluePoolConfig, labelled, of_encoder
from glue_pool.schema import NO_EDIT

ABOUT = "glue_pool.json"


def read(folder: Path) -> GluePoolConfig | None:
    """Return such a folder's config as today's; None where the folder is no such one.

    Where a row has its [CLS] was not written down: `cls_position` is for the tokenizer to say.
    """
    try:
        about: dict[str, Any] = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    kind = about.get("problem_type", SINGLE if about["labels"] else REGRESSION)  # 0.1 had no other
    return GluePoolConfig(
        encoder_config=of_encoder(pretrained.config_in(folder, f"{folder}: not a saved model")),
        encoder_identity=about.get("encoder"),
        pooling=about["pooling"],
        edit=about.get("edit", {"name": "none", "_target_": NO_EDIT}),
        scale=about.get("scale", {}),
        max_length=about["max_length"],
        task={
            **{key: about[key] for key in ("columns", "labels")},
            "name": about["task"],
            "multi_label": kind == MULTI,
        },
        problem_type=kind,
        **labelled(about["labels"]),
    )
