"""Read `summary.json` into typed values.

Later versions may add keys to the file but never remove one, so unknown keys are ignored.
"""

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
    "Found",
    "Iterations",
    "Knee",
    "Level",
    "Llm",
    "LoadRows",
    "Percentiles",
    "PhaseFigures",
    "ProbeFigures",
    "ProbeRow",
    "Requests",
    "Series",
    "Slo",
    "StreamFigures",
    "Summary",
    "TokenFigures",
    "Validity",
    "Warmup",
    "read",
]

FORMAT = 1
"""The newest format of `summary.json` that this version can read; it can read all older ones."""

Figure = float | str | None
"""A number, "> 1234.5" for a lower bound, or None without data."""
Ends = tuple[float, float] | str
"""The ends of an interval, or the reason for a missing one: "too short", "too few samples" or "censored"."""


class Percentiles(msgspec.Struct, frozen=True):
    """Mean, percentiles and maximum of times, in ms."""

    mean: Figure = None
    p50: Figure = None
    p90: Figure = None
    p95: Figure = None
    p99: Figure = None
    p99_9: Figure = msgspec.field(default=None, name="p99.9")
    max: Figure = None


class PhaseFigures(Percentiles, frozen=True):
    """The times of one phase, over the requests that had this phase."""

    count: int = 0
    censored: int = 0


class StreamFigures(Percentiles, frozen=True):
    """One time of requests to AI models, such as the time to first token; for `itl` over tokens, not over requests."""

    count: int = 0
    censored: int = 0


class TokenFigures(Percentiles, frozen=True):
    """One number of tokens of requests to AI models: mean and percentiles are in tokens, not in ms."""

    count: int = 0
    """Requests for which the number is known."""
    sum: int = 0


class PageFigures(msgspec.Struct, frozen=True):
    """One web vital of pages that ended ok: ms, or for `cls` the score."""

    count: int = 0
    p50: float | None = None
    p75: float | None = None
    p95: float | None = None
    p99: float | None = None
    max: float | None = None


class Series(msgspec.Struct, frozen=True):
    """The figures of one series. A `region` or `outcome` of "*" means all of them together."""

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
    """The source of the intervals, such as "5 batches of 24.0 s"; or the reason why all are missing."""
    tags: dict[str, str] = {}
    bound: str | None = None
    """"lower": the true times are at least these, because iterations waited for a user before the step or request."""
    phases_ms: dict[str, PhaseFigures] | None = None
    """For a request over all outcomes, its phases: "blocked", "dns", "connect", "tls", "send", "wait", "receive"."""
    message_ms: dict[str, PhaseFigures] = {}
    """For a call with messages, over all outcomes: "first_message", "message_gap", "answer", "message_age"."""
    stream_ms: dict[str, StreamFigures] = {}
    """For a request to an AI model, its times by our convention: "ttft", "ttft_due", "ttfo", "itl", "icl" ..."""
    tokens: dict[str, TokenFigures] = {}
    """For a request to an AI model: "prompt", "cached", "output", "reasoning"."""
    page_ms: dict[str, PageFigures] = {}
    """For pages in a browser over all outcomes: "lcp", "inp", "fcp", "ttfb"."""
    cls: PageFigures | None = None


class LoadRows(msgspec.Struct, frozen=True):
    """The series of one load, for a plan with several loads."""

    load: str
    series: tuple[Series, ...] = ()


class Custom(msgspec.Struct, frozen=True):
    """A metric that the scenario defines. Its fields depend on its kind: counter, rate, gauge or trend."""

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
    """The values of a trend: "mean", "p50" ... in its unit."""
    tags: dict[str, str] = {}


class Warmup(msgspec.Struct, frozen=True):
    """The warm-up: its length from T0, whether the plan "stated" it or it was "found" after the run, and its series."""

    cut_s: float = 0.0
    how: str = "stated"
    why: str = ""
    series: tuple[Series, ...] = ()


class Slo(msgspec.Struct, frozen=True):
    """The result of one objective."""

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
    """(limit - observed) / limit; negative for a broken objective."""
    budget: float | None = None
    """The used share of the error budget; above 1 the objective is broken."""
    allowed: float = 0.0
    """The error budget: the share of due iterations or requests that may be bad."""
    limit_ms: float | None = None
    """The time limit; None for an error ratio, and in older summaries."""
    window_s: float | None = None
    windows: int = 0
    windows_failed: int = 0
    worst_window_s: float | None = None
    reason: str = ""
    bad_share_low: float | None = None
    """The ends of the 95 % interval of the share of bad iterations or requests; None in older summaries."""
    bad_share_high: float | None = None
    sure: bool | None = None
    """Whether that interval lies wholly on the verdict's side of `allowed`; None in older summaries."""
    unsure: str = ""
    """Why the verdict is not sure, of an objective with a `detail`; empty in older summaries."""
    detail: str = ""
    """The observed value with its denominator; empty for objectives on response times and the ratio of all errors."""
    limit: Figure = None
    of_count: int | None = None
    bounds: int = 0
    probe: str | None = None
    """The probe and the row that are judged; None for all other objectives, and in older summaries."""

    @property
    def is_unsure(self) -> bool:
        """Whether the objective passed or failed, and a repeated run may get the other verdict."""
        return self.sure is False and self.verdict != "inconclusive"


