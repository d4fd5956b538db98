"""The metrics, each as its library has it.

Arguments are `Metric.plain`'s: labels, predictions and which class is the positive one.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

# Importing scikit-learn takes 1.0 s and scipy.stats 0.6 s: on use, so accuracy waits for neither.


def accuracy(labels: np.ndarray, predictions: np.ndarray, positive: int = 1) -> float:
    return float((predictions == labels).mean())


def f1(labels: np.ndarray, predictions: np.ndarray, positive: int = 1) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predictions, pos_label=positive, zero_division=0.0))


def acc_and_f1(labels: np.ndarray, predictions: np.ndarray, positive: int = 1) -> float:
    return (accuracy(labels, predictions) + f1(labels, predictions, positive)) / 2


def matthews_correlation(labels: np.ndarray, predictions: np.ndarray, positive: int = 1) -> float:
    from sklearn.metrics import matthews_corrcoef

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of one class only: `collapsed` says it
        return float(matthews_corrcoef(labels, predictions))


def pearson(labels: np.ndarray, predictions: np.ndarray, positive: int = 1) -> float:
    from scipy import stats

    return _correlation(stats.pearsonr, labels, predictions)


def spearmanr(labels: np.ndarray, predictions: np.ndarray, positive: int = 1) -> float:
    from scipy import stats

    return _correlation(stats.spearmanr, labels, predictions)


def corr(labels: np.ndarray, predictions: np.ndarray, positive: int = 1) -> float:
    return (pearson(labels, predictions) + spearmanr(labels, predictions)) / 2


def mean_squared_error(labels: np.ndarray, predictions: np.ndarray, positive: int = 1) -> float:
    return float(((labels - predictions.astype(float)) ** 2).mean())


def log_loss(labels: np.ndarray, predictions: np.ndarray, positive: int = 1) -> float:
    """Mean negative log of the probability of what is true, over rows and, in a multi-label task, labels."""
    if labels.ndim == 2:
        true = np.where(labels == 1, predictions, 1 - predictions)
    else:
        true = predictions[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(true, np.finfo(float).eps, 1)).mean())


def _correlation(correlate: Callable[..., Any], labels: np.ndarray, predictions: np.ndarray) -> float:
    if len(labels) < 2:
        return float("nan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a constant: the NaN says it
        return float(correlate(labels.astype(float), predictions.astype(float)).statistic)
