"""The output `influx=URL`: InfluxDB's line protocol over HTTP, for versions 1 to 3 and compatible programs.

`count` is the total of the run so far, `interval_count` the increase since the last line that was accepted. Times are
ms and belong to the interval. Values with tags are also in measurements of their own, `loadgen_tagged_...`. A time
of which only a lower bound is known has its own field, `p99_at_least_ms`. Metrics of requests to AI models have
measurements such as `loadgen_stream_ttft`; those that are numbers of tokens have the field `tokens`, their sum so far.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Final

from loadgen.measure.deltas.series_key import TOKEN_METRICS, TOKEN_NS
from loadgen.sinks.changes import Since, recent_of, score_of
from loadgen.sinks.output_queue import Sink
from loadgen.sinks.post import Poster
from loadgen.sinks.snapshot import Series, Snapshot

__all__ = ["InfluxSink"]

_HEADERS: Final = {"Content-Type": "text/plain; charset=utf-8"}
_AT_ONCE: Final = 5_000
"""The most lines of one message, as InfluxDB recommends."""


class InfluxSink(Sink):
    """Sends figures to InfluxDB. where: the URL as it is shown. headers: names and values. ca: a CA file."""

    wants_recent = True

    def __init__(self, url: str, where: str, headers: Mapping[str, str], ca: Path | None = None) -> None:
        super().__init__("influx", where)
        self._poster, self._since = Poster(url, headers, ca), Since()

    def deliver(self, snapshot: Snapshot) -> None:
        lines = self._lines(snapshot)
        while part := "\n".join(islice(lines, _AT_ONCE)):
            self._poster.post(part.encode("utf-8", "replace"), _HEADERS)
        self._since.took_all(snapshot)

    def close(self) -> None:
        self._poster.close()

    def _lines(self, snapshot: Snapshot) -> Iterator[str]:
        run = {"run_id": snapshot.run.run_id, "plan": snapshot.run.plan}
        time = snapshot.time_ns
        grown = {change.series.labels: change.count for change in self._since.changes(snapshot)}
        for series in snapshot.all_series:
            count = grown.get(series.labels, 0)
            if count or snapshot.is_final:
                labels = asdict(series.labels)
                tags = run | {name: labels[name] for name in ("journey", "step", "request", "outcome", "region")}
                tags["warmup"] = "true" if series.labels.warmup else "false"
                tags |= {snapshot.tag_labels[name]: value for name, value in series.labels.tags}
                yield f"loadgen_{series.labels.what}{_tags(tags)} {_fields(_of(series, count))} {time}"
        for region, counters in snapshot.counters.items():
            fields: dict[str, float] = asdict(counters) | asdict(snapshot.levels[region])
            yield f"loadgen_region{_tags(run | {'region': region})} {_fields(fields)} {time}"


def _of(series: Series, count: int) -> dict[str, float]:
    fields: dict[str, float] = {"count": series.count, "censored": series.censored, "interval_count": count}
    if series.labels.metric in TOKEN_METRICS:
        return fields | {"tokens": series.sum_ns // TOKEN_NS}
    if series.labels.metric == "cls":
        return fields | {name: score_of(value) for name, value in recent_of(series).items()}
    for name, value in recent_of(series).items():
        fields[f"{name}_at_least_ms" if value.is_bound else f"{name}_ms"] = float(value.ms)
    return fields


def _fields(fields: Mapping[str, float]) -> str:
    return ",".join(
        # Without the `i` InfluxDB would store the number as a float.
        f"{name}={value}i" if isinstance(value, int) else f"{name}={value!r}"
        for name, value in fields.items()
    )


def _tags(tags: Mapping[str, str | None]) -> str:
    """Return tags in InfluxDB's line protocol, for example ",journey=checkout". Tags without a value are left out,
    because the protocol does not permit them.
    """
    return "".join(f",{name}={_escaped(value)}" for name, value in tags.items() if value)


def _escaped(value: str) -> str:
    """Return a tag name or value with special characters escaped. Line breaks and a backslash at the end cannot be
    escaped, so they are replaced.
    """
    text = re.sub(r"\s", " ", value).rstrip("\\") or "_"
    return re.sub(r"([,= ])", r"\\\1", text)
