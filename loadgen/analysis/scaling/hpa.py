"""The Horizontal Pod Autoscaler of Kubernetes (autoscaling/v2), as a simulated controller.

The rules and their order are those of `pkg/controller/podautoscaler` in kubernetes/kubernetes: `wanted_pods` does what
`replica_calculator.go` does with the metric, `Hpa` does what `horizontal.go` does with the result (limits of change,
stabilisation). Utilisation is cut to whole percents before it is compared, as there.

Not modelled: several targets of different metrics at once, errors of the metrics API, and the HPA's special path for
an object without `behavior`, which from 1, 2 and 3 pods grows to 4, 4 and 6 at most and not to 5, 6 and 7.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import ceil, floor
from typing import Final, Literal

from loadgen.analysis.scaling.controllers import Fleet, Limits

__all__ = ["DOWN", "UP", "ChangeLimit", "Direction", "Hpa", "HpaRules", "wanted_pods"]


@dataclass(frozen=True, slots=True)
class ChangeLimit:
    """One entry of `policies`: at most `value` pods, or percent of the pods, within `period_s`."""

    kind: Literal["Pods", "Percent"]
    value: int
    period_s: int


@dataclass(frozen=True, slots=True)
class Direction:
    """`behavior.scaleUp` or `behavior.scaleDown`."""

    limits: tuple[ChangeLimit, ...]
    stabilise_s: int
    select: Literal["Max", "Min", "Disabled"] = "Max"
    tolerance: float = 0.1

    @property
    def longest_s(self) -> int:
        """Return the longest period of the limits."""
        return max((one.period_s for one in self.limits), default=0)


UP: Final = Direction((ChangeLimit("Pods", 4, 15), ChangeLimit("Percent", 100, 15)), stabilise_s=0)
"""The default upward: the larger of +100 % and +4 pods in 15 s, at once."""
DOWN: Final = Direction((ChangeLimit("Percent", 100, 15),), stabilise_s=300)
"""The default downward: the maximum recommendation of the last 300 s."""


@dataclass(frozen=True, slots=True)
class HpaRules:
    """The settings of an HPA object and the flags of its controller manager."""

    target: float
    """The target utilisation, > 0; 0.6 is 60 %."""
    limits: Limits
    up: Direction = UP
    down: Direction = DOWN
    sync_s: int = 15
    whole_percents: bool = True
    """Cut the utilisation to whole percents, as for `averageUtilization`. False: as for `averageValue`."""


def wanted_pods(
    pods: int,
    metric: float,
    target: float,
    *,
    missing: int = 0,
    unready: int = 0,
    up: float = 0.1,
    down: float = 0.1,
    whole_percents: bool = True,
) -> int:
    """Return the recommendation for one metric, before limits and stabilisation.

    pods: all of them, >= 1. metric: mean utilisation of the pods that are neither missing nor unready.
    missing: pods without a metric. They count as 100 % (or as the target, if higher) on the way down and 0 % up.
    unready: pods that are not ready, or not for a whole window. They count as 0 % on the way up, and not at all down.
    up, down: the tolerance of each direction.
    No change if the ratio to the target is within the tolerance, or if these pods would flip the direction.
    """
    measured = pods - missing - unready
    if measured <= 0:
        return pods  # the controller reports an error and changes nothing
    ratio = _ratio(metric, target, whole_percents)
    adds_unready = unready > 0 and ratio > 1
    if not adds_unready and not missing:
        return pods if _within(ratio, up, down) else ceil(ratio * measured)
    total, counted = metric * measured, measured
    if missing and ratio != 1:
        total += missing * max(1.0, target) if ratio < 1 else 0.0
        counted += missing
    if adds_unready:
        counted += unready
    renewed = _ratio(total / counted, target, whole_percents)
    if _within(renewed, up, down) or (ratio < 1 < renewed) or (renewed < 1 < ratio):
        return pods
    wanted = ceil(renewed * counted)
    if (renewed < 1 and wanted > pods) or (renewed > 1 and wanted < pods):
        return pods
    return wanted


def _ratio(metric: float, target: float, whole_percents: bool) -> float:
    if not whole_percents:
        return metric / target
    # 1e-9: 0.58 * 100 is 57.99999999999999, but the controller divides integers
    return floor(metric * 100 + 1e-9) / round(target * 100, 9)


def _within(ratio: float, up: float, down: float) -> bool:
    # 1e-12: the target is a float here and an integer of percents there
    return 1.0 - down - 1e-12 <= ratio <= 1.0 + up + 1e-12


class Hpa:
    """One HPA in a replay: its recommendations and changes of the recent past.

    A call of `decide` takes about 5 µs with the default rules.
    """

    warm_s = 0

    def __init__(self, rules: HpaRules) -> None:
        self.rules = rules
        self.period_s = rules.sync_s
        self._recommended: deque[tuple[int, int]] = deque()
        self._changes: deque[tuple[int, int]] = deque()
        self._is_new = True

    def decide(self, at_s: int, fleet: Fleet, metric: float | None) -> int:
        """Return the number of pods from now on: a recommendation, stabilised, then limited in its change."""
        now, rules = fleet.wanted, self.rules
        if metric is None or fleet.measured <= 0:
            return now
        recommended = wanted_pods(
            now,
            metric,
            rules.target,
            unready=now - fleet.measured,
            up=rules.up.tolerance,
            down=rules.down.tolerance,
            whole_percents=rules.whole_percents,
        )
        return self.follow(at_s, now, recommended)

    def follow(self, at_s: int, now: int, recommended: int) -> int:
        """Return what becomes of a recommendation: stabilised, limited in its change, and within the limits."""
        wanted = self._limited(at_s, now, self._stabilised(at_s, now, recommended))
        if wanted != now:
            self._changes.append((at_s, wanted - now))
        return wanted

    def quiet(self, at_s: int, wanted: int) -> tuple[float, float] | None:
        """Return the metrics within the tolerance, unless a remembered recommendation still matters."""
        rules, limits = self.rules, self.rules.limits
        # Without a window upward, only the largest recommendation counts: lower ones than the present number change
        # nothing, and at the least number of pods they need not be remembered.
        only_largest = rules.up.stabilise_s == 0
        for _, one in self._recommended:
            if one > wanted or (one < wanted and not only_largest):
                return None
        if not limits.least <= wanted <= limits.most:
            return None
        low, high = rules.target * (1 - rules.down.tolerance), rules.target * (1 + rules.up.tolerance)
        if rules.whole_percents:
            low, high = ceil(low * 100 - 1e-9) / 100, (floor(high * 100 + 1e-9) + 1) / 100
        return (-1.0 if only_largest and wanted == limits.least else low + 1e-9), high - 1e-9

    def skipped(self, until_s: int, wanted: int) -> None:
        """Remember the recommendations of calls that were left out: all were the present number."""
        self._is_new = False
        self._recommended.append((until_s, wanted))

    def _stabilised(self, at_s: int, now: int, recommended: int) -> int:
        """Return the present number moved into [lowest of the upward window, highest of the downward window]."""
        if self._is_new:
            self._is_new = False
            self._recommended.append((at_s, now))  # the controller begins with the number that it finds
        up_from, down_from = at_s - self.rules.up.stabilise_s, at_s - self.rules.down.stabilise_s
        oldest = min(up_from, down_from)
        while self._recommended and self._recommended[0][0] <= oldest:
            self._recommended.popleft()
        lowest = highest = recommended
        for when, one in self._recommended:
            if when > up_from and one < lowest:
                lowest = one
            if when > down_from and one > highest:
                highest = one
        self._recommended.append((at_s, recommended))
        return min(max(now, lowest), highest)

    def _limited(self, at_s: int, now: int, wanted: int) -> int:
        longest = max(self.rules.up.longest_s, self.rules.down.longest_s)
        while self._changes and self._changes[0][0] <= at_s - longest:
            self._changes.popleft()
        if wanted > now:
            most = max(now, self._upper(at_s, now))
            return max(now, min(wanted, most, self.rules.limits.most))
        if wanted < now:
            least = min(now, self._lower(at_s, now))
            return min(now, max(wanted, least, self.rules.limits.least))
        return self.rules.limits.clip(now)

    def _upper(self, at_s: int, now: int) -> int:
        rules = self.rules.up
        if rules.select == "Disabled":
            return now
        proposed = [self._plus(one, self._at_start(at_s, now, one.period_s)) for one in rules.limits]
        return min(proposed) if rules.select == "Min" else max(proposed, default=now)

    def _lower(self, at_s: int, now: int) -> int:
        rules = self.rules.down
        if rules.select == "Disabled":
            return now
        proposed = [self._minus(one, self._at_start(at_s, now, one.period_s)) for one in rules.limits]
        return max(proposed) if rules.select == "Min" else min(proposed, default=now)

    def _at_start(self, at_s: int, now: int, period_s: int) -> int:
        """Return the number of pods when the period began."""
        return now - sum(change for when, change in self._changes if when > at_s - period_s)

    @staticmethod
    def _plus(limit: ChangeLimit, start: int) -> int:
        return start + limit.value if limit.kind == "Pods" else ceil(start * (1 + limit.value / 100))

    @staticmethod
    def _minus(limit: ChangeLimit, start: int) -> int:
        return start - limit.value if limit.kind == "Pods" else int(start * (1 - limit.value / 100))
