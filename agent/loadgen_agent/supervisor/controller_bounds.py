"""Bounds on what a controller may send: an agent refuses an order, or ignores a message, that is beyond them.

A sound controller never meets these bounds. They keep an agent alive, and its memory small, when its controller is
broken or when somebody else has the controller's keys. `wrong_order` checks Prepare, and the agent answers a bad
one with Refused. `Gate` checks all other messages.

The functions here use no sockets.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from math import isfinite
from typing import Final, cast

from loadgen.bundle import MAX_BYTES, is_plain
from loadgen.dsl.plans.plan_loads import MAX_LOADS
from loadgen.profiles.edits import PAUSE
from loadgen.profiles.stage import MAX_DURATION_NS, MAX_RATE_PER_S, MAX_USERS
from loadgen.signed.launch_statement import MAX_STATEMENT_BYTES
from loadgen.units import NS_PER_MS, NS_PER_S, format_count
from loadgen.wire.messages import (
    Adjust,
    Message,
    Nack,
    Prepare,
    Reassign,
    Rejected,
    ReleaseAt,
    StartAt,
    Steer,
    Stop,
    Welcome,
)

__all__ = ["INTERVAL_NS", "MAX_AGENTS", "Gate", "wrong_order"]

log = logging.getLogger(__name__)

INTERVAL_NS: Final = (10 * NS_PER_MS, 60 * NS_PER_S)
"""Shortest and longest interval; the controller's API has the same limits."""
MAX_AGENTS: Final = 100_000
MAX_WEIGHT: Final = 1e100
"""Weights are relative. Below this the sum of all weights is finite."""
MAX_STAGES: Final = 10_000
"""Stages in one change; a curve has thousands."""
MAX_CHANGES: Final = 1_000_000
"""Changes in one run; a steered load that changes each second reaches this after 11 days."""
MAX_LOOKS: Final = 100_000
MAX_GENERATION: Final = 2**62
"""Limit of generations and epochs, which are sent back in signed fields of 64 bits."""
MAX_JSON_BYTES: Final = 512 * 1024
MAX_NAME: Final = 256
MAX_TEXT: Final = 1_000
MAX_PLACES: Final = 1_000
AHEAD_NS: Final = 600 * NS_PER_S
"""The furthest T0 in the future; a sound controller gives its agents a few seconds."""
LEASE_S: Final = (0.1, 3600.0)
_SAY_AGAIN_NS: Final = 10 * NS_PER_S
_RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


# -- an order -------------------------------------------------------------------------------------


def wrong_order(prepare: Prepare) -> str:
    """Return the first error of a controller's order for a run, in one sentence; empty if there is none."""
    return next(_wrongs(prepare), "")


def _wrongs(prepare: Prepare) -> Iterator[str]:
    """Yield each error of a controller's order for a run.

    `Gate` checks the run's id, since a Refused would have to carry it.
    """
    low, high = INTERVAL_NS
    if not low <= prepare.interval_ns <= high:
        yield f"the interval of {prepare.interval_ns} ns is invalid: it must be {low // NS_PER_MS} ms to 60 s"
    if not _SHA256.fullmatch(prepare.bundle_sha256):
        yield "the bundle's sha256 is invalid: it must be 64 hexadecimal digits in lower case"
    if not 0 < prepare.bundle_bytes <= MAX_BYTES:
        yield f"the bundle has {format_count(prepare.bundle_bytes)} bytes: the limit is {format_count(MAX_BYTES)}"
    if not is_plain(prepare.scenario):
        shown = ascii(prepare.scenario[:100])
        yield f"the scenario's path {shown} is invalid: it must be a plain relative path within the bundle"
    if len(prepare.plan) > MAX_NAME:
        yield f"the plan's name has {format_count(len(prepare.plan))} characters: the limit is {MAX_NAME}"
    size = max(len(prepare.overrides_json), len(prepare.allow_json))
    if size > MAX_JSON_BYTES:
        limit = format_count(MAX_JSON_BYTES)
        yield f"the overrides or the allow-list have {format_count(size)} bytes: the limit is {limit}"
    if len(prepare.statement) > MAX_STATEMENT_BYTES or len(prepare.signature) > MAX_NAME:
        yield "the signed statement or its signature is too long"
    if why := _wrong_weights(prepare.weights):
        yield why
    if prepare.index >= len(prepare.weights):
        yield f"the agent's index {prepare.index} is invalid: there are {len(prepare.weights)} weights"
    if prepare.generation > MAX_GENERATION:
        yield f"the generation {prepare.generation} is too high: the limit is {MAX_GENERATION}"
    if len(prepare.digests) > MAX_LOADS or _longest(prepare.digests) > MAX_NAME:
        yield f"the digests are invalid: there must be at most {MAX_LOADS}, each of at most {MAX_NAME} characters"
    if len(prepare.control_plane) > MAX_PLACES or _longest(prepare.control_plane) > MAX_NAME:
        yield (
            f"the addresses of the control plane are invalid: there must be at most {MAX_PLACES}, each of at most"
            f" {MAX_NAME} characters"
        )


def _wrong_weights(weights: tuple[float, ...]) -> str:
    if not 0 < len(weights) <= MAX_AGENTS:
        return f"there are {format_count(len(weights))} weights: there must be 1 to {format_count(MAX_AGENTS)}"
    # NaN is refused too, because every comparison with it is False.
    # Not `any(weight < 0 ...)`: this form also rejects nan, with which every comparison is False.
    if not all(0 <= weight <= MAX_WEIGHT for weight in weights):
        return f"a weight is invalid: it must be 0 to {MAX_WEIGHT:g}"
    return ""


