"""Compute the throughput of a user against that of all users, for each level of a load: the trade-off of AI services.

More users share the service: all of them together get more tokens/s, and each of them fewer. The best levels are those
that no other level beats in both. A saturated level is never one of them, since the service does not hold it.
"""

from __future__ import annotations

from loadgen.report.summary_reader import Summary

__all__ = ["trade_off_of"]

_LEAST_LEVELS = 2


def trade_off_of(summary: Summary) -> list[dict[str, object]]:
    """Return `trade_off` of the verdict: a dict for each level with tokens; empty with fewer than two of them.

    a_user, in_all: output tokens/s of one user (1/tpot p50), and of all of them. is_best: no other level has more of
    both.
    """
    found = [
        (one, one.tokens_per_s_a_user, one.output_tokens_per_s)
        for one in summary.levels
        if one.tokens_per_s_a_user is not None and one.output_tokens_per_s is not None
    ]
    if len(found) < _LEAST_LEVELS:
        return []
    held = [(a_user, in_all) for one, a_user, in_all in found if not one.saturated]
    return [
        {
            "level": one.level,
            "unit": one.unit,
            "a_user": a_user,
            "in_all": in_all,
            "is_saturated": bool(one.saturated),
            "is_best": not one.saturated and not any(_beats(other, (a_user, in_all)) for other in held),
        }
        for one, a_user, in_all in found
    ]


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Return whether `one` has at least as much of both throughputs as `other`, and more of one of them."""
    return one != other and one[0] >= other[0] and one[1] >= other[1]
