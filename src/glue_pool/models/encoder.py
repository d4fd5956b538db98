"""The encoder: its config and its edits, loading without pickle or remote code, and its hidden states."""

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glue_pool.data.layout import Layout
from glue_pool.errors import UserError, reason
from glue_pool.models import dropout
from glue_pool.models.edit import Edit
from glue_pool.models.identity import verify
from glue_pool.models.packing import PACKED, Running
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
PLAIN = Edit()


def read_config(cfg: EncoderConfig, folder: Path, edit: Edit = PLAIN) -> Any:
    """Return the encoder's transformers config, with `num_hidden_layers`, `dropout` and the edit applied."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers raises whatever it stumbles over
        raise UserError(f"encoder.name={cfg.name}: no usable config.json there: {reason(error)}") from None
    sizes = ("num_hidden_layers", "hidden_size")
    if config.is_encoder_decoder or not all(hasattr(config, name) for name in sizes):
        raise UserError(f"encoder.name={cfg.name}: a {config.model_type} model is no text encoder")
    if odd := next((name for name in sizes if not isinstance(getattr(config, name), int)), None):
        said = f"{odd}={getattr(config, odd)!r}, which is no whole number"
        raise UserError(f"encoder.name={cfg.name}: config.json says {said}")
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
    edit.config(config)
    return config


def num_layers(config: Any) -> int:
    """Return L, the number of layers of a transformers config."""
    return int(config.num_hidden_layers)


def width(config: Any) -> int:
    """Return d, the size of a hidden state of a transformers config."""
    return int(config.hidden_size)


@dataclass(frozen=True)
class Hidden:
    """Hidden states of some layers of a batch, 1-based, as the encoder works on them.

    states: packed `(tokens, d)`, as `layout` says, else `(batch, longest, d)`. Where an edit left tokens out on the
    way, all layers' states and the layout are of those that are there at the end.
    """

    states: Mapping[int, Tensor]
    layout: Layout
    packed: bool

    @property
    def mask(self) -> Tensor:
        """True on the real tokens of the padded form, `(batch, longest)`."""
        return self.layout.mask

    def cls(self, layer: int) -> Tensor:
        """Return a layer's [CLS] vectors, `(batch, d)`."""
        state = self.states[layer]
        if self.packed:
            return state.index_select(0, self.layout.starts)
        sequence = torch.arange(len(self.mask), device=self.mask.device)
        return state[sequence, self.mask.int().argmax(1)]

    def tokens(self, layer: int) -> Tensor:
        """Return a layer's states without padding, `(tokens, d)`, the batch's rows end to end."""
        state = self.states[layer]
        return state if self.packed else self.layout.unpad(state)

    def pad(self, state: Tensor) -> Tensor:
        """Return states that are laid out as `states` are in the padded form, `(batch, longest, d)`."""
        return self.layout.pad(state) if self.packed else state


