import math
import subprocess
import sys
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax

from glue_pool.metrics import METRICS, MULTI, REGRESSION, SINGLE, ProblemType, collapsed, compute
from glue_pool.tasks import TaskConfig
from metric_cases import CASES, draw_outputs

CORRELATIONS = ("pearson", "spearmanr", "corr")
LOG2 = math.log(2)


def one_hot(*predictions: int, classes: int = 2) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[list(predictions)]


def fit(kind: ProblemType, outputs: int = 2) -> list[str]:
    """Return the metrics that fit a task of this kind."""
    return [name for name, of, with_outputs in CASES if (of, with_outputs) == (kind, outputs)]


# Known answers


def test_known_answers_of_two_classes() -> None:
    # 2 true positives, 1 false positive, 1 false negative, 1 true negative
    labels = np.array([1, 1, 1, 0, 0])
    logits = LOG2 * np.array([[0, 1], [0, 2], [2, 0], [0, 1], [1, 0]])  # probabilities 2/3, 4/5, 1/5, 2/3, 1/3 of 1
    got = compute(fit(SINGLE), labels, logits)
    assert got == pytest.approx(
        {
            "accuracy": 3 / 5,
            "balanced_accuracy": (2 / 3 + 1 / 2) / 2,
            "f1": 2 / 3,
            "f1_macro": (2 / 3 + 1 / 2) / 2,
            "f1_micro": 3 / 5,
            "acc_and_f1": (3 / 5 + 2 / 3) / 2,
            "acc_and_f1_macro": (3 / 5 + (2 / 3 + 1 / 2) / 2) / 2,
            "matthews_correlation": (2 * 1 - 1 * 1) / (3 * 3 * 2 * 2) ** 0.5,
            "roc_auc": (1.5 + 2 + 0) / 6,  # pairs in order: a tie of 2/3 is half a pair
            "average_precision": (1 * 1 + 1 * 2 / 3 + 1 * 3 / 5) / 3,
            "log_loss": -math.log(2 / 3 * 4 / 5 * 1 / 5 * 1 / 3 * 2 / 3) / 5,
        }
    )


def test_the_positive_class_is_the_one_told() -> None:
    labels = np.array([1, 1, 1, 0, 0])
    logits = LOG2 * np.array([[0, 1], [0, 2], [2, 0], [0, 1], [1, 0]])
    of_one, of_zero = (compute(fit(SINGLE), labels, logits, positive=positive) for positive in (1, 0))
    assert of_zero["f1"] == pytest.approx(1 / 2)
    assert of_zero["acc_and_f1"] == pytest.approx((3 / 5 + 1 / 2) / 2)
    assert of_zero["average_precision"] == pytest.approx((1 / 2 + 2 / 4) / 2)  # of 0: 4/5, 2/3, 1/3, 1/3, 1/5
    same = set(of_one) - {"f1", "acc_and_f1", "average_precision"}
    assert {name: of_zero[name] for name in same} == pytest.approx({name: of_one[name] for name in same})
    swapped = compute(fit(SINGLE), 1 - labels, logits[:, ::-1], positive=0)
    assert swapped == pytest.approx(of_one)


def test_known_answers_of_six_classes() -> None:
    # classes 0 to 3 are in the labels, 4 in the predictions only, 5 in neither
    labels, predicted = [0, 0, 1, 1, 2, 3], [0, 1, 1, 1, 4, 3]
    logits = LOG2 * one_hot(*predicted, classes=6).astype(float)  # probabilities 2/7 and five times 1/7
    got = compute(fit(SINGLE, 4), np.array(labels), logits)
    f1_macro = (2 / 3 + 4 / 5 + 0 + 1 + 0) / 5
    # one against the rest: 1 - (false alarms + misses) / 2, each a share; of 4 and 5 there is none
    areas = [1 - (1 / 2 + 0) / 2, 1 - (0 + 1 / 4) / 2, 1 - (1 + 0) / 2, 1.0]
    precisions = [1 / 2 * 1 + 1 / 2 * 2 / 6, 2 / 3, 1 / 6, 1.0]
    correct, n = 4, 6
    by_chance = 2 * 1 + 2 * 3 + 1 * 0 + 1 * 1
    assert got == pytest.approx(
        {
            "accuracy": 4 / 6,
            "balanced_accuracy": (1 / 2 + 1 + 0 + 1) / 4,
            "f1_macro": f1_macro,
            "f1_micro": 4 / 6,
            "acc_and_f1_macro": (4 / 6 + f1_macro) / 2,
            "matthews_correlation": (correct * n - by_chance) / ((36 - 10) * (36 - 12)) ** 0.5,
            "roc_auc": sum(areas) / 4,
            "average_precision": sum(precisions) / 4,
            "log_loss": -(4 * math.log(2 / 7) + 2 * math.log(1 / 7)) / 6,
        }
    )


