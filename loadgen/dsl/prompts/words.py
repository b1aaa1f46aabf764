"""Draws words that language models read as one token each.

`word_list.txt` has the words. `tools/prompt_words.py` makes it: each word is one token in each
checked vocabulary, both at the start of a text and after a space. So the text of n words has n
tokens, without a tokenizer (decision 086).

The words of a key are computed from a counter (`splitmix.py`). So the first 100 words of a key
are the same whether 100 or 1,000 are drawn, and the same in each process.
"""

from __future__ import annotations

from functools import cache, lru_cache
from hashlib import blake2b
from importlib.resources import files
from typing import Final

import numpy as np

from loadgen.splitmix import GOLDEN, MASK, mixed, mixed_each

__all__ = ["drawn_words", "key_of", "share_of", "word_list"]

_LOW: Final = np.uint64(32)


def drawn_words(key: int, count: int, words: np.ndarray | None = None) -> list[str]:
    """Return the first `count` words of a key.

    words: an array of text to draw from; None: `word_list`. Cost: 30 ns a word, and 10 µs in addition.
    """
    numbers = mixed_each(np.uint64(key & MASK) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN))
    if words is None:
        words = _array()
    # The upper 32 bits, mapped to the length of the list; the bias is below length / 2^32.
    places = ((numbers >> _LOW) * np.uint64(len(words))) >> _LOW
    drawn: list[str] = words[places].tolist()
    return drawn


def key_of(*parts: int | str) -> int:
    """Return a 64-bit key that follows from whole numbers and texts, in order."""
    key = 0
    for part in parts:
        key = mixed(key + GOLDEN ^ mixed(_number(part) if isinstance(part, str) else part))
    return key


def share_of(key: int) -> float:
    """Return a number between 0 and 1, both excluded, that follows from a key."""
    return ((mixed(key + GOLDEN) >> 12) + 0.5) / 2**52


@cache
def word_list() -> tuple[str, ...]:
    """Return all words, in the order of the file."""
    text = files(__package__).joinpath("word_list.txt").read_text(encoding="ascii")
    return tuple(line for line in text.splitlines() if line and not line.startswith("#"))


@cache
def _array() -> np.ndarray:
    return np.array(word_list(), dtype=object)


@lru_cache(maxsize=1024)
def _number(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())
