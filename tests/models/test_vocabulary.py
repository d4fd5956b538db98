"""Training on the embeddings that a run's tokens touch is training on all of them."""

import numpy as np
import pytest
import torch

from conftest import Compose
from glue_pool.data.batches import batches
from glue_pool.data.rows import Rows
from glue_pool.data.tokens import Tokenizer, encode
from glue_pool.hardware import Hardware
from glue_pool.models import factory, vocabulary
from glue_pool.models.classifier import Classifier
from glue_pool.schema import Config
from glue_pool.training.loop import main_phase
from glue_pool.training.optimizer import Stepper
from glue_pool.training.recipe import Recipe

SMALL = (
    "encoder=minilm_l6",
    "encoder.num_hidden_layers=1",
    "pooling=cls",
    "train.precision=fp32",
    "task=sst2",
    "train.max_steps=6",
)


def trained(cfg: Config, *, part: bool) -> tuple[Classifier, np.ndarray, list[float]]:
    blueprint = factory.plan(cfg)
    model = factory.build(cfg, blueprint).train()
    texts = [f"{word} and some more words" for word in "few plain words for a test of embeddings".split()]
    rows = Rows((texts,), np.arange(len(texts)) % 2, np.arange(len(texts)))
    tokens = encode(rows, Tokenizer(blueprint.folder), 32)
    used = vocabulary.used_ids(tokens.own_ids, also=[model.encoder.padding_id])
    everything = np.arange(model.encoder.config.vocab_size)
    losses = []
    torch.manual_seed(0)
    with vocabulary.only(model.encoder, used if part else everything):
        stepper = Stepper(model, main_phase(tokens, cfg, Recipe()), Hardware(torch.device("cpu"), "fp32"))
        for _ in range(6):
            losses += [float(stepper([batch])) for batch in batches(tokens, np.arange(len(texts)), 4)]
    return model, used, losses


@pytest.mark.parametrize("batching", ["packed", "padded"])
def test_training_a_part_of_the_embeddings_is_exact(composed: Compose, batching: str) -> None:
    cfg = composed(*SMALL, f"train.batching={batching}")
    part, used, losses = trained(cfg, part=True)
    whole, _, expected = trained(cfg, part=False)
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-6)
    assert losses[0] != losses[-1]
    for name, parameter in whole.named_parameters():
        rows: slice | np.ndarray = slice(None)
        if name.endswith("word_embeddings.weight"):
            assert len(used) < len(parameter) / 100
            rows = used
        torch.testing.assert_close(part.get_parameter(name)[rows], parameter[rows], rtol=0, atol=1e-6)


def test_the_whole_table_is_back_afterwards_and_rows_outside_keep_their_start(composed: Compose) -> None:
    cfg = composed(*SMALL)
    start = factory.build(cfg, factory.plan(cfg)).get_parameter("encoder.backbone.embeddings.word_embeddings.weight")
    model, used, _ = trained(cfg, part=True)
    end = model.get_parameter("encoder.backbone.embeddings.word_embeddings.weight")
    assert end.shape == start.shape
    outside = np.setdiff1d(np.arange(len(start)), used)
    assert torch.equal(end[outside], start[outside])
    assert not torch.equal(end[used], start[used])


def test_the_table_is_back_after_a_failure_too(composed: Compose) -> None:
    cfg = composed(*SMALL)
    model = factory.build(cfg, factory.plan(cfg))
    with pytest.raises(RuntimeError, match="stop"), vocabulary.only(model.encoder, np.array([0, 5, 7])):
        raise RuntimeError("stop")
    assert model.encoder.backbone.get_submodule("embeddings.word_embeddings").num_embeddings == 30522
