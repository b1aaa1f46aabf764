"""Conditions that leave load tests out of the counts of production, in the language of each kind of sources. Pure.

    load_tests = 'client!="loadgen"'           # Prometheus: matchers of labels, added to each selector
    load_tests = "!client:loadgen"             # Datadog: tags, added to the scope of each query
    load_tests = "Client=users"                # CloudWatch: dimensions, added to each metric
    load_tests = "absent: they run in staging" # nothing is added: the team states that the counts have none

CloudWatch cannot leave one value of a dimension out, so its condition names a dimension that only the requests of users
have. A file has counts already, so it can only state "absent: ...".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from loadgen.outside_text import one_line
from loadgen.probes.prometheus.selectors import BadSelector, parse_matchers, parse_selector

__all__ = ["ABSENT", "CHECKS", "condition_of", "marks_of", "reason_of", "with_dimensions", "with_matchers", "with_tags"]

ABSENT: Final = "absent:"
"""How a statement begins that the counts have no load tests."""
_TAG: Final = re.compile(r"(!?)([A-Za-z][A-Za-z0-9_./-]{0,99}:[A-Za-z0-9_.:/*-]{1,100})")
_DIMENSION: Final = re.compile(r"([^=,\s][^=,]{0,254})=([^,]{1,1000})")
_IS_BOOLEAN: Final = re.compile(r"\b(AND|OR|NOT|IN)\b", re.IGNORECASE)


def reason_of(text: str) -> str:
    """Return the reason of an "absent: ..." statement; "" if the text is a condition, or is empty."""
    return text.removeprefix(ABSENT).strip() if text.startswith(ABSENT) else ""


def condition_of(text: str) -> str:
    """Return the condition of a setting; "" if it is empty, or states that there are no load tests."""
    return "" if text.startswith(ABSENT) else text.strip()


def with_matchers(selector: str, condition: str) -> str:
    """Return a selector of Prometheus with the matchers of a condition.

    Raises:
        ValueError: the condition is not a list of matchers; the text of the error is a sentence.
    """
    return parse_selector(selector).also(_matchers(condition)).text if condition else selector


def with_tags(query: str, condition: str) -> str:
    """Return a query of Datadog, such as `sum:hits{service:shop}.as_count()`, with the tags of a condition.

    Raises:
        ValueError: the condition is not a list of tags.
    """
    if not condition:
        return query
    head, _, rest = query.partition("{")
    scope, _, tail = rest.rpartition("}")
    tags, scope = _tags(condition), scope.strip()
    if _IS_BOOLEAN.search(scope):
        # Datadog does not mix words with commas and exclamation marks in one scope.
        found = [f"({scope})", *(f"NOT {tag}" if without else tag for without, tag in tags)]
        return f"{head}{{{' AND '.join(found)}}}{tail}"
    found = [*([] if scope in ("", "*") else [scope]), *(f"{without}{tag}" for without, tag in tags)]
    return f"{head}{{{','.join(found)}}}{tail}"


def with_dimensions(dimensions: Mapping[str, Any] | list[Any] | None, condition: str) -> Any:
    """Return the dimensions of a metric of CloudWatch, in the form that they have, with those of a condition.

    Raises:
        ValueError: the condition is not a list of dimensions, or the metric has another value for one.
    """
    given = dimensions or {}
    if not condition:
        return dimensions
    added = _dimensions(condition)
    if isinstance(given, list):
        known = {str(one["name"]): one.get("value") for one in given if isinstance(one, dict) and "name" in one}
        fresh: list[Any] = [{"name": name, "value": value} for name, value in added.items() if name not in known]
        joined: Any = [*given, *fresh]
    else:
        known, joined = dict(given), {**given, **added}
    for name, value in added.items():
        if known.get(name, value) != value:
            there = f"{one_line(name, 40)}={one_line(str(known[name]), 40)}"
            ours = f"{one_line(name, 40)}={one_line(value, 40)}"
            raise ValueError(f"load_tests has {ours}, and the query has {there}: leave one of them out")
    return joined


def marks_of(kind: str, condition: str) -> tuple[str, ...]:
    """Return the texts that a query has in its evidence if the condition was added to it."""
    if not condition:
        return ()
    if kind == "prometheus":
        return tuple(one.text for one in _matchers(condition))
    if kind == "datadog":
        return tuple(tag for _, tag in _tags(condition))
    return tuple(f"{name}={value}" for name, value in _dimensions(condition).items())


def _matchers(condition: str) -> tuple[Any, ...]:
    try:
        found = parse_matchers(condition)
    except BadSelector as error:
        text = f'load_tests {one_line(condition, 80)!r} {error}; write matchers such as client!="loadgen"'
        raise ValueError(text) from None
    return found


def _tags(condition: str) -> list[tuple[str, str]]:
    found = [_TAG.fullmatch(one.strip()) for one in condition.split(",")]
    if not all(found):
        raise ValueError(f"load_tests {one_line(condition, 80)!r} is not a list of tags; write !client:loadgen")
    return [(one[1], one[2]) for one in found if one is not None]


def _dimensions(condition: str) -> dict[str, str]:
    found = [_DIMENSION.fullmatch(one.strip()) for one in condition.split(",")]
    if not all(found):
        raise ValueError(f"load_tests {one_line(condition, 80)!r} is not a list of dimensions; write Client=users")
    return {one[1].strip(): one[2].strip() for one in found if one is not None}


def _check_file(condition: str) -> None:
    raise ValueError(
        "load_tests: a file has counts already, so loadgen cannot leave requests out;"
        f' write load_tests = "{ABSENT} REASON" if it has none'
    )


CHECKS: Final[Mapping[str, Callable[[str], object]]] = {
    "prometheus": _matchers,
    "datadog": _tags,
    "cloudwatch": _dimensions,
    "csv": _check_file,
    "parquet": _check_file,
}
"""What checks a condition, by the kind of its source; each raises ValueError with a sentence."""
