"""Names of k6, Locust, Gatling and JMeter that people write out of habit, and what to write instead.

The whole tables are in docs/coming-from/; here are only the names that a scenario may import from loadgen or read
from `user` and its metrics.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["hint_of_attribute", "hint_of_file", "hint_of_import", "hint_of_module", "methods_of"]

_K6: Final = "see docs/coming-from/k6.md"
_LOCUST: Final = "see docs/coming-from/locust.md"

_THINK: Final = "write `await user.think(1, 3)` in the journey"
_REQUEST: Final = 'write `await user.http.get("/path")` in the journey'
_JOURNEY: Final = "write `@journey` above `async def browse(user: User)`"
_ARRIVALS: Final = 'write load=arrivals("10/s").hold("1m")'
_USERS: Final = 'write load=users().ramp(to=50, over="10s").hold("5m")'
_STEP: Final = 'write `async with user.step("name"):` in the journey'
_CHECK: Final = 'write `user.check("name", condition)` in the journey'

_BY_HAND: Final = "there is no converter"
_FILES: Final = {
    **dict.fromkeys(
        (".js", ".ts", ".mjs"), f"translate a k6 script by hand with the tables of docs/coming-from/k6.md; {_BY_HAND}"
    ),
    ".jmx": f"write the JMeter plan as a scenario, with docs/language.md; {_BY_HAND}",
    **dict.fromkeys(
        (".scala", ".kt", ".java"), f"write the Gatling simulation as a scenario, with docs/language.md; {_BY_HAND}"
    ),
}
"""Hints by the ending of a file's name."""
_MODULES: Final = {
    "locust": f"translate a locustfile by hand with the tables of docs/coming-from/locust.md; {_BY_HAND}",
    "k6": f"translate a k6 script by hand with the tables of docs/coming-from/k6.md; {_BY_HAND}",
}
"""Hints by the name of a module that is missing."""

_IMPORTS: Final = {
    **dict.fromkeys(("between", "constant", "wait_time", "exponential_wait"), f"{_THINK}; {_LOCUST}"),
    **dict.fromkeys(
        ("constant_pacing", "constant_throughput"), f'write load=users(50).hold("5m").pace("10s"); {_LOCUST}'
    ),
    **dict.fromkeys(("HttpUser", "FastHttpUser", "TaskSet", "SequentialTaskSet"), f"{_JOURNEY}; {_LOCUST}"),
    "task": f"write `@journey`, and its weight in mix={{browse: 3, buy: 1}}; {_LOCUST}",
    "LoadTestShape": f"{_USERS}; {_LOCUST}",
    "events": f"write set_up= and tear_down= of the plan, or @browse.set_up; {_LOCUST}",
    "run_single_user": f"write `loadgen check FILE`; {_LOCUST}",
    "sleep": f"{_THINK}; {_K6}",
    "think": _THINK,
    "check": f'{_CHECK}, and checks("name") > "99%" in slos; {_K6}',
    "group": f"{_STEP}; {_K6}",
    "http": f"{_REQUEST}; {_K6}",
    "fail": f'write `user.fail("reason")` in the journey; {_K6}',
    "options": f"write plan = Plan(target=..., load=..., mix=...); {_K6}",
    "thresholds": f'write slos=[p(95) < "300ms"] in the plan; {_K6}',
    "stages": f"{_USERS}; {_K6}",
    "SharedArray": f'write feed.csv("data/users.csv", Row); {_K6}',
    **{name: f"write {name.lower()}(...); {_K6}" for name in ("Counter", "Gauge", "Trend", "Rate")},
    # Gatling
    **dict.fromkeys(("scenario", "exec", "Simulation"), _JOURNEY),
    "pause": _THINK,
    "constantUsersPerSec": _ARRIVALS,
    "rampUsersPerSec": 'write load=arrivals("1/s").ramp(to="10/s", over="1m")',
    **dict.fromkeys(("rampUsers", "atOnceUsers", "constantConcurrentUsers", "rampConcurrentUsers"), _USERS),
    **dict.fromkeys(("csv", "jsonFile", "ssv", "tsv"), 'write feed.csv("data/users.csv", Row)'),
}
"""Names imported from loadgen."""

