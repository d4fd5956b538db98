"""Recipes: mixout and guided training by hand, and the loop with phases, state, an early end and several passes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from conftest import Compose
from glue_pool import checkpoints
from glue_pool.data.batches import Batch, HiddenBatch
from glue_pool.errors import UserError
from glue_pool.models import factory
from glue_pool.models.classifier import Classifier, Output
from glue_pool.schema import Config
from glue_pool.training.evaluation import Evaluation
from glue_pool.training.loop import Observer, Outcome, Step, fit
from glue_pool.training.recipe import Phase, Recipe, Shape
from glue_pool.training.recipes.guided import Guided
from glue_pool.training.recipes.mixout import Mixout, _Mixed
from glue_pool.training.state import State
from small_training import tokens

SMALL = (
    "encoder=minilm_l6", "encoder.num_hidden_layers=2", "pooling=mean", "train.precision=fp32", "train.batch_size=8",
    "optimizer.lr=1e-3", "tracking.log_every=1",
)  # fmt: skip


def built(cfg: Config) -> Classifier:
    return factory.build(cfg, factory.plan(cfg))


# mixout


def mixed(weight: Tensor, pretrained: Tensor, p: float, kept: list[float], official: bool = False) -> Tensor:
    """W_used for one draw of B, by the module, from a seed that gives this draw."""
    shares = torch.full_like(weight[:1], 1 - p)
    torch.manual_seed(
        next(seed for seed in count() if torch.bernoulli(shares, generator=seeded(seed))[0].tolist() == kept)
    )
    used: Tensor = _Mixed(pretrained, p, official)(weight)
    return used


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(0, 100), st.sampled_from([0.1, 0.5, 0.9]))
def test_mixed_weights_are_on_average_the_weights(seed: int, p: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    weight, pretrained = torch.randn(2, 3, 2, generator=draw, dtype=torch.float64)
    mean = torch.zeros_like(weight)
    for kept in map(list, product([0.0, 1.0], repeat=2)):
        used = mixed(weight, pretrained, p, kept)
        b = torch.tensor([kept], dtype=torch.float64)
        wanted = ((1 - b) * pretrained + b * weight - p * pretrained) / (1 - p)
        torch.testing.assert_close(used, wanted)
        mean += used * float(np.prod([1 - p if k else p for k in kept]))
    torch.testing.assert_close(mean, weight)
    torch.testing.assert_close(mixed(pretrained, pretrained, p, [1.0, 0.0]), pretrained)


def test_the_gradient_is_the_derivative_and_the_official_one_leaves_a_factor_out() -> None:
    p, weight = 0.75, torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    pretrained, kept = torch.randn(3, 2, dtype=torch.float64), [1.0, 0.0]
    assert torch.autograd.gradcheck(lambda w: mixed(w, pretrained, p, kept), (weight,))
    exact, official = (
        torch.autograd.grad(mixed(weight, pretrained, p, kept, name).square().sum(), weight)[0]
        for name in (False, True)
    )
    torch.testing.assert_close(official, (1 - p) * exact)
    assert (exact[:, 1] == 0).all()


def test_layers_that_were_drawn_anew_have_nothing_to_be_mixed_with(composed: Compose) -> None:
    cfg = composed(*SMALL, "encoder.reinit_layers=1")
    model = built(cfg)
    Mixout().prepare(model, tokens(factory.plan(cfg).folder, 8))
    names = {name for name, _ in model.named_parameters() if "parametrizations" in name}
    assert names
    assert all("layer.0." in name for name in names)


def test_mixout_replaces_the_encoders_dropout_and_mixes_its_linear_layers_alone(composed: Compose) -> None:
    cfg = composed(*SMALL)
    model, plain = built(cfg).train(), built(cfg).eval()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    recipe = Mixout(p=0.9)
    recipe.prepare(model, tokens(factory.plan(cfg).folder, 8))
    model.dropout.p = 0.0
    split = tokens(factory.plan(cfg).folder, 8)
    from glue_pool.data.batches import collate

    batch = collate(split, np.arange(8))
    with torch.no_grad():  # W = W_pre, so mixing changes nothing, and nothing else is random
        torch.testing.assert_close(model(batch).logits, plain(batch).logits, atol=1e-5, rtol=1e-5)
        for parameter in model.encoder.parameters():
            parameter.add_(0.01)
        assert not torch.equal(model(batch).logits, model(batch).logits)
    mixed_names = {name for name, _ in model.named_parameters() if "parametrizations" in name}
    assert mixed_names
    assert all(name.startswith("encoder.backbone.encoder.layer") for name in mixed_names)
    recipe.finish(model)
    assert {name: p.shape for name, p in model.named_parameters()} == {name: p.shape for name, p in before.items()}
    assert {m.p for m in model.encoder.modules() if isinstance(m, nn.Dropout)} == {0.1}


# guided training


def test_a_guides_loss_gives_layers_above_it_no_gradient(composed: Compose) -> None:
    cfg = composed(*SMALL, "encoder.num_hidden_layers=3", "task=rte")
    model, split = built(cfg).eval(), tokens(factory.plan(cfg).folder, 8)
    recipe = Guided(layers=[2], weight=1.0)
    recipe.check(Shape(384, 3), cfg.task)
    recipe.prepare(model, split)
    from glue_pool.data.batches import collate

    batch = collate(split, np.arange(8))

    def of_guides_alone(logits: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, labels) * (logits is not output.logits)

    output = model(batch, recipe.reads)
    recipe.loss(output, batch, of_guides_alone).backward()
    moved = [
        any(p.grad is not None and p.grad.abs().sum() > 0 for p in block.parameters()) for block in model.encoder.blocks
    ]
    assert moved == [True, True, False]
    recipe.finish(model)
    assert not [name for name, _ in model.named_parameters() if "guides" in name]


def test_guided_losses_are_a_weighted_mean_over_layers(composed: Compose) -> None:
    cfg = composed(*SMALL, "encoder.num_hidden_layers=3", "task=stsb")
    model, split = built(cfg).eval(), tokens(factory.plan(cfg).folder, 8, labels=0)
    recipe = Guided(weight=0.3)
    recipe.check(Shape(384, 3), cfg.task)
    assert recipe.reads == (1, 2)
    recipe.prepare(model, split)
    from glue_pool.data.batches import collate

    batch = collate(split, np.arange(8))
    output = model(batch, recipe.reads)
    assert output.hidden is not None

    def squared(logits: Tensor, labels: Tensor) -> Tensor:
        return (logits[:, 0] - labels).square().mean()

    guides = [
        squared(guide(output.hidden.cls(layer)), batch.labels)
        for guide, layer in zip(recipe.guides, (1, 2), strict=True)
    ]
    wanted = squared(output.logits, batch.labels) + 0.3 * (guides[0] + guides[1]) / 2
    torch.testing.assert_close(recipe.loss(output, batch, squared), wanted)


def test_an_encoder_of_one_layer_has_none_to_guide(composed: Compose) -> None:
    with pytest.raises(UserError, match=r"recipe=guided: this encoder has one layer"):
        Guided().check(Shape(384, 1), composed().task)


# a batch in several passes


def losses(cfg: Config, rows: int = 20, recipe: Recipe | None = None) -> tuple[list[float], Outcome]:
    told = Told()
    model, folder = built(cfg), factory.plan(cfg).folder
    labels = len(cfg.task.labels)
    outcome = fit(model, tokens(folder, rows, labels=labels), {"validation": tokens(folder, 12, 1, labels)}, cfg,
                  recipe=recipe, observer=told)  # fmt: skip
    return [step.loss for step in told.steps], outcome


def counted(cfg: Config) -> int:
    """How often the model is run in training."""
    model, split = built(cfg), tokens(factory.plan(cfg).folder, 8, labels=len(cfg.task.labels))
    runs: list[bool] = []
    model.register_forward_pre_hook(lambda *_: runs.append(model.training))
    fit(model, split, {"validation": split}, cfg)
    return sum(runs)


def test_passes_are_the_step_with_a_recipes_loss_and_clipped_gradients(composed: Compose) -> None:
    keys = ("task=rte", "encoder.dropout=0", "model.dropout=0", "train.max_steps=3", "optimizer.max_grad_norm=0.01")
    cfg = composed(*SMALL, *keys)
    ends = []
    for passes in (1, 3):
        recipe = Guided()
        recipe.check(Shape(384, 2), cfg.task)
        ends.append(losses(replace(cfg, train=replace(cfg.train, accumulate=passes)), recipe=recipe))
    (whole, one), (parts, several) = ends
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    np.testing.assert_allclose(several.last.logits["validation"], one.last.logits["validation"], atol=1e-5)


class Told(Observer):
    """Keeps the steps it hears of."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def on_step(self, step: Step) -> None:
        self.steps.append(step)


