"""The metrics: what each takes, its unit, which way is better, and how it is computed, once and on resampled examples.

Values are fractions: an accuracy of 0.9, not 90; a report shows those whose unit is points times 100. One entry of
`METRICS` is all that training, the best epoch, the verdict, the report and W&B know of a metric.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from glue_pool.metrics import plain, weighted

ProblemType = Literal["single_label_classification", "multi_label_classification", "regression"]
SINGLE: ProblemType = "single_label_classification"
MULTI: ProblemType = "multi_label_classification"
REGRESSION: ProblemType = "regression"
POINTS = "points"


@dataclass(frozen=True)
class Metric:
    """A metric.

    plain: labels and predictions, and which class is the positive one, to a value.
    weighted: labels, the predictions of all runs, weights `(resamples, examples)` and the positive class to values
    `(resamples, runs)`: the plain metric on examples that are repeated as the weights say.

    Labels are `(rows,)` class ids or scores, or `(rows, labels)` of 0 and 1, a multi-label task's. Predictions are what
    the metric `takes`: classes `(rows,)` or label sets `(rows, labels)` of 0 and 1; scores `(rows,)`; probabilities
    `(rows, labels)`. For weighted ones, runs come before the rows.
    """

    name: str
    plain: Callable[[np.ndarray, np.ndarray, int], float]
    weighted: Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]
    takes: Literal["classes", "scores", "probabilities"] = "classes"
    fits: frozenset[ProblemType] = frozenset({SINGLE})
    two_classes: bool = False
    """Whether a single-label task needs exactly two labels for it."""
    of_positive: bool = False
    """Whether of two classes it is that of the positive one."""
    unit: str = POINTS
    """`points`: a fraction, shown times 100; else the name of a unit of its own, and no part of any average."""
    higher_is_better: bool = True
    known_as: str = ""

    @property
    def title(self) -> str:
        """What tables and figures call it."""
        return self.known_as or self.name.replace("_", " ")

    @property
    def scale(self) -> float:
        """What a value is multiplied by to be shown."""
        return 100.0 if self.unit == POINTS else 1.0

    @property
    def better(self) -> int:
        """1 where higher is better, -1 where lower is."""
        return 1 if self.higher_is_better else -1


def compute(metrics: Sequence[str], labels: np.ndarray, logits: np.ndarray, *, positive: int = 1) -> dict[str, float]:
    """Compute the metrics named.

    labels: `(rows,)` class ids or scores, or `(rows, labels)` of 0 and 1. logits: `(rows, outputs)`; for regression
    also `(rows,)`. positive: of two classes, the one that f1 and its like are of.

    A non-finite logit makes every metric NaN, and a correlation with a constant is NaN. `roc_auc` and
    `average_precision` leave out of their mean a class or label that all rows have, or none, and are NaN where none is
    left. CoLA's Matthews correlation of one-class predictions is 0, which `collapsed` tells.
    """
    if len(labels) != len(logits):
        raise ValueError(f"{len(labels)} labels for {len(logits)} rows of logits")
    if not np.isfinite(logits).all():
        return dict.fromkeys(metrics, float("nan"))
    kind = kind_of(labels, logits)
    found = [METRICS[name] for name in metrics]
    return {metric.name: metric.plain(labels, taken(metric, logits, kind), positive) for metric in found}


def kind_of(labels: np.ndarray, logits: np.ndarray) -> ProblemType:
    """Return the kind of task that labels `(rows,)` or `(rows, labels)` and logits `(…, outputs)` are of."""
    if labels.ndim == 2:
        return MULTI
    return SINGLE if logits.ndim > 1 and logits.shape[-1] > 1 else REGRESSION


def taken(metric: Metric, logits: np.ndarray, kind: ProblemType) -> np.ndarray:
    """Return what a metric takes of logits `(…, outputs)`: classes, label sets, scores or probabilities."""
    if kind == REGRESSION:
        return logits.reshape(-1) if logits.ndim < 2 else logits[..., 0]
    if metric.takes == "probabilities":
        return probabilities(logits, kind)
    return (logits > 0).astype(np.int8) if kind == MULTI else np.asarray(logits.argmax(axis=-1))


def probabilities(logits: np.ndarray, kind: ProblemType) -> np.ndarray:
    """Return the probability of each label, float64, of logits `(…, labels)`: a softmax, or each label's sigmoid."""
    return _sigmoid(logits) if kind == MULTI else _softmax(logits)


