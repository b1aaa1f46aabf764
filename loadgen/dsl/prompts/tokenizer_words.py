"""The words of prompts for a model's own tokenizer: those that are one token each by its file, so n words are n tokens.

Nothing is counted when prompts are drawn. With the vocabularies that were checked (decision 086) these are all words of
the shipped list, so the texts are the same as without the file. With others, words of the vocabulary itself are added.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from random import Random
from typing import Final

import numpy as np

from loadgen.clients.llm.tokenizer import Tokenizer
from loadgen.dsl.prompts.words import word_list

__all__ = ["ENOUGH", "FEWEST", "exact_words"]

ENOUGH: Final = 500
"""With fewer words of the shipped list, words of the vocabulary are added."""
FEWEST: Final = 64
"""With fewer words in all, prompts would not be unique: 16 of 64 words have 2^96 texts."""
_MOST_ADDED: Final = 5_000
_TEXTS, _WORDS = 20, 100


@lru_cache(maxsize=4)
def exact_words(tokenizer: Tokenizer) -> np.ndarray | None:
    """Return words that are one token each, also after another one, as an array of text.

    None: there are too few, or the vocabulary has tokens of several words. Cost: 30 to 200 ms, once for each tokenizer.
    """
    found = _single(tokenizer, word_list())
    if len(found) < ENOUGH:
        known = set(found)
        found += _single(tokenizer, [word for word in tokenizer.words() if word not in known][:_MOST_ADDED])
    if len(found) < FEWEST or tokenizer.joins_words() or not _is_additive(tokenizer, found):
        return None
    return np.array(found, dtype=object)


def _single(tokenizer: Tokenizer, words: Sequence[str]) -> list[str]:
    """Return the words that are one token at the start of a text and after another word."""
    alone = tokenizer.count_each(words)
    after = tokenizer.count_each([f"{word} {word}" for word in words])
    return [word for word, one, two in zip(words, alone, after, strict=True) if one == 1 and two == 2]


def _is_additive(tokenizer: Tokenizer, words: Sequence[str]) -> bool:
    """Return True if whole texts have as many tokens as words. Some vocabularies have tokens of several words."""
    random = Random(89)  # noqa: S311
    texts = [" ".join(random.choices(words, k=_WORDS)) for _ in range(_TEXTS)]
    return all(count == _WORDS for count in tokenizer.count_each(texts))
