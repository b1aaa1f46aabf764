"""What a notebook may hand over to `judge` and `scan`: right answers for what is right, words for what is not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from loadgen.analysis.changepoint import scan
from loadgen.analysis.gate import detectable, judge, judge_pairs, judge_reference
from loadgen.analysis.history_segments import between

LEVELS = [4.0] * 25 + [5.0] * 25

SAME: dict[str, Callable[[list[float]], Any]] = {
    "a list": list,
    "a tuple": tuple,
    "an array": np.array,
    "single precision": lambda values: np.array(values, dtype=np.float32),
    "a Series, whatever its index": lambda values: pd.Series(values, index=range(900, 900 + len(values))),
    "a Series that may have NA": lambda values: pd.Series(values, dtype="Float64"),
    "a column of a table": lambda values: np.column_stack([values, values])[:, 1],
    "an array with a mask that hides nothing": np.ma.array,
    "decimals": lambda values: [Decimal(value) for value in values],
}
INTEGERS: dict[str, Callable[[list[float]], Any]] = {
    "integers": lambda values: [int(value) for value in values],
    "an array of integers": lambda values: np.array(values, dtype=np.int64),
    "small integers": lambda values: np.array(values, dtype=np.uint8),
}


@pytest.mark.parametrize("kind", SAME | INTEGERS)
def test_levels_are_found_in_whatever_holds_them(kind: str) -> None:
    assert scan((SAME | INTEGERS)[kind](LEVELS)) == (25,)


@pytest.mark.parametrize("kind", SAME)
def test_runs_are_judged_in_whatever_holds_them(kind: str) -> None:
    chance = np.random.default_rng(1)
    history, new = (
        [round(value * 64) / 64 for value in chance.normal(4, 0.05, n)] for n in (20, 3)
    )  # also in single precision
    expected = judge({"a": history}, {"a": new})
    assert judge({"a": SAME[kind](history)}, {"a": SAME[kind](new)}) == expected


def test_table_with_a_column_a_name_is_a_mapping() -> None:
    history = {"a": np.linspace(4.0, 4.1, 20), "b": np.linspace(3.0, 3.1, 20)}
    new = {name: values[:3] for name, values in history.items()}
    old: Any = pd.DataFrame(history)  # which has no type of a mapping, and is one
    runs: Any = pd.DataFrame(new)
    assert judge(old, runs) == judge(history, new)


WRONG: dict[str, tuple[object, str]] = {
    "nan": ([4.0, np.nan], "values that are not finite"),
    "infinity": ([4.0, np.inf], "values that are not finite"),
    "None": ([4.0, None], "values that are not finite"),
    "NA": (pd.Series([4.0, None], dtype="Float64"), "values that are not finite"),
    "masked": (np.ma.masked_invalid([4.0, np.nan]), "masked values"),
    "words": (["4 ms"], "values that are not numbers"),
    "numbers as words": (["4.0"], "values that are not numbers"),
    "words among numbers": (np.array([4.0, "4.0"], dtype=object), "values that are not numbers"),
    "one word": ("4.0", "values that are not numbers"),
    "yes and no": ([True, False], "values that are not numbers"),
    "dates": (pd.date_range("2026-11-26", periods=3), "values that are not numbers"),
    "complex": ([4j], "values that are not numbers"),
    "objects": ([object()], "values that are not numbers"),
    "a mapping": ({"x": 4.0}, "values that are not numbers"),
    "a generator": ((one for one in (4.0, 4.1)), "values that are not numbers"),
    "ragged": ([[4.0], [4.0, 4.1]], "values that are not numbers, or rows of different lengths"),
    "a table": (np.ones((3, 3)), r"shape \(3, 3\)"),
    "a DataFrame": (pd.DataFrame({"x": [4.0]}), r"shape \(1, 1\)"),
    "one number": (4.0, r"shape \(\)"),
    "nothing": (None, r"shape \(\)"),
    "beyond all times": ([1e308, -1e308], "values that are too large"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_value_a_run_is_refused_with_its_name(kind: str) -> None:
    given, said = WRONG[kind]
    for side in ({"GET /": given}, {"POST /": [4.0], "GET /": given}):
        with pytest.raises(ValueError, match=f"^history of GET / has {said}"):
            judge(side, {})  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=f"^new of GET / has {said}"):
            judge({}, side)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"^the series has {said}"):
        scan(given)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"^before has {said}"):
        between(given, [4.0])  # type: ignore[arg-type]


def test_what_is_no_mapping_is_refused() -> None:
    for given in ([4.0], np.ones(20), [("a", [4.0])], None):
        with pytest.raises(ValueError, match="history must be a mapping of names to values; new must be a mapping"):
            judge(given, given)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", ["3%", None, True, float("nan"), -1.0, [0.03]])
def test_settings_that_are_none_are_all_told(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"delta is .*; tolerate is .*; alpha is "):
        judge({"a": [4.0]}, {}, delta=wrong, tolerate=wrong, alpha=wrong if wrong is not True else 2)
    with pytest.raises(ValueError, match=r"alpha is .*; min_effect is "):
        scan([4.0], alpha=wrong, min_effect=wrong)


def test_names_of_one_side_and_of_too_few_runs_are_inconclusive_with_their_reason() -> None:
    found = judge(
        {"gone": [4.0] * 20, "one": [4.0], "two": [4.0, 4.1], "none": []}, {"new": [4.0], "one": [4.0], "two": [4.0]}
    )
    assert found.outcome == "INCONCLUSIVE"
    assert {one.name: one.reason for one in found.names} == {
        "gone": "the name is missing in the new runs",
        "one": "only 1 run to compare with",
        "two": "only 2 runs to compare with; at least 10 are needed",
        "none": "the name is missing in the new runs",
        "new": "the name is missing in the history",
    }


def test_runs_without_any_deviation_are_judged_by_the_least_that_real_ones_have() -> None:
    assert judge({"a": [4.0] * 20}, {"a": [4.0] * 3}).outcome == "PASS"
    assert judge({"a": [4.0] * 20}, {"a": [4.1] * 3}).outcome == "FAIL"
    assert judge_pairs({"a": [4.0] * 9}, {"a": [4.0] * 9}).outcome == "PASS"
    assert judge_reference({"a": [4.0]}, {"a": [4.1] * 3}, {"a": [4.0] * 20}).outcome == "FAIL"


def test_names_need_not_be_texts() -> None:
    assert judge({1: [4.0] * 20}, {1: [4.0] * 3}).effects == {1: 0.0}  # type: ignore[dict-item, comparison-overlap]
    with pytest.raises(ValueError, match="different numbers of runs before and after: 1"):
        judge_pairs({1: [4.0, 4.1]}, {1: [4.0]})  # type: ignore[dict-item]


@pytest.mark.parametrize("n", range(3, 60))
def test_two_levels_without_noise_are_found_also_where_neighbours_are_allowed_for(n: int) -> None:
    """What is left around the levels is rounding, which looks like a correlation of one."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert scan([4.0] * n + [5.0] * 30, ar=True) == (scan([4.0] * n + [5.0] * 30)) == (n,)


@pytest.mark.parametrize(
    ("history", "new", "deviation"), [(0, 3, 0.02), (20, 0, 0.02), (20, 3, -0.02), (20, 3, np.nan)]
)
def test_detectable_of_what_cannot_be_is_refused(history: int, new: int, deviation: float) -> None:
    with pytest.raises(ValueError, match="at least 1 run each"):
        detectable(history, new, deviation)