def test_known_answers_of_label_sets() -> None:
    labels = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]])
    logits = LOG2 * np.array([[1, -1, -1], [-1, 1, -1], [-2, -1, -1], [1, -1, -1]])
    got = compute(fit(MULTI, 3), labels, logits)
    # label by label: 1 hit of 2 found and 2 there, 1 of 1 and 2, and a label that nobody has or finds
    assert got == pytest.approx(
        {
            "accuracy": 2 / 4,
            "f1_macro": (2 / 4 + 2 / 3 + 0) / 3,
            "f1_micro": 2 * 2 / (3 + 4),
            "roc_auc": ((0.5 + 1 + 0 + 1) / 4 + (1 + 1 + 0.5 + 0.5) / 4) / 2,
            "average_precision": ((1 / 2 + 2 / 3) / 2 + (1 + 2 / 4) / 2) / 2,
            "log_loss": -(8 * math.log(2 / 3) + math.log(4 / 5) + 3 * math.log(1 / 3)) / 12,
        }
    )


def test_one_label_is_a_set_too() -> None:
    got = compute(fit(MULTI, 1), np.array([[1], [0], [0], [0]]), np.array([[1.0], [1.0], [-1.0], [-1.0]]))
    assert (got["accuracy"], got["f1_macro"], got["f1_micro"]) == pytest.approx((3 / 4, 2 / 3, 2 / 3))
    assert (got["roc_auc"], got["average_precision"]) == pytest.approx((2.5 / 3, 1 / 2))


def test_empty_sets_have_an_f1_of_0() -> None:
    labels, logits = np.zeros((2, 3), np.int64), np.full((2, 3), -1.0)
    assert compute(["accuracy", "f1_macro", "f1_micro"], labels, logits) == {
        "accuracy": 1.0,
        "f1_macro": 0.0,
        "f1_micro": 0.0,
    }


def test_known_answers_of_regression() -> None:
    labels = np.array([0, 1, 2], dtype=np.float32)
    got = compute(fit(REGRESSION, 1), labels, np.array([[0.0], [1.0], [8.0]], dtype=np.float32))
    pearson = 8 / (2 * 38) ** 0.5
    want = {"pearson": pearson, "spearmanr": 1.0, "corr": (pearson + 1) / 2, "mean_squared_error": 36 / 3}
    assert got == pytest.approx(want, abs=1e-12)


def test_regression_reads_logits_with_and_without_the_last_axis() -> None:
    labels, logits = np.array([0.5, 3.0, 2.0, 5.0]), np.array([1.0, 2.0, 4.0, 3.0])
    assert compute(fit(REGRESSION, 1), labels, logits) == compute(fit(REGRESSION, 1), labels, logits[:, None])


def test_f1_of_a_class_that_is_nowhere_is_0() -> None:
    assert compute(["f1"], np.array([0, 0, 1]), one_hot(0, 0, 0)) == {"f1": 0.0}
    assert compute(["f1"], np.array([0, 0]), one_hot(0, 0)) == {"f1": 0.0}
    assert compute(["f1"], np.array([1, 1]), one_hot(1, 1)) == {"f1": 1.0}


def test_a_sure_mistake_costs_what_scikit_learn_makes_of_it() -> None:
    got = compute(["log_loss"], np.array([0, 1]), np.array([[0.0, 900.0], [0.0, 900.0]]))["log_loss"]
    assert got == pytest.approx(-math.log(np.finfo(float).eps) / 2)
    sets = compute(["log_loss"], np.array([[0, 1], [1, 1]]), np.array([[900.0, 900.0], [900.0, -900.0]]))["log_loss"]
    assert sets == pytest.approx(-math.log(np.finfo(float).eps) / 2)


