"""Alert windows of sloth (`sloth.slok.dev/v1`, AlertWindows): burn rules for one period.

A rule fires while the burn of both windows reaches its factor: share of the budget · period / long window.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

from loadgen.errors import Fault
from loadgen.programme.promises.objectives import Alert
from loadgen.programme.promises.slo_set import Findings
from loadgen.programme.slo_files.fields import Fields, quoted
from loadgen.programme.slo_files.yaml_nodes import Parsed, YamlMap, YamlText, parse_documents, read_documents

__all__ = ["GOOGLE_30D", "AlertWindows", "BurnRule", "is_alert_windows", "parse_alert_windows", "read_alert_windows"]

_VERSION: Final = "sloth.slok.dev/v1"


@dataclass(frozen=True, slots=True)
class BurnRule:
    """One rule. name: such as "page-quick". share: of the error budget, 0 to 1. Windows in seconds."""

    name: str
    severity: str
    share: Decimal
    short_s: int
    long_s: int


@dataclass(frozen=True, slots=True)
class AlertWindows:
    """The rules for objectives with a window of `period_s` seconds."""

    period_s: int
    rules: tuple[BurnRule, ...]

    def factor(self, rule: BurnRule) -> Decimal:
        """Return the burn at which a rule fires: share · period / long window, exact to 28 digits."""
        return rule.share * self.period_s / rule.long_s

    def alerts(self, *severities: str) -> tuple[Alert, ...]:
        """Return the rules of these severities as alerts, sorted by name. Without severities, return all."""
        return tuple(
            Alert(one.name, self.factor(one).normalize(), one.long_s, one.short_s, severity=one.severity)
            for one in sorted(self.rules, key=lambda rule: rule.name)
            if not severities or one.severity in severities
        )


GOOGLE_30D: Final = AlertWindows(
    30 * 86_400,
    (
        BurnRule("page-quick", "page", Decimal("0.02"), 300, 3_600),
        BurnRule("page-slow", "page", Decimal("0.05"), 1_800, 21_600),
        BurnRule("ticket-quick", "ticket", Decimal("0.10"), 7_200, 86_400),
        BurnRule("ticket-slow", "ticket", Decimal("0.10"), 21_600, 259_200),
    ),
)
"""The default of sloth for 30 days; from Google's SRE workbook, "Alerting on SLOs"."""


def read_alert_windows(path: Path) -> tuple[AlertWindows | None, tuple[Fault, ...]]:
    """Read a file of alert windows. Return them (None with faults), and all faults and notes."""
    return _read(read_documents(path))


def parse_alert_windows(text: str, name: str) -> tuple[AlertWindows | None, tuple[Fault, ...]]:
    """Read a text of alert windows; as `read_alert_windows`. name: of the file, for faults."""
    return _read(parse_documents(text, name))


def is_alert_windows(parsed: Parsed) -> bool:
    """Return whether the first document of a file is of this kind."""
    first = parsed.documents[0] if parsed.documents else None
    kind = first.values.get("kind") if isinstance(first, YamlMap) else None
    return isinstance(kind, YamlText) and kind.text == "AlertWindows"


def _read(parsed: Parsed) -> tuple[AlertWindows | None, tuple[Fault, ...]]:
    findings = Findings(parsed.file, faults=list(parsed.faults))
    windows = None
    if len(parsed.documents) > 1:
        findings.fault(parsed.documents[1].line, "more than one document", "keep one AlertWindows in a file")
    elif parsed.documents and (fields := Fields.of(findings, parsed.documents[0], "")) is not None:
        windows = _windows(fields)
    return (windows if not findings.faults else None), tuple(sorted({*findings.faults, *findings.notes}))


def _windows(fields: Fields) -> AlertWindows | None:
    version, kind = fields.text("apiVersion"), fields.text("kind")
    if version != _VERSION or kind != "AlertWindows":
        found = f"apiVersion {quoted(version)} and kind {quoted(kind)}"
        fields.findings.fault(fields.line, f"{found} are not alert windows of sloth", f"write {_VERSION}, AlertWindows")
        return None
    spec = fields.sub("spec", hint="write the spec")
    fields.end()
    if spec is None:
        return None
    period = spec.seconds("sloPeriod", hint="write sloPeriod: 30d")
    rules = [
        rule
        for severity in ("page", "ticket")
        if (part := spec.sub(severity, hint=f"write {severity}: quick and slow")) is not None
        for speed in ("quick", "slow")
        if (rule := _rule(part, severity, speed)) is not None
    ]
    spec.end()
    return AlertWindows(period, tuple(rules)) if period is not None and len(rules) == 4 else None


def _rule(part: Fields, severity: str, speed: str) -> BurnRule | None:
    fields = part.sub(speed, hint="write errorBudgetPercent, shortWindow and longWindow")
    if fields is None:
        return None
    percent = fields.number("errorBudgetPercent", hint="write the share of the budget in percent, such as 2")
    short = fields.seconds("shortWindow", hint="write shortWindow: 5m")
    long = fields.seconds("longWindow", hint="write longWindow: 1h")
    fields.end()
    if percent is not None and not 0 < percent <= 100:
        fields.fault("errorBudgetPercent", f"{fields.name_of('errorBudgetPercent')} must be above 0, at most 100", "2")
        return None
    if short is not None and long is not None and short >= long:
        fields.fault("shortWindow", f"{fields.name_of('shortWindow')} must be below longWindow", "use 1/12 of it")
        return None
    if percent is None or short is None or long is None:
        return None
    return BurnRule(f"{severity}-{speed}", severity, percent / 100, short, long)
