"""Records of a probe for tests: samples of one row at given seconds after T0."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf

from loadgen.probes.journal import FORMAT, Begin, Gap, NewRows, NewSeries, ProbeOfRun, Record, Sample, Zero
from loadgen.probes.rows import Row, Series

S = 1_000_000_000
T0 = 100 * S
GAUGE = Row(key="waiting", title="requests waiting", kind="gauge", names=("waiting",))
SHARE_OF_LIMIT = Row(key="connections", title="connections", kind="gauge", names=("c",), unit="%", scale=100)
COUNTER = Row(key="rate", title="rate", kind="counter", names=("rate",), unit="1/s")
HISTOGRAM = Row(key="ttft", title="TTFT", kind="histogram", names=("ttft",), unit="s")


def records(
    row: Row, values: Mapping[float, float | None], *, every_s: float = 1.0, labels: Sequence[str] = ("",)
) -> Iterator[Record]:
    """The records of a probe "db" that read these values at these seconds after T0; None: the read failed."""
    yield Begin(FORMAT, "", 0, (ProbeOfRun("db", "http://x", round(every_s * S)),))
    yield NewRows(0, (row,))
    yield NewSeries(
        0, 0, tuple(Series(row.key, "value", row.names[0], (("of", one),) if one else ()) for one in labels)
    )
    yield Zero(T0)
    for at_s, value in values.items():
        at_ns = T0 + round(at_s * S)
        if value is None:
            yield Gap(0, at_ns, at_ns, "no answer")
        else:
            yield Sample(0, at_ns, at_ns, tuple(range(len(labels))), (value,) * len(labels))


def histogram_records(counts: Iterable[Mapping[float, float]]) -> Iterator[Record]:
    """The records of a histogram: cumulative counts by upper bound, one page a second from T0 on."""
    pages = list(counts)
    bounds = tuple(pages[0])
    yield Begin(FORMAT, "", 0, (ProbeOfRun("db", "http://x", S),))
    yield NewRows(0, (HISTOGRAM,))
    yield NewSeries(0, 0, tuple(Series("ttft", "bucket", "ttft", (), None if le == inf else le) for le in bounds))
    yield Zero(T0)
    for n, page in enumerate(pages):
        yield Sample(0, T0 + n * S, T0 + n * S, tuple(range(len(bounds))), tuple(page[le] for le in bounds))
