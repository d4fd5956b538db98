"""What every pooler is and how one begins: `Pooler`, its layers, its linear maps, what it refuses.

No pooler is here: cls.py reads the last layer's [CLS], tokens.py its tokens, layers.py several layers, attention.py
attends to tokens.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from torch import Tensor, nn

from glue_pool.errors import UserError
from glue_pool.models import shape


class Pooler(nn.Module, ABC):
    """The last layer in, d features out; subclasses change what they need.

    Attributes: `layers`, the encoder layers it reads, 1-based and ascending; `reads`, "cls" when
    the [CLS] vectors are enough (training then passes those alone, as tokens = 1), "tokens" when no
    token is another than the rest, or "both"; `out_dim`, the features it returns.

    One of your own is one class in any importable module and one YAML: docs/extending.md.
    Keyword arguments are the YAML's keys; refuse a bad one with `UserError` in `__init__`, which
    also has to work on torch.device("meta").
    """

    bounds: ClassVar[Mapping[str, str]] = {}
    """Keyword arguments that the encoder bounds: by its `layers` (1..L), or as `heads`, which divide d."""
    layers: tuple[int, ...]
    reads: Literal["cls", "tokens", "both"] = "tokens"
    out_dim: int

    def __init__(self, d: int, num_layers: int) -> None:
        super().__init__()
        self.layers = (num_layers,)
        self.out_dim = d

    def fold(self, hidden_states: Sequence[Tensor]) -> Sequence[Tensor]:
        """Do what works on every token for itself, on hidden states `(..., d)` of `layers`.

        The classifier calls this before it pads the tokens, and gives `forward` what it returns; folded
        twice it has to be the same as folded once.
        """
        return hidden_states

    @abstractmethod
    def forward(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor:
        """Pool a batch.

        hidden_states: one `(batch, tokens, d)` for each of `layers`, the first real token [CLS];
        attention_mask: `(batch, tokens)` bool, at least one real token a row. Returns `(batch, out_dim)`.
        """

    def shares(self, hidden_states: Sequence[Tensor], attention_mask: Tensor) -> Tensor | None:
        """Say which layers and tokens the pooled vector came from; None where no weights do.

        hidden_states, attention_mask: as `forward` has them, before `fold`. Returns `(batch, heads, layers, tokens)`, a
        head for each that has weights of its own: not negative, 0 at padding, 1 in total for each head.
        """
        return None


def last_layers(k: int, num_layers: int) -> tuple[int, ...]:
    """Indices of the last k layers, L-k+1..L; UserError unless 1 <= k <= num_layers."""
    shape.check_depth("pooling.k", k, num_layers)
    return tuple(range(num_layers - k + 1, num_layers + 1))


def linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    """Xavier-uniform weights, zero bias."""
    linear = nn.Linear(inputs, outputs, bias=bias)
    nn.init.xavier_uniform_(linear.weight)
    if bias:
        nn.init.zeros_(linear.bias)
    return linear


def require(ok: bool, key: str, value: object, otherwise: str) -> None:
    """Raise UserError, which names the key and says what is otherwise required, unless a value is ok."""
    if not ok:
        raise UserError(f"pooling.{key}={value} {otherwise}")
