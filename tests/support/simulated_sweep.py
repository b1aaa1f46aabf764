"""Sweeps of a target that exists as a law only: plan, order and journal are real, and each run's values are drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import exp
from typing import Any

import numpy as np

from loadgen.analysis.factors.design import Design, full
from loadgen.analysis.factors.factor import Factor
from loadgen.analysis.factors.order import run_order
from loadgen.sweep.journal import RunRecord
from loadgen.sweep.plan import SweepPlan

Levels = Mapping[str, str]
SETTLE, PAYOUT = Factor("settle", ("0", "8")), Factor("payout", ("0", "8"))
THREE_MORE = tuple(Factor(name, ("off", "on")) for name in ("cache", "gzip", "log"))


@dataclass(frozen=True, slots=True)
class Law:
    """How the target behaves.

    p99_ms, error_ratio: of a cell, without noise.
    sd: of the logarithm of p99 between runs of the same cell.
    block_sd: of the logarithm between blocks.
    drift: the logarithm by which the target is slower at the end of the sweep than at its begin.
    """

    p99_ms: Callable[[Levels], float]
    error_ratio: Callable[[Levels], float] = lambda levels: 0.0
    sd: float = 0.06
    block_sd: float = 0.03
    drift: float = 0.05


def two_pools(levels: Levels) -> float:
    """p99 in ms of a shop in which two pools take one lock only when both run: 200, and 412 more with both."""
    return 612.0 if levels["settle"] != "0" and levels["payout"] != "0" else 200.0


def no_lock(levels: Levels) -> float:
    """The same shop without the lock: the pools are harmless together, too."""
    return 200.0


def plan_of(
    design: Design | Sequence[Factor] = (SETTLE, PAYOUT),
    *,
    repeats: int = 3,
    seed: int = 1,
    control_every: int | None = None,
    responses: Sequence[str] = ("p99", "error_ratio"),
    **more: Any,
) -> SweepPlan:
    """The plan of a sweep, as `loadgen sweep` would make it."""
    design = design if isinstance(design, Design) else full(design)
    return SweepPlan(
        sweep_id="20261129-143000-shop-a1b2",
        file="/home/me/shop.py",
        plan="peak",
        target="http://shop.example",
        bundle_sha256="0" * 64,
        files={"shop.py": "0" * 64},
        design=design,
        order=run_order(design, repeats, seed, control_every=control_every),
        repeats=repeats,
        seed=seed,
        responses=tuple(responses),
        **more,
    )


def records_of(plan: SweepPlan, law: Law, seed: int = 1) -> list[RunRecord]:
    """The journal of a sweep in which every run was valid. Response times of runs with > 1 % errors are missing."""
    random = np.random.default_rng(seed)
    blocks = {block: random.normal(0, law.block_sd) for block in plan.blocks}
    made = []
    for one in plan.order:
        levels = plan.levels(one.cell)
        away = blocks[one.block] + law.drift * one.number / len(plan.order) + random.normal(0, law.sd)
        ratio = law.error_ratio(levels)
        ratio = min(max(ratio * exp(random.normal(0, 0.1)), 0.0), 1.0)
        p99 = law.p99_ms(levels) * exp(away)
        values: dict[str, float | None] = {}
        for text in (*plan.responses, "error_ratio"):
            statistic = text.partition(":")[0]
            time = p99 * {"p99": 1.0, "p95": 0.7, "p50": 0.3, "mean": 0.35}.get(statistic, 1.0)
            known = {"error_ratio": ratio, "throughput": 200.0 * (1 - ratio) * exp(random.normal(0, 0.005))}
            values[text] = known.get(statistic, time if ratio <= 0.01 else None)
        made.append(
            RunRecord(
                number=one.number,
                cell=one.cell,
                repeat=one.repeat,
                block=one.block,
                run_id=f"20261129-{143000 + one.number}-shop-{one.number:04x}",
                folder=f"runs/20261129-{143000 + one.number}-shop-{one.number:04x}",
                started_at=f"2026-11-29T{14 + one.number // 60:02d}:{one.number % 60:02d}:00Z",
                result="passed",
                validity="valid",
                is_control=one.is_control,
                values=values,
                why="" if ratio <= 0.01 else "errors: response times are not compared",
            )
        )
    return made


def spoiled(record: RunRecord, why: str = "the generator was not fit to measure") -> RunRecord:
    """The same run, if it could not be compared."""
    values = dict.fromkeys(record.values)
    return replace(record, is_fit=False, result="invalid", validity="invalid", values=values, why=why)
