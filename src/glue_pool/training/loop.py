"""The training loop: phases of steps, evaluations, and the state from which another process can go on.

It takes a model and tokenised splits and knows nothing of files or of W&B; an `Observer` hears of every step and every
evaluation, and a `Keeper` keeps the state.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glue_pool.data.batches import collate, epoch_order
from glue_pool.data.tokens import Split, Tokens
from glue_pool.errors import UserError
from glue_pool.hardware import Hardware, within_memory
from glue_pool.models import vocabulary
from glue_pool.models.classifier import Classifier, Scale
from glue_pool.schema import Config, TrainConfig
from glue_pool.seeds import drawing_from, stream
from glue_pool.training.evaluation import Evaluation, evaluate, task_loss
from glue_pool.training.losses import Losses
from glue_pool.training.optimizer import Stepper
from glue_pool.training.recipe import Phase, Recipe
from glue_pool.training.state import Keeper, State, generators, prefixed, set_generators, trained, under


@dataclass(frozen=True)
class Step:
    """One optimizer step, counted over all phases; examples_per_second covers training alone, from its start."""

    step: int
    epoch: float
    loss: float
    learning_rate: float
    examples_per_second: float
    phase: str = "train"


class Observer:
    """Hears of a training as it goes; this one takes no notice."""

    def on_start(self, steps: int) -> None:
        """So many steps are to be taken, at most."""

    def on_step(self, step: Step) -> None:
        """A step whose loss was read."""

    def on_evaluation(self, evaluation: Evaluation) -> None:
        """The dev splits were evaluated."""

    def on_resume(self, step: int, past: "Sequence[Step | Evaluation]") -> None:
        """The training goes on after a step; past is what happened until then, in order."""


@dataclass
class Cost:
    """What a training took: seconds of training and of evaluation apart, and what it trained on."""

    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    examples: int = 0
    tokens: int = 0
    peak_memory_bytes: int = 0
    evaluations: int = 0


@dataclass(frozen=True)
class Outcome:
    """A finished training: its last evaluation, its best one (by score on the dev set), its steps and its cost."""

    last: Evaluation
    best: Evaluation
    steps: int
    cost: Cost


def fit(
    model: Classifier,
    train: Split,
    dev: Mapping[str, Split],
    cfg: Config,
    *,
    hardware: Hardware | None = None,
    recipe: Recipe | None = None,
    observer: Observer | None = None,
    keeper: Keeper | None = None,
) -> Outcome:
    """Fine-tune the model on the train rows and evaluate every dev split now and then and at the end.

    hardware: None is what `cfg.train` means here. recipe: a checked one; None is plain fine-tuning. The loss of every
    `tracking.log_every`-th step is read (which waits for a GPU) and told to the observer. Raises `TrainingFailed` with
    the step if a loss is not finite or memory runs out. Goes on from the state that the keeper has, if it has one: on
    the CPU to the same outcome, bit for bit.
    """
    recipe = recipe or Recipe()
    hardware = hardware or Hardware.of(cfg.train)
    if cfg.task.standardise:
        model.scale = Scale.of(train.labels)
        train = replace(train, labels=model.scale.standardised(train.labels))
    with drawing_from(cfg.seed, "recipe"):
        recipe.prepare(model, train)
    with within_memory("before the first step", "a smaller encoder needs less"):
        model.to(hardware.device).train()
    if hardware.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    with (
        torch.random.fork_rng(devices=[hardware.device] if hardware.on_gpu else []),
        vocabulary.only(model.encoder, _used_ids(model, train, dev, recipe)),
    ):
        torch.manual_seed(stream(cfg.seed, "dropout"))
        outcome = _Training(model, train, dev, cfg, recipe, observer or Observer(), keeper, hardware).run()
    recipe.finish(model)
    return outcome


def state_bytes(model: Classifier, train: Split, dev: Mapping[str, Split]) -> int:
    """Return about how much the state of a training takes: its parameters and AdamW's two moments of each."""
    embeddings = model.encoder.embeddings.weight
    assert isinstance(embeddings, Tensor)
    unused = (len(embeddings) - len(_used_ids(model, train, dev, Recipe()))) * embeddings.shape[1]
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return int(3 * 4 * (parameters - unused * embeddings.requires_grad))


def _used_ids(model: Classifier, train: Split, dev: Mapping[str, Split], recipe: Recipe) -> np.ndarray:
    own_ids = [split.own_ids for split in (train, *dev.values()) if isinstance(split, Tokens)]
    return vocabulary.used_ids(*own_ids, also=[model.encoder.padding_id, *recipe.extra_ids])


