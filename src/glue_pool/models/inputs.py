"""Whether a tokenizer's tokens fit the encoder, and have what is read of it."""

from typing import TYPE_CHECKING, Any

import numpy as np

from glue_pool.data.tokens import Tokenizer, Tokens
from glue_pool.errors import UserError
from glue_pool.models.factory import Blueprint
from glue_pool.schema import Config

if TYPE_CHECKING:
    from glue_pool.data.load import TaskData


def check(cfg: Config, blueprint: Blueprint, data: "TaskData", recipe_reads_cls: bool) -> None:
    """Refuse rows that the encoder has no embeddings for, and a method that reads [CLS] where rows have none."""
    splits = {cfg.task.train_split: data.train, **data.dev}
    for name, split in splits.items():
        assert isinstance(split, Tokens)
        of = f"encoder.name={cfg.encoder.name}: {cfg.task.name}'s {name}"
        check_ids(split, blueprint.encoder_config, Tokenizer(blueprint.folder), of)
        reader = f"pooling={cfg.pooling['name']}" if blueprint.reads != "tokens" else f"recipe={cfg.recipe['name']}"
        if split.cls is None and (blueprint.reads != "tokens" or recipe_reads_cls):
            raise UserError(
                f"{reader} reads [CLS], and the tokenizer of {cfg.encoder.name} neither begins nor ends a row with a "
                "special token; take a pooler (and recipe) that reads none, as pooling=mean"
            )


def check_ids(tokens: Tokens, config: Any, tokenizer: Tokenizer, of: str) -> None:
    """Refuse token ids and types beyond the tables of an encoder of this transformers config; of: whose they are."""
    rows, types = getattr(config, "vocab_size", None), getattr(config, "type_vocab_size", None) or 0
    if rows is not None and (beyond := _first_beyond(tokens.input_ids, tokens, rows)) is not None:
        row, token = beyond
        raise UserError(
            f"{of} (idx {row}) has token {token} ({tokenizer.loaded.convert_ids_to_tokens(token)!r}) of a tokenizer of "
            f"{len(tokenizer.loaded)}, and the encoder has embeddings for {rows}; are its files of one model?"
        )
    if types > 1 and (beyond := _first_beyond(tokens.token_type_ids, tokens, types)) is not None:  # else it takes none
        row, token_type = beyond
        raise UserError(
            f"{of} (idx {row}) has token type {token_type}, and the encoder's type_vocab_size is {types}; mend the "
            "post-processor in tokenizer.json, or take token_type_ids out of model_input_names in tokenizer_config.json"
        )


def _first_beyond(values: np.ndarray | None, tokens: Tokens, size: int) -> tuple[int, int] | None:
    """Return the idx of the first row with a value that is no index of a table of this size, and the value."""
    if values is None or values.max(initial=0) < size:  # among them those of rows that a subset left out
        return None
    for offset, length, idx in zip(tokens.offsets, tokens.lengths, tokens.idx, strict=True):
        of_row = values[offset : offset + length]
        if (of_row >= size).any():
            return int(idx), int(of_row[of_row >= size][0])
    return None
