"""The folder of a run in which the target was scaled: slow after each event, with answers that name their instance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from loadgen.measure.merging.merge import Merge
from loadgen.measure.results.summary import AgentFacts, RunFacts, build
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.units import NS_PER_MS, NS_PER_S
from loadgen.wire import codec
from tests.support.deltas import FakeAgent
from tests.support.past_runs import POST, manifest_of, spec_of

RUN_ID = "20261124-170312-shop-a1b2"


def scaled_run(
    runs_dir: Path,
    events: Sequence[int] = (40, 160),
    *,
    seconds: int = 280,
    per_s: int = 250,
    starts_s: int = 10,
    slow_s: int = 25,
    factor: float = 2.0,
    share: float = 0.5,
    level_ms: float = 50.0,
    marks: Sequence[dict[str, Any]] | None = None,
    tag: str = "",
    seed: int = 1,
) -> Path:
    """Make a run whose new instance answers first `starts_s` after an event, slowly for `slow_s`.

    factor, share: how much slower it is then, and its share of the requests. tag: names the instance of each answer.
    marks: of metrics.json; None: a Kubernetes mark for each event.
    """
    random, agent = np.random.default_rng(seed), FakeAgent("a1")
    folder = RunDir.create(runs_dir, RUN_ID)
    folder.write_manifest(manifest_of(RUN_ID, "shop.py", spec_of(seconds, per_s)))
    for second in range(seconds):
        took = random.lognormal(np.log(level_ms), 0.3, per_s) * NS_PER_MS
        alive = [at for at in events if second >= at + starts_s]
        is_cold = bool(alive) and second < alive[-1] + starts_s + slow_s
        new = random.random(per_s) < (share if alive else 0.0)
        if is_cold:
            took[new] *= factor
        old_key = replace(POST, tags=((tag, "old"),)) if tag else POST
        new_key = replace(POST, tags=((tag, f"new-{len(alive)}"),)) if tag else POST
        values: dict[Any, list[int]] = {old_key: [round(ns) for ns in took[~new]]}
        values[new_key] = values.get(new_key, []) + [round(ns) for ns in took[new]]
        folder.append(codec.encode(agent.delta(values)))
    facts = RunFacts(
        run_id=RUN_ID,
        scenario="shop.py",
        plan="plan",
        placement="embedded",
        started_at=datetime(2026, 11, 24, 17, 3, 12, tzinfo=UTC),
        duration_s=seconds + 0.1,
        result="passed",
        exit_code=0,
        has_warmup=False,
        warmup_s=0.0,
        warmup_found="",
        agents=(AgentFacts("a1", "eu", complete=True), AgentFacts("a2", "us", complete=True)),
    )
    folder.event("facts", facts={"load_ns": seconds * NS_PER_S})
    folder.seal(build(facts, Merge(NS_PER_S)))
    folder.sync()
    folder.close()
    if marks is None:
        marks = [mark(at) for at in events]
    (folder.path / "metrics.json").write_text(json.dumps({"format": 1, "metrics": [], "marks": list(marks)}))
    return folder.path


def mark(at_s: float, text: str = "", **others: Any) -> dict[str, Any]:
    """A mark of a Kubernetes probe: an autoscaler added pods."""
    text = text or "Deployment shop: ScalingReplicaSet: Scaled up replica set shop-1 to 4 from 3"
    return {"at_s": at_s, "error_s": 0.5, "probe": "cluster", "name": "cluster", "title": text, **others}
