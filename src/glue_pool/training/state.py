"""The state of a training between two steps, and who keeps it: tensors by name, and plain data that JSON can hold."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class State:
    """All that the rest of a training of `total` steps, and its outcome, depend on after `step` of them.

    The data order is a function of seed and epoch, so it follows from the step. A tensor may be the training's own, no
    copy: it holds until the next step.
    """

    step: int
    total: int
    tensors: Mapping[str, Tensor]
    plain: Mapping[str, Any]


class Keeper(Protocol):
    """Keeps the state of a training, so that another process can go on from it."""

    def resume(self) -> State | None:
        """Return the state to go on from; None where there is none."""

    def set_aside(self, reason: str) -> None:
        """The state that `resume` gave is of another training."""

    def due(self, *, at_an_end: bool) -> bool:
        """Whether a state is to be saved after this step; at_an_end: an epoch or an evaluation ended with it."""

    def save(self, state: State) -> None:
        """Keep this state in the place of the one before."""

    @property
    def signalled(self) -> bool:
        """Whether a signal asks the training to stop: looked at after each step and between an evaluation's batches."""

    def stop(self, state: State) -> None:
        """Save what a signalled training has reached and raise `Interrupted`; return if it is to go on after all."""


def trained(model: nn.Module) -> dict[str, Tensor]:
    """Return what a training changes in a model: the parameters it trains, and the buffers that are saved with it."""
    saved = model.state_dict(keep_vars=True)
    parameters = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    return parameters | {name: buffer for name, buffer in model.named_buffers() if name in saved}


def generators(device: torch.device) -> dict[str, Tensor]:
    """Return the states of torch's random generators: the CPU's and, on a GPU, that one's."""
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def set_generators(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Let torch's random generators go on from these states."""
    torch.set_rng_state(states["cpu"].clone())
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"].clone(), device)


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors by `prefix/name`."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that `prefixed` named."""
    return {name.removeprefix(f"{prefix}/"): t for name, t in tensors.items() if name.startswith(f"{prefix}/")}
