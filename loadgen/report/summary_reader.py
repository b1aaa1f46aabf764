"""`summary.json` as values. Keys may be added to the file and none removed, so unknown ones are ignored."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from loadgen.errors import StorageError

__all__ = [
    "FORMAT",
    "Adjustment",
    "Agent",
    "Custom",
    "Iterations",
    "LoadRows",
    "Percentiles",
    "PhaseFigures",
    "Requests",
    "Series",
    "Slo",
    "Summary",
    "Validity",
    "Warmup",
    "read",
]

FORMAT = 1
"""The newest format of `summary.json` that is understood; older ones are, too."""

Figure = float | str | None
"""A number, "> 1234.5" where only a lower bound is known, or None where there is nothing."""
Ends = tuple[float, float] | str
"""Of an interval, or why there is none: "too short", "too few samples", "censored"."""


class Percentiles(msgspec.Struct, frozen=True):
    """Milliseconds."""

    mean: Figure = None
    p50: Figure = None
    p90: Figure = None
    p95: Figure = None
    p99: Figure = None
    p99_9: Figure = msgspec.field(default=None, name="p99.9")
    max: Figure = None


class PhaseFigures(Percentiles, frozen=True):
    """One phase of a row's requests: of those that had it."""

    count: int = 0
    censored: int = 0


class Series(msgspec.Struct, frozen=True):
    """One row of figures. `region` "*" is all regions, `outcome` "*" all outcomes."""

    kind: str
    journey: str
    step: str | None
    request: str | None
    outcome: str
    region: str
    count: int
    censored: int = 0
    response_ms: Percentiles | None = None
    service_ms: Percentiles | None = None
    response_ci_ms: dict[str, Ends] | None = None
    """95 % intervals by percentile: "p50" ... "p99.9"."""
    interval: str | None = None
    """What they are from: "5 batches of 24.0 s"; or why there is none at all."""
    tags: dict[str, str] = {}
    phases_ms: dict[str, PhaseFigures] | None = None
    """Of a request over all outcomes: "blocked", "dns", "connect", "tls", "send", "wait", "receive"; those it had."""


class LoadRows(msgspec.Struct, frozen=True):
    """What was due in one load of a plan that has several."""

    load: str
    series: tuple[Series, ...] = ()


class Custom(msgspec.Struct, frozen=True):
    """One of the scenario's own metrics; which fields it has depends on its kind."""

    name: str
    kind: str
    region: str = "*"
    unit: str = ""
    n: int = 0
    total: int | None = None
    hits: int | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    last: float | None = None
    values: dict[str, float] | None = None
    """Of a trend: "mean", "p50" ... in its unit."""


class Warmup(msgspec.Struct, frozen=True):
    cut_s: float = 0.0
    how: str = "stated"
    why: str = ""
    series: tuple[Series, ...] = ()


class Slo(msgspec.Struct, frozen=True):
    objective: str
    verdict: str
    observed: Figure = None
    unit: str = ""
    count: int = 0
    low: Figure = None
    high: Figure = None
    journey: str | None = None
    step: str | None = None
    request: str | None = None
    region: str | None = None
    margin: float | None = None
    """(limit - observed) / limit: negative where it is broken."""
    budget: float | None = None
    """Share of the error budget that is used; above 1 it is broken."""
    allowed: float = 0.0
    """The error budget: the share of what was due that may be bad."""
    limit_ms: float | None = None
    """Within which it has to end; None for an error ratio, and in older summaries."""
    window_s: float | None = None
    windows: int = 0
    windows_failed: int = 0
    worst_window_s: float | None = None
    reason: str = ""


class Validity(msgspec.Struct, frozen=True):
    verdict: str = "valid"
    reasons: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    """What to do about it."""


class Requests(msgspec.Struct, frozen=True):
    started: int = 0
    finished: int = 0
    errors: int = 0


class Iterations(msgspec.Struct, frozen=True):
    due: int = 0
    started: int = 0
    finished: int = 0
    missed: int = 0
    cut_off: int = 0
    errors: int = 0
    skipped: int = 0
    script_faults: int = 0


class Agent(msgspec.Struct, frozen=True):
    id: str
    region: str
    complete: bool
    requests: int = 0
    missing: str | None = None
    unfit_intervals: int = 0
    """Of its `intervals`."""
    intervals: int = 0


class Load(msgspec.Struct, frozen=True):
    text: str = ""
    open: bool = True


class Adjustment(msgspec.Struct, frozen=True):
    """One change of one load while the run went on."""

    at_s: float
    """After T0."""
    kind: str
    """pause, resume, scale, skip, or steer."""
    text: str
    """As a sentence goes on: "scaled by 1.5, from 200/s to 300/s"."""
    load: str = ""
    was: str = ""
    now: str = ""
    by: str = ""
    end_s: float | None = None


class PoolLimited(msgspec.Struct, frozen=True):
    """Requests that were asked in iterations that had to wait for a free user."""

    requests: int = 0
    share: float = 0.0
    add_users: bool = False


class Summary(msgspec.Struct, frozen=True):
    format: int
    run_id: str
    scenario: str
    plan: str
    placement: str
    started_at: str
    duration_s: float
    result: str
    exit_code: int
    reasons: tuple[str, ...] = ()
    validity: Validity = msgspec.field(default_factory=Validity)
    requests: Requests = msgspec.field(default_factory=Requests)
    iterations: Iterations = msgspec.field(default_factory=Iterations)
    slos: tuple[Slo, ...] = ()
    series: tuple[Series, ...] = ()
    tagged: tuple[Series, ...] = ()
    loads: tuple[LoadRows, ...] = ()
    custom: tuple[Custom, ...] = ()
    warmup: Warmup | None = None
    agents: tuple[Agent, ...] = ()
    load: Load = msgspec.field(default_factory=Load)
    pool_limited: PoolLimited = msgspec.field(default_factory=PoolLimited)
    notes: tuple[str, ...] = ()
    missing_share: float = 0.0
    """Of the planned load, 0 to 1: what is not in the figures."""
    adjustments: tuple[Adjustment, ...] = ()
    """In the order in which they were asked for."""

    @property
    def is_embedded(self) -> bool:
        return self.placement == "embedded"


def read(source: Path | Mapping[str, object]) -> Summary:
    """Read a summary, from its file or as it was built.

    Raises:
        StorageError: not there, not JSON, not a summary, or written by a newer loadgen.
    """
    where = str(source) if isinstance(source, Path) else "the summary"
    try:
        found: object = msgspec.json.decode(source.read_bytes()) if isinstance(source, Path) else source
        if isinstance(found, Mapping) and isinstance(n := found.get("format"), int) and n > FORMAT:
            raise StorageError(
                f"cannot read {where}: it has format {n}, and this loadgen knows up to {FORMAT}",
                hint="use the loadgen that made the run, or a newer one",
            )
        return msgspec.convert(found, Summary)
    except OSError as exc:
        raise StorageError(
            f"cannot read {where}: {exc.strerror or exc}", hint="check the path and its permissions"
        ) from exc
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise StorageError(f"cannot read {where}: {exc}", hint="the run may have been ended by force") from exc
