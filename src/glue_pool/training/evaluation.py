"""What a model says of splits: logits, loss and metrics, without dropout."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from glue_pool import metrics
from glue_pool.data.tokens import Split
from glue_pool.hardware import Hardware
from glue_pool.metrics import MULTI, REGRESSION, ProblemType
from glue_pool.models.classifier import Classifier, predict
from glue_pool.schema import TrainConfig
from glue_pool.tasks import TaskConfig


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


def task_loss(logits: Tensor, labels: Tensor, *, problem_type: ProblemType) -> Tensor:
    """Cross-entropy over classes, binary cross-entropy over labels or squared error of scores: a mean over the batch.

    logits: `(batch, outputs)`; labels: `(batch,)`, of a multi-label task `(batch, labels)` of 0 and 1, whose loss is
    the mean over labels, too.
    """
    if problem_type == REGRESSION:
        return F.mse_loss(logits[:, 0], labels)
    if problem_type == MULTI:
        return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
    return F.cross_entropy(logits, labels)


def evaluate(
    model: Classifier,
    dev: Mapping[str, Split],
    *,
    task: TaskConfig,
    cfg: TrainConfig,
    hardware: Hardware,
    epoch: float,
    step: int,
    train_loss: float,
    between: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Evaluate every dev split, without dropout, and leave the model in training mode.

    between: called after each batch; it may raise.
    """
    started = time.perf_counter()
    model.eval()
    logits: dict[str, np.ndarray] = {}
    loss, scores = {}, {}
    for name, split in dev.items():
        logits[name] = predict(model, split, hardware, cfg.eval_batch_size, cfg.padding_side, between)
        gathered = torch.from_numpy(logits[name]), torch.from_numpy(split.labels)
        unit = model.scale.deviation**2  # of what training minimises where it standardised the scores
        loss[name] = float(task_loss(*gathered, problem_type=task.problem_type)) / unit
        scores[name] = metrics.compute(task.metrics, split.labels, logits[name], positive=task.positive_id)
    model.train()
    first = task.dev_splits[0]
    return Evaluation(
        epoch,
        step,
        train_loss,
        loss,
        scores,
        scores[first][task.primary_metric],
        metrics.collapsed(logits[first], multi_label=task.multi_label, unit=model.scale.deviation),
        time.perf_counter() - started,
        logits,
    )
