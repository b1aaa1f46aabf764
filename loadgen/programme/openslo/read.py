"""Reads files of OpenSLO v1 into objectives, with all faults and notes of all files at once."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Final

from loadgen.programme.composites.composite import Composite
from loadgen.programme.load_tests.leave_out import ABSENT
from loadgen.programme.openslo.alerts import (
    ReadAlert,
    read_alerts,
    read_condition,
    read_policy,
    read_target,
)
from loadgen.programme.openslo.composites import ReadPart, check_own_method, read_composite, read_weight
from loadgen.programme.openslo.documents import Document, Documents
from loadgen.programme.openslo.indicators import OPERATORS, as_operator, note_secrets, read_indicator, read_sli
from loadgen.programme.openslo.time_windows import read_window
from loadgen.programme.promises.checks import check_alerts, check_slices, check_threshold_in_query
from loadgen.programme.promises.objectives import (
    DataSource,
    Indicator,
    Method,
    Objective,
    Threshold,
    ThresholdIndicator,
    Window,
)
from loadgen.programme.promises.slo_set import Place, Reading, Service, SloSet
from loadgen.programme.slo_files.fields import Fields, json_of, parse_threshold, quoted
from loadgen.programme.slo_files.yaml_nodes import Parsed, YamlMap, parse_documents, read_documents
from loadgen.similar_names import did_you_mean

__all__ = ["ANNOTATIONS", "read_files", "read_parsed", "read_text"]

_DOMAIN: Final = "loadgen.dev/"
ANNOTATIONS: Final = ("owner", "journey", "threshold", "source", "alerts", "load-tests")
"""Our annotations, each after `loadgen.dev/`."""
_ALERT_SETS: Final = ("standard", "none")
_METHODS: Final = tuple(Method)
_MOST_NAME: Final = 63


def read_files(paths: Iterable[Path]) -> Reading:
    """Read files together: a document may refer to one in another file.

    Raises:
        UsageError: PyYAML is not installed.
    """
    return read_parsed([read_documents(path) for path in paths])


def read_text(text: str, name: str) -> Reading:
    """Read one file that was already opened. name: for faults and notes."""
    return read_parsed([parse_documents(text, name)])


def read_parsed(files: Iterable[Parsed]) -> Reading:
    """Read parsed files together."""
    documents = Documents()
    for file in files:
        documents.add_file(file)
    reader = _Reader(documents)
    reader.read_others()
    for document in documents.of_kind("SLO"):
        reader.read_slo(document)
    reader.check_names()
    faults = {one for findings in documents.findings for one in findings.faults}
    notes = {one for findings in documents.findings for one in findings.notes}
    slos = SloSet.of(reader.objectives, reader.sources, reader.services, reader.composites)
    return Reading(slos, tuple(sorted(faults)), tuple(sorted(notes)), reader.places)


@dataclass(slots=True)
class _Reader:
    documents: Documents
    objectives: list[Objective] = field(default_factory=list)
    sources: list[DataSource] = field(default_factory=list)
    services: list[Service] = field(default_factory=list)
    composites: list[Composite] = field(default_factory=list)
    places: dict[str, Place] = field(default_factory=dict)
    names: list[tuple[str, Fields]] = field(default_factory=list)

    def read_others(self) -> None:
        """Read all documents that are not SLOs, so that also unused ones show their faults."""
        for document in self.documents.of_kind("DataSource"):
            self._source(document)
        for document in self.documents.of_kind("Service"):
            self._service(document)
        for document in self.documents.of_kind("SLI"):
            read_sli(self.documents, document, "lt", Decimal(1))
        for document in self.documents.of_kind("AlertPolicy"):
            read_policy(self.documents, document)
        for document in self.documents.of_kind("AlertCondition"):
            read_condition(document)
        for document in self.documents.of_kind("AlertNotificationTarget"):
            read_target(document)

    def _source(self, document: Document) -> None:
        _lose_metadata(document)
        document.end()
        if document.spec is None:
            return
        spec = document.spec
        kind = spec.text("type", hint="write the type, such as Prometheus")
        connection = json_of(spec.node("connectionDetails"))
        if not connection.startswith("{"):
            spec.fault("connectionDetails", f"{spec.name_of('connectionDetails')} must be a mapping", "write fields")
            connection = "{}"
        note_secrets(spec, "connectionDetails", connection)
        if document.name:
            self.sources.append(DataSource(document.name, kind, connection, spec.description()))
        spec.end(("description",))

    def _service(self, document: Document) -> None:
        _lose_metadata(document, "labels", "annotations")
        display_name = document.display_name
        document.end()
        description = document.spec.description() if document.spec is not None else ""
        if document.spec is not None:
            document.spec.end()
        if document.name:
            self.services.append(Service(document.name, display_name, description))

    def read_slo(self, document: Document) -> None:
        """Read an SLO into one objective for each item of its `objectives`."""
        spec, metadata = document.spec, document.metadata
        if spec is None or metadata is None:
            return
        shared = _Shared()
        display_name = document.display_name
        shared.read_metadata(metadata)
        document.end()
        description = spec.description()
        service = spec.name("service")
        if service and ("Service", service) not in self.documents.found:
            spec.note(
                "service",
                f"service {quoted(service)} has no document of its own",
                "add a Service document; it is optional",
            )
        window = read_window(spec)
        method = spec.choice("budgetingMethod", _METHODS)
        alerts = read_alerts(self.documents, spec)
        items = spec.items("objectives")
        if not items and (spec.has("objectives") is False or json_of(spec.map.values["objectives"]) in ("{}", "[]")):
            spec.fault("objectives", f"{spec.name_of('objectives')} is missing or empty", "write one: - target: 0.99")
        several = len(items) > 1
        parts: list[ReadPart] = []
        for number, node in enumerate(items, 1):
            fields = Fields.of(spec.findings, node, f"objectives[{number - 1}]")
            if fields is None:
                continue
            item = _Item(self.documents, spec, fields, method, several)
            read = item.read(window)
            if read is None or window is None or not service or not document.name:
                continue
            own = item.display_name
            one = Objective(
                name=_own_name(document.name, own, number) if several else document.name,
                service=service,
                target=read.target,
                window=window,
                indicator=read.indicator,
                method=read.method,
                slice_s=read.slice_s,
                slice_target=read.slice_target,
                threshold=shared.threshold,
                owner=shared.ours["owner"],
                journey=shared.ours["journey"],
                display_name=display_name,
                part_name=own,
                description=description,
                labels=shared.labels,
                annotations=shared.annotations,
                source=shared.ours["source"],
                alert_set="standard" if shared.ours["alerts"] == "standard" else "",
                alerts=tuple(alert.alert for alert in alerts),
                load_tests=shared.ours["load-tests"],
            )
            self._add(one, item, shared, alerts)
            parts.append(ReadPart(one, fields, item.weight))
        composite = read_composite(document.name, parts) if len(parts) == len(items) else None
        if composite is not None:
            self.composites.append(composite)
        if not spec.has("indicator") and not spec.has("indicatorRef") and not all(map(_has_own, items)):
            spec.missing("indicator", "write indicator: {spec: ...}, or indicatorRef: NAME")
        spec.taken.update(("indicator", "indicatorRef"))
        spec.end()

    def _add(self, one: Objective, item: _Item, shared: _Shared, alerts: list[ReadAlert]) -> None:
        fields = item.fields
        lines = shared.lines | {key: fields.line_of(key) for key in ("target", "targetPercent") if fields.has(key)}
        lines["target"] = fields.line_of("target" if fields.has("target") else "targetPercent")
        findings = fields.findings
        place = Place(findings.file, fields.line, lines)
        if one.why_not_judged:
            key = "value" if isinstance(one.indicator, ThresholdIndicator) else "target"
            reason, _, advice = one.why_not_judged.partition(": ")
            findings.note(fields.line_of(key), f"{quoted(one.name)} is not judged: {reason}", advice)
        elif isinstance(one.indicator, ThresholdIndicator) and one.threshold is None:
            fields.note("value", f"{fields.name_of('value')} has no unit", "add the annotation loadgen.dev/threshold")
        check_alerts(one, findings, place, [(read.alert, read.file, read.line) for read in alerts])
        check_slices(one, findings, place)
        check_threshold_in_query(one, findings, place)
        self.objectives.append(one)
        self.places.setdefault(one.name, place)
        self.names.append((one.name, fields))

    def check_names(self) -> None:
        """Add a fault for each objective whose made name is that of another one."""
        seen: set[str] = set()
        for name, fields in self.names:
            if name in seen:
                fields.findings.fault(
                    fields.line,
                    f"a second objective is named {quoted(name)}",
                    "change a displayName, or the SLO's name",
                )
            seen.add(name)


@dataclass(slots=True)
class _Shared:
    """The metadata of an SLO, which all of its objectives share."""

    ours: dict[str, str] = field(default_factory=lambda: dict.fromkeys(ANNOTATIONS, ""))
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    threshold: Threshold | None = None
    lines: dict[str, int] = field(default_factory=dict)

    def read_metadata(self, metadata: Fields) -> None:
        """Take labels and annotations."""
        self.labels = tuple(sorted((key, value) for key, value, _ in metadata.pairs("labels")))
        others, ours = [], self.ours
        for key, value, line in metadata.pairs("annotations"):
            name = key.removeprefix(_DOMAIN)
            if not key.startswith(_DOMAIN):
                others.append((key, value))
            elif name in ours:
                ours[name] = value
                self.lines[name] = line
                if not value.strip():
                    metadata.findings.fault(line, f"annotation {quoted(key)} is empty", "give it a value")
            else:
                near = did_you_mean(name, ANNOTATIONS)
                metadata.findings.note(line, f"annotation {quoted(key)} is unknown, and not kept", near)
        self.annotations = tuple(sorted(others))
        if text := ours["threshold"].strip():
            try:
                self.threshold = parse_threshold(text)
            except ValueError as wrong:
                message, _, advice = str(wrong).partition("; ")
                metadata.findings.fault(self.lines["threshold"], message, advice)
        if ours["load-tests"].strip() == ABSENT:
            message = f"annotation {_DOMAIN}load-tests has no reason"
            metadata.findings.fault(self.lines["load-tests"], message, f"write {ABSENT} they run in staging")
        if ours["alerts"] and ours["alerts"] not in _ALERT_SETS:
            metadata.findings.fault(
                self.lines["alerts"],
                f"annotation {_DOMAIN}alerts {quoted(ours['alerts'])} is unknown",
                "write standard, or leave it out",
            )


@dataclass(frozen=True, slots=True)
class _Read:
    """The own fields of one item of `objectives`."""

    target: Decimal
    indicator: Indicator
    method: Method
    slice_s: int
    slice_target: Decimal | None


@dataclass(slots=True)
class _Item:
    """One item of `objectives`."""

    documents: Documents
    spec: Fields
    fields: Fields
    method: str
    several: bool
    display_name: str = ""
    weight: Decimal | None = None

    def read(self, window: Window | None) -> _Read | None:
        """Return the objective with its own fields; None with a fault if one is invalid."""
        fields = self.fields
        self.display_name = fields.text("displayName")
        op_text = fields.choice("op", OPERATORS, required=False)
        value = fields.number("value")
        target = self._target()
        slice_target, slice_s = self._slices(window)
        self.weight = read_weight(fields, several=self.several)
        check_own_method(fields, self.method)
        holder = fields if _has_own(fields.map) else self.spec
        has_indicator = holder.has("indicator") or holder.has("indicatorRef")
        op = as_operator(op_text)
        shown = read_indicator(self.documents, holder, op or "lt", value or Decimal(0)) if has_indicator else None
        fields.taken.update(("indicator", "indicatorRef"))
        fields.end(("target", "targetPercent", "timeSliceTarget", "timeSliceWindow", "op", "value"))
        if isinstance(shown, ThresholdIndicator):
            if not op_text and not fields.has("op"):
                fields.missing("op", "write op: lt, if values below the limit are good")
            if value is None and not fields.has("value"):
                fields.missing("value", "write the limit, such as value: 0.3")
            if self.several and holder is self.spec:
                fields.findings.fault(
                    fields.line, "several objectives for one thresholdMetric", "write one SLO for each of them"
                )
            if op is None or value is None:
                return None
            shown = replace(shown, value=value.normalize())
        elif shown is not None:
            for key in ("op", "value"):
                if fields.has(key):
                    fields.note(key, f"{fields.name_of(key)} has no effect on a ratioMetric", "leave it out")
        if shown is None or target is None or slice_s is None or not self.method:
            return None
        return _Read(target, shown, Method(self.method), slice_s, slice_target)

    def _target(self) -> Decimal | None:
        fields = self.fields
        if fields.has("target") and fields.has("targetPercent"):
            fields.fault("targetPercent", "both target and targetPercent", "keep one of them")
            return None
        key = "targetPercent" if fields.has("targetPercent") else "target"
        most = 100 if key == "targetPercent" else 1
        value = fields.number(key, hint="write a share, such as target: 0.995" if key == "target" else "write 99.5")
        if value is None:
            return None
        if not 0 < value < most:
            hint = "write a share, such as 0.995" if most == 1 else "write a percentage, such as 99.5"
            if most == 1 and 1 < value < 100:
                hint = f"write target: {(value / 100).normalize():f}, or targetPercent: {value.normalize():f}"
            fields.fault(key, f"{fields.name_of(key)} {value:f} must be above 0 and below {most}", hint)
            return None
        return (value / most).normalize()

    def _slices(self, window: Window | None) -> tuple[Decimal | None, int | None]:
        """Return target and length of the slices; the length is None with a fault if one is invalid."""
        fields, method = self.fields, self.method
        target = fields.number("timeSliceTarget")
        length = fields.seconds("timeSliceWindow", is_in_minutes=True)
        is_whole = True
        if method and method != Method.TIMESLICES and fields.has("timeSliceTarget"):
            fields.fault(
                "timeSliceTarget", f"timeSliceTarget with budgetingMethod {method}", "leave it out, or use Timeslices"
            )
            is_whole = False
        elif method == Method.TIMESLICES and target is None:
            if not fields.has("timeSliceTarget"):
                fields.missing("timeSliceTarget", "write the good share that makes a slice good, such as 0.99")
            is_whole = False
        elif target is not None and not 0 < target <= 1:
            fields.fault("timeSliceTarget", f"timeSliceTarget {target:f} must be above 0 and at most 1", "write 0.99")
            is_whole = False
        if method == Method.OCCURRENCES:
            if fields.has("timeSliceWindow"):
                fields.note("timeSliceWindow", "timeSliceWindow has no effect with Occurrences", "leave it out")
            return None, 0 if is_whole else None
        if method and length is None:
            if not fields.has("timeSliceWindow"):
                fields.missing("timeSliceWindow", "write the length of a slice, such as 5m")
            is_whole = False
        if length is not None and window is not None and length > window.nominal_s:
            fields.fault("timeSliceWindow", "a slice is longer than the window", "write a shorter timeSliceWindow")
            is_whole = False
        return (target.normalize() if target is not None else None), length if is_whole else None


def _has_own(node: object) -> bool:
    """Return whether an objective has an indicator of its own."""
    return isinstance(node, YamlMap) and ("indicator" in node.values or "indicatorRef" in node.values)


def _own_name(slo: str, display_name: str, number: int) -> str:
    """Return the name of one of several objectives of an SLO: "checkout-sla", or "checkout-2" without a usable name."""
    slug = re.sub(r"[^a-z0-9]+", "-", display_name.lower()).strip("-")
    name = f"{slo}-{slug}" if slug else f"{slo}-{number}"
    return name if len(name) <= _MOST_NAME else f"{slo[: _MOST_NAME - 4].rstrip('-')}-{number}"


def _lose_metadata(document: Document, *keys: str) -> None:
    if document.metadata is not None:
        document.metadata.lost(*(keys or ("displayName", "labels", "annotations")))
