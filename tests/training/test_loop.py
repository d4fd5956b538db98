"""The training loop against plain PyTorch, its determinism, its schedule and its failures."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from conftest import Compose, choices
from glue_pool.choices import CONF
from glue_pool.data.batches import batches
from glue_pool.data.load import TaskData
from glue_pool.data.rows import Rows
from glue_pool.data.tokens import Tokenizer, Tokens, encode
from glue_pool.errors import TrainingFailed
from glue_pool.hardware import Hardware
from glue_pool.models import factory, packing
from glue_pool.models.classifier import Classifier, predict
from glue_pool.schema import Config, OptimizerConfig
from glue_pool.training.loop import fit, main_phase
from glue_pool.training.optimizer import Stepper, learning_rate_factor, make_optimizer
from glue_pool.training.recipe import Recipe, Shape, plan
from small_training import SMALL, Heard, of_task, tokens, train


def plain_bert_losses(cfg: Config, model: Classifier, split: Tokens, steps: int) -> list[float]:
    """Losses of transformers' own BertForSequenceClassification on padded batches, in a plain PyTorch loop."""
    from transformers import BertForSequenceClassification, get_linear_schedule_with_warmup

    blueprint = factory.plan(cfg)
    bert = BertForSequenceClassification.from_pretrained(
        blueprint.folder, config=blueprint.encoder_config, use_safetensors=True
    )
    bert.num_labels, bert.config.problem_type = cfg.task.outputs, cfg.task.problem_type
    bert.classifier = nn.Linear(bert.config.hidden_size, cfg.task.outputs)
    bert.dropout = nn.Dropout(0.0)
    bert.classifier.load_state_dict(model.output.state_dict())
    bert.train()
    decays = [p for p in bert.parameters() if p.ndim > 1]
    rest = [p for p in bert.parameters() if p.ndim == 1]
    groups: list[dict[str, Any]] = [
        {"params": decays, "weight_decay": cfg.optimizer.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=cfg.optimizer.lr, eps=cfg.optimizer.eps)
    schedule = get_linear_schedule_with_warmup(optimizer, int(0.1 * steps), steps)
    order = np.arange(len(split))
    losses = []
    for batch in batches(split, order, cfg.train.batch_size):
        assert batch.token_type_ids is not None
        mask = batch.layout.mask
        loss = bert(
            input_ids=batch.layout.pad(batch.input_ids).masked_fill(~mask, 0),
            token_type_ids=batch.layout.pad(batch.token_type_ids).masked_fill(~mask, 0),
            attention_mask=mask.long(),
            labels=batch.labels.float() if cfg.task.multi_label else batch.labels,
        ).loss
        loss.backward()
        nn.utils.clip_grad_norm_(bert.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


KINDS = {
    "two labels": (),
    "six labels": ("task.labels=[a,b,c,d,e,f]",),
    "label sets": ("task.labels=[a,b,c]", "task.multi_label=true"),
    "scores": ("task=stsb",),
    "scores, standardised": ("task=stsb", "task.score_range=null", "task.standardise=true"),
}


@pytest.mark.parametrize(
    ("batching", "kind"),
    [
        ("packed", "two labels"),
        pytest.param("packed", "label sets", marks=pytest.mark.long),
        pytest.param("packed", "scores, standardised", marks=pytest.mark.long),
        pytest.param("packed", "six labels", marks=pytest.mark.long),
        pytest.param("packed", "scores", marks=pytest.mark.long),
        pytest.param("padded", "two labels", marks=pytest.mark.long),
    ],
)
def test_bert_follows_plain_bert_for_sequence_classification_step_by_step(
    composed: Compose, batching: str, kind: str
) -> None:
    cfg = composed(
        *SMALL,
        *KINDS[kind],
        "encoder.dropout=0",
        "model.dropout=0",
        "train.shuffle=false",
        "train.batch_size=8",
        "train.epochs=1",
        "optimizer.lr=5e-5",
        f"train.batching={batching}",
    )
    blueprint = factory.plan(cfg)
    split = of_task(cfg, blueprint.folder, 160, 0)
    if cfg.task.standardise:
        split = replace(split, labels=(split.labels - split.labels.mean()) / split.labels.std())
    heard = Heard()
    expected = plain_bert_losses(cfg, factory.build(cfg, blueprint), split, 20)
    train(cfg, 160, heard)
    assert len(expected) == 20
    np.testing.assert_allclose([step.loss for step in heard.steps], expected, atol=1e-5, rtol=0)
    assert min(expected[10:]) < expected[0]  # it learns, so that following it means something


@pytest.mark.parametrize("pooling", ["maxpool", "mean", "scalar_mix"])
def test_packed_and_padded_batches_train_alike(composed: Compose, pooling: str) -> None:
    losses: list[list[float]] = []
    for batching in ("packed", "padded"):
        heard = Heard()
        options = [f"pooling={pooling}", f"train.batching={batching}", "encoder.dropout=0", "model.dropout=0"]
        if pooling == "maxpool":
            options.append("pooling.k=2")
        train(
            composed(*SMALL[:2], *options, "train.precision=fp32", "train.epochs=1", "train.batch_size=8"),
            observer=heard,
        )
        losses.append([step.loss for step in heard.steps])
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_config_gives_the_same_logits_bit_for_bit(composed: Compose, precision: str) -> None:
    cfg = composed(*SMALL[:3], f"train.precision={precision}", "train.epochs=1", "train.batch_size=16")
    first, again = (train(cfg)[1] for _ in range(2))
    assert np.array_equal(first.last.logits["validation"], again.last.logits["validation"])
    other = train(replace(cfg, seed=1))[1]
    assert not np.array_equal(first.last.logits["validation"], other.last.logits["validation"])


def test_a_bigger_pooler_changes_neither_the_classifiers_start_nor_the_data_order(composed: Compose) -> None:
    small, big = (composed(*SMALL[:2], f"pooling={name}") for name in ("cls", "mlp_control"))
    models = [factory.build(cfg, factory.plan(cfg)) for cfg in (small, big)]
    assert models[1].parameter_counts()["pooling"] > models[0].parameter_counts()["pooling"] == 0
    assert torch.equal(models[0].output.weight, models[1].output.weight)


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        (["train.epochs=3"], 6),  # 50 rows in batches of 32: two steps an epoch
        (["train.epochs=3", "train.max_steps=5"], 5),
        (["train.epochs=3", "train.max_steps=9"], 9),
        (["train.epochs=3", "train.min_steps=10"], 10),
        (["train.epochs=3", "train.min_steps=4"], 6),
    ],
)
def test_steps_follow_from_epochs_unless_they_are_fixed(
    composed: Compose, overrides: Sequence[str], steps: int
) -> None:
    assert composed(*overrides).train.steps(50) == steps


