"""Folders of runs that nobody ran: written as the controller writes them, of values that are drawn here."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from loadgen.dsl.plans.spec import JourneySpec, LaneSpec, PlanSpec
from loadgen.measure.deltas.delta import Delta
from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.measure.results.summary import AgentFacts, RunFacts, build
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.measure.statistics.batches_of_run import recounted
from loadgen.profiles.profile import ArrivalProfile
from loadgen.profiles.stage import Stage
from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen.wire import codec
from tests.support.deltas import FakeAgent, journey_key, request_key

AGENTS = {"a1": "eu", "a2": "us"}
STEP = SeriesKey("step", "checkout", "pay", None, "ok", "response")
POST = request_key("POST /cart", step="pay")


def spec_of(seconds: int, per_s: float, target: str = "https://shop.example") -> PlanSpec:
    profile = ArrivalProfile((Stage(per_s, per_s, seconds * NS_PER_S),))
    journeys = (JourneySpec(name="checkout", weight=1.0),)
    load = f"arrivals: hold {per_s:g}/s for {seconds}s"
    return PlanSpec(
        name="plan",
        scenario="shop.py",
        doc="",
        target=target,
        load=load,
        profile=profile,
        journeys=journeys,
        slos=(),
        regions=dict.fromkeys(AGENTS.values(), 0.5),
        duration_ns=seconds * NS_PER_S,
        total_arrivals=round(seconds * per_s),
        peak=per_s,
        max_users=None,
        max_lateness_ns=None,
        warmup_ns=0,
        drain_ns=30 * NS_PER_S,
        connect_timeout_ns=10 * NS_PER_S,
        timeout_ns=60 * NS_PER_S,
        seed=None,
        lanes=(LaneSpec(name="", load=load, journeys=journeys, profile=profile),),
        targets={"": target},
    )


def manifest_of(run_id: str, scenario: str, plan: PlanSpec) -> dict[str, Any]:
    """The manifest of a run of the two agents."""
    return {
        "format": 1,
        "run_id": run_id,
        "created_at": _at(run_id).isoformat(),
        "placement": "embedded",
        "scenario": scenario,
        "plan": "plan",
        "interval_ns": NS_PER_S,
        "overrides": {},
        "spec": msgspec.to_builtins(plan, enc_hook=str),
        "assignment": {"agents": list(AGENTS), "regions": list(AGENTS.values()), "weights": [1, 1]},
        "agents": [{"id": name, "region": region, "cpus": 2} for name, region in AGENTS.items()],
        "machine": {"arch": "x86_64"},
    }


def past_run(runs_dir: Path, run_id: str = "20261124-170312-shop-a1b2", **how: Any) -> Path:
    """Make the folder of a run that nobody ran, as `written_run` does, whose arguments it takes.

    A run that this process wrote before is copied. Many tests take the same few. On a busy machine, writing
    one took 88 ms and a copy 1.2 ms.
    """
    wanted = f"{run_id} {sorted(how.items())!r}"
    if " at 0x" in wanted:  # an argument without a text of its own, such as a function
        return written_run(runs_dir, run_id, **how)
    kept = _kept_runs()
    if wanted not in kept.known:
        kept.known[wanted] = written_run(kept.folder / str(len(kept.known)), run_id, **how)
    runs_dir.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copytree(kept.known[wanted], runs_dir / run_id))


@dataclass
class _KeptRuns:
    folder: Path
    known: dict[str, Path] = field(default_factory=dict)


@cache
def _kept_runs() -> _KeptRuns:
    folder = Path(tempfile.mkdtemp(prefix="loadgen-past-runs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return _KeptRuns(folder)


def written_run(
    runs_dir: Path,
    run_id: str = "20261124-170312-shop-a1b2",
    *,
    level_ms: float = 100.0,
    sigma: float = 0.3,
    seconds: int = 40,
    per_s: int = 40,
    seed: int = 1,
    failing: float | Callable[[int], float] = 0.0,
    first: tuple[int, float] = (0, 1.0),
    of_agent: Mapping[str, float] | None = None,
    started: float = 1.0,
    is_sealed: bool = True,
    spec: Mapping[str, Any] | None = None,
    facts: Mapping[str, Any] | None = None,
    **manifest: object,
) -> Path:
    """The folder of a run of two agents in two regions: checkout, its step "pay", in it POST /cart.

    Args:
        level_ms, sigma: requests are lognormal around it; a journey takes 5 ms longer.
        per_s: iterations/s, of both together.
        failing: share of iterations whose request is answered with 503, in 2 ms; of all, or by second.
        first: (n, factor): in the first n seconds all is slower by it.
        of_agent: factor by agent.
        started: share of the planned iterations.
        is_sealed: False leaves it as a run that was ended by force.
        spec, facts, manifest: other values of PlanSpec, RunFacts and the manifest.
    """
    random = np.random.default_rng(seed)
    plan = msgspec.structs.replace(spec_of(seconds, per_s), **(spec or {}))
    share, factors = per_s * started / len(AGENTS), of_agent or {}
    warm_s = plan.warmup_ns // NS_PER_S
    deltas = [
        (region, delta)
        for name, region in AGENTS.items()
        for delta in _deltas(
            name, random, level_ms * factors.get(name, 1.0), sigma, seconds, share, failing, first, warm_s
        )
    ]
    deltas.sort(key=lambda one: one[1].start_ns)
    folder = RunDir.create(runs_dir, run_id)
    folder.write_manifest({**manifest_of(run_id, "shop.py", plan), **manifest})
    for _, delta in deltas:
        folder.append(codec.encode(delta))
    if is_sealed:
        batches, cut = recounted(
            lambda: iter(deltas),
            end_ns=seconds * NS_PER_S,
            warmup_ns=plan.warmup_ns,
            is_found=plan.warmup_is_found,
        )
        told = RunFacts(
            run_id=run_id,
            scenario="shop.py",
            plan="plan",
            placement="embedded",
            started_at=_at(run_id),
            duration_s=seconds + 0.1,
            result="passed",
            exit_code=0,
            has_warmup=warm_s > 0,
            warmup_s=warm_s if cut is None else cut.cut_ns / NS_PER_S,
            warmup_found="" if cut is None else cut.why,
            agents=tuple(AgentFacts(name, region, complete=True) for name, region in AGENTS.items()),
        )
        folder.event("facts", facts={"load_ns": seconds * NS_PER_S})
        folder.seal(build(replace(told, **(facts or {})), batches, (), batches))
    folder.sync()
    folder.close()
    return folder.path


def _at(run_id: str) -> datetime:
    return datetime.strptime(run_id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)


def _deltas(
    name: str,
    random: np.random.Generator,
    level_ms: float,
    sigma: float,
    seconds: int,
    per_s: float,
    failing: float | Callable[[int], float],
    first: tuple[int, float],
    warm_s: int,
) -> list[Delta]:
    agent, made = FakeAgent(name), []
    for k in range(seconds):
        n = round(per_s)
        took = random.lognormal(np.log(level_ms * (first[1] if k < first[0] else 1.0)), sigma, n) * NS_PER_MS
        is_bad = random.random(n) < (failing(k) if callable(failing) else failing)
        ok, bad = [round(ns) for ns in took[~is_bad]], [2 * NS_PER_MS] * int(is_bad.sum())
        values = {POST: ok, STEP: ok, journey_key(): [ns + 5 * NS_PER_MS for ns in ok]}
        wrong = {replace(key, outcome="http 503"): bad for key in values}
        found = {replace(key, warmup=k < warm_s): ns for key, ns in (values | wrong).items()}
        made.append(agent.delta(found))
    return made
