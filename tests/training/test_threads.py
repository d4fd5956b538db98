"""A training's numbers on one thread and on several, bit for bit, and how many threads a batch gets."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from _pytest.mark import ParameterSet
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Compose, choices, some
from glue_pool import threads
from small_training import SMALL, train


def long(*options: str) -> list[ParameterSet]:
    return [pytest.param(option, marks=pytest.mark.long) for option in options]


def numbers(composed: Compose, number: int, *overrides: str) -> list[np.ndarray]:
    """What a training on so many threads leaves: its parameters and its logits."""
    threads.use(number)
    try:
        model, outcome = train(composed("task=rte", *SMALL, *overrides), rows=101)
    finally:
        threads.use(threads.OWN)
    return [p.detach().numpy() for p in model.parameters()] + list(outcome.last.logits.values())


def check(composed: Compose, *overrides: str) -> None:
    alone = numbers(composed, 1, *overrides)
    for number in (2, 4):
        for one, other in zip(alone, numbers(composed, number, *overrides), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "how", ["train.precision=bf16", "train.batching=padded", *long("train.precision=fp32", "train.accumulate=2")]
)
def test_a_training_has_the_same_numbers_on_any_number_of_threads(composed: Compose, how: str) -> None:
    check(composed, "pooling=maxpool", "pooling.k=2", "train.epochs=1", how)


@pytest.mark.long
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("pooling", choices("pooling"))
def test_every_pooler_does(composed: Compose, pooling: str, precision: str) -> None:
    check(
        composed, f"pooling={pooling}", "encoder.num_hidden_layers=3", "train.epochs=1", f"train.precision={precision}"
    )


@pytest.mark.long
@pytest.mark.parametrize("choice", some())
def test_every_recipe_and_edit_does(composed: Compose, choice: str) -> None:
    check(composed, choice, "train.epochs=1")


class Machine:
    """A machine as a crew sees it: cores that are free, and what a batch costs on so many threads."""

    def __init__(self, most: int, speed: Callable[[int], float], free: float) -> None:
        self.crew, self.speed, self.free = threads.Crew(most), speed, free

    def runs(self, batches: int, kind: str = "step") -> list[int]:
        """Let the crew compute some batches; return the number of threads that each had."""
        had = []
        for _ in range(batches):
            had.append(self.crew.threads(kind))
            self.crew.learn(self.speed(had[-1]), min(had[-1], self.free))
        return had


def quiet(number: int) -> float:
    return 100 * math.pow(number, 0.7)


def beside_a_busy_process(number: int) -> float:
    return 100 / number


@given(most=st.integers(1, 16))
def test_a_quiet_machine_gives_all_threads_to_nearly_all_batches(most: int) -> None:
    machine = Machine(most, quiet, free=16)
    had = machine.runs(400)
    assert had[:60].count(most) == 60
    assert had.count(most) >= 390


@given(most=st.integers(2, 16))
@settings(max_examples=10)
def test_a_busy_one_gives_one_after_some_batches_and_all_again_when_it_is_quiet(most: int) -> None:
    machine = Machine(most, beside_a_busy_process, free=1)
    had = machine.runs(400)
    assert had[40:].count(1) >= 340
    machine.speed, machine.free = quiet, 16
    had = machine.runs(400)
    assert had[300:].count(most) >= 90


def test_another_kind_of_batch_is_no_measure_of_the_one_before() -> None:
    machine = Machine(2, quiet, free=2)
    machine.runs(10)
    machine.speed = lambda number: 100 * quiet(number)
    assert machine.runs(10, "pass") == [2] * 10
    machine.speed = quiet
    assert machine.runs(10) == [2] * 10


def test_a_batch_gets_its_threads_and_what_follows_those_of_before() -> None:
    threads.use(3)
    try:
        for _ in itertools.repeat(None, 20):
            with threads.computing("step", 100):
                assert 1 <= torch.get_num_threads() <= 3
            assert torch.get_num_threads() == 3
        with pytest.raises(ZeroDivisionError), threads.computing("step", 100):
            _ = 1 / 0
        assert torch.get_num_threads() == 3
    finally:
        threads.use(threads.OWN)
