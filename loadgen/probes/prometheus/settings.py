"""The settings of the kind "prometheus": the HTTP API of a Prometheus server, or of a server with the same API.

[probes.machines]
kind = "prometheus"
url = "http://prometheus.staging.example:9090"
preset = "node"                                   # or "cadvisor"
match = 'instance=~"shop-.*"'                     # conditions for the selectors of the preset
selectors = ['http_requests_total{job="shop"}']   # raw samples
expressions = { hits = 'sum(rate(cache_hits_total[1m]))' }
step = "15s"                                      # of expressions
every = "10s"
tenant = "shop"                                   # the header X-Scope-OrgID
auth_secret = "prometheus-login"                  # the name of a secret, never its value
auth_header = "Authorization"
ca = "ca.pem"                                     # a certificate to trust instead of the system's
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from loadgen.probes.checks import Wrong, auth_wrongs, list_of_texts, text_wrongs, url_wrongs
from loadgen.probes.prometheus.presets import PROMETHEUS_PRESETS
from loadgen.probes.prometheus.selectors import BadSelector, parse_matchers, parse_selector
from loadgen.units import NS_PER_S, parse_duration

__all__ = ["PrometheusTable", "prometheus_wrongs"]

_MOST: Final = 30
_EXPRESSION_MOST: Final = 2_000
_TENANT: Final = re.compile(r"[A-Za-z0-9_.!*'()|-]{1,150}")
_TITLE: Final = re.compile(r"[^\x00-\x1f\x7f]{1,80}")
_STEP_NS: Final = (NS_PER_S, 3_600 * NS_PER_S)
_KNOWN: Final = " or ".join(f'preset = "{one}"' for one in PROMETHEUS_PRESETS)


class PrometheusTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The keys of the kind, besides those of all kinds."""

    url: str = ""
    preset: str = ""
    match: str = ""
    selectors: tuple[str, ...] = ()
    expressions: dict[str, str] = {}
    step: str | float = "15s"
    tenant: str = ""
    auth_secret: str = ""
    auth_header: str = ""
    ca: str = ""


def prometheus_wrongs(values: Mapping[str, Any]) -> Iterator[Wrong]:
    """Check the settings of a Prometheus server."""
    yield from url_wrongs(values.get("url"), "http://prometheus.example:9090", "the URL of the Prometheus server")
    preset = values.get("preset")
    if preset is not None and (not isinstance(preset, str) or preset not in PROMETHEUS_PRESETS):
        yield "preset", f"preset: unknown preset {str(preset)[:40]!r}", f"write {_KNOWN}, or leave preset out"
    yield from _match_wrongs(values.get("match"), preset)
    yield from _selector_wrongs(values.get("selectors"))
    yield from _expression_wrongs(values.get("expressions"))
    if not values.get("preset") and not values.get("selectors") and not values.get("expressions"):
        hint = f"write {_KNOWN}, or selectors = ['http_requests_total{{job=\"shop\"}}']"
        yield "selectors", "the probe has no preset, no selectors and no expressions", hint
    step = values.get("step", "15s")
    try:
        if isinstance(step, bool) or not isinstance(step, str | int | float):
            raise ValueError(f"{step!r} is not a duration")
        if not _STEP_NS[0] <= parse_duration(step) <= _STEP_NS[1]:
            raise ValueError(f"{step} is out of range: must be from 1 s to 1 h")
    except (ValueError, OverflowError) as error:
        yield "step", f"step: {error}", 'write step = "15s", and no less than the scrape interval'
    yield from text_wrongs("tenant", values.get("tenant"), _TENANT, "the name of a tenant", 'write tenant = "shop"')
    if (ca := values.get("ca")) is not None and (not isinstance(ca, str) or not ca.isprintable() or not ca):
        yield "ca", "ca: not the path of a file", 'write ca = "ca.pem"'
    yield from auth_wrongs(values)


def _match_wrongs(match: object, preset: object) -> Iterator[Wrong]:
    if match is None:
        return
    hint = """write match = 'instance=~"shop-.*"'"""
    if not isinstance(match, str):
        yield "match", "match: not a text", hint
        return
    try:
        if not parse_matchers(match):
            raise BadSelector("is empty")
    except BadSelector as error:
        yield "match", f"match: {match[:80]!r} is not a list of conditions: it {error}", hint
    if not preset:
        yield "match", "match belongs to a preset, and the probe has none", "write the conditions into the selectors"


def _selector_wrongs(selectors: object) -> Iterator[Wrong]:
    given = list_of_texts(selectors)
    hint = "write selectors = ['http_requests_total{job=\"shop\"}']"
    if given is None:
        yield "selectors", "selectors: not a list of texts", hint
        return
    for one in given:
        try:
            parse_selector(one)
        except BadSelector as error:
            more = f"{hint}; functions, ranges and sums belong in expressions"
            yield "selectors", f"selectors: {one[:80]!r} is not a selector: it {error}", more
    if len(given) > _MOST:
        yield "selectors", f"selectors: {len(given)} selectors, the limit is {_MOST}", "remove some of them"


def _expression_wrongs(expressions: object) -> Iterator[Wrong]:
    if expressions is None:
        return
    hint = "write expressions = { hits = 'sum(rate(cache_hits_total[1m]))' }"
    if not isinstance(expressions, Mapping):
        yield "expressions", "expressions: not a table of names and expressions", hint
        return
    for title, text in expressions.items():
        if not isinstance(title, str) or not _TITLE.fullmatch(title):
            yield "expressions", f"expressions: {str(title)[:40]!r} is not a valid name", hint
        if not isinstance(text, str) or not text.strip() or len(text) > _EXPRESSION_MOST:
            yield "expressions", f"expressions: {str(title)[:40]} is not an expression of PromQL", hint
    if len(expressions) > _MOST:
        yield "expressions", f"expressions: {len(expressions)} of them, the limit is {_MOST}", "remove some of them"