class Validity(msgspec.Struct, frozen=True):
    """Whether the load generator measured correctly: valid, suspect or invalid."""

    verdict: str = "valid"
    reasons: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    """How to make the next run valid."""


class Requests(msgspec.Struct, frozen=True):
    """Counts of requests."""

    started: int = 0
    finished: int = 0
    errors: int = 0


class Iterations(msgspec.Struct, frozen=True):
    """Counts of iterations."""

    due: int = 0
    started: int = 0
    finished: int = 0
    missed: int = 0
    cut_off: int = 0
    errors: int = 0
    skipped: int = 0
    script_faults: int = 0


class Agent(msgspec.Struct, frozen=True):
    """An agent of the run. An agent is complete if all of its measurements arrived."""

    id: str
    region: str
    complete: bool
    requests: int = 0
    missing: str | None = None
    unfit_intervals: int = 0
    """The number of its `intervals` in which it could not measure correctly."""
    intervals: int = 0


class Load(msgspec.Struct, frozen=True):
    """The planned load as text, and whether it is open or closed."""

    text: str = ""
    open: bool = True


class Adjustment(msgspec.Struct, frozen=True):
    """One change of one load during the run."""

    at_s: float
    """Seconds after T0."""
    kind: str
    """pause, resume, scale, skip, or steer."""
    text: str
    """The change as part of a sentence: "scaled by 1.5, from 200/s to 300/s"."""
    load: str = ""
    was: str = ""
    now: str = ""
    by: str = ""
    end_s: float | None = None


class Found(msgspec.Struct, frozen=True):
    """The result of one steered load. Rates are iterations/s; None if unknown."""

    load: str = ""
    verdict: str | None = None
    """found, not reached, never met or not decided; None if the executor gave no result."""
    text: str = ""
    objectives: tuple[str, ...] = ()
    rate_per_s: float | None = None
    low: float | None = None
    """The ends of the 90 % interval of `rate_per_s`."""
    high: float | None = None
    held_per_s: float | None = None
    """The rate that a `hold` held."""


class ProbeRow(msgspec.Struct, frozen=True):
    """The figures of one row of a probe, from T0 to the end of the run."""

    key: str
    title: str
    kind: str
    """gauge, counter, share or histogram."""
    unit: str = ""
    samples: int = 0
    mean: float | None = None
    """The rate of a counter, or the value of a share, over all intervals."""
    least: float | None = None
    most: float | None = None
    last: float | None = None
    count: float | None = None
    """The increase of a counter, of a share's denominator, or of the number of values of a histogram."""
    between: dict[str, tuple[float | None, float | None] | None] = {}
    """For a histogram: the bounds of the bucket of each percentile ("p50"). A bound of None is open."""


class ProbeFigures(msgspec.Struct, frozen=True):
    """One probe of the run."""

    name: str
    url: str = ""
    samples: int = 0
    gaps: int = 0
    last_gap: str | None = None
    """Why the last missing sample is missing."""
    resets: int = 0
    """Number of times that counters started again."""
    missing: tuple[str, ...] = ()
    """The expected metrics that were never on the page."""
    rows: tuple[ProbeRow, ...] = ()
    kind: str = "metrics"
    at: str = "controller"
    """"apart" for a probe whose journal is added with `loadgen probe add`."""
    notes: int = 0
    baseline_s: float | None = None
    """The time before the load that was read; None if the load never started, or nothing was read."""
    every_s: float = 0.0
    planned_every_s: float | None = None
    """The period in the settings, if the probe was slowed down because its reads took too long."""
    mean_read_ms: float | None = None
    """The mean time of a read at the server, or of the whole call."""


class LevelIterations(msgspec.Struct, frozen=True):
    """The iterations of one level."""

    due: int = 0
    started: int = 0
    cut_off: int = 0


class LevelRequests(msgspec.Struct, frozen=True):
    """The ended requests of one level."""

    ok: int = 0
    failed: int = 0


class LevelGoodput(msgspec.Struct, frozen=True):
    """The good requests of a level: `good` of `of` offered ones. Older summaries have no interval."""

    share: float
    good: int = 0
    of: int = 0
    limits: str | None = None
    low: float | None = None
    """The ends of the 95 % interval of `share`; None without an interval."""
    high: float | None = None
    interval: str = ""
    """The data behind the interval, such as "5 batches of 20.0 s"; without one the reason."""
    above: float | None = None
    """The share that an objective demands: `share` must be above it. None: no objective covers the whole level."""


class LevelMean(msgspec.Struct, frozen=True):
    """A mean number of requests over a level, and the number of intervals or samples that it is made of."""

    mean: float
    count: int = 0