@pytest.mark.parametrize(
    "passes", [pytest.param(2, marks=pytest.mark.long), 3, pytest.param(8, marks=pytest.mark.long), 50]
)
@pytest.mark.parametrize("keys", [("task=rte",), ("task=stsb", "train.batching=padded"), ("task=rte", "pooling=gem")])
def test_a_step_in_several_passes_is_the_step(composed: Compose, passes: int, keys: tuple[str, ...]) -> None:
    cfg = composed(*SMALL, *keys, "encoder.dropout=0", "model.dropout=0", "train.max_steps=3")  # of 8, 8 and 4 rows
    whole, one = losses(cfg)
    parts, several = losses(replace(cfg, train=replace(cfg.train, accumulate=passes)))
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    np.testing.assert_allclose(several.last.logits["validation"], one.last.logits["validation"], atol=1e-5)
    assert several.cost.tokens == one.cost.tokens
    assert several.cost.examples == one.cost.examples == 20
    assert counted(replace(cfg, train=replace(cfg.train, accumulate=passes, max_steps=1))) == min(passes, 8)


# phases, state and an early end


class Warm(Recipe):
    """Steps on the hidden states' size before fine-tuning, a loss that is no mean over rows; it counts what it saw."""

    def __init__(self, steps: int = 5) -> None:
        self.steps, self.seen = steps, torch.zeros(1)
        self.sizes: list[int] = []

    def phases(self, main: Phase) -> Sequence[Phase]:
        optimizer = replace(main.optimizer, lr=1e-4, schedule="constant", warmup_ratio=0.0)
        return [replace(main, name="warm", steps=self.steps, loss=self.warm, optimizer=optimizer, reads=(1,),
                        mean_over_rows=False, evaluates=False), main]  # fmt: skip

    def warm(self, output: Output, batch: Batch | HiddenBatch) -> Tensor:
        assert output.hidden is not None
        self.sizes.append(len(batch.rows))
        self.seen += len(batch.rows)
        return output.hidden.cls(1).square().sum().sqrt()

    def state(self) -> dict[str, Tensor]:
        return {"seen": self.seen}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.seen = state["seen"].clone()


