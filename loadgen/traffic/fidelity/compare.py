"""Distances of all properties between two summaries. A distance is None if one of the summaries lacks the property."""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.traffic.fidelity.distances import edge_excess, js_bits, ks, nrmse, relative, rows_js, weighted_ks
from loadgen.traffic.fidelity.session_summary import BYTES_MEDIAN, BYTES_P95, SessionSummary
from loadgen.traffic.fidelity.time_summary import TimeSummary

__all__ = ["Distances", "session_distances", "session_parts", "time_distances", "time_parts"]

Distances = dict[str, float | None]
Parts = dict[str, Mapping[str, tuple[float, float]]]

_EVEN: Final = 0.01
"""A smaller index of dispersion is as good as 0: even times."""


def session_distances(one: SessionSummary, reference: SessionSummary) -> Distances:
    """Return the distances of the properties of sessions. `one` was made with `like=reference`."""
    keys, own = reference.keys, one.keys
    skew = locality = None
    if keys is None and own is None:
        skew = locality = 0.0
    elif keys is not None and own is not None:
        skew = relative(own.top_share, keys.top_share)
        if own.hit_ratios is not None and keys.hit_ratios is not None:
            locality = max(abs(a - b) for a, b in zip(own.hit_ratios, keys.hit_ratios, strict=True))
    return {
        "request mix": js_bits(one.requests, reference.requests),
        "transitions": rows_js(one.moves, reference.moves),
        "edges": edge_excess(one.moves, reference.moves),
        "sequences": rows_js(_rows(one.triples), _rows(reference.triples)),
        "combinations": js_bits(_upper(one.pairs), _upper(reference.pairs)),
        "session length": ks(one.lengths, reference.lengths),
        "session duration": ks(one.durations, reference.durations),
        "think": _think(one, reference),
        "data skew": skew,
        "locality": locality,
        "status": js_bits(one.statuses.ravel(), reference.statuses.ravel()),
        "bytes": _bytes(one, reference),
    }


def _rows(triples: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return what followed each pair of actions, one row for each pair that has followers."""
    return triples.reshape(-1, triples.shape[-1])


def _upper(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each pair of different actions once."""
    found: NDArray[np.int64] = pairs[np.triu_indices(len(pairs), 1)]
    return found


def _think(one: SessionSummary, reference: SessionSummary) -> float | None:
    if not reference.pauses.any() and not one.pauses.any():
        return 0.0
    return weighted_ks(one.pauses, reference.pauses)


def _bytes(one: SessionSummary, reference: SessionSummary) -> float | None:
    """Return the larger of the mean relative differences of medians and of 95th percentiles, weighted by requests."""
    there = np.isfinite(one.sizes[:, 0]) & np.isfinite(reference.sizes[:, 0])
    if not there.any():
        return None
    weights = reference.requests[there] / reference.requests[there].sum()

    def difference(at: int) -> float:
        pairs = zip(one.sizes[there, at], reference.sizes[there, at], strict=True)
        # A median of 0 bytes against one of 1,000 is 100 %, not 1,000: one name must not outweigh all others.
        found = np.array([min(1.0, relative(a, b)) for a, b in pairs])
        return float((found * weights).sum())

    return max(difference(BYTES_MEDIAN), difference(BYTES_P95))


def session_parts(one: SessionSummary, reference: SessionSummary) -> Parts:
    """Return figures of both sides that explain the distances."""
    found: Parts = {
        "session length": {
            "1 action": (one.share_of_lengths(0, 1), reference.share_of_lengths(0, 1)),
            "> 10 actions": (one.share_of_lengths(11), reference.share_of_lengths(11)),
        }
    }
    if one.keys is not None and reference.keys is not None:
        found["data skew"] = {"top 1 %": (one.keys.top_share, reference.keys.top_share)}
        if one.keys.hit_ratios is not None and reference.keys.hit_ratios is not None:
            both = zip(one.keys.hit_ratios, reference.keys.hit_ratios, strict=True)
            found["locality"] = {f"cache of {share} %": pair for share, pair in zip((1, 10), both, strict=True)}
    return found


def time_distances(one: TimeSummary, reference: TimeSummary) -> Distances:
    """Return the distances of the properties of times. `one` was made with `like=reference`."""
    bursts = bursts_distance(one.dispersions, one.variation, reference.dispersions, reference.variation)
    has_gaps = reference.gaps.any()
    return {
        "rate curve": nrmse(one.curve, reference.curve) if reference.total else None,
        "total": relative(one.total, reference.total),
        "burstiness": bursts,
        "inter-arrival": ks(one.gaps, reference.gaps) if has_gaps else None,
        "concurrency": nrmse_of_active(one.active, reference.active),
    }


def nrmse_of_active(one: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Return the distance of numbers of active sessions; 0 if no session of both lasts."""
    if not reference.any():
        return float(one.any())
    return nrmse(one, reference)


def bursts_distance(
    one: Mapping[int, float], own: float | None, reference: Mapping[int, float], variation: float | None
) -> float | None:
    """Return the largest |ln| of the ratios of the indexes of dispersion, and of the coefficients of variation.

    For a small difference this is the relative difference. A tenth and ten times the value have the same distance.
    """
    found = [_log_ratio(one[step], value) for step, value in reference.items() if step in one]
    if own is not None and variation is not None:
        found.append(_log_ratio(own, variation))
    return max(found) if found else None


def _log_ratio(one: float, other: float) -> float:
    return abs(log(max(one, _EVEN) / max(other, _EVEN)))


def time_parts(one: TimeSummary, reference: TimeSummary) -> Parts:
    """Return figures of both sides that explain the distances."""
    bursts = {
        f"dispersion at {step} s": (one.dispersions[step], value)
        for step, value in reference.dispersions.items()
        if step in one.dispersions
    }
    if one.variation is not None and reference.variation is not None:
        bursts["CV of starts"] = one.variation, reference.variation
    return {
        "total": {"requests": (one.total, reference.total)},
        "burstiness": bursts,
        "concurrency": {"active sessions": (float(one.active.mean()), float(reference.active.mean()))},
    }
