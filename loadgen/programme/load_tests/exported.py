"""Leaves load tests out of exported queries of Prometheus, as pulls leave them out of their own queries. Pure."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Final

from loadgen.programme.load_tests.in_expressions import with_matchers_everywhere
from loadgen.programme.load_tests.leave_out import condition_of
from loadgen.programme.promises.objectives import Indicator, Objective, Query, RatioIndicator

__all__ = ["why_not_added", "with_condition"]

_TYPE: Final = "prometheus"


def with_condition(one: Objective) -> Objective:
    """Return the promise with its condition in each query; unchanged where `why_not_added` has a reason."""
    return one if why_not_added(one) or not condition_of(one.load_tests) else _added(one)


def why_not_added(one: Objective) -> str:
    """Return why the condition of a promise cannot be added to its queries; "" if it can, or if there is none."""
    if not condition_of(one.load_tests):
        return ""
    if other := sorted({query.type for query in one.queries if query.type.lower() != _TYPE}):
        return f"it cannot be added to a query of the type {other[0]!r}"
    try:
        _added(one)
    except ValueError as error:
        return f"it cannot be added to a query: {error}"
    return ""


def _added(one: Objective) -> Objective:
    condition = condition_of(one.load_tests)

    def also(query: Query) -> Query:
        spec = query.spec | {"query": with_matchers_everywhere(query.text, condition)}
        return replace(query, spec_json=json.dumps(spec, sort_keys=True, ensure_ascii=False, separators=(",", ":")))

    indicator: Indicator
    if isinstance(one.indicator, RatioIndicator):
        good, bad = (None if query is None else also(query) for query in (one.indicator.good, one.indicator.bad))
        indicator = replace(one.indicator, total=also(one.indicator.total), good=good, bad=bad)
    else:
        indicator = replace(one.indicator, query=also(one.indicator.query))
    return replace(one, indicator=indicator)
