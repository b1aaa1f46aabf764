"""Measure what a probe costs: CPU time here and at the server, and the target's p99 with and without the probe.

Budgets: the PostgreSQL probe takes at most 1 % of a core, here and at the server together. The lower end of the
interval of its effect on the target's p99 is at most 1 %.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import exp, log, sqrt
from pathlib import Path
from random import Random
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from time import perf_counter, perf_counter_ns, process_time, sleep
from typing import Any
from urllib.parse import urlsplit

from bench.probe_cost_client import FAILED, ROW
from bench.report import Section, held, skipped
from loadgen.measure.statistics.mean_of_batches import t_quantile
from loadgen.probes.running.run_probes import RunProbes
from loadgen.probes.settings import probe_of
from loadgen.probes.spec import ProbeSpec
from loadgen.units import NS_PER_S
from tests.support.postgres_server import PostgresServer, postgres_bin, running_postgres
from tests.support.prometheus import running_node_exporter, running_prometheus
from tests.support.target import running_target

__all__ = ["Effect", "effect_of", "measure", "order_of", "quantile_of", "took_between"]

TITLE = "What a probe costs"
CPU_PERCENT, P99_PERCENT = 1.0, 1.0
SETTLE_S = 2.0
"""Requests of the first seconds of each part are left out, with and without the probe."""
HOW = """\
The demo shop on PostgreSQL (`loadgen target --database`, pool of 8), {rate} requests/s at random times (Poisson) from \
a small client in a process of its own, half `/items?tenant=` and half `/items/ID`, all the time. The PostgreSQL probe \
reads each second, and {statements:,} statements each 10 s, as in a run, with its journal and its figures. It is on or \
off for {seconds:g} s each; the order of each pair of on and off is random (seed {seed}). CPU time: of the process \
with the probe, which does nothing else, and of the probe's backend (`/proc/PID/schedstat`), from connect to the end. \
p99 and median: times of the client from send to last byte, without the first {settle:g} s of each part; mean of the \
log ratios of the pairs, 95 % interval by Student's t of the pairs. The other probes read for {seconds:g} s."""
FAILED_NS = 10 * NS_PER_S
"""A failed request counts as one that took so long, so that failures make the p99 worse."""
_STATEMENTS = 1_000


@dataclass(frozen=True, slots=True)
class Effect:
    """The relative change of a figure, with its 95 % interval; 0.01 is 1 % more."""

    low: float
    mean: float
    high: float
    pairs: int


@dataclass(frozen=True, slots=True)
class Part:
    """A time with or without the probe. Its CPU times are percent of one core."""

    is_on: bool
    from_ns: int
    to_ns: int
    ours: float
    server: float
    reads: int


def order_of(pairs: int, seed: int) -> list[bool]:
    """Return whether the probe is on in each part: each pair of parts has both, in random order."""
    random, order = Random(seed), list[bool]()
    for _ in range(pairs):
        first = random.random() < 0.5
        order += [first, not first]
    return order


def effect_of(pairs: Sequence[tuple[float, float]]) -> Effect:
    """Return the effect from pairs of (with, without), as the mean of log ratios; paired t, two pairs or more."""
    ratios = [log(with_ / without) for with_, without in pairs]
    mean = fmean(ratios)
    half = t_quantile(0.025, len(ratios) - 1) * stdev(ratios) / sqrt(len(ratios))
    return Effect(exp(mean - half) - 1, exp(mean) - 1, exp(mean + half) - 1, len(ratios))


def quantile_of(values: Sequence[int], percent: int) -> float:
    """Return the smallest value that at least `percent` % of the values do not exceed."""
    return float(sorted(values)[-(-percent * len(values) // 100) - 1])


def took_between(rows: bytes, from_ns: int, to_ns: int) -> list[int]:
    """Return the ns of each request that was sent between these times; the last row may be incomplete."""
    whole = len(rows) // ROW.size * ROW.size
    return [
        FAILED_NS if took_ns == FAILED else took_ns
        for sent_ns, took_ns in ROW.iter_unpack(rows[:whole])
        if from_ns <= sent_ns < to_ns
    ]


def measure(
    *, seconds: float = 30.0, pairs: int = 30, rate: int = 100, seed: int = 23, warm_s: float = 15.0
) -> Section:
    if postgres_bin() is None:
        return skipped(TITLE, "PostgreSQL is not installed (Debian: postgresql-17)")
    with TemporaryDirectory() as folder, running_postgres() as postgres:
        _prepare(postgres)
        spec = _spec("shopdb", kind="postgres", dsn=postgres.dsn("shop", "perf"))
        with running_target("--database", postgres.url("shop"), "--pool-size", "8") as shop:
            times = Path(folder) / "times"
            with _client(shop.url, rate, times):
                _watch(spec, Path(folder), warm_s, postgres)
                parts = _parts(spec, Path(folder), order_of(pairs, seed), seconds, postgres, times)
            took = [_took(times, part) for part in parts]
            rows = [_row("PostgreSQL, each second", [part for part in parts if part.is_on])]
            rows.append(_row("no probe", [part for part in parts if not part.is_on]))
            page = _spec("page", url=f"{shop.url}/metrics", metrics=["shop_requests_total", "shop_pool_in_use"])
            rows.append(_row("page of metrics, each second", [_other(page, Path(folder), seconds)]))
            rows += _prometheus(Path(folder), seconds)
    return _section(
        parts, took, rows, HOW.format(rate=rate, statements=_STATEMENTS, seconds=seconds, seed=seed, settle=SETTLE_S)
    )


def _section(parts: Sequence[Part], took: Sequence[list[int]], rows: list[list[str]], how: str) -> Section:
    pairs, middles = (_paired(parts, [quantile_of(one, percent) for one in took]) for percent in (99, 50))
    for n, row in enumerate(rows[:2]):
        requests = sum(len(one) for one, part in zip(took, parts, strict=True) if part.is_on is (n == 0))
        row[-2:] = [f"{requests:,}", f"{fmean(pair[n] for pair in pairs) / 1e6:.2f}"]
    effect, middle = effect_of(pairs), effect_of(middles)
    on = [part for part in parts if part.is_on]
    cpu = fmean(part.ours + part.server for part in on)
    verdict = (
        f"p99 with the PostgreSQL probe against without, {effect.pairs} pairs: {_percent(effect)}; the median: "
        f"{_percent(middle)}. Each effect within these intervals is possible. Budget of the p99 (lower end at most "
        f"{P99_PERCENT:g} %): {held(effect.low * 100 <= P99_PERCENT)}. CPU time of the PostgreSQL probe, here and at "
        f"the server: {cpu:.2f} % of a core, budget {CPU_PERCENT:g} %: {held(cpu <= CPU_PERCENT)}."
    )
    head = [
        "probe",
        "reads",
        "here, % of a core: mean",
        "largest",
        "at the server: mean",
        "largest",
        "requests",
        "mean p99, ms",
    ]
    return Section(TITLE, how, head, rows, verdict)


def _paired(parts: Sequence[Part], values: Sequence[float]) -> list[tuple[float, float]]:
    """Return (with, without) of each pair."""
    return [
        (values[n], values[n + 1]) if parts[n].is_on else (values[n + 1], values[n]) for n in range(0, len(parts), 2)
    ]


def _percent(effect: Effect) -> str:
    low, mean, high = (100 * one for one in (effect.low, effect.mean, effect.high))
    return f"{mean:+.1f} %, 95 % interval {low:+.1f} % to {high:+.1f} %"


def _row(name: str, parts: Sequence[Part]) -> list[str]:
    ours, server = [part.ours for part in parts], [part.server for part in parts if part.server > 0]
    at_server = [f"{fmean(server):.2f}", f"{max(server):.2f}"] if server else ["-", "-"]
    return [
        name,
        f"{sum(part.reads for part in parts):,}",
        f"{fmean(ours):.2f}",
        f"{max(ours):.2f}",
        *at_server,
        "",
        "",
    ]


def _prepare(postgres: PostgresServer) -> None:
    """Make the database, the probe's user, and many statements, so that reading their counters is no small thing."""
    import psycopg  # of the extra `probes`

    postgres.sql("CREATE DATABASE shop")
    postgres.sql("CREATE ROLE perf LOGIN; GRANT pg_monitor, pg_read_all_data TO perf")
    postgres.sql("CREATE EXTENSION pg_stat_statements", "shop")
    with psycopg.connect(postgres.dsn("shop"), autocommit=True) as session:
        for n in range(1, _STATEMENTS + 1):
            session.execute("SELECT " + ",".join(["1"] * n))


