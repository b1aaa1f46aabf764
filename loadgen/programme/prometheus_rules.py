"""Objectives as rules for Prometheus: recording rules of counts and burns, and multi-window burn alerts.

    rules_of(objectives)        # a file that `promtool check rules` accepts

Each objective is one group. Its recording rules count bad and all requests over
each window of its alerts, and divide. An alert fires while the burn of its long
window and of its short window reach the factor, and at least 5 requests of the
long window were bad (10 for tickets). Without the last condition a single bad
request pages where traffic is low.

A promise of slices (Timeslices, RatioTimeslices) has a group that is evaluated
once for each slice. So its first rules count the requests of one slice, and the
others count slices. A slice without traffic makes no sample, and does not count.
The slices follow one another without a gap, but they do not begin at whole
minutes: Prometheus chooses the offset of a group.

Prometheus extrapolates `increase` to the edges of a window, so counts are not
whole numbers. Their ratio is hardly affected. The text is the same, byte by
byte, for the same objectives.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final

from loadgen.analysis.burn.rules import LEAST_BAD_PAGE, LEAST_BAD_TICKET, rules_of_window
from loadgen.probes.prometheus.selectors import SELECTOR, STRING
from loadgen.programme.load_tests.exported import with_condition
from loadgen.programme.load_tests.loss import condition_loss
from loadgen.programme.promises.objectives import Alert, Method, Objective, Query, RatioIndicator
from loadgen.programme.promises.slo_set import Loss, SloSet
from loadgen.programme.slo_files.yaml_writer import Value, as_yaml

__all__ = ["as_prometheus", "prometheus_losses", "rules_of"]

_TEMPLATE: Final = re.compile(r"\{\{\s*\.window\s*\}\}")
_PLAIN: Final = re.compile(rf"\s*(?:sum\s*\(\s*)?({SELECTOR})(?:\s*\))?\s*")
_WITH_RANGE: Final = re.compile(
    rf"\s*sum\s*\(\s*(?:rate|increase)\s*\(\s*({SELECTOR})\s*\[(?:\d+(?:ms|[smhdwy]))+\]\s*\)\s*\)\s*"
)
_STRING: Final = re.compile(STRING)
_RATE: Final = re.compile(r"\brate(?=\s*\()")
_COUNTS: Final = re.compile(r"\b(?:rate|increase|sum_over_time|count_over_time)\s*\(")
_OTHER_FUNCTIONS: Final = re.compile(
    r"\b(?:irate|delta|idelta|deriv|(?:avg|min|max|last|quantile|stddev|stdvar|present)_over_time)\s*\("
)
_WHY_EMPTY: Final = "recording rules of its counts and burn rates are written, and no alert rules"
_SHORTEST: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def as_prometheus(slos: SloSet) -> str:
    """Return the rules of a set of objectives as YAML; "" if none can be written."""
    return rules_of(slos.objectives)


def rules_of(objectives: Iterable[Objective]) -> str:
    """Return a file of rules as YAML, sorted by the objectives' names; "" if none can be written.

    `prometheus_losses` has a line for each objective that is left out.
    """
    known = map(with_condition, sorted(objectives, key=lambda one: one.name))
    groups = [_group(one) for one in known if not _why_left_out(one)]
    return as_yaml([{"groups": groups}]) if groups else ""


def prometheus_losses(slos: SloSet) -> list[Loss]:
    """Return what rules for Prometheus cannot say, in the order of the objectives."""
    losses: list[Loss] = []
    for one in map(with_condition, slos.objectives):
        if left_out := _why_left_out(one):
            losses.append(Loss(one.name, *left_out, "the objective is left out"))
            continue
        losses += condition_loss(one, "the rules")
        if not _alerts(one):
            losses.append(Loss(one.name, "the alerts", "the objective has none", _WHY_EMPTY))
        for alert in _alerts(one):
            if reason := _why_silent(one, alert):
                losses.append(
                    Loss(one.name, f"the alert at a burn of {_short(alert.factor)}", reason, "this alert is left out")
                )
    for composite in slos.composites:
        losses.append(
            Loss(
                composite.name,
                "the composite",
                "Prometheus rules judge single objectives",
                "each part has rules of its own",
            )
        )
    return losses


@dataclass(frozen=True, slots=True)
class _Alert:
    factor: Decimal | Fraction
    long_s: int
    short_s: int
    severity: str
    after_s: int
    name: str

    @property
    def least_bad(self) -> int:
        """Return the number of bad events without which it does not fire."""
        return LEAST_BAD_TICKET if self.severity.lower() == "ticket" else LEAST_BAD_PAGE


def _alerts(one: Objective) -> tuple[_Alert, ...]:
    standard = rules_of_window(one.window.nominal_s) if one.alert_set == "standard" else ()
    return (
        *(_Alert(rule.factor, rule.long_s, rule.short_s, rule.severity, 0, "") for rule in standard),
        *(_of_file(alert) for alert in one.alerts),
    )


def _why_silent(one: Objective, alert: _Alert) -> str:
    """Return why an alert can never fire; "" if it can."""
    if alert.factor > one.largest_burn:
        return f"at this target, a burn above {_short(one.largest_burn)} is impossible"
    if min(_windows(alert)) < one.slice_s:
        return f"a slice of {_duration(one.slice_s)} is longer than its window of {_duration(min(_windows(alert)))}"
    return ""


def _of_file(alert: Alert) -> _Alert:
    return _Alert(alert.factor, alert.long_s, alert.short_s, alert.severity, alert.after_s, alert.name)


def _why_left_out(one: Objective) -> tuple[str, str] | None:
    """Return the field that rules cannot express, with the reason; None: the objective can be written."""
    if not isinstance(one.indicator, RatioIndicator):
        return "the indicator", "rules need a query of good or bad requests, and one of all requests"
    if one.method is not Method.OCCURRENCES and not one.slice_s:
        return f"the method {one.method.value}", "the length of its slices is missing"
    if wrong := sorted({query.type for query in one.queries if query.type.lower() != "prometheus"}):
        return "the source", f"rules support Prometheus only, and not {', '.join(map(repr, wrong))}"
    for query in one.queries:
        if _increase(query, "5m") is None:
            return (
                "a query",
                f"{query.text!r} must be a counter, sum(rate(counter[5m])), or have {{{{.window}}}} as its range",
            )
    return None


def _increase(query: Query, window: str) -> str | None:
    """Return a query of how many events a window has; None: it cannot be written so.

    A query with `{{.window}}` keeps its form, and `rate` becomes `increase`, which is the same per window.
    """
    text = query.text
    if _TEMPLATE.search(text):
        bare = _STRING.sub('""', text)
        if _OTHER_FUNCTIONS.search(bare) or not _COUNTS.search(bare) or not _is_whole(bare):
            return None
        written = _outside_strings(_TEMPLATE.sub(window, text)).strip()
        # A query that leaves labels, such as one without `sum`, would make several series of one promise.
        return written if _WITH_RANGE.fullmatch(written) else f"sum({written})"
    if found := _WITH_RANGE.fullmatch(text):
        return f"sum(increase({found[1]}[{window}]))"
    if (found := _PLAIN.fullmatch(text)) and _is_whole(_STRING.sub('""', text)):
        return f"sum(increase({found[1]}[{window}]))"
    return None


def _is_whole(bare: str) -> bool:
    """Return whether a query, without its strings, can stand in parentheses: no comment, and all brackets closed."""
    opened: list[str] = []
    for char in bare:
        if char in "([{":
            opened.append(char)
        elif char in ")]}" and (not opened or opened.pop() + char not in ("()", "[]", "{}")):
            return False
    return not opened and "#" not in bare


def _outside_strings(text: str) -> str:
    """Replace `rate` by `increase`, except within quoted label values."""
    parts, last = [], 0
    for quoted in _STRING.finditer(text):
        parts += [_RATE.sub("increase", text[last : quoted.start()]), quoted[0]]
        last = quoted.end()
    return "".join((*parts, _RATE.sub("increase", text[last:])))


def _group(one: Objective) -> dict[str, Value]:
    alerts = [alert for alert in _alerts(one) if not _why_silent(one, alert)]
    windows = sorted({window for alert in alerts for window in (alert.long_s, alert.short_s) if window})
    if not windows:
        windows = [rule.long_s for rule in rules_of_window(one.window.nominal_s)] or [one.window.nominal_s]
    labels = {"loadgen_service": one.service, "loadgen_slo": one.name}
    group: dict[str, Value] = {"name": f"loadgen-slo-{one.name}"}
    if one.slice_s:
        group["interval"] = _duration(one.slice_s)
        rules: list[Value] = [*_slice_recordings(one, labels)]
        rules += [rule for window_s in windows for rule in _sums_of_slices(one, window_s, labels)]
    else:
        rules = [rule for window_s in windows for rule in _recordings(one, window_s, labels)]
    rules += [_alert_rule(one, alert, labels) for alert in alerts]
    return group | {"rules": rules}


def _counts(one: Objective, window: str) -> tuple[str, str]:
    """Return the queries of the bad requests and of all requests of a window."""
    indicator = one.indicator
    assert isinstance(indicator, RatioIndicator)
    total = _increase(indicator.total, window)
    bad_or_good = indicator.bad or indicator.good
    assert bad_or_good is not None
    assert total is not None
    part = _increase(bad_or_good, window)
    # A counter of errors, or of good answers, does not exist before its first event. It is 0 then, and not missing.
    known = f"(({part}) or 0 * ({total}))"
    return known if indicator.bad is not None else f"clamp_min(({total}) - {known}, 0)", total


def _slice_recordings(one: Objective, labels: dict[str, str]) -> Iterator[dict[str, Value]]:
    """Yield the rules of one slice: its requests, its bad requests, and how good it is: 0 to 1, without traffic none.

    The group is evaluated once for each slice, so the samples of the last rule are the slices.
    """
    chosen, slice_ = _chosen(one), _duration(one.slice_s)
    bad, total = _counts(one, slice_)
    yield {"record": f"loadgen:slo_slice_total:increase{slice_}", "expr": total, "labels": labels}
    yield {"record": f"loadgen:slo_slice_bad:increase{slice_}", "expr": bad, "labels": labels}
    of = f"loadgen:slo_slice_total:increase{slice_}{chosen}"
    good = f"clamp_min(1 - loadgen:slo_slice_bad:increase{slice_}{chosen} / {of}, 0)"
    if one.slice_target is not None and one.method is Method.TIMESLICES:
        # 1 - 0.05 is 0.95 and a bit less in binary: a slice of exactly the target is good.
        good = f"({good} >= bool {one.slice_target.normalize():f} - 1e-9)"
    # Without requests the ratio is NaN, and NaN >= bool x is 0: the slice would count as bad.
    yield {"record": f"loadgen:slo_slice_good:{slice_}", "expr": f"{good} and {of} > 0", "labels": labels}


def _sums_of_slices(one: Objective, window_s: int, labels: dict[str, str]) -> Iterator[dict[str, Value]]:
    """Yield the three recording rules of a window of slices."""
    # Prometheus 2 includes both ends of a range, which would be one slice too many. So the range is 1 s shorter.
    slices = f"loadgen:slo_slice_good:{_duration(one.slice_s)}{_chosen(one)}[{window_s - 1}s]"
    window, chosen = _duration(window_s), _chosen(one)
    yield {"record": f"loadgen:slo_slices:{window}", "expr": f"count_over_time({slices})", "labels": labels}
    bad = f"clamp_min(count_over_time({slices}) - sum_over_time({slices}), 0)"
    yield {"record": f"loadgen:slo_bad_slices:{window}", "expr": bad, "labels": labels}
    yield {
        "record": f"loadgen:slo_burn:{window}",
        "expr": f"loadgen:slo_bad_slices:{window}{chosen} / loadgen:slo_slices:{window}{chosen} / {_budget(one)}",
        "labels": labels,
    }


def _recordings(one: Objective, window_s: int, labels: dict[str, str]) -> Iterator[dict[str, Value]]:
    """Yield the three recording rules of a window. The third one uses the two before it."""
    chosen, window = _chosen(one), _duration(window_s)
    bad, total = _counts(one, window)
    parts = (f"loadgen:slo_bad:increase{window}{chosen}", f"loadgen:slo_total:increase{window}{chosen}", _budget(one))
    yield {"record": f"loadgen:slo_total:increase{window}", "expr": total, "labels": labels}
    yield {"record": f"loadgen:slo_bad:increase{window}", "expr": bad, "labels": labels}
    yield {
        "record": f"loadgen:slo_burn:{window}",
        "expr": " / ".join(parts),
        "labels": labels,
    }


def _alert_rule(one: Objective, alert: _Alert, labels: dict[str, str]) -> dict[str, Value]:
    chosen, factor, long = _chosen(one), _short(alert.factor), _duration(alert.long_s)
    conditions = [f"loadgen:slo_burn:{_duration(window)}{chosen} >= {factor}" for window in _windows(alert)]
    bad = f"loadgen:slo_bad_slices:{long}" if one.slice_s else f"loadgen:slo_bad:increase{long}"
    conditions.append(f"{bad}{chosen} >= {alert.least_bad}")
    windows = " and the last ".join(_duration(window) for window in _windows(alert))
    summary = f"{one.name} burns its error budget at {float(alert.factor):.4g} or more, over the last {windows}."
    unit = "slices" if one.slice_s else "requests"
    annotations: dict[str, Value] = {
        "summary": summary,
        "description": f"At 1 the budget lasts its window. At least {alert.least_bad} {unit} of {long} were bad.",
    }
    if one.owner:
        annotations["owner"] = _inert(one.owner)
    rule: dict[str, Value] = {
        "alert": "LoadgenSloBurn",
        "annotations": annotations,
        "expr": "\nand\n".join(conditions),
        "labels": {
            **{name: _inert(text) for name, text in labels.items()},
            "severity": _inert(alert.severity),
            "long_window": long,
            **({"rule": _inert(alert.name)} if alert.name else {}),
        },
    }
    if alert.after_s:
        rule["for"] = _duration(alert.after_s)
    return rule


def _windows(alert: _Alert) -> tuple[int, ...]:
    return (alert.long_s, alert.short_s) if alert.short_s else (alert.long_s,)


def _chosen(one: Objective) -> str:
    # The name of a service may come from a file, and a label value of PromQL has the escapes of JSON.
    return f"{{loadgen_service={json.dumps(one.service)},loadgen_slo={json.dumps(one.name)}}}"


def _budget(one: Objective) -> str:
    return f"{one.budget.normalize():f}"


def _inert(text: str) -> str:
    """Return a text of a file that Prometheus does not execute as a template."""
    return text.replace("{{", '{{"{{"}}')


def _short(number: Decimal | Fraction) -> str:
    """Return a factor with at most 12 digits, rounded down, so that a burn of exactly the factor reaches it."""
    exact = Fraction(number)
    text = f"{exact.numerator * 10**12 // exact.denominator:013d}"
    return f"{text[:-12]}.{text[-12:]}".rstrip("0").rstrip(".")


def _duration(seconds: int) -> str:
    """Return a duration as in PromQL: 5m, 1h, 3d; the largest unit without a remainder."""
    unit, size = next((unit, size) for unit, size in _SHORTEST if seconds % size == 0)
    return f"{seconds // size}{unit}"
