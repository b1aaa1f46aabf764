"""One sentence about the first ranked path, from traces, lock chains and series of the target.

Each part has the verb of its rung (`loadgen.ladder`), and the stronger ones come first. No part is about a cause: that
takes a second run (`goes_away.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from loadgen.ladder import NOT_PROOF, Rung, words_of
from loadgen.outside_text import one_line
from loadgen.report.goes_with.file import GoesWithFile, Line
from loadgen.report.short_texts import cut_in_middle
from loadgen.report.why_slow.cause_file import CauseFile, Ranked
from loadgen.report.why_slow.database.parts import LockPart
from loadgen.report.why_slow.lines import path_text, share_text
from loadgen.units import format_duration, quantity

__all__ = ["in_one_sentence", "sentence_line"]

_MOST: Final = 80
"""The most characters of a name."""
_LOCK: Final = "lock"
"""Part of the titles of series about locks, such as "sessions waiting for a lock"."""


def in_one_sentence(causes: CauseFile, goes_with: GoesWithFile | None) -> str:
    """Return "p99 of ach lies in UPDATE ledger (100 % of the difference), is held up by settle (...), and ...".

    The sentence is "" unless at least two kinds of evidence agree: one alone has its own line already.
    """
    if not causes.ranked:
        return ""
    parts = list(_parts(causes, causes.ranked[0], goes_with.named if goes_with is not None else ()))
    if len(parts) < 2:
        return ""
    subject = f"{causes.chosen.percentile} of {causes.objective.name}"
    text = f"{', '.join(parts[:-1])}{',' if len(parts) > 2 else ''} and {parts[-1]}"
    return f"{one_line(subject)} {text}; {NOT_PROOF} of a cause"


def sentence_line(sentence: str) -> tuple[str, ...]:
    """Return the line that shows the sentence; () for ""."""
    return (f"in one sentence: {sentence}",) if sentence else ()


def _parts(causes: CauseFile, first: Ranked, named: Sequence[Line]) -> Iterator[str]:
    yield f"{words_of(Rung.LIES_IN)} {path_text(first.path)} ({share_text(first.share)} of the difference)"
    locks = [one for one in causes.locks if one.path == first.path]
    if locks:
        yield f"{words_of(Rung.HELD_UP)} {_root_text(locks)}"
    rising = [one for one in named if one.sign > 0]
    if rising:
        # After a chain of locks, the series of lock waits is named, also if others that move with it are stronger.
        waits = [(one, title) for one in rising for title in (one.title, *one.together) if locks and _LOCK in title]
        series, title = waits[0] if waits else (rising[0], rising[0].title)
        yield f"{words_of(Rung.COINCIDES)} {_series_text(series, title)}"


def _root_text(locks: Sequence[LockPart]) -> str:
    """Return the root of the chain with the most waits, and the figures of all chains with this root."""
    most = max(locks, key=lambda one: one.waits)
    state = f"{most.root_state}, " if most.root_state else ""
    wait = "" if most.median_wait_ms is None else f", median wait {format_duration(round(most.median_wait_ms * 1e6))}"
    waits = quantity(sum(one.waits for one in locks if one.root == most.root), "wait")
    return f"{_short(most.root) or 'a session without a name'} ({one_line(state)}{waits}{wait})"


def _series_text(one: Line, title: str) -> str:
    of = f" of {_short(one.host)}" if one.host else ""
    lag = f"{abs(one.lag_s):.0f} s {'before' if one.comes_first else 'after'}"
    when = "at the same time" if one.comes_first is None else lag
    return f"{_short(title)}{of} ({when}, ± {one.lag_error_s:.1f} s)"


def _short(text: str) -> str:
    return cut_in_middle(one_line(text), _MOST)
