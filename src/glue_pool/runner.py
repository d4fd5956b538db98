"""The training loop: precision, optimizer, schedule, evaluation.

It takes a model and tokenised splits and knows nothing of configs on disk, of W&B or of files; an `Observer` hears
of every step and every evaluation.
"""

import math
import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glue_pool import metrics
from glue_pool.data.batches import Batch, batches, epoch_order
from glue_pool.data.tokens import Tokens
from glue_pool.errors import TrainingFailed, UserError
from glue_pool.models.classifier import Classifier
from glue_pool.models.factory import encoder_layers
from glue_pool.schema import OptimizerConfig, TaskConfig, TrainConfig
from glue_pool.seeds import stream


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


@dataclass(frozen=True)
class Outcome:
    """A finished training: its last evaluation, its best one (by score on the dev set) and what it cost."""

    last: Evaluation
    best: Evaluation
    steps: int
    train_seconds: float
    eval_seconds: float
    train_examples: int
    train_tokens: int
    peak_memory_bytes: int


def pick_device(cfg: TrainConfig) -> torch.device:
    """Return the device that `train.device` means here."""
    if cfg.device == "cuda" and not torch.cuda.is_available():
        raise UserError("train.device=cuda: torch finds no CUDA device here")
    return torch.device("cuda" if cfg.device != "cpu" and torch.cuda.is_available() else "cpu")


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
    train: Tokens,
    dev: Mapping[str, Tokens],
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
    precision = pick_precision(cfg, device)
    model.to(device).train()
    total, per_epoch = total_steps(len(train), cfg), steps_per_epoch(len(train), cfg)
    adamw = make_optimizer(model, optimizer)
    schedule = torch.optim.lr_scheduler.LambdaLR(adamw, partial(learning_rate_factor, optimizer, total))
    loss_of = partial(task_loss, regression=not task.labels)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()

    best: Evaluation | None = None
    last: Evaluation | None = None
    unread: list[tuple[int, int, Tensor]] = []  # (step, examples, loss) since the evaluation before
    checked = 0  # how many of them are known to be finite
    train_seconds = eval_seconds = 0.0
    examples = tokens = 0
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(stream(seed, "dropout"))
        started = time.perf_counter()
        for step, batch in enumerate(_endless(train, cfg, seed), start=1):
            batch = batch.to(device)
            rate = schedule.get_last_lr()[-1]
            with autocast(precision, device):
                logits = model(batch.input_ids, batch.token_type_ids, batch.layout)
            loss = loss_of(logits, batch.labels)
            loss.backward()
            if optimizer.max_grad_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), optimizer.max_grad_norm)
            adamw.step()
            schedule.step()
            adamw.zero_grad(set_to_none=True)

            examples += len(batch.rows)
            tokens += len(batch.input_ids)
            unread.append((step, len(batch.rows), loss.detach()))
            evaluate_now = step == total or step % per_epoch == 0
            if step % log_every == 0 or evaluate_now:
                _refuse_non_finite(unread[checked:])
                checked = len(unread)
                elapsed = train_seconds + time.perf_counter() - started
                observer.on_step(Step(step, step / per_epoch, float(loss.detach()), rate, examples / elapsed))
            if evaluate_now:
                if device.type == "cuda":
                    torch.cuda.synchronize()
                train_seconds += time.perf_counter() - started
                train_loss = sum(n * float(x) for _, n, x in unread) / sum(n for _, n, _ in unread)
                last = evaluate(
                    model, dev, task=task, cfg=cfg, epoch=step / per_epoch, step=step, train_loss=train_loss
                )
                unread, checked = [], 0
                if best is None or last.score > best.score or math.isnan(best.score):
                    best = last
                eval_seconds += last.seconds
                observer.on_evaluation(last)
                started = time.perf_counter()
            if step == total:
                break
    assert last is not None and best is not None
    return Outcome(last, best, total, train_seconds, eval_seconds, examples, tokens, peak_memory_bytes(device))


def _endless(train: Tokens, cfg: TrainConfig, seed: int) -> Iterator[Batch]:
    epoch = 0
    while True:
        order = epoch_order(len(train), stream(seed, "order"), epoch, cfg.shuffle)
        yield from batches(train, order, cfg.batch_size, cfg.padding_side)
        epoch += 1


def _refuse_non_finite(losses: list[tuple[int, int, Tensor]]) -> None:
    for step, _, loss in losses:
        if not math.isfinite(float(loss)):
            raise TrainingFailed(f"the training loss is {float(loss)} at step {step}")


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
    dev: Mapping[str, Tokens],
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
def predict(model: Classifier, split: Tokens, cfg: TrainConfig, device: torch.device) -> np.ndarray:
    """Return the logits `(rows, outputs)` of a split in fp32, in its own order; batches are of similar lengths."""
    order = np.argsort(split.lengths, kind="stable")
    rows, logits = [], []
    with autocast(pick_precision(cfg, device), device):
        for batch in batches(split, order, cfg.eval_batch_size, cfg.padding_side):
            batch = batch.to(device)
            logits.append(model(batch.input_ids, batch.token_type_ids, batch.layout))
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
