"""Reads the series of the target's side from `metrics.json` of a run folder, with all points.

The lanes of the page are cut to 12 metrics and 720 points; these are not. The file comes from probes and from
`loadgen runs metrics`, so its texts and numbers are from outside.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from loadgen.outside_text import one_line
from loadgen.report.target_side.metrics_file import NAME

__all__ = ["TargetSeries", "target_series"]

_BYTES_MOST: Final = 16 << 20
_SERIES_MOST: Final = 2_000
_TITLE_MOST: Final = 120
_LEAST_PERIOD_S: Final = 0.05


class TargetSeries(msgspec.Struct, frozen=True):
    """One series. at_s: s from T0. host: its probe, "" if the file names none."""

    title: str
    unit: str
    host: str
    period_s: float
    error_s: float
    at_s: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]


class _Metric(msgspec.Struct, frozen=True):
    name: str
    at_s: tuple[float, ...]
    values: tuple[float | None, ...]
    unit: str = ""
    statistic: str = ""
    period_s: float = 0.0
    error_s: float = 0.0
    probe: str = ""
    host: str = ""


class _File(msgspec.Struct, frozen=True):
    format: int
    metrics: tuple[_Metric, ...]
    source: str = ""


def target_series(folder: Path) -> tuple[list[TargetSeries], str]:
    """Return the series of a run, and a sentence if the file is invalid, "" otherwise; ([], "") without a file.

    Series after the first 2,000, and points with an invalid time, are left out.
    """
    path = folder / NAME
    try:
        if not path.exists():
            return [], ""
        if path.stat().st_size > _BYTES_MOST:
            raise ValueError(f"it has more than {_BYTES_MOST >> 20} MiB")
        file = msgspec.json.decode(path.read_bytes(), type=_File)
        return [_series(one) for one in islice(file.metrics, _SERIES_MOST)], ""
    except (OSError, ValueError, RecursionError) as error:
        why = getattr(error, "strerror", None) or error
        return [], f"{NAME} cannot be read: {why}"


def _series(one: _Metric) -> TargetSeries:
    if len(one.at_s) != len(one.values):
        raise ValueError(f'metric "{one_line(one.name, _TITLE_MOST)}" has unequal numbers of times and values')
    at_s = np.array(one.at_s, dtype=np.float64)
    values = np.array([np.nan if value is None else value for value in one.values], dtype=np.float64)
    order = np.argsort(at_s, kind="stable")[: int(np.isfinite(at_s).sum())]
    at_s, values = at_s[order], values[order]
    gaps = np.diff(at_s)
    usual = float(np.median(gaps)) if len(gaps) else 1.0
    period_s = one.period_s if np.isfinite(one.period_s) and one.period_s > 0 else usual
    title = f"{one.name} ({one.statistic})" if one.statistic else one.name
    return TargetSeries(
        title=one_line(title, _TITLE_MOST),
        unit=one_line(one.unit, _TITLE_MOST),
        host=one_line(one.host or one.probe, _TITLE_MOST),
        period_s=max(_LEAST_PERIOD_S, period_s),
        error_s=one.error_s if np.isfinite(one.error_s) and one.error_s > 0 else 0.0,
        at_s=at_s,
        values=values,
    )