def test_every_epoch_is_evaluated_and_a_training_cut_short_at_its_end(composed: Compose) -> None:
    heard = Heard()
    _, outcome = train(composed(*SMALL, "train.max_steps=5"), observer=heard)
    assert [evaluation.step for evaluation in heard.evaluations] == [2, 4, 5]
    assert [evaluation.epoch for evaluation in heard.evaluations] == [1.0, 2.0, 2.5]
    assert outcome.last is heard.evaluations[-1]
    assert outcome.best.score == max(evaluation.score for evaluation in heard.evaluations)


def test_the_best_evaluation_has_the_lowest_score_where_lower_is_better(composed: Compose) -> None:
    heard = Heard()
    task = ("task=rte", "task.metrics=[accuracy,log_loss]", "task.primary_metric=log_loss")
    _, outcome = train(composed(*SMALL, *task, "train.max_steps=6", "optimizer.lr=1e-3"), observer=heard)
    scores = [evaluation.score for evaluation in heard.evaluations]
    assert outcome.best.score == min(scores) < max(scores)


def test_evaluations_may_be_counted_in_steps(composed: Compose) -> None:
    heard = Heard()
    cfg = composed(*SMALL, "train.max_steps=5", "train.eval_steps=3")
    _, outcome = train(cfg, observer=heard)
    assert [evaluation.step for evaluation in heard.evaluations] == [3, 5]
    assert [evaluation.epoch for evaluation in heard.evaluations] == [1.5, 2.5]
    assert outcome.cost.evaluations == cfg.train.evaluations(50) == 2


