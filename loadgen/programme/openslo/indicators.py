"""Indicators of OpenSLO: SLI documents, and those written in place."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final, Literal, cast

from loadgen.programme.openslo.documents import Document, Documents, as_document
from loadgen.programme.promises.objectives import (
    Indicator,
    Query,
    RatioIndicator,
    RawRatioIndicator,
    ThresholdIndicator,
)
from loadgen.programme.slo_files.fields import Fields, json_of

__all__ = ["OPERATORS", "Operator", "as_operator", "note_secrets", "read_indicator", "read_metric", "read_sli"]

Operator = Literal["lt", "lte", "gt", "gte"]
OPERATORS: Final = ("lt", "lte", "gt", "gte")
_MOST_LEVELS: Final = 16
"""Levels of a query's fields: deep enough for all sources, and an export has room for it within the limit of files."""
_SECRET: Final = re.compile(r"secret|password|passwd|token|api.?key|access.?key", re.IGNORECASE)


def note_secrets(fields: Fields, key: str, text: str) -> None:
    """Note that a field seems to contain secrets: its JSON has a key such as "password". No value is shown."""
    names = re.findall(r'"([^"]{1,60})":', text)
    if found := [name for name in names if _SECRET.search(name)]:
        fields.note(
            key, f"{fields.name_of(key)} has {found[0]}, which looks like a secret", "name a variable or a file instead"
        )


def read_metric(documents: Documents, fields: Fields, key: str) -> Query | None:
    """Take a metric such as `good`, with its `metricSource`; None with a fault if it is missing or invalid."""
    metric = fields.sub(key, hint="write metricSource: {type: ..., spec: ...}")
    if metric is None:
        return None
    source = metric.sub("metricSource", hint="write metricSource: {type: ..., spec: ...}")
    metric.end()
    if source is None:
        return None
    name, kind = "", source.text("type")
    if source.has("metricSourceRef"):
        found = documents.resolve(source, "metricSourceRef", "DataSource")
        name = found.name if found is not None else ""
        if found is not None and found.spec is not None and not kind:
            kind = found.spec.text("type")
    elif not kind:
        source.missing("type", "write the type of the source, such as Prometheus, or a metricSourceRef")
    if kind == "Any":
        source.note(
            "type",
            f"{source.name_of('type')} is Any: no source can be asked",
            "name a type: `loadgen slo pull` refuses Any",
        )
    spec = json_of(source.node("spec"))
    if not spec.startswith("{"):
        source.fault("spec", f"{source.name_of('spec')} must be a mapping", "write fields: name: value")
        spec = "{}"
    elif _depth(spec) > _MOST_LEVELS:
        source.fault("spec", f"{source.name_of('spec')} has more than {_MOST_LEVELS} levels", "use fewer levels")
        spec = "{}"
    note_secrets(source, "spec", spec)
    source.end(("metricSourceRef",))
    return Query(name, kind, spec)


def read_indicator(
    documents: Documents, holder: Fields, op: Operator | None, value: Decimal | None
) -> Indicator | None:
    """Read the indicator of an SLO or of one of its objectives: `indicator` in place, or `indicatorRef`.

    op, value: of the objective, for a thresholdMetric. None with a fault if it is missing or invalid.
    """
    if holder.has("indicator") and holder.has("indicatorRef"):
        holder.fault("indicatorRef", f"both {holder.path}.indicator and indicatorRef", "keep one of them")
        return None
    document: Document | None
    if holder.has("indicatorRef"):
        document = documents.resolve(holder, "indicatorRef", "SLI")
    else:
        fields = holder.sub("indicator", hint="write indicator: {spec: ...}, or indicatorRef: NAME")
        if fields is not None:
            fields.lost("apiVersion", "kind")
        document = as_document(fields, "SLI", is_inline=True) if fields is not None else None
    return read_sli(documents, document, op, value) if document is not None else None


def read_sli(documents: Documents, document: Document, op: Operator | None, value: Decimal | None) -> Indicator | None:
    """Return the indicator of an SLI, in place or a document of its own; None with a fault if it is invalid."""
    if document.metadata is not None:
        document.metadata.lost("labels", "annotations")
    names = (document.name, document.display_name)
    document.end()
    return _of_spec(documents, document.spec, names, op, value) if document.spec is not None else None


def _of_spec(
    documents: Documents, spec: Fields, names: tuple[str, str], op: Operator | None, value: Decimal | None
) -> Indicator | None:
    spec.lost("description")
    has = [key for key in ("ratioMetric", "thresholdMetric") if spec.has(key)]
    if len(has) != 1:
        message = "both ratioMetric and thresholdMetric" if has else "neither ratioMetric nor thresholdMetric"
        spec.findings.fault(spec.line, f"{spec.path} has {message}", "write one of them")
        return None
    if has == ["thresholdMetric"]:
        query = read_metric(documents, spec, "thresholdMetric")
        spec.end()
        if query is None or op is None or value is None:
            return None
        return ThresholdIndicator(query, op, value, *names)
    ratio = spec.sub("ratioMetric")
    spec.end()
    return _ratio(documents, ratio, names) if ratio is not None else None


def _ratio(documents: Documents, ratio: Fields, names: tuple[str, str]) -> Indicator | None:
    keys = ("good", "bad", "total", "raw")
    parts = {key for key in keys if ratio.has(key)}
    queries = {key: read_metric(documents, ratio, key) for key in keys if key in parts}
    counter, raw_type = ratio.boolean("counter"), ratio.text("rawType")
    ratio.end(keys)
    if "raw" in parts:
        if parts != {"raw"}:
            ratio.fault("raw", f"{ratio.path} has raw together with counts", "write raw, or good and total")
            return None
        if raw_type not in ("success", "failure"):
            ratio.fault("rawType", f"{ratio.name_of('rawType')} is missing or unknown", "write success or failure")
            return None
        query = queries["raw"]
        return RawRatioIndicator(query, raw_type == "success", *names) if query is not None else None
    if raw_type:
        ratio.note("rawType", f"{ratio.name_of('rawType')} without raw has no effect", "leave it out")
    if parts not in ({"good", "total"}, {"bad", "total"}):
        ratio.findings.fault(
            ratio.line, f"{ratio.path} must have total, and good or bad", "write good and total, or bad and total"
        )
        return None
    total = queries["total"]
    if total is None or None in queries.values():
        return None
    return RatioIndicator(total, queries.get("good"), queries.get("bad"), bool(counter), *names)


def _depth(spec_json: str) -> int:
    """Return the most brackets that are open at once, outside of texts."""
    depth = most = 0
    in_text = False
    previous = ""
    for char in spec_json:
        if char == '"' and previous != "\\":
            in_text = not in_text
        elif not in_text:
            depth += (char in "{[") - (char in "}]")
            most = max(most, depth)
        previous = "" if previous == "\\" else char
    return most


def as_operator(text: str) -> Operator | None:
    """Return a word of the file as an operator; None for another word."""
    return cast(Operator, text) if text in OPERATORS else None
