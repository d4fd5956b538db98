"""A training's numbers on one thread and on several, bit for bit, and how many threads a batch gets."""

import itertools
import math
import os
import time
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
        composed, f"pooling={pooling}", "encoder.num_hidden_layers=4", "train.epochs=1", f"train.precision={precision}"
    )


@pytest.mark.long
@pytest.mark.parametrize("choice", some())
def test_every_recipe_and_edit_does(composed: Compose, choice: str) -> None:
    check(composed, choice, "train.epochs=1")


class Machine:
    """A machine as a crew sees it: its cores, those that other work keeps busy, and what a batch costs."""

    def __init__(self, most: int, speed: Callable[[int], float], others: int = 0, cores: int = 16) -> None:
        self.speed, self.cores, self.others, self.number = speed, cores, others, 1
        self.crew = threads.Crew(most, self.idle)

    def idle(self) -> float:
        return max(self.cores - self.others - self.number, 0.0)

    def runs(self, batches: int, kind: str = "step") -> list[int]:
        """Let the crew compute some batches; return the number of threads that each had."""
        had = []
        for _ in range(batches):
            self.number = self.crew.threads(kind)
            had.append(self.number)
            self.crew.learn(self.speed(self.number), min(self.number, max(self.cores - self.others, 1)))
        return had


def quiet(number: int) -> float:
    return 100 * math.pow(number, 0.7)


def crowded(number: int) -> float:
    return 100.0 if number == 1 else 2.0


@given(most=st.integers(1, 16))
def test_a_quiet_machine_gives_all_threads_to_nearly_all_batches(most: int) -> None:
    machine = Machine(most, quiet, cores=17)
    had = machine.runs(400)
    assert had[:60].count(most) == 60
    assert had.count(most) >= 390


@given(most=st.integers(2, 16))
@settings(max_examples=10)
def test_a_crowded_one_gives_one_from_the_start_and_all_when_it_is_quiet(most: int) -> None:
    machine = Machine(most, crowded, others=16)
    assert machine.runs(400) == [1] * 400
    machine.speed, machine.others, machine.cores = quiet, 0, 17
    had = machine.runs(400)
    assert had[300:].count(most) >= 90


@given(most=st.integers(2, 16))
@settings(max_examples=10)
def test_one_that_becomes_crowded_gives_one_after_a_batch_for_each_smaller_number(most: int) -> None:
    machine = Machine(most, quiet, cores=17)
    machine.runs(100)
    machine.speed, machine.others = crowded, 17
    had = machine.runs(400)
    assert had[6:] == [1] * 394


def test_where_the_system_does_not_say_what_is_idle_more_threads_are_tried_now_and_then() -> None:
    crew = threads.Crew(2, lambda: None)
    assert crew.threads("step") == 2
    for _ in range(300):
        number = crew.threads("step")
        crew.learn(crowded(number), 1)
    assert crew.threads("step") == 1
    had = []
    for _ in range(200):
        had.append(crew.threads("step"))
        crew.learn(quiet(had[-1]), had[-1])
    assert had[100:].count(2) >= 90


def test_idle_cores_are_those_of_this_process_and_no_more() -> None:
    idle = threads.Idle()
    time.sleep(2 * threads.TICKS)
    free = idle()
    assert free is None or 0 <= free <= len(os.sched_getaffinity(0)) + 0.5
    assert idle() is None  # asked again at once


def test_another_kind_of_batch_is_no_measure_of_the_one_before() -> None:
    machine = Machine(2, quiet)
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