def test_the_learning_rate_rises_then_falls() -> None:
    cfg = OptimizerConfig(name="adamw", warmup_ratio=0.1)
    factors = [learning_rate_factor(cfg, 20, step) for step in range(21)]
    assert factors[:3] == [0.0, 0.5, 1.0]
    assert factors[-1] == 0.0
    np.testing.assert_allclose(np.diff(factors[2:]), -1 / 18)
    cosine = replace(cfg, schedule="cosine")
    assert learning_rate_factor(cosine, 20, 11) == pytest.approx(0.5)
    assert learning_rate_factor(replace(cfg, schedule="constant"), 20, 19) == 1.0


def test_lower_layers_learn_more_slowly_with_layer_decay(composed: Compose) -> None:
    cfg = composed(*SMALL, "optimizer.layer_decay=0.5", "optimizer.lr=1")
    model = factory.build(cfg, factory.plan(cfg))
    rates = {
        id(parameter): group["lr"]
        for group in make_optimizer(model, cfg.optimizer).param_groups
        for parameter in group["params"]
    }
    assert len(rates) == len(list(model.parameters()))
    layers = model.encoder.blocks
    assert {rates[id(p)] for p in model.output.parameters()} == {1.0}
    assert {rates[id(p)] for p in layers[1].parameters()} == {0.5}
    assert {rates[id(p)] for p in layers[0].parameters()} == {0.25}
    embeddings = model.encoder.backbone.get_submodule("embeddings")
    assert {rates[id(p)] for p in embeddings.parameters()} == {0.125}


def test_biases_and_norms_do_not_decay(composed: Compose) -> None:
    cfg = composed(*SMALL)
    model = factory.build(cfg, factory.plan(cfg))
    for group in make_optimizer(model, cfg.optimizer).param_groups:
        assert all((p.ndim > 1) == (group["weight_decay"] > 0) for p in group["params"])


def test_a_frozen_encoder_stays_as_it_was(composed: Compose) -> None:
    cfg = composed(*SMALL, "encoder.freeze=true", "optimizer.lr=1e-2")
    before = factory.build(cfg, factory.plan(cfg)).state_dict()
    after = train(cfg)[0].state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"tanh.weight", "tanh.bias", "output.weight", "output.bias"}


def test_a_loss_that_is_not_finite_ends_the_training_with_its_step(composed: Compose) -> None:
    with pytest.raises(TrainingFailed, match=r"the training loss is (nan|inf) at step [2-9]"):
        train(composed(*SMALL, "optimizer.lr=1e30", "optimizer.warmup_ratio=0", "train.batch_size=8"))


def test_regression_predicts_scores(composed: Compose) -> None:
    _, outcome = train(composed(*SMALL, "task=stsb", "train.epochs=1"))
    assert outcome.last.logits["validation"].shape == (24, 1)
    assert set(outcome.last.metrics["validation"]) == {"pearson", "spearmanr", "corr"}


def test_standardised_scores_are_learnt_in_any_unit_and_predicted_in_it(composed: Compose) -> None:
    """The training is the same but for rounding; what it predicts is in the data's unit, as is what is collapsed."""
    cfg = composed(*SMALL, "task=stsb", "task.score_range=null", "task.standardise=true", "train.epochs=1")
    blueprint = factory.plan(cfg)
    plain = tokens(blueprint.folder, 48, labels=0)
    losses, predicted = [], []
    for unit, zero in ((1.0, 0.0), (1000.0, -7.0), (1e-7, 0.0)):
        split = replace(plain, labels=(plain.labels.astype(float) * unit + zero).astype(np.float32))
        heard = Heard()
        last = fit(factory.build(cfg, blueprint), split, {"validation": split}, cfg, observer=heard).last
        losses.append([step.loss for step in heard.steps] + [last.train_loss, last.loss["validation"]])
        predicted.append((last.logits["validation"].astype(float) - zero) / unit)
        error = np.square(last.logits["validation"][:, 0].astype(float) - split.labels).mean()
        assert last.loss["validation"] == pytest.approx(error / split.labels.astype(float).var(), rel=1e-3)
        assert not last.collapsed
    for other in (1, 2):
        np.testing.assert_allclose(losses[other], losses[0], rtol=1e-3)
        np.testing.assert_allclose(predicted[other], predicted[0], rtol=0, atol=5e-3)