def _longest(texts: Iterable[str]) -> int:
    return max(map(len, texts), default=0)


# -- everything else ------------------------------------------------------------------------------


class Gate:
    """Lets a controller's messages through, with their texts cut, and logs those that it ignores.

    Args:
        own_ns: converts a time of the controller's clock to one of the agent's clock.
    """

    def __init__(self, own_ns: Callable[[int], int], now_ns: Callable[[], int] = time.perf_counter_ns) -> None:
        self._own_ns, self._now_ns = own_ns, now_ns
        self._logged_ns: int | None = None
        self.ignored = 0

    def admit(self, message: Message) -> Message | None:
        """Return a controller's message with long texts cut, or None if it is invalid and must be ignored (logged)."""
        if why := self._why_not(message):
            self._ignore(message, why)
            return None
        match message:
            case Stop() | Rejected() | Nack() if len(message.reason) > MAX_TEXT:
                return cast("Message", replace(message, reason=message.reason[:MAX_TEXT]))
        return message

    def _why_not(self, message: Message) -> str:
        match message:
            case Prepare(run_id=run_id):
                return "" if _RUN_ID.fullmatch(run_id) else f"the run's id {run_id[:100]!a} is invalid"
            case Welcome():
                return _wrong_welcome(message)
            case StartAt():
                return self._wrong_start(message)
            case Adjust():
                return _wrong_adjust(message)
            case Reassign():
                return _wrong_change(message.number, message.at_ns) or _wrong_weights(message.weights)
            case ReleaseAt():
                return (
                    ""
                    if self._is_near(message.at_ns)
                    else f"the time of the release is too far away: the limit is {2 * MAX_DURATION_NS // NS_PER_S} s"
                )
            case Steer():
                return "" if len(message.looks) <= MAX_LOOKS else f"the message has more than {MAX_LOOKS} looks"
        return ""

    def _wrong_start(self, start: StartAt) -> str:
        ahead_ns = self._own_ns(start.t0_ns) - self._now_ns()
        if ahead_ns > AHEAD_NS:
            return f"T0 is {ahead_ns // NS_PER_S:,} s in the future: the limit is {AHEAD_NS // NS_PER_S} s"
        if not self._is_near(start.t0_ns):
            return f"T0 is {-ahead_ns // NS_PER_S:,} s in the past: the limit is {2 * MAX_DURATION_NS // NS_PER_S:,} s"
        return (
            "" if 0 <= start.since_ns <= start.from_ns <= MAX_DURATION_NS else "the start time is outside of the load"
        )

    def _is_near(self, controller_ns: int) -> bool:
        """Whether a time of the controller's clock is at most twice the longest load away from now.

        Any run fits into that, and our times fit into 64 bits.
        """
        return abs(self._own_ns(controller_ns) - self._now_ns()) <= 2 * MAX_DURATION_NS

    def _ignore(self, message: Message, why: str) -> None:
        """Count a message that is ignored for the reason `why`, and log at most one line in 10 s."""
        self.ignored += 1
        now_ns = self._now_ns()
        if self._logged_ns is None or now_ns - self._logged_ns > _SAY_AGAIN_NS:
            self._logged_ns = now_ns
            log.warning(
                "ignored %d messages from the controller, the last was %s: %s",
                self.ignored,
                type(message).__name__,
                why,
            )


def _wrong_welcome(welcome: Welcome) -> str:
    low, high = LEASE_S
    if not low <= welcome.lease_s <= high:
        return f"the lease of {welcome.lease_s:g} s is invalid: it must be {low:g} to {high:g} s"
    return (
        ""
        if welcome.epoch <= MAX_GENERATION
        else f"the epoch {welcome.epoch} is too high: the limit is {MAX_GENERATION}"
    )


def _wrong_change(number: int, at_ns: int) -> str:
    if not 0 < number <= MAX_CHANGES:
        return f"the change has the number {number}: it must be 1 to {format_count(MAX_CHANGES)}"
    return (
        ""
        if 0 <= at_ns <= MAX_DURATION_NS
        else f"the change has a time of {at_ns} ns after T0: it must be 0 to {MAX_DURATION_NS} ns"
    )


def _wrong_adjust(adjust: Adjust) -> str:
    if why := _wrong_change(adjust.number, adjust.at_ns):
        return why
    if adjust.load >= MAX_LOADS:
        return f"load {adjust.load} is unknown: a plan has at most {MAX_LOADS} loads"
    if len(adjust.stages) > MAX_STAGES:
        return f"the change has {format_count(len(adjust.stages))} stages: the limit is {format_count(MAX_STAGES)}"
    most = max(MAX_RATE_PER_S, MAX_USERS)
    for stage in adjust.stages:
        if not (isfinite(stage.start) and isfinite(stage.end) and 0 <= max(stage.start, stage.end) <= most):
            return f"a stage from {stage.start:g} to {stage.end:g} is invalid: the limit is {most:g}"
    if sum(stage.duration_ns for stage in adjust.stages) > MAX_DURATION_NS + PAUSE.duration_ns:
        return f"the stages of the change last too long: the limit is {MAX_DURATION_NS // NS_PER_S:,} s"
    return ""
