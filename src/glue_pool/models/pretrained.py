"""A pre-trained encoder on disk: its config, what is changed in it, its weights; without pickle or remote code."""

import copy
import json
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glue_pool.errors import UserError, reason
from glue_pool.models import families
from glue_pool.models.edit import Edit
from glue_pool.models.encoder import PLAIN, Encoder
from glue_pool.models.families import Batching
from glue_pool.models.identity import verify
from glue_pool.models.shape import kept_layers
from glue_pool.models.trial import no_states, trial
from glue_pool.schema import Config, EncoderConfig

# What transformers once kept in an encoder and no longer does, or keeps where the config doesn't ask for it.
LEFT_OVER = (
    "position_ids",
    "embeddings.token_type_ids",
    "inv_freq",
    "embeddings_project.weight",
    "embeddings_project.bias",
    "task_type_embeddings.weight",
)
WRAPPERS = ("module.", "_orig_mod.")  # what some put before every name
ADAPTER = re.compile(r"(^|[._])(lora|dora|vera|oft|ia3|adapters?|prefix|prompt)([._]|$)")


def read_config(cfg: EncoderConfig, folder: Path, edit: Edit = PLAIN) -> Any:
    """Return the encoder's transformers config, with `num_hidden_layers`, `dropout` and the edit applied.

    Raises UserError if it can't be read, or is of no model that reads texts in both directions.
    """
    name = f"encoder.name={cfg.name}"
    config = config_in(folder, name)
    if why := families.refusal(config):
        raise UserError(f"{name}: {why}")
    if cfg.num_hidden_layers is not None:
        kept = kept_layers(cfg, config.num_hidden_layers)
        if kept < config.num_hidden_layers and config.model_type in families.NOT_CUT:
            raise UserError(f"encoder.num_hidden_layers={kept}: what {config.model_type} is depends on its depth")
        of_layers = families.per_layer(config)
        config.num_hidden_layers = kept
        for key, listed in of_layers.items():
            setattr(config, key, listed[:kept])
    if cfg.dropout is not None:
        for key in list(vars(config)):
            if key.endswith(("dropout", "dropout_prob")) and type(getattr(config, key)) in (int, float):
                setattr(config, key, cfg.dropout)
    edit.config(config)
    return config


def config_in(folder: Path, name: str) -> Any:
    """Return the transformers config in a folder, which messages call `name`: of a model with weights in fp32.

    Raises UserError if there is none, if it needs code of its own, or names other files than those that are hashed.
    """
    from transformers import AutoConfig

    _be_quiet()
    try:
        config: Any = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except UserError:
        raise
    except Exception as error:  # the file may hold anything
        if code := _own_code(folder):
            raise UserError(f"{name}: its model is code of its own ({code}), which is never run") from None
        raise UserError(f"{name}: no usable config.json there: {reason(error)}") from None
    return usable(config, name)


def usable(config: Any, name: str) -> Any:
    """Settle a transformers config, which messages call `name`, on weights in fp32; UserError where they are others."""
    for key, what in {"quantization_config": "quantised weights", "transformers_weights": "weights elsewhere"}.items():
        if getattr(config, key, None) is not None:
            raise UserError(f"{name}: its config.json says {key}, and {what} are not read; save it without, in fp32")
    families.check_fetches_nothing(config, name)
    config.dtype = torch.float32  # one says in what it was saved
    families.settle(config)
    return config


def plan(config: Any, batching: Batching, edit: Edit, name: str) -> Encoder:
    """Return an encoder without weights, on torch's device `meta`; UserError if its config can't be one."""
    try:
        with torch.device("meta"):
            encoder = Encoder(config, batching, edit=edit)
    except UserError:
        raise
    except NotImplementedError:  # transformers' own for a model without such a table
        raise UserError(f"{name}: {config.model_type} has no table of token ids") from None
    except Exception as error:  # whatever a family makes of a value that it can't use
        raise UserError(f"{name}: its config.json describes no {config.model_type} model: {reason(error)}") from None
    if encoder.blocks and len(encoder.blocks) < config.num_hidden_layers:
        raise UserError(
            f"{name}: its config.json says {config.num_hidden_layers} layers, of which {len(encoder.blocks)} run"
        )
    return encoder


