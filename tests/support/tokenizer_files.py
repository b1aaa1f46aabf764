"""Small tokenizer files for tests: of whole words, of trained pieces of words, and of single letters."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["of_letters", "of_pieces", "of_words"]


def of_words(path: Path, words: Iterable[str] = ()) -> Path:
    """Write a tokenizer for which each word is one token, known or not."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {word: n for n, word in enumerate(["<unk>", *words])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _written(path, made)


def of_pieces(path: Path, texts: Iterable[str], size: int) -> Path:
    """Write a byte-pair tokenizer with a vocabulary of this size, trained with these texts."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    )
    return _written(path, made)


def of_letters(path: Path) -> Path:
    """Write a tokenizer for which each letter and each space is a token, so no word is one."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    vocabulary = {letter: n for n, letter in enumerate(["<unk>", " ", *"abcdefghijklmnopqrstuvwxyz"])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    return _written(path, made)


def _written(path: Path, made: Any) -> Path:
    path.write_text(made.to_str(), encoding="utf-8")
    return path
