"""Measure what tags add to a request. Budget: 0.4 µs for a request with `tags=` of its own, nothing for other users."""

from __future__ import annotations

from time import thread_time_ns

from bench.record import _Sample
from bench.report import Section, spread
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.tagging import Tagging, TagSpec
from loadgen.engine.recording.user_meter import Meter

COUNT = 20_000
TURNS = 41
BUDGET_NS = 400
SPECS = (
    TagSpec(name="tenant", values=("gold", "silver", "free")),
    TagSpec(name="kind", values=("first", "more")),
)
HOW = f"""\
{COUNT:,} requests a turn, {TURNS} turns of each in alternation, in this process. *plain*: series by name, hold and \
settle, in a plan without tags. *tagged user*: the same for a user with `user.tag(...)`. *tagged request*: with \
`tags={{"kind": "first"}}`, a new dictionary for each request. *user.tag*: one call, on top of a plain request; a user \
calls it once an iteration. CPU time of the thread."""


def _plain(meter: Meter) -> None:
    sample = _Sample(meter.ask("POST /login"))
    for _ in range(COUNT):
        sample.series = meter.ask("POST /login")
        meter.hold(sample)
        meter.settle()


def _tagged_request(meter: Meter) -> None:
    sample = _Sample(meter.ask("POST /login"))
    for _ in range(COUNT):
        sample.series = meter.ask("POST /login").marked({"kind": "first"})
        meter.hold(sample)
        meter.settle()


def _calls(meter: Meter) -> None:
    sample = _Sample(meter.ask("POST /login"))
    for at in range(COUNT):
        meter.tag("tenant", "gold" if at % 2 else "free")
        sample.series = meter.ask("POST /login")
        meter.hold(sample)
        meter.settle()


def _meter(*specs: TagSpec) -> Meter:
    meter = Meter(Recorder(tagging=Tagging(specs, is_strict=True)))
    meter.begin("checkout", warmup=False, pool_limited=False)
    return meter


def measure(*, turns: int = TURNS) -> Section:
    took_ns: dict[str, list[float]] = {}
    for _ in range(turns):
        tagged = _meter(*SPECS)
        tagged.tag("tenant", "gold")
        ways = {
            "plain": (_plain, _meter()),
            "tagged user": (_plain, tagged),
            "tagged request": (_tagged_request, _meter(*SPECS)),
            "user.tag": (_calls, _meter(*SPECS)),
        }
        for name, (way, meter) in ways.items():
            began_ns = thread_time_ns()
            way(meter)
            took_ns.setdefault(name, []).append((thread_time_ns() - began_ns) / COUNT)
    plain_ns = min(took_ns["plain"])
    more_ns = {name: min(found) - plain_ns for name, found in took_ns.items()}
    rows = [[name, *spread(found, 0), f"{more_ns[name]:.0f}"] for name, found in took_ns.items()]
    is_held = more_ns["tagged request"] <= BUDGET_NS
    verdict = f"Budget of a tagged request {BUDGET_NS} ns: {'held' if is_held else 'NOT HELD'}."
    return Section("Tags", HOW, ["CPU, ns", "least", "median", "least, more than plain"], rows, verdict)
