"""Tokens: a split after tokenisation, kept in a cache folder that many processes can share.

An entry is a folder named by what it was made from (rows, tokenizer, length). It is written elsewhere and renamed
into place, so a reader sees all of it or nothing, and a second writer of the same entry changes nothing.
"""

import contextlib
import errno
import hashlib
import importlib.metadata
import json
import os
import tempfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from glue_pool.data.rows import Rows
from glue_pool.disk import check_room
from glue_pool.errors import UserError, reason

FORMAT = 1
AT_ONCE = 10_000  # rows that are tokenised together: their encodings take some fifty times what is kept of them
WAY_OUT = "choose another with data.cache_dir=… or GLUE_POOL_CACHE"
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "spm.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)


@dataclass(frozen=True, kw_only=True)
class Split:
    """A split as a run sees it, its rows end to end in some arrays.

    offsets: `(rows,)` int64, where each row begins; lengths: `(rows,)` int64, its tokens, special ones included.
    labels, idx: as in `Rows`.
    """

    offsets: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    idx: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets)

    def select(self, rows: np.ndarray) -> Self:
        """Return the split with only the given rows, in that order; the arrays themselves stay as they are."""
        return replace(
            self,
            offsets=self.offsets[rows],
            lengths=self.lengths[rows],
            labels=self.labels[rows],
            idx=self.idx[rows],
        )


