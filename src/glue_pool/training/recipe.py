"""A recipe: what a training does beside minimising the task's loss on every parameter. The base is plain fine-tuning.

One of your own is one class in any importable module and one YAML: docs/extending.md. Keyword arguments are the YAML's
keys; refuse a bad one with `UserError` in `__init__`, and an encoder or task that it doesn't fit in `check`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from torch import Tensor

from glue_pool import components
from glue_pool.data.batches import Batch, HiddenBatch
from glue_pool.errors import UserError
from glue_pool.models.classifier import Classifier, Output
from glue_pool.models.shape import Shape as Shape
from glue_pool.models.shape import check_frozen
from glue_pool.schema import Config, OptimizerConfig
from glue_pool.tasks import TaskConfig

if TYPE_CHECKING:
    from glue_pool.data.tokens import Split
    from glue_pool.training.evaluation import Evaluation

Loss = Callable[[Tensor, Tensor], Tensor]  # logits `(batch, outputs)` and labels `(batch,)` to a mean over rows


@dataclass(frozen=True)
class Phase:
    """A stretch of a training: so many optimizer steps, with a learning-rate schedule of their own.

    name: before the keys of its rows in W&B; the main phase is `train`. per_epoch: the steps of one pass over its rows.
    order: the rows `(batch,)` of every step after the first so many. collate: makes a batch of rows.
    loss: of the model's output on a batch. reads: the layers whose hidden states it gets.
    mean_over_rows: whether the loss is a mean over a batch's rows; where it is not, a batch is never cut.
    evaluates: whether the dev splits are evaluated in it; the last phase has to.
    """

    name: str
    steps: int
    per_epoch: int
    order: Callable[[int], Iterator[np.ndarray]]
    collate: Callable[[np.ndarray], Batch | HiddenBatch]
    loss: Callable[[Output, Batch | HiddenBatch], Tensor]
    optimizer: OptimizerConfig
    reads: tuple[int, ...] = ()
    mean_over_rows: bool = True
    evaluates: bool = True


class Recipe:
    """Plain fine-tuning; subclasses change what they need. In the order in which they are called:

    `check` before data and weights are read, `prepare` before the first step or before going on from a checkpoint,
    `phases` once, `begin` with every phase, `loss` and `after_step` every step, `stop` after an evaluation, `state` and
    `restore` for a checkpoint, `finish` at the end. A recipe draws random numbers in `prepare` (from a stream of its
    own) and in `loss` (from the dropout's, which a checkpoint keeps), and keeps what changes between steps in `state`
    or in the model's parameters: then a killed run goes on to the same outcome.
    """

    added: ClassVar[Mapping[str, Any]] = {}
    """Keyword arguments that came after the first release, with the values that change nothing."""
    on_frozen: ClassVar[bool] = True
    """Whether it works where only what follows the encoder is trained (`encoder.freeze=true`)."""
    extra_ids: Sequence[int] = ()
    """Token ids that its batches may hold beside those of the rows ([MASK])."""
    reads: tuple[int, ...] = ()
    """The layers, 1-based, whose hidden states `loss` gets."""
    reads_cls: bool = False
    """Whether it reads their [CLS]; then a tokenizer that has nothing for it is refused."""

    def check(self, shape: Shape, task: TaskConfig) -> None:
        """Raise UserError if the recipe can't be used with this encoder and task; fill in what depends on them."""

    def identity(self) -> str | None:
        """Return what outside the config decides the numbers (a teacher's run key): it enters the run's key."""
        return None

    def prepare(self, model: Classifier, train: "Split") -> None:
        """Change the model in place, its weights loaded and on the CPU; new modules are trained with it."""

    def phases(self, main: Phase) -> Sequence[Phase]:
        """Return the phases in order; `main` minimises `loss` on the task's rows."""
        return [main]

    def begin(self, model: Classifier, phase: Phase) -> None:
        """A phase begins, or a training that is resumed passes it: say here what it trains (`requires_grad`)."""

    def loss(self, output: Output, batch: Batch | HiddenBatch, task_loss: Loss) -> Tensor:
        """Return the main phase's loss of a batch, a mean over its rows."""
        return task_loss(output.logits, batch.labels)

    def after_step(self, model: Classifier, phase: Phase, step: int) -> None:
        """Hear of a phase's step, counted from 1, when the optimizer has taken it."""

    def stop(self, evaluations: "Sequence[Evaluation]") -> bool:
        """Say whether the training ends with the last of these evaluations; a function of them alone."""
        return False

    def state(self) -> dict[str, Tensor]:
        """Return what changes between steps and is no parameter of the model."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` returned."""

    def finish(self, model: Classifier) -> None:
        """Take out of the model what is not to be saved with it."""


def build_recipe(recipe: Mapping[str, Any]) -> Recipe:
    """Build the recipe that a recipe config names."""
    return components.build(recipe, Recipe, "recipe")


def plan(cfg: Config, shape: Shape) -> Recipe:
    """Build a run's recipe and check that it fits the encoder and the task, before any data or weight is read."""
    recipe = build_recipe(cfg.recipe)
    check_frozen(cfg, on_frozen=recipe.on_frozen)
    recipe.check(shape, cfg.task)
    if cfg.encoder.freeze and recipe.reads:
        raise UserError(f"encoder.freeze: recipe={cfg.recipe['name']} reads hidden states, which a probe does not keep")
    return recipe