@pytest.mark.parametrize("options", [("encoder.freeze=true",), ("recipe=guided",)])
def test_standardised_scores_go_through_probes_and_recipes(composed: Compose, options: tuple[str, ...]) -> None:
    """On scores of mean 0 and deviation 1 already, standardising changes nothing but rounding."""
    from glue_pool.training import probe

    plain = ("task=stsb", "task.score_range=null", "pooling=mean", "train.epochs=1", *SMALL[:2], *SMALL[3:], *options)
    found = []
    for standardise in ("false", "true"):
        cfg = composed(*plain, f"task.standardise={standardise}")
        blueprint = factory.plan(cfg)
        split = tokens(blueprint.folder, 32, labels=0)
        split = replace(split, labels=((split.labels - split.labels.mean()) / split.labels.std()).astype(np.float32))
        model = factory.build(cfg, blueprint)
        data = TaskData(split, {"validation": split}, {}, {"tokens": {}})
        if cfg.encoder.freeze:
            data = probe.with_features(model, data, cfg, blueprint, Hardware.of(cfg.train))
        last = fit(model, data.train, data.dev, cfg, recipe=plan(cfg, Shape(blueprint.d, blueprint.layers))).last
        found.append(last.logits["validation"])
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=1e-3)


def test_the_labels_of_a_row_are_learnt_each_by_itself(composed: Compose) -> None:
    """Labels that stand for a word of their own each, any number of them in a row."""
    cfg = composed(
        *SMALL, "task.labels=[plain,words,rather]", "task.multi_label=true", "task.metrics=[accuracy]",
        "train.epochs=6", "optimizer.lr=1e-3", "train.batch_size=8",
    )  # fmt: skip
    blueprint = factory.plan(cfg)
    draw = np.random.default_rng(0)
    gold = draw.integers(0, 2, (200, 3))
    texts = [" ".join(["a", *np.array(cfg.task.labels)[row == 1], "sentence"]) for row in gold]
    split = encode(Rows((texts,), gold, np.arange(200)), Tokenizer(blueprint.folder), 32)
    outcome = fit(factory.build(cfg, blueprint), split, {"validation": split}, cfg)
    assert outcome.last.metrics["validation"]["accuracy"] > 0.95
    assert ((outcome.last.logits["validation"] > 0) == gold).all(axis=1).mean() == pytest.approx(outcome.last.score)


def test_predictions_come_in_the_splits_own_order_whatever_the_batches(composed: Compose) -> None:
    cfg = composed(*SMALL)
    model = factory.build(cfg, factory.plan(cfg)).eval()
    split = tokens(factory.plan(cfg).folder, 30)
    cpu = Hardware(torch.device("cpu"), "fp32")
    one_by_one = np.concatenate([predict(model, split.select(np.array([row])), cpu, 1) for row in range(30)])
    for size in (1, 7, 64):
        together = predict(model, split, cpu, size)
        np.testing.assert_allclose(together, one_by_one, atol=1e-5)


class Waiting(TorchDispatchMode):
    """Refuses what makes the CPU wait for a GPU: reading a number, or a result whose size depends on numbers."""

    WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal", "unique", "item")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        by_mask = name in ("index", "index_put_") and any(i is not None and i.dtype == torch.bool for i in args[1])
        assert name.split(".")[0] not in self.WAITS, f"{name} waits"
        assert not by_mask, f"{name} by a boolean mask waits"
        return func(*args, **(kwargs or {}))


def test_no_training_step_waits_for_a_gpu(composed: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_attend_on_cpu", packing._attend)  # the GPU's attention
    cfg = composed(*SMALL)
    model = factory.build(cfg, factory.plan(cfg)).train()
    split = tokens(factory.plan(cfg).folder, 24)
    for yaml in (CONF / "pooling" / f"{name}.yaml" for name in choices("pooling")):
        pooling = dict(OmegaConf.load(yaml)) | ({"k": 2} if "k" in OmegaConf.load(yaml) else {})
        pooler = factory.build_pooler(pooling, model.encoder.d, 2)
        classifier = Classifier(model.encoder, pooler, None, 0.1, 2)
        stepper = Stepper(classifier, main_phase(split, cfg, Recipe()), Hardware.of(cfg.train))
        for batch in batches(split, np.arange(24), 12):
            with Waiting():  # type: ignore[no-untyped-call]
                loss = stepper([batch])
            assert float(loss) > 0
