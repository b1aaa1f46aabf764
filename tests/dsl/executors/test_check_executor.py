"""`check_executor` passes what a fleet can drive, and says of everything else why not."""

from __future__ import annotations

import itertools
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadgen import ClosedExecutor, OpenExecutor, arrivals, iterations, replay, users
from loadgen.dsl.executors.base import Executor, Lowered
from loadgen.profiles.arrival_due_times import Schedule
from loadgen.testing import check_executor
from tests.support.scenarios import write

pytestmark = pytest.mark.process


@dataclass(frozen=True)
class Sale(OpenExecutor):
    people: int

    def due(self, seed: int) -> Iterator[float]:
        for k in range(self.people):
            yield (k / self.people) ** 2 * 10


@dataclass(frozen=True)
class Shifts(ClosedExecutor):
    people: int
    duration: str = "9s"

    def levels(self, seed: int) -> Iterator[tuple[float, int]]:
        yield 0, self.people
        yield 3, 2 * self.people
        yield 6, 1


def why(executor: Executor, **options: Any) -> list[str]:
    with pytest.raises(AssertionError) as error:
        check_executor(executor, **options)
    return str(error.value).split("\n- ")


def test_it_tells_what_an_executor_is_and_needs() -> None:
    checked = check_executor(Sale(people=200), seeds=[1])
    assert (checked.text, checked.arrivals, checked.duration_s) == (
        "arrivals: Sale: 200 in 10s, at most 64/s",
        200,
        10.0,
    )
    assert (checked.users, checked.peak_per_s, checked.left_out) == (None, 64.0, ())
    checked = check_executor(Shifts(people=4), seeds=[1])
    assert (checked.arrivals, checked.users, checked.peak_per_s, checked.duration_s) == (None, 8, None, 9.0)


@pytest.mark.parametrize(
    "executor",
    [
        arrivals().ramp(to="40/s", over="5s").hold("5s").ramp(to=0, over="5s"),
        arrivals("20/s").poisson().hold("10s"),
        arrivals("20/s").gamma(cv=2.0).hold("10s"),
        users().ramp(to=30, over="3s").hold("2s").ramp(to=0, over="3s"),
        iterations(77, users=10),
        iterations(per_user=3, users=11),
        replay.timestamps(Path(__file__).parents[2] / "data/llm/AzureLLMInferenceTrace_conv.csv.gz", speed=3),
    ],
    ids=["ramp", "poisson", "gamma", "users", "iterations", "per user", "replay"],
)
def test_what_loadgen_brings_passes_it_by_the_same_protocol(executor: Executor) -> None:
    assert check_executor(executor).left_out == ()


def test_what_is_wrong_with_it_is_an_assertion_with_all_of_it() -> None:
    class Back(OpenExecutor):
        def due(self, seed: int) -> Iterator[float]:
            yield from (1.0, 0.5, float("nan"))

    title, *problems = why(Back())
    assert title == "Back cannot be driven by a fleet:"
    place = f"({Path(__file__).name}:"
    assert [one.partition(place)[0] for one in problems] == [
        "Back.due: arrival 1 goes back in time, to 0.5 s after 1 s ",
        "Back.due: arrival 2 is at NaN ",
    ]
    assert why(users())[0] == "Users cannot be driven by a fleet:"


class Thrown(OpenExecutor):
    def due(self, seed: int) -> Iterator[float]:
        yield from sorted(random.random() for _ in range(10))


class OfNumpy(OpenExecutor):
    def due(self, seed: int) -> Iterator[float]:
        yield from np.sort(np.random.uniform(size=10)).tolist()


class OfTheClock(OpenExecutor):
    def due(self, seed: int) -> Iterator[float]:
        yield time.perf_counter() % 1


@dataclass(frozen=True)
class Counting(OpenExecutor):
    """It remembers how often it was asked."""

    asked: list[int] = field(default_factory=list)

    def due(self, seed: int) -> Iterator[float]:
        self.asked.append(seed)
        yield from itertools.repeat(0.0, len(self.asked))


@pytest.mark.parametrize("kind", [Thrown, OfNumpy, OfTheClock, Counting])
def test_one_that_is_no_pure_function_is_found_out(kind: type[OpenExecutor]) -> None:
    before = random.getstate()
    _, *problems = why(kind(), seeds=[1])
    assert len(problems) == 1
    assert problems[0].startswith("seed 1: the second time ")
    assert problems[0].endswith("make it a pure function of its values and the seed")
    if kind is OfTheClock:
        assert random.getstate() == before  # the dice are as they were


def of_file(folder: Path, text: str) -> Any:
    """The module of a file, as a test of an author's imports it."""
    path = write(folder, text, "authors_own.py")
    spec = spec_from_file_location("authors_own", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["authors_own"] = module
    spec.loader.exec_module(module)
    return module


HASHED = """\
from collections.abc import Iterator
from dataclasses import dataclass
from loadgen import OpenExecutor

@dataclass(frozen=True)
class Sale(OpenExecutor):
    names: tuple[str, ...]

    def due(self, seed: int) -> Iterator[float]:
        at = 0.0
        for name in BY:
            at += len(name)
            yield at
"""


def test_what_depends_on_the_order_of_a_set_is_found_in_a_fresh_interpreter(tmp_path: Path) -> None:
    names = tuple("x" * k for k in range(1, 40))
    module = of_file(tmp_path, HASHED.replace("BY", "set(self.names)"))
    assert why(module.Sale(names), seeds=[1]) == [
        "Sale cannot be driven by a fleet:",
        "seed 1: in a fresh interpreter it returns other times: make it a pure function of its values and the seed",
    ]
    module = of_file(tmp_path, HASHED.replace("BY", "sorted(self.names)"))
    assert check_executor(module.Sale(names), seeds=[1]).left_out == ()


def test_what_cannot_be_made_again_from_its_repr_is_said(tmp_path: Path) -> None:
    plain = "    def __init__(self, names: tuple[str, ...]) -> None:\n        self.names = names"
    text = HASHED.replace("@dataclass(frozen=True)\n", "").replace("    names: tuple[str, ...]", plain)
    module = of_file(tmp_path, text.replace("BY", "self.names"))
    (left_out,) = check_executor(module.Sale(("a", "bb")), seeds=[1]).left_out
    assert left_out.startswith("not tried in a fresh interpreter")


def test_a_division_that_loses_or_doubles_would_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Schedule.due_ns

    def shifted(self: Schedule, n: np.ndarray) -> np.ndarray:
        due: np.ndarray = whole(self, n) + (len(n) % 7) * 1_000
        return due

    monkeypatch.setattr(Schedule, "due_ns", shifted)
    assert any("is due at another time for agent" in one for one in why(Sale(people=100), seeds=[1], agents=2))


def test_it_is_for_executors() -> None:
    odd: Any = 5
    assert why(odd) == ["5 is not an executor: subclass OpenExecutor or ClosedExecutor"]
    with pytest.raises(AssertionError, match="both must be at least one"):
        check_executor(Sale(people=5), agents=0)


def test_an_executor_may_be_lowered_by_itself() -> None:
    assert isinstance(Sale(people=5).lower(1), Lowered)
