"""Retries of failed requests: `Http(retries=2)`, or `retries=` of a call. Off by default.

These requests are sent again:
- A request for which no connection could be opened (refused, unreachable, DNS failure, connect timed out or reset),
  whatever its method.
- A request whose connection the target reset before the first byte of an answer, if its method is idempotent and its
  body can be sent twice.
- A request that an HTTP/2 target refused unseen, after the three automatic repeats of `http.py`.
These are not: any answer, whatever its status; a TLS certificate that does not verify; faults of the generator itself;
any request when the call's time is over. A retry is sent at once; a pause is the journey's decision.

Each failed attempt that was followed by another is a request of its own, in the row `NAME (retried)`, with its
outcome and its own time. The call's row has the last attempt's outcome and service time. Its response time starts when
the journey called, so it includes all attempts. Retries therefore hide neither failures nor the time they cost.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import Final

from loadgen.clients.net.settings_check import MOST_RETRIES
from loadgen.clients.protocol.connection_interface import Unprocessed
from loadgen.clients.protocol.outcomes import DNS, REFUSED, RESET, TIMEOUT, UNREACHABLE
from loadgen.clients.request.prepare import can_repeat
from loadgen.clients.request.rate_cap import OverTheCap
from loadgen.clients.response.replies import Reply
from loadgen.engine.recording.recorded_series import RequestSeries
from loadgen.engine.recording.user_meter import Meter
from loadgen.errors import RequestFailed, UsageError

__all__ = ["RETRIED", "Attempts", "retries_of"]

RETRIED: Final = " (retried)"
"""Suffix of the row of attempts that were followed by another."""
NOTE: Final = f"failed requests were sent again: the rows of their failed attempts end in{RETRIED}"
_NO_CONNECTION: Final = frozenset(
    {
        *(REFUSED, UNREACHABLE, DNS, RESET, TIMEOUT),
        *(f"proxy {REFUSED}", f"proxy {UNREACHABLE}", f"proxy {DNS}", f"proxy {RESET}"),
    }
)


class Attempts:
    """Decides whether one request is sent again, and records its failed attempts.

    left: how many retries are left. deadline_ns: when the call ends (`perf_counter_ns`).
    """

    __slots__ = ("_begun_ns", "_deadline_ns", "_left", "_meter")

    def __init__(self, meter: Meter, reply: Reply, left: int, deadline_ns: int) -> None:
        self._meter, self._left, self._deadline_ns = meter, left, deadline_ns
        self._begun_ns = reply.asked_ns

    def goes_again(self, failure: RequestFailed, reply: Reply, *, had_connection: bool) -> bool:
        """Decide whether a failed request is sent again. If so, record the failed attempt, reset `reply` and return
        True.

        had_connection: the request failed on an open connection; False if no connection could be opened.
        """
        if not self._left or perf_counter_ns() >= self._deadline_ns:
            return False
        if had_connection:
            was_reset = failure.outcome == RESET and not reply.size_bytes and reply.route.is_idempotent
            if not was_reset and not isinstance(failure, Unprocessed):
                return False
            if not can_repeat(reply._sent):
                return False
        elif failure.outcome not in _NO_CONNECTION:
            return False
        try:
            self._record(failure, reply)
        # A retry is a request like any other for the cap of an allow-list. Above it the failure stands.
        except OverTheCap:
            return False
        self._left -= 1
        reply.sent_ns = reply.first_byte_ns = reply.done_ns = 0
        # Only the row of the next attempt begins here. The call's own row still begins at `asked_ns`.
        self._begun_ns = perf_counter_ns()
        return True

    def _record(self, failure: RequestFailed, reply: Reply) -> None:
        meter = self._meter
        series = meter.ask((reply.series.key.request or "") + RETRIED)
        if series.watch is not None:
            series.watch.begun(self._begun_ns)
        meter.hold(_Attempt(series, reply, self._begun_ns, failure.outcome))
        meter.settle()
        meter.recorder.note(NOTE)


class _Attempt:
    """The sample of one failed attempt."""

    def __init__(self, series: RequestSeries, reply: Reply, begun_ns: int, outcome: str) -> None:
        self.series, self.outcome, self.trace = series, outcome, reply.trace
        self.span: str = getattr(reply, "span", "")
        self.is_sampled: bool = getattr(reply, "is_sampled", False)
        self.asked_ns, self.sent_ns, self.first_byte_ns = begun_ns, reply.sent_ns, 0
        self.done_ns = reply.done_ns
        self.size_bytes = 0
        self._reply = reply

    def exchange(self) -> tuple[str, str]:
        return self._reply.exchange()


def retries_of(given: object, default: int) -> int:
    """Return the number of retries of a call: its option `retries=`, or `default` if it has none.

    Raises:
        UsageError: `retries=` is not an integer from 0 to MOST_RETRIES.
    """
    if given is None:
        return default
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= MOST_RETRIES:
        raise UsageError(f"invalid retries={given!r}", hint=f"write an integer from 0 to {MOST_RETRIES}")
    return given
