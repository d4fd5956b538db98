"""Tokens: what the tokenizer says, kept once for many processes (about 10 s, most of it six processes starting)."""

import json
import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

import local_data
from glue_pool.data import tokens as tokens_module
from glue_pool.data.rows import Rows
from glue_pool.data.tokens import Tokenizer, Tokens, encode, tokenise
from glue_pool.errors import UserError
from glue_pool.models import identity
from glue_pool.schema import EncoderConfig

MINILM = identity.locate(EncoderConfig(name="minilm_l6"))  # WordPiece, with token types
ARRAYS = ("input_ids", "token_type_ids", "lengths", "offsets", "labels", "idx")
TEXT = st.one_of(st.text(max_size=20), st.text("ab ,.\t", max_size=60))


def rows(*columns: list[str], labels: Any = None) -> Rows:
    count = len(columns[0])
    gold = np.arange(count) % 2 if labels is None else np.asarray(labels)
    return Rows(columns, gold, np.arange(count) + 100)


SINGLE = rows(["A cat sat.", "", "Dogs bark at the moon", "  "])
PAIRS = rows(["A cat sat.", "one", "x", ""], ["It sat.", " two three four five six seven eight", "", ""])


@pytest.fixture(scope="module")
def bpe() -> Path:
    return local_data.roberta_tokenizer()