class _Training:
    """A training as it goes: its state, and the loop that carries it to the end."""

    def __init__(
        self,
        model: Classifier,
        train: Split,
        dev: Mapping[str, Split],
        cfg: Config,
        recipe: Recipe,
        observer: Observer,
        keeper: Keeper | None,
        hardware: Hardware,
    ) -> None:
        self.model, self.dev, self.cfg = model, dev, cfg
        self.recipe, self.observer, self.keeper, self.hardware = recipe, observer, keeper, hardware
        self.phases = list(recipe.phases(main_phase(train, cfg, recipe)))
        if not self.phases or not self.phases[-1].evaluates:
            raise UserError(f"the recipe {type(recipe).__name__}: the last of its phases has to evaluate")
        self.total = sum(phase.steps for phase in self.phases)
        self.cost = Cost()
        self.step = self.evaluated = 0  # steps taken, and those of the last evaluation
        self.stopped = False  # by the recipe
        self.history: list[Step | Evaluation] = []  # what the observer heard, in order
        self._begin(0)

    def _begin(self, number: int) -> None:
        """Begin a phase: its optimizer is new."""
        self.number, self.phase = number, self.phases[number]
        self.first = sum(phase.steps for phase in self.phases[:number])  # steps before it
        self.recipe.begin(self.model, self.phase)
        self.stepper = Stepper(self.model, self.phase, self.hardware)
        self.losses = Losses()

    @property
    def evaluations(self) -> list[Evaluation]:
        """All evaluations so far; of those before a resumption only the last and the best one have their logits."""
        return [event for event in self.history if isinstance(event, Evaluation)]

    @property
    def _best(self) -> Evaluation:
        """The first evaluation with the best score; a NaN is never the best unless all are."""
        better = self.cfg.task.metric.better
        return max(self.evaluations, key=lambda one: (not math.isnan(one.score), better * one.score))

    def run(self) -> Outcome:
        """Train to the end, from where the keeper's state was taken or else from the start."""
        self.observer.on_start(self.total)
        self._resume()
        self._run_phase()
        while self.number + 1 < len(self.phases) and not self.stopped:
            self._begin(self.number + 1)
            self._run_phase()
        self.cost.peak_memory_bytes = self._peak_memory_bytes()
        return Outcome(self.evaluations[-1], self._best, self.step, self.cost)

    def _run_phase(self) -> None:
        """Take the phase's steps that are left."""
        if self._evaluation_is_due():  # it was stopped in the middle of this one
            self._evaluate()
        upcoming = self.phase.order(self._of_phase)
        while self._of_phase < self.phase.steps and not self.stopped:
            self._take_step(next(upcoming))
            self._stop_if_signalled()
            self._keep_if_due(at_an_end=False)  # an evaluation may take long
            if self._evaluation_is_due():
                self._evaluate()
            at_an_end = self.step == self.evaluated or self._of_phase % self.phase.per_epoch == 0
            if self.step < self.total and at_an_end and not self.stopped:
                self._keep_if_due(at_an_end=True)

    @property
    def _of_phase(self) -> int:
        """Steps that were taken of this phase."""
        return self.step - self.first

    @property
    def _epoch(self) -> float:
        return self._of_phase / self.phase.per_epoch

    def _take_step(self, rows: np.ndarray) -> None:
        started = time.perf_counter()
        passes = self.cfg.train.accumulate if self.phase.mean_over_rows else 1
        parts = [rows[i::passes] for i in range(min(passes, len(rows)))]
        rate = self.stepper.learning_rate
        way_out = "a smaller train.batch_size or train.max_length needs less"
        if self.phase.mean_over_rows and passes < len(rows):
            way_out = f"train.accumulate={2 * passes} takes a step's {len(rows)} rows in so many passes"
        with within_memory(f"at step {self.step + 1}", way_out):
            batches = [self.phase.collate(part).to(self.hardware.device) for part in parts]
            with self.hardware.computing("step", sum(batch.tokens for batch in batches)):
                loss = self.stepper(batches)
        self.step += 1
        self.recipe.after_step(self.model, self.phase, self._of_phase)
        self.losses.add(self.step, len(rows), loss)
        self.cost.examples += len(rows)
        self.cost.tokens += sum(batch.tokens for batch in batches)
        is_last = self._evaluation_is_due() or self._of_phase == self.phase.steps
        if self.step % self.cfg.tracking.log_every == 0 or is_last:
            read = self.losses.read()
            speed = self.cost.examples / (self.cost.train_seconds + time.perf_counter() - started)
            self._notify(Step(self.step, self._epoch, read, rate, speed, self.phase.name))
        if self.hardware.on_gpu and is_last:
            torch.cuda.synchronize()
        self.cost.train_seconds += time.perf_counter() - started

    def _evaluation_is_due(self) -> bool:
        every = self.cfg.train.eval_steps or self.phase.per_epoch
        at_an_end = self._of_phase == self.phase.steps or self._of_phase % every == 0
        return self.phase.evaluates and self._of_phase > 0 and at_an_end and self.evaluated != self.step

    def _evaluate(self) -> None:
        smaller = max(self.cfg.train.eval_batch_size // 2, 1)
        way_out = f"train.eval_batch_size={smaller} needs less"
        with within_memory(f"in the evaluation at step {self.step}", way_out):
            evaluation = evaluate(
                self.model,
                self.dev,
                task=self.cfg.task,
                cfg=self.cfg.train,
                hardware=self.hardware,
                epoch=self._epoch,
                step=self.step,
                train_loss=self.losses.mean(),
                between=self._stop_if_signalled,
            )
        self.losses = Losses()
        self.evaluated = self.step
        self.cost.eval_seconds += evaluation.seconds
        self.cost.evaluations += 1
        self._notify(evaluation)
        self.stopped = self.recipe.stop(self.evaluations)

    def _notify(self, event: Step | Evaluation) -> None:
        self.history.append(event)
        if isinstance(event, Step):
            self.observer.on_step(event)
        else:
            self.observer.on_evaluation(event)

    def _keep_if_due(self, *, at_an_end: bool) -> None:
        if self.keeper and self.keeper.due(at_an_end=at_an_end):
            self.keeper.save(self.state())

    def _stop_if_signalled(self) -> None:
        if self.keeper and self.keeper.signalled:
            self.keeper.stop(self.state())

    def _resume(self) -> None:
        state = self.keeper.resume() if self.keeper else None
        if not self.keeper or not state:
            return
        try:
            self.restore(state)
        except ValueError as error:
            self.keeper.set_aside(str(error))
            self.step = 0
            self._begin(0)
            return
        self.observer.on_resume(self.step, self.history)

    def state(self) -> State:
        """Return what the next step, and the outcome, depend on; the tensors are the training's own, no copies."""
        tensors = {
            **prefixed("model", trained(self.model)),
            **prefixed("adamw", self.stepper.moments()),
            **prefixed("recipe", self.recipe.state()),
            **prefixed("rng", generators(self.hardware.device)),
            **prefixed("losses", self.losses.tensors()),
        }
        if evaluations := self.evaluations:
            for evaluation in {e.step: e for e in (evaluations[-1], self._best)}.values():
                logits = {name: torch.from_numpy(array) for name, array in evaluation.logits.items()}
                tensors |= prefixed(f"logits/{evaluation.step}", logits)
        plain = {
            "cost": {**vars(self.cost), "peak_memory_bytes": self._peak_memory_bytes()},
            "losses_read": self.losses.were_read,
            "told": [vars(event) if isinstance(event, Step) else event.record() for event in self.history],
        }
        return State(self.step, self.total, tensors, plain)

    def restore(self, state: State) -> None:
        """Become the training that a state was taken of; ValueError, with no weight changed, if it is of another."""
        if state.total != self.total:
            raise ValueError(f"it is of a training of {state.total} steps, this one has {self.total}")
        self.step = state.step
        while self.step > self.first + self.phase.steps:  # at the end of a phase its evaluation may be left
            self._begin(self.number + 1)
        mine, theirs = trained(self.model), under("model", state.tensors)
        if _kinds(mine) != _kinds(theirs):
            raise ValueError("its parameters are not this model's")
        with torch.no_grad():
            for name, tensor in mine.items():
                tensor.copy_(theirs[name])
        self.stepper.restore(self._of_phase, under("adamw", state.tensors))
        self.recipe.restore(under("recipe", state.tensors))
        self.losses.restore(state.step, under("losses", state.tensors), state.plain["losses_read"])
        self.cost = Cost(**state.plain["cost"])
        self.history = [_event(record, state.tensors) for record in state.plain["told"]]
        if self.evaluations:
            self.evaluated = self.evaluations[-1].step
            self.stopped = self.evaluated == self.step and self.recipe.stop(self.evaluations)
        set_generators(under("rng", state.tensors), self.hardware.device)

    def _peak_memory_bytes(self) -> int:
        return max(self.cost.peak_memory_bytes, self.hardware.peak_memory_bytes())


def main_phase(train: Split, cfg: Config, recipe: Recipe) -> Phase:
    """Return the phase in which the task's rows are learnt, with the recipe's loss."""
    of_task = partial(task_loss, problem_type=cfg.task.problem_type)
    return Phase(
        name="train",
        steps=cfg.train.steps(len(train)),
        per_epoch=cfg.train.steps_per_epoch(len(train)),
        order=partial(_order, len(train), cfg.train, cfg.seed),
        collate=partial(collate, train, padding_side=cfg.train.padding_side),
        loss=lambda output, batch: recipe.loss(output, batch, of_task),
        optimizer=cfg.optimizer,
        reads=recipe.reads,
    )


def _order(rows: int, cfg: TrainConfig, seed: int, after: int) -> Iterator[np.ndarray]:
    """Yield the rows of all steps after the first `after`, epoch after epoch."""
    epoch, steps = divmod(after, cfg.steps_per_epoch(rows))
    while True:
        order = epoch_order(rows, stream(seed, "order"), epoch, cfg.shuffle)
        for first in range(steps * cfg.batch_size, rows, cfg.batch_size):
            yield order[first : first + cfg.batch_size]
        epoch, steps = epoch + 1, 0


def _kinds(tensors: Mapping[str, Tensor]) -> dict[str, object]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}


def _event(record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "Step | Evaluation":
    """Return what an observer was told, from its record; an evaluation with its logits if they were kept."""
    if "learning_rate" in record:
        return Step(**record)
    logits = under(f"logits/{record['step']}", tensors)
    return Evaluation(**record, logits={name: tensor.numpy().copy() for name, tensor in logits.items()})