class Encoder(nn.Module):
    """A transformers encoder that returns the hidden states of chosen layers.

    packed: run batches without padding (see `models.packing`), or padded. edit: is applied to the modules.
    blocks: the layers as they run, the lowest first; one that runs twice stands there twice.
    """

    _layers: nn.ModuleList | None

    def __init__(self, config: Any, packed: bool, backbone: nn.Module | None = None, edit: Edit = PLAIN) -> None:
        super().__init__()
        from transformers import AutoModel

        self.config = copy.deepcopy(config)  # loading writes into the config it is given
        self.packed = packed
        self.edit = edit
        self.frozen = False
        self.backbone = backbone if backbone is not None else AutoModel.from_config(copy.deepcopy(config))
        dropout.cheapen(self.backbone)
        if packed:
            self.backbone.set_attn_implementation(PACKED)  # type: ignore[operator]
        accepted = inspect.signature(self.backbone.forward).parameters
        self._takes_positions = "position_ids" in accepted
        self._takes_types = "token_type_ids" in accepted and getattr(config, "type_vocab_size", 0) > 1
        self._first_position = _first_position(self.backbone)
        self.lookup: Tensor | None = None  # token id -> row of the embeddings, while they are a part (see vocabulary)
        vars(self)["_layers"] = _layers(self.backbone)  # not a second name of the same parameters
        self.blocks = _blocks(self._layers, config)
        self.drawn_anew: list[nn.Module] = []  # layers without pre-trained weights
        edit.apply(self)
        self._running = Running()
        self._running.attach(self.backbone)
        if type(edit).before_layer is not Edit.before_layer:
            self._let_edit_see_layers()

    @property
    def kind(self) -> str:
        """The family's name, as `bert`."""
        return str(self.config.model_type)

    @property
    def shares_layers(self) -> bool:
        """Whether the family has fewer layers than it runs (ALBERT has one)."""
        return hasattr(self.config, "num_hidden_groups")

    def own_layers(self, key: str) -> nn.ModuleList:
        """Return the layers, each with weights of its own; UserError, which names the key, if the family has no such.

        Whatever is done to them, `blocks` has to say how they run (`insert` sees to it).
        """
        if self._layers is None or self.shares_layers:
            what = "shares its layers" if self.shares_layers else "has layers that can't be told apart"
            raise UserError(f"{key}: this {self.kind} encoder {what}")
        return self._layers

    def insert(self, layer: int, block: nn.Module, key: str) -> None:
        """Let a block run right after a layer, 1-based."""
        layers = self.own_layers(key)
        layers.insert(layer, block)
        self.blocks.insert(layer, block)
        self.backbone.config.num_hidden_layers = len(layers)  # type: ignore[union-attr]  # some families run so many

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
        """Number of layers that run."""
        return len(self.blocks) or num_layers(self.config)

    @property
    def max_tokens(self) -> int | None:
        """How many tokens a text may have; None if the encoder sets no limit."""
        positions = getattr(self.config, "max_position_embeddings", None)
        return positions - self._first_position if positions else None

    def forward(
        self, input_ids: Tensor, token_type_ids: Tensor | None, layout: Layout, layers: Sequence[int]
    ) -> Hidden:
        """Return the hidden states of the given layers (1-based, ascending).

        input_ids, token_type_ids: `(tokens,)`, laid out as `layout` says.
        """
        inputs = {"input_ids": input_ids}
        if self._takes_positions:
            inputs["position_ids"] = layout.positions + self._first_position
        if self._takes_types and token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        if self.lookup is not None:
            inputs["input_ids"] = self.lookup[inputs["input_ids"]]
        last_only = tuple(layers) == (self.num_layers,)
        self._running.start(layout)
        extra: dict[str, Any] = {}
        if self.packed:
            inputs = {name: x[None] for name, x in inputs.items()}
        else:
            inputs = {name: layout.pad(x) for name, x in inputs.items()}
            padding = ~layout.mask
            inputs["input_ids"] = inputs["input_ids"].masked_fill(padding, self._padding_row())
            extra = {"attention_mask": layout.mask.long()}
        output = self.backbone(**inputs, **extra, output_hidden_states=not last_only, return_dict=True)
        states = {} if last_only else {layer: output.hidden_states[layer] for layer in layers}
        if layers[-1] == self.num_layers:
            states[self.num_layers] = output.last_hidden_state
        if self.packed:
            states = {layer: self._running.survivors(state[0], layer) for layer, state in states.items()}
        assert self._running.layout is not None
        return Hidden(states, self._running.layout, self.packed)

    @property
    def padding_id(self) -> int:
        """The token id that fills padded batches."""
        return int(self.config.pad_token_id or 0)

    def _padding_row(self) -> int:
        return self.padding_id if self.lookup is None else int(self.lookup[self.padding_id])

    def _let_edit_see_layers(self) -> None:
        name = f"the edit {type(self.edit).__name__}"
        if not self.packed:
            raise UserError(f"{name}: it works between layers, on packed batches only (train.batching, or the encoder)")
        if not self.blocks:
            raise UserError(f"{name}: the layers of this {self.kind} encoder can't be told apart")
        if self.edit.shortens and getattr(self.config, "local_attention", None):
            raise UserError(f"{name}: leaving tokens out would move this {self.kind} encoder's windows of attention")
        for block in {id(block): block for block in self.blocks}.values():
            block.register_forward_pre_hook(self._before_layer, with_kwargs=True)

    def _before_layer(
        self, block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        running = self._running
        running.layer += 1
        assert running.layout is not None
        hidden, rows = self.edit.before_layer(running.layer, args[0][0], running.layout)
        if rows is not None:
            name = f"the edit {type(self.edit).__name__}"
            if not self.edit.shortens:
                raise UserError(f"{name} leaves tokens out; its class has to say shortens = True")
            try:
                running.keep(rows)
            except ValueError as error:
                raise UserError(f"{name}: {error}") from None
            hidden = hidden.index_select(0, rows)
        if running.alive is not None:  # the model hands every layer the positions of all tokens
            kwargs = {name: _of_tokens(value, name, running.alive) for name, value in kwargs.items()}
        return (hidden[None], *args[1:]), kwargs


def _of_tokens(value: Any, name: str, alive: Tensor) -> Any:
    """Return what a layer is handed by position, of the tokens that are still there; anything else as it is."""
    if name == "position_embeddings":  # cosine and sine of rotary positions, `(1, tokens, d_head)`
        return tuple(part.index_select(1, alive) for part in value)
    return value.index_select(1, alive) if name == "position_ids" else value


def _layers(backbone: nn.Module) -> nn.ModuleList | None:
    """Return a family's list of layers: of the class that it says its hidden states are from, or by its usual name."""
    recorded = (getattr(backbone, "_can_record_outputs", None) or {}).get("hidden_states")
    of = getattr(recorded, "target_class", recorded)
    for name, module in backbone.named_modules():
        if isinstance(module, nn.ModuleList) and len(module):
            named = of is None and name in ("encoder.layer", "layer", "layers")
            if named or (isinstance(of, type) and all(isinstance(layer, of) for layer in module)):
                return module
    return None


def _blocks(layers: nn.ModuleList | None, config: Any) -> list[nn.Module]:
    """Return the layers as they run; none where they aren't known."""
    if layers is None or getattr(config, "num_hidden_groups", 1) > 1:
        return []
    return list(layers) * num_layers(config) if hasattr(config, "num_hidden_groups") else list(layers)


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


def load(
    cfg: EncoderConfig, folder: Path, config: Any, packed: bool, edit: Edit = PLAIN
) -> tuple[Encoder, nn.Linear | None]:
    """Load the pre-trained encoder and edit it, and load the affine map of its pooler if that is pre-trained too.

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
    except Exception as error:
        raise UserError(f"encoder.name={cfg.name}: its weights can't be loaded: {reason(error)}") from None
    missing = [name for name in info["missing_keys"] if not name.startswith("pooler.")]
    if missing:
        raise UserError(f"encoder.name={cfg.name}: weights without {missing[0]} ({len(missing)} missing)")
    for name, stored, wanted in info["mismatched_keys"]:
        sizes = f"{tuple(stored)} in the weights, {tuple(wanted)} by config.json"
        raise UserError(f"encoder.name={cfg.name}: {name} is {sizes}; these files are not of one model")
    for parameter in backbone.parameters():  # some families' loading leaves views of one tensor, which can't be saved
        if parameter.untyped_storage().nbytes() > parameter.nbytes:
            parameter.data = parameter.data.clone()
    dense = take_pooler(backbone)
    if any(name.startswith("pooler.") for name in info["missing_keys"]):
        dense = None
    return Encoder(config, packed, backbone, edit), dense


def take_pooler(backbone: nn.Module) -> nn.Linear | None:
    """Take the affine map of BERT's pooler out of a backbone; None where there is none."""
    pooler = getattr(backbone, "pooler", None)
    if pooler is None:
        return None
    backbone.pooler = None  # type: ignore[assignment]
    dense = getattr(pooler, "dense", pooler)
    return dense if isinstance(dense, nn.Linear) else None
