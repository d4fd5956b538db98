import subprocess
import sys
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from glue_pool.metrics import METRICS, collapsed, compute
from glue_pool.schema import TaskConfig

CLASSIFICATION = ("accuracy", "f1", "acc_and_f1", "matthews_correlation")
REGRESSION = ("pearson", "spearmanr", "corr")


def one_hot(*predictions: int, classes: int = 2) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[list(predictions)]


def test_known_answers_of_classification() -> None:
    # 2 true positives, 1 false positive, 1 false negative, 1 true negative
    got = compute(CLASSIFICATION, np.array([1, 1, 1, 0, 0]), one_hot(1, 1, 0, 1, 0))
    assert got == pytest.approx(
        {
            "accuracy": 3 / 5,
            "f1": 2 / 3,
            "acc_and_f1": (3 / 5 + 2 / 3) / 2,
            "matthews_correlation": (2 * 1 - 1 * 1) / (3 * 3 * 2 * 2) ** 0.5,
        }
    )


def test_known_answers_of_regression() -> None:
    labels = np.array([0, 1, 2], dtype=np.float32)
    got = compute(REGRESSION, labels, np.array([[0.0], [1.0], [8.0]], dtype=np.float32))
    pearson = 8 / (2 * 38) ** 0.5
    assert got == pytest.approx({"pearson": pearson, "spearmanr": 1.0, "corr": (pearson + 1) / 2}, abs=1e-12)


def test_regression_reads_logits_with_and_without_the_last_axis() -> None:
    labels, logits = np.array([0.5, 3.0, 2.0, 5.0]), np.array([1.0, 2.0, 4.0, 3.0])
    assert compute(REGRESSION, labels, logits) == compute(REGRESSION, labels, logits[:, None])


def test_f1_is_that_of_class_1() -> None:
    assert compute(["f1"], np.array([0, 0, 1]), one_hot(0, 0, 0)) == {"f1": 0.0}
    assert compute(["f1"], np.array([1, 1]), one_hot(1, 1)) == {"f1": 1.0}


@given(st.data(), st.integers(1, 40))
def test_classification_agrees_with_scikit_learn(data: st.DataObject, rows: int) -> None:
    labels = data.draw(arrays(np.int64, rows, elements=st.integers(0, 1)))
    logits = data.draw(arrays(np.float32, (rows, 2), elements=st.floats(-9, 9, width=32)))
    predictions = (logits[:, 1] > logits[:, 0]).astype(int)
    got = compute(CLASSIFICATION, labels, logits)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        f1 = sklearn.metrics.f1_score(labels, predictions, zero_division=0.0)
        assert got["matthews_correlation"] == pytest.approx(sklearn.metrics.matthews_corrcoef(labels, predictions))
    assert got["accuracy"] == sklearn.metrics.accuracy_score(labels, predictions)
    assert got["f1"] == pytest.approx(f1)
    assert got["acc_and_f1"] == pytest.approx((got["accuracy"] + got["f1"]) / 2)


@given(st.integers(0, 2**32 - 1), st.integers(3, 60))
def test_correlations_agree_with_numpy_and_scipy(seed: int, rows: int) -> None:
    draw = np.random.default_rng(seed)
    labels, logits = draw.uniform(0, 5, rows), draw.normal(2, 1, (rows, 1))
    got = compute(REGRESSION, labels, logits)
    assert got["pearson"] == pytest.approx(np.corrcoef(labels, logits[:, 0])[0, 1])
    ranks = [scipy.stats.rankdata(x) for x in (labels, logits[:, 0])]
    assert got["spearmanr"] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert got["corr"] == pytest.approx((got["pearson"] + got["spearmanr"]) / 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_one_non_finite_logit_makes_every_metric_nan(bad: float) -> None:
    logits = one_hot(0, 1, 1)
    logits[1, 0] = bad
    got = compute(CLASSIFICATION, np.array([0, 1, 1]), logits)
    assert list(got) == list(CLASSIFICATION)
    assert np.isnan(list(got.values())).all()
    assert np.isnan(list(compute(REGRESSION, np.array([0, 1, 5]), logits[:, :1]).values())).all()
    assert not collapsed(np.full((3, 2), bad))


def test_constant_scores_correlate_as_nan_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for labels in (np.array([0.0, 2.5, 5.0]), np.array([2.0])):
            got = compute(REGRESSION, labels, np.full((len(labels), 1), 2.5, np.float32))
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


def test_accuracy_waits_for_no_slow_import() -> None:
    code = (
        "import sys, numpy as np; from glue_pool.metrics import compute;"
        "compute(['accuracy'], np.array([0, 1]), np.eye(2));"
        "sys.exit(any(m.split('.')[0] in ('sklearn', 'scipy') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