def _spec(name: str, **settings: Any) -> ProbeSpec:
    spec, wrong = probe_of(name, {"every": "1s", **settings})
    if spec is None:
        raise RuntimeError(str(wrong))
    return spec


@contextmanager
def _client(url: str, rate: int, times: Path) -> Iterator[None]:
    """Send requests to the shop while the block runs."""
    place = urlsplit(url)
    words = ["-m", "bench.probe_cost_client", str(place.hostname), str(place.port), str(rate), str(times)]
    with subprocess.Popen([sys.executable, *words], stdin=subprocess.PIPE) as process:
        try:
            yield
            if process.poll() is not None:
                raise RuntimeError(f"the client ended with {process.returncode}")
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(60)


def _parts(
    spec: ProbeSpec, folder: Path, order: Sequence[bool], seconds: float, postgres: PostgresServer, times: Path
) -> list[Part]:
    parts: list[Part] = []
    for is_on in order:
        parts.append(_watch(spec if is_on else None, folder, seconds, postgres))
        if len(parts) % 2 == 0:
            said = ", ".join(_said(part, times) for part in sorted(parts[-2:], key=lambda part: not part.is_on))
            sys.stderr.write(f"pair {len(parts) // 2} of {len(order) // 2}: {said}\n")
    return parts


def _said(part: Part, times: Path) -> str:
    p50_ms, p99_ms = (quantile_of(_took(times, part), percent) / 1e6 for percent in (50, 99))
    cpu = f"CPU {part.ours:.3f} + {part.server:.3f} %"
    return f"{'with' if part.is_on else 'without'} p50 {p50_ms:.3f} p99 {p99_ms:.3f} ms, {cpu}"


