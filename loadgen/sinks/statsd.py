"""The outputs `statsd=HOST:PORT` and `dogstatsd=HOST:PORT`: counts and levels over UDP.

StatsD has no labels, so labels become parts of the name. Its timers need every single value, so percentiles of the
interval are sent as gauges. DogStatsD has tags, and distributions: for each bucket one value from its middle is sent,
with sample rate 1/n for n values. So Datadog's agent computes percentiles with an error of at most a bucket. Values
with tags are also sent under `loadgen.tagged`.

UDP does not report lost packets. A closed port is reported by the kernel, and counted.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Final

from loadgen.measure.deltas.delta import Counters
from loadgen.measure.deltas.series_key import TOKEN_METRICS, TOKEN_NS
from loadgen.sinks.buckets import EDGES_S
from loadgen.sinks.changes import Change, Since, recent_of, score_of
from loadgen.sinks.output_queue import Sink
from loadgen.sinks.snapshot import Snapshot

__all__ = ["StatsdSink"]

_PACKET_BYTES: Final = 1_432
"""The most payload that fits into one Ethernet frame."""
_MOST_AT_ONCE: Final = 100_000
"""The most values that one line represents: Datadog's agent refuses sample rates below a millionth."""
_STARTS_S: Final = (0.0, *EDGES_S)
_UNFIT: Final = re.compile(r"[,|#\s]+")
"""Characters that the value of a tag must not contain."""


@dataclass(frozen=True, slots=True)
class _Line:
    text: str
    took: Callable[[], None] | None = None
    """Called when the line was sent."""


class StatsdSink(Sink):
    """Sends figures to a StatsD server.

    Args:
        is_dog: use Datadog's dialect.
    """

    wants_recent = True

    def __init__(self, host: str, port: int, *, is_dog: bool = False) -> None:
        shown = f"[{host}]" if ":" in host else host
        super().__init__("dogstatsd" if is_dog else "statsd", f"{shown}:{port}")
        self._address, self._is_dog, self._since = (host, port), is_dog, Since()
        self._socket: socket.socket | None = None

    def deliver(self, snapshot: Snapshot) -> None:
        connected = self._socket or self._connected()
        try:
            for packet in _packets(self._lines(snapshot)):
                connected.send("\n".join(line.text for line in packet).encode("utf-8", "replace"))
                for line in packet:
                    if line.took is not None:
                        line.took()
        except OSError:
            self.close()  # look up the name again next time: its address may have changed
            raise
        if snapshot.is_final:
            self._since.took_all(snapshot)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _connected(self) -> socket.socket:
        """Open and return a UDP socket that is connected to the receiver. Only with a connection does the kernel report
        that no process listens there.
        """
        host, port = self._address
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        self._socket = made = socket.socket(family, kind, protocol)
        made.settimeout(1.0)
        made.connect(address)
        return made

    def _lines(self, snapshot: Snapshot) -> Iterator[_Line]:
        for change in self._since.changes(snapshot):
            yield from self._dog(snapshot, change) if self._is_dog else self._plain(snapshot, change)
        for region, counters in self._since.counters(snapshot):
            yield from self._of_region(snapshot, region, counters)

    def _plain(self, snapshot: Snapshot, change: Change) -> Iterator[_Line]:
        of = change.series.labels
        names = (of.journey, of.step, of.request, of.outcome, of.region, "warmup" if of.warmup else None)
        tags = (part for name, value in of.tags for part in (snapshot.tag_labels[name], value))
        if of.metric in TOKEN_METRICS:
            yield from self._tokens(snapshot, change, ".".join(map(_part, filter(None, names))))
            return
        kind = of.what.split("_", 1) if of.tags or of.metric != "response" else (of.kind,)
        name = ".".join(("loadgen", *kind, *(_part(part) for part in (*names, *tags) if part)))
        for quantile, value in recent_of(change.series).items():
            figure = f"{quantile}:{score_of(value):.4f}" if of.metric == "cls" else f"{quantile}_ms:{value.ms:.3f}"
            yield _Line(f"{name}.{figure}|g")
        yield _Line(f"{name}.count:{change.count}|c", partial(self._since.took, snapshot, change.series))

    def _dog(self, snapshot: Snapshot, change: Change) -> Iterator[_Line]:
        of = change.series.labels
        tags = asdict(of) | {"run_id": snapshot.run.run_id, "plan": snapshot.run.plan, "warmup": str(of.warmup).lower()}
        del tags["kind"], tags["tags"], tags["metric"]
        text = _tags(tags | {snapshot.tag_labels[name]: value for name, value in of.tags})
        if of.metric in TOKEN_METRICS:
            yield from self._tokens(snapshot, change, f"#{text}")
            return
        kind = of.what.replace("_", ".", 1) if of.tags or of.metric != "response" else of.kind
        last = len(EDGES_S)
        for n, count in enumerate(change.buckets.tolist()):
            value = _STARTS_S[n] if n == last else (_STARTS_S[n] + _STARTS_S[n + 1]) / 2
            while count > 0:
                part = min(count, _MOST_AT_ONCE)
                yield _Line(f"loadgen.{kind}.response:{value * of.per_s:.7g}|d|@{1 / part!r}|#{text}")
                count -= part
        yield _Line(
            f"loadgen.{kind}.count:{change.count}|c|#{text}", partial(self._since.took, snapshot, change.series)
        )

    def _tokens(self, snapshot: Snapshot, change: Change, where: str) -> Iterator[_Line]:
        """Yield the increase of a number of tokens. where: the tags of the dialect, or the parts of the name."""
        took = partial(self._since.took, snapshot, change.series)
        tokens = self._since.sum_ns(snapshot, change.series) // TOKEN_NS
        name = f"loadgen.stream.{change.series.labels.metric}"
        yield _Line(f"{name}:{tokens}|c|{where}" if self._is_dog else f"{name}.{where}:{tokens}|c", took)

    def _of_region(self, snapshot: Snapshot, region: str, counters: Counters) -> Iterator[_Line]:
        tags = {"run_id": snapshot.run.run_id, "plan": snapshot.run.plan, "region": region}
        prefix, suffix = ("loadgen", f"|#{_tags(tags)}") if self._is_dog else (f"loadgen.region.{_part(region)}", "")
        for name, level in asdict(snapshot.levels[region]).items():
            yield _Line(f"{prefix}.{name}:{level:.7g}|g{suffix}")
        for name, count in asdict(counters).items():
            if count:
                took = partial(self._since.took_counter, snapshot, region, name)
                yield _Line(f"{prefix}.{name}:{count}|c{suffix}", took)


def _packets(lines: Iterator[_Line]) -> Iterator[list[_Line]]:
    packet: list[_Line] = []
    size = 0
    for line in lines:
        length = len(line.text.encode("utf-8", "replace")) + 1
        if packet and size + length > _PACKET_BYTES:
            yield packet
            packet, size = [], 0
        packet.append(line)
        size += length
    if packet:
        yield packet


def _part(text: str) -> str:
    """Return a text in which characters that are not permitted in a part of a dotted StatsD name are replaced."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text).strip("_") or "_"


def _tags(tags: Mapping[str, str | None]) -> str:
    return ",".join(f"{name}:{_UNFIT.sub('_', value)}" for name, value in tags.items() if value)
