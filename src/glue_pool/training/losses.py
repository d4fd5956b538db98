"""The losses of a training's steps, read no sooner than they are needed: reading one waits for a GPU."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from glue_pool.errors import TrainingFailed


class Losses:
    """The training losses since the last evaluation, the losses of successive steps."""

    def __init__(self) -> None:
        self._losses: list[tuple[int, int, Tensor]] = []  # (step, examples, loss)
        self.were_read = 0

    def add(self, step: int, examples: int, loss: Tensor) -> None:
        """Take in a step's loss without reading it."""
        self._losses.append((step, examples, loss))

    def read(self) -> float:
        """Return the last loss; raise `TrainingFailed` with the first step whose loss was not finite."""
        for step, _, loss in self._losses[self.were_read :]:
            if not math.isfinite(float(loss)):
                raise TrainingFailed(f"the training loss is {float(loss)} at step {step}")
        self.were_read = len(self._losses)
        return float(self._losses[-1][2])

    def mean(self) -> float:
        """Return the mean over examples."""
        examples = sum(n for _, n, _ in self._losses)
        return sum(n * float(loss) for _, n, loss in self._losses) / examples

    def tensors(self) -> dict[str, Tensor]:
        """Return the losses and the examples of their steps, each `(steps,)`."""
        if not self._losses:
            return {}
        _, examples, losses = zip(*self._losses, strict=True)
        return {"loss": torch.stack([loss.cpu() for loss in losses]), "examples": torch.tensor(examples)}

    def restore(self, step: int, tensors: Mapping[str, Tensor], were_read: int) -> None:
        """Take in the losses of the steps up to this one."""
        if tensors:
            losses, examples = tensors["loss"].clone().unbind(), tensors["examples"].tolist()
            steps = range(step - len(losses) + 1, step + 1)
            self._losses = list(zip(steps, examples, losses, strict=True))
            self.were_read = were_read
