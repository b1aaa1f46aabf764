"""Counters that all users of one worker share: checks, fail reasons, skipped cycles, rendez-vous; and notes given once.

Each recorder has one `WorkerTally`. Its counters are sent with the recorder's deltas as custom
metrics, so they are merged over the fleet exactly. Scenario code chooses the names, so
the number of names is limited.
"""

from __future__ import annotations

from typing import Final

from loadgen.engine.load.rendezvous import Ended
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.worker_counter import MAX_OWN, WorkerCounter, WorkerCounters
from loadgen.measure.deltas.custom import CHECK, MAX_CUSTOM, CustomKind
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


class WorkerTally(WorkerCounters):
    """The counters of one worker. Get it with `WorkerTally.of`."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.checks: dict[str, WorkerCounter] = {}
        """Checks by name."""
        self.forgotten: dict[tuple[str, str], str] = {}
        """Never-awaited coroutines, by journey and name: the message for those whose line is still unknown, or ""."""
        self.cycles: WorkerCounter | None = None
        """Cycles skipped by `user.pace` and by paced loads; None: none."""
        self.met: WorkerCounter | None = None
        self.timed_out: WorkerCounter | None = None
        """Users at a rendez-vous; None: no user has been at one."""
        self.held_back: WorkerCounter | None = None
        """Requests not started because of the allow-list's cap; None: none."""
        self._reasons: dict[str, str] = {}
        self._seen: set[object] = set()

    def check(self, name: str, ok: bool) -> None:
        count = self.checks.get(name)
        if count is None:
            if name != OTHER and self._is_full():
                self._recorder.note(
                    f"more than {len(self.checks)} names of user.check: further ones are counted in {OTHER}; {_VARIES}"
                )
                self.check(OTHER, ok)
                return
            count = self.checks[name] = self._counted(cut(f"{CHECK}{self._known(name)}"), "rate")
        count.add(1, 1 if ok else 0)

    def skipped_cycles(self, cycles: int) -> None:
        if self.cycles is None:
            self.cycles = self._counted(SKIPPED_CYCLES)
        self.cycles.add(1, cycles)

    def over_the_cap(self, text: str) -> None:
        """Count a request that was not started because of the allow-list's limit of requests/s.

        text: the reason, which is also noted once in the results.
        """
        if self.held_back is None:
            self.held_back = self._counted(HELD_BACK)
        self.held_back.add()
        if self.is_new(("cap", text)):
            self._recorder.note(f"requests were not started: {text}")

    def rendezvous(self, ended: Ended) -> None:
        """Count a user whose wait at a rendez-vous has ended: met or timed out.

        Users released by the end of the load are not counted.
        """
        if self.met is None or self.timed_out is None:
            self.met, self.timed_out = self._counted(MET), self._counted(TIMED_OUT)
        if ended == "met":
            self.met.add()
        elif ended == "timed out":
            self.timed_out.add()

    def reason(self, reason: str) -> str:
        """Return the outcome for `user.fail(reason)`: "fail: REASON", cut to 100 characters.

        After 50 different reasons, the outcome is "fail: (other)", so that outcomes stay few.
        """
        outcome = self._reasons.get(reason)
        if outcome is None:
            if len(self._reasons) >= MAX_REASONS:
                self._recorder.note(
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
        # A delta has room for MAX_CUSTOM. One place is for the check `(other)`.
        is_full = len(self._recorder.customs) >= MAX_CUSTOM - MAX_OWN - 1
        return is_full or len(self.checks) - (OTHER in self.checks) >= MAX_CHECKS - 1

    def _known(self, text: str) -> str:
        """Return the text with the values of secrets masked, because names leave the worker."""
        return self._recorder.redactor.known(text)

    def _counted(self, name: str, kind: CustomKind = "counter") -> WorkerCounter:
        count = WorkerCounter(name, kind)
        self._recorder.customs.append(count)
        return count
