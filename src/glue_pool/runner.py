"""The training loop: precision, optimizer, schedule, evaluation.

It takes a model and tokenised splits and knows nothing of configs on disk, of W&B or of files; an `Observer` hears
of every step and every evaluation, and a `Keeper` keeps the state from which another process can go on.
"""

import math
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glue_pool import metrics
from glue_pool.data.batches import Batch, StateBatch, batches, epoch_order
from glue_pool.data.tokens import Split, Tokens
from glue_pool.errors import TrainingFailed, UserError
from glue_pool.models import vocabulary
from glue_pool.models.classifier import Classifier
from glue_pool.models.factory import encoder_layers
from glue_pool.schema import OptimizerConfig, TaskConfig, TrainConfig
from glue_pool.seeds import stream
from glue_pool.state import Keeper, State, generators, prefixed, set_generators, trained, under

THREADS = torch.get_num_threads()  # torch's own choice, before a run makes another


@dataclass(frozen=True)
class Evaluation:
    """What the dev splits said after some steps.

    logits: for every dev split `(rows, outputs)` fp32, in the split's own order; seconds: what it took.
    train_loss: mean over the examples since the evaluation before.
    """

    epoch: float
    step: int
    train_loss: float
    loss: dict[str, float]
    metrics: dict[str, dict[str, float]]
    score: float
    collapsed: bool
    seconds: float
    logits: dict[str, np.ndarray] = field(repr=False)

    def record(self) -> dict[str, object]:
        """Everything but the logits, as plain data."""
        return {name: value for name, value in vars(self).items() if name != "logits"}


@dataclass(frozen=True)
class Step:
    """One optimizer step; examples_per_second covers training alone, from its start."""

    step: int
    epoch: float
    loss: float
    learning_rate: float
    examples_per_second: float


class Observer(Protocol):
    """Hears of a training as it goes."""

    def on_step(self, step: Step) -> None:
        """A step whose loss was read."""

    def on_evaluation(self, evaluation: Evaluation) -> None:
        """The dev splits were evaluated."""

    def on_resume(self, step: int, past: "Sequence[Step | Evaluation]") -> None:
        """The training goes on after a step; past is what was told until then, in order."""


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


def pick_device(cfg: TrainConfig) -> torch.device:
    """Return the device that `train.device` means here."""
    if cfg.device == "cuda" and not torch.cuda.is_available():
        raise UserError("train.device=cuda: torch finds no CUDA device here")
    return torch.device("cuda" if cfg.device != "cpu" and torch.cuda.is_available() else "cpu")


def use_threads(cfg: TrainConfig) -> None:
    """Let torch use `train.threads` CPU threads, or as many as it chose itself, whatever the run before used."""
    torch.set_num_threads(cfg.threads or THREADS)


def pick_precision(cfg: TrainConfig, device: torch.device) -> str:
    """Return "fp32" or "bf16": what `train.precision` means on this device."""
    if cfg.precision != "auto":
        return cfg.precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32"


def fit(
    model: Classifier,
    train: Split,
    dev: Mapping[str, Split],
    *,
    task: TaskConfig,
    cfg: TrainConfig,
    optimizer: OptimizerConfig,
    seed: int,
    observer: Observer,
    log_every: int = 10,
    keeper: Keeper | None = None,
) -> Outcome:
    """Fine-tune the model on the train rows and evaluate every dev split now and then and at the end.

    The loss of every `log_every`-th step is read (which waits for a GPU) and told to the observer. Raises
    `TrainingFailed` with the step if a loss is not finite. Goes on from the state that the keeper has, if it has one:
    on the CPU to the same outcome, bit for bit.
    """
    device = pick_device(cfg)
    model.to(device).train()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        vocabulary.only(model.encoder, _used_ids(model, train, dev)),
    ):
        torch.manual_seed(stream(seed, "dropout"))
        training = _Training(model, train, dev, task, cfg, optimizer, seed, observer, log_every, keeper)
        return training.run()


def state_bytes(model: Classifier, train: Split, dev: Mapping[str, Split]) -> int:
    """Return about how much the state of a training takes: its parameters and AdamW's two moments of each."""
    embeddings = model.encoder.backbone.get_input_embeddings().weight  # type: ignore[operator]
    unused = (len(embeddings) - len(_used_ids(model, train, dev))) * embeddings.shape[1]
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return int(3 * 4 * (parameters - unused * embeddings.requires_grad))


