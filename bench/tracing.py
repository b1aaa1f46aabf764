"""Measure what traces cost: header lines, exemplars, and the export of our own spans.

Budgets: header lines 0.8 µs with `w3c` and 2.0 µs with all formats; exemplars 40 ns for a request that is not sampled
(20 of them are the two comparisons that every plan pays), and 2 µs for a sampled one; export 25 µs and 160 bytes a
span, in a thread.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from time import thread_time_ns

from bench.record import _Sample
from bench.report import Section, spread
from loadgen.clients.protocol.response_heads import Head
from loadgen.clients.request.traced_meter import with_traces
from loadgen.clients.request.tracing import FORMATS, Begun, Names, Trace, Tracer
from loadgen.clients.span_export.sender import packed
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.user_meter import Meter
from loadgen.engine.tracing.client_spans import ClientSpan, IterationTree, Request
from loadgen.engine.tracing.sampling import Sampling
from loadgen.engine.tracing.share import AdaptiveShare
from loadgen.measure.deltas.series_key import OK, SeriesKey

COUNT = 20_000
EXPORTED = 2_048
TURNS = 41
LINES_NS = {"w3c": 800, "w3c by rate": 900, "all formats": 2_000}
EXPORT_NS = 25_000
EXPORT_BYTES = 160
COMPARISONS_NS = 20
UNSAMPLED_NS = 40
SAMPLED_NS = 2_000
HOW = f"""\
{COUNT:,} requests a turn, {TURNS} turns of each in alternation, in this process. *w3c*, *all formats*: \
`Tracer.lines` of 1 % of the iterations, four requests each. *without tracing*: series by name, hold and settle. \
*not sampled*, *sampled*: the same, with ten headers in each answer, and with \
the meter of a plan with tracing, all requests of a turn in one series and \
interval. *w3c by rate*: `Tracer.lines` with a share that changes. *export of a span*: collected on the loop, encoded \
and compressed in messages of 512 spans; of each iteration a journey, a step and 2 requests. CPU time of the thread."""


class _Traced(_Sample):
    """A sample that has been sent with a trace header."""

    span, trace, status_code = "b" * 16, "a" * 32, 200
    is_sampled = False
    head = Head(200, b"OK", "1.1", [(b"X-Header-%d" % n, b"value") for n in range(10)], keep_alive=True)


def _lines(tracer: Tracer) -> None:
    lines, iteration = tracer.lines, Begun("checkout", "pay")
    for _ in range(COUNT // 4):
        iteration.trace_unit = ""
        for _ in range(4):
            lines(iteration)


def _spans() -> list[ClientSpan]:
    """Return the spans of many iterations, collected as on the loop."""
    random, found = Random(1), list[ClientSpan]()

    def put(spans: list[ClientSpan], _: int) -> None:
        found.extend(spans)

    step, journey = (SeriesKey("step", "checkout", name, None, OK, "response") for name in ("pay", None))
    for n in range(EXPORTED // 4):
        tree = IterationTree(put, random)
        for name in ("GET /cart", "POST /pay"):
            asked = Request(name[:4].strip(), f"https://shop.example/items/{n % 100}", "shop.example", 443, 200)
            trace, span = f"{random.getrandbits(128):032x}", f"{random.getrandbits(64):016x}"
            tree.request(
                ClientSpan(
                    trace, span, "", name, n * 1_000, n * 1_000 + 734_113, OK, "checkout", "pay", "fd70a4", asked
                )
            )
        tree.step(step, n * 1_000, n * 1_000 + 800_000, OK)
        tree.end(journey, n * 1_000, n * 1_000 + 900_000, OK)
    return found


def _exported() -> int:
    """Collect, encode and compress `EXPORTED` spans, and return the bytes of the messages."""
    resource = {
        "service.name": "loadgen",
        "loadgen.run": "20261124-170312-checkout-a1b2",
        "loadgen.region": "eu-west-1",
    }
    spans = _spans()
    return sum(len(packed(spans[at : at + 512], resource, 10**18)) for at in range(0, len(spans), 512))


def _settled(meter: Meter, *, is_sampled: bool) -> None:
    sample = _Traced(meter.ask("POST /login"))
    sample.is_sampled = is_sampled
    for n in range(COUNT):
        sample.series = meter.ask("POST /login")
        sample.done_ns = 1_000_000 + n * 7919 % 100_003
        meter.hold(sample)
        meter.settle()


def _meter(kind: type[Meter], sampling: Sampling | None) -> Meter:
    meter = kind(Recorder(sampling=sampling))
    meter.begin("checkout", warmup=False, pool_limited=False)
    return meter


def measure(*, turns: int = TURNS) -> Section:
    took_ns: dict[str, list[float]] = {}
    names = Names("checkout", "20261124-170312-checkout-a1b2", "eu-west-1")
    w3c, every = (Tracer(Trace(0.01, formats), Random(1), names) for formats in (("w3c",), FORMATS))
    by_rate = Tracer(Trace("50/s"), Random(1), names, AdaptiveShare(per_s=50.0))
    size = 0
    for _ in range(turns):
        plain, unsampled, sampled = (
            _meter(Meter, None),
            _meter(with_traces(Meter, Trace()), Sampling(0.01)),
            _meter(with_traces(Meter, Trace()), Sampling(0.01)),
        )
        ways: dict[str, Callable[[], None]] = {
            "w3c": lambda: _lines(w3c),
            "w3c by rate": lambda: _lines(by_rate),
            "all formats": lambda: _lines(every),
            "without tracing": lambda plain=plain: _settled(plain, is_sampled=False),  # type: ignore[misc]
            "not sampled": lambda meter=unsampled: _settled(meter, is_sampled=False),  # type: ignore[misc]
            "sampled": lambda meter=sampled: _settled(meter, is_sampled=True),  # type: ignore[misc]
        }
        for name, way in ways.items():
            began_ns = thread_time_ns()
            way()
            took_ns.setdefault(name, []).append((thread_time_ns() - began_ns) / COUNT)
        began_ns = thread_time_ns()
        size = _exported()
        took_ns.setdefault("export of a span", []).append((thread_time_ns() - began_ns) / EXPORTED)
    least = {name: min(found) for name, found in took_ns.items()}
    more = {name: least[name] - least["without tracing"] for name in ("not sampled", "sampled")}
    rows = [[name, *spread(found, 0), f"{more[name]:.0f}" if name in more else "-"] for name, found in took_ns.items()]
    is_held = (
        all(least[name] <= budget for name, budget in LINES_NS.items())
        and COMPARISONS_NS + more["not sampled"] <= UNSAMPLED_NS
        and more["sampled"] <= SAMPLED_NS
        and least["export of a span"] <= EXPORT_NS
        and size / EXPORTED <= EXPORT_BYTES
    )
    verdict = (
        f"Budgets: header lines {LINES_NS['w3c']} ns (w3c) and {LINES_NS['all formats']:,} ns (all formats); exemplars "
        f"{UNSAMPLED_NS} ns for a request that is not sampled, {COMPARISONS_NS} of which each plan pays, "
        f"and {SAMPLED_NS:,} ns for a sampled one; export {EXPORT_NS:,} ns and {EXPORT_BYTES} bytes a span "
        f"({size / EXPORTED:.0f} bytes here): {'held' if is_held else 'NOT HELD'}."
    )
    return Section("Traces", HOW, ["CPU, ns", "least", "median", "least, more than without"], rows, verdict)
