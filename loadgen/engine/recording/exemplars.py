"""Picks exemplars: single requests and iterations that are stored with their values, a few per interval.

For each series and interval: the slowest ok one, the first two that failed, and two random ok ones. The
recorder compares two ints for each request (`Series.bar_ns`, `Series.pick_at`), and calls this module only
for a request that passes one of them. In a steady series of n requests an interval that is about ln(n) for
the slowest and 2 + 2 ln(n/2) for the two random ones.

In plans with tracing, the random and failed ones are drawn from the sampled requests, each with its weight, and some
slow ones besides (`loadgen/engine/tracing/reservoirs.py`). Of the others, only the slowest one and the
first two failed ones are kept, without a weight.

The random ones are a reservoir (algorithm L of K.-H. Li, 1994): each ok request of the interval is equally
likely, and between two picks no random number is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import exp, floor, log
from random import Random
from typing import Final, TypeAlias

import msgspec

from loadgen.engine.recording.recorded_series import About, Noted, Picked, Picks, Series
from loadgen.engine.tracing.reservoirs import SampledPicks
from loadgen.measure.deltas.exemplar import Exemplar, Why
from loadgen.measure.deltas.limits import cut
from loadgen.measure.deltas.series_key import MISSED, OK, SKIPPED

__all__ = ["MAX_KEPT", "Exemplars", "kept_of_one"]

MAX_KEPT: Final = 200
"""Most exemplars in one delta of one worker."""
_FAILED: Final = 2
_RANDOM: Final = 2
_NEVER: Final = 1 << 62

_Ranked: TypeAlias = tuple[int, float, Series, Picked, Why]
"""Rank (the lowest stays longest), a random number that decides between equal ranks, and the kept exemplar."""
_ABOUT: Final = tuple(name for name in About.__struct_fields__ if name != "probability")


class Exemplars:
    """Picks and collects the exemplars of one worker.

    most: most exemplars that a call of `take` returns. With many agents a few of each are enough: see `kept_of_one`.
    note_text: returns the fields of `user.note` as text without secrets; if it is missing, exemplars have no notes.
    probability: with which an iteration (or a call) is sampled; None: the plan has no tracing.
    """

    def __init__(
        self,
        most: int = MAX_KEPT,
        random: Random | None = None,
        note_text: Callable[[Noted], str] = lambda _: "",
        probability: float | None = None,
    ) -> None:
        self.most = most
        self._probability = probability
        self._note_text = note_text
        self.left_out = 0
        """Number of exemplars that were picked and not returned, since the beginning."""
        self._random = random or Random()  # noqa: S311  # no secret depends on it
        self._touched: list[Series] = []
        self._sampled: list[Series] = []

    def saw(
        self,
        series: Series,
        outcome: str,
        at_ns: int,
        response_ns: int,
        service_ns: int,
        n: int,
        load: int,
        trace: str,
        noted: Noted = None,
        about: About | None = None,
    ) -> None:
        """Offer a request or iteration as an exemplar. It is kept if it failed, is the slowest, or is picked at random.

        The caller must have seen that it failed, or passed one of the recorder's comparisons. `at_ns`, when it began,
        is on `perf_counter_ns`. In plans with tracing only for those that are not sampled; none is picked at random.
        """
        picks = series.picks
        if picks is None:
            picks = series.picks = Picks()
            self._touched.append(series)
        if outcome != OK:
            if len(picks.failed) < _FAILED and outcome not in (MISSED, SKIPPED):
                picks.failed.append((outcome, at_ns, response_ns, service_ns, n, load, trace, noted, about))
            return
        picked = (OK, at_ns, response_ns, service_ns, n, load, trace, noted, about)
        if response_ns > series.bar_ns:
            series.bar_ns, picks.slowest = response_ns, picked
        if self._probability is not None:
            series.pick_at = _NEVER
            return
        seen = len(series.ok[0])
        if seen == series.pick_at:
            self._pick(series, picks, picked, seen)

    def saw_sampled(self, series: Series, outcome: str, response_ns: int, make: Callable[[], Picked]) -> None:
        """HOT, once for each sampled request, step and iteration: 0.4 µs. Offer it as an exemplar.

        `make` returns what is stored of it, and is called at once if it is kept for now.
        """
        picks = series.sampled
        if picks is None:
            picks = series.sampled = SampledPicks()
            self._sampled.append(series)
        if outcome is OK or outcome == OK:
            picks.ok_one(response_ns, series.over_ns, make, self._random.random)
        elif outcome not in (MISSED, SKIPPED):
            picks.failed_one(make, self._random.random)

    def _pick(self, series: Series, picks: Picks, picked: Picked, seen: int) -> None:
        """Keep an ok request or iteration as a random exemplar of its series, and draw which one is picked next.

        `seen` is its number among the ok ones of the interval.
        """
        random = self._random.random
        if seen <= _RANDOM:
            picks.random.append(picked)
            if seen < _RANDOM:
                series.pick_at = seen + 1
                return
        else:
            picks.random[int(random() * _RANDOM)] = picked
        # Algorithm L: the weight falls with each pick, and the number of skipped requests has a geometric distribution
        # with 1 - weight, so it is drawn once instead of once a request.
        picks.weight *= exp(log(1 - random()) / _RANDOM)
        if picks.weight < 1e-12:  # after some 10^12 requests
            series.pick_at = _NEVER
            return
        series.pick_at = seen + floor(log(1 - random()) / log(1 - picks.weight)) + 1

    def take(self, t0_ns: int) -> tuple[Exemplar, ...]:
        """Remove and return the exemplars that were kept since the last call, with times counted from `t0_ns`.

        If there are more than `most`, each series keeps first one that failed, then the slowest, then the others.
        Within these chance decides, so that many agents together show all series.
        """
        touched, self._touched = self._touched, []
        if self._probability is not None:
            return self._take_traced(touched, t0_ns, self._probability)
        ranked = self._ranked(touched)
        if len(ranked) > self.most:
            self.left_out += len(ranked) - self.most
            ranked.sort(key=lambda one: one[:2])
            del ranked[self.most :]
        return tuple(_exemplar(series, picked, why, t0_ns, self._note_text) for _, _, series, picked, why in ranked)

    def _ranked(self, touched: Iterable[Series]) -> list[_Ranked]:
        """Remove and return what was kept of these series, with its rank."""
        ranked: list[_Ranked] = []
        for series in touched:
            picks, series.picks = series.picks, None
            series.bar_ns, series.pick_at = -1, 1
            if picks is None or not self.most:
                continue
            for rank, picked in enumerate(picks.failed):
                ranked.append((2 * rank, self._random.random(), series, picked, "failed"))
            if picks.slowest is not None:
                ranked.append((1, self._random.random(), series, picks.slowest, "slowest"))
            for rank, picked in enumerate(picks.random):
                if picked is not picks.slowest:
                    ranked.append((3 + rank, self._random.random(), series, picked, "random"))
        return ranked

    def _take_traced(self, touched: list[Series], t0_ns: int, probability: float) -> tuple[Exemplar, ...]:
        """Return the exemplars of a plan with tracing. Too many with a weight are thinned by chance.

        Each of them is equally likely to stay, whatever its class, and the weights grow by as much as their number
        shrinks. So weighted sums stay unbiased.
        """
        plain = [one for one in self._ranked(touched) if _is_kept_without_trace(*one[2:])]
        weighted: list[tuple[Series, Picked, Why, float]] = []
        for series in self._sampled:
            found, series.sampled = series.sampled, None
            if found is not None and self.most:
                weighted += [
                    (series, picked, why, weight / (_probability_of(picked) or probability))
                    for why, picked, weight in found.weighted(1.0)
                ]
        self._sampled = []
        scale = 1.0
        room = max(self.most - len(plain), self.most // 2)
        if len(weighted) > room:
            self.left_out += len(weighted) - room
            scale = len(weighted) / room
            weighted = self._random.sample(weighted, room)
        room = self.most - len(weighted)
        if len(plain) > room:
            self.left_out += len(plain) - room
            plain.sort(key=lambda one: one[:2])
            del plain[room:]
        return (
            *(_exemplar(series, picked, why, t0_ns, self._note_text) for _, _, series, picked, why in plain),
            *(
                _exemplar(series, picked, why, t0_ns, self._note_text, scale * weight)
                for series, picked, why, weight in weighted
            ),
        )


def _probability_of(picked: Picked) -> float:
    """Return the probability with which this one was sampled, if the plan's share changes; else 0."""
    about = picked[8]
    return 0.0 if about is None else about.probability


