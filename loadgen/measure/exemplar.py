"""Single requests and iterations to look at: why is it slow, why does it fail?

An `Exemplar` is one line: which arrival, when, how long, which trace. Of each
series and interval an agent sends the slowest, some that failed and some picked
at random. A `Failure` is a whole exchange, redacted at the agent: the first few
of each request and outcome. Both travel with the deltas, so they are exactly as
complete as the counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from loadgen.errors import WireError

__all__ = ["MAX_EXEMPLARS", "MAX_FAILURES", "MAX_FAILURE_BYTES", "Exemplar", "Failure", "Why", "check_exemplars"]

Why = Literal["slowest", "failed", "random"]
MAX_EXEMPLARS: Final = 500
"""Of one delta."""
MAX_FAILURES: Final = 50
"""Of one delta; what does not fit goes with the next."""
MAX_FAILURE_BYTES: Final = 64 * 1024
"""Of one failure: head and 4 KiB of body, both ways, row and traceback."""


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One request, or one iteration of a journey.

    journey, step, request: where; "" for none, and both "" for an iteration. load: which of the plan's loads.
    n: the arrival within the load, as in `check --arrival`. at_ns: asked (request) or due (iteration), from T0.
    service_ns: 0 where nothing was sent. trace: its trace id, 32 hex digits, or "".
    """

    journey: str
    step: str
    request: str
    outcome: str
    why: Why
    load: int
    n: int
    at_ns: int
    response_ns: int
    service_ns: int = 0
    trace: str = ""
    warmup: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure, whole. Everything in it is redacted by the agent that saw it.

    detail: what was expected and what came. where: "checkout.py:14 in checkout" of the scenario's line; traceback: the
    scenario's frames. row: the data row as JSON. sent, received: head and body as text, cut at 4 KiB of body, and said
    so; "" where nothing was sent or came.
    """

    journey: str
    step: str
    request: str
    outcome: str
    load: int
    n: int
    at_ns: int
    response_ns: int
    detail: str = ""
    where: str = ""
    traceback: str = ""
    row: str = ""
    sent: str = ""
    received: str = ""
    trace: str = ""


def check_exemplars(name: str, exemplars: tuple[Exemplar, ...], failures: tuple[Failure, ...]) -> None:
    """Raises WireError unless those of delta `name` are within bounds."""
    if len(exemplars) > MAX_EXEMPLARS or len(failures) > MAX_FAILURES:
        raise WireError(f"{name} brings {len(exemplars):,} exemplars and {len(failures):,} failures: too many")
    for one in exemplars:
        if one.why not in ("slowest", "failed", "random"):
            raise WireError(f"{name} has an exemplar of an unknown kind: {one.why}")
        if min(one.response_ns, one.service_ns) < 0 or len(one.trace) > 64:
            raise WireError(f"{name} has an impossible exemplar: {one}")
    for failure in failures:
        texts = (failure.detail, failure.where, failure.traceback, failure.row, failure.sent, failure.received)
        if sum(map(len, texts)) > MAX_FAILURE_BYTES:
            raise WireError(f"{name} has a failure of more than {MAX_FAILURE_BYTES:,} bytes")
