"""Reads objectives of sloth, `prometheus/v1`.

sloth has no window in a file (its command line has, 30 days unless another one is given), and only errors and all
requests of Prometheus. Raw ratios and plugins are read as opaque text: they are kept, and never judged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from loadgen.programme.promises.checks import check_alerts
from loadgen.programme.promises.objectives import (
    Alert,
    Indicator,
    Objective,
    Query,
    RatioIndicator,
    RawRatioIndicator,
    RollingWindow,
)
from loadgen.programme.promises.slo_set import Findings, Place, Reading, SloSet
from loadgen.programme.slo_files.fields import NAME, Fields, json_of, quoted
from loadgen.programme.slo_files.yaml_nodes import Node, Parsed, YamlMap, YamlText, parse_documents, read_documents
from loadgen.programme.sloth.alert_windows import GOOGLE_30D, AlertWindows

__all__ = ["PLUGIN", "VERSION", "is_sloth", "read_parsed_sloth", "read_sloth", "read_sloth_text"]

VERSION: Final = "prometheus/v1"
PLUGIN: Final = "sloth-plugin"
"""Type of the query of an indicator that is a plugin of sloth."""
_KINDS: Final = ("events", "raw", "plugin")


def is_sloth(parsed: Parsed) -> bool:
    """Return whether the first document of a file is one of sloth."""
    first = parsed.documents[0] if parsed.documents else None
    version = first.values.get("version") if isinstance(first, YamlMap) else None
    return isinstance(version, YamlText) and version.text.startswith("prometheus/")


def read_sloth(paths: Iterable[Path], windows: AlertWindows = GOOGLE_30D) -> Reading:
    """Read files of sloth. windows: the period of the objectives, and the burn rules of their alerts."""
    return _read([read_documents(path) for path in paths], windows)


def read_sloth_text(text: str, name: str, windows: AlertWindows = GOOGLE_30D) -> Reading:
    """Read a text of sloth; as `read_sloth`. name: of the file, for faults."""
    return _read([parse_documents(text, name)], windows)


def read_parsed_sloth(parsed: Parsed, windows: AlertWindows = GOOGLE_30D) -> Reading:
    """Read a parsed file of sloth."""
    return _read([parsed], windows)


def _read(files: Iterable[Parsed], windows: AlertWindows) -> Reading:
    reader = _Reader(windows)
    found = []
    for parsed in files:
        findings = Findings(parsed.file, faults=list(parsed.faults))
        found.append(findings)
        for node in parsed.documents:
            fields = Fields.of(findings, node, "")
            if fields is not None:
                reader.read_document(fields)
    faults = tuple(sorted({one for findings in found for one in findings.faults}))
    notes = tuple(sorted({one for findings in found for one in findings.notes}))
    return Reading(SloSet.of(reader.objectives), faults, notes, reader.places)


@dataclass(slots=True)
class _Reader:
    windows: AlertWindows
    objectives: list[Objective] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)

    def read_document(self, fields: Fields) -> None:
        version = fields.text("version", hint=f"write version: {VERSION}")
        if version and version != VERSION:
            fields.fault("version", f"version {quoted(version)} is not read", f"write version: {VERSION}")
        if version != VERSION:
            return
        service = _name(fields, "service")
        shared = {key: value for key, value, _ in fields.pairs("labels")}
        if fields.has("slo_plugins"):
            fields.lost("slo_plugins")
        items = fields.items("slos")
        if not items:
            fields.fault("slos", "slos is missing or empty", "write at least one SLO")
        fields.end()
        for number, node in enumerate(items, 1):
            self._slo(fields.findings, node, f"slos[{number}]", service, shared)

    def _slo(self, findings: Findings, node: Node, path: str, service: str, shared: dict[str, str]) -> None:
        fields = Fields.of(findings, node, path)
        if fields is None:
            return
        name = _name(fields, "name")
        description = fields.description()
        percent = fields.number("objective", hint="write the target in percent, such as 99.9")
        if percent is not None and not 0 < percent < 100:
            fields.fault("objective", f"{fields.name_of('objective')} must be above 0 and below 100", "write 99.9")
            percent = None
        labels = shared | {key: value for key, value, _ in fields.pairs("labels")}
        fields.lost("plugins")
        indicator = _indicator(fields)
        alert_set, alerts = self._alerts(fields)
        fields.end()
        if not name or not service or percent is None or indicator is None:
            return
        one = Objective(
            name=f"{service}-{name}",
            service=service,
            target=(percent / 100).normalize(),
            window=RollingWindow(self.windows.period_s),
            indicator=indicator,
            owner=labels.get("owner", ""),
            description=description,
            labels=tuple(sorted(labels.items())),
            alert_set=alert_set,
            alerts=alerts,
        )
        if NAME.fullmatch(one.name) is None:
            fields.fault("name", f"the name {quoted(one.name)} is longer than 63 characters", "shorten it")
            return
        if one.name in self.places:
            fields.fault("name", f"a second SLO is named {quoted(name)}", "give each its own name")
            return
        place = Place(findings.file, fields.line, {key: fields.line_of("objective") for key in ("target", "alerts")})
        check_alerts(one, findings, place, [(alert, findings.file, fields.line_of("objective")) for alert in alerts])
        if one.why_not_judged:
            reason, _, advice = one.why_not_judged.partition(": ")
            findings.note(fields.line_of("sli"), f"{quoted(one.name)} is not judged: {reason}", advice)
        self.objectives.append(one)
        self.places[one.name] = place

    def _alerts(self, fields: Fields) -> tuple[str, tuple[Alert, ...]]:
        """Take `alerting`. Return the name of the alert set, and further alerts."""
        alerting = fields.sub("alerting")
        if alerting is None:
            return ("standard", ()) if self.windows == GOOGLE_30D else ("", self.windows.alerts())
        alerting.lost("name", "labels", "annotations")
        severities = []
        for severity in ("page", "ticket"):
            part = alerting.sub(f"{severity}_alert")
            if part is None or not part.boolean("disable"):
                severities.append(severity)
            if part is not None:
                part.lost("labels", "annotations")
                part.end()
        alerting.end()
        if len(severities) == 2 and self.windows == GOOGLE_30D:
            return "standard", ()
        return "", self.windows.alerts(*severities) if severities else ()


def _indicator(fields: Fields) -> Indicator | None:
    sli = fields.sub("sli", hint="write sli: {events: {error_query: ..., total_query: ...}}")
    if sli is None:
        return None
    found = [kind for kind in _KINDS if sli.has(kind)]
    if len(found) != 1:
        sli.findings.fault(sli.line, f"{sli.path} must have one of {', '.join(_KINDS)}", "keep one of them")
        return None
    part = sli.sub(found[0], hint="write its fields")
    sli.end()
    if part is None:
        return None
    indicator: Indicator | None = None
    if found == ["events"]:
        errors = part.text("error_query", hint="write the query of errors")
        total = part.text("total_query", hint="write the query of all requests")
        if errors and total:
            indicator = RatioIndicator(total=_query(total), bad=_query(errors))
    elif found == ["raw"]:
        if text := part.text("error_ratio_query", hint="write the query of the error ratio"):
            indicator = RawRatioIndicator(_query(text), is_success=False)
    elif name := part.text("id", hint="write the id of the plugin"):
        options = json.loads(json_of(part.node("options")))
        spec = json.dumps({"id": name, "options": options}, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        indicator = RawRatioIndicator(Query("", PLUGIN, spec), is_success=False)
    part.end()
    return indicator


def _query(text: str) -> Query:
    return Query("", "Prometheus", json.dumps({"query": text}, ensure_ascii=False, separators=(",", ":")))


def _name(fields: Fields, key: str) -> str:
    """Take a name of sloth, which may have capitals, `_` and `.`; those become lower case and hyphens, with a note."""
    text = fields.text(key, hint="give it a name, such as requests-availability")
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if text and not name:
        fields.fault(key, f"{fields.name_of(key)} {quoted(text)} has no letter or digit", "give it another name")
    elif name != text:
        fields.note(
            key,
            f"{fields.name_of(key)} {quoted(text)} is not a name of RFC 1123, and is read as {quoted(name)}",
            "use a name of RFC 1123",
        )
    return name