def _took(times: Path, part: Part) -> list[int]:
    return took_between(times.read_bytes(), part.from_ns + int(SETTLE_S * NS_PER_S), part.to_ns)


def _watch(spec: ProbeSpec | None, folder: Path, seconds: float, postgres: PostgresServer | None) -> Part:
    """Let the probe read for some seconds, or do nothing, and return the CPU times."""
    return asyncio.run(_watched(spec, folder, seconds, postgres))


async def _watched(spec: ProbeSpec | None, folder: Path, seconds: float, postgres: PostgresServer | None) -> Part:
    with TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as run:
        from_ns, cpu_s = perf_counter_ns(), process_time()
        probes = RunProbes(
            [] if spec is None else [spec],
            Path(run),
            clock=perf_counter_ns,
            notice=_notice,
            secret_of=lambda _: None,
        )
        probes.begin(t0_ns=from_ns)
        await asyncio.sleep(seconds - (perf_counter_ns() - from_ns) / NS_PER_S)
        ours = (process_time() - cpu_s) / seconds * 100
        server_s = _backend_s(postgres) if spec is not None and postgres is not None else 0.0
        to_ns = perf_counter_ns()
        counts = probes.counts() if spec is not None else {}
        probes.cancel()  # without the plans that are read once after the load
        await asyncio.sleep(0.05)
    reads, gaps = counts.get(spec.name, (0, 0)) if spec is not None else (0, 0)
    if spec is not None and not reads:
        raise RuntimeError(f"the probe has {reads} samples and {gaps} gaps")
    return Part(spec is not None, from_ns, to_ns, ours, server_s / seconds * 100, reads)


def _notice(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _backend_s(postgres: PostgresServer) -> float:
    """Return the CPU time of the probe's backend since its start: the server's only process of the user perf."""
    postmaster = (postgres.folder / "data/postmaster.pid").read_text().split()[0]
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            if parent == postmaster and (process / "cmdline").read_bytes().startswith(b"postgres: perf shop"):
                found.append(int((process / "schedstat").read_text().split()[0]) / NS_PER_S)
    if not found:
        raise RuntimeError("the probe has no backend")
    return max(found)


def _other(spec: ProbeSpec, folder: Path, seconds: float) -> Part:
    _watch(spec, folder, min(3.0, seconds), None)
    return _watch(spec, folder, seconds, None)


def _prometheus(folder: Path, seconds: float) -> list[list[str]]:
    """Measure the probe of a Prometheus server with the node exporter, if both are installed."""
    name = "Prometheus, preset node"
    if not (shutil.which("prometheus") and shutil.which("prometheus-node-exporter")):
        return [[name, "skipped: not installed", *[""] * 6]]
    with running_node_exporter(folder) as machine, running_prometheus(folder, machine) as prometheus:
        settings = {"kind": "prometheus", "url": prometheus.url, "preset": "node"}
        until_s = perf_counter() + 60
        while not prometheus.ask("node_load1") and perf_counter() < until_s:
            sleep(0.5)
        return [
            _row(f"{name}, each {every}", [_other(_spec("machine", every=every, **settings), folder, seconds)])
            for every in ("10 s", "1 s")
        ]