class HeadFirst(Recipe):
    """Trains what follows the encoder, then everything."""

    def phases(self, main: Phase) -> Sequence[Phase]:
        return [replace(main, name="head", steps=4, evaluates=False), main]

    def begin(self, model: Classifier, phase: Phase) -> None:
        model.encoder.requires_grad_(phase.name == "train")


@pytest.mark.parametrize("at", [pytest.param(2, marks=pytest.mark.long), 4, 5, pytest.param(7, marks=pytest.mark.long)])
def test_a_phase_says_what_it_trains_and_goes_on_bit_for_bit(composed: Compose, tmp_path: Path, at: int) -> None:
    cfg = composed(*SMALL, "task=rte", "train.epochs=2")
    (whole, _), (resumed, _) = outcomes(cfg, HeadFirst, tmp_path / "checkpoint", at)
    assert np.array_equal(whole.last.logits["validation"], resumed.last.logits["validation"])
    assert whole.steps == resumed.steps == 4 + 6


def test_phases_that_end_without_an_evaluation_are_refused(composed: Compose) -> None:
    class Mute(Recipe):
        def phases(self, main: Phase) -> Sequence[Phase]:
            return [replace(main, evaluates=False)]

    cfg = composed(*SMALL, "task=rte")
    split = tokens(factory.plan(cfg).folder, 8)
    with pytest.raises(UserError, match="the recipe Mute: the last of its phases has to evaluate"):
        fit(built(cfg), split, {"validation": split}, cfg, recipe=Mute())


MASK = 103


class Masked(Recipe):
    """Every text's last token is [MASK], which is none of the rows' own ids; it hears of every step."""

    def __init__(self, says_so: bool) -> None:
        self.extra_ids = (MASK,) if says_so else ()
        self.heard: list[tuple[str, int]] = []

    def phases(self, main: Phase) -> Sequence[Phase]:
        def collate(rows: np.ndarray) -> Batch | HiddenBatch:
            batch = main.collate(rows)
            assert isinstance(batch, Batch)
            batch.input_ids[-1] = MASK
            return batch

        return [replace(main, collate=collate)]

    def after_step(self, model: Classifier, phase: Phase, step: int) -> None:
        self.heard.append((phase.name, step))


def test_token_ids_of_a_recipes_own_are_trained_and_those_it_does_not_name_are_an_error(composed: Compose) -> None:
    cfg = composed(*SMALL, "task=rte", "train.max_steps=3")
    recipe = Masked(says_so=True)
    model, split = built(cfg), tokens(factory.plan(cfg).folder, 20)
    table = "encoder.backbone.embeddings.word_embeddings.weight"
    before = model.get_parameter(table)[MASK].detach().clone()
    fit(model, split, {"validation": split}, cfg, recipe=recipe)
    assert not torch.equal(model.get_parameter(table)[MASK], before)
    assert recipe.heard == [("train", 1), ("train", 2), ("train", 3)]
    with pytest.raises(IndexError):
        fit(built(cfg), split, {"validation": split}, cfg, recipe=Masked(says_so=False))


