"""The metrics, each as its library has it.

Arguments are `Metric.plain`'s: labels, predictions and which class is the positive one.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

# Importing scikit-learn takes 1.0 s and scipy.stats 0.6 s: on use, so accuracy waits for neither.


def accuracy(labels: np.ndarray, predictions: np.ndarray, positive: int = 1) -> float:
    """The share of rows with the right class, or with exactly the right label set."""
    return float(all_right(predictions == labels, labels).mean())


def balanced_accuracy(labels: np.ndarray, predictions: np.ndarray, positive: int = 1) -> float:
    """The mean recall of the classes that are in the labels."""
    from sklearn.metrics import balanced_accuracy_score

    return float(_quietly(balanced_accuracy_score, labels, predictions))


def f1(labels: np.ndarray, predictions: np.ndarray, positive: int = 1) -> float:
    """The positive class's F1; 0 where it is neither in labels nor predictions."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels, predictions, pos_label=positive, zero_division=0.0))


def f1_macro(labels: np.ndarray, predictions: np.ndarray, positive: int = 1) -> float:
    """The mean F1 of the classes in labels or predictions; of label sets of every label, 0 for one in neither."""
    from sklearn.metrics import f1_score

    if labels.ndim == 2:  # one by one: scikit-learn takes a single column for two classes
        return float(np.mean([f1(true, predicted) for true, predicted in zip(labels.T, predictions.T, strict=True)]))
    return float(_quietly(f1_score, labels, predictions, average="macro", zero_division=0.0))


def f1_micro(labels: np.ndarray, predictions: np.ndarray, positive: int = 1) -> float:
    """The F1 of all decisions together: of classes the accuracy."""
    return f1(labels.ravel(), predictions.ravel()) if labels.ndim == 2 else accuracy(labels, predictions)


def acc_and_f1(labels: np.ndarray, predictions: np.ndarray, positive: int = 1) -> float:
    """The mean of accuracy and F1, GLUE's score of MRPC and QQP."""
    return (accuracy(labels, predictions) + f1(labels, predictions, positive)) / 2


def acc_and_f1_macro(labels: np.ndarray, predictions: np.ndarray, positive: int = 1) -> float:
    """The mean of accuracy and macro F1, SuperGLUE's score of CB."""
    return (accuracy(labels, predictions) + f1_macro(labels, predictions)) / 2


def matthews_correlation(labels: np.ndarray, predictions: np.ndarray, positive: int = 1) -> float:
    """Of any number of classes; 0 where labels or predictions are of one only, which `collapsed` says."""
    from sklearn.metrics import matthews_corrcoef

    return float(_quietly(matthews_corrcoef, labels, predictions))


def roc_auc(labels: np.ndarray, predictions: np.ndarray, positive: int = 1) -> float:
    """The area under the ROC curve: of two classes the positive one's, else the mean over classes or labels."""
    from sklearn.metrics import roc_auc_score

    return _mean(roc_auc_score, labels, predictions, positive)


def average_precision(labels: np.ndarray, predictions: np.ndarray, positive: int = 1) -> float:
    """The mean precision at the recalls reached: of two classes the positive one's, else the mean as `roc_auc`'s."""
    from sklearn.metrics import average_precision_score

    return _mean(average_precision_score, labels, predictions, positive)


def log_loss(labels: np.ndarray, predictions: np.ndarray, positive: int = 1) -> float:
    """The cross-entropy of the true class, or of a label's presence; at most 36 a row, where probabilities are cut."""
    from sklearn import metrics

    if labels.ndim == 2:
        return float(metrics.log_loss(labels.ravel(), predictions.ravel(), labels=[0, 1]))
    return float(metrics.log_loss(labels, predictions, labels=range(predictions.shape[1])))


def mean_squared_error(labels: np.ndarray, predictions: np.ndarray, positive: int = 1) -> float:
    """The mean squared difference of the scores."""
    from sklearn import metrics

    return float(metrics.mean_squared_error(labels.astype(float), predictions.astype(float)))


def pearson(labels: np.ndarray, predictions: np.ndarray, positive: int = 1) -> float:
    """Pearson's correlation; NaN with a constant."""
    from scipy import stats

    return _correlation(stats.pearsonr, labels, predictions)


def spearmanr(labels: np.ndarray, predictions: np.ndarray, positive: int = 1) -> float:
    """Spearman's correlation of ranks, ties sharing their mean rank; NaN with a constant."""
    from scipy import stats

    return _correlation(stats.spearmanr, labels, predictions)


def corr(labels: np.ndarray, predictions: np.ndarray, positive: int = 1) -> float:
    """The mean of both correlations, GLUE's score of STS-B."""
    return (pearson(labels, predictions) + spearmanr(labels, predictions)) / 2


def all_right(right: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return whether rows are right, `(…, rows)`, by their class or by every label of their set."""
    return np.asarray(right.all(axis=-1)) if labels.ndim == 2 else right


def curves(labels: np.ndarray, probabilities: np.ndarray, positive: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield what a curve is drawn of: which rows `(rows,)` have a class or label, and its probabilities `(…, rows)`.

    Every label; every class, against the rest; of two classes the positive one.
    """
    outputs = probabilities.shape[-1]
    for k in [positive] if labels.ndim == 1 and outputs == 2 else range(outputs):
        yield (labels == k if labels.ndim == 1 else labels[:, k] == 1), probabilities[..., k]


def _mean(of: Callable[..., Any], labels: np.ndarray, probabilities: np.ndarray, positive: int) -> float:
    """Return the mean over curves that have rows with and without; NaN where there is none."""
    values = [of(true, scores) for true, scores in curves(labels, probabilities, positive) if 0 < true.mean() < 1]
    return float(np.mean(values)) if values else math.nan


def _correlation(correlate: Callable[..., Any], labels: np.ndarray, predictions: np.ndarray) -> float:
    if len(labels) < 2:
        return math.nan
    return float(_quietly(correlate, labels.astype(float), predictions.astype(float)).statistic)


def _quietly(metric: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of one class, of a constant: the value says it
        return metric(*arguments, **keywords)
