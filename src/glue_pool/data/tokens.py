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
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from glue_pool.data.rows import Rows
from glue_pool.disk import check_room
from glue_pool.errors import UserError, reason

FORMAT = 2
FACTS = ("cls", "stand_in", "joined", "truncated", "empty")  # what an entry holds beside arrays
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
    labels, idx, groups: as in `Rows`.
    """

    offsets: np.ndarray
    lengths: np.ndarray
    labels: np.ndarray
    idx: np.ndarray
    groups: np.ndarray | None = None

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
            groups=None if self.groups is None else self.groups[rows],
        )


@dataclass(frozen=True, kw_only=True)
class Tokens(Split):
    """A tokenised split.

    input_ids: `(tokens,)` int32; token_type_ids: `(tokens,)` uint8, or None where the tokenizer makes none.
    cls: where each row has its [CLS], as an index (0 the first token, -1 the last); None if nothing can stand for it.
    stand_in: the token that stands there, where the tokenizer adds no [CLS] of its own; None else.
    joined: whether a second text follows the first with no special token between them.
    truncated, empty: how many rows lost tokens to `max_length`, and how many have a text without a word.
    """

    input_ids: np.ndarray
    token_type_ids: np.ndarray | None
    cls: int | None
    stand_in: str | None
    joined: bool
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
        if self.cls:  # hidden states are kept with [CLS] first
            digest.update(str(self.cls).encode())
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
        except Exception as error:  # a damaged or foreign file ends in whatever its reader stumbled over
            raise UserError(f"the tokenizer in {self.folder} can't be loaded: {reason(error)}") from None
        if not loaded.is_fast:
            raise UserError(
                f"the tokenizer in {self.folder} is a {type(loaded).__name__}, which has no fast form "
                "(tokenizer.json), and only that is used; choose an encoder with one"
            )
        if len(loaded) <= len(loaded.all_special_tokens):  # what transformers makes of a folder without a tokenizer
            raise UserError(f"{self.folder}: no tokenizer there (tokenizer.json); copy it from where the weights came")
        self._check_kind(loaded)
        model = loaded.backend_tokenizer.model
        if getattr(model, "dropout", None):  # of BPE's merges: other tokens each time
            model.dropout = None
        if self._would_lose_capitals(loaded):
            raise UserError(
                f"{self.folder}: vocab.txt has words with capitals, and no file says whether texts are lower-cased, as "
                'they would be; write {"do_lower_case": false} to tokenizer_config.json'
            )
        return loaded

    def _check_kind(self, loaded: Any) -> None:
        """Refuse a class that makes another kind of model (WordPiece, BPE, …) of tokenizer.json than there is in it."""
        try:
            said = json.loads((self.folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["type"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return
        made = type(loaded.backend_tokenizer.model).__name__
        if said != made:
            raise UserError(
                f"{self.folder}: tokenizer.json is of {said}, of which {type(loaded).__name__} makes {made}; correct "
                "tokenizer_class in tokenizer_config.json"
            )

    def _would_lose_capitals(self, loaded: Any) -> bool:
        """Whether texts are lower-cased by default alone, and a share of the vocabulary is not."""
        config = self.folder / "tokenizer_config.json"
        said = config.is_file() and "do_lower_case" in config.read_text(encoding="utf-8")
        if said or (self.folder / "tokenizer.json").is_file() or not loaded.init_kwargs.get("do_lower_case"):
            return False
        words = [word for word in loaded.get_vocab() if not word.startswith("[")]
        return bool(sum(word != word.lower() for word in words) > 0.01 * len(words))

    def encode(self, columns: Sequence[list[str]], max_length: int) -> Any:
        """Return what transformers makes of some rows, without padding."""
        try:
            return self.loaded(
                *columns,
                truncation="longest_first",
                max_length=max_length,
                padding=False,
                return_attention_mask=False,
            )
        except Exception as error:  # the tokenizers library raises nothing narrower
            raise UserError(f"the tokenizer in {self.folder} fails on these texts: {reason(error)}") from None

    def added(self, texts: int) -> int:
        """Return how many special tokens a row of so many texts gets."""
        return int(self.loaded.num_special_tokens_to_add(pair=texts == 2))

    def frame(self, text: str, texts: int) -> tuple[int | None, str | None, bool]:
        """Return of a row of so many texts where it has its [CLS], what stands for it and whether the texts are joined.

        These are `cls`, `stand_in` and `joined` of `Tokens`.

        [CLS] is the tokenizer's own; where it adds none, the first token stands for it if that is a special one, else
        the last. text: one that it finds tokens in.
        """
        (encoding,) = self.encode([[text]] * texts, max_length=2**31 - 1).encodings
        special = np.array(encoding.special_tokens_mask, dtype=bool)
        of_texts = np.flatnonzero(~special)
        lead, tail = (int(of_texts[0]), int(of_texts[-1]) + 1) if len(of_texts) else (len(special), len(special))
        own = np.flatnonzero(special & (np.array(encoding.ids) == self.loaded.cls_token_id)).tolist()
        its_own = [i for i in own if i < lead] + [i - len(special) for i in own if i >= tail]
        spots = its_own + [0] * (lead > 0) + [-1] * (tail < len(special))
        cls = spots[0] if spots else None
        stand_in = None if its_own or cls is None else str(encoding.tokens[cls])
        return cls, stand_in, texts == 2 and len(of_texts) > 0 and bool(special[lead:tail].sum() == 0)

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the tokenizer's files and of the library that reads them."""
        digest = hashlib.sha256(importlib.metadata.version("transformers").encode())
        for name in TOKENIZER_FILES:
            if (self.folder / name).is_file():
                digest.update(name.encode() + (self.folder / name).read_bytes())
        config = self.folder / "config.json"  # it picks the class where the tokenizer's config doesn't
        if config.is_file():
            content = json.loads(config.read_text(encoding="utf-8"))
            digest.update(str([content.get(name) for name in ("model_type", "tokenizer_class")]).encode())
        return digest.hexdigest()


