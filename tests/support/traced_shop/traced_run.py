"""One run against the traced shop, and what `loadgen trace` says about it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.chaos_proxy import chaos_proxy
from tests.support.otlp_file_collector import otlp_file_collector
from tests.support.quiet import undisturbed
from tests.support.run import Finished, loadgen
from tests.support.traced_shop.faults import Faults
from tests.support.traced_shop.own_collector import SOURCE, own_collector, write_settings
from tests.support.traced_shop.running import RunningShop, stopped_now_and_then, traced_shop
from tests.support.traced_shop.scenario import write_scenario

__all__ = ["Case", "TracedRun", "run_with_own_collector", "traced_run"]

_FAR: Final = "127.0.0.2"
"""The address of the proxy before the region FAR; on Linux all of 127.0.0.0/8 is the loopback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A shop, a load, and an objective.

    request: what is asked about. stops: an instance that is stopped for 200 ms every 5 s. far_ms: delay of the proxy
    before one region, there and back. keeps: which traces the collector keeps, by id and spans.
    """

    mix: str = "buy: 1"
    request: str = "checkout"
    slos: str = ""
    faults: Faults = field(default_factory=Faults)
    stops: str = ""
    far_ms: float = 0.0
    keeps: Callable[[str, Sequence[Span]], bool] = lambda _trace, _spans: True
    rate: int = 50
    seconds: int = 20


@dataclass(frozen=True, slots=True)
class TracedRun:
    """A finished run. traces: a file with its traces; None if they are in a collector that `loadgen.toml` names."""

    run: Finished
    folder: Path
    traces: Path | None = None

    def cause(self, *options: str) -> tuple[Finished, dict[str, Any]]:
        """Return the finished `loadgen trace` and its cause.json. options: `--request NAME`, ..."""
        path = self.folder / "cause.json"
        path.unlink(missing_ok=True)
        source = ("--backend", SOURCE) if self.traces is None else ("--file", str(self.traces))
        with contextlib.chdir(self.folder):
            done = loadgen(
                *("trace", str(self.run.folder), *source, "--json", str(path), *options), runs_dir=self.run.runs_dir
            )
        return done, json.loads(path.read_text()) if path.exists() else {}


@contextlib.contextmanager
def _way_of(case: Case, shop: RunningShop) -> Iterator[str]:
    """The address of the shop for the region FAR; the instance of `stops` is stopped now and then."""
    with contextlib.ExitStack() as stack:
        if case.stops:
            stack.enter_context(stopped_now_and_then(shop.pids[case.stops]))
        if not case.far_ms:
            yield "127.0.0.1"
            return
        proxy = stack.enter_context(chaos_proxy(f"127.0.0.1:{shop.port}", listen=(_FAR, shop.port)))
        proxy.latency(case.far_ms / 2e3)
        yield _FAR


def traced_run(folder: Path, case: Case, seed: int = 1) -> TracedRun:
    """Start services and run, and a collector that may lose traces; return when all have ended."""
    traces = folder / "traces.jsonl"
    with undisturbed(), otlp_file_collector() as collector:
        with traced_shop(collector.url, case.faults, seed) as shop, _way_of(case, shop) as far:
            run = _run(folder, case, shop, far, seed)
        assert collector.write(traces, case.keeps), "the services exported no span"
    return TracedRun(run, folder, traces)


@contextlib.contextmanager
def run_with_own_collector(folder: Path, case: Case, seed: int = 1) -> Iterator[TracedRun]:
    """Do the same with `loadgen trace collect`, which runs until the block is left."""
    with contextlib.ExitStack() as stack:
        with undisturbed():
            url = stack.enter_context(own_collector())
            write_settings(folder, url)
            with traced_shop(url, case.faults, seed) as shop, _way_of(case, shop) as far:
                run = _run(folder, case, shop, far, seed)
        yield TracedRun(run, folder)


def _run(folder: Path, case: Case, shop: RunningShop, far: str, seed: int) -> Finished:
    where: dict[str, Any] = {"mix": case.mix, "slos": case.slos, "rate": case.rate, "seconds": case.seconds}
    path = write_scenario(folder, shop.port, far=far, seed=seed, **where)
    done = loadgen("run", str(path), "--quiet", runs_dir=folder / "runs")
    assert done.exit_code in (0, 1, 4), done.out + done.err
    return done