@pytest.fixture(params=["wordpiece", "bpe"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return Tokenizer(MINILM if request.param == "wordpiece" else request.getfixturevalue("bpe"))


@pytest.fixture
def own_tokenizer(tmp_path: Path) -> Path:
    """A folder with MiniLM's tokenizer, to change."""
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copyfile(MINILM / name, folder / name)
    return folder


def same(first: Tokens, second: Tokens) -> bool:
    both = [[getattr(tokens, name) for name in ARRAYS] for tokens in (first, second)]
    counts = [(tokens.truncated, tokens.empty) for tokens in (first, second)]
    return counts[0] == counts[1] and all(
        (a is None and b is None) or (a.dtype == b.dtype and np.array_equal(a, b)) for a, b in zip(*both, strict=True)
    )


def row(tokens: Tokens, name: str, i: int) -> list[int]:
    start = tokens.offsets[i]
    found: list[int] = getattr(tokens, name)[start : start + tokens.lengths[i]].tolist()
    return found


def in_a_list(direct: Any, *texts: str, **options: Any) -> dict[str, list[int]]:
    """One row from a tokenizer; called without lists it takes an empty second text for none at all."""
    encoded = direct(*([text] for text in texts), **options)
    return {name: values[0] for name, values in encoded.items()}


def entries(cache: Path) -> list[Path]:
    return sorted(cache.iterdir())


@pytest.mark.parametrize("split", [SINGLE, PAIRS], ids=["single", "pairs"])
def test_tokens_are_those_of_a_direct_call(tokenizer: Tokenizer, split: Rows, tmp_path: Path) -> None:
    direct = AutoTokenizer.from_pretrained(tokenizer.folder)
    for max_length in (8, 64):
        tokens = tokenise(split, tokenizer, max_length, tmp_path)
        for i, texts in enumerate(zip(*split.texts, strict=True)):
            expected = in_a_list(direct, *texts, truncation="longest_first", max_length=max_length)
            assert row(tokens, "input_ids", i) == expected["input_ids"]
            if tokens.token_type_ids is not None:
                assert row(tokens, "token_type_ids", i) == expected["token_type_ids"]
        assert (tokens.token_type_ids is None) == ("roberta" in tokenizer.folder.name)
        assert np.array_equal(tokens.labels, split.labels)
        assert np.array_equal(tokens.idx, split.idx)


def test_rows_that_are_tokenised_in_parts_are_those_tokenised_at_once(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split in (SINGLE, PAIRS):
        whole = encode(split, tokenizer, 8)
        monkeypatch.setattr(tokens_module, "AT_ONCE", 3)
        assert same(encode(split, tokenizer, 8), whole)
        monkeypatch.undo()


def test_pairs_are_joined_as_the_encoder_was_trained_on(bpe: Path, tmp_path: Path) -> None:
    split = rows(["a b"], ["c"])
    loaded = AutoTokenizer.from_pretrained(bpe)
    ids = tokenise(split, Tokenizer(bpe), 16, tmp_path).input_ids
    assert loaded.decode(ids) == "<s>a b</s></s>c</s>"
    wordpiece = tokenise(split, Tokenizer(MINILM), 16, tmp_path)
    assert AutoTokenizer.from_pretrained(MINILM).decode(wordpiece.input_ids) == "[CLS] a b [SEP] c [SEP]"
    assert wordpiece.token_type_ids is not None
    assert wordpiece.token_type_ids.tolist() == [0, 0, 0, 0, 1, 1]


WORDPIECE = Tokenizer(MINILM)


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6),
    columns=st.integers(1, 2),
    max_length=st.integers(4, 24),
)
def test_any_text_is_tokenised_truncated_and_counted(
    texts: list[tuple[str, str]], columns: int, max_length: int
) -> None:
    split = rows(*([text[i] for text in texts] for i in range(columns)))
    tokens = encode(split, WORDPIECE, max_length)
    whole = [in_a_list(WORDPIECE.loaded, *text[:columns])["input_ids"] for text in texts]
    assert tokens.truncated == sum(len(ids) > max_length for ids in whole)
    assert tokens.empty == sum(any(not t.strip() for t in text[:columns]) for text in texts)
    assert tokens.lengths.tolist() == [min(len(ids), max_length) for ids in whole]
    for i, text in enumerate(texts):
        direct = in_a_list(WORDPIECE.loaded, *text[:columns], truncation="longest_first", max_length=max_length)
        assert row(tokens, "input_ids", i) == direct["input_ids"]
        assert row(tokens, "token_type_ids", i) == direct["token_type_ids"]


def test_the_longer_text_of_a_pair_loses_tokens(tmp_path: Path) -> None:
    split = rows(["one two three four five six seven"], ["eight nine"])
    tokens = tokenise(split, WORDPIECE, 9, tmp_path)
    assert WORDPIECE.loaded.decode(tokens.input_ids) == "[CLS] one two three four [SEP] eight nine [SEP]"
    assert tokens.truncated == 1


def test_a_text_of_ten_thousand_words_is_cut(tokenizer: Tokenizer, tmp_path: Path) -> None:
    split = rows(["word " * 10_000, "short"], ["short", ""])
    tokens = tokenise(split, tokenizer, 128, tmp_path)
    assert tokens.lengths[0] == 128
    assert (tokens.truncated, tokens.empty) == (1, 1)


def test_the_second_call_reads_the_entry_and_loads_no_tokenizer(tokenizer: Tokenizer, tmp_path: Path) -> None:
    first = tokenise(PAIRS, tokenizer, 8, tmp_path)
    (entry,) = entries(tmp_path)
    written = entry.stat().st_mtime_ns

    unused = Tokenizer(tokenizer.folder)
    second = tokenise(PAIRS, unused, 8, tmp_path)
    assert "loaded" not in vars(unused)
    assert same(first, second)
    assert same(second, encode(PAIRS, tokenizer, 8))
    assert [path.stat().st_mtime_ns for path in entries(tmp_path)] == [written]


def test_whatever_the_tokens_follow_from_makes_another_entry(own_tokenizer: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    texts = [list(column) for column in PAIRS.texts]
    splits = [
        PAIRS,
        rows([*texts[0][:-1], "."], texts[1]),
        rows(texts[1], texts[0]),
        rows([a + b for a, b in zip(*texts, strict=True)]),
        rows(*texts, labels=[1, 1, 0, 0]),
        replace(PAIRS, idx=PAIRS.idx + 1),
    ]
    for count, split in enumerate(splits, 1):
        tokenise(split, Tokenizer(own_tokenizer), 8, cache)
        assert len(entries(cache)) == count
    tokenise(PAIRS, Tokenizer(own_tokenizer), 9, cache)
    assert len(entries(cache)) == len(splits) + 1

    lower = tokenise(PAIRS, Tokenizer(own_tokenizer), 8, cache)
    changed = json.loads((own_tokenizer / "tokenizer_config.json").read_text()) | {"do_lower_case": False}
    (own_tokenizer / "tokenizer_config.json").write_text(json.dumps(changed))
    cased = tokenise(PAIRS, Tokenizer(own_tokenizer), 8, cache)
    assert not np.array_equal(cased.input_ids, lower.input_ids)
    assert len(entries(cache)) == len(splits) + 2
    (own_tokenizer / "config.json").write_text('{"model_type": "electra"}')
    tokenise(PAIRS, Tokenizer(own_tokenizer), 8, cache)
    assert len(entries(cache)) == len(splits) + 3

    elsewhere = shutil.copytree(own_tokenizer, tmp_path / "elsewhere")
    tokenise(PAIRS, Tokenizer(elsewhere), 8, cache)
    assert len(entries(cache)) == len(splits) + 3  # by content, not by path


def truncate(entry: Path, name: str, keep: int) -> None:
    os.truncate(entry / name, keep)


def write(entry: Path, name: str, content: str) -> None:
    (entry / name).write_text(content)


def remove(entry: Path, pattern: str) -> None:
    for path in entry.glob(pattern):
        path.unlink()


def replace_by_a_file(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.write_text("")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "array cut short": partial(truncate, name="input_ids.npy", keep=140),
    "array without its header": partial(truncate, name="input_ids.npy", keep=20),
    "empty array": partial(truncate, name="lengths.npy", keep=0),
    "array missing": partial(remove, pattern="token_type_ids.npy"),
    "array of another split": lambda entry: np.save(entry / "lengths.npy", np.array([3, 4])),
    "types of another split": lambda entry: np.save(entry / "token_type_ids.npy", np.zeros(3, np.uint8)),
    "facts missing": partial(remove, pattern="facts.json"),
    "facts cut short": partial(truncate, name="facts.json", keep=9),
    "empty facts": partial(truncate, name="facts.json", keep=0),
    "facts of another shape": partial(write, name="facts.json", content="[]"),
    "counts missing": partial(write, name="facts.json", content='{"arrays": ["input_ids", "lengths"]}'),
    "nothing in it": partial(remove, pattern="*"),
    "a file in its place": replace_by_a_file,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_entry_is_rebuilt(damage: Callable[[Path], object], tmp_path: Path) -> None:
    tokenise(PAIRS, WORDPIECE, 8, tmp_path)
    (entry,) = entries(tmp_path)
    damage(entry)
    for reader in (WORDPIECE, Tokenizer(MINILM)):
        again = tokenise(PAIRS, reader, 8, tmp_path)
        assert same(again, encode(PAIRS, WORDPIECE, 8))
    assert "loaded" not in vars(reader)
    assert entries(tmp_path) == [entry]


class Executed:
    """What unpickling this would do: make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_a_pickle_in_an_entry_is_never_loaded(tmp_path: Path) -> None:
    cache, executed = tmp_path / "cache", tmp_path / "executed"
    tokenise(PAIRS, WORDPIECE, 8, cache)
    (entry,) = entries(cache)
    for name in ("input_ids", "lengths"):
        np.save(entry / f"{name}.npy", np.array([Executed(executed)], dtype=object), allow_pickle=True)
        assert same(tokenise(PAIRS, WORDPIECE, 8, cache), encode(PAIRS, WORDPIECE, 8))
    assert not executed.exists()


def test_what_comes_from_the_cache_can_only_be_read(tmp_path: Path) -> None:
    for _ in range(2):  # when the entry is written, and when it is read
        tokens = tokenise(PAIRS, WORDPIECE, 8, tmp_path)
        for array in (tokens.input_ids, tokens.token_type_ids):
            assert isinstance(array, np.memmap)
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc")
def test_tokens_are_the_pages_of_one_file_and_a_subset_copies_none(tmp_path: Path) -> None:
    held = [tokenise(PAIRS, WORDPIECE, 8, tmp_path) for _ in range(2)]
    (entry,) = entries(tmp_path)
    mapped = [line.split()[4] for line in Path("/proc/self/maps").read_text().splitlines()]
    assert mapped.count(str((entry / "input_ids.npy").stat().st_ino)) == 2
    subset = held[0].select(np.array([2, 0]))
    assert np.shares_memory(subset.input_ids, held[0].input_ids)
    assert [row(subset, "input_ids", i) for i in (0, 1)] == [row(held[1], "input_ids", i) for i in (2, 0)]
    assert subset.labels.tolist() == [0, 0]
    assert subset.idx.tolist() == [102, 100]


def test_a_cache_folder_that_cannot_be_made_is_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"data\.cache_dir=.*GLUE_POOL_CACHE") as refused:
        tokenise(PAIRS, WORDPIECE, 8, tmp_path / "file" / "cache")
    assert "\n" not in str(refused.value)


def test_entries_that_are_deleted_meanwhile_do_no_harm(tmp_path: Path) -> None:
    expected = encode(PAIRS, WORDPIECE, 8)
    over = threading.Event()

    def delete() -> None:
        while not over.is_set():
            for entry in tmp_path.glob("[!.]*"):
                shutil.rmtree(entry, ignore_errors=True)

    deleting = threading.Thread(target=delete)
    deleting.start()
    try:
        assert all(same(tokenise(PAIRS, WORDPIECE, 8, tmp_path), expected) for _ in range(100))
    finally:
        over.set()
        deleting.join()


def test_six_processes_on_one_cold_cache_get_equal_tokens_and_leave_one_entry(tmp_path: Path) -> None:
    workers, rounds = 6, 10
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["glue_pool.data.tokens", "transformers.models.auto.tokenization_auto"])
    split = rows([f"sentence {i} of some" for i in range(200)], ["and its other half"] * 200)
    files = ["facts.json", "input_ids.npy", "lengths.npy", "token_type_ids.npy"]
    known: set[Path] = set()
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        list(pool.map(time.sleep, [0.3] * workers))  # all of them are up
        for round_ in range(rounds):
            max_length = 8 + round_
            expected = encode(split, WORDPIECE, max_length)
            if round_ % 2:  # not cold but damaged
                tokenise(split, WORDPIECE, max_length, tmp_path)
                (entry,) = set(entries(tmp_path)) - known
                truncate(entry, "input_ids.npy", 140)
            call = partial(tokenise, split, Tokenizer(MINILM), max_length, tmp_path)
            results = [pool.submit(call) for _ in range(workers)]
            assert all(same(result.result(), expected) for result in results)
            known = set(entries(tmp_path))
            assert len(known) == round_ + 1
    assert all(sorted(path.name for path in entry.iterdir()) == files for entry in entries(tmp_path))