def _used_ids(model: Classifier, train: Split, dev: Mapping[str, Split]) -> np.ndarray:
    own_ids = [split.own_ids for split in (train, *dev.values()) if isinstance(split, Tokens)]
    return vocabulary.used_ids(*own_ids, also=model.encoder.padding_id)


class _Training:
    """A training as it goes: its state, and the loop that carries it to the end."""

    def __init__(
        self,
        model: Classifier,
        train: Split,
        dev: Mapping[str, Split],
        task: TaskConfig,
        cfg: TrainConfig,
        optimizer: OptimizerConfig,
        seed: int,
        observer: Observer,
        log_every: int,
        keeper: Keeper | None,
    ) -> None:
        self.model, self.train, self.dev = model, train, dev
        self.task, self.cfg, self.seed = task, cfg, seed
        self.observer, self.log_every, self.keeper = observer, log_every, keeper
        self.device = pick_device(cfg)
        self.total, self.per_epoch = cfg.steps(len(train)), cfg.steps_per_epoch(len(train))
        self.every = cfg.eval_steps or self.per_epoch  # steps between two evaluations
        self.stepper = Stepper(model, task, cfg, optimizer, self.total)
        self.losses = Losses()
        self.cost = Cost()
        self.step = self.evaluated = 0  # steps taken, and those of the last evaluation
        self.told: list[Step | Evaluation] = []  # what the observer heard, in order

    @property
    def evaluations(self) -> list[Evaluation]:
        """All evaluations so far; of those before a resumption only the last and the best one have their logits."""
        return [said for said in self.told if isinstance(said, Evaluation)]

    def run(self) -> Outcome:
        """Train to the end, from where the keeper's state was taken or else from the start."""
        self._resume()
        if self.step and self._evaluation_is_due():  # it was stopped in the middle of this one
            self._evaluate()
        upcoming = _endless(self.train, self.cfg, self.seed, self.step)
        while self.step < self.total:
            self._take_step(upcoming)
            self._stop_if_signalled()
            self._keep_if_due(at_an_end=False)  # an evaluation may take long
            if self._evaluation_is_due():
                self._evaluate()
            if self.step < self.total and (self.step == self.evaluated or self.step % self.per_epoch == 0):
                self._keep_if_due(at_an_end=True)
        self.cost.peak_memory_bytes = self._peak_memory_bytes()
        return Outcome(self.evaluations[-1], _best(self.evaluations), self.total, self.cost)

    def _take_step(self, upcoming: Iterator[Batch | StateBatch]) -> None:
        started = time.perf_counter()
        batch = next(upcoming).to(self.device)
        rate = self.stepper.learning_rate
        loss = self.stepper(batch)
        self.step += 1
        self.losses.add(self.step, len(batch.rows), loss)
        self.cost.examples += len(batch.rows)
        self.cost.tokens += batch.tokens
        if self.step % self.log_every == 0 or self._evaluation_is_due():
            read = self.losses.read()
            speed = self.cost.examples / (self.cost.train_seconds + time.perf_counter() - started)
            self._tell(Step(self.step, self.step / self.per_epoch, read, rate, speed))
        if self.device.type == "cuda" and self._evaluation_is_due():
            torch.cuda.synchronize()
        self.cost.train_seconds += time.perf_counter() - started

    def _evaluation_is_due(self) -> bool:
        at_an_end = self.step == self.total or self.step % self.every == 0
        return at_an_end and self.evaluated != self.step

    def _evaluate(self) -> None:
        evaluation = evaluate(
            self.model,
            self.dev,
            task=self.task,
            cfg=self.cfg,
            epoch=self.step / self.per_epoch,
            step=self.step,
            train_loss=self.losses.mean(),
            between=self._stop_if_signalled,
        )
        self.losses = Losses()
        self.evaluated = self.step
        self.cost.eval_seconds += evaluation.seconds
        self.cost.evaluations += 1
        self._tell(evaluation)

    def _tell(self, said: Step | Evaluation) -> None:
        self.told.append(said)
        if isinstance(said, Step):
            self.observer.on_step(said)
        else:
            self.observer.on_evaluation(said)

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
            return
        self.observer.on_resume(self.step, self.told)

    def state(self) -> State:
        """Return what the next step, and the outcome, depend on; the tensors are the training's own, no copies."""
        tensors = {
            **prefixed("model", trained(self.model)),
            **prefixed("adamw", self.stepper.moments()),
            **prefixed("rng", generators(self.device)),
            **prefixed("losses", self.losses.tensors()),
        }
        if evaluations := self.evaluations:
            for evaluation in {e.step: e for e in (evaluations[-1], _best(evaluations))}.values():
                logits = {name: torch.from_numpy(array) for name, array in evaluation.logits.items()}
                tensors |= prefixed(f"logits/{evaluation.step}", logits)
        plain = {
            "cost": {**vars(self.cost), "peak_memory_bytes": self._peak_memory_bytes()},
            "losses_read": self.losses.were_read,
            "told": [vars(said) if isinstance(said, Step) else said.record() for said in self.told],
        }
        return State(self.step, self.total, tensors, plain)

    def restore(self, state: State) -> None:
        """Become the training that a state was taken of; ValueError, with nothing changed, if it is not of this one."""
        mine, theirs = trained(self.model), under("model", state.tensors)
        if _kinds(mine) != _kinds(theirs):
            raise ValueError("its parameters are not this model's")
        if state.total != self.total:
            raise ValueError(f"it is of a training of {state.total} steps, this one has {self.total}")
        with torch.no_grad():
            for name, tensor in mine.items():
                tensor.copy_(theirs[name])
        self.step = state.step
        self.stepper.restore(state.step, under("adamw", state.tensors))
        self.losses.restore(state.step, under("losses", state.tensors), state.plain["losses_read"])
        self.cost = Cost(**state.plain["cost"])
        self.told = [_said(record, state.tensors) for record in state.plain["told"]]
        self.evaluated = self.evaluations[-1].step if self.evaluations else 0
        set_generators(under("rng", state.tensors), self.device)

    def _peak_memory_bytes(self) -> int:
        return max(self.cost.peak_memory_bytes, peak_memory_bytes(self.device))


