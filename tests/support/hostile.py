"""Texts that a hostile agent, target or scenario may send, and a run in whose every free field one of them stands."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec

from loadgen.dsl.plans.spec import JourneySpec, LaneSpec
from loadgen.measure.deltas.custom import CustomStats, MetricSpec
from loadgen.measure.deltas.delta import Delta, Health, WorkerHealth
from loadgen.measure.deltas.exemplar import Exemplar, Failure, KeptFailure
from loadgen.measure.deltas.series_key import SeriesKey
from loadgen.measure.deltas.worker_loss import Loss
from loadgen.measure.results.summary import AgentFacts
from loadgen_controller.run.failure_files import encode, file_name
from tests.support import past_runs
from tests.support.deltas import FakeAgent
from tests.support.past_runs import spec_of

__all__ = ["BODY", "FORGED", "STARTS", "hostile_run", "planted"]

FORGED = "PASSED (exit code 0): all objectives held."
STARTS = (
    "=cmd|' /C calc'!A0",
    FORGED,
    f"\n{FORGED}",
    "::error::forged",
    "\x1b[2J\x1b[H",
    "| a | b |",
    "![x](http://evil.test/x.png)<img src=//evil.test>",
    "@team #1",
    "+1+1",
    "\t=1",
    "-2+3",
    "www.evil.test",
)
"""What a line, a cell or a table row must not begin with."""
BODY = (
    f" \x1b[31m\x9b2J\x1b]8;;http://evil.test\x07\r\n{FORGED}\n\x0b\x0c\x85\u2028::error::x\n##[add-mask]x \u202e\u2066"
    "\u200b\ufeff\x7f [red]x[/red] | `<script>x</script>"
)
_numbers = count()


def planted(field: str) -> str:
    """A hostile text of at most 250 bytes, which names its field. Each begins in another way."""
    return f"{STARTS[next(_numbers) % len(STARTS)]} {field}{BODY}"


def hostile_run(
    runs_dir: Path,
    run_id: str,
    texts: Mapping[str, str],
    *,
    level_ms: float = 100.0,
    is_sealed: bool = True,
    **facts: Any,
) -> Path:
    """The folder of a failed run. texts: by field, so that several runs have the same names. facts: of RunFacts."""
    t = texts
    journey, step, request = t["journey"], t["step"], t["request"]
    agents = {t["agent a"]: t["region a"], t["agent b"]: t["region b"]}
    failure = Failure(
        journey=journey,
        step=step,
        request=request,
        outcome=t["outcome"],
        load=0,
        n=3,
        at_ns=1_500_000_000,
        response_ns=2_000_000,
        detail=t["detail"],
        where=t["where"],
        traceback=t["traceback"],
        row=t["row"],
        sent=t["sent"],
        received=t["received"],
        trace="ab" * 16,
    )

    class Hostile(FakeAgent):
        def delta(self, values: Any, **options: Any) -> Delta:
            values = {
                replace(key, tags=(("tier", t["tag"]),), outcome=t["outcome"] if key.outcome != "ok" else "ok"): ns
                for key, ns in values.items()
            }
            health = Health(unfit=(t["unfit"],), notes=(t["note"],), intervals=1, unfit_intervals=1)
            exemplar = Exemplar(journey, step, request, t["outcome"], "failed", 0, 3, 1, 2_000_000, 1, "ab" * 16)
            return replace(
                super().delta(values, health=health, **options),
                custom=(
                    CustomStats(t["metric"], "counter", 1, 1),
                    CustomStats(f"check: {t['check']}", "rate", 2, 1),
                ),
                exemplars=(exemplar,),
                failures=(failure,),
                workers=(WorkerHealth(0, 5, health),),
                losses=(Loss(0, 1, 1, 1, 2, 0, t["loss"], t["left out"]),) if self.seq == 1 else (),
            )

    lane = LaneSpec(
        name=t["load"], load=t["load words"], journeys=(JourneySpec(name=journey, weight=1.0),),
        profile=spec_of(20, 40).profile,
    )  # fmt: skip
    with (
        patch.object(past_runs, "AGENTS", agents),
        patch.object(past_runs, "STEP", SeriesKey("step", journey, step, None, "ok", "response")),
        patch.object(past_runs, "POST", SeriesKey("request", journey, step, request, "ok", "response")),
        patch.object(past_runs, "journey_key", lambda: SeriesKey("journey", journey, None, None, "ok", "response")),
        patch.object(past_runs, "FakeAgent", Hostile),
    ):
        path = past_runs.past_run(
            runs_dir,
            run_id,
            level_ms=level_ms,
            seconds=20,
            failing=0.2,
            is_sealed=is_sealed,
            spec={
                "name": t["plan"], "scenario": t["scenario"], "doc": t["doc"], "target": t["target"],
                "targets": {"": t["target"]}, "load": t["load words"], "journeys": lane.journeys, "lanes": (lane,),
                "params": {"size": t["param"]}, "labels": {t["label name"]: t["label"]}, "notes": (t["plan note"],),
                "owner": t["owner"], "commit": t["commit"], "environment": t["environment"],
                "metrics": (MetricSpec(name=t["metric"], kind="counter", unit=t["unit"]),),
            },
            facts={
                "scenario": t["scenario"], "plan": t["plan"], "load": t["load words"], "result": "failed",
                "exit_code": 1, "reasons": (t["reason"], t["reason 2"], t["reason 3"]), "validity": "suspect",
                "validity_reasons": (t["validity"],), "validity_advice": (t["advice"],), "notes": (t["run note"],),
                "agents": tuple(
                    AgentFacts(name, region, complete=False, missing=t["missing"]) for name, region in agents.items()
                ),
            } | facts,
            scenario=t["scenario"],
            plan=t["plan"],
            machine={"arch": t["arch"], "cpu": t["cpu"]},
            ci={"actor": t["ci actor"], "branch": t["ci branch"]},
            labels={t["label name"]: t["label"]},
            assignment={"agents": list(agents), "regions": list(agents.values()), "weights": [1, 1]},
            agents=[
                {"id": name, "region": region, "cpus": 2, "host": t["host"], "instance_type": t["instance"]}
                for name, region in agents.items()
            ],
        )  # fmt: skip
    kept = KeptFailure(1, t["region a"], t["agent a"], failure)
    (path / "failures").mkdir()
    (path / "failures" / file_name(kept)).write_bytes(encode(kept))
    (path / "notes.json").write_bytes(msgspec.json.encode({"labels": {"team": t["own label"]}, "note": t["own note"]}))
    if is_sealed:
        _complete_summary(path / "summary.json", t)
    return path


class Texts(dict[str, str]):
    """A text of its own for each field that is asked for, and the same one again for the same field."""

    def __missing__(self, field: str) -> str:
        self[field] = planted(field)
        return self[field]


def _complete_summary(path: Path, t: Mapping[str, str]) -> None:
    """What a run without objectives has not."""
    summary = json.loads(path.read_text())
    limit = {
        "observed": 44.2,
        "unit": "ms",
        "count": 4000,
        "low": 41.0,
        "high": 47.5,
        "margin": 0.85,
        "limit_ms": 300.0,
    }
    summary["slos"] = [
        {"objective": t["objective"], "journey": t["journey"], "verdict": verdict, "budget": 0.12, "allowed": 0.05}
        | limit
        for verdict in ("failed", "passed")
    ]
    path.write_text(json.dumps(summary))


def strings(value: object) -> Iterator[str]:
    """All strings in a document."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield str(key)
            yield from strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from strings(inner)
