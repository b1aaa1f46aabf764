"""Generated objectives of production, with every field that files can say."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from hypothesis import strategies as st

from loadgen.programme.composites.composite import Composite, Part
from loadgen.programme.load_tests.leave_out import ABSENT
from loadgen.programme.promises.objectives import (
    CALENDAR_UNITS,
    Alert,
    CalendarWindow,
    DataSource,
    Method,
    NotificationTarget,
    Objective,
    Query,
    RatioIndicator,
    RawRatioIndicator,
    RollingWindow,
    Threshold,
    ThresholdIndicator,
)
from loadgen.programme.promises.slo_set import Service, SloSet

__all__ = ["composite_sets", "slo_sets"]

NAMES = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
CHARS = st.characters(codec="utf-8", exclude_characters="\0")
TEXTS = st.text(CHARS, max_size=30) | st.sampled_from(
    [
        "",
        "null",
        "~",
        "no",
        "Yes",
        "12:30:00",
        "2026-01-01",
        "1e3",
        "0x1",
        "a: b",
        "#x",
        "- x",
        " x ",
        "1_000",
        "=",
        "<<",
    ]
)
FILLED = TEXTS.filter(lambda text: bool(text.strip()))
PAIRS = st.dictionaries(TEXTS, TEXTS, max_size=3).map(lambda pairs: tuple(sorted(pairs.items())))
SHARES = st.integers(1, 999_999).map(lambda n: Decimal(n) / 1_000_000)
ROLLING = st.integers(2, 1_000_000).map(lambda n: RollingWindow(n * 60))
CALENDARS = st.builds(
    CalendarWindow,
    st.integers(1, 10),
    st.sampled_from(CALENDAR_UNITS),
    st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)).map(lambda time: time.replace(microsecond=0)),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**14), 10**14) | TEXTS | st.sampled_from([0.5, 0.00001, -2.25]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
SPECS = st.dictionaries(TEXTS, VALUES, max_size=3).map(
    lambda spec: json.dumps(spec, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
)
SOURCES = st.builds(DataSource, NAMES, FILLED, SPECS, TEXTS)
TARGETS = st.builds(NotificationTarget, NAMES, FILLED, TEXTS)


@st.composite
def _queries(draw: st.DrawFn, sources: list[DataSource]) -> Query:
    source = draw(st.sampled_from(["", *(one.name for one in sources)]))
    return Query(source, draw(FILLED), draw(SPECS))


@st.composite
def _alerts(draw: st.DrawFn, target: Decimal) -> Alert:
    most = int(min(1 / (1 - target), Decimal(1_000)) * 100)
    long_s = draw(st.integers(2, 10_000)) * 60
    return Alert(
        draw(NAMES),
        Decimal(draw(st.integers(1, most))) / 100,
        long_s,
        draw(st.just(0) | st.integers(1, long_s // 60 - 1).map(lambda n: n * 60)),
        draw(st.integers(0, 100)) * 60,
        draw(FILLED),
        draw(TEXTS),
        tuple(draw(st.lists(TARGETS, max_size=2))),
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.booleans()),
    )


@st.composite
def _objectives(draw: st.DrawFn, sources: list[DataSource]) -> Objective:
    method, target, window = draw(st.sampled_from(Method)), draw(SHARES), draw(ROLLING | CALENDARS)
    queries = _queries(sources)
    names = (draw(st.just("") | NAMES), draw(TEXTS))
    value = Decimal(draw(st.integers(-(10**6), 10**6))) / 100
    indicator = draw(
        st.builds(RatioIndicator, queries, queries, st.none(), st.booleans(), st.just(names[0]), st.just(names[1]))
        | st.builds(RatioIndicator, queries, st.none(), queries, st.booleans(), st.just(names[0]), st.just(names[1]))
        | st.builds(RawRatioIndicator, queries, st.booleans(), st.just(names[0]), st.just(names[1]))
        | st.builds(
            ThresholdIndicator,
            queries,
            st.sampled_from(["lt", "lte", "gt", "gte"]),
            st.just(value),
            st.just(names[0]),
            st.just(names[1]),
        )
    )
    slice_s = 0 if method is Method.OCCURRENCES else draw(st.integers(1, min(60, window.nominal_s // 120))) * 60
    if method is Method.TIMESLICES:  # a budget of at least one slice
        millionths = 1_000_000 - -(-1_000_000 // (window.nominal_s // slice_s))
        target = min(target, Decimal(millionths) / 1_000_000)
    alerts = draw(st.lists(_alerts(target), max_size=3, unique_by=lambda alert: alert.name))
    is_standard = draw(st.booleans()) and target > Decimal("0.9999")
    return Objective(
        name=draw(NAMES),
        service=draw(NAMES),
        target=target,
        window=window,
        indicator=indicator,
        method=method,
        slice_s=slice_s,
        slice_target=draw(SHARES) if method is Method.TIMESLICES else None,
        threshold=draw(
            st.none()
            | st.builds(
                Threshold,
                st.integers(1, 10**6).map(lambda n: Decimal(n) / 1_000),
                st.sampled_from(["ns", "us", "ms", "s", "m", "h", "%"]),
            )
        ),
        owner=draw(st.just("") | FILLED),
        journey=draw(st.just("") | FILLED),
        display_name=draw(TEXTS),
        part_name=draw(TEXTS),
        description=draw(TEXTS),
        labels=draw(PAIRS),
        annotations=draw(PAIRS),
        source=draw(st.just("") | FILLED),
        alert_set="standard" if is_standard and window.nominal_s < 86_400 * 90 else "",
        alerts=tuple(sorted(alerts, key=lambda alert: alert.name)),
        load_tests=draw(st.just("") | FILLED.filter(lambda text: text.strip() != ABSENT)),
    )


@st.composite
def composite_sets(draw: st.DrawFn) -> SloSet:
    """Return a set of one composite of two to five parts, as one SLO can have them."""
    base = draw(_objectives([]))
    name = draw(NAMES.filter(lambda text: len(text) <= 50))
    weights = draw(st.lists(st.integers(1, 10**6), min_size=2, max_size=5))
    letters = draw(st.permutations("ABCDE"))
    # Each part has the target of the alerts, which could not fire at a lower one.
    parts = [
        replace(base, name=f"{name}-{letter.lower()}", part_name=letter)
        for letter, _ in zip(letters, weights, strict=False)
    ]
    made = Composite(
        name,
        tuple(
            Part(one.name, (Decimal(weight) / 1_000).normalize()) for one, weight in zip(parts, weights, strict=True)
        ),
    )
    return SloSet.of(parts, composites=[made])


@st.composite
def slo_sets(draw: st.DrawFn) -> SloSet:
    """Return a set of one to three objectives, with sources and services, that has no fault."""
    sources = draw(st.lists(SOURCES, max_size=2, unique_by=lambda one: one.name))
    services = draw(st.lists(st.builds(Service, NAMES, TEXTS, TEXTS), max_size=2, unique_by=lambda one: one.name))
    objectives = draw(st.lists(_objectives(sources), min_size=1, max_size=3, unique_by=lambda one: one.name))
    return SloSet.of(objectives, sources, services)
