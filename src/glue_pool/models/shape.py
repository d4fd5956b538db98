"""What a run's encoder rules out, said before a run or a sweep begins: by its config.json, without torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glue_pool import components
from glue_pool.errors import UserError
from glue_pool.models import families, identity
from glue_pool.schema import NO_EDIT, Config, EncoderConfig

# what families call their sizes, as transformers maps them
WIDTHS = ("hidden_size", "dim", "d_model", "n_embd", "emb_dim")
LAYERS = ("num_hidden_layers", "n_layers", "n_layer", "num_layers")
POSITIONS = ("max_position_embeddings", "n_positions")
WORDS = ("vocab_size",)


@dataclass(frozen=True)
class Shape:
    """An encoder's sizes: d, the layers that run, the tokens a text may have and those it knows, None if not said."""

    d: int
    layers: int
    max_tokens: int | None = None
    vocabulary: int | None = None


def check(cfg: Config) -> None:
    """Raise UserError for what can't work with the run's encoder, as far as its config.json and sources tell.

    Nothing is downloaded or imported; what does not tell is left to the run, as is an edit's encoder.
    """
    if said := components.in_source(str(cfg.recipe["_target_"])):
        check_frozen(cfg, on_frozen=said.on_frozen)
    shape = read(cfg.encoder)
    if shape and cfg.edit["_target_"] == NO_EDIT:
        fits(cfg, shape)


def read(cfg: EncoderConfig) -> Shape | None:
    """Return the sizes that config.json says, less the layers that are left out; None where it doesn't.

    max_tokens: as many, or more, than the encoder takes. Raises UserError if more layers are asked for than there are.
    """
    try:
        content = json.loads(_config_file(cfg).read_text(encoding="utf-8"))
        d, layers = (_size(content, names) for names in (WIDTHS, LAYERS))
        tokens, vocabulary = (_size(content, names) for names in (POSITIONS, WORDS))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):  # the run says what is wrong with it
        return None
    if d is None or layers is None:
        return None
    kind, padding = content.get("model_type"), content.get("pad_token_id", 1)
    rotary = content.get("position_embedding_type") == "rotary"  # which have no table
    if tokens and isinstance(kind, str) and kind in families.AFTER_PADDING and not rotary:
        tokens -= padding + 1 if isinstance(padding, int) and 0 <= padding < tokens - 1 else 0
    return Shape(d, kept_layers(cfg, layers), tokens, vocabulary)


def _config_file(cfg: EncoderConfig) -> Path:
    """Return where config.json is; OSError if it is not on this machine."""
    if cfg.name in identity.PACKAGED or Path(cfg.name).expanduser().is_dir():
        return identity.locate(cfg) / "config.json"
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(cfg.name, "config.json", revision=cfg.revision)
    if not isinstance(found, str):
        raise FileNotFoundError
    return Path(found)


def _size(content: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    found = next((content[name] for name in names if name in content), None)
    return found if isinstance(found, int) and found > 0 else None


def fits(cfg: Config, shape: Shape) -> None:
    """Raise UserError if a run's pooler, `train.max_length` or `encoder.reinit_layers` don't fit an encoder's sizes."""
    said = components.in_source(str(cfg.pooling["_target_"]))
    for name, bound in (said.bounds if said else {}).items():
        value = cfg.pooling.get(name)
        if isinstance(value, int):  # else its class says what it has to be
            check, size = (check_depth, shape.layers) if bound == "layers" else (check_heads, shape.d)
            check(f"pooling.{name}", value, size)
    if shape.max_tokens and cfg.train.max_length > shape.max_tokens:
        raise UserError(
            f"train.max_length={cfg.train.max_length}: this encoder takes at most {shape.max_tokens} tokens"
        )
    if cfg.encoder.reinit_layers > shape.layers:
        raise UserError(f"encoder.reinit_layers={cfg.encoder.reinit_layers}: this encoder has {_layers(shape.layers)}")


def kept_layers(cfg: EncoderConfig, layers: int) -> int:
    """Return how many of an encoder's layers are kept; UserError if more are asked for than there are."""
    if cfg.num_hidden_layers is not None and cfg.num_hidden_layers > layers:
        raise UserError(f"encoder.num_hidden_layers={cfg.num_hidden_layers}: this encoder has {_layers(layers)}")
    return cfg.num_hidden_layers or layers


def check_frozen(cfg: Config, *, on_frozen: bool) -> None:
    """Raise UserError for a probe with a recipe that is for training the encoder. on_frozen: what its class says."""
    if cfg.encoder.freeze and not on_frozen:
        raise UserError(f"encoder.freeze: recipe={cfg.recipe['name']} is for training the encoder, too")


def check_depth(key: str, k: int, layers: int) -> None:
    """Raise UserError unless an encoder with so many layers has the k that a key asks for."""
    if not 1 <= k <= layers:
        raise UserError(f"{key}={k}: this encoder has {_layers(layers)}, so k lies in 1..{layers}")


def check_heads(key: str, heads: int, d: int) -> None:
    """Raise UserError unless the attention heads that a key asks for divide d."""
    if heads < 1 or d % heads:
        divisors = ", ".join(str(n) for n in range(1, min(d, 16) + 1) if d % n == 0)
        raise UserError(f"{key}={heads} does not divide the encoder's d={d}; take one that does ({divisors}, ...)")


def _layers(count: int) -> str:
    return f"{count} layer{'s' * (count != 1)}"