# scikit-learn's and scipy's own


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(2, 5), st.booleans(), st.integers(0, 1), st.integers(0, 2**32 - 1))
def test_classes_agree_with_scikit_learn(rows: int, outputs: int, ties: bool, positive: int, seed: int) -> None:
    labels, logits = draw_outputs(SINGLE, outputs, 1, rows, np.random.default_rng(seed), ties=ties)
    got = compute(fit(SINGLE, 2 if outputs == 2 else 4), labels, logits[0], positive=positive)
    predictions, probabilities = logits[0].argmax(axis=1), softmax(logits[0].astype(float), axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        f1_macro = sklearn.metrics.f1_score(labels, predictions, average="macro", zero_division=0.0)
        want = {
            "accuracy": (accuracy := sklearn.metrics.accuracy_score(labels, predictions)),
            "balanced_accuracy": sklearn.metrics.balanced_accuracy_score(labels, predictions),
            "f1_macro": f1_macro,
            "f1_micro": sklearn.metrics.f1_score(labels, predictions, average="micro"),
            "acc_and_f1_macro": (accuracy + f1_macro) / 2,
            "matthews_correlation": sklearn.metrics.matthews_corrcoef(labels, predictions),
            "log_loss": sklearn.metrics.log_loss(labels, probabilities, labels=range(outputs)),
        }
        if outputs == 2:
            f1 = sklearn.metrics.f1_score(labels, predictions, pos_label=positive, zero_division=0.0)
            want |= {"f1": f1, "acc_and_f1": (accuracy + f1) / 2}
        there = np.unique(labels)
        if len(there) == outputs > 2:
            want["roc_auc"] = sklearn.metrics.roc_auc_score(labels, probabilities, multi_class="ovr")
            want["average_precision"] = sklearn.metrics.average_precision_score(labels, probabilities)
        elif len(there) == outputs == 2:
            of_positive = labels == positive, probabilities[:, positive]
            want["roc_auc"] = sklearn.metrics.roc_auc_score(*of_positive)
            want["average_precision"] = sklearn.metrics.average_precision_score(*of_positive)
        elif len(there) == 1:
            want |= {"roc_auc": math.nan, "average_precision": math.nan}
    assert {name: got[name] for name in want} == pytest.approx(want, nan_ok=True)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(2, 5), st.booleans(), st.integers(0, 2**32 - 1))
def test_label_sets_agree_with_scikit_learn(rows: int, outputs: int, ties: bool, seed: int) -> None:
    labels, logits = draw_outputs(MULTI, outputs, 1, rows, np.random.default_rng(seed), ties=ties)
    got = compute(fit(MULTI, 3), labels, logits[0])
    predictions, probabilities = (logits[0] > 0).astype(int), expit(logits[0].astype(float))
    losses = [sklearn.metrics.log_loss(*of, labels=[0, 1]) for of in zip(labels.T, probabilities.T, strict=True)]
    want = {
        "accuracy": sklearn.metrics.accuracy_score(labels, predictions),
        "f1_macro": sklearn.metrics.f1_score(labels, predictions, average="macro", zero_division=0.0),
        "f1_micro": sklearn.metrics.f1_score(labels, predictions, average="micro", zero_division=0.0),
        "log_loss": np.mean(losses),
    }
    both = (labels.mean(axis=0) > 0) & (labels.mean(axis=0) < 1)
    if both.sum() > 1:
        of_both = labels[:, both], probabilities[:, both]
        want["roc_auc"] = sklearn.metrics.roc_auc_score(*of_both)
        want["average_precision"] = sklearn.metrics.average_precision_score(*of_both)
    elif not both.any():
        want |= {"roc_auc": math.nan, "average_precision": math.nan}
    assert {name: got[name] for name in want} == pytest.approx(want, nan_ok=True)


@given(st.integers(0, 2**32 - 1), st.integers(3, 60))
def test_scores_agree_with_numpy_and_scipy(seed: int, rows: int) -> None:
    draw = np.random.default_rng(seed)
    labels, logits = draw.uniform(0, 5, rows), draw.normal(2, 1, (rows, 1))
    got = compute(fit(REGRESSION, 1), labels, logits)
    assert got["pearson"] == pytest.approx(np.corrcoef(labels, logits[:, 0])[0, 1])
    ranks = [scipy.stats.rankdata(x) for x in (labels, logits[:, 0])]
    assert got["spearmanr"] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert got["corr"] == pytest.approx((got["pearson"] + got["spearmanr"]) / 2)
    assert got["mean_squared_error"] == pytest.approx(np.mean((labels - logits[:, 0]) ** 2))


# What has no value


