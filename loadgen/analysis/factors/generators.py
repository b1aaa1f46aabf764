"""Regular fractions of two-level designs: generators, defining words and resolution.

The table has the fractions with minimum aberration for 3 to 11 factors: A. Fries, W. Hunter, Technometrics 22, 1980, in
the form of D. Montgomery, Design and Analysis of Experiments, appendix X. Factors are A to L without I, which is the
column of ones.
"""

from __future__ import annotations

from itertools import combinations
from typing import Final

__all__ = ["LEAST_FACTORS", "LETTERS", "choose", "defining_words", "resolution_of"]

LEAST_FACTORS: Final = 3
LETTERS: Final = "ABCDEFGHJKL"
_TABLE: Final = {
    3: ["AB"],
    4: ["ABC"],
    5: ["ABCD", "AB AC"],
    6: ["ABCDE", "ABC BCD", "AB AC BC"],
    7: ["ABCDEF", "ABCD ABDE", "ABC BCD ACD", "AB AC BC ABC"],
    8: ["ABCDEFG", "ABCD ABEF", "ABC ABD BCDE", "BCD ACD ABC ABD"],
    9: ["ABCDEFGH", "ACDFG BCEFG", "ABCD ACEF CDEF", "BCDE ACDE ABDE ABCE", "ABC BCD ACD ABD ABCD"],
    10: [
        "ABCDEFGHJ",
        "ABCDEF ABCGH",
        "ABCG BCDE ACDF",
        "BCDF ACDF ABDE ABCE",
        "ABCD ABCE ABDE ACDE BCDE",
        "ABC BCD ACD ABD ABCD AB",
    ],
    11: [
        "ABCDEFGHJK",
        "ABCDEF ABCGHJ",
        "ABCDE ABFGH ACDFG",
        "ABCG BCDE ACDF ABCDEFG",
        "CDE ABCD ABF BDEF ADEF",
        "ABC BCD CDE ACD ADE BDE",
        "ABC BCD ACD ABD ABCD AB AC",
    ],
}
"""By number of factors, the generators of 1, 2, 3 ... added factors: the column of each is this product."""


def choose(factors: int, resolution: int | None) -> tuple[str, ...] | None:
    """Return the generators of the smallest fraction with at least this resolution; None if no fraction has it.

    resolution: default V; if no fraction of this many factors has V, the highest resolution that one has.
    """
    every = [tuple(one.split()) for one in _TABLE.get(factors, ())]
    found = [(resolution_of(defining_words(factors, one)), one) for one in every]
    if resolution is None and found:
        resolution = min(5, max(has for has, _ in found))
    enough = [one for has, one in found if resolution is not None and has >= resolution]
    return enough[-1] if enough else None


def defining_words(factors: int, generators: tuple[str, ...]) -> tuple[str, ...]:
    """Return all words whose product of columns is 1, the short ones first: products of the generating words."""
    base = factors - len(generators)
    words = [frozenset(one) ^ {LETTERS[base + at]} for at, one in enumerate(generators)]
    every: set[frozenset[str]] = set()
    for size in range(1, len(words) + 1):
        for some in combinations(words, size):
            word: frozenset[str] = frozenset()
            for one in some:
                word = word ^ one
            every.add(word)
    texts = ("".join(sorted(one)) for one in every)
    return tuple(sorted(texts, key=lambda one: (len(one), one)))


def resolution_of(words: tuple[str, ...]) -> int:
    """Return the length of the shortest defining word."""
    return min(len(one) for one in words)
