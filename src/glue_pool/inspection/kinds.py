"""What a token is: [CLS], another special one, punctuation, or another."""

import unicodedata
from functools import cached_property
from typing import Any

import numpy as np

from glue_pool.data.tokens import Tokenizer

KINDS = ("[CLS]", "[SEP]", "punctuation", "other")


class Kinds:
    """The kinds of a tokenizer's tokens, as indices of KINDS; [SEP] is every special token but [CLS]."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._loaded: Any = tokenizer.loaded
        self._known: dict[int, int] = {}

    def of(self, ids: np.ndarray, cls: int | None) -> np.ndarray:
        """Return the kinds of a row's tokens; cls: where the row has its [CLS], as an index."""
        kinds = np.array([self._kind(token) for token in ids.tolist()], dtype=np.int64)
        if cls is not None:
            kinds[cls] = 0
        return kinds

    def _kind(self, token: int) -> int:
        if token not in self._known:
            self._known[token] = self._look(token)
        return self._known[token]

    def _look(self, token: int) -> int:
        if token in self._special:
            return 1
        text = self._loaded.convert_tokens_to_string([self._loaded.convert_ids_to_tokens(token)])
        text = text.strip().removeprefix("##")
        return 2 if text and all(unicodedata.category(char)[0] in "PS" for char in text) else 3

    @cached_property
    def _special(self) -> set[int]:
        return set(self._loaded.all_special_ids) - {self._loaded.unk_token_id}
