"""Counters that all users of one worker share: checks, fail reasons, skipped cycles, rendez-vous; and notes given once.

Each recorder has one `WorkerTally`. Its counters are sent with the recorder's deltas as custom
metrics, so they are merged over the fleet exactly. Scenario code chooses the names, so
the number of names is limited.
"""

from __future__ import annotations

from typing import Final
from weakref import WeakKeyDictionary, ref

from loadgen.engine.load.rendezvous import Ended
from loadgen.engine.recording.recorder import Recorder
from loadgen.measure.deltas.custom import CHECK, MAX_CUSTOM, CustomKind, CustomStats
from loadgen.measure.deltas.limits import cut
from loadgen.measure.deltas.series_key import OTHER

__all__ = [
    "HELD_BACK",
    "MAX_CHECKS",
    "MAX_REASONS",
    "MAX_REASON_LENGTH",
    "MET",
    "SKIPPED_CYCLES",
    "TIMED_OUT",
    "Count",
    "WorkerTally",
]

MAX_CHECKS: Final = 200
"""Maximum names of checks per worker, less if the scenario has many metrics; the rest is counted in `check: (other)`.
"""
MAX_REASONS: Final = 50
"""Maximum distinct reasons of `user.fail` per worker; the rest is counted in `fail: (other)`."""
MAX_REASON_LENGTH: Final = 100
SKIPPED_CYCLES: Final = "pace: skipped cycles"
HELD_BACK: Final = "cap: requests not started"
MET: Final = "rendezvous: met"
TIMED_OUT: Final = "rendezvous: timed out"
_VARIES: Final = "do not put numbers or ids into them"


class Count:
    """A custom metric that is a sum: a counter, or a rate of hits among tries. Implements `recorder.CustomSource`."""

    __slots__ = ("_kind", "_n", "_name", "_total", "hits", "tries")

    def __init__(self, name: str, kind: CustomKind) -> None:
        self._name, self._kind = name, kind
        self._n = self._total = 0
        self.tries = self.hits = 0
        """Totals of the whole run so far; `take` does not reset them."""

    def add(self, total: int) -> None:
        self._n += 1
        self._total += total
        self.tries += 1
        self.hits += total

    def take(self) -> CustomStats | None:
        if not self._n:
            return None
        taken = CustomStats(self._name, self._kind, self._n, self._total)
        self._n = self._total = 0
        return taken


class WorkerTally:
    """The counters of one worker. Get it with `WorkerTally.of`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = ref(recorder)  # a weak reference, because the recorder is the key of `_tallies`
        self.checks: dict[str, Count] = {}
        """Checks by name."""
        self.forgotten: dict[tuple[str, str], str] = {}
        """Never-awaited coroutines, by journey and name: the message for those whose line is still unknown, or ""."""
        self.cycles: Count | None = None
        """Cycles skipped by `user.pace` and by paced loads; None: none."""
        self.met: Count | None = None
        self.timed_out: Count | None = None
        """Users at a rendez-vous; None: no user has been at one."""
        self.held_back: Count | None = None
        """Requests not started because of the allow-list's cap; None: none."""
        self._reasons: dict[str, str] = {}
        self._seen: set[object] = set()

    @staticmethod
    def of(recorder: Recorder) -> WorkerTally:
        """Return the counters of the worker that has this recorder. They are created on first use."""
        found = _tallies.get(recorder)
        if found is None:
            found = _tallies[recorder] = WorkerTally(recorder)
        return found

    def check(self, name: str, ok: bool) -> None:
        count = self.checks.get(name)
        if count is None:
            if name != OTHER and self._is_full():
                self._note(
                    f"more than {len(self.checks)} names of user.check: further ones are counted in {OTHER}; {_VARIES}"
                )
                self.check(OTHER, ok)
                return
            count = self.checks[name] = self._counted(cut(f"{CHECK}{self._known(name)}"), "rate")
        count.add(1 if ok else 0)

    def skipped_cycles(self, cycles: int) -> None:
        if self.cycles is None:
            self.cycles = self._counted(SKIPPED_CYCLES, "counter")
        self.cycles.add(cycles)

    def over_the_cap(self, text: str) -> None:
        """Count a request that was not started because of the allow-list's limit of requests/s.

        text: the reason, which is also noted once in the results.
        """
        if self.held_back is None:
            self.held_back = self._counted(HELD_BACK, "counter")
        self.held_back.add(1)
        if self.is_new(("cap", text)):
            self._note(f"requests were not started: {text}")

    def rendezvous(self, ended: Ended) -> None:
        """Count a user whose wait at a rendez-vous has ended: met or timed out.

        Users released by the end of the load are not counted.
        """
        if self.met is None or self.timed_out is None:
            self.met, self.timed_out = self._counted(MET, "counter"), self._counted(TIMED_OUT, "counter")
        if ended == "met":
            self.met.add(1)
        elif ended == "timed out":
            self.timed_out.add(1)

    def reason(self, reason: str) -> str:
        """Return the outcome for `user.fail(reason)`: "fail: REASON", cut to 100 characters.

        After 50 different reasons, the outcome is "fail: (other)", so that outcomes stay few.
        """
        outcome = self._reasons.get(reason)
        if outcome is None:
            if len(self._reasons) >= MAX_REASONS:
                self._note(
                    f"more than {MAX_REASONS} reasons of user.fail: further ones count as fail: {OTHER}; {_VARIES}"
                )
                return f"fail: {OTHER}"
            text = self._known(" ".join(reason.split()))
            short = text if len(text) <= MAX_REASON_LENGTH else text[: MAX_REASON_LENGTH - 4] + " ..."
            outcome = self._reasons[reason] = f"fail: {short or '(no reason)'}"
        return outcome

    def is_new(self, what: object) -> bool:
        """Return True at the first call with `what`, then False.

        So a problem is reported once per worker, not per user.
        """
        if what in self._seen:
            return False
        self._seen.add(what)
        return True

    def _is_full(self) -> bool:
        # A delta has room for MAX_CUSTOM. Reserve one for `(other)`, one for skipped cycles, one for the cap, two for
        # rendez-vous, two for the caches of users, three for HTTP/3, four for TCP and UDP, eight for
        # WebSockets.
        recorder = self._recorder()
        counted = len(recorder.customs) if recorder is not None else 0
        return len(self.checks) - (OTHER in self.checks) >= MAX_CHECKS - 1 or counted >= MAX_CUSTOM - 22

    def _known(self, text: str) -> str:
        """Return the text with the values of secrets masked, because names leave the worker."""
        recorder = self._recorder()
        return text if recorder is None else recorder.redactor.known(text)

    def _note(self, text: str) -> None:
        recorder = self._recorder()
        if recorder is not None:
            recorder.note(text)

    def _counted(self, name: str, kind: CustomKind) -> Count:
        count = Count(name, kind)
        recorder = self._recorder()
        if recorder is not None:
            recorder.customs.append(count)
        return count


_tallies: WeakKeyDictionary[Recorder, WorkerTally] = WeakKeyDictionary()
