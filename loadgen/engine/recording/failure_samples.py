"""Stores the first failures of each kind with all details: what was sent and received, data row, and line.

A failure is drafted when its sample is settled, since only then the sent and received data are at hand.
The end of its iteration completes the draft, since only then the expectation of the journey is known.
Failures without a request of their own (`fail: ...`, a fault of the scenario, a poll that never ended) show the last
exchange before them.

Everything is redacted before it is stored, so no secret is held here or sent.
Cost of a failure that is stored: some 0.5 ms, at most 20 times an interval; otherwise 0.3 µs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from loadgen.engine.recording.recorded_series import Noted
from loadgen.measure.deltas.exemplar import MAX_FAILURE_BYTES, MAX_FAILURES, Failure
from loadgen.measure.deltas.limits import NOTE_BYTES, cut
from loadgen.redact import Redactor

__all__ = ["FIRST", "MAX_A_RUN", "Draft", "Exchange", "FailureBook", "Text", "exchange_of", "size_bytes"]

FIRST: Final = 5
"""Most failures of each journey, request and outcome, per worker."""
MAX_A_RUN: Final = 500
"""Most failures of all kinds together, per worker: a scenario may have any number of request names."""
_MAX_AN_INTERVAL: Final = 20
"""Most failures in an interval; this bounds the loop's time for redaction."""
_MAX_DELTA_BYTES: Final = 512 * 1024
_PATIENCE_NS: Final = 10_000_000_000
"""A failure whose iteration goes on for longer than this is sent incomplete."""
_LIMITS: Final = {"detail": 2_000, "where": 300, "traceback": 8_000, "row": 4_000, "sent": 20_000, "received": 20_000}
"""Most characters of each text; together less than MAX_FAILURE_BYTES."""
assert sum(_LIMITS.values()) < MAX_FAILURE_BYTES

Exchange = tuple[str, str]
"""The sent and the received data, as text."""
Text = str | Callable[[], str]
"""A function if making the text is expensive: it is only called for a failure that is stored."""


class Draft:
    """A failure that the end of its iteration may still complete."""

    __slots__ = ("at_ns", "failure", "is_complete")

    def __init__(self, failure: Failure, at_ns: int) -> None:
        self.failure = failure
        self.at_ns = at_ns
        """On `perf_counter_ns`."""
        self.is_complete = False


class FailureBook:
    """The failures of one worker."""

    def __init__(self, redactor: Redactor | None = None) -> None:
        self._redactor = redactor or Redactor()
        self._counts: dict[tuple[str, str, str], int] = {}
        self._drafts: list[Draft] = []
        self._kept = self._this_interval = 0
        self.left_out = 0
        """Failures that were among the first of their kind, and were not stored because there were too many."""

    def wants(self, journey: str, request: str, outcome: str) -> bool:
        """Return whether a failure should be stored: it is one of the first of its kind, and there is room for it."""
        if self._counts.get((journey, request, outcome), 0) >= FIRST:
            return False
        if self._kept >= MAX_A_RUN or self._this_interval >= _MAX_AN_INTERVAL:
            self.left_out += 1
            return False
        return True

    def draft(self, failure: Failure, at_ns: int) -> Draft:
        """Store a failure with its texts redacted, and return the draft that `complete` completes.

        `at_ns` is when the failed request or iteration began, on `perf_counter_ns`.
        """
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
        self,
        draft: Draft,
        detail: Text = "",
        where: Text = "",
        traceback: Text = "",
        row: Any = None,
        noted: Noted = None,
    ) -> None:
        """Add the details to a stored failure that are known only at the end of its iteration."""
        draft.failure = replace(
            draft.failure,
            detail=self._text("detail", detail),
            where=self._text("where", where),
            traceback=self._text("traceback", traceback),
            row=_cut(self._redactor.row(row), _LIMITS["row"]),
            note=self.note_text(noted) or draft.failure.note,
        )
        draft.is_complete = True

    def note_text(self, noted: Noted) -> str:
        """Return what a journey noted as JSON without secrets, of at most `NOTE_BYTES`; "" for nothing."""
        if not noted:
            return ""
        return cut(self._redactor.row(dict(noted)).encode("utf-8", "replace").decode(), NOTE_BYTES)

    def take(self, t0_ns: int, now_ns: int) -> tuple[Failure, ...]:
        """Remove and return stored failures for the next delta: those that are complete or have waited long enough.

        They are as many as fit into a delta. `t0_ns` and `now_ns` are on `perf_counter_ns`.
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
                total_bytes = _MAX_DELTA_BYTES  # later failures stay behind it
                continue
            taken.append(replace(failure, at_ns=draft.at_ns - t0_ns))
        self._drafts = left
        return tuple(taken)

    def finish(self) -> None:
        """Mark all stored failures as complete at the end of the run, so that `take` returns them."""
        for draft in self._drafts:
            draft.is_complete = True

    def _text(self, name: str, text: Text) -> str:
        made = text if isinstance(text, str) else text()
        return _cut(self._redactor.text(made), _LIMITS[name])


def exchange_of(sample: object) -> Exchange | None:
    """Return the (sent, received) texts of a client's sample; None if it has no method `exchange`."""
    exchange = getattr(sample, "exchange", None)
    if exchange is None:
        return None
    sent, received = exchange()
    return str(sent), str(received)


def _cut(text: str, most: int) -> str:
    """Return the text cut to at most `most` characters, with a mark if it was longer.

    Characters that UTF-8 cannot encode are replaced.
    """
    text = text.encode("utf-8", "replace").decode("utf-8")
    return text if len(text) <= most else f"{text[: most - 40]} ... ({len(text) - most + 40:,} characters more)"


def size_bytes(failure: Failure) -> int:
    """Return the approximate size in bytes that a failure has in a delta."""
    texts = (
        failure.detail,
        failure.where,
        failure.traceback,
        failure.row,
        failure.sent,
        failure.received,
        failure.note,
    )
    return 1_000 + sum(len(text.encode()) for text in texts)
