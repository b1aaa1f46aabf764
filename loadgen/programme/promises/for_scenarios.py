"""Promises of a file for `openslo(...)` in a scenario: what a load test can test of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from loadgen.dsl.plans.objectives.promise_file import PackedPromise, PackedPromises
from loadgen.errors import Fault, ScenarioError
from loadgen.programme.promises.objectives import Method, Objective
from loadgen.programme.slo_files.read_any import read_objectives

__all__ = ["packed_promises"]


def packed_promises(path: Path) -> PackedPromises:
    """Return the promises of a file as agents get them.

    Raises:
        ScenarioError: the file cannot be read, or has faults.
        UsageError: PyYAML is not installed.
    """
    slos = read_objectives([path]).check()
    try:
        revision = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    except OSError as exc:
        raise ScenarioError([Fault(str(path), 0, f"cannot be read: {exc}", "name another file")]) from None
    return PackedPromises(loadgen_promises=1, revision=revision, promises=tuple(map(_packed, slos.objectives)))


def _packed(one: Objective) -> PackedPromise:
    seconds = one.threshold.seconds if one.threshold is not None else None
    return PackedPromise(
        name=one.name,
        target=f"{one.target.normalize():f}",
        journey=one.journey,
        limit_ms=f"{(seconds * 1000).normalize():f}" if seconds is not None else "",
        why_not=_why_not(one),
    )


def _why_not(one: Objective) -> str:
    if one.why_not_judged:
        return one.why_not_judged
    if one.method is not Method.OCCURRENCES:
        return f"it counts slices ({one.method}), and a test counts requests"
    if one.threshold is not None and one.threshold.seconds is None:
        return f"its threshold {one.threshold.text} is not a time"
    return ""
