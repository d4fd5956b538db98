"""The encoder as it runs: a batch in the form that its family takes, and the hidden states of chosen layers."""

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from glue_pool.data.layout import Layout
from glue_pool.errors import UserError
from glue_pool.models import dropout
from glue_pool.models.edit import Edit
from glue_pool.models.families import NOT_CUT, TYPES_WITHOUT_TABLE, Batching, per_layer
from glue_pool.models.packing import PACKED, Running

PLAIN = Edit()


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
            return state.index_select(0, self.layout.cls)
        return state.flatten(0, 1).index_select(0, self.layout.inverse.index_select(0, self.layout.cls))

    def tokens(self, layer: int) -> Tensor:
        """Return a layer's states without padding, `(tokens, d)`, the batch's rows end to end."""
        state = self.states[layer]
        return state if self.packed else self.layout.unpad(state)

    def pad(self, state: Tensor) -> Tensor:
        """Return states that are laid out as `states` are in the padded form, `(batch, longest, d)`, [CLS] first."""
        return self.layout.lead(self.layout.pad(state) if self.packed else state)


class Encoder(nn.Module):
    """A transformers encoder that returns the hidden states of chosen layers.

    batching: the batches that run, without padding (see `models.packing`), padded, or of rows of one length at a time.
    edit: is applied to the modules.
    blocks: the layers as they run, the lowest first; one that runs twice stands there twice. vocab_size: how many
    token ids there are. padding_id: the one that fills padded batches. takes_positions, takes_types: whether the family
    takes position ids and token types; first_position: a first token's position id.
    """

    _layers: nn.ModuleList | None

    def __init__(self, config: Any, batching: Batching, backbone: nn.Module | None = None, edit: Edit = PLAIN) -> None:
        super().__init__()
        from transformers import AutoModel

        self.config = copy.deepcopy(config)  # loading writes into the config it is given
        self.batching = batching
        self.edit = edit
        self.frozen = False
        if backbone is None:
            backbone = AutoModel.from_config(copy.deepcopy(config), dtype=torch.get_default_dtype())
        self.backbone = backbone
        dropout.cheapen(self.backbone)
        if batching == "packed":
            self.backbone.set_attn_implementation(PACKED)  # type: ignore[operator]
        accepted = inspect.signature(self.backbone.forward).parameters
        self.takes_positions = "position_ids" in accepted
        types = 2 if config.model_type in TYPES_WITHOUT_TABLE else getattr(config, "type_vocab_size", None) or 0
        self.takes_types = "token_type_ids" in accepted and types > 1
        self.first_position = _first_position(self.backbone)
        self.vocab_size = len(self.embeddings.weight)  # type: ignore[arg-type]
        padding = getattr(config, "pad_token_id", None)
        self.padding_id = padding if isinstance(padding, int) and 0 <= padding < self.vocab_size else 0
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
        if self.kind in NOT_CUT:
            raise UserError(f"{key}: what {self.kind} is depends on its depth")
        for name, of_layers in per_layer(self.backbone.config).items():
            setattr(self.backbone.config, name, [*of_layers[:layer], *of_layers[layer - 1 :]])
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
        return int(self.config.hidden_size)

    @property
    def num_layers(self) -> int:
        """Number of layers that run."""
        return len(self.blocks) or int(self.config.num_hidden_layers)

    @property
    def max_tokens(self) -> int | None:
        """How many tokens a text may have; None if the encoder sets no limit."""
        positions = getattr(self.config, "max_position_embeddings", None)
        return positions - self.first_position if positions and positions > 0 else None

    @property
    def embeddings(self) -> nn.Module:
        """The table of token ids: its `weight` is `(ids, size)`."""
        table: nn.Module = self.backbone.get_input_embeddings()  # type: ignore[operator]
        return table

    def forward(
        self, input_ids: Tensor, token_type_ids: Tensor | None, layout: Layout, layers: Sequence[int]
    ) -> Hidden:
        """Return the hidden states of the given layers (1-based, ascending).

        input_ids, token_type_ids: `(tokens,)`, laid out as `layout` says.
        """
        inputs = {"input_ids": input_ids}
        if self.takes_positions:
            inputs["position_ids"] = layout.positions + self.first_position
        if self.takes_types and token_type_ids is not None:
            inputs["token_type_ids"] = token_type_ids
        self._running.start(layout)
        if self.batching == "equal":
            states = self._by_length(inputs, layout, layers)
            return Hidden(states, layout, packed=True)
        if self.batching == "packed":
            inputs = {name: x[None] for name, x in inputs.items()}
        else:
            inputs = {name: layout.pad(x) for name, x in inputs.items()}
            inputs["input_ids"] = inputs["input_ids"].masked_fill(~layout.mask, self.padding_id)
            inputs["attention_mask"] = layout.mask.long()
        states = self.backbone_states(inputs, layers)
        if self.batching == "packed":
            states = {layer: self._running.survivors(state[0], layer) for layer, state in states.items()}
        assert self._running.layout is not None
        return Hidden(states, self._running.layout, self.batching == "packed")

    def backbone_states(self, inputs: dict[str, Tensor], layers: Sequence[int]) -> dict[int, Tensor]:
        """Run the backbone as it is and return the layers' states, `(batch, longest, d)`.

        inputs: by the names that the family takes.
        """
        last_only = tuple(layers) == (self.num_layers,)
        output = self.backbone(**inputs, output_hidden_states=not last_only, return_dict=True)
        states = {} if last_only else {layer: output.hidden_states[layer] for layer in layers}
        if layers[-1] == self.num_layers:
            states[self.num_layers] = output.last_hidden_state
        return states

    def _by_length(self, inputs: dict[str, Tensor], layout: Layout, layers: Sequence[int]) -> dict[int, Tensor]:
        """Run the backbone on the rows of each length, and return the layers' states, `(tokens, d)`."""
        lengths = layout.mask.sum(1)
        groups = []
        for length in lengths.unique().tolist():
            starts = layout.starts[lengths == length]
            groups.append(starts[:, None] + torch.arange(length, device=starts.device))  # `(rows, length)`
        parts = [
            self.backbone_states(
                {name: x[where] for name, x in inputs.items()} | {"attention_mask": torch.ones_like(where)},
                layers,
            )
            for where in groups
        ]
        order = torch.cat([where.flatten() for where in groups]).argsort()
        return {
            layer: torch.cat([part[layer].flatten(0, 1) for part in parts]).index_select(0, order) for layer in parts[0]
        }

    def _let_edit_see_layers(self) -> None:
        name = f"the edit {type(self.edit).__name__}"
        if self.batching != "packed":
            raise UserError(f"{name}: it works between layers, on packed batches only (train.batching, or the encoder)")
        if not self.blocks:
            raise UserError(f"{name}: the layers of this {self.kind} encoder can't be told apart")
        if self.edit.shortens and any(getattr(part, "sliding_window", None) for part in self.backbone.modules()):
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
        others = args[1:]
        if running.alive is not None:  # the model hands every layer the positions of all tokens
            alive, tokens = running.alive, running.tokens
            others = tuple(_of_tokens(value, tokens, alive) for value in others)
            kwargs = {name: _of_tokens(value, tokens, alive) for name, value in kwargs.items()}
        return (hidden[None], *others), kwargs


