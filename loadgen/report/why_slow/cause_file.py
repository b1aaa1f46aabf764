"""Reads and writes `cause.json`, the result of `loadgen trace`. Page, report, terminal and notebook read nothing else.

`loadgen.traces.causes.cause_document` makes most of it; `RunPart` is what the run adds. Format 1: later versions may
add keys, but never remove one. Names of times end in their unit; shares are 0 to 1. Texts come from the target's spans
and from the scenario, so every output escapes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from loadgen.errors import StorageError
from loadgen.measure.run_folder.rundir import replace_file
from loadgen.report.why_slow.database.parts import Below, LockPart, PoolPart, StatementPart

__all__ = [
    "FORMAT",
    "NAME",
    "Attribute",
    "CauseFile",
    "Chosen",
    "Example",
    "Failed",
    "Found",
    "Interval",
    "NotRanked",
    "ObjectivePart",
    "Pair",
    "Part",
    "Ranked",
    "Resampling",
    "RunPart",
    "WaterfallRow",
    "causes_of_document",
    "encoded",
    "read_causes",
    "write_causes",
]

FORMAT: Final = 1
NAME: Final = "cause.json"

Interval = tuple[float | None, float | None]
"""The ends of a 95 % interval; None if an end is unknown."""
NO_INTERVAL: Final[Interval] = (None, None)


class ObjectivePart(msgspec.Struct, frozen=True, kw_only=True):
    """The requests that are explained, and what the sample of traces says about their percentile.

    has_threshold: whether an objective gave the threshold. share_over: of all requests of the run.
    """

    name: str
    percentile: float = 0.99
    threshold_ns: float = 0.0
    has_threshold: bool = False
    share_over: float = 0.0
    share_over_interval: Interval = NO_INTERVAL
    percentile_ns: float = 0.0
    requests: int | None = None


class Same(msgspec.Struct, frozen=True):
    """An attribute that the same traces have."""

    where: str
    key: str
    value: str | int | float | bool | None = None


class Attribute(msgspec.Struct, frozen=True, kw_only=True):
    """An attribute that slow traces have more often than fast ones. where: a service, or "" for attributes of our own.

    value: None for a number; slow and fast are then medians, otherwise shares of the traces. q: the false discovery
    rate by Benjamini and Hochberg. together: attributes of the same traces.
    """

    where: str
    key: str
    value: str | int | float | bool | None = None
    slow: float = 0.0
    fast: float = 0.0
    n_slow: int = 0
    n_fast: int = 0
    q: float = 1.0
    together: tuple[Same, ...] = ()


class Ranked(msgspec.Struct, frozen=True, kw_only=True):
    """One path in which the time of slow requests lies.

    added_ns: mean own time on the critical path, slow minus fast; share: of the whole difference.
    without_share_over: the share of requests that would be above the threshold if the path were as fast as usual, at
    most; without_percentile_ns: their percentile then, at most. stays_first: the share of resamples in which the path
    ranks first. n_slow, n_fast: traces with the path. more_calls_ns and slower_calls_ns add up to added_ns.
    since_s: from T0; None if no change was found. statement: what a probe of the database says about the span's
    statement. below: the database spans below a path whose own time is longer.
    """

    path: tuple[str, ...]
    added_ns: float
    share: float = 0.0
    kind: str = ""
    added_interval_ns: Interval = NO_INTERVAL
    more_calls_ns: float = 0.0
    slower_calls_ns: float = 0.0
    slow_calls: float = 0.0
    fast_calls: float = 0.0
    without_share_over: float | None = None
    without_share_interval: Interval = NO_INTERVAL
    without_percentile_ns: float | None = None
    stays_first: float = 0.0
    n_slow: int = 0
    n_fast: int = 0
    attributes: tuple[Attribute, ...] = ()
    since_s: float | None = None
    since_error_s: float | None = None
    pauses: int = 0
    pause_ns: int = 0
    statement: StatementPart | None = None
    below: Below | None = None


class NotRanked(msgspec.Struct, frozen=True, kw_only=True):
    """Why nothing is ranked.

    is_refused: too few traces, or too many are missing. candidates: paths whose order is not reliable.
    """

    reason: str
    is_refused: bool = False
    candidates: tuple[Ranked, ...] = ()


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Two paths that must both become as fast as usual."""

    paths: tuple[tuple[str, ...], tuple[str, ...]]
    without_share_over: float
    without_percentile_ns: float


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A path with its part of the difference between slow and fast requests."""

    path: tuple[str, ...]
    added_ns: float
    added_interval_ns: Interval = NO_INTERVAL


class Failed(msgspec.Struct, frozen=True, kw_only=True):
    """Failed requests with traces: their mean response time minus that of fast ones, and the paths that add most."""

    traces: int = 0
    outcomes: Mapping[str, int] = {}
    added_ns: float = 0.0
    paths: tuple[Part, ...] = ()


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The traces that were asked for and found. slow, fast: shares of the slow and fast ones that were found, or None.

    differ: slow and fast ones were found in different proportions. is_corrected: weights were corrected for that.
    """

    asked: int
    found: int = 0
    slow: float | None = None
    fast: float | None = None
    slow_asked: int = 0
    fast_asked: int = 0
    p: float = 1.0
    differ: bool = False
    is_corrected: bool = False