def _is_kept_without_trace(series: Series, picked: Picked, why: Why) -> bool:
    """Return whether a request that is not sampled is kept: it failed, or is slower than all sampled ones."""
    if why == "slowest":
        return series.sampled is None or picked[2] > series.sampled.slowest_ns
    return why == "failed"


def kept_of_one(workers: int) -> int:
    """Return how many exemplars one of `workers` workers may send per interval."""
    return max(5, min(MAX_KEPT, 10_000 // max(1, workers)))


def _exemplar(
    series: Series,
    picked: Picked,
    why: Why,
    t0_ns: int,
    text: Callable[[Noted], str],
    stands_for: float = 0.0,
) -> Exemplar:
    key = series.key
    outcome, at_ns, response_ns, service_ns, n, load, trace, noted, about = picked
    made = Exemplar(
        journey=cut(key.journey),
        step=cut(key.step or ""),
        request=cut(key.request or ""),
        outcome=cut(outcome),
        why=why,
        load=load,
        n=n,
        at_ns=at_ns - t0_ns,
        response_ns=max(0, response_ns),
        service_ns=max(0, service_ns),
        trace=trace[:64],
        warmup=key.warmup,
        note=text(noted) if noted else "",
    )
    if about is None:
        return made
    return msgspec.structs.replace(
        made, sampled=stands_for > 0, stands_for=stands_for, **{name: getattr(about, name) for name in _ABOUT}
    )
