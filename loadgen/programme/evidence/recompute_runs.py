"""Computes evidence from runs and from A/A controls again: means of stored figures, and counts of stored outcomes.

Names of inputs that it needs, as the weekly page writes them:

    kind "runs":      journey, percentile, change (a share), "runs before", "runs now"; the runs in this order
    kind "controls":  controls, failed, newest (the time of the newest control that counted)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import exp, isfinite

from loadgen.history.gate.aa_test_health import CONTROL
from loadgen.history.store.stored_run import Accepted, Event
from loadgen.programme.evidence.entry import EvidenceEntry
from loadgen.units import quantity

__all__ = ["change_again", "controls_again", "has_change", "has_controls"]

_CLOSE = 2e-6
"""The page has six digits of a change."""
_MOST_CONTROLS = 100


def has_change(entry: EvidenceEntry) -> bool:
    """Return whether the entry is a change between two groups of runs that can be computed again."""
    names = dict(entry.inputs)
    if entry.kind != "runs" or not {"journey", "percentile", "change", "runs before", "runs now"} <= set(names):
        return False
    counts = (names["runs before"], names["runs now"])
    return all(one.isdecimal() and len(one) < 6 for one in counts) and sum(map(int, counts)) == len(entry.run_ids)


def change_again(entry: EvidenceEntry, runs: Mapping[str, Accepted]) -> tuple[bool | None, str]:
    """Return (whether the change comes out again, a sentence without a full stop); None: it cannot be computed.

    runs: the runs of the history by id.
    """
    inputs = dict(entry.inputs)
    journey, percentile, before = inputs["journey"], inputs["percentile"], int(inputs["runs before"])
    if absent := [run_id for run_id in entry.run_ids if run_id not in runs]:
        return None, f"{quantity(len(absent), 'run')} of {len(entry.run_ids)} cannot be read from the history"
    logs = [runs[run_id].log_values(percentile).get(journey) for run_id in entry.run_ids]
    values = [one for one in logs if one is not None]
    if len(values) < len(logs) or not 0 < before < len(logs):
        return None, f"a run has no {percentile} of {journey}"
    change = exp(_mean(values[before:]) - _mean(values[:before])) - 1
    means = f"the geometric means of the stored runs give {change:+.6g}"
    try:
        shown = float(inputs["change"])
    except ValueError:
        return None, "the change of the page is not a number"
    if isfinite(shown) and abs(change - shown) <= _CLOSE * max(1.0, abs(change)):
        return True, means
    return False, f"{means}, and the page has {shown:+.6g}"


def has_controls(entry: EvidenceEntry) -> bool:
    """Return whether the entry counts A/A controls."""
    return entry.kind == "controls" and {"controls", "failed", "newest"} <= set(dict(entry.inputs))


def controls_again(entry: EvidenceEntry, events: Sequence[Event]) -> tuple[bool | None, str]:
    """Return (whether the counts come out again, a sentence without a full stop).

    events: the A/A controls of the history. The page may have counted those of one key, so the counts of each key are
    tried as well.
    """
    inputs = dict(entry.inputs)
    known = [one for one in events if one.kind == CONTROL and one.at <= inputs["newest"]]
    groups = [known, *([one for one in known if one.details.get("key") == key] for key in _keys(known))]
    found = [_counts(group) for group in groups]
    wanted = (inputs["controls"], inputs["failed"])
    if wanted in found:
        return True, f"the history has the same {wanted[1]} of {wanted[0]} controls that failed"
    controls, failed = found[0]
    return (
        False,
        f"the history has {failed} of {controls} controls that failed, and the page has {' of '.join(wanted[::-1])}",
    )


def _keys(events: Sequence[Event]) -> list[str]:
    return list(dict.fromkeys(one.details.get("key", "") for one in events))


def _counts(events: Sequence[Event]) -> tuple[str, str]:
    newest = sorted(events, key=lambda one: one.at)[-_MOST_CONTROLS:]
    outcomes = Counter(one.details.get("outcome", "") for one in newest)
    counted = sum(outcomes[name] for name in ("PASS", "FAIL", "INCONCLUSIVE"))
    return str(counted), str(outcomes["FAIL"])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
