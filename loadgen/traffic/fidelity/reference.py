"""The reference in `traffic.json`: summaries and floors of a log, so that later comparisons need no log.

Counts in bins are texts such as "12:3 13:5": bin 12 has 3, bin 13 has 5. A list would take a line for each number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from loadgen.errors import UsageError
from loadgen.traffic.fidelity.answers import Answers, median_durations
from loadgen.traffic.fidelity.compare import Distances
from loadgen.traffic.fidelity.floors import session_floors_of_all, time_floors
from loadgen.traffic.fidelity.judge import MOST_SESSIONS, thinned
from loadgen.traffic.fidelity.session_summary import (
    MOST_ACTIONS,
    SIZE_QUANTILES,
    STATUSES,
    Keys,
    SessionSummary,
    moves_of,
    summary_of,
)
from loadgen.traffic.fidelity.time_summary import Times, TimeSummary, time_summary
from loadgen.traffic.model.gap_bins import BINS
from loadgen.traffic.sessions.session_table import SessionTable

__all__ = ["KEY", "Reference", "reference_from", "reference_of"]

KEY: Final = "reference"
"""The key of `traffic.json`."""
_OUTSIDE: Final = "(outside)"
_FORMAT: Final = 1


@dataclass(frozen=True)
class Reference:
    """A log, as later comparisons need it.

    states: the names by state; the last one is for all other requests.
    floors: of the properties of sessions, for two samples as large as `summary`. time_floors: of those of times.
    times: None if the log cannot show when sessions start; `no_times` is the reason.
    begin_s, span_s: when the log begins (s since 1970), and how long it is. first_us: when its first session starts,
    after its beginning.
    not_measurable: by property, why the log does not show it or the model cannot have it.
    took_us: by state, the median duration of a request; 0 if the log has no durations.
    whole_seconds: whether the log's stamps have no fractions.
    """

    states: tuple[str, ...]
    summary: SessionSummary
    floors: Distances
    times: TimeSummary | None
    time_floors: Distances
    no_times: str
    not_measurable: Mapping[str, str]
    begin_s: int
    span_s: int
    first_us: int
    took_us: NDArray[np.int64]
    whole_seconds: bool

    @property
    def answers(self) -> Answers:
        """The answers of the target in the log."""
        return Answers(self.states, self.took_us, self.summary.statuses, self.summary.sizes)

    def as_json(self) -> dict[str, object]:
        """Return the value of `reference` in `traffic.json`."""
        return {
            "format": _FORMAT,
            "states": list(self.states),
            "sessions": _sessions_json(self.summary, self.states),
            "floors": _rounded(self.floors),
            "times": None if self.times is None else _times_json(self.times),
            "time_floors": _rounded(self.time_floors),
            "no_times": self.no_times,
            "not_measurable": dict(self.not_measurable),
            "begin_s": self.begin_s,
            "span_s": self.span_s,
            "first_us": self.first_us,
            "took_us": dict(zip(self.states, self.took_us.tolist(), strict=True)),
            "whole_seconds": self.whole_seconds,
        }


def reference_of(
    sample: SessionTable,
    states: tuple[str, ...],
    times: Times,
    *,
    no_times: str = "",
    not_measurable: Mapping[str, str] | None = None,
    without_bytes: Sequence[int] = (),
    whole_seconds: bool = False,
    seed: int = 0,
) -> Reference:
    """Return the reference of a log.

    states: one name for each state of the sample. times: of the whole log. no_times: why it cannot show when sessions
    start; empty if it can. not_measurable: as in `Reference`. without_bytes: states whose answers the model cannot get,
    because it lacks their queries.
    """
    rng = np.random.default_rng(seed)
    sample = thinned(sample, MOST_SESSIONS, rng)
    summary = summary_of(sample)
    summary.sizes[list(without_bytes)] = np.nan
    return Reference(
        states=states,
        summary=summary,
        floors=session_floors_of_all(sample, sample.count, rng),
        times=None if no_times else time_summary(times),
        time_floors={} if no_times else time_floors(times, rng),
        no_times=no_times,
        not_measurable=not_measurable or {},
        begin_s=times.begin_s,
        span_s=times.span_s,
        first_us=int(times.starts[0]),
        took_us=median_durations(sample),
        whole_seconds=whole_seconds,
    )


def reference_from(document: Mapping[str, Any], place: str) -> Reference:
    """Return the reference that `traffic.json` has. place: of the file, for messages.

    Raises:
        UsageError: it is missing or damaged.
    """
    found = document.get(KEY)
    hint = "write the model again: loadgen model LOG... -o FILE.py"
    if found is None:
        raise UsageError(f"{place} has no {KEY!r}, with which the scenario could be compared", hint=hint)
    try:
        return _read(found)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UsageError(f"{place}: {KEY!r} is damaged, or a newer loadgen wrote it ({error!r})", hint=hint) from error


def _read(found: Mapping[str, Any]) -> Reference:
    if found["format"] != _FORMAT:
        raise ValueError(f"format {found['format']}")
    states = tuple(map(str, found["states"]))
    times = found["times"]
    return Reference(
        states=states,
        summary=_sessions_from(found["sessions"], states),
        floors=_floors_from(found["floors"]),
        times=None if times is None else _times_from(times),
        time_floors=_floors_from(found["time_floors"]),
        no_times=str(found["no_times"]),
        not_measurable={str(name): str(why) for name, why in found["not_measurable"].items()},
        begin_s=int(found["begin_s"]),
        span_s=int(found["span_s"]),
        first_us=int(found["first_us"]),
        took_us=np.array([int(found["took_us"][name]) for name in states], np.int64),
        whole_seconds=bool(found["whole_seconds"]),
    )


def _sessions_json(summary: SessionSummary, states: tuple[str, ...]) -> dict[str, object]:
    names = (*states, _OUTSIDE)
    keys = summary.keys
    return {
        "count": summary.sessions,
        "triples": {
            names[a]: {
                names[b]: {names[c]: int(rows[b, c]) for c in np.flatnonzero(rows[b])}
                for b in np.flatnonzero(rows.any(1))
            }
            for a, rows in enumerate(summary.triples)
            if rows.any()
        },
        "pairs": {
            states[a]: {states[b]: int(row[b]) for b in np.flatnonzero(row) if b >= a}
            for a, row in enumerate(summary.pairs)
            if row[a:].any()
        },
        "lengths": _bins_text(summary.lengths),
        "durations": _bins_text(summary.durations),
        "pauses": [
            {"from": states[edge // len(states)], "to": states[edge % len(states)], "bins": _bins_text(row)}
            for edge, row in zip(summary.edges.tolist(), summary.pauses, strict=False)
        ],
        "other_pauses": _bins_text(summary.pauses[-1]),
        "statuses": {
            name: {str(status): int(row[status]) for status in np.flatnonzero(row)}
            for name, row in zip(states, summary.statuses, strict=True)
        },
        "bytes": {
            name: " ".join(f"{value:.0f}" for value in row)
            for name, row in zip(states, summary.sizes, strict=True)
            if np.isfinite(row[0])
        },
        "keys": None
        if keys is None
        else {
            "top": {name: count for name, count in zip(states, keys.top_keys.tolist(), strict=True) if count},
            "caches": list(keys.caches),
            "top_share": round(keys.top_share, 6),
            "hit_ratios": [round(ratio, 6) for ratio in keys.hit_ratios or ()],
        },
    }


def _sessions_from(found: Mapping[str, Any], states: tuple[str, ...]) -> SessionSummary:
    at = {name: n for n, name in enumerate((*states, _OUTSIDE))}
    size = len(states)
    triples = np.zeros((size + 1, size + 1, size + 1), np.int64)
    for before, rows in found["triples"].items():
        for name, row in rows.items():
            for to, count in row.items():
                triples[at[before], at[name], at[to]] = count
    pairs = np.zeros((size, size), np.int64)
    for name, row in found["pairs"].items():
        for other, count in row.items():
            pairs[at[name], at[other]] = pairs[at[other], at[name]] = count
    statuses = np.zeros((size, STATUSES), np.int64)
    for name, row in found["statuses"].items():
        for status, count in row.items():
            statuses[at[name], int(status)] = count
    sizes = np.full((size, SIZE_QUANTILES), np.nan)
    for name, text in found["bytes"].items():
        sizes[at[name]] = [float(value) for value in text.split()]
    edges = [at[row["from"]] * size + at[row["to"]] for row in found["pauses"]]
    if edges != sorted(edges):
        raise ValueError("the order of the pauses")
    texts = [*(row["bins"] for row in found["pauses"]), found["other_pauses"]]
    keys = found["keys"]
    return SessionSummary(
        sessions=int(found["count"]),
        requests=statuses.sum(1),
        moves=moves_of(triples),
        triples=triples,
        pairs=pairs,
        lengths=_bins_from(found["lengths"], MOST_ACTIONS + 1),
        durations=_bins_from(found["durations"], BINS),
        edges=np.array(edges, np.int64),
        pauses=np.stack([_bins_from(text, BINS) for text in texts]),
        statuses=statuses,
        sizes=sizes,
        keys=None
        if keys is None
        else Keys(
            top_keys=np.array([int(keys["top"].get(name, 0)) for name in states], np.int64),
            caches=(int(keys["caches"][0]), int(keys["caches"][1])),
            top_share=float(keys["top_share"]),
            hit_ratios=(float(keys["hit_ratios"][0]), float(keys["hit_ratios"][1])),
        ),
    )


def _times_json(times: TimeSummary) -> dict[str, object]:
    return {
        "bin_s": times.bin_s,
        "requests": _numbers_text(times.curve),
        "active_sessions": _numbers_text(times.active),
        "dispersions": {str(step): round(value, 6) for step, value in times.dispersions.items()},
        "gaps": _bins_text(times.gaps),
        "variation": None if times.variation is None else round(times.variation, 6),
    }


def _times_from(found: Mapping[str, Any]) -> TimeSummary:
    curve, active = (
        np.array([float(value) for value in found[key].split()]) for key in ("requests", "active_sessions")
    )
    if len(curve) != len(active) or int(found["bin_s"]) < 1:
        raise ValueError("the curves")
    variation = found["variation"]
    return TimeSummary(
        bin_s=int(found["bin_s"]),
        curve=curve,
        active=active,
        dispersions={int(step): float(value) for step, value in found["dispersions"].items()},
        gaps=_bins_from(found["gaps"], BINS),
        variation=None if variation is None else float(variation),
    )


def _bins_text(counts: NDArray[np.int64]) -> str:
    return " ".join(f"{at}:{counts[at]}" for at in np.flatnonzero(counts))


def _bins_from(text: str, size: int) -> NDArray[np.int64]:
    found = np.zeros(size, np.int64)
    for pair in text.split():
        at, _, count = pair.partition(":")
        if not 0 <= int(at) < size:
            raise ValueError(f"bin {at}")
        found[int(at)] = int(count)
    return found


def _numbers_text(values: Iterable[float]) -> str:
    return " ".join(f"{value:.6g}" for value in values)


def _rounded(distances: Distances) -> dict[str, float | None]:
    return {name: None if value is None else float(f"{value:.6g}") for name, value in distances.items()}


def _floors_from(found: Mapping[str, Any]) -> Distances:
    return {str(name): None if value is None else float(value) for name, value in found.items()}
