"""Prompts: texts of a given number of tokens, drawn when they are sent.

    await user.llm.chat(prompt(tokens=1024))                          no two requests have the same text
    await user.llm.chat(prompt(tokens=lognormal(6, 1)))               a random length for each request
    policy = shared_prefix("policy", tokens=2048, groups=32)          32 texts, which many requests share
    await user.llm.chat(policy + prompt(tokens=200))

A prompt is an immutable value without a text. The text follows from where the prompt is sent:
the run's seed, the load, the iteration and the number of the prompt within the iteration. So
it is the same on any number of agents and in a repeated run, and no server cache has seen it
before. `user.llm` asks for it, and `user.text_of(prompt)` for requests of other clients:

    prompt.text(seed, arrival, nth, load, user_number, tokens_per_word=1.0)

Creating a prompt never raises: errors are kept in `faults`, and drawing from it then raises.
The number of tokens is that of the text. Chat templates of servers add some.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import lru_cache
from math import isfinite
from typing import Any, Final, Literal

import numpy as np

from loadgen.dsl.distributions import Distribution
from loadgen.dsl.prompts.calibration import calibrated
from loadgen.dsl.prompts.words import drawn_words, key_of, share_of
from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault, UsageError
from loadgen.units import format_count

__all__ = ["MOST_TOKENS", "Prompt", "Zipf", "blocks", "prompt", "shared_prefix", "zipf"]

MOST_TOKENS: Final = 10_000_000
"""Maximum number of tokens of one part of a prompt: more than the longest contexts of models."""
_MOST_GROUPS: Final = 1_000_000
_NONCE_WORDS: Final = 8
"""Words in front of a prefix that make a server's cache miss: 2,000^8 texts."""
_UNIQUE, _PREFIX, _BLOCK, _GROUP = range(4)


@dataclass(frozen=True, slots=True, repr=False)
class Prompt:
    """A text of a given number of tokens, which is drawn when it is sent. Created by `prompt` and `shared_prefix`.

    Prompts are joined by `+`. `str(prompt)` is its text in the first iteration of a run with the seed 0.
    """

    parts: tuple[_Part, ...]
    origin: Origin = field(compare=False)
    problem: str = ""
    """The error in the arguments, then " | " and the hint; empty if they are valid."""

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Return the errors in the arguments."""
        return _faults(self.origin, self.problem)

    @property
    def mean_tokens(self) -> float:
        """Return the expected number of tokens. Undefined if the prompt has errors."""
        return sum(part.mean_tokens for part in self.parts)

    def text(
        self,
        seed: int,
        arrival: int,
        nth: int = 0,
        load: int = 0,
        user: int | None = None,
        *,
        tokens_per_word: float = 1.0,
        words: np.ndarray | None = None,
    ) -> str:
        """Return the text of this prompt for one request: its words with a space between them.

        Args:
            seed: the run's seed.
            arrival: the number of the iteration within its load, as `user.arrival`.
            nth: the number of the prompt within its iteration, from 0. The client counts them.
            load: the index of the load within the plan.
            user: the user's number, as `user.number`; None: `arrival`. Only prefixes with `per="user"` need it.
            tokens_per_word: how many tokens the server counts for a word (`calibration.py`).
            words: the words to draw from (`tokenizer_words.py`); None: those of the shipped list.

        Raises:
            UsageError: the prompt was created with invalid arguments.
        Cost: 20 µs and 30 to 40 ns a word, so 4 ms for 100,000 words (the minimum of 15 repetitions on one core).
        """
        return " ".join(self.words(seed, arrival, nth, load, user, tokens_per_word=tokens_per_word, words=words))

    def words(
        self,
        seed: int,
        arrival: int,
        nth: int = 0,
        load: int = 0,
        user: int | None = None,
        *,
        tokens_per_word: float = 1.0,
        words: np.ndarray | None = None,
    ) -> list[str]:
        """Return the words of `text`. With the same factor, their number is `count` divided by `tokens_per_word`."""
        self._refuse()
        at = _Place(seed, load, arrival if user is None else user, arrival, nth, words)
        return [word for i, part in enumerate(self.parts) for word in part.words(at, i, tokens_per_word)]

    def count(self, seed: int, arrival: int, nth: int = 0, load: int = 0, user: int | None = None) -> int:
        """Return how many tokens the prompt of a request is meant to have. The arguments are as of `text`."""
        self._refuse()
        at = _Place(seed, load, arrival if user is None else user, arrival, nth)
        return sum(part.count(at, i) for i, part in enumerate(self.parts))

    def __add__(self, other: Prompt) -> Prompt:
        if not isinstance(other, Prompt):
            return NotImplemented
        return Prompt((*self.parts, *other.parts), self.origin, self.problem or other.problem)

    def __str__(self) -> str:
        return self.text(0, 0)

    def __repr__(self) -> str:
        if self.problem:
            return f"<invalid prompt at {self.origin}>"
        return f"<prompt of {format_count(round(self.mean_tokens))} tokens at {self.origin}>"

    def _refuse(self) -> None:
        if self.problem:
            fault = self.faults[0]
            raise UsageError(f"{fault.file}:{fault.line}: {fault.message}", hint=fault.hint)


def prompt(tokens: int | Distribution) -> Prompt:
    """Return a prompt of common English words, one token each, with another text in each request.

    tokens: a whole number from 1 to 10,000,000, or a distribution. Numbers drawn from a distribution are rounded, to at
        least 1.
    """
    return Prompt((_Unique(tokens),), here(), _wrong_tokens("prompt", tokens))


def shared_prefix(
    name: str,
    tokens: int | Distribution = 2048,
    *,
    groups: int = 32,
    pick: Zipf | None = None,
    per: Literal["iteration", "user"] = "iteration",
    cache: Literal["keep", "bust"] = "keep",
) -> Prompt:
    """Return a prompt that has the same text in many requests, such as a system prompt or a document.

    The prefix has `groups` texts. Each follows from the run's seed, `name` and the number of the group. All prompts of
    an iteration use the same group.

    Args:
        name: not empty. Prefixes of different names have different texts.
        tokens: as in `prompt`. With a distribution, each group has a length of its own.
        groups: the number of texts, 1 to 1,000,000.
        pick: how often each group is picked: `zipf(0)` picks all equally often. None: `zipf(1.1)`.
        per: "iteration" picks a group for each iteration; "user" picks one for the user's whole life.
        cache: "bust" replaces the first 8 words by words that are different in each request, so that no cache of the
            server fits. "keep" leaves the text as it is.
    """
    problem = (
        _wrong_name(name)
        or _wrong_tokens("shared_prefix", tokens)
        or _wrong_groups(groups)
        or _wrong_choice("per", per, ("iteration", "user"))
        or _wrong_choice("cache", cache, ("keep", "bust"))
        or _wrong_pick(pick)
    )
    part = _Shared(
        str(name), tokens, groups, 1.1 if pick is None or problem else pick.exponent, per == "user", cache == "bust"
    )
    return Prompt((part,), here(), problem)


def blocks(ids: tuple[int, ...], tokens: int, size: int) -> Prompt:
    """Return a prompt of `tokens` tokens in blocks of `size` tokens. Blocks with the same id have the same text.

    The last block may be shorter. There must be an id for each block.
    """
    return Prompt((_Blocks(ids, tokens, size),), here())


@dataclass(frozen=True, slots=True)
class Zipf:
    """The frequency of each group of a prefix: group k (from 1) in proportion to 1 / k^exponent. Made by `zipf`."""

    exponent: float
    origin: Origin = field(compare=False, repr=False)
    problem: str = field(default="", repr=False)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Return the errors in the arguments."""
        return _faults(self.origin, self.problem)


