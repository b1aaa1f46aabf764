"""Compares a repeated run with the run before: which broken objectives hold now, and the changes between them.

This comparison is the top of the ladder (`loadgen.ladder`): one thing was changed, and the slowness is gone or is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from loadgen.ladder import Rung, sentence
from loadgen.outside_text import one_line
from loadgen.report.report_parts import milliseconds
from loadgen.report.run_as_dataframes import Run
from loadgen.report.short_texts import cut_in_middle
from loadgen.report.summary_reader import Slo
from loadgen.report.why_slow.choice import name_of
from loadgen.units import format_count, quantity

__all__ = ["changes", "goes_away_lines"]

_PARTS: Final = {"target": "the target", "plan": "the plan", "scenario": "the file"}
_OVERRIDES: Final = {"rate": "--rate", "users": "--users", "duration": "--duration", "load": "--load"}
_MOST: Final = 60
_MISSING: Final = "not set"
_PASSED, _FAILED, _INVALID = "passed", "failed", "invalid"


def goes_away_lines(after: Run, before: Run) -> Iterator[str]:
    """Yield a line for each objective on response times that failed in the run before and passes now, or fails again.

    Nothing is yielded for a run without a summary, or one in which the load generator could not measure.
    """
    ours, theirs = after.summary, before.summary
    if ours is None or theirs is None or _INVALID in (ours.validity.verdict, theirs.validity.verdict):
        return
    changed = changes(before.manifest, after.manifest)
    now = {_key(one): one for one in ours.slos}
    for one in theirs.slos:
        other = now.get(_key(one))
        if one.verdict != _FAILED or one.limit_ms is None or other is None:
            continue
        name = name_of(one.journey or "", one.step or "", one.request or "")
        figures = f"{_figure(one)} in {before.id}, {_figure(other)} in this run"
        subject = f"the breach of {one_line(one.objective)} ({one_line(name)})"
        if other.verdict == _PASSED:
            yield f"{sentence(Rung.GOES_AWAY, subject, _when(changed))}: {figures}"
        elif other.verdict == _FAILED:
            yield f"{subject} is still there when {_when(changed)}: {figures}"


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what differs in two manifests: "payout is 0 instead of 8". The seed is not compared."""
    old, new = before.get("spec", {}), after.get("spec", {})
    found = list(_differences(old.get("params", {}), new.get("params", {})))
    found += list(_differences(old.get("labels", {}), new.get("labels", {})))
    names = {"target": "target", "plan": "name", "scenario": "scenario"}
    found += _differences(
        {text: old.get(names[key]) for key, text in _PARTS.items()},
        {text: new.get(names[key]) for key, text in _PARTS.items()},
    )
    overrides, newer = before.get("overrides", {}), after.get("overrides", {})
    found += _differences(
        {text: overrides[key] for key, text in _OVERRIDES.items() if overrides.get(key) is not None},
        {text: newer[key] for key, text in _OVERRIDES.items() if newer.get(key) is not None},
    )
    if before.get("bundle", {}).get("sha256") != after.get("bundle", {}).get("sha256"):
        found.append("the scenario has other files")
    return found


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield f"{one_line(str(name))} is {_value(new.get(name))} instead of {_value(old.get(name))}"


def _value(value: Any) -> str:
    return _MISSING if value is None else cut_in_middle(one_line(str(value)), _MOST)


def _when(changed: list[str]) -> str:
    if not changed:
        return "something outside of the plan is changed (the plans are the same)"
    text = " and ".join(changed)
    if len(changed) == 1:
        return text
    return f"{text} ({quantity(len(changed), 'change')}, so it is not known which of them matters)"


def _figure(one: Slo) -> str:
    return f"{milliseconds(one.observed)} ms of {format_count(one.count)}"


def _key(one: Slo) -> tuple[str, str | None, str | None, str | None, str | None]:
    return one.objective, one.journey, one.step, one.request, one.region
