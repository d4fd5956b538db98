"""What config.json of a saved model says: the encoder, what was put on it, and the task; all of it plain data."""

import json
from collections.abc import Sequence
from dataclasses import field
from typing import Any

from transformers import PreTrainedConfig

from glue_pool.errors import UserError
from glue_pool.models.families import check_fetches_nothing

FORMAT = 1  # of config.json; one that says another was written by another version


class GluePoolConfig(PreTrainedConfig):
    """The config of an encoder with a pooler and a linear map on it.

    encoder_config: the encoder's transformers config as a dict, edits applied. encoder_identity: which weights it began
    with. pooling, edit: as in the run's config. dropout: before the linear map, in training. scale: which scores
    outputs of 0 and of 1 stand for (mean, and mean plus deviation). cls_position: where a row has its [CLS], as an
    index of its tokens (-1 is the last); None where no token can stand for it. max_length: tokens a row is cut to.
    precision: fp32 or bf16, in which the run was evaluated. task: what of the task's section says what rows look like
    and how they are scored.
    """

    model_type = "glue_pool"

    format: int = FORMAT
    glue_pool_version: str | None = None
    encoder_config: dict[str, Any] = field(default_factory=dict)
    encoder_identity: str | None = None
    pooling: dict[str, Any] = field(default_factory=dict)
    edit: dict[str, Any] = field(default_factory=dict)
    dropout: float = 0.0
    scale: dict[str, float] = field(default_factory=dict)
    cls_position: int | None = 0
    max_length: int = 128
    precision: str = "fp32"
    task: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self, **kwargs: Any) -> None:
        if self.format != FORMAT:
            by = f"glue_pool {self.glue_pool_version}" if self.glue_pool_version else "another version of glue_pool"
            raise UserError(
                f"a saved model in format {self.format}, written by {by}; this version reads format {FORMAT}: "
                "install the one that wrote it"
            )
        super().__post_init__(**kwargs)  # type: ignore[no-untyped-call]
        check_fetches_nothing(self, "a saved model")

    def read_encoder_config(self) -> Any:
        """Return the encoder's transformers config; UserError where the transformers here knows no such family."""
        from transformers import CONFIG_MAPPING, __version__

        said = dict(self.encoder_config)
        if not said:
            raise UserError("not a saved model: its config.json has no encoder_config")
        kind = said.pop("model_type", None)
        if kind not in CONFIG_MAPPING:
            raise UserError(f"a saved model of a {kind} encoder, which transformers {__version__} does not know")
        return CONFIG_MAPPING[kind].from_dict(said)


def of_encoder(config: Any) -> dict[str, Any]:
    """Return an encoder's transformers config as `encoder_config` has it, without the folder that it was read from."""
    said: dict[str, Any] = json.loads(config.to_json_string())
    return {name: value for name, value in said.items() if name not in ("_name_or_path", "transformers_version")}


def labelled(labels: Sequence[str]) -> dict[str, Any]:
    """Return the keywords that name a model's outputs; a regression task, without labels, has its `score`."""
    names = labels or ["score"]
    return {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
