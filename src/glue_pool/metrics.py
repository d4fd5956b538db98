"""GLUE's metrics on plain arrays, as fractions: an accuracy of 0.9, not 90."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def compute(metrics: Sequence[str], labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """Compute the metrics named.

    labels: `(rows,)` class ids or scores. logits: `(rows, classes)`, or `(rows, 1)` or `(rows,)`
    for regression. A non-finite logit makes every metric NaN, and a correlation with a constant
    is NaN; CoLA's Matthews correlation of one-class predictions is 0, which `collapsed` tells.
    """
    if len(labels) != len(logits):
        raise ValueError(f"{len(labels)} labels for {len(logits)} rows of logits")
    if not np.isfinite(logits).all():
        return dict.fromkeys(metrics, float("nan"))
    predictions = _predictions(logits)
    return {name: METRICS[name](labels, predictions) for name in metrics}


def collapsed(logits: np.ndarray) -> bool:
    """Whether every row got the same class, or the same score to fp32's precision.

    One row never counts as collapsed, nor do NaN outputs.
    """
    if len(logits) < 2 or not np.isfinite(logits).all():
        return False
    predictions = _predictions(logits)
    if predictions.dtype.kind != "f":
        return bool((predictions == predictions[0]).all())
    scale = max(1.0, float(np.abs(predictions).max()))
    return bool(np.ptp(predictions) <= 8 * np.finfo(np.float32).eps * scale)


def _predictions(logits: np.ndarray) -> np.ndarray:
    classes = logits.ndim == 2 and logits.shape[1] > 1
    return np.asarray(logits.argmax(axis=1) if classes else logits.reshape(-1))


# Importing scikit-learn takes 1.0 s and scipy.stats 0.6 s: on use, so accuracy waits for neither.


def _accuracy(labels: np.ndarray, predictions: np.ndarray) -> float:
    return float((predictions == labels).mean())


def _f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predictions, pos_label=1, zero_division=0.0))


def _acc_and_f1(labels: np.ndarray, predictions: np.ndarray) -> float:
    return (_accuracy(labels, predictions) + _f1(labels, predictions)) / 2


def _matthews_correlation(labels: np.ndarray, predictions: np.ndarray) -> float:
    from sklearn.metrics import matthews_corrcoef

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of one class only: `collapsed` says it
        return float(matthews_corrcoef(labels, predictions))


def _pearson(labels: np.ndarray, predictions: np.ndarray) -> float:
    from scipy.stats import pearsonr

    return _correlation(pearsonr, labels, predictions)


def _spearmanr(labels: np.ndarray, predictions: np.ndarray) -> float:
    from scipy.stats import spearmanr

    return _correlation(spearmanr, labels, predictions)


def _corr(labels: np.ndarray, predictions: np.ndarray) -> float:
    return (_pearson(labels, predictions) + _spearmanr(labels, predictions)) / 2


def _correlation(correlate: Callable[..., Any], labels: np.ndarray, predictions: np.ndarray) -> float:
    if len(labels) < 2:
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a constant: the NaN says it
        return float(correlate(labels.astype(float), predictions.astype(float)).statistic)


METRICS = {
    "accuracy": _accuracy,
    "f1": _f1,
    "acc_and_f1": _acc_and_f1,
    "matthews_correlation": _matthews_correlation,
    "pearson": _pearson,
    "spearmanr": _spearmanr,
    "corr": _corr,
}