def test_a_class_that_all_rows_have_or_none_is_left_out_of_the_mean() -> None:
    logits = np.array([[0.3, 0.1, 2.0], [0.2, 0.9, 1.0], [0.7, 0.5, 0.0]])
    curves = ["roc_auc", "average_precision"]
    only_first = compute(curves, np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1]]), logits)
    assert only_first == pytest.approx(compute(curves, np.array([[1], [0], [1]]), logits[:, :1]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for labels in (np.array([[0, 0, 1]] * 3), np.array([2, 2, 2])):
            assert np.isnan(list(compute(curves, labels, logits).values())).all()
        assert np.isnan(list(compute(curves, np.array([1, 1, 1]), logits[:, :2]).values())).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_non_finite_logit_makes_every_metric_nan(bad: float) -> None:
    logits = one_hot(0, 1, 1)
    logits[1, 0] = bad
    for labels, names in (
        (np.array([0, 1, 1]), fit(SINGLE)),
        (np.array([[0, 1], [1, 1], [0, 0]]), fit(MULTI, 3)),
        (np.array([0, 1, 5]), fit(REGRESSION, 1)),
    ):
        got = compute(names, labels, logits[:, :1] if names == fit(REGRESSION, 1) else logits)
        assert list(got) == names
        assert np.isnan(list(got.values())).all()
    assert not collapsed(np.full((3, 2), bad))


def test_constant_scores_correlate_as_nan_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for labels in (np.array([0.0, 2.5, 5.0]), np.array([2.0])):
            got = compute(CORRELATIONS, labels, np.full((len(labels), 1), 2.5, np.float32))
            assert np.isnan(list(got.values())).all()


def test_one_class_predictions_have_no_matthews_correlation_and_count_as_collapsed() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for labels in (np.array([1, 0, 1]), np.array([1, 1, 1])):
            got = compute(["matthews_correlation"], labels, one_hot(1, 1, 1))
            assert got == {"matthews_correlation": 0.0}
    assert collapsed(one_hot(1, 1, 1))
    assert collapsed(one_hot(2, 2, classes=3))


def test_different_predictions_have_not_collapsed() -> None:
    assert not collapsed(one_hot(1, 1, 0))
    assert not collapsed(np.array([[2.5], [2.5], [2.501]], dtype=np.float32))


def test_label_sets_collapse_to_one_set_whatever_their_probabilities() -> None:
    same = np.array([[0.5, -1.0, -0.1], [9.0, -2.0, -7.0]])
    assert collapsed(same, multi_label=True)
    assert collapsed(-np.abs(same), multi_label=True)  # to the empty set
    assert not collapsed(np.array([[0.5, -1.0, -0.1], [9.0, -2.0, 0.1]]), multi_label=True)
    assert not collapsed(same[:1], multi_label=True)
    assert not collapsed(np.array([[0.5], [np.nan]]), multi_label=True)
    assert collapsed(np.array([[0.5], [0.7]]), multi_label=True)
    assert not collapsed(np.array([[0.5], [0.7]]))  # scores


def test_scores_that_differ_by_rounding_only_have_collapsed() -> None:
    score = np.float32(2.5)
    assert collapsed(np.array([score, np.nextafter(score, np.float32(9)), score])[:, None])
    assert collapsed(np.array([0.0, 1e-9, -1e-9], dtype=np.float32))


def test_one_row_is_never_collapsed() -> None:
    assert not collapsed(one_hot(1))
    assert not collapsed(np.array([[2.5]]))


def test_rows_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="3 labels for 2 rows"):
        compute(["accuracy"], np.array([0, 1, 1]), one_hot(0, 1))


def test_every_metric_of_every_task_is_known(
    load_task: Callable[[str], TaskConfig],
) -> None:
    for name in ("cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli"):
        task = load_task(name)
        assert set(task.metrics) <= set(METRICS)
        assert task.primary_metric in task.metrics


# The registry


def test_every_metric_has_the_unit_and_the_direction_that_its_name_promises() -> None:
    lower = {name for name in METRICS if "loss" in name or "error" in name}
    assert {name for name, metric in METRICS.items() if not metric.higher_is_better} == lower
    assert {name: METRICS[name].unit for name in lower} == {"log_loss": "nats", "mean_squared_error": "squared score"}
    for name, metric in METRICS.items():
        assert metric.name == name
        assert metric.better == (-1 if name in lower else 1)
        assert metric.scale == (1 if name in lower else 100)
        assert metric.two_classes <= (SINGLE in metric.fits)
        assert (metric.takes == "scores") == (metric.fits == {REGRESSION})


@pytest.mark.parametrize(("name", "kind", "outputs"), CASES)
def test_perfect_predictions_are_the_best(name: str, kind: ProblemType, outputs: int) -> None:
    labels, logits = draw_outputs(kind, outputs, 1, 60, np.random.default_rng(0))
    perfect = 40.0 * (np.eye(outputs)[labels] if kind == SINGLE else labels - 0.5) if kind != REGRESSION else labels
    best, other = (compute([name], labels, of)[name] for of in (perfect, logits[0]))
    assert best == pytest.approx(1.0 if METRICS[name].higher_is_better else 0.0, abs=1e-6)
    assert METRICS[name].better * (best - other) > 0


def test_the_module_and_accuracy_wait_for_no_slow_import() -> None:
    code = (
        "import sys, numpy as np; before = set(sys.modules); import glue_pool.metrics as metrics;"
        "metrics.compute(['accuracy'], np.array([0, 1]), np.eye(2));"
        "new = {m.split('.')[0] for m in set(sys.modules) - before};"
        "print(*sorted(new - set(sys.stdlib_module_names) - {'numpy'}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "glue_pool\n"