def _best(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Return the first evaluation with the highest score; a NaN is never the best unless all are."""
    return max(evaluations, key=lambda evaluation: (not math.isnan(evaluation.score), evaluation.score))


def _kinds(tensors: Mapping[str, Tensor]) -> dict[str, object]:
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}


def _said(record: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "Step | Evaluation":
    """Return what an observer was told, from its record; an evaluation with its logits if they were kept."""
    if "learning_rate" in record:
        return Step(**record)
    logits = under(f"logits/{record['step']}", tensors)
    return Evaluation(**record, logits={name: tensor.numpy().copy() for name, tensor in logits.items()})


class Stepper:
    """Takes optimizer steps, one a call: forward, loss, backward, clipping, AdamW, schedule."""

    def __init__(
        self, model: Classifier, task: TaskConfig, cfg: TrainConfig, optimizer: OptimizerConfig, total: int
    ) -> None:
        device = next(model.parameters()).device
        self.model = model
        self.loss = partial(task_loss, regression=not task.labels)
        self.autocast = partial(autocast, pick_precision(cfg, device), device)
        self.max_grad_norm = optimizer.max_grad_norm
        self.adamw = make_optimizer(model, optimizer)
        self.factor = partial(learning_rate_factor, optimizer, total)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.adamw, self.factor)
        self.trained = {name: p for name, p in model.named_parameters() if p.requires_grad}

    @property
    def learning_rate(self) -> float:
        """The rate that the next step uses, at the top of the model."""
        return float(self.schedule.get_last_lr()[-1])

    def __call__(self, batch: Batch | StateBatch) -> Tensor:
        """Take a step on a batch and return its loss, unread (reading it waits for a GPU)."""
        with self.autocast():
            logits = self.model(batch)
        loss = self.loss(logits, batch.labels)
        loss.backward()
        if self.max_grad_norm is not None:
            norm = nn.utils.get_total_norm([p.grad for p in self.trained.values() if p.grad is not None])
            # the fused kernel divides by this on its way, which saves a pass over all gradients
            self.adamw.grad_scale = (norm / self.max_grad_norm).clamp(min=1.0)  # type: ignore[attr-defined]
        self.adamw.step()
        self.schedule.step()
        self.adamw.zero_grad(set_to_none=True)
        return loss.detach()

    def moments(self) -> dict[str, Tensor]:
        """Return AdamW's state by `<what>/<parameter>`; a parameter that never had a gradient has none."""
        states = {name: self.adamw.state[p] for name, p in self.trained.items() if p in self.adamw.state}
        return {f"{what}/{name}": tensor for name, state in states.items() for what, tensor in state.items()}

    def restore(self, step: int, moments: Mapping[str, Tensor]) -> None:
        """Go on after a step with the moments that AdamW had then."""
        for key, tensor in moments.items():
            what, name = key.split("/", 1)
            parameter = self.trained[name]
            self.adamw.state[parameter][what] = tensor.to(parameter.device, copy=True)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.adamw, self.factor, last_epoch=step - 1)


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


