"""The figures of kept streams by the definitions of any tool, computed after the run from their event lists.

The streams are a sample, chosen by chance, of all requests to AI models. So each figure has the number of streams that
it comes from, and the number of requests that the sample stands for. Percentiles are interpolated between the values,
as the tools do it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from loadgen.measure.conventions import Convention
from loadgen.measure.deltas.kept_stream import KeptStream
from loadgen.measure.deltas.series_key import OK

__all__ = ["ConventionFigure", "KeptFigures", "kept_figures", "kept_values"]

_UNIT: Final = "_ms"


@dataclass(frozen=True, slots=True)
class ConventionFigure:
    """One figure, such as ttft, over the kept streams. Times are ms. count: values; a stream can have many of them."""

    name: str
    count: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class KeptFigures:
    """All figures of one convention.

    streams: kept streams that ended ok, of `of` requests that did. share: with which each was chosen. left_out: chosen
    streams that are missing because of a limit.
    """

    convention: Convention
    streams: int
    of: int
    share: float
    left_out: int
    figures: tuple[ConventionFigure, ...]


def kept_values(streams: Iterable[KeptStream], convention: Convention) -> dict[str, list[float]]:
    """Return the values of each figure by its name, in ms, of the streams that ended ok. Figures without any are left
    out.

    A figure of which a stream has several values, such as itl, has the values of all streams.
    """
    values: dict[str, list[float]] = {}
    for one in streams:
        if one.outcome != OK:
            continue
        for key, found in one.figures(convention).items():
            if not key.endswith(_UNIT) or found is None:
                continue
            some = [float(ms) for ms in found] if isinstance(found, list) else [float(found)]
            if convention == "vllm" and key == "tpot_ms":
                some = [ms for ms in some if ms]  # vLLM has 0 for answers of one token, and leaves these out
            if some:
                values.setdefault(key.removesuffix(_UNIT), []).extend(some)
    return values


def kept_figures(
    streams: Sequence[KeptStream], convention: Convention, *, of: int, share: float, left_out: int
) -> KeptFigures:
    """Return the figures of a sample of streams by one convention. The other arguments: see `KeptFigures`."""
    found = kept_values(streams, convention)
    ok = sum(one.outcome == OK for one in streams)
    figures = tuple(_figure(name, values) for name, values in found.items())
    return KeptFigures(convention, ok, of, share, left_out, figures)


def _figure(name: str, values: Sequence[float]) -> ConventionFigure:
    p50, p90, p95, p99 = np.percentile(values, (50, 90, 95, 99)).tolist()
    return ConventionFigure(name, len(values), float(np.mean(values)), p50, p90, p95, p99, max(values))