def load(
    cfg: EncoderConfig,
    folder: Path,
    config: Any,
    batching: Batching,
    edit: Edit = PLAIN,
) -> tuple[Encoder, nn.Linear | None]:
    """Load the pre-trained encoder and edit it, and load the affine map of its pooler if that is pre-trained too.

    The pooler leaves the encoder: whether it is used is for `pooling.tanh` to say. Raises UserError where weights are
    missing, of another shape, or not of the encoder (an adapter's).
    """
    from transformers import AutoModel

    name = f"encoder.name={cfg.name}"
    verify(cfg, folder)
    _be_quiet()
    try:
        backbone, info = AutoModel.from_pretrained(
            folder,
            config=copy.deepcopy(config),
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # they are told below
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    except Exception as error:  # whatever a damaged file, or a package that isn't there, ends in
        raise UserError(f"{name}: its weights can't be loaded: {reason(error)}") from None
    missing = [key for key in info["missing_keys"] if not key.startswith("pooler.")]
    if missing:
        if wrapper := next((of for of in WRAPPERS for key in info["unexpected_keys"] if key.startswith(of)), None):
            said = "torch.compile or DataParallel left it; save the model inside"
            raise UserError(f"{name}: its weights are named {wrapper}…: {said}")
        raise UserError(f"{name}: weights without {missing[0]} ({len(missing)} missing)")
    for key, stored, wanted in info["mismatched_keys"]:
        sizes = f"{tuple(stored)} in the weights, {tuple(wanted)} by config.json"
        raise UserError(f"{name}: {key} is {sizes}; these files are not of one model")
    left_out = config.num_hidden_layers if cfg.num_hidden_layers is not None else None
    if foreign := _inside(backbone, info["unexpected_keys"], left_out):
        said = f"{foreign[0]} ({len(foreign)} such) is no weight of a {config.model_type} encoder of this config.json"
        is_adapter = ADAPTER.search(foreign[0])
        way_out = "merge it into its model, and save that" if is_adapter else "are its files of one model?"
        raise UserError(f"{name}: {said}; {way_out}")
    for parameter in backbone.parameters():  # some families' loading leaves views of one tensor, which can't be saved
        if parameter.untyped_storage().nbytes() > parameter.nbytes:
            parameter.data = parameter.data.clone()
    dense = take_pooler(backbone)
    if any(key.startswith("pooler.") for key in info["missing_keys"]):
        dense = None
    return Encoder(config, batching, backbone, edit), dense


def try_out(encoder: Encoder, cfg: Config) -> None:
    """Raise UserError where an encoder fails on a few rows; one whose family is known has only to give numbers.

    It is in evaluation mode afterwards.
    """
    name = f"encoder.name={cfg.encoder.name}"
    encoder.eval()
    try:
        with torch.random.fork_rng(devices=[]):
            failed = no_states(encoder)
            if not failed and encoder.batching != "packed":
                failed = trial(encoder, cfg.train.padding_side).failed
    except Exception as error:  # whatever a family's forward makes of a value that it can't use
        raise UserError(f"{name}: this {encoder.kind} encoder takes no texts: {reason(error)}") from None
    if failed:
        raise UserError(f"{name}: this {encoder.kind} encoder can't be used: {failed}")


def take_pooler(backbone: nn.Module) -> nn.Linear | None:
    """Take the affine map of BERT's pooler out of a backbone; None where there is none."""
    pooler = getattr(backbone, "pooler", None)
    if pooler is None:
        return None
    backbone.pooler = _Nothing()
    dense = getattr(pooler, "dense", pooler)
    return dense if isinstance(dense, nn.Linear) else None


class _Nothing(nn.Module):
    """What stands where a backbone's pooler was: some call theirs without asking whether it is there."""

    def forward(self, states: Tensor, *_: object) -> Tensor:
        """Return what it is given; nobody looks."""
        return states


def _inside(backbone: nn.Module, unexpected: Iterable[str], layers: int | None) -> list[str]:
    """Return those weights that a backbone has no use for though they are of it, by their names: heads are not.

    layers: how many are kept, where others were left out on purpose.
    """
    parts = {key.split(".")[0] for key in backbone.state_dict()} - {"pooler"}
    prefix = f"{getattr(backbone, 'base_model_prefix', '')}."
    is_inside = [key for key in unexpected if key.removeprefix(prefix).split(".")[0] in parts or ADAPTER.search(key)]
    inside = sorted(is_inside)
    number = re.compile(r"\.(\d+)\.")
    inside = [key for key in inside if not key.endswith(LEFT_OVER)]
    return [key for key in inside if layers is None or not (of := number.search(key)) or int(of[1]) < layers]


def _own_code(folder: Path) -> Any:
    """Return the class that a config.json's `auto_map` names, if it does."""
    try:
        said = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("auto_map", {})
        return said.get("AutoModel") or said.get("AutoConfig")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None


def _be_quiet() -> None:
    """Let transformers keep its remarks to itself: what matters in them is said in an error, or in the trial."""
    from transformers.utils import logging as of_transformers

    of_transformers.disable_progress_bar()
    of_transformers.set_verbosity(logging.ERROR)