def _endless(train: Split, cfg: TrainConfig, seed: int, after: int) -> Iterator[Batch | StateBatch]:
    """Yield the batches of all steps after the first `after`, epoch after epoch."""
    epoch, steps = divmod(after, cfg.steps_per_epoch(len(train)))
    while True:
        order = epoch_order(len(train), stream(seed, "order"), epoch, cfg.shuffle)
        yield from batches(train, order[steps * cfg.batch_size :], cfg.batch_size, cfg.padding_side)
        epoch, steps = epoch + 1, 0


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Matrix products in bf16 where the precision says so."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def task_loss(logits: Tensor, labels: Tensor, *, regression: bool) -> Tensor:
    """Cross-entropy over classes, or squared error of the scores, averaged over the batch.

    logits: `(batch, outputs)`; labels: `(batch,)`.
    """
    return F.mse_loss(logits[:, 0], labels) if regression else F.cross_entropy(logits, labels)


@torch.no_grad()
def evaluate(
    model: Classifier,
    dev: Mapping[str, Split],
    *,
    task: TaskConfig,
    cfg: TrainConfig,
    epoch: float,
    step: int,
    train_loss: float,
    between: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Evaluate every dev split, without dropout, and leave the model in training mode.

    between: called after each batch; it may raise.
    """
    started = time.perf_counter()
    device = next(model.parameters()).device
    model.eval()
    logits: dict[str, np.ndarray] = {}
    loss, scores = {}, {}
    for name, split in dev.items():
        logits[name] = predict(model, split, cfg, device, between)
        gathered = torch.from_numpy(logits[name]), torch.from_numpy(split.labels)
        loss[name] = float(task_loss(*gathered, regression=not task.labels))
        scores[name] = metrics.compute(task.metrics, split.labels, logits[name])
    model.train()
    first = task.dev_splits[0]
    return Evaluation(
        epoch,
        step,
        train_loss,
        loss,
        scores,
        scores[first][task.primary_metric],
        metrics.collapsed(logits[first]),
        time.perf_counter() - started,
        logits,
    )


@torch.no_grad()
def predict(
    model: Classifier,
    split: Split,
    cfg: TrainConfig,
    device: torch.device,
    between: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """Return the logits `(rows, outputs)` of a split in fp32, in its own order; batches are of similar lengths.

    between: called after each batch.
    """
    order = np.argsort(split.lengths, kind="stable")
    rows, logits = [], []
    with autocast(pick_precision(cfg, device), device):
        for batch in batches(split, order, cfg.eval_batch_size, cfg.padding_side):
            batch = batch.to(device)
            logits.append(model(batch))
            rows.append(batch.rows)
            between()
    found = torch.cat(logits).cpu().numpy()
    result = np.empty_like(found)
    result[np.concatenate(rows)] = found
    return result


def make_optimizer(model: Classifier, cfg: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW with no decay on biases and norm weights, and a smaller rate for lower layers if `layer_decay` says so."""
    depth = _depths(model) if cfg.layer_decay < 1 else {}
    top = model.encoder.num_layers + 1
    groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decays = parameter.ndim > 1
            groups.setdefault((depth.get(name, top), decays), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": cfg.lr * cfg.layer_decay ** (top - level),
                "weight_decay": cfg.weight_decay if decays else 0.0,
            }
            for (level, decays), parameters in groups.items()
        ],
        lr=cfg.lr,
        betas=(cfg.beta1, cfg.beta2),
        eps=cfg.eps,
        fused=True,
    )


def _depths(model: Classifier) -> dict[str, int]:
    """Level of every encoder parameter: 0 for the embeddings, l for layer l; what follows the encoder has none."""
    layers = {id(p): i for i, layer in enumerate(encoder_layers(model.encoder), 1) for p in layer.parameters()}
    return {name: layers.get(id(p), 0) for name, p in model.named_parameters() if name.startswith("encoder.")}


def learning_rate_factor(cfg: OptimizerConfig, total: int, step: int) -> float:
    """Return the share of the peak learning rate at a step, counted from 0."""
    warmup = int(cfg.warmup_ratio * total)
    if step < warmup:
        return step / warmup
    if cfg.schedule == "constant":
        return 1.0
    left = (total - step) / max(total - warmup, 1)
    return max(left, 0.0) if cfg.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * (1 - left)))


def peak_memory_bytes(device: torch.device) -> int:
    """Return the most memory held so far: on the GPU by tensors, on the CPU by the process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
