"""Outcomes that a scenario gives to the exceptions of a client library: `user.measure("GET sku", outcomes={...})`.

Without them, a Redis that refuses connections counts as an error of the script (`script ConnectionError`). With
`outcomes={ConnectionError: "refused"}`, the measured call has this outcome, and so have the step and the iteration that
the exception leaves. The exception itself stays as it is, so the journey can still catch it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, TypeAlias, cast

from loadgen.clients.httpx_api.errors import failure_in
from loadgen.clients.net.target_guard import is_not_allowed
from loadgen.errors import UsageError
from loadgen.measure.deltas.series_key import CUT_OFF, OK

__all__ = ["MAX_OUTCOME_LENGTH", "Outcomes", "check_outcomes", "name_failure", "outcome_given"]

Outcomes: TypeAlias = Mapping[Any, object]
"""Classes of exceptions, each with its outcome (a text), or with a function that returns it from the exception.

`check_outcomes` checks it. A narrower type would reject `{ConnectionError: "refused", TimeoutError: "timeout"}` at
module level: type checkers give it the key `type[OSError]`, and keys of mappings are invariant.
"""

MAX_OUTCOME_LENGTH: Final = 100
_KEY: Final = "loadgen_outcome"
"""Name of the attribute of an exception that has an outcome. It is written past `__setattr__`, which may refuse it."""
_MOST_CHECKED: Final = 1_000
_checked: dict[int, Outcomes] = {}
"""Checked mappings by their ids. They are kept here, so no other mapping gets the same id."""


def check_outcomes(outcomes: Outcomes, call: str = "measure") -> None:
    """Raise UsageError with all errors of a mapping. Cost: 0.1 µs for a mapping that was checked before.

    Pass a mapping defined at module level: a new one at each call is checked each time. call: the name of the call that
    got the mapping, for the message.
    """
    if _checked.get(id(outcomes)) is outcomes:
        return
    if not isinstance(outcomes, Mapping):
        raise UsageError(
            f"{call}: outcomes must be a mapping, not {_kind(outcomes)}",
            hint='write outcomes={ConnectionError: "refused", ...}',
        )
    if wrong := list(_wrong(outcomes)):
        raise UsageError(
            f"{call}: outcomes: {'; '.join(wrong)}",
            hint='write outcomes={ConnectionError: "refused", RedisError: lambda error: f"redis {error.code}"}',
        )
    if len(_checked) < _MOST_CHECKED:
        _checked[id(outcomes)] = outcomes


def name_failure(error: BaseException, outcomes: Outcomes) -> None:
    """Give an exception its outcome: that of its own class in `outcomes`, or else of its nearest base class.

    Each exception in a group gets an outcome of its own. An exception that has an outcome of an inner `measure` keeps
    it. If the allow-list refused a connection of the library, that is the outcome. If the function given for a class
    raises, or returns no text, the exception counts as an error of the script.
    """
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            name_failure(one, outcomes)
        return
    if _KEY in error.__dict__:
        return
    behind = failure_in(error)
    if behind is not None and is_not_allowed(behind):  # an allow-list refused the library's connection
        error.__dict__[_KEY] = behind
        return
    for kind in type(error).__mro__:
        if kind in outcomes:
            given = outcomes[kind]
            outcome = given if isinstance(given, str) else _called(cast("Callable[[Any], object]", given), error)
            if outcome and not _wrong_outcome(outcome):
                error.__dict__[_KEY] = outcome
            return


def outcome_given(error: BaseException) -> str | None:
    """Return the outcome that `name_failure` gave an exception; None: it has none."""
    found = error.__dict__.get(_KEY)
    return found if isinstance(found, str) else None


def _called(function: Callable[[Any], object], error: BaseException) -> str:
    try:
        text = function(error)
    except Exception as failure:  # noqa: BLE001  # the scenario's function: its failure is shown beside the first one
        _note(error, f"its function in outcomes= raised {failure!r}: return a text")
        return ""
    if isinstance(text, str) and text.strip():
        return " ".join(text.split())[:MAX_OUTCOME_LENGTH]
    _note(error, f"its function in outcomes= returned {text!r}: return a text that is not empty")
    return ""


def _note(error: BaseException, text: str) -> None:
    with suppress(Exception):  # of a class whose `__setattr__` refuses it
        error.add_note(text)


def _wrong(outcomes: Outcomes) -> Iterator[str]:
    if not outcomes:
        yield "it is empty"
    for kind, given in outcomes.items():
        if isinstance(kind, str):
            yield f"{kind!r} is not a class of exceptions: write it without quotes"
        elif not isinstance(kind, type) or not issubclass(kind, Exception):
            yield f"{kind!r} is not a class of exceptions"
        elif isinstance(given, str):
            if wrong := _wrong_outcome(given):
                yield f"{kind.__name__}: {wrong}"
        elif not callable(given):
            yield f"{kind.__name__}: {given!r} is neither a text nor a function"


def _wrong_outcome(outcome: str) -> str:
    if outcome != " ".join(outcome.split()) or not outcome:
        return f"{outcome!r} is empty, or has extra spaces"
    if len(outcome) > MAX_OUTCOME_LENGTH:
        return f"{outcome[:20]!r} ... has more than {MAX_OUTCOME_LENGTH} characters"
    if outcome in (OK, CUT_OFF) or outcome.startswith(("script ", "fail: ")):
        return f"{outcome!r} is reserved: choose another outcome"
    return ""


def _kind(value: object) -> str:
    return f"a {type(value).__name__}"