class Resampling(msgspec.Struct, frozen=True, kw_only=True):
    """How intervals were made: resamples of traces in blocks of time."""

    seed: int = 0
    resamples: int = 0
    block_s: float = 0.0


class WaterfallRow(msgspec.Struct, frozen=True, kw_only=True):
    """A span of an example. Times are ns from the due time of its request. pieces: its parts of the critical path.

    more: further spans of the same name under the same parent, which the row includes.
    """

    name: str
    depth: int
    begin_ns: int
    end_ns: int
    own_ns: int = 0
    is_error: bool = False
    pieces: tuple[tuple[int, int], ...] = ()
    more: int = 0


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One trace as a waterfall. left_out: spans without a row."""

    trace: str
    response_ns: int
    at_s: float
    rows: tuple[WaterfallRow, ...]
    left_out: int = 0


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """How the requests were chosen: the series, the objective's text ("" without a broken one), and the reason.

    percentile: its name, "p99". observed_ms: the percentile in the run; "> 300.0" if only a bound is known.
    above: the share of requests above the threshold, with failed ones, and its 95 % interval.
    """

    journey: str = ""
    step: str = ""
    request: str = ""
    region: str = ""
    text: str = ""
    why: str = ""
    percentile: str = "p99"
    observed_ms: float | str | None = None
    above: float | None = None
    above_interval: Interval = NO_INTERVAL


class RunPart(msgspec.Struct, frozen=True, kw_only=True):
    """The facts about a run that `cause.json` has besides the causes.

    made_at: UTC. source: where the traces came from. fast_mean_ns: the mean response time of the fast requests; that
    of the slow ones is larger by difference_ns. refused: reasons for which traces could not be used, with counts.
    cost_ns: mean response time of sampled requests minus that of others; None if unknown. cost_sampled, cost_others:
    their numbers. rerun: a command that repeats the run. look: a command that shows a slow trace.
    """

    run: str
    made_at: str = ""
    source: str = ""
    chosen: Chosen = Chosen()
    fast_mean_ns: float = 0.0
    refused: Mapping[str, int] = {}
    notes: tuple[str, ...] = ()
    cost_ns: float | None = None
    cost_interval_ns: Interval = NO_INTERVAL
    cost_sampled: int = 0
    cost_others: int = 0
    rerun: str = ""
    look: str = ""
    slow_example: Example | None = None
    fast_example: Example | None = None


class CauseFile(RunPart, frozen=True, kw_only=True):
    """Why requests of a run were slow: `ranked` and `unexplained` add up to `difference_ns`.

    ranked: empty if the order is not reliable; `not_ranked` then has the reason. locks, pools: what probes of the
    database and of PgBouncer saw in the time of slow requests.
    """

    objective: ObjectivePart
    format: int = FORMAT
    against: str = ""
    difference_ns: float = 0.0
    difference_interval_ns: Interval = NO_INTERVAL
    fast_ns: float = 0.0
    n_slow: int = 0
    n_fast: int = 0
    ranked: tuple[Ranked, ...] = ()
    not_ranked: NotRanked | None = None
    pairs: tuple[Pair, ...] = ()
    unexplained: tuple[Part, ...] = ()
    failed: Failed = Failed()
    found: Found | None = None
    repair: Mapping[str, int] = {}
    left_out: Mapping[str, int] = {}
    resampling: Resampling = Resampling()
    locks: tuple[LockPart, ...] = ()
    pools: tuple[PoolPart, ...] = ()

    @property
    def lines(self) -> tuple[Ranked, ...]:
        """The ranked paths, or the candidates if the order is not reliable."""
        return self.ranked or (() if self.not_ranked is None else self.not_ranked.candidates)


def causes_of_document(document: Mapping[str, object], part: RunPart) -> tuple[CauseFile, dict[str, object]]:
    """Join the document of `cause_document` with what the run adds: as values, and as the contents of cause.json."""
    whole = {**document, **msgspec.to_builtins(part)}
    return msgspec.convert(whole, CauseFile), whole


def write_causes(folder: Path, document: Mapping[str, object]) -> Path:
    """Write cause.json into a run folder, whole or not at all, and return its path.

    Raises:
        StorageError: the file cannot be written.
    """
    path = folder / NAME
    replace_file(path, encoded(document))
    return path


def encoded(document: Mapping[str, object]) -> bytes:
    """Return the document in JSON, with a newline at the end."""
    return msgspec.json.format(msgspec.json.encode(document)) + b"\n"


def read_causes(folder: Path) -> CauseFile | None:
    """Return the causes that `loadgen trace` found for the run in this folder; None if it was never called.

    Raises:
        StorageError: the file cannot be read, or was written by a newer loadgen.
    """
    path = folder / NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise StorageError(f"cannot read {path}: {exc.strerror or exc}", hint="check its permissions") from exc
    try:
        causes = msgspec.json.decode(data, type=CauseFile)
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise StorageError(f"cannot read {path}: {exc}", hint="call `loadgen trace` again") from exc
    if causes.format > FORMAT:
        raise StorageError(
            f"cannot read {path}: format {causes.format} is newer than this loadgen",
            hint="use the version of loadgen that wrote it, or a newer one",
        )
    return causes
