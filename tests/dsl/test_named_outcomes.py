"""`user.measure(name, outcomes=)`: a library's exception is an outcome of the target, not an error of the script."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from loadgen.dsl.users.named_outcomes import MAX_OUTCOME_LENGTH, check_outcomes, name_failure, outcome_given
from loadgen.dsl.users.user import User
from loadgen.errors import UsageError
from tests.support.lives import Bench, bound


class StoreError(Exception):
    def __init__(self, code: str = "") -> None:
        super().__init__(code)
        object.__setattr__(self, "code", code)


class Frozen(StoreError):
    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


OUTCOMES = {
    ConnectionError: "refused",
    TimeoutError: "timeout",
    StoreError: lambda error: f"store {error.code}",
}


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ConnectionRefusedError("no"), "refused"),
        (TimeoutError(), "timeout"),
        (StoreError("23505"), "store 23505"),
        (Frozen("1"), "store 1"),
        (ExceptionGroup("two", [StoreError("7"), ConnectionResetError()]), "store 7"),
        (ValueError("x"), "script ValueError"),
        (StoreError("a\nb   c"), "store a b c"),
    ],
)
async def test_call_step_and_iteration_have_the_outcome_that_the_scenario_gives(error: Exception, outcome: str) -> None:
    async def j(user: User) -> None:
        async with user.step("basket"), user.measure("GET sku", OUTCOMES):
            raise error

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == outcome
    assert bench.rows() == {("request", "basket", "GET sku", outcome): 1, ("step", "basket", None, outcome): 1}
    assert bool(bench.said) == outcome.startswith("script ")


async def test_a_journey_can_catch_the_exception_and_go_on() -> None:
    async def j(user: User) -> None:
        try:
            async with user.measure("GET sku", outcomes=OUTCOMES):
                raise StoreError("busy")
        except StoreError:
            pass
        async with user.measure("GET sku", outcomes=OUTCOMES):
            await asyncio.sleep(0)

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "ok"
    assert bench.rows() == {("request", None, "GET sku", "store busy"): 1, ("request", None, "GET sku", "ok"): 1}


async def test_an_inner_measure_names_the_exception_first() -> None:
    async def j(user: User) -> None:
        async with user.measure("outer", {Exception: "other"}), user.measure("inner", OUTCOMES):
            raise ConnectionError

    bench = Bench(bound(j))
    assert (await bench.run()).outcome == "refused"
    assert {key[3] for key in bench.rows()} == {"refused"}


async def test_an_exception_that_the_script_raises_from_it_is_the_scripts() -> None:
    async def j(user: User) -> None:
        try:
            async with user.measure("GET sku", outcomes=OUTCOMES):
                raise ConnectionError
        except ConnectionError as error:
            raise ValueError("x") from error

    assert (await Bench(bound(j)).run()).outcome == "script ValueError"


@pytest.mark.parametrize("function", [lambda error: 1 / 0, lambda error: None, lambda error: " ", lambda error: "ok"])
async def test_a_function_without_an_outcome_leaves_an_error_of_the_script(function: Any) -> None:
    async def j(user: User) -> None:
        async with user.measure("GET sku", {StoreError: function}):
            raise StoreError("1")

    assert (await Bench(bound(j)).run()).outcome == "script StoreError"


def test_a_long_outcome_of_a_function_is_cut() -> None:
    error = StoreError("x" * 500)
    name_failure(error, OUTCOMES)
    given = outcome_given(error)
    assert given is not None
    assert len(given) == MAX_OUTCOME_LENGTH


def test_all_errors_of_a_mapping_are_named_together() -> None:
    wrong: Any = {
        "x": "y",
        KeyboardInterrupt: "gone",
        OSError: " a",
        ValueError: 3,
        TypeError: "ok",
        KeyError: "script KeyError",
        IndexError: "x" * 101,
    }
    with pytest.raises(UsageError) as caught:
        check_outcomes(wrong)
    for part in (
        "'x' is not a class of exceptions",
        "KeyboardInterrupt'> is not a class",
        "OSError: ' a' is empty, or has extra",
        "ValueError: 3 is neither a text nor a function",
        "TypeError: 'ok' is reserved",
        "KeyError: 'script KeyError' is reserved",
        "IndexError: 'xxxxxxxxxxxxxxxxxxxx' ... has more than 100",
    ):
        assert part in caught.value.message
    others: tuple[Any, ...] = ({}, [(OSError, "x")])
    for other in others:
        with pytest.raises(UsageError):
            check_outcomes(other)