class Patience(Recipe):
    """Ends when the score has not risen for some evaluations."""

    def __init__(self, patience: int) -> None:
        self.patience = patience

    def stop(self, evaluations: Sequence[Evaluation]) -> bool:
        scores = [evaluation.score for evaluation in evaluations]
        return len(scores) > self.patience and max(scores[-self.patience :]) <= max(scores[: -self.patience])


class Killed(Exception):
    """The training was to end here."""


class Stops:
    """A keeper that writes the state after one step to a file, really, and ends the training there."""

    def __init__(self, file: Path, at: int) -> None:
        self.file, self.at, self.signalled = file, at, False

    def resume(self) -> State | None:
        if not self.file.exists():
            return None
        about, tensors = checkpoints.read(self.file, {})
        return State(about["step"], about["total"], tensors, about["plain"])

    def set_aside(self, reason: str) -> None:
        raise AssertionError(reason)

    def due(self, *, at_an_end: bool) -> bool:
        return not at_an_end

    def save(self, state: State) -> None:
        if state.step == self.at:
            about = {"step": state.step, "total": state.total, "plain": state.plain, "made_with": {}}
            checkpoints.write(self.file, state.tensors, about)
            raise Killed

    def stop(self, state: State) -> None:
        raise AssertionError


def outcomes(cfg: Config, recipe: Any, file: Path, at: int) -> Iterator[tuple[Outcome, Recipe]]:
    """A training that is undisturbed, and one that is ended after a step and gone on with by another."""
    folder = factory.plan(cfg).folder
    train, dev = tokens(folder, 20), {"validation": tokens(folder, 12, 1)}
    first = recipe()
    yield fit(built(cfg), train, dev, cfg, recipe=first), first
    with pytest.raises(Killed):
        fit(built(cfg), train, dev, cfg, recipe=recipe(), keeper=Stops(file, at))
    again = recipe()
    yield fit(built(cfg), train, dev, cfg, recipe=again, keeper=Stops(file, -1)), again


# in the first phase, at its end, in the second
@pytest.mark.parametrize(
    "at",
    [
        pytest.param(1, marks=pytest.mark.long),
        4,
        5,
        pytest.param(6, marks=pytest.mark.long),
        8,
        pytest.param(10, marks=pytest.mark.long),
    ],
)
def test_a_training_of_two_phases_goes_on_from_any_step_bit_for_bit(composed: Compose, tmp_path: Path, at: int) -> None:
    cfg = composed(*SMALL, "task=rte", "train.epochs=2")
    (whole, counted), (resumed, recounted) = outcomes(cfg, Warm, tmp_path / "checkpoint", at)
    assert whole.steps == resumed.steps == 5 + 6
    assert np.array_equal(whole.last.logits["validation"], resumed.last.logits["validation"])
    assert [e.train_loss for e in (whole.last, whole.best)] == [e.train_loss for e in (resumed.last, resumed.best)]
    assert float(counted.seen) == float(recounted.seen) == 8 + 8 + 4 + 8 + 8  # type: ignore[attr-defined]


def test_phases_have_their_own_rows_schedule_and_names_and_only_the_last_is_evaluated(composed: Compose) -> None:
    told, recipe = Told(), Warm()
    cfg = composed(*SMALL, "task=rte", "train.epochs=2", "train.accumulate=3")
    folder = factory.plan(cfg).folder
    outcome = fit(
        built(cfg), tokens(folder, 20), {"validation": tokens(folder, 12, 1)}, cfg, recipe=recipe, observer=told
    )
    assert [step.phase for step in told.steps] == ["warm"] * 5 + ["train"] * 6
    assert [step.step for step in told.steps] == list(range(1, 12))
    assert {step.learning_rate for step in told.steps[:5]} == {1e-4}
    assert recipe.sizes == [8, 8, 4, 8, 8]  # never cut
    assert outcome.cost.evaluations == 2
    assert outcome.last.epoch == 2


@pytest.mark.parametrize("at", [pytest.param(3, marks=pytest.mark.long), 6, pytest.param(8, marks=pytest.mark.long)])
def test_an_early_end_is_the_same_after_a_resumption(composed: Compose, tmp_path: Path, at: int) -> None:
    cfg = composed(*SMALL, "task=rte", "train.epochs=9", "optimizer.lr=1e-8")  # nothing is learnt
    (whole, _), (resumed, _) = outcomes(cfg, lambda: Patience(2), tmp_path / "checkpoint", at)
    assert whole.steps == resumed.steps == 3 * 3
    assert whole.cost.evaluations == 3
    assert np.array_equal(whole.last.logits["validation"], resumed.last.logits["validation"])
