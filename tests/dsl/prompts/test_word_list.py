"""The words of prompts: each is one token in each checked vocabulary."""

from __future__ import annotations

import importlib.util
import os
import re
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.dsl.prompts.words import drawn_words, key_of, share_of, word_list
from tools import prompt_words

FOLDER = os.environ.get("LOADGEN_VOCABULARIES", "")
"""A folder with the packages that `tools/prompt_words.py` names; the test of the vocabularies needs it."""


def test_the_list_has_2000_different_words_of_ascii_letters() -> None:
    words = word_list()

    assert len(words) == len(set(words)) == 2000
    assert all(re.fullmatch("[a-z]{2,12}", word) for word in words)
    assert not prompt_words.REMOVED & set(words)


def test_the_list_is_the_one_that_was_checked() -> None:
    """Its hash changes only together with a new check: `python -m tools.prompt_words FOLDER --make`."""
    assert sha256("\n".join(word_list()).encode()).hexdigest() == prompt_words.CHECKED_SHA256


@pytest.mark.process
@pytest.mark.skipif(not FOLDER, reason="LOADGEN_VOCABULARIES names no folder with vocabularies")
@pytest.mark.skipif(not importlib.util.find_spec("tiktoken"), reason="needs tiktoken, tokenizers and mistral-common")
def test_all_words_are_one_token_in_each_vocabulary_alone_and_in_texts() -> None:
    counts = prompt_words.vocabularies(Path(FOLDER))
    words = word_list()

    assert set(counts) >= {
        "o200k_base",
        "cl100k_base",
        "Llama 3.1",
        "Qwen 3",
        "Gemma 3",
        "Mistral v3",
        "o200k, node",
        "Llama 3, node",
    }
    for name, count in counts.items():
        single = sum(prompt_words.is_one_token(word, count) for word in words)
        assert single == len(words), f"{name}: {single} of {len(words)} words are one token"
        assert all(count(text) == n for n, text in prompt_words.texts(words)), name


def test_a_draw_has_the_same_first_words_whatever_its_length() -> None:
    assert drawn_words(7, 1000)[:10] == drawn_words(7, 10)


def test_the_words_of_a_key_never_change() -> None:
    assert drawn_words(7, 6) == GOLDEN_WORDS
    assert key_of(1, "policy", 3) == GOLDEN_KEY


GOLDEN_WORDS = ["go", "address", "throw", "nest", "ink", "delete"]
GOLDEN_KEY = 4815411039114132944


def test_all_words_are_drawn_equally_often() -> None:
    place = {word: i for i, word in enumerate(word_list())}
    counts = np.bincount([place[word] for word in drawn_words(3, 400_000)], minlength=2000)

    chi_squared = float(((counts - 200) ** 2 / 200).sum())
    assert abs(chi_squared - 1999) < 4 * (2 * 1999) ** 0.5


@given(st.lists(st.integers(0, 2**80) | st.text(max_size=5), max_size=5), st.integers(0, 4))
def test_a_key_follows_from_each_of_its_parts_and_their_order(parts: list[int | str], at: int) -> None:
    key = key_of(*parts)

    assert key == key_of(*parts)
    assert 0 <= key < 2**64
    assert 0 < share_of(key) < 1
    if at < len(parts):
        assert key_of(*parts[:at], "another", *parts[at + 1 :]) != key or parts[at] == "another"
