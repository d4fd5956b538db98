"""A training of two layers of MiniLM on random sentences, in this process, and what its observer heard."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from glue_pool.data.rows import Rows
from glue_pool.data.tokens import Tokenizer, Tokens, encode
from glue_pool.models import factory
from glue_pool.models.classifier import Classifier
from glue_pool.schema import Config
from glue_pool.training.evaluation import Evaluation
from glue_pool.training.loop import Observer, Outcome, Step, fit
from glue_pool.training.recipe import Shape, plan

SMALL = ("encoder=minilm_l6", "encoder.num_hidden_layers=2", "pooling=bert", "train.precision=fp32")
WORDS = "a few plain words of rather different lengths that make sentences for a test of the loop".split()


class Heard(Observer):
    """An observer that keeps what it hears."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.evaluations: list[Evaluation] = []

    def on_step(self, step: Step) -> None:
        self.steps.append(step)

    def on_evaluation(self, evaluation: Evaluation) -> None:
        self.evaluations.append(evaluation)


def tokens(folder: Path, rows: int, seed: int = 0, labels: int = 2, multi_label: bool = False) -> Tokens:
    draw = np.random.default_rng(seed)
    texts = tuple([" ".join(draw.choice(WORDS, draw.integers(1, 25))) for _ in range(rows)] for _ in range(2))
    gold = draw.integers(0, labels, rows) if labels > 1 else draw.uniform(0, 5, rows).astype(np.float32)
    if multi_label:
        gold = draw.integers(0, 2, (rows, labels))
    return encode(Rows(texts, gold, np.arange(rows)), Tokenizer(folder), 128)


def of_task(cfg: Config, folder: Path, rows: int, seed: int) -> Tokens:
    return tokens(folder, rows, seed, len(cfg.task.labels), cfg.task.multi_label)


def train(cfg: Config, rows: int = 64, observer: Heard | None = None) -> tuple[Classifier, Outcome]:
    blueprint = factory.plan(cfg)
    model = factory.build(cfg, blueprint)
    outcome = fit(
        model,
        of_task(cfg, blueprint.folder, rows, 0),
        {name: of_task(cfg, blueprint.folder, 24, 1) for name in cfg.task.dev_splits},
        replace(cfg, tracking=replace(cfg.tracking, log_every=1)),
        recipe=plan(cfg, Shape(blueprint.d, blueprint.layers)),
        observer=observer,
    )
    return model, outcome