def zipf(exponent: float) -> Zipf:
    """Return a rule by which a few groups are picked very often, as popular documents are: `pick=zipf(1.1)`.

    exponent: 0 to 10. 0 picks all groups equally often; with 1.1 and 32 groups, the first has 28 % of the requests.
    """
    is_number = isinstance(exponent, int | float) and not isinstance(exponent, bool) and isfinite(exponent)
    if is_number and 0 <= exponent <= 10:
        return Zipf(float(exponent), here())
    return Zipf(0.0, here(), f"zipf: exponent={exponent!r} must be a number from 0 to 10 | write zipf(1.1)")


# -- parts ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a prompt is sent."""

    seed: int
    load: int
    user: int
    arrival: int
    nth: int
    words: np.ndarray | None = None
    """The words to draw from; None: those of the shipped list."""


class _Part(ABC):
    __slots__ = ()

    @property
    @abstractmethod
    def mean_tokens(self) -> float: ...
    @abstractmethod
    def count(self, at: _Place, index: int) -> int:
        """Return the number of tokens. index: the position of this part in its prompt."""

    @abstractmethod
    def words(self, at: _Place, index: int, tokens_per_word: float) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class _Unique(_Part):
    tokens: int | Distribution

    @property
    def mean_tokens(self) -> float:
        return _mean(self.tokens)

    def count(self, at: _Place, index: int) -> int:
        return _drawn(self.tokens, self._key(at, index))

    def words(self, at: _Place, index: int, tokens_per_word: float) -> list[str]:
        key = self._key(at, index)
        return drawn_words(key, calibrated(_drawn(self.tokens, key), tokens_per_word), at.words)

    def _key(self, at: _Place, index: int) -> int:
        return key_of(_UNIQUE, at.seed, at.load, at.arrival, at.nth, index)


