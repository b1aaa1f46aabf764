"""Configuration of the demo shop: its latencies, and deliberate misbehaviour.

Times are integer ns. Stall windows and the slow start count from the *first request* since
the start or the last reset (requests to `/stats` do not count). So the right result of a
run can be computed from the arrival of its first request, which the shop reports.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar

from loadgen.errors import UsageError
from loadgen.target.database.settings import DatabaseConfig
from loadgen.units import NS_PER_MS, NS_PER_S, parse_duration, parse_ratio

__all__ = ["LATENCIES", "SLOW_START_FACTOR", "LogNormal", "Stall", "TargetConfig"]

SLOW_START_FACTOR = 10.0
"""The factor by which the first request is slower under a slow start."""
_EVERY_NS: Final = 5 * NS_PER_S

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LogNormal:
    """A log-normal latency: half are below the median; sigma is the standard deviation of the logarithm."""

    median_ns: int
    sigma: float

    def quantile_ns(self, q: float, z: float | None = None) -> int:
        """Return the exact quantile of this distribution at `q` (0 < q < 1), in ns. z: the same quantile of the
        standard normal distribution, if known.
        """
        from statistics import NormalDist  # imported here because it is slow to import

        return round(self.median_ns * math.exp(self.sigma * (NormalDist().inv_cdf(q) if z is None else z)))


LATENCIES: Mapping[str, LogNormal] = MappingProxyType(
    {
        "/": LogNormal(2 * NS_PER_MS, 0.30),
        "/login": LogNormal(12 * NS_PER_MS, 0.40),
        "/products": LogNormal(6 * NS_PER_MS, 0.40),
        "/products/{sku}": LogNormal(8 * NS_PER_MS, 0.50),
        "/cart": LogNormal(15 * NS_PER_MS, 0.50),
        "/checkout": LogNormal(40 * NS_PER_MS, 0.60),
        "/search": LogNormal(20 * NS_PER_MS, 0.70),
        "/oauth/token": LogNormal(10 * NS_PER_MS, 0.40),
        "/api/orders": LogNormal(8 * NS_PER_MS, 0.40),
        "/graphql": LogNormal(12 * NS_PER_MS, 0.50),
        "/uploads/{id}": LogNormal(20 * NS_PER_MS, 0.50),
        "/jobs/{id}": LogNormal(4 * NS_PER_MS, 0.30),
    }
)
"""Latencies by path. Requests without an entry (`/stats`, unknown paths, bad requests) are answered at once."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Freezes a path for `length_ns` in every `every_ns`.

    The k-th window (k from 0) is [first + k * every, first + k * every + length) after the first request. A request
    that arrives within it waits for its end, and then for its own latency. A request that arrived before is not
    affected. So the wait is exactly (end of window - arrival) + latency.

    first_ns: None puts each window in the middle of its period. A run of k whole periods then contains exactly k whole
    windows, none of them at its edges.
    """

    length_ns: int
    every_ns: int
    path: str | None = None
    """A path as in `LATENCIES`, for all its methods; None for all paths."""
    first_ns: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.length_ns < self.every_ns:
            raise UsageError(
                "--stall must be longer than 0 and shorter than --every", hint="for example --stall 500ms --every 5s"
            )
        if self.path is not None and self.path not in LATENCIES:
            raise UsageError(f"--path: the shop has no path {self.path}", hint="use one of " + ", ".join(LATENCIES))
        if self.first_ns is not None and self.first_ns < 0:
            raise UsageError("first_ns of a stall must be at least 0", hint="use 0 or a later time")

    @property
    def offset_ns(self) -> int:
        """Return when the first stall (a window in which requests get no answer) begins, in ns after the first
        request.
        """
        return (self.every_ns - self.length_ns) // 2 if self.first_ns is None else self.first_ns

    def wait_ns(self, arrived_ns: int) -> int:
        """Return how many ns a request must wait for the end of a stall; 0 outside of stalls. arrived_ns: its arrival,
        in ns after the first request.
        """
        into = arrived_ns - self.offset_ns
        if into < 0:
            return 0
        return max(0, self.length_ns - into % self.every_ns)

    def windows_ns(self, until_ns: int, last: int | None = None) -> Iterator[tuple[int, int]]:
        """Yield (start, end) of each stall that begins before `until_ns`, in ns after the first request. last: only
        that many of the last ones.
        """
        starts = range(self.offset_ns, until_ns, self.every_ns)
        for start in starts if last is None else starts[-last:]:
            yield start, start + self.length_ns


@dataclass(frozen=True, slots=True)
class TargetConfig:
    """All settings of the demo shop. An invalid value raises `UsageError`."""

    host: str = "127.0.0.1"
    port: int = 0
    """0: any free port."""
    seed: int = 1
    latency: bool = True
    """False: requests wait only for stalls."""
    latencies: Mapping[str, LogNormal] = field(default_factory=lambda: LATENCIES)
    stall: Stall | None = None
    error_ratio: float = 0.0
    """Share of the requests of each path that are answered with 503. The seed decides which ones."""
    slow_start_ns: int = 0
    """Latencies begin at ten times their value and decrease linearly over this time."""
    slots: int = 0
    """The number of requests that are served at a time, whatever their path; others wait in line. With a fixed latency,
    the highest rate is slots / latency. 0: no limit."""
    tls_cert: Path | None = None
    tls_key: Path | None = None
    access_log: Path | None = None
    """A file to which a JSON line is appended for each answer."""
    database: DatabaseConfig | None = None
    """None: the plain shop, without psycopg."""

    def __post_init__(self) -> None:
        if not 0 <= self.error_ratio <= 1:
            raise UsageError(
                f"--error-ratio must be from 0 to 100 %, got {self.error_ratio}", hint="use a number from 0 to 100"
            )
        if not 0 <= self.port <= 65535:
            raise UsageError(f"invalid port {self.port}: use 0 to 65535")
        if self.slots < 0:
            raise UsageError(f"--slots must be at least 0, got {self.slots}", hint="0 means no limit")
        if self.slow_start_ns < 0:
            raise UsageError("--slow-start must not be negative", hint="use 0 or more")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError("TLS needs both --tls-cert and --tls-key", hint="add the missing option")

    @classmethod
    def of_options(
        cls,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 1,
        latency: bool = True,
        stall: str | None = None,
        every: str | None = None,
        path: str | None = None,
        error_ratio: str = "0%",
        slow_start: str = "0s",
        slots: int = 0,
        always: str | None = None,
        slower: Iterable[str] = (),
        tls_cert: Path | None = None,
        tls_key: Path | None = None,
        access_log: Path | None = None,
        database: DatabaseConfig | None = None,
    ) -> TargetConfig:
        """Return the configuration of the demo shop for the values of its command-line options.

        slower: "/cart=10%" makes the latencies of this path longer by this share, as a new release might.

        Raises:
            UsageError: with all values that cannot be parsed; or with one that is invalid.
        """
        wrong: list[str] = []

        def read(option: str, text: str | None, parser: Callable[[str], T], otherwise: T) -> T:
            try:
                return otherwise if text is None else parser(text)
            except ValueError as exc:
                wrong.append(f"{option}: {exc}")
                return otherwise

        length_ns, every_ns = (
            read("--stall", stall, parse_duration, 0),
            read("--every", every, parse_duration, _EVERY_NS),
        )
        ratio = read("--error-ratio", error_ratio, parse_ratio, 0.0)
        slow_start_ns = read("--slow-start", slow_start, parse_duration, 0)
        always_ns = read("--latency", always, parse_duration, 0)
        if wrong:
            raise UsageError("; ".join(wrong), hint="loadgen target --help describes these options")
        if stall is None and (every is not None or path is not None):
            raise UsageError("--every and --path need --stall", hint="add, for example, --stall 500ms")
        frozen = None if stall is None else Stall(length_ns, every_ns, path)
        fixed = None if always is None else LogNormal(always_ns, 0.0)
        if fixed is not None and not (latency and fixed.median_ns):
            raise UsageError(
                "--latency must be above 0 and cannot be combined with --no-latency",
                hint="to answer at once, use only --no-latency",
            )
        return cls(
            latencies=_slower(LATENCIES if fixed is None else dict.fromkeys(LATENCIES, fixed), slower),
            host=host,
            port=port,
            seed=seed,
            latency=latency,
            stall=frozen,
            error_ratio=ratio,
            slow_start_ns=slow_start_ns,
            slots=slots,
            tls_cert=tls_cert,
            tls_key=tls_key,
            access_log=access_log,
            database=database,
        )


def _slower(latencies: Mapping[str, LogNormal], options: Iterable[str]) -> dict[str, LogNormal]:
    """Return `latencies` with longer medians for the paths that `options` name, such as "/cart=10%". Raises UsageError
    with all errors in the options.
    """
    changed, wrong = dict(latencies), []
    for option in options:
        path, sign, share = option.rpartition("=")
        try:
            factor = 1 + parse_ratio(share)
        except ValueError as exc:
            wrong.append(f"{option}: {exc}")
            continue
        if not sign or path not in changed:
            wrong.append(f"{option}: the shop has no path {path or option}; use one of {', '.join(changed)}")
        else:
            changed[path] = replace(changed[path], median_ns=round(changed[path].median_ns * factor))
    if wrong:
        raise UsageError("; ".join(wrong), hint="write --slower /cart=10%, once for each path")
    return changed
