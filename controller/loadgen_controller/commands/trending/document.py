"""Writes a history as JSON, for programs: `loadgen history --json`. Missing and infinite numbers are null."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from math import exp, isfinite

from loadgen.history.gate.aa_test_health import Health
from loadgen.history.store.stored_run import Key
from loadgen.history.trend.trends import Season, Trend

__all__ = ["document_of"]

Json = dict[str, object]


def document_of(key: Key, found: Sequence[Trend], health: Health, struck: Mapping[str, str]) -> Json:
    """Return the history of the runs with this key as a JSON document.

    found: trends by name. struck: why runs were struck, by run id. Programs read this: keys may be added but never
    removed, as long as `format` is 1.
    """
    return {
        "format": 1,
        "key": {"hash": key.hash(), **asdict(key)},
        "gate": {
            "state": str(health.state),
            "controls": health.controls,
            "failed": health.failed,
            "inconclusive": health.inconclusive,
            "invalid": health.invalid,
            "failed_low": health.low,
            "failed_high": health.high,
            "newest": [
                {"at": one.at, "by": one.by, "outcome": one.details.get("outcome", ""), "run_ids": list(one.run_ids)}
                for one in health.newest
            ],
        },
        "names": [_of_trend(one) for one in found],
        "struck": dict(struck),
    }


def _of_trend(one: Trend) -> Json:
    odd = {outlier.at: outlier for outlier in one.outliers}
    return {
        "name": one.name,
        "kind": one.kind,
        "percentile": one.percentile,
        "now_ms": one.now_ms,
        "runs": [
            {
                "run_id": run.run_id,
                "started_at": run.started_at,
                "commit": run.commit,
                "labels": dict(run.labels),
                "ms": exp(value),
                "adjusted_ms": exp(adjusted),
                "is_outlier": n in odd,
            }
            for n, (run, value, adjusted) in enumerate(zip(one.runs, one.values, one.adjusted, strict=True))
        ],
        "levels": [
            {
                "first": one.runs[level.start].run_id,
                "last": one.runs[level.end - 1].run_id,
                "runs": level.count,
                "ms": exp(level.height),
                "deviation": _finite(level.deviation),
            }
            for level in one.levels
        ],
        "changes": [
            {
                "before": change.before.run_id,
                "after": change.after.run_id,
                "commits": change.commits,
                "labels": change.labels,
                "change": change.change,
                "low": _finite(change.low),
                "high": _finite(change.high),
            }
            for change in one.changes
        ],
        "outliers": [
            {"run_id": outlier.run.run_id, "change": outlier.change, "deviations": outlier.deviations}
            for outlier in one.outliers
        ],
        "against": [
            {
                "reference": held.reference,
                "runs": held.runs,
                "change": _finite(held.change),
                "low": _finite(held.low),
                "high": _finite(held.high),
            }
            for held in one.against
        ],
        "season": None if one.season is None else _of_season(one.season),
        "no_season": one.no_season,
        "left_out": [{"run_id": run_id, "why": why} for run_id, why in one.left_out],
    }


def _of_season(season: Season) -> Json:
    return {
        "is_clear": season.is_clear,
        "p": season.p,
        "strength": season.strength,
        "places": dict(season.places),
        "trend_ms": [exp(value) for value in season.trend],
        "rest": list(season.rest),
        "days_without_a_run": season.filled,
    }


def _finite(value: float) -> float | None:
    return value if isfinite(value) else None
