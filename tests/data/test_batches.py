"""Batches: every row once an epoch, in an order that no method changes, with its own tokens (about 4 s)."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import local_data
from conftest import Compose
from glue_pool.data.batches import Batch, batches, collate, epoch_order
from glue_pool.data.load import load
from glue_pool.data.tokens import Tokenizer, Tokens
from glue_pool.models import factory
from glue_pool.schema import Config
from glue_pool.training.loop import fit

SIDES = st.sampled_from(["right", "left"])


@st.composite
def splits(draw: st.DrawFn) -> Tokens:
    """A split whose every token, label and idx says which row it is of."""
    lengths = np.array(draw(st.lists(st.integers(1, 30), min_size=1, max_size=40)), dtype=np.int64)
    rows = np.arange(len(lengths))
    ids = np.concatenate([row * 100 + np.arange(n) for row, n in zip(rows, lengths, strict=True)]).astype(np.int32)
    types = (ids % 3).astype(np.uint8) if draw(st.booleans()) else None
    labels = rows * 10 if draw(st.booleans()) else (rows / 4).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    whole = Tokens(
        input_ids=ids,
        token_type_ids=types,
        cls=draw(st.sampled_from([None, 0, -1, *(range(1, lengths.min())), *range(-lengths.min(), -1)])),
        stand_in=None,
        joined=False,
        offsets=offsets,
        lengths=lengths,
        labels=labels,
        idx=rows + 1000,
        truncated=0,
        empty=0,
    )
    if draw(st.booleans()):
        return whole
    chosen = draw(st.lists(st.sampled_from(rows.tolist()), min_size=1, unique=True))
    return whole.select(np.array(chosen))


def own_tokens(split: Tokens, row: int) -> list[int]:
    start = split.offsets[row]
    found: list[int] = split.input_ids[start : start + split.lengths[row]].tolist()
    return found


def check(batch: Batch, split: Tokens, side: str) -> None:
    lengths = split.lengths[batch.rows]
    assert (np.diff(lengths) >= 0).all()
    assert batch.layout.starts.tolist() == (np.cumsum(lengths) - lengths).tolist()
    texts = batch.input_ids.split(lengths.tolist())
    assert [text.tolist() for text in texts] == [own_tokens(split, row) for row in batch.rows]
    assert batch.layout.positions.tolist() == [t for n in lengths for t in range(n)]
    assert np.array_equal(batch.labels.numpy(), split.labels[batch.rows])
    assert batch.labels.dtype == (torch.float32 if split.labels.dtype == np.float32 else torch.int64)
    if split.token_type_ids is None:
        assert batch.token_type_ids is None
    else:
        assert batch.token_type_ids is not None
        assert torch.equal(batch.token_type_ids, batch.input_ids % 3)

    mask, padded = batch.layout.mask, batch.layout.pad(batch.input_ids)
    longest = int(lengths.max())
    assert mask.shape == padded.shape == (len(batch.rows), longest)
    for text, row, real in zip(texts, padded, mask, strict=True):
        assert torch.equal(row[real], text)
        where = real.nonzero().flatten().tolist()
        first = 0 if side == "right" else longest - len(text)
        assert where == list(range(first, first + len(text)))
    cls = [text[split.cls or 0] for text in texts]
    assert batch.input_ids[batch.layout.cls].tolist() == cls
    led = [row[real].tolist() for row, real in zip(batch.layout.lead(padded), mask, strict=True)]
    for text, first_token, row in zip(texts, cls, led, strict=True):
        assert row == [first_token, *(token for token in text if token != first_token)]
    assert batch.layout.ranks.tolist() == [
        row.index(t) for text, row in zip(texts, led, strict=True) for t in text.tolist()
    ]


@settings(max_examples=60, deadline=None)
@given(splits(), st.integers(1, 12), st.integers(0, 3), SIDES)
def test_an_epoch_is_every_row_once_with_its_own_tokens(split: Tokens, size: int, epoch: int, side: str) -> None:
    order = epoch_order(len(split), 7, epoch)
    epoch_batches = list(batches(split, order, size, side))
    for batch in epoch_batches:
        check(batch, split, side)
    assert sorted(np.concatenate([batch.rows for batch in epoch_batches]).tolist()) == list(range(len(split)))
    full, rest = divmod(len(split), size)
    assert [len(batch.rows) for batch in epoch_batches] == [size] * full + [rest] * (rest > 0)
    for i, batch in enumerate(epoch_batches):
        assert set(batch.rows) == set(order[i * size : (i + 1) * size])


@settings(max_examples=60, deadline=None)
@given(splits(), SIDES)
def test_attention_blocks_hold_every_token_once(split: Tokens, side: str) -> None:
    layout = collate(split, np.arange(len(split)), side).layout
    position = torch.arange(len(layout.positions))
    unpadded = []
    for block in layout.blocks:
        tokens = position[block.tokens]
        sequences, longest = block.shape
        if block.index is None or block.inverse is None or block.mask is None:
            assert len(tokens) == sequences * longest
        else:
            padded = tokens[block.index]
            assert torch.equal(padded[block.inverse], tokens)
            assert torch.equal(padded.view(block.shape)[block.mask], tokens)
            tokens = padded[block.inverse]
        unpadded.append(tokens)
    assert torch.equal(torch.cat(unpadded), position)


@given(st.integers(1, 200), st.integers(0, 2**62))
def test_epochs_differ_and_come_back_with_their_seed(rows: int, seed: int) -> None:
    first, second = epoch_order(rows, seed, 0), epoch_order(rows, seed, 1)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(rows))
    assert np.array_equal(first, epoch_order(rows, seed, 0))
    assert rows < 12 or not np.array_equal(first, second)
    assert rows < 12 or not np.array_equal(first, epoch_order(rows, seed + 1, 0))
    assert epoch_order(rows, seed, 1, shuffle=False).tolist() == list(range(rows))


def test_every_order_is_equally_likely() -> None:
    counts = Counter(tuple(epoch_order(3, seed, 0).tolist()) for seed in range(3000))
    assert len(counts) == 6
    assert max(abs(count - 500) for count in counts.values()) < 100  # 5 standard deviations


@pytest.fixture(scope="module")
def small(composed: Compose, tmp_path_factory: pytest.TempPathFactory) -> Compose:
    """`small("pooling=mean")` is a config of two short epochs on local data."""
    folder = tmp_path_factory.mktemp("data")
    local_data.write(folder, composed("task=mrpc").task, train_rows=20, dev_rows=4)

    def make(*overrides: str) -> Config:
        return composed(
            "encoder=minilm_l6",
            "encoder.num_hidden_layers=2",
            "task=mrpc",
            "data=local",
            f"data.dir={folder}",
            f"data.cache_dir={folder}/cache",
            "train.epochs=2",
            "train.batch_size=8",
            "train.max_length=64",
            *overrides,
        )

    return make


def seen_in_training(cfg: Config) -> list[list[int]]:
    """The token ids that each step of a training sees."""
    blueprint = factory.plan(cfg)
    data = load(cfg, blueprint.folder)
    model = factory.build(cfg, blueprint)
    seen: list[list[int]] = []

    def look(_: torch.nn.Module, inputs: tuple[Batch, ...]) -> None:
        if model.training:
            seen.append(inputs[0].input_ids.tolist())

    model.register_forward_pre_hook(look)
    fit(model, data.train, data.dev, cfg)
    return seen


def test_no_method_changes_which_rows_a_step_sees(small: Compose) -> None:
    baseline = seen_in_training(small("model=bert"))
    assert len(baseline) == 2 * 3
    assert baseline[:3] != baseline[3:]
    for overrides in (["pooling=mean"], ["model=maxpool", "pooling.k=2"], ["model=bert", "encoder.dropout=0"]):
        assert seen_in_training(small(*overrides)) == baseline
    assert seen_in_training(small("model=bert", "seed=1")) != baseline


def test_a_batch_of_a_subset_has_the_texts_labels_and_idx_of_the_file(small: Compose) -> None:
    cfg = small("model=bert", "subset.size=12")
    blueprint = factory.plan(cfg)
    data = load(cfg, blueprint.folder)
    assert data.about["subset"]["rows"] == len(data.train) == 12
    assert data.splits["train"] == {"rows": 20, "official": False}
    decode = Tokenizer(blueprint.folder).loaded.decode
    for split, tokens in [("train", data.train), ("validation", data.dev["validation"])]:
        table = pq.read_table(Path(str(cfg.data.dir), "mrpc", f"{split}.parquet")).to_pylist()
        by_idx = {row["idx"]: row for row in table}
        for batch in batches(tokens, epoch_order(len(tokens), 0, 0), 5):
            assert isinstance(batch, Batch)
            texts = batch.input_ids.split(tokens.lengths[batch.rows].tolist())
            for text, label, idx in zip(texts, batch.labels.tolist(), tokens.idx[batch.rows], strict=True):
                row = by_idx[idx]
                assert decode(text) == f"[CLS] {row['sentence1']} [SEP] {row['sentence2']} [SEP]"
                assert label == row["label"]


def test_a_split_of_one_row_is_a_batch() -> None:
    split = Tokens(
        input_ids=np.array([7], np.int32),
        token_type_ids=None,
        cls=0,
        stand_in=None,
        joined=False,
        offsets=np.array([0]),
        lengths=np.array([1]),
        labels=np.array([1]),
        idx=np.array([0]),
        truncated=0,
        empty=0,
    )
    (batch,) = batches(split, np.array([0]), 32)
    check(batch, split, "right")
