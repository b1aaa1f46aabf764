"""Encodes an order for the API at the client, and decodes and checks it at the controller.

The client has loaded and checked the scenario. The controller runs none of the scenario's code, and checks everything
else that it can.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from math import isfinite
from pathlib import PurePosixPath
from typing import Final

import msgspec

from loadgen.api.v1 import api_pb2 as pb
from loadgen.bundle import MAX_BYTES
from loadgen.dsl.plans.spec import Overrides, PlanSpec
from loadgen.errors import ScenarioError, UsageError
from loadgen.probes.kinds import KINDS, secrets_of
from loadgen.probes.settings import names_wrong, wrongs_of
from loadgen.profiles.stage import MAX_DURATION_NS
from loadgen.units import NS_PER_MS, NS_PER_S, format_count
from loadgen_controller.core.run_request import Order

__all__ = ["PART_BYTES", "parts_of", "read_order"]

PART_BYTES: Final = 1 << 20
_MAX_REGIONS: Final = 1_000
_MAX_AGENTS: Final = 100_000
_INTERVAL_NS: Final = (10 * NS_PER_MS, 60 * NS_PER_S)
_VERSION_HINT: Final = "run the same version of loadgen here and at the controller"
_DAMAGED_HINT: Final = "the scenario's files were damaged on the way, or changed meanwhile: start the run again"


def parts_of(order: Order) -> Iterator[pb.StartPart]:
    """Yield the messages that transfer an order: first the order itself, then its bundle in parts of 1 MiB."""
    yield pb.StartPart(
        order=pb.Order(
            spec_json=msgspec.json.encode(order.spec, enc_hook=str),
            overrides_json=order.overrides_json,
            scenario=order.scenario,
            plan=order.plan,
            seed=order.seed,
            agents=order.agents,
            bundle_sha256=order.bundle_sha256,
            bundle_bytes=len(order.bundle),
            no_error_fuse=not order.has_fuse,
            aborts_on_loss=order.aborts_on_loss,
            signature=order.signature,
            statement=order.statement,
        )
    )
    for at in range(0, len(order.bundle), PART_BYTES):
        yield pb.StartPart(data=order.bundle[at : at + PART_BYTES])


async def read_order(parts: AsyncIterator[pb.StartPart]) -> Order:
    """Put an order together from the messages by which a client sent it (`parts_of`).

    Raises:
        UsageError: the order is incomplete, damaged, or cannot be run.
    """
    message: pb.Order | None = None
    bundle = bytearray()
    async for part in parts:
        if message is None:
            if part.WhichOneof("part") != "order":
                raise UsageError("the bundle came before its order", hint=_VERSION_HINT)
            message = part.order
            if not 0 < message.bundle_bytes <= MAX_BYTES:
                raise UsageError(
                    f"a bundle must have 1 to {format_count(MAX_BYTES)} bytes, got {message.bundle_bytes}",
                    hint="remove large files from the scenario's folder",
                )
            continue
        bundle += part.data
        if len(bundle) > message.bundle_bytes:
            raise UsageError("the bundle is longer than its order states", hint=_DAMAGED_HINT)
    if message is None:
        raise UsageError("the order is missing", hint=_VERSION_HINT)
    if hashlib.sha256(bundle).hexdigest() != message.bundle_sha256:
        raise UsageError("the SHA-256 of the bundle differs from the order", hint=_DAMAGED_HINT)
    return _checked(message, bytes(bundle))


def _checked(message: pb.Order, bundle: bytes) -> Order:
    try:
        spec = msgspec.json.decode(message.spec_json, type=PlanSpec)
        Overrides.from_json(message.overrides_json)
    except (msgspec.DecodeError, UnicodeDecodeError, ScenarioError, ValueError) as error:
        raise UsageError(
            f"the plan cannot be read: {error}", hint="run the same version of loadgen here and at the controller"
        ) from None
    if wrong := "; ".join(_wrongs(spec, message)):
        raise UsageError(f"the plan cannot be run: {wrong}", hint="correct the plan, and start the run again")
    return Order(
        spec=spec,
        bundle=bundle,
        bundle_sha256=message.bundle_sha256,
        scenario=message.scenario,
        plan=message.plan,
        seed=message.seed,
        agents=message.agents or len(spec.regions),
        placement="fleet",
        overrides_json=message.overrides_json,
        has_fuse=not message.no_error_fuse,
        aborts_on_loss=message.aborts_on_loss,
        signature=message.signature,
        statement=message.statement if message.signature else b"",
    )


def _wrongs(spec: PlanSpec, message: pb.Order) -> Iterator[str]:
    """Yield a sentence for each rule that a received order breaks, for example a path outside its bundle.

    loadgen's own client never sends such an order; a foreign one could harm this controller.
    """
    path = PurePosixPath(message.scenario)
    if not message.scenario or path.is_absolute() or ".." in path.parts:
        yield "its scenario is not a path within the bundle"
    if not 0 < len(spec.regions) <= _MAX_REGIONS:
        yield f"it has {format_count(len(spec.regions))} regions, but must have 1 to {format_count(_MAX_REGIONS)}"
    if not all(isfinite(weight) and weight > 0 for weight in spec.regions.values()):
        yield "the weight of a region is not a finite number above 0"
    if not spec.journeys:
        yield "it has no journey"
    if not _INTERVAL_NS[0] <= spec.interval_ns <= _INTERVAL_NS[1]:
        yield f"its interval is {spec.interval_ns} ns, but must be 10 ms to 60 s"
    times = (spec.duration_ns or 0, spec.warmup_ns, spec.drain_ns, *(lane.after_ns for lane in spec.lanes))
    if not all(0 <= time_ns <= MAX_DURATION_NS for time_ns in times):
        yield "one of its times is negative or longer than a year"
    yield from (text for text, _ in names_wrong(probe.name for probe in spec.probes))
    for probe in spec.probes:
        wrong = list(wrongs_of(probe))
        yield from (f"probe {probe.name[:40]}: {text}" for text in wrong)
        if probe.auth_secret:
            # A client could name any secret of this controller, and send it to a server of its own.
            yield f"probe {probe.name[:40]} has auth_secret: this controller would send its own secret for a client"
        elif not wrong and (KINDS[probe.kind].is_own_only or secrets_of(probe)):
            yield f"probe {probe.name[:40]}: this controller would use its own secrets for a client"
    if message.agents > _MAX_AGENTS:
        yield f"it needs {format_count(message.agents)} agents, but the most are {format_count(_MAX_AGENTS)}"