def _of_tokens(value: Any, tokens: int, alive: Tensor) -> Any:
    """Return what a layer is handed for each token, `(1, tokens, ...)`, of those that are still there.

    Among it are the cosine and sine of rotary positions, a tuple. Anything else is as it was.
    """
    if isinstance(value, tuple):
        return tuple(_of_tokens(part, tokens, alive) for part in value)
    of_tokens = isinstance(value, Tensor) and value.dim() > 1 and value.shape[:2] == (1, tokens)
    return value.index_select(1, alive) if of_tokens else value


def _layers(backbone: nn.Module) -> nn.ModuleList | None:
    """Return a family's list of layers: of the class that it says its hidden states are from, or by its usual name."""
    recorded = (getattr(backbone, "_can_record_outputs", None) or {}).get("hidden_states")
    of = getattr(recorded, "target_class", recorded)
    for name, module in backbone.named_modules():
        if isinstance(module, nn.ModuleList) and len(module):
            named = of is None and name in ("encoder.layer", "encoder.layers", "layer", "layers")
            if named or (isinstance(of, type) and all(isinstance(layer, of) for layer in module)):
                return module
    return None


def _blocks(layers: nn.ModuleList | None, config: Any) -> list[nn.Module]:
    """Return the layers as they run; none where they aren't known."""
    if layers is None or getattr(config, "num_hidden_groups", 1) > 1:
        return []
    return list(layers) * config.num_hidden_layers if hasattr(config, "num_hidden_groups") else list(layers)


def _first_position(backbone: nn.Module) -> int:
    """Return the position id of a first token: RoBERTa and its kin keep a position for padding, and start after it."""
    for name, module in backbone.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            return int(module.padding_idx) + 1
    return 0
