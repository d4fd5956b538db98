"""Runs of two methods whose true difference is known, and how often what statistics say of them holds.

A run gets an example right where base + gain + seed effects + example effects > 0, all effects normal, as a probit
model has it; in a regression they add up to the score. So seeds are correlated through the examples, and two methods
through both.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

import numpy as np
from scipy.stats import norm

from glue_pool.stats import Difference


@dataclass(frozen=True)
class Shape:
    """Standard deviations of the effects; what is shared comes out the same in the same seed, or example, of both."""

    example_shared: float  # how hard an example is
    example_own: float  # what a method makes of it: all seeds of that method share it
    seed_shared: float
    seed_own: float
    noise_shared: float  # of a seed on an example
    noise_own: float
    base: float = 0.9
    gain: float = 0.0
    positive: float = 0.5  # share of class 1
    together: int = 1  # so many examples in a row belong together, and
    alike: float = 0.0  # this is the correlation of their example effects
    draw_shared: float = 0.0  # of a draw of the training rows
    draw_own: float = 0.0
    draw_noise: float = 0.0  # of a draw on an example, for one method
    in_all_draws: bool = False  # whether a seed's own effect is the same in all draws


SHAPES = {
    "seeds dominate": Shape(1.0, 0.0, 0.1, 0.35, 0.0, 0.6),
    "examples dominate": Shape(1.0, 1.2, 0.05, 0.03, 0.0, 0.4),
    "both matter": Shape(1.0, 0.5, 0.1, 0.15, 0.0, 0.6),
    "one method twice": Shape(1.0, 0.0, 0.1, 0.1, 0.0, 0.6),
    "nearly alike": Shape(1.5, 0.1, 0.2, 0.05, 0.6, 0.15),
}
OF_DRAWS = {
    "the draw matters": replace(SHAPES["both matter"], draw_shared=0.1, draw_own=0.15, draw_noise=0.3),
    "the draw does not matter": SHAPES["both matter"],
    "seeds are the same in all draws": replace(SHAPES["both matter"], draw_own=0.15, in_all_draws=True),
}
GAIN = 0.15
POSITIVE = {"accuracy": 0.5, "matthews_correlation": 0.69, "f1": 0.68, "acc_and_f1": 0.68}  # CoLA's and MRPC's


@dataclass(frozen=True)
class Runs:
    """Labels `(examples,)` and the predictions of two methods, `(seeds, examples)`, one draw's after the other's."""

    labels: np.ndarray
    baseline: np.ndarray
    method: np.ndarray


def draw_runs(shape: Shape, metric: str, seeds: int, examples: int, draw: np.random.Generator, draws: int = 1) -> Runs:
    """Draw new seeds and new examples, and so many draws of the training rows with so many seeds each."""
    if draws > 1:
        return _draw_draws(shape, seeds, examples, draw, draws)
    regression = metric not in POSITIVE
    labels = draw.normal(size=examples) if regression else (draw.random(examples) < shape.positive).astype(int)
    sign = 2 * labels - 1  # a seed leans to a class, too
    hard = _example_effects(shape.example_shared, shape, examples, draw)
    skill, lean = draw.normal(0, shape.seed_shared, (2, seeds, 1))
    noise = draw.normal(0, shape.noise_shared, (seeds, examples)) if shape.noise_shared else 0.0
    predictions = []
    for gain in (0.0, shape.gain):
        own_skill, own_lean = draw.normal(0, shape.seed_own, (2, seeds, 1))
        own = _example_effects(shape.example_own, shape, examples, draw)
        error = hard + own + noise + draw.normal(0, shape.noise_own, (seeds, examples))
        if regression:
            predictions.append((1 + gain + 0.5 * (skill + own_skill)) * labels + error)
        else:
            right = shape.base + gain + skill + own_skill + sign * (lean + own_lean) + error > 0
            predictions.append(np.where(right, labels, 1 - labels))
    return Runs(labels, *predictions)


def _example_effects(std: float, shape: Shape, examples: int, draw: np.random.Generator) -> np.ndarray:
    alone = draw.normal(0, std, examples)
    if shape.together == 1:
        return alone
    of_group = np.repeat(draw.normal(0, std, -(-examples // shape.together)), shape.together)[:examples]
    return np.asarray(np.sqrt(shape.alike) * of_group + np.sqrt(1 - shape.alike) * alone)


def _draw_draws(shape: Shape, seeds: int, examples: int, draw: np.random.Generator, draws: int) -> Runs:
    def effects(deviation: float, *of: int) -> np.ndarray:
        return np.asarray(draw.normal(0, deviation, of))

    labels = (draw.random(examples) < shape.positive).astype(int)
    sign, of_seeds = 2 * labels - 1, (1 if shape.in_all_draws else draws, seeds, 1)

    def skill(deviation: float, *of: int) -> np.ndarray:
        lean = effects(deviation, *of)  # to a class
        return np.asarray(effects(deviation, *of) + sign * lean)

    shared = effects(shape.example_shared, examples) + skill(shape.seed_shared, *of_seeds)
    shared = shared + effects(shape.draw_shared, draws, 1, 1) + effects(shape.noise_shared, draws, seeds, examples)
    predictions = []
    for gain in (0.0, shape.gain):
        own = effects(shape.example_own, examples) + skill(shape.seed_own, *of_seeds)
        own = own + effects(shape.draw_own, draws, 1, 1) + effects(shape.draw_noise, draws, 1, examples)
        right = shape.base + gain + shared + own + effects(shape.noise_own, draws, seeds, examples) > 0
        predictions.append(np.where(right, labels, 1 - labels).reshape(draws * seeds, examples))
    return Runs(labels, *predictions)


@lru_cache
def true_difference(shape: Shape, metric: str) -> float:
    """Return the expected score of the method less the baseline's, over seeds, on all examples there could be."""
    if shape.gain == 0:
        return 0.0
    points, weights = np.polynomial.hermite_e.hermegauss(40)
    weights = weights / weights.sum()
    seed = np.hypot(shape.seed_shared, shape.seed_own) * points
    of_draw = shape.draw_shared**2 + shape.draw_own**2 + shape.draw_noise**2
    example = np.sqrt(
        shape.example_shared**2 + shape.example_own**2 + shape.noise_shared**2 + shape.noise_own**2 + of_draw,
    )
    scores = []
    for gain in (0.0, shape.gain):
        if metric in POSITIVE:
            skill, lean = seed[:, None], seed[None]
            hit = norm.cdf((shape.base + gain + skill + lean) / example)
            reject = norm.cdf((shape.base + gain + skill - lean) / example)
            scores.append(weights @ _of_rates(metric, hit, reject, shape.positive) @ weights)
        else:
            slope = 1 + gain + 0.5 * seed
            pearson = slope / np.hypot(slope, example)
            spearman = 6 / np.pi * np.arcsin(pearson / 2)
            scores.append(weights @ {"pearson": pearson, "corr": (pearson + spearman) / 2}[metric])
    return float(scores[1] - scores[0])


