"""Settings of a scenario: what they are, and what is wrong with what is asked for or given."""

from __future__ import annotations

from typing import Any

import pytest

from loadgen import param
from loadgen.dsl.plans.param import params_given


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [(int, "8", 8), (float, "0.5", 0.5), (str, "8", "8"), (bool, "Yes", True), (bool, "0", False)],
)
def test_what_is_given_becomes_the_type(kind: Any, text: str, value: object) -> None:
    with params_given({"pool": text}) as params:
        assert param("pool", kind) == value
    assert (params.values, params.faults) == ({"pool": value}, [])


def test_without_a_run_the_default_holds() -> None:
    assert param("pool", int, default=4) == 4
    assert param("pool", float, default=4) == 4


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: param("pool", int), 'param("pool") has no default and no value was given'),
        (lambda: param("pool", list), "param(\"pool\"): unsupported type <class 'list'>"),  # type: ignore[type-var]
        (lambda: param("pool", int, default="4"), "param(\"pool\", int) has the default '4'"),  # type: ignore[type-var]
        (lambda: param("pool", int, default=True), 'param("pool", int) has the default True'),
        (lambda: param("pool", bool, default=1), 'param("pool", bool) has the default 1'),
        (
            lambda: (param("pool", int, default=1), param("pool", str, default="a")),
            'param("pool") is str here and int at',
        ),
    ],
)
def test_what_is_asked_for_wrongly_is_a_fault_with_a_hint(ask: Any, message: str) -> None:
    with params_given({}) as params:
        ask()
    (fault,) = params.faults
    assert fault.message.startswith(message)
    assert (fault.file, bool(fault.hint)) == (__file__, True)


@pytest.mark.parametrize(
    ("kind", "default", "value"), [(int, "10", 10), (bool, "yes", True), (float, "0.5", 0.5), (int, "ten", 0)]
)
def test_a_default_of_another_type_that_converts_causes_no_further_errors(kind: Any, default: Any, value: Any) -> None:
    with params_given({}) as params:
        assert param("pool", kind, default=default) == value
    (fault,) = params.faults
    expected = f"write default={value!r}" if value else f"write a default of type {kind.__name__}"
    assert fault.hint == f"{expected}, or declare another type"


def test_what_is_given_and_does_not_convert_is_a_fault_of_the_option() -> None:
    with params_given({"pool": "many"}) as params:
        assert param("pool", int, default=3) == 3
    (fault,) = params.faults
    assert (fault.file, fault.message) == ("-P pool=many", "'many' is not a valid int")


def test_only_what_the_command_line_gives_has_to_be_asked_for() -> None:
    with params_given({"a": "1", "b": "2"}, {"b": "2"}) as params:
        assert param("a", int, default=0) == 1
    assert params.required == {"b"}
