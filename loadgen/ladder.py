"""Words for findings, from the weakest to the strongest. Texts take them from here.

| rung         | what was seen                                                          |
|--------------|------------------------------------------------------------------------|
| coincides    | two series that move together, beyond what the load explains           |
| lies in      | traces: the time of slow requests is in this span                      |
| held up      | a lock chain: a session waited for another one                         |
| goes away    | a repeated run in which one thing was changed, and the slowness is gone |

Only the last rung is about a cause. A sentence may use a lower rung than was reached, never a higher one.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = ["NOT_PROOF", "Rung", "sentence", "words_of"]

NOT_PROOF: Final = "not proof"


class Rung(IntEnum):
    """The strength of a finding; a higher rung is stronger."""

    COINCIDES = 1
    LIES_IN = 2
    HELD_UP = 3
    GOES_AWAY = 4


_WORDS: Final = {
    Rung.COINCIDES: "coincides with",
    Rung.LIES_IN: "lies in",
    Rung.HELD_UP: "is held up by",
    Rung.GOES_AWAY: "goes away when",
}


def words_of(rung: Rung) -> str:
    """Return the verb of a rung: "coincides with", "lies in", "is held up by" or "goes away when"."""
    return _WORDS[rung]


def sentence(rung: Rung, subject: str, other: str) -> str:
    """Return a sentence: "p99 of checkout is held up by payout"."""
    return f"{subject} {words_of(rung)} {other}"
