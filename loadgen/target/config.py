"""How the demo shop behaves: its latencies, and what is switched on to make it misbehave.

Times are integer ns. Two of them count from the *first request* since the start
or the last reset (any request but those to `/stats`): stall windows and the
slow start. So what a run should have measured can be computed from when its
first request arrived, and the shop says when that was.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar

from loadgen.errors import UsageError
from loadgen.units import NS_PER_MS, NS_PER_S, parse_duration, parse_ratio

__all__ = ["LATENCIES", "SLOW_START_FACTOR", "LogNormal", "Stall", "TargetConfig"]

SLOW_START_FACTOR = 10.0
"""How much slower the first request is under a slow start."""
_EVERY_NS: Final = 5 * NS_PER_S

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LogNormal:
    """Latency whose logarithm is normal: half are below the median; sigma is the spread of the logarithm."""

    median_ns: int
    sigma: float

    def quantile_ns(self, q: float, z: float | None = None) -> int:
        """The true value at the ratio `q` (0 < q < 1) of an endless run; `z`: its normal quantile, if known."""
        from statistics import NormalDist  # imports half of the standard library's numerics

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
"""By path; what has none (`/stats`, unknown paths, bad requests) is answered at once."""


@dataclass(frozen=True, slots=True)
class Stall:
    """The path is frozen for `length_ns` in every `every_ns`.

    The k-th window (k from 0) is [first + k * every, first + k * every + length)
    after the first request. A request that arrives within it waits for its end,
    and then takes its own latency; one that arrived before is not touched. So
    the wait is (end of window - arrival), a sum with the latency and nothing else.

    first_ns: None puts each window in the middle of its period, so that a run of
    k whole periods holds exactly k whole windows, none of them at its edges.
    """

    length_ns: int
    every_ns: int
    path: str | None = None
    """A path as in `LATENCIES`, for all its methods; None: all of them."""
    first_ns: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.length_ns < self.every_ns:
            raise UsageError(
                "a stall must be longer than 0 and shorter than its period", hint="e.g. --stall 500ms --every 5s"
            )
        if self.path is not None and self.path not in LATENCIES:
            raise UsageError(f"the shop has no path {self.path}", hint="it has " + ", ".join(LATENCIES))
        if self.first_ns is not None and self.first_ns < 0:
            raise UsageError("the first stall cannot be before the first request")

    @property
    def offset_ns(self) -> int:
        """When the first window begins."""
        return (self.every_ns - self.length_ns) // 2 if self.first_ns is None else self.first_ns

    def wait_ns(self, arrived_ns: int) -> int:
        """How long a request that arrived then (after the first request) is frozen; 0 outside of the windows."""
        into = arrived_ns - self.offset_ns
        if into < 0:
            return 0
        return max(0, self.length_ns - into % self.every_ns)

    def windows_ns(self, until_ns: int, last: int | None = None) -> Iterator[tuple[int, int]]:
        """(start, end) of each window that begins before `until_ns`; of the `last` of them, if given."""
        starts = range(self.offset_ns, until_ns, self.every_ns)
        for start in starts if last is None else starts[-last:]:
            yield start, start + self.length_ns


@dataclass(frozen=True, slots=True)
class TargetConfig:
    """Everything the demo shop can be told. Wrong values are a `UsageError`."""

    host: str = "127.0.0.1"
    port: int = 0
    """0: any free port."""
    seed: int = 1
    latency: bool = True
    """False: nothing waits but for stalls."""
    latencies: Mapping[str, LogNormal] = field(default_factory=lambda: LATENCIES)
    stall: Stall | None = None
    error_ratio: float = 0.0
    """Share of the requests, by path, that is answered with 503; which ones is drawn from the seed."""
    slow_start_ns: int = 0
    """Latencies start at ten times their own and come down linearly within this time."""
    slots: int = 0
    """So many requests are served at a time, whatever their path, and the others wait in line: with latencies that do
    not vary its limit is slots / latency. 0: as many as come."""
    tls_cert: Path | None = None
    tls_key: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.error_ratio <= 1:
            raise UsageError(f"an error ratio of {self.error_ratio} is outside 0 to 100 %")
        if not 0 <= self.port <= 65535:
            raise UsageError(f"there is no port {self.port}")
        if self.slots < 0:
            raise UsageError(f"a shop cannot serve {self.slots} requests at a time", hint="0 for as many as come")
        if self.slow_start_ns < 0:
            raise UsageError("a slow start cannot take less than no time")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError("TLS needs both a certificate and its key")

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
    ) -> TargetConfig:
        """From what stands on a command line.

        slower: "/cart=10%": the latencies of that path are so much longer, as a release may make them.

        Raises:
            UsageError: values that do not parse, all at once; or one that makes no sense.
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
            raise UsageError("; ".join(wrong))
        if stall is None and (every is not None or path is not None):
            raise UsageError("--every and --path say when and where to stall", hint="add e.g. --stall 500ms")
        frozen = None if stall is None else Stall(length_ns, every_ns, path)
        fixed = None if always is None else LogNormal(always_ns, 0.0)
        if fixed is not None and not (latency and fixed.median_ns):
            raise UsageError("a latency that is always the same is above 0", hint="--no-latency answers at once")
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
        )


def _slower(latencies: Mapping[str, LogNormal], options: Iterable[str]) -> dict[str, LogNormal]:
    """With some paths slower; everything that is wrong with the options is said at once."""
    changed, wrong = dict(latencies), []
    for option in options:
        path, sign, share = option.rpartition("=")
        try:
            factor = 1 + parse_ratio(share)
        except ValueError as exc:
            wrong.append(f"{option}: {exc}")
            continue
        if not sign or path not in changed:
            wrong.append(f"{option}: the shop has no path {path or option}; it has {', '.join(changed)}")
        else:
            changed[path] = replace(changed[path], median_ns=round(changed[path].median_ns * factor))
    if wrong:
        raise UsageError("; ".join(wrong), hint="--slower /cart=10%, once for each path")
    return changed
