"""The sampled requests of a run whose traces are compared: which ids to ask for, and what each request measured.

Half of the ids are of slow requests, half of fast ones, and they alternate, so that a stopped fetch has both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

import msgspec

from loadgen.measure.deltas.exemplar import Exemplar, KeptExemplar
from loadgen.measure.deltas.series_key import OK
from loadgen.report.why_slow.choice import Chosen
from loadgen.traces.model import Trace
from loadgen.traces.timed import Observed
from loadgen.units import NS_PER_S

__all__ = ["Asked", "asked_for", "every_observed", "observed_of", "unmeasured"]


def observed_of(exemplars: Iterable[KeptExemplar], chosen: Chosen, loads: Sequence[str] = ()) -> list[Observed]:
    """Return the sampled requests of the chosen series after the warm-up, each once, in the order of their time.

    loads: names of the plan's loads, by index. Requests without a trace id are left out.
    """
    ours = (one for one in exemplars if _is_chosen(one.exemplar, chosen) and chosen.region in ("", one.region))
    return every_observed((one for one in ours if not one.exemplar.warmup), loads)


def every_observed(exemplars: Iterable[KeptExemplar], loads: Sequence[str] = ()) -> list[Observed]:
    """Return all requests that have a trace id, each once, in the order of their time."""
    found: dict[tuple[str, int, str], Observed] = {}
    for kept in exemplars:
        one = kept.exemplar
        key = one.trace, one.at_ns, one.request
        if one.trace and key not in found:
            found[key] = _observed(kept, loads)
    return sorted(found.values(), key=lambda one: (one.at_s, one.trace))


def unmeasured(trace: Trace) -> Observed:
    """Return a stand-in for the request of a trace that no agent measured: as long as its spans."""
    ends = [span.start_ns if span.end_ns is None else span.end_ns for span in trace.spans]
    took = max(ends, default=0) - min((span.start_ns for span in trace.spans), default=0)
    return Observed(
        trace=trace.id, journey="", step="", request="", outcome="", region="", at_s=0.0,
        response_ns=took, service_ns=took, weight=1.0,
    )  # fmt: skip


def _is_chosen(one: Exemplar, chosen: Chosen) -> bool:
    pairs = ((chosen.journey, one.journey), (chosen.step, one.step))
    return one.request == chosen.request and all(not wanted or wanted == own for wanted, own in pairs)


def _observed(kept: KeptExemplar, loads: Sequence[str]) -> Observed:
    one = kept.exemplar
    load = loads[one.load] if 0 <= one.load < len(loads) else ""
    attributes = {"loadgen.region": kept.region, "loadgen.agent": kept.agent, "loadgen.load": load}
    return Observed(
        trace=one.trace,
        journey=one.journey,
        step=one.step,
        request=one.request,
        outcome=one.outcome,
        region=kept.region,
        at_s=one.at_ns / NS_PER_S,
        response_ns=one.response_ns,
        service_ns=one.service_ns,
        weight=1.0,
        attributes={name: value for name, value in attributes.items() if value},
    )


@dataclass(frozen=True, slots=True)
class Asked:
    """The requests whose traces are read. slow, fast: their weights stand for all requests of their group.

    slow_of, fast_of: the number of sampled requests that these were chosen from.
    """

    slow: tuple[Observed, ...]
    fast: tuple[Observed, ...]
    slow_of: int
    fast_of: int

    @property
    def ids(self) -> list[str]:
        """Trace ids, each once: slow and fast ones alternate, so that a budget that runs out leaves both."""
        found: dict[str, None] = {}
        for n in range(max(len(self.slow), len(self.fast))):
            found |= {group[n].trace: None for group in (self.slow, self.fast) if n < len(group)}
        return list(found)

    @property
    def requests(self) -> tuple[Observed, ...]:
        """All of them."""
        return (*self.slow, *self.fast)


_ORDER_SEED: Final = 0x10AD


def asked_for(observed: Sequence[Observed], limit_ns: int, most: int, seed: int) -> Asked:
    """Choose at most `most` requests: half of them slower than the limit, if there are as many.

    Each group is drawn with equal chance. The weights grow by the share that was left out, so that both groups stand
    for the same requests as before. Failed requests are in no group: their times mean something else.
    """
    ok = [one for one in observed if one.outcome == OK]
    slow = [one for one in ok if one.response_ns > limit_ns]
    fast = [one for one in ok if one.response_ns <= limit_ns]
    half = most // 2
    n_slow = min(len(slow), max(half, most - len(fast)))
    n_fast = min(len(fast), most - n_slow)
    random = Random(seed ^ _ORDER_SEED)  # noqa: S311  # no secret depends on it
    return Asked(_drawn(slow, n_slow, random), _drawn(fast, n_fast, random), len(slow), len(fast))


def _drawn(group: Sequence[Observed], n: int, random: Random) -> tuple[Observed, ...]:
    if n >= len(group):
        return tuple(random.sample(group, len(group)))
    factor = len(group) / n if n else 1.0
    return tuple(msgspec.structs.replace(one, weight=one.weight * factor) for one in random.sample(group, n))