def tokenise(rows: Rows, tokenizer: Tokenizer, max_length: int, cache_dir: Path, of: str = "the texts") -> Tokens:
    """Return the split's tokens, at most `max_length` a row, from the cache if they are there.

    of: the split's name. Raises UserError where no text has a token, and what `encode` does.
    """
    made_from = f"{FORMAT}:{rows.fingerprint()}:{tokenizer.fingerprint}:{max_length}"
    entry = cache_dir / hashlib.sha256(made_from.encode()).hexdigest()[:32]
    tokens = _read(entry, rows)
    if tokens is not None:
        return tokens
    check_room(cache_dir, 0, f"data.cache_dir={cache_dir}", WAY_OUT)
    tokens = encode(rows, tokenizer, max_length, of)
    if (tokens.lengths <= tokenizer.added(len(rows.texts))).all() and _has_words(rows):
        raise UserError(
            f"{of}: the tokenizer in {tokenizer.folder} makes no token of any text (the first is {_shown(rows, 0)}); "
            "its files, or the class that tokenizer_config.json names, are not of one tokenizer"
        )
    return _write(entry, tokens)


def encode(rows: Rows, tokenizer: Tokenizer, max_length: int, of: str = "the texts") -> Tokens:
    """Tokenise a split, at most `max_length` tokens a row, without any cache.

    of: the split's name. Raises UserError, which names the row by its idx, where one has no token at all.
    """
    added = tokenizer.added(len(rows.texts))
    if added >= max_length:
        raise UserError(
            f"train.max_length={max_length}: the tokenizer in {tokenizer.folder} adds {added} special tokens to a row, "
            "which leaves no room for its text"
        )
    ids: list[np.ndarray] = []
    types: list[np.ndarray] = []
    lengths: list[int] = []
    truncated = 0
    for first in range(0, len(rows), AT_ONCE):
        encoded = tokenizer.encode([column[first : first + AT_ONCE] for column in rows.texts], max_length)
        ids.append(np.concatenate([np.asarray(row, dtype=np.int32) for row in encoded["input_ids"]]))
        if "token_type_ids" in encoded:
            types.append(np.concatenate([np.asarray(row, dtype=np.int32) for row in encoded["token_type_ids"]]))
        lengths += map(len, encoded["input_ids"])
        truncated += sum(bool(encoding.overflowing) for encoding in encoded.encodings)
    of_rows = np.array(lengths, dtype=np.int64)
    without = np.flatnonzero(of_rows == 0)
    if len(without):
        raise UserError(
            f"{of}: the tokenizer in {tokenizer.folder} makes no token of {len(without)} of {len(rows)} rows "
            f"(the first has idx {rows.idx[without[0]]}: {_shown(rows, without[0])}) and adds no special ones; "
            "leave such rows out"
        )
    longest = " ".join(column[of_rows.argmax()] for column in rows.texts) if len(rows) else ""
    cls, stand_in, joined = tokenizer.frame(longest, len(rows.texts))
    return Tokens(
        input_ids=np.concatenate(ids) if ids else np.zeros(0, dtype=np.int32),
        token_type_ids=_types(np.concatenate(types), tokenizer) if types else None,
        cls=cls,
        stand_in=stand_in,
        joined=joined,
        offsets=starts(of_rows),
        lengths=of_rows,
        labels=rows.labels,
        idx=rows.idx,
        groups=rows.groups,
        truncated=truncated,
        empty=sum(not all(text.strip() for text in row) for row in zip(*rows.texts, strict=True)),
    )


def _has_words(rows: Rows) -> bool:
    return any(any(map(str.isalnum, text)) for column in rows.texts for text in column)


def _shown(rows: Rows, row: Any) -> str:
    return " and ".join(repr(column[row][:40]) for column in rows.texts)


def _types(types: np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
    if types.max(initial=0) > np.iinfo(np.uint8).max:
        raise UserError(f"the tokenizer in {tokenizer.folder} gives token type {types.max()}; types end at 255 here")
    return types.astype(np.uint8)


def starts(lengths: np.ndarray) -> np.ndarray:
    """Return where rows of these lengths begin, end to end."""
    begins: np.ndarray = np.cumsum(lengths) - lengths
    return begins


def _read(entry: Path, of: Rows | Tokens) -> Tokens | None:
    """Return what an entry holds of a split; None where there is no entry, or a damaged one."""
    try:
        facts = json.loads((entry / "facts.json").read_text(encoding="utf-8"))
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
            groups=of.groups,
            **{name: facts[name] for name in FACTS},
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
    facts = {"arrays": list(arrays)} | {name: getattr(tokens, name) for name in FACTS}
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=entry.parent, prefix=".writing-") as temporary:
            unfinished = Path(temporary, "entry")
            unfinished.mkdir()
            for name, array in arrays.items():
                np.save(unfinished / f"{name}.npy", array, allow_pickle=False)
            (unfinished / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
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