_OF_A_LOAD: Final = {
    **dict.fromkeys(("during", "for_", "duration", "lasting", "constant", "keep", "stay"), "hold"),
    **dict.fromkeys(("ramp_up", "ramp_to", "rampUsers", "to", "stages", "linear"), "ramp"),
}
_ATTRIBUTES: Final = {
    "Trend": {
        **dict.fromkeys(("avg", "average"), "mean"),
        **dict.fromkeys(("med", "median", "percentile", "quantile"), "p"),
        **dict.fromkeys(("record", "observe", "update"), "add"),
    },
    "Counter": {
        **dict.fromkeys(("count", "sum", "value"), "total"),
        **dict.fromkeys(("inc", "increment", "incr"), "add"),
    },
    "Gauge": {**dict.fromkeys(("add", "record", "observe"), "set"), **dict.fromkeys(("value", "latest"), "last")},
    "Rate": {**dict.fromkeys(("rate", "share", "passes"), "ratio"), **dict.fromkeys(("record", "observe"), "add")},
    "Arrivals": _OF_A_LOAD,
    "Users": _OF_A_LOAD,
    "user": {
        **dict.fromkeys(("group", "transaction"), "step"),
        **dict.fromkeys(("sleep", "pause", "wait", "wait_time"), "think"),
        "batch": "gather",
        "environment": "setting",
    },
    "reply": {
        "ok": "is_success",
        "body": "text",
        "data": "json",
        "status": "status_code",
        "reason": "reason_phrase",
        **dict.fromkeys(("time", "duration", "response_time"), "call_elapsed"),
    },
    "form": dict.fromkeys(("fill", "fill_in", "send", "post", "click", "set", "set_values"), "submit"),
}
"""Names that other tools, or habit, give to the methods of our classes."""
_SHARED: Final = {"min": "minimum", "max": "maximum"}
_CURVE: Final = ("hold", "ramp", "steps", "sine", "day")
_INSTEAD: Final = {
    **{
        ("Iterations", name): 'iterations end by their number; for a time, write users(10).hold("1m")'
        for name in _CURVE
    },
    **{
        ("Users", name): f'only rates have it: write arrivals("10/s").{name}(...)'
        for name in ("steps", "sine", "day", "poisson", "gamma")
    },
    ("Arrivals", "pace"): 'arrivals have a rate, and no pace; write users(50).hold("10m").pace("10s") for one',
    ("Iterations", "pace"): 'write `await user.pace("10s")` in the journey, or users(50).hold("10m").pace("10s")',
}
"""What to write instead of a method that another of our classes has, by class and name."""
_METHODS: Final = {
    "Arrivals": (*_CURVE, "poisson", "gamma"),
    "Users": ("hold", "ramp", "pace"),
    "Counter": ("add", "total"),
    "Gauge": ("set", "minimum", "maximum", "last"),
    "Rate": ("add", "ratio"),
    "Trend": ("add", "p", "mean", "minimum", "maximum"),
    "Feed": ("cycle", "unique", "shuffle", "random"),
}
"""The methods that scenarios call, by class."""
_PERCENTILE: Final = re.compile(r"p_?(\d\d(?:_\d+)?)")


def hint_of_file(ending: str) -> str:
    """Return what to do with another tool's file, by the ending of its name (".jmx"); "" if it is of no such tool."""
    return _FILES.get(ending.lower(), "")


def hint_of_module(name: str) -> str:
    """Return what to do with a file that imports another tool's module; "" if it is of no such tool."""
    return _MODULES.get(name, "")


def hint_of_import(name: str) -> str:
    """Return what to write instead of `from loadgen import NAME`; "" if no other tool has such a name."""
    return _IMPORTS.get(name, "")


def hint_of_attribute(owner: str, name: str, there: object) -> str:
    """Return a hint with our name for an attribute that an object of class `owner` does not have; "" if unknown.

    there: the object or class, which must have the other name.
    """
    if percentile := _PERCENTILE.fullmatch(name) if owner == "Trend" else None:
        return f"write p({percentile[1].replace('_', '.')})"
    if instead := _INSTEAD.get((owner, name)):
        return instead
    ours = _ATTRIBUTES.get(owner, {}).get(name) or _SHARED.get(name, "")
    return f'did you mean "{ours}"?' if ours and hasattr(there, ours) else ""


def methods_of(owner: str) -> tuple[str, ...]:
    """Return the methods that a scenario calls on objects of class `owner`; () if it calls none."""
    return _METHODS.get(owner, ())
