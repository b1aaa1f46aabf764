"""How often agents are to report: less often, while the controller cannot keep up (RELIABILITY D4).

Agents join what lies within the interval that they are asked for, so nothing is
lost but when within it something was. Asked is with each acknowledgement.

Pure: figures are handed in. A step up comes at most each `HOLD_NS`, so that what it
brings is seen first; a step down only after `CALM_NS` of calm.
"""

from __future__ import annotations

from typing import Final

from loadgen.units import NS_PER_S

__all__ = ["BUSY_SHARE", "CALM_NS", "HOLD_NS", "LATE_NS", "STEPS", "Pacing"]

STEPS: Final = (1, 2, 3, 5)
"""Of the plan's interval."""
BUSY_SHARE: Final = 0.70
LATE_NS: Final = 3 * NS_PER_S
"""From taking a delta in until it may be acknowledged."""
_CALM_SHARE: Final = 0.45
"""Half as many deltas cost about half: from 70 % a step down would otherwise lead right up again."""
_CALM_LATE_NS: Final = 1 * NS_PER_S
HOLD_NS: Final = 10 * NS_PER_S
CALM_NS: Final = 30 * NS_PER_S
_SPAN_NS: Final = 2 * NS_PER_S
"""Over so long the CPU's share is taken."""


class Pacing:
    """Of one run."""

    def __init__(self, interval_ns: int) -> None:
        self._interval_ns = interval_ns
        self._step = 0
        self._before: tuple[int, int] | None = None
        self._share = 0.0
        self._stepped_ns: int | None = None
        self._calm_since_ns: int | None = None

    @property
    def asked_ns(self) -> int:
        """The interval that agents are asked for; 0: none, as the plan has it."""
        return self._interval_ns * STEPS[self._step] if self._step else 0

    def look(self, now_ns: int, cpu_ns: int, late_ns: int) -> str:
        """
        Args:
            cpu_ns: CPU time of the controller's process so far.
            late_ns: for how long the oldest delta has waited for its acknowledgement.

        Returns:
            Why another interval is asked for from now on; empty: the same as before.
        """
        if self._before is None:
            self._before = now_ns, cpu_ns
        elif now_ns - self._before[0] >= _SPAN_NS:
            self._share = (cpu_ns - self._before[1]) / (now_ns - self._before[0])
            self._before = now_ns, cpu_ns
        is_calm = self._share < _CALM_SHARE and late_ns < _CALM_LATE_NS
        if not is_calm:
            self._calm_since_ns = None
        elif self._calm_since_ns is None:
            self._calm_since_ns = now_ns
        return self._up(now_ns, late_ns) or self._down(now_ns)

    def _up(self, now_ns: int, late_ns: int) -> str:
        holds = self._stepped_ns is not None and now_ns - self._stepped_ns < HOLD_NS
        if holds or self._step == len(STEPS) - 1 or (self._share <= BUSY_SHARE and late_ns <= LATE_NS):
            return ""
        self._step, self._stepped_ns = self._step + 1, now_ns
        if self._share > BUSY_SHARE:
            return f"the controller is busy for {self._share:.0%} of the time"
        return f"acknowledgements are {late_ns / NS_PER_S:.1f} s late"

    def _down(self, now_ns: int) -> str:
        if not self._step or self._calm_since_ns is None or now_ns - self._calm_since_ns < CALM_NS:
            return ""
        self._step, self._stepped_ns, self._calm_since_ns = self._step - 1, now_ns, now_ns
        return f"the controller is busy for {self._share:.0%} of the time only"
