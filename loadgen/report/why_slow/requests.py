"""The sampled requests of a run whose traces are compared: which ids to ask for, and what each request measured.

Half of the ids are of slow requests, half of fast ones, and they alternate, so that a stopped fetch has both.

An objective can be about a step or an iteration. Its requests may have traces of their own: then all of them together
are the trace of the step or iteration, and the time between them is time in which it sent none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from random import Random
from typing import Final

from msgspec import structs

from loadgen.measure.deltas.exemplar import Exemplar, KeptExemplar
from loadgen.measure.deltas.series_key import OK
from loadgen.report.why_slow.choice import Chosen
from loadgen.traces.model import Trace, Value
from loadgen.traces.timed import Observed
from loadgen.units import NS_PER_S

__all__ = ["Asked", "Sampled", "asked_for", "sampled_of", "sampled_requests", "unmeasured"]

_ID_DIGITS: Final = 32
_ORDER_SEED: Final = 0x10AD


@dataclass(frozen=True, slots=True)
class Sampled:
    """A sampled request, step or iteration. parts: (trace id, id of our span) of each of its requests.

    The trace id of `observed` is that of the first part.
    """

    observed: Observed
    parts: tuple[tuple[str, str], ...]

    @property
    def weighing(self) -> float:
        """Return the number of requests, steps or iterations that it stands for."""
        return self.observed.weight

    def with_weight(self, weight: float) -> Sampled:
        """Return the same with another weight."""
        return replace(self, observed=structs.replace(self.observed, weight=weight))


def sampled_of(exemplars: Iterable[KeptExemplar], chosen: Chosen, loads: Sequence[str] = ()) -> list[Sampled]:
    """Return the sampled requests of the chosen series after the warm-up, each once, in the order of their time.

    loads: names of the plan's loads, by index. Requests whose weight is unknown are left out, if others have one.
    """
    ours = (one for one in exemplars if _is_chosen(one.exemplar, chosen, loads) and chosen.region in ("", one.region))
    found = sampled_requests((one for one in ours if not one.exemplar.warmup), loads)
    # Runs of older versions have no weights: then each request stands for itself.
    with_weight = [one for one in found if one.weighing > 0]
    return with_weight or [one.with_weight(1.0) for one in found]


def sampled_requests(exemplars: Iterable[KeptExemplar], loads: Sequence[str] = ()) -> list[Sampled]:
    """Return all whose traces may be read, each once, in the order of their time. An unknown weight is 0."""
    found: dict[tuple[str, int, str, str], Sampled] = {}
    for kept in exemplars:
        one = kept.exemplar
        if parts := _parts(one):
            key = parts[0][0], one.at_ns, one.step, one.request
            # The slowest one can come again as a random one, which has a weight.
            if key not in found or one.stands_for > 0:
                found[key] = Sampled(_observed(kept, parts[0], loads), parts)
    return sorted(found.values(), key=lambda one: (one.observed.at_s, one.observed.trace))


def _parts(one: Exemplar) -> tuple[tuple[str, str], ...]:
    if one.requests:
        return tuple((text[:_ID_DIGITS], text[_ID_DIGITS + 1 :]) for text in one.requests)
    return ((one.trace, one.span),) if one.trace and one.may_be_read else ()


def _is_chosen(one: Exemplar, chosen: Chosen, loads: Sequence[str]) -> bool:
    if chosen.load and chosen.load != _name(loads, one.load):
        return False
    if not all(selector.matches(one.tags) for selector in chosen.tags):
        return False
    if one.request != chosen.request or (not chosen.request and one.step != chosen.step):
        return False
    pairs = ((chosen.journey, one.journey), (chosen.step, one.step))
    return all(not wanted or wanted == own for wanted, own in pairs)


def _observed(kept: KeptExemplar, part: tuple[str, str], loads: Sequence[str]) -> Observed:
    one = kept.exemplar
    # The service time of a step or an iteration is not measured: it includes the pauses between its requests.
    service_ns = one.service_ns if one.request else one.service_ns or one.response_ns
    return Observed(
        trace=part[0],
        span=part[1],
        journey=one.journey,
        step=one.step,
        request=one.request,
        outcome=one.outcome,
        region=kept.region,
        at_s=one.at_ns / NS_PER_S,
        response_ns=one.response_ns,
        service_ns=service_ns,
        weight=one.stands_for,
        is_fit=not one.unfit,
        is_pool_limited=one.pool_limited,
        attributes=_attributes(kept, loads),
    )


def _attributes(kept: KeptExemplar, loads: Sequence[str]) -> dict[str, Value]:
    one = kept.exemplar
    found: dict[str, Value] = {"agent": kept.agent, **dict(one.tags)}
    if len(loads) > 1:
        found["load"] = _name(loads, one.load)
        found |= {f"load {_name(loads, number)} active": True for number in one.active_loads}
    if one.request and one.span:
        found["connection reused"] = one.reused
        found |= {"remote": one.remote} if one.remote else {}
    return found


def _name(loads: Sequence[str], number: int) -> str:
    name = loads[number] if 0 <= number < len(loads) else ""
    return name or str(number)


def unmeasured(trace: Trace) -> Sampled:
    """Return a stand-in for the request of a trace that no agent measured: as long as its spans."""
    ends = [span.start_ns if span.end_ns is None else span.end_ns for span in trace.spans]
    took = max(ends, default=0) - min((span.start_ns for span in trace.spans), default=0)
    observed = Observed(
        trace=trace.id, journey="", step="", request="", outcome="", region="", at_s=0.0,
        response_ns=took, service_ns=took, weight=1.0,
    )  # fmt: skip
    return Sampled(observed, ((trace.id, ""),))


@dataclass(frozen=True, slots=True)
class Asked:
    """The requests whose traces are read. slow, fast: their weights stand for all requests of their group.

    slow_of: the number of sampled slow ones. traces_each: mean number of traces of a request, step or iteration.
    """

    slow: tuple[Sampled, ...]
    fast: tuple[Sampled, ...]
    slow_of: int = 0
    traces_each: float = 1.0

    @property
    def ids(self) -> list[str]:
        """Trace ids, each once: slow and fast ones alternate, so that a budget that runs out leaves both."""
        found: dict[str, None] = {}
        for n in range(max(len(self.slow), len(self.fast))):
            for group in (self.slow, self.fast):
                found |= {trace: None for one in group[n : n + 1] for trace, _ in one.parts}
        return list(found)

    @property
    def sampled(self) -> tuple[Sampled, ...]:
        """All of them."""
        return (*self.slow, *self.fast)

    @property
    def alternated(self) -> tuple[Sampled, ...]:
        """All of them: a slow one, a fast one, the next slow one, and so on."""
        pairs = zip_longest(self.slow, self.fast)
        return tuple(one for pair in pairs for one in pair if one is not None)

    @property
    def observed(self) -> tuple[Observed, ...]:
        """The measured values of all of them."""
        return tuple(one.observed for one in self.sampled)


def asked_for(sampled: Sequence[Sampled], limit_ns: int, most: int, seed: int) -> Asked:
    """Choose requests with about `most` traces: half of them slower than the limit, if there are as many.

    A step or an iteration has several traces, and all of them are needed.
    Each group is drawn with equal chance. The weights grow by the share that was left out, so that both groups stand
    for the same requests as before. Failed requests above the limit count as slow ones here; the comparison keeps them
    apart. Faster failed ones are left out.
    """
    slow = [one for one in sampled if one.observed.response_ns > limit_ns]
    fast = [one for one in sampled if one.observed.response_ns <= limit_ns and one.observed.outcome == OK]
    each = sum(len(dict(one.parts)) for one in sampled) / len(sampled) if sampled else 1.0
    room = max(2, int(most / each))
    n_slow = min(len(slow), max(room // 2, room - len(fast)))
    n_fast = min(len(fast), room - n_slow)
    random = Random(seed ^ _ORDER_SEED)  # noqa: S311  # no secret depends on it
    return Asked(_drawn(slow, n_slow, random), _drawn(fast, n_fast, random), len(slow), each)


def _drawn(group: Sequence[Sampled], n: int, random: Random) -> tuple[Sampled, ...]:
    drawn = tuple(random.sample(group, min(n, len(group))))
    factor = len(group) / n if 0 < n < len(group) else 1.0
    return tuple(one.with_weight(one.weighing * factor) for one in drawn) if factor != 1.0 else drawn