def collapsed(logits: np.ndarray, *, multi_label: bool = False, unit: float = 1.0) -> bool:
    """Whether every row got the same class or label set, or the same score to fp32's precision.

    One row never counts as collapsed, nor do NaN outputs. unit: what a score of 1 was in training.
    """
    if len(logits) < 2 or not np.isfinite(logits).all():
        return False
    if multi_label:
        return bool(((logits > 0) == (logits[0] > 0)).all())
    if logits.ndim == 2 and logits.shape[1] > 1:
        classes = logits.argmax(axis=1)
        return bool((classes == classes[0]).all())
    scores = logits.reshape(-1)
    scale = max(unit, float(np.abs(scores).max()))
    return bool(np.ptp(scores) <= 8 * np.finfo(np.float32).eps * scale)


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(float) - logits.max(axis=-1, keepdims=True)
    powers = np.exp(shifted)
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-np.logaddexp(0.0, -logits.astype(float))))


_SETS, _SCORES = frozenset({SINGLE, MULTI}), frozenset({REGRESSION})
_ENTRIES = (
    Metric("accuracy", plain.accuracy, weighted.accuracy, fits=_SETS),
    Metric("balanced_accuracy", plain.balanced_accuracy, weighted.balanced_accuracy),
    Metric("f1", plain.f1, weighted.f1, two_classes=True, of_positive=True, known_as="F1"),
    Metric("f1_macro", plain.f1_macro, weighted.f1_macro, fits=_SETS, known_as="macro F1"),
    Metric("f1_micro", plain.f1_micro, weighted.f1_micro, fits=_SETS, known_as="micro F1"),
    Metric(
        "acc_and_f1",
        plain.acc_and_f1,
        weighted.acc_and_f1,
        two_classes=True,
        of_positive=True,
        known_as="mean of accuracy and F1",
    ),
    Metric(
        "acc_and_f1_macro", plain.acc_and_f1_macro, weighted.acc_and_f1_macro, known_as="mean of accuracy and macro F1"
    ),
    Metric(
        "matthews_correlation",
        plain.matthews_correlation,
        weighted.matthews_correlation,
        known_as="Matthews correlation",
    ),
    Metric(
        "roc_auc",
        plain.roc_auc,
        weighted.roc_auc,
        "probabilities",
        _SETS,
        of_positive=True,
        known_as="area under the ROC curve",
    ),
    Metric(
        "average_precision",
        plain.average_precision,
        weighted.average_precision,
        "probabilities",
        _SETS,
        of_positive=True,
    ),
    Metric("log_loss", plain.log_loss, weighted.log_loss, "probabilities", _SETS, unit="nats", higher_is_better=False),
    Metric("pearson", plain.pearson, weighted.pearson, "scores", _SCORES, known_as="Pearson correlation"),
    Metric("spearmanr", plain.spearmanr, weighted.spearmanr, "scores", _SCORES, known_as="Spearman correlation"),
    Metric("corr", plain.corr, weighted.corr, "scores", _SCORES, known_as="mean of Pearson and Spearman"),
    Metric(
        "mean_squared_error",
        plain.mean_squared_error,
        weighted.mean_squared_error,
        "scores",
        _SCORES,
        unit="squared score",
        higher_is_better=False,
    ),
)
METRICS = {metric.name: metric for metric in _ENTRIES}
