"""The settings of the kind "metrics": a page of metrics.

[probes.vllm]
url = "http://10.0.0.7:8000/metrics"
preset = "vllm"                      # or metrics = ["http_requests_total"]
every = "1s"
auth_secret = "metrics-login"        # the name of a secret, never its value
auth_header = "Authorization"
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from loadgen.probes.checks import Wrong, auth_wrongs, url_wrongs
from loadgen.probes.metrics_page.presets import PRESETS, row_of_metric
from loadgen.probes.rows import Row
from loadgen.probes.spec import ProbeSpec

__all__ = ["MetricsTable", "metrics_wrongs", "rows_of"]

_METRICS_MOST: Final = 50
_METRIC: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,255}")


class MetricsTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of the kind, besides those of all kinds."""

    url: str = ""
    preset: str = ""
    metrics: tuple[str, ...] = ()
    auth_secret: str = ""
    auth_header: str = ""


def metrics_wrongs(values: Mapping[str, Any]) -> Iterator[Wrong]:
    """Check the settings of a page of metrics."""
    yield from url_wrongs(values.get("url"))
    yield from _rows_wrongs(values.get("preset"), values.get("metrics", ()))
    yield from auth_wrongs(values)


def rows_of(spec: ProbeSpec) -> tuple[Row, ...]:
    """Return the rows of the preset, then one for each named metric; () for other kinds."""
    if spec.kind != "metrics":
        return ()
    return (*PRESETS.get(spec.preset, ()), *map(row_of_metric, spec.metrics))


def _rows_wrongs(preset: object, metrics: object) -> Iterator[Wrong]:
    if preset is not None and (not isinstance(preset, str) or preset not in PRESETS):
        known = " or ".join(f'"{one}"' for one in PRESETS)
        yield "preset", f"preset: unknown preset {str(preset)[:40]!r}", f"write {known}, or leave preset out"
    given = [] if isinstance(metrics, str | Mapping) or not isinstance(metrics, Iterable) else list(metrics)
    if not given and metrics not in ((), [], None):
        yield "metrics", "metrics: not a list of names", 'write metrics=["http_requests_total"]'
    for one in given:
        if not isinstance(one, str) or not _METRIC.fullmatch(one):
            yield "metrics", f"metrics: {str(one)[:60]!r} is not the name of a metric", "write names without labels"
    if len(given) > _METRICS_MOST:
        yield "metrics", f"metrics: {len(given)} names, the limit is {_METRICS_MOST}", "remove some of them"
    if preset is None and not given:
        known = " or ".join(f'preset="{one}"' for one in PRESETS)
        yield "metrics", "the probe has neither a preset nor metrics", f"write {known}, or metrics=[...]"
