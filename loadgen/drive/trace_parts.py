"""Parts of a worker for a plan's traces: the share in force, the recorder's settings, and the export of spans."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from random import Random
from typing import Final

from loadgen.clients.net.target_guard import TargetGuard
from loadgen.clients.request.tracing import Names, Trace
from loadgen.clients.span_export.endpoint import endpoint_of
from loadgen.clients.span_export.guarded_post import GuardedPost
from loadgen.clients.span_export.sender import SpanSender
from loadgen.engine.tracing.breaches import Breaches
from loadgen.engine.tracing.over_limits import OverLimits
from loadgen.engine.tracing.sampling import Sampling
from loadgen.engine.tracing.share import AdaptiveShare
from loadgen.measure.objectives.terms import Objective
from loadgen.traces.model import OUR_SERVICE

__all__ = ["FINISH_S", "TraceParts", "trace_parts"]

FINISH_S: Final = 3.0
"""How long a worker goes on sending spans after its last iteration."""


@dataclass(frozen=True, slots=True)
class TraceParts:
    """The parts of one worker; all None without tracing. adaptive: None for a fixed share."""

    sampling: Sampling | None = None
    adaptive: AdaptiveShare | None = None
    export: SpanSender | None = None


def trace_parts(
    trace: Trace | None,
    objectives: Collection[Objective],
    names: Names,
    part: float,
    guard: TargetGuard,
    redact: Callable[[str], str],
    ca: str | None = None,
) -> TraceParts:
    """Return the parts of a worker. part: its part of the load, 0 to 1. redact: removes secrets from URLs.

    guard: decides whether spans may be sent to an address. ca: a PEM file to trust besides the system's.

    Raises:
        ScenarioError: the secret for the receiver is missing on this machine.
    """
    if trace is None:
        return TraceParts()
    adaptive: AdaptiveShare | None = None
    breaches: Breaches | None = None
    if trace.is_adaptive:
        per_s = trace.per_s
        adaptive = AdaptiveShare(trace.share, None if per_s is None else per_s * part, trace.boost_share)
        breaches = None if trace.boost is None else Breaches(objectives, names.region)
    export: SpanSender | None = None
    if trace.export:
        headers = {
            "Content-Type": "application/x-protobuf",
            "Content-Encoding": "gzip",
            "User-Agent": "loadgen",
        }
        secrets: tuple[str, ...] = ()
        if trace.export_auth is not None:
            value = trace.export_auth.reveal()
            headers[trace.export_header] = value
            # The last word too: of "Bearer TOKEN", an error text of the receiver may repeat only the token.
            secrets = tuple(one for one in (value, *value.split()[-1:]) if one)
        resource = {"service.name": OUR_SERVICE, "loadgen.run": names.run, "loadgen.region": names.region}
        post = GuardedPost(endpoint_of(trace.export), guard, headers, secrets, ca)
        export = SpanSender(post, resource, redact, Random())  # noqa: S311  # ids of spans
    over = OverLimits(objectives, names.region)
    if export is None:
        return TraceParts(Sampling(trace.probability, over, adaptive, breaches), adaptive)
    return TraceParts(Sampling(trace.probability, over, adaptive, breaches, export.note), adaptive, export)
