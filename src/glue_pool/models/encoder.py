"""The encoder: its config and its edits, loading without pickle or remote code, and its hidden states."""

import copy
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glue_pool.errors import UserError
from glue_pool.models import dropout
from glue_pool.models.identity import verify
from glue_pool.models.packing import PACKED, Layout
from glue_pool.schema import EncoderConfig

# model types whose attention takes the packed form
PACKABLE = {
    "bert",
    "roberta",
    "xlm-roberta",
    "camembert",
    "electra",
    "distilbert",
    "albert",
    "ernie",
    "nomic_bert",
    "modernbert",
}


def read_config(cfg: EncoderConfig, folder: Path) -> Any:
    """Return the encoder's transformers config, with `num_hidden_layers` and `dropout` applied."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"encoder.name={cfg.name}: no usable config.json there: {reason}") from None
    if config.is_encoder_decoder or not all(hasattr(config, name) for name in ("num_hidden_layers", "hidden_size")):
        raise UserError(f"encoder.name={cfg.name}: a {config.model_type} model is no text encoder")
    depth = num_layers(config)
    if cfg.num_hidden_layers is not None:
        if cfg.num_hidden_layers > depth:
            raise UserError(f"encoder.num_hidden_layers={cfg.num_hidden_layers}: this encoder has {depth} layers")
        config.num_hidden_layers = cfg.num_hidden_layers
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[: cfg.num_hidden_layers]
    if cfg.dropout is not None:
        for name in list(vars(config)):
            if name.endswith(("dropout", "dropout_prob")) and isinstance(getattr(config, name), int | float):
                setattr(config, name, cfg.dropout)
    return config


def num_layers(config: Any) -> int:
    """Return L, the number of layers of a transformers config."""
    return int(config.num_hidden_layers)


def width(config: Any) -> int:
    """Return d, the size of a hidden state of a transformers config."""
    return int(config.hidden_size)


class Encoder(nn.Module):
    """A transformers encoder that returns the hidden states of chosen layers.

    packed: run batches without padding (see `models.packing`), or padded.
    """

    def __init__(self, config: Any, packed: bool, backbone: nn.Module | None = None) -> None:
        super().__init__()
        from transformers import AutoModel

        config = copy.deepcopy(config)  # loading writes into the config it is given
        self.config = config
        self.packed = packed
        self.frozen = False
        self.backbone = backbone if backbone is not None else AutoModel.from_config(config)
        dropout.cheapen(self.backbone)
        if packed:
            self.backbone.set_attn_implementation(PACKED)  # type: ignore[operator]
        accepted = inspect.signature(self.backbone.forward).parameters
        self._takes_positions = "position_ids" in accepted
        self._takes_types = "token_type_ids" in accepted and getattr(config, "type_vocab_size", 0) > 1
        self._first_position = _first_position(self.backbone)
        self.lookup: Tensor | None = None  # token id -> row of the embeddings, while they are a part (see vocabulary)

    def freeze(self) -> None:
        """Fix the weights, and leave dropout out for good: what the encoder says of a text no longer changes."""
        self.frozen = True
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "Encoder":
        """Switch dropout on or off; a frozen encoder never has any."""
        return super().train(mode and not self.frozen)

    @property
    def d(self) -> int:
        """Size of a hidden state."""
        return width(self.config)

    @property
    def num_layers(self) -> int:
        """Number of layers."""
        return num_layers(self.config)

    @property
    def max_tokens(self) -> int | None:
        """How many tokens a text may have; None if the encoder sets no limit."""
        positions = getattr(self.config, "max_position_embeddings", None)
        return positions - self._first_position if positions else None

    def forward(
        self,
        input_ids: Tensor,
        token_type_ids: Tensor | None,
        layout: Layout,
        layers: Sequence[int],
        reads: str,
        fold: Callable[[Sequence[Tensor]], Sequence[Tensor]] = tuple,
    ) -> tuple[Sequence[Tensor], Tensor]:
        """Return hidden states `(batch, longest, d)` of the given layers (1-based), and the mask `(batch, longest)`.

        input_ids, token_type_ids: `(tokens,)`, laid out as `layout` says. With `reads="cls"` only the [CLS] vectors
        come back, as sequences of one token; else `fold` says what is made of the layers before they are padded.
        """
        states = self.hidden_states(input_ids, token_type_ids, layout, layers)
        if reads == "cls":
            only = torch.ones_like(layout.mask[:, :1])
            return [self.first_tokens(state, layout)[:, None] for state in states], only
        folded = fold(states)
        return [layout.pad(state) for state in folded] if self.packed else folded, layout.mask

    def hidden_states(
        self, input_ids: Tensor, token_type_ids: Tensor | None, layout: Layout, layers: Sequence[int]
    ) -> list[Tensor]:
        """Return the given layers as the encoder works on them: packed `(tokens, d)`, else `(batch, longest, d)`."""
        inputs = {"input_ids": input_ids}
        if self._takes_positions:
            inputs["position_ids"] = layout.positions + self._first_position
        if self._takes_types and token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        if self.lookup is not None:
            inputs["input_ids"] = self.lookup[inputs["input_ids"]]
        last_only = tuple(layers) == (self.num_layers,)
        if self.packed:
            inputs = {name: x[None] for name, x in inputs.items()}
            extra: dict[str, Any] = {"layout": layout}
        else:
            inputs = {name: layout.pad(x) for name, x in inputs.items()}
            padding = ~layout.mask
            inputs["input_ids"] = inputs["input_ids"].masked_fill(padding, self._padding_row())
            extra = {"attention_mask": layout.mask.long()}
        output = self.backbone(**inputs, **extra, output_hidden_states=not last_only, return_dict=True)
        if last_only:
            states = [output.last_hidden_state]
        else:
            states = [output.hidden_states[layer] for layer in layers]
            if layers[-1] == self.num_layers:
                states[-1] = output.last_hidden_state
        return [state[0] for state in states] if self.packed else states

    def first_tokens(self, state: Tensor, layout: Layout) -> Tensor:
        """Return the [CLS] vectors `(batch, d)` of a layer from `hidden_states`."""
        if self.packed:
            return state.index_select(0, layout.starts)
        sequence = torch.arange(len(layout.mask), device=layout.mask.device)
        return state[sequence, layout.mask.int().argmax(1)]

    @property
    def padding_id(self) -> int:
        """The token id that fills padded batches."""
        return int(self.config.pad_token_id or 0)

    def _padding_row(self) -> int:
        return self.padding_id if self.lookup is None else int(self.lookup[self.padding_id])


def _first_position(backbone: nn.Module) -> int:
    """Return the position id of a first token: RoBERTa and its kin keep a position for padding, and start after it."""
    for name, module in backbone.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return int(module.padding_idx) + 1
    return 0


def packs(config: Any, batching: str) -> bool:
    """Whether an encoder of this config runs packed under `train.batching`."""
    packable = config.model_type in PACKABLE
    if batching == "packed" and not packable:
        raise UserError(f"train.batching=packed: a {config.model_type} encoder takes padded batches only; use auto")
    return packable and batching != "padded"


def load(cfg: EncoderConfig, folder: Path, config: Any, packed: bool) -> tuple[Encoder, nn.Linear | None]:
    """Load the pre-trained encoder, and the affine map of its pooler if that is pre-trained too.

    The pooler leaves the encoder: whether it is used is for `pooling.tanh` to say.
    """
    from transformers import AutoModel
    from transformers.utils import logging

    verify(cfg, folder)
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # its report of unused weights (the pre-training heads) says nothing here
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
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"encoder.name={cfg.name}: its weights can't be loaded: {reason}") from None
    missing = [name for name in info["missing_keys"] if not name.startswith("pooler.")]
    if missing:
        raise UserError(f"encoder.name={cfg.name}: weights without {missing[0]} ({len(missing)} missing)")
    for name, stored, wanted in info["mismatched_keys"]:
        sizes = f"{tuple(stored)} in the weights, {tuple(wanted)} by config.json"
        raise UserError(f"encoder.name={cfg.name}: {name} is {sizes}; these files are not of one model")
    dense = take_pooler(backbone)
    if any(name.startswith("pooler.") for name in info["missing_keys"]):
        dense = None
    return Encoder(config, packed, backbone), dense


def take_pooler(backbone: nn.Module) -> nn.Linear | None:
    """Take the affine map of BERT's pooler out of a backbone; None where there is none."""
    pooler = getattr(backbone, "pooler", None)
    if pooler is None:
        return None
    backbone.pooler = None  # type: ignore[assignment]
    dense = getattr(pooler, "dense", pooler)
    return dense if isinstance(dense, nn.Linear) else None
