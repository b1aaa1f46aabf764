"""The first failures of each kind, whole: what was sent, what came, which row, which line.

A failure is drafted when its sample settles, since what was sent and received is
at hand only then, and completed when its iteration ends, since only then the
journey has said what it expected. What belongs to no request (`fail: ...`, a fault
of the scenario, a poll that never ended) shows the last exchange before it.

Everything is redacted before it is kept, so nothing secret is held here or leaves.
Cost of a failure that is kept: some 0.5 ms, at most 20 times an interval; of one that is not: 0.3 µs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from loadgen.measure.deltas.exemplar import MAX_FAILURE_BYTES, MAX_FAILURES, Failure
from loadgen.measure.deltas.limits import cut
from loadgen.redact import Redactor

__all__ = ["FIRST", "MAX_A_RUN", "Draft", "Exchange", "FailureBook", "Text", "exchange_of", "size_bytes"]

FIRST: Final = 5
"""Of each journey, request and outcome, a worker."""
MAX_A_RUN: Final = 500
"""Of all kinds together, a worker: a scenario may have any number of request names."""
_MAX_AN_INTERVAL: Final = 20
"""Bounds what redacting takes of the loop's time."""
_MAX_DELTA_BYTES: Final = 512 * 1024
_PATIENCE_NS: Final = 10_000_000_000
"""A failure whose iteration goes on for longer than this leaves as it is."""
_LIMITS: Final = {"detail": 2_000, "where": 300, "traceback": 8_000, "row": 4_000, "sent": 20_000, "received": 20_000}
"""Characters of a text; together less than MAX_FAILURE_BYTES of them."""
assert sum(_LIMITS.values()) < MAX_FAILURE_BYTES

Exchange = tuple[str, str]
"""What was sent, and what was received."""
Text = str | Callable[[], str]
"""A function where making the text costs something: it is called only for what is kept."""


class Draft:
    """A failure that its iteration may still complete."""

    __slots__ = ("at_ns", "failure", "is_complete")

    def __init__(self, failure: Failure, at_ns: int) -> None:
        self.failure = failure
        self.at_ns = at_ns
        """On `perf_counter_ns`."""
        self.is_complete = False


class FailureBook:
    """Those of one worker."""

    def __init__(self, redactor: Redactor | None = None) -> None:
        self._redactor = redactor or Redactor()
        self._counts: dict[tuple[str, str, str], int] = {}
        self._drafts: list[Draft] = []
        self._kept = self._this_interval = 0
        self.left_out = 0
        """Failures that were among the first of their kind, and were not kept because there were too many."""

    def wants(self, journey: str, request: str, outcome: str) -> bool:
        """Is this one of the first of its kind, and is there room?"""
        if self._counts.get((journey, request, outcome), 0) >= FIRST:
            return False
        if self._kept >= MAX_A_RUN or self._this_interval >= _MAX_AN_INTERVAL:
            self.left_out += 1
            return False
        return True

    def draft(self, failure: Failure, at_ns: int) -> Draft:
        """Keep one. at_ns: when it began, on `perf_counter_ns`; its texts are redacted here."""
        kind = (failure.journey, failure.request, failure.outcome)
        self._counts[kind] = self._counts.get(kind, 0) + 1
        self._kept += 1
        self._this_interval += 1
        known = self._redactor.known
        made = Draft(
            replace(
                failure,
                journey=cut(failure.journey),
                step=cut(known(failure.step)),
                request=cut(known(failure.request)),
                outcome=cut(known(failure.outcome)),
                sent=self._text("sent", failure.sent),
                received=self._text("received", failure.received),
                trace=failure.trace[:64],
            ),
            at_ns,
        )
        self._drafts.append(made)
        return made

    def complete(
        self, draft: Draft, detail: Text = "", where: Text = "", traceback: Text = "", row: Any = None
    ) -> None:
        """What the end of the iteration said."""
        draft.failure = replace(
            draft.failure,
            detail=self._text("detail", detail),
            where=self._text("where", where),
            traceback=self._text("traceback", traceback),
            row=_cut(self._redactor.row(row), _LIMITS["row"]),
        )
        draft.is_complete = True

    def take(self, t0_ns: int, now_ns: int) -> tuple[Failure, ...]:
        """Those that are complete, or have waited long enough; as many as a delta may bring.

        t0_ns, now_ns: on `perf_counter_ns`.
        """
        self._this_interval = 0
        if not self._drafts:
            return ()
        taken: list[Failure] = []
        left: list[Draft] = []
        total_bytes = 0
        for draft in self._drafts:
            if not draft.is_complete and now_ns - draft.at_ns - draft.failure.response_ns < _PATIENCE_NS:
                left.append(draft)
                continue
            failure = draft.failure
            total_bytes += size_bytes(failure)
            if len(taken) == MAX_FAILURES or total_bytes > _MAX_DELTA_BYTES:
                left.append(draft)
                total_bytes = _MAX_DELTA_BYTES  # those behind it stay behind it
                continue
            taken.append(replace(failure, at_ns=draft.at_ns - t0_ns))
        self._drafts = left
        return tuple(taken)

    def finish(self) -> None:
        """The run ends: what waits for the end of its iteration leaves with the next `take`."""
        for draft in self._drafts:
            draft.is_complete = True

    def _text(self, name: str, text: Text) -> str:
        made = text if isinstance(text, str) else text()
        return _cut(self._redactor.text(made), _LIMITS[name])


def exchange_of(sample: object) -> Exchange | None:
    """What a client's sample can say of what was sent and received; None where it has no `exchange()`."""
    say = getattr(sample, "exchange", None)
    if say is None:
        return None
    sent, received = say()
    return str(sent), str(received)


def _cut(text: str, most: int) -> str:
    """At most `most` characters, and UTF-8 that can be written."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= most else f"{text[: most - 40]} ... ({len(text) - most + 40:,} characters more)"


def size_bytes(failure: Failure) -> int:
    """Of its texts, as they travel."""
    texts = (failure.detail, failure.where, failure.traceback, failure.row, failure.sent, failure.received)
    return 1_000 + sum(len(text.encode()) for text in texts)
