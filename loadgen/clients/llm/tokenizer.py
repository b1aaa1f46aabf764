"""A model's tokenizer, from a file of the scenario: `Llm(tokenizer="tokenizer.json")`. Decision 089.

It counts the tokens of an answer if the server sends no usage, and makes `prompt(tokens=n)` exact. The file is the
`tokenizer.json` that is published with most models. Nothing is downloaded.

Counting takes 1 to 3 µs of CPU a token. So it is done once, at the end of an answer, and not for each read. Long texts
are counted by a thread, because the package releases Python's lock meanwhile: the loop goes on to read other streams.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from loadgen.errors import UsageError
from loadgen.extras import how_to_install
from loadgen.units import format_count

if TYPE_CHECKING:
    from tokenizers import Tokenizer as _Implementation

__all__ = ["MOST_BYTES", "Tokenizer", "tokenizer_of"]

MOST_BYTES: Final = 64 << 20
"""Size limit of the file. Those of common models have 8 to 34 MB, and take 130 to 540 MB of memory in each worker."""
_LONG: Final = 1_000
"""Characters that the loop counts itself, in at most 0.5 ms. A hop to the thread and back takes 0.1 ms."""
_SPACES: Final = "\u0120\u2581"
"""How vocabularies write the space before a word: Ġ in those of bytes, a low line in those of SentencePiece."""
_ACROSS: Final = re.compile(f"[A-Za-z][ {_SPACES}]+[A-Za-z]")
_HINT: Final = 'name the tokenizer.json that is published with the model: tokenizer="tokenizer.json"'


class Tokenizer:
    """Counts the tokens of texts, without the special tokens that begin and end them."""

    def __init__(self, implementation: _Implementation) -> None:
        self._implementation = implementation

    def count(self, text: str) -> int:
        """Return the number of tokens of a text. Cost: 1 to 3 µs of CPU a token (bench/tokenizer.py)."""
        return self.count_each([text])[0]

    def count_each(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text."""
        try:
            # Of the package's methods, this one alone releases Python's lock. Without offsets, it is also faster.
            found = self._implementation.encode_batch_fast(list(texts), add_special_tokens=False)
        except TypeError:  # half of a surrogate pair, which JSON can carry and UTF-8 cannot
            clean = [text.encode("utf-8", errors="replace").decode() for text in texts]
            found = self._implementation.encode_batch_fast(clean, add_special_tokens=False)
        return [len(one) for one in found]

    def count_all(self, texts: Sequence[str]) -> int:
        """Return the number of tokens of several texts together."""
        return sum(self.count_each(texts)) if texts else 0

    async def count_aside(self, texts: Sequence[str]) -> int:
        """Return the number of tokens of several texts together, without holding up the loop if they are long."""
        if sum(map(len, texts)) <= _LONG:
            return self.count_all(texts)
        return await asyncio.get_running_loop().run_in_executor(_thread(), self.count_all, texts)

    def words(self) -> list[str]:
        """Return the words of letters in the vocabulary: those of ASCII first, each part sorted."""
        vocabulary = self._implementation.get_vocab(with_added_tokens=False)
        words = {word for token in vocabulary if len(word := token.lstrip(_SPACES)) > 1 and word.isalpha()}
        return sorted(words, key=lambda word: (not word.isascii(), word))

    def joins_words(self) -> bool:
        """Return whether a token reaches from one word into the next, so that the tokens of a text are not those of its
        words.
        """
        splitter = self._implementation.pre_tokenizer
        if splitter is not None and len(splitter.pre_tokenize_str("two words")) > 1:
            return False  # also with such tokens in the vocabulary, as in that of DeepSeek V3
        return _ACROSS.search("\n".join(self._implementation.get_vocab(with_added_tokens=False))) is not None


def tokenizer_of(path: Path) -> Tokenizer:
    """Return the tokenizer of a file. Each process loads a file once, in 0.3 to 1.5 s.

    Raises:
        UsageError: there is no such file, it is no tokenizer, or the extra `llm` is not installed.
    """
    try:
        stat = path.stat()
        if not path.is_file():
            raise UsageError(f"{path.name} is not a file", hint=_HINT)
    except OSError as error:
        raise UsageError(f"{path.name} cannot be read: {error.strerror}", hint=_HINT) from None
    if stat.st_size > MOST_BYTES:
        raise UsageError(
            f"{path.name} has {format_count(stat.st_size)} bytes; the limit is {format_count(MOST_BYTES)}", hint=_HINT
        )
    return _loaded(path, stat.st_mtime_ns, stat.st_size)


class _Model(msgspec.Struct):
    vocab: msgspec.Raw


class _File(msgspec.Struct):
    """The part of a tokenizer's file that other JSON files do not have."""

    model: _Model


@lru_cache(maxsize=4)
def _loaded(path: Path, _changed_ns: int, _size: int) -> Tokenizer:
    content = path.read_bytes()
    try:
        msgspec.json.decode(content, type=_File)
    except msgspec.ValidationError:
        raise UsageError(
            f"{path.name} is JSON, but not a tokenizer: it has no model with a vocab",
            hint=f"not config.json or vocab.json: {_HINT}",
        ) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise UsageError(f"{path.name} is not JSON: {error}", hint=_HINT) from None
    if find_spec("tokenizers") is None:
        raise UsageError(
            f"{path.name} needs the package tokenizers, which is not installed",
            hint=f"on this machine and on each agent, {how_to_install('llm')}",
        )
    # Otherwise a batch starts a thread for each core, which the workers need.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from tokenizers import Tokenizer as Implementation

    try:
        found = Implementation.from_str(content.decode())
        # Some files cut or fill texts to the longest input of their model.
        found.no_truncation()
        found.no_padding()
        tokenizer = Tokenizer(found)
        tokenizer.count("two words")
    except Exception as error:
        raise _refused(path, error) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # an error within the package, which is no Exception
            raise
        raise _refused(path, error) from error
    return tokenizer


def _refused(path: Path, error: BaseException) -> UsageError:
    return UsageError(f"the package tokenizers cannot read {path.name}: {str(error)[:300]}", hint=_HINT)


@cache
def _thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "tokenizer")