class Level(msgspec.Struct, frozen=True):
    """The figures of one level of a load. Rates are None if they are unknown."""

    level: str
    unit: str = "users"
    """"users", or "/s" for a level that is a rate."""
    measured_s: float | None = None
    iterations: LevelIterations = msgspec.field(default_factory=LevelIterations)
    requests: LevelRequests = msgspec.field(default_factory=LevelRequests)
    achieved_per_s: float | None = None
    """Requests that ended ok within the level, per second."""
    response_ms: Percentiles | None = None
    """Response times of the requests that ended ok."""
    stream_ms: dict[str, Percentiles] | None = None
    """By metric, for requests to AI models that ended ok."""
    output_tokens_per_s: float | None = None
    tokens_per_s_a_user: float | None = None
    goodput: LevelGoodput | None = None
    tokens: dict[str, int] | None = None
    """"prompt" and "output", of all requests of the level that ended; None for other requests, and in older summaries.
    """
    in_flight: LevelMean | None = None
    """The requests in flight, weighted by time; None if unknown."""
    queued: LevelMean | None = None
    """The requests that waited at the server; None without a probe that shows it."""
    saturated: bool | None = None
    """Whether the requests in flight and ttft both grew while the level lasted; None: unknown."""


class Knee(msgspec.Struct, frozen=True):
    """The level above which the throughput no longer grows."""

    of: str = "requests"
    verdict: str = "not decided"
    """found, still growing, never grew, or not decided."""
    level: float | None = None
    low: float | None = None
    """The ends of the 95 % interval of `level`."""
    high: float | None = None
    per_s: float | None = None
    unit: str = "users"
    text: str = ""


class PoolLimited(msgspec.Struct, frozen=True):
    """Requests of iterations that had waited for a free user."""

    requests: int = 0
    share: float = 0.0
    add_users: bool = False


class Clock(msgspec.Struct, frozen=True):
    """The clock that timed the answers."""

    asked: str = "loop"
    """The clock of the plan: kernel or loop."""
    in_force: str = "loop"
    """kernel, loop, or "kernel and loop"."""
    read_lag_p99_max_ms: float = 0.0
    read_lag_max_ms: float = 0.0


class Llm(msgspec.Struct, frozen=True):
    """The totals of all requests to AI models after the warm-up."""

    model: str = ""
    """The name of the model; "" if it is unknown, and in older summaries."""
    convention: str = "ours"
    requests: int = 0
    ok: int = 0
    tokens: dict[str, int] = {}
    """Sums over the requests that ended ok: "prompt", "cached", "output", "reasoning"."""
    wasted_output_tokens: int = 0
    """Output tokens of requests that failed."""
    cached_share: float | None = None
    """The share of the prompt tokens that the server had cached; None: it sent no numbers."""
    measured_s: float | None = None
    output_tokens_per_s: float | None = None
    requests_per_s: float | None = None


class Summary(msgspec.Struct, frozen=True):
    """The content of `summary.json`; docs/outputs.md describes it."""

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
    custom_tagged: tuple[Custom, ...] = ()
    warmup: Warmup | None = None
    agents: tuple[Agent, ...] = ()
    load: Load = msgspec.field(default_factory=Load)
    pool_limited: PoolLimited = msgspec.field(default_factory=PoolLimited)
    clock: Clock = msgspec.field(default_factory=Clock)
    """In older summaries the event loop's, which was the only one."""
    notes: tuple[str, ...] = ()
    missing_share: float = 0.0
    """The share of the planned load, 0 to 1, that the figures lack."""
    adjustments: tuple[Adjustment, ...] = ()
    """In the order of the requests."""
    steering: tuple[Found, ...] = ()
    """One entry for each steered load; empty in older summaries."""
    probes: tuple[ProbeFigures, ...] = ()
    llm: Llm | None = None
    """None: the run had no requests to AI models."""
    levels: tuple[Level, ...] = ()
    """One entry for each level of a load, in the order of the plan."""
    knee: Knee | None = None
    """None for a run without levels."""

    @property
    def is_embedded(self) -> bool:
        """Whether all agents ran inside the controller's process on one machine."""
        return self.placement == "embedded"


def read(source: Path | Mapping[str, object]) -> Summary:
    """Read a summary from its file or from its JSON values.

    Raises:
        StorageError: the file is missing, is not JSON, is not a summary, or was written by a newer loadgen.
    """
    where = str(source) if isinstance(source, Path) else "the summary"
    try:
        found: object = msgspec.json.decode(source.read_bytes()) if isinstance(source, Path) else source
        if isinstance(found, Mapping) and isinstance(n := found.get("format"), int) and n > FORMAT:
            raise StorageError(
                f"cannot read {where}: it has format {n}, but this loadgen knows only formats up to {FORMAT}",
                hint="use the loadgen that made the run, or a newer one",
            )
        return msgspec.convert(found, Summary)
    except OSError as exc:
        raise StorageError(
            f"cannot read {where}: {exc.strerror or exc}", hint="check the path and its permissions"
        ) from exc
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as exc:
        hint = "read its other files with loadgen.open_run; the run may have been killed before its end"
        raise StorageError(f"cannot read {where}: {exc}", hint=hint) from exc