@dataclass(frozen=True, slots=True)
class _Shared(_Part):
    name: str
    tokens: int | Distribution
    groups: int
    exponent: float
    is_of_user: bool
    is_busting: bool

    @property
    def mean_tokens(self) -> float:
        return _mean(self.tokens)

    def count(self, at: _Place, index: int) -> int:
        return _drawn(self.tokens, self._key(at))

    def words(self, at: _Place, index: int, tokens_per_word: float) -> list[str]:
        key = self._key(at)
        words = drawn_words(key, calibrated(_drawn(self.tokens, key), tokens_per_word), at.words)
        if self.is_busting:
            nonce = drawn_words(key_of(_UNIQUE, at.seed, at.load, at.arrival, at.nth, index), _NONCE_WORDS, at.words)
            words[:_NONCE_WORDS] = nonce[: len(words)]
        return words

    def _key(self, at: _Place) -> int:
        return key_of(_PREFIX, at.seed, self.name, self._group(at))

    def _group(self, at: _Place) -> int:
        picked = at.user if self.is_of_user else at.arrival
        share = share_of(key_of(_GROUP, at.seed, self.name, at.load, picked))
        return min(int(np.searchsorted(_shares(self.exponent, self.groups), share, side="right")), self.groups - 1)


@dataclass(frozen=True, slots=True)
class _Blocks(_Part):
    ids: tuple[int, ...]
    tokens: int
    size: int

    @property
    def mean_tokens(self) -> float:
        return self.tokens

    def count(self, at: _Place, index: int) -> int:
        return self.tokens

    def words(self, at: _Place, index: int, tokens_per_word: float) -> list[str]:
        words: list[str] = []
        left = self.tokens
        for one in self.ids:
            if left <= 0:
                break
            count = calibrated(min(left, self.size), tokens_per_word)
            words += drawn_words(key_of(_BLOCK, at.seed, one), count, at.words)
            left -= self.size
        return words


@lru_cache(maxsize=64)
def _shares(exponent: float, groups: int) -> np.ndarray:
    """Return the cumulative share of each group, (groups,) float64; the last one is 1."""
    weights = np.arange(1, groups + 1, dtype=np.float64) ** -exponent
    sums: np.ndarray = np.cumsum(weights)
    sums /= sums[-1]
    return sums


def _drawn(tokens: int | Distribution, key: int) -> int:
    if isinstance(tokens, int):
        return tokens
    return round(min(max(tokens.quantile(share_of(key)), 1), MOST_TOKENS))


def _mean(tokens: int | Distribution) -> float:
    return tokens.mean if isinstance(tokens, Distribution) else tokens


# -- errors in arguments --------------------------------------------------------------------------


def _faults(origin: Origin, problem: str) -> tuple[Fault, ...]:
    if not problem:
        return ()
    message, _, hint = problem.partition(" | ")
    return (origin.fault(message, hint),)


def _wrong_tokens(word: str, tokens: Any) -> str:
    example = 'shared_prefix("policy", tokens=2048)' if word == "shared_prefix" else "prompt(tokens=1024)"
    if isinstance(tokens, Distribution):
        if tokens.problem:
            return tokens.problem
        if not 1 <= tokens.mean <= MOST_TOKENS:
            return (
                f"{word}: tokens={tokens!r} is {tokens.mean:,.6g} on average, but must be 1 to "
                f"{format_count(MOST_TOKENS)} | lognormal takes the logarithm of the median: for 1,000 tokens write "
                "lognormal(6.9, 0.7)"
            )
        return ""
    if isinstance(tokens, bool) or not isinstance(tokens, int):
        return f"{word}: tokens={tokens!r} is not a whole number or a distribution | write {example}"
    if not 1 <= tokens <= MOST_TOKENS:
        return f"{word}: tokens={tokens} must be 1 to {format_count(MOST_TOKENS)} | write {example}"
    return ""


def _wrong_name(name: object) -> str:
    if isinstance(name, str) and name.strip():
        return ""
    return f'shared_prefix: {name!r} is not a name | write shared_prefix("policy", tokens=2048)'


def _wrong_groups(groups: object) -> str:
    if isinstance(groups, int) and not isinstance(groups, bool) and 1 <= groups <= _MOST_GROUPS:
        return ""
    return f"shared_prefix: groups={groups!r} must be a whole number from 1 to {_MOST_GROUPS:,} | write groups=32"


def _wrong_choice(argument: str, value: object, choices: tuple[str, str]) -> str:
    if value in choices:
        return ""
    first, second = choices
    return f'shared_prefix: {argument}={value!r} is unknown | write {argument}="{first}" or {argument}="{second}"'


def _wrong_pick(pick: object) -> str:
    if pick is None:
        return ""
    return pick.problem if isinstance(pick, Zipf) else f"shared_prefix: pick={pick!r} is unknown | write pick=zipf(1.1)"