def _of_rates(metric: str, hit: np.ndarray, reject: np.ndarray, positive: float) -> np.ndarray:
    """Return the metric from the rates of class 1 and class 0 that are found."""
    accuracy = positive * hit + (1 - positive) * reject
    predicted = positive * hit + (1 - positive) * (1 - reject)
    f1 = 2 * positive * hit / (positive + predicted)
    matthews = positive * (hit - predicted) / np.sqrt(positive * (1 - positive) * predicted * (1 - predicted))
    of = {"accuracy": accuracy, "f1": f1, "acc_and_f1": (accuracy + f1) / 2, "matthews_correlation": matthews}
    return np.asarray(of[metric])


Judge = Callable[[Runs, str], Difference]


@dataclass(frozen=True)
class Cell:
    """How often a judge was wrong in simulations of one kind."""

    metric: str
    examples: int
    shape: str
    replications: int  # of a null experiment, and as many with a gain
    called: int  # null experiments that were called significant at 5 %
    missed: int  # 95 % intervals without the true gain in them


def simulate(
    judge: Judge, metric: str, examples: int, shape: str, seeds: int, replications: int, start: int = 0
) -> Cell:
    """Judge so many null experiments and as many with a gain, each on runs of its own."""
    names = (*sorted(SHAPES), *sorted(POSITIVE), "pearson", "corr")
    draw = np.random.default_rng([start, seeds, examples, names.index(metric), names.index(shape)])
    task = Task(metric, examples, shape)
    called, missed = _wrong(lambda tasks: judge(tasks[0], metric), (task,), seeds, replications, draw)
    return Cell(metric, examples, shape, replications, called, missed)


@dataclass(frozen=True)
class Task:
    """One of several tasks that the same seeds are run on."""

    metric: str
    examples: int
    shape: str
    together: int = 1
    alike: float = 0.0

    def effects(self, gain: float) -> Shape:
        """Return the standard deviations of the task's effects, and the method's gain."""
        return replace(
            (SHAPES | OF_DRAWS)[self.shape],
            positive=POSITIVE.get(self.metric, 0.5),
            gain=gain,
            together=self.together,
            alike=self.alike,
        )


def simulate_average(
    judge: Callable[[list[Runs]], Difference], tasks: Sequence[Task], seeds: int, replications: int
) -> tuple[int, int]:
    """Return `Cell`'s called and missed of a judge of the average over tasks."""
    return _wrong(judge, tasks, seeds, replications, np.random.default_rng([seeds, len(tasks)]))


def simulate_draws(
    judge: Callable[[Runs], Difference], shape: str, draws: int, seeds: int, replications: int
) -> tuple[int, int]:
    """Return `Cell`'s called and missed of a judge of so many draws of the training rows, each with so many seeds."""
    draw = np.random.default_rng([list(OF_DRAWS).index(shape), draws, seeds])
    return _wrong(lambda of: judge(of[0]), [Task("accuracy", 277, shape)], seeds, replications, draw, draws)


def _wrong(
    judge: Callable[[list[Runs]], Difference],
    tasks: Sequence[Task],
    seeds: int,
    replications: int,
    draw: np.random.Generator,
    draws: int = 1,
) -> tuple[int, int]:
    truth = float(np.mean([true_difference(task.effects(GAIN), task.metric) for task in tasks]))
    called = missed = 0
    for _ in range(replications):
        null, better = (
            judge([draw_runs(task.effects(gain), task.metric, seeds, task.examples, draw, draws) for task in tasks])
            for gain in (0.0, GAIN)
        )
        called += null.p < 0.05
        missed += not better.low <= truth <= better.high
    return called, missed


def study(judge: Judge, seeds: int, replications: dict[int, int], metrics: tuple[str, ...]) -> Iterator[Cell]:
    """Simulate every metric, number of examples and shape; replications: for each number of examples."""
    for metric, examples, shape in product(metrics, replications, SHAPES):
        yield simulate(judge, metric, examples, shape, seeds, replications[examples])