@dataclass(frozen=True, kw_only=True)
class Tokens(Split):
    """A tokenised split.

    input_ids: `(tokens,)` int32; token_type_ids: `(tokens,)` uint8, or None where the tokenizer makes none.
    truncated, empty: how many rows lost tokens to `max_length`, and how many have a text without a word.
    """

    input_ids: np.ndarray
    token_type_ids: np.ndarray | None
    truncated: int
    empty: int

    @property
    def own_ids(self) -> np.ndarray:
        """The token ids of these rows, end to end."""
        if self.lengths.sum() == len(self.input_ids):
            return self.input_ids
        return self._own(self.input_ids)

    def _own(self, array: np.ndarray) -> np.ndarray:
        return np.concatenate([array[o : o + n] for o, n in zip(self.offsets, self.lengths, strict=True)])

    def fingerprint(self) -> str:
        """Return the SHA-256 of what an encoder sees of these rows."""
        digest = hashlib.sha256(np.ascontiguousarray(self.lengths, dtype="<i8").data)
        for array in (self.input_ids, self.token_type_ids):
            if array is not None:
                digest.update(self._own(array).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class Tokenizer:
    """The tokenizer in an encoder's folder, loaded only when something has to be tokenised."""

    folder: Path

    @cached_property
    def loaded(self) -> Any:
        """The transformers tokenizer."""
        from transformers import AutoTokenizer

        try:
            loaded = AutoTokenizer.from_pretrained(self.folder, local_files_only=True, trust_remote_code=False)
        except Exception as error:  # transformers raises whatever it stumbles over
            raise UserError(f"the tokenizer in {self.folder} can't be loaded: {reason(error)}") from None
        if not loaded.is_fast:
            raise UserError(f"the tokenizer in {self.folder} has no fast form (tokenizer.json)")
        if len(loaded) <= len(loaded.all_special_tokens):  # what transformers makes of a folder without a tokenizer
            raise UserError(f"{self.folder}: no tokenizer there (tokenizer.json); copy it from where the weights came")
        return loaded

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the tokenizer's files and of the library that reads them."""
        digest = hashlib.sha256(importlib.metadata.version("transformers").encode())
        for name in TOKENIZER_FILES:
            if (self.folder / name).is_file():
                digest.update(name.encode() + (self.folder / name).read_bytes())
        config = self.folder / "config.json"  # its model type picks the class where the tokenizer's config doesn't
        if config.is_file():
            digest.update(str(json.loads(config.read_text()).get("model_type")).encode())
        return digest.hexdigest()


def tokenise(rows: Rows, tokenizer: Tokenizer, max_length: int, cache_dir: Path) -> Tokens:
    """Return the split's tokens, at most `max_length` a row, from the cache if they are there."""
    made_from = f"{FORMAT}:{rows.fingerprint()}:{tokenizer.fingerprint}:{max_length}"
    entry = cache_dir / hashlib.sha256(made_from.encode()).hexdigest()[:32]
    tokens = _read(entry, rows)
    if tokens is not None:
        return tokens
    check_room(cache_dir, 0, f"data.cache_dir={cache_dir}", WAY_OUT)
    return _write(entry, encode(rows, tokenizer, max_length))


def encode(rows: Rows, tokenizer: Tokenizer, max_length: int) -> Tokens:
    """Tokenise a split, at most `max_length` tokens a row, without any cache."""
    ids: list[np.ndarray] = []
    types: list[np.ndarray] = []
    lengths: list[int] = []
    truncated = 0
    for first in range(0, len(rows), AT_ONCE):
        encoded = tokenizer.loaded(
            *(column[first : first + AT_ONCE] for column in rows.texts),
            truncation="longest_first",
            max_length=max_length,
            padding=False,
            return_attention_mask=False,
        )
        ids.append(np.concatenate([np.asarray(row, dtype=np.int32) for row in encoded["input_ids"]]))
        if "token_type_ids" in encoded:
            types.append(np.concatenate([np.asarray(row, dtype=np.uint8) for row in encoded["token_type_ids"]]))
        lengths += map(len, encoded["input_ids"])
        truncated += sum(bool(encoding.overflowing) for encoding in encoded.encodings)
    of_rows = np.array(lengths, dtype=np.int64)
    return Tokens(
        input_ids=np.concatenate(ids),
        token_type_ids=np.concatenate(types) if types else None,
        offsets=starts(of_rows),
        lengths=of_rows,
        labels=rows.labels,
        idx=rows.idx,
        truncated=truncated,
        empty=sum(not all(text.strip() for text in row) for row in zip(*rows.texts, strict=True)),
    )


def starts(lengths: np.ndarray) -> np.ndarray:
    """Return where rows of these lengths begin, end to end."""
    return np.concatenate([[0], np.cumsum(lengths)[:-1]])


def _read(entry: Path, of: Rows | Tokens) -> Tokens | None:
    """Return what an entry holds of a split; None where there is no entry, or a damaged one."""
    try:
        facts = json.loads((entry / "facts.json").read_text())
        arrays = {name: np.load(entry / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in facts["arrays"]}
        lengths = np.array(arrays.pop("lengths"))
        if len(lengths) != len(of) or any(len(array) != lengths.sum() for array in arrays.values()):
            return None
        return Tokens(
            input_ids=arrays["input_ids"],
            token_type_ids=arrays.get("token_type_ids"),
            offsets=starts(lengths),
            lengths=lengths,
            labels=of.labels,
            idx=of.idx,
            truncated=facts["truncated"],
            empty=facts["empty"],
        )
    except (OSError, EOFError, ValueError, KeyError, TypeError):
        return None


def _write(entry: Path, tokens: Tokens) -> Tokens:
    """Keep the tokens and return them as any process will read them, even if the entry is replaced meanwhile."""
    arrays = {
        name: getattr(tokens, name)
        for name in ("input_ids", "token_type_ids", "lengths")
        if getattr(tokens, name) is not None
    }
    facts = {"arrays": list(arrays), "truncated": tokens.truncated, "empty": tokens.empty}
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".writing-") as temporary:
            unfinished = Path(temporary, "entry")
            unfinished.mkdir()
            for name, array in arrays.items():
                np.save(unfinished / f"{name}.npy", array, allow_pickle=False)
            (unfinished / "facts.json").write_text(json.dumps(facts))
            written = _read(unfinished, tokens)
            assert written is not None
            try:
                os.rename(unfinished, entry)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
                if (first := _read(entry, tokens)) is not None:  # another process was first
                    return first
                with contextlib.suppress(OSError):  # damaged: ours replaces it, unless another process does so now
                    os.rename(entry, Path(temporary, "damaged"))
                    os.rename(unfinished, entry)
            return written
    except OSError as error:
        raise UserError(
            f"data.cache_dir={entry.parent}: tokens can't be kept there ({error.strerror or error}); {WAY_OUT}"
        ) from None
