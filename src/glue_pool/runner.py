"""The training loop: precision, optimizer, schedule, evaluation.

It takes a model and tokenised splits and knows nothing of configs on disk, of W&B or of files; an `Observer` hears
of every step and every evaluation.
"""

import math
import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

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


def total_steps(rows: int, cfg: TrainConfig) -> int:
    """Return the optimizer steps of a training on so many rows."""
    if cfg.max_steps is not None:
        return cfg.max_steps
    return max(cfg.epochs * steps_per_epoch(rows, cfg), cfg.min_steps or 0)


def steps_per_epoch(rows: int, cfg: TrainConfig) -> int:
    """Return the steps of one pass; the last batch of a pass may be smaller."""
    return math.ceil(rows / cfg.batch_size)


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
) -> Outcome:
    """Fine-tune the model on the train rows and evaluate every dev split after each epoch and at the end.

    The loss of every `log_every`-th step is read (which waits for a GPU) and told to the observer. Raises
    `TrainingFailed` with the step if a loss is not finite.
    """
    device = pick_device(cfg)
    model.to(device).train()
    own_ids = [split.own_ids for split in (train, *dev.values()) if isinstance(split, Tokens)]
    used = vocabulary.used_ids(*own_ids, also=model.encoder.padding_id)
    total, per_epoch = total_steps(len(train), cfg), steps_per_epoch(len(train), cfg)
    evaluations: list[Evaluation] = []
    cost = Cost()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        vocabulary.only(model.encoder, used),
    ):
        torch.manual_seed(stream(seed, "dropout"))
        stepper = Stepper(model, task, cfg, optimizer, total)
        losses = Losses()
        started = time.perf_counter()
        for step, batch in enumerate(_endless(train, cfg, seed), start=1):
            rate = stepper.learning_rate
            losses.add(step, len(batch.rows), stepper(batch.to(device)))
            cost.examples += len(batch.rows)
            cost.tokens += batch.tokens
            evaluate_now = step == total or step % per_epoch == 0
            if step % log_every == 0 or evaluate_now:
                loss = losses.read()
                speed = cost.examples / (cost.train_seconds + time.perf_counter() - started)
                observer.on_step(Step(step, step / per_epoch, loss, rate, speed))
            if evaluate_now:
                if device.type == "cuda":
                    torch.cuda.synchronize()
                cost.train_seconds += time.perf_counter() - started
                evaluations.append(
                    evaluate(
                        model, dev, task=task, cfg=cfg, epoch=step / per_epoch, step=step, train_loss=losses.mean()
                    )
                )
                cost.eval_seconds += evaluations[-1].seconds
                cost.evaluations += 1
                observer.on_evaluation(evaluations[-1])
                started = time.perf_counter()
            if step == total:
                break
    cost.peak_memory_bytes = peak_memory_bytes(device)
    return Outcome(evaluations[-1], _best(evaluations), total, cost)


def _best(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Return the first evaluation with the highest score; a NaN is never the best unless all are."""
    return max(evaluations, key=lambda evaluation: (not math.isnan(evaluation.score), evaluation.score))


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
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.adamw, partial(learning_rate_factor, optimizer, total))
        self.trained = [p for p in model.parameters() if p.requires_grad]

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
            norm = nn.utils.get_total_norm([p.grad for p in self.trained if p.grad is not None])
            # the fused kernel divides by this on its way, which saves a pass over all gradients
            self.adamw.grad_scale = (norm / self.max_grad_norm).clamp(min=1.0)  # type: ignore[attr-defined]
        self.adamw.step()
        self.schedule.step()
        self.adamw.zero_grad(set_to_none=True)
        return loss.detach()


class Losses:
    """The training losses since the last evaluation."""

    def __init__(self) -> None:
        self._losses: list[tuple[int, int, Tensor]] = []  # (step, examples, loss)
        self._read = 0

    def add(self, step: int, examples: int, loss: Tensor) -> None:
        """Take in a step's loss without reading it."""
        self._losses.append((step, examples, loss))

    def read(self) -> float:
        """Return the last loss; raise `TrainingFailed` with the first step whose loss was not finite."""
        for step, _, loss in self._losses[self._read :]:
            if not math.isfinite(float(loss)):
                raise TrainingFailed(f"the training loss is {float(loss)} at step {step}")
        self._read = len(self._losses)
        return float(self._losses[-1][2])

    def mean(self) -> float:
        """Return the mean over examples, and forget them."""
        examples = sum(n for _, n, _ in self._losses)
        mean = sum(n * float(loss) for _, n, loss in self._losses) / examples
        self._losses, self._read = [], 0
        return mean


def _endless(train: Split, cfg: TrainConfig, seed: int) -> Iterator[Batch | StateBatch]:
    epoch = 0
    while True:
        order = epoch_order(len(train), stream(seed, "order"), epoch, cfg.shuffle)
        yield from batches(train, order, cfg.batch_size, cfg.padding_side)
        epoch += 1


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
) -> Evaluation:
    """Evaluate every dev split, without dropout, and leave the model in training mode."""
    started = time.perf_counter()
    device = next(model.parameters()).device
    model.eval()
    logits: dict[str, np.ndarray] = {}
    loss, scores = {}, {}
    for name, split in dev.items():
        logits[name] = predict(model, split, cfg, device)
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
def predict(model: Classifier, split: Split, cfg: TrainConfig, device: torch.device) -> np.ndarray:
    """Return the logits `(rows, outputs)` of a split in fp32, in its own order; batches are of similar lengths."""
    order = np.argsort(split.lengths, kind="stable")
    rows, logits = [], []
    with autocast(pick_precision(cfg, device), device):
        for batch in batches(split, order, cfg.eval_batch_size, cfg.padding_side):
            batch = batch.to(device)
            logits.append(model(batch))
            rows.append(batch.rows)
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
