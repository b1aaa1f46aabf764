"""Compute what the page shows of kept streams: a waterfall of the slowest ones, and ttft against prompt tokens.

The waterfall has the streams with the longest time to first token, from when they were due. The points are those of the
streams that were chosen by chance, because the slowest ones of each interval would make the field look slower than it
was. Streams of the warm-up are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final, TypeVar

from loadgen.measure.deltas.kept_stream import KeptStream
from loadgen.measure.deltas.series_key import OK
from loadgen.measure.run_folder.kept_stream_log import KeptOfRun, RunStream
from loadgen.measure.streams import TOKEN_KINDS
from loadgen.units import NS_PER_MS, NS_PER_S

__all__ = ["MOST_POINTS", "MOST_READS", "SLOWEST", "kept_of_page"]

SLOWEST: Final = 12
MOST_READS: Final = 400
"""The most reads of a stream in the waterfall; of a longer stream, equal parts of its reads are left out."""
MOST_POINTS: Final = 2_000
"""The most points; of more streams, equal parts are left out."""
_DIGITS: Final = frozenset(map(str, TOKEN_KINDS))

_Json = dict[str, object]
T = TypeVar("T")


def kept_of_page(kept: KeptOfRun | None, warmup_ns: int = 0, of: int = 0) -> _Json:
    """Return `kept_streams` of the report document; {} if the run kept none.

    of: requests to AI models of the run that ended after the warm-up.
    """
    if kept is None:
        return {}
    after = kept.after(warmup_ns)
    slow = sorted(
        ((ttft_ns, one) for one in after if (ttft_ns := _ttft_ns(one.stream)) is not None),
        key=lambda found: -found[0] - max(0, found[1].stream.wait_ns),
    )
    points = [
        [one.prompt_tokens, _ms(ttft_ns), one.outcome == OK]
        for one in kept.sample(warmup_ns)
        if (ttft_ns := _ttft_ns(one)) is not None and one.prompt_tokens > 0
    ]
    return {
        "share": kept.share,
        "kept": sum(one.stream.why == "share" for one in after),
        "of": of,
        "left_out": kept.left_out,
        "slowest": [_row(one, ttft_ns) for ttft_ns, one in slow[:SLOWEST]],
        "points": list(_thinned(points, MOST_POINTS)),
        "points_of": len(points),
    }


def _ttft_ns(stream: KeptStream) -> int | None:
    """Return the time to the first generated token; None if none came."""
    tokens = stream.tokens or [-1] * len(stream.kinds)
    for t_ns, kind, count in zip(stream.t_ns, stream.kinds, tokens, strict=True):
        if kind in _DIGITS and count != 0:
            return t_ns
    return None


def _row(one: RunStream, ttft_ns: int) -> _Json:
    stream = one.stream
    reads = list(_reads(stream))
    return {
        "at_s": round(stream.at_ns / NS_PER_S, 3),
        "journey": stream.journey,
        "step": stream.step or None,
        "request": stream.request,
        "outcome": stream.outcome,
        "agent": one.agent,
        "region": one.region,
        "clock": stream.clock,
        "trace_id": stream.trace,
        "wait_ms": _ms(stream.wait_ns) if stream.wait_ns >= 0 else None,
        "sent_ms": _ms(stream.send_ns) if stream.send_ns >= 0 else None,
        "ttft_ms": _ms(ttft_ns),
        "end_ms": _ms(max(stream.end_ns, sum(stream.gaps_ns))),
        "prompt_tokens": stream.prompt_tokens,
        "output_tokens": stream.output_tokens,
        "reads": [_ms(t_ns) for t_ns, has_token in _thinned(reads, MOST_READS) if has_token],
        "others": [_ms(t_ns) for t_ns, has_token in _thinned(reads, MOST_READS) if not has_token],
        "reads_of": len(reads),
    }


def _reads(stream: KeptStream) -> Iterator[tuple[int, bool]]:
    """Yield (time, whether it had a token) of each read."""
    events = zip(stream.t_ns, stream.kinds, stream.tokens or [-1] * len(stream.kinds), strict=True)
    for t_ns, some in groupby(events, key=lambda event: event[0]):
        yield t_ns, any(kind in _DIGITS and count != 0 for _, kind, count in some)


def _thinned(values: Sequence[T], most: int) -> Iterator[T]:
    """Yield at most `most` values, spread evenly over all of them, with the first one."""
    count = min(len(values), most)
    for i in range(count):
        yield values[i * len(values) // count]


def _ms(ns: float) -> float:
    return round(ns / NS_PER_MS, 3)
