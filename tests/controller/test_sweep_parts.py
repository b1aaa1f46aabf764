"""The parts of `loadgen sweep`: factors from options, the command between runs, the noise of the history, options."""

from __future__ import annotations

from math import log
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.analysis.factors.factor import Factor
from loadgen.sweep.plan import Noise
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.shared_options import RunOptions
from loadgen_controller.commands.sweep_parts.between_command import read_between
from loadgen_controller.commands.sweep_parts.read_factors import SweepFactors, changes_of, read_factors, same_levels
from loadgen_controller.commands.sweep_parts.store_noise import pooled_noise
from loadgen_controller.commands.sweep_parts.sweep_options import (
    SweepOptions,
    differences,
    restored_run_options,
    typed_run_options,
)
from loadgen_controller.commands.user_command import UserCommand


def read(**given: list[str]) -> tuple[SweepFactors, list[str]]:
    errors = CollectedErrors()
    options: dict[str, list[str]] = {"params": [], "plan_values": [], "settings": [], "skips": []} | given
    factors = read_factors(errors, **options)
    return factors, [one.message for one in errors.found]


# -- factors ------------------------------------------------------------------------------------------


def test_factors_are_params_then_plan_values_in_the_order_of_the_options() -> None:
    factors, faults = read(
        params=["settle=0,8", "mode = on, off"], plan_values=["rate=100/s,200/s"], skips=["settle=8,mode=off"]
    )

    assert faults == []
    assert factors.all == (
        Factor("settle", ("0", "8")),
        Factor("mode", ("on", "off")),
        Factor("rate", ("100/s", "200/s")),
    )
    assert factors.skips == ({"settle": "8", "mode": "off"},)
    assert factors.plan_names == ("rate",)


def test_ranges_have_ends_and_a_unit() -> None:
    factors, faults = read(params=["pool=1..64"], plan_values=["rate=50..200.5/s", "duration=10..60s"])

    assert faults == []
    assert [(one.low, one.high, one.unit) for one in factors.all] == [(1, 64, ""), (50, 200.5, "/s"), (10, 60, "s")]


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"params": ["settle=0"]}, "-P settle: a factor needs at least two levels, and 0 is the only one"),
        ({"params": ["settle=0,8,8"]}, "-P settle: the level 8 is given twice"),
        ({"params": ["settle=0,,8"]}, "-P settle: a level is empty"),
        ({"params": ["settle"]}, '-P: invalid factor "settle"'),
        ({"params": ["a b=1,2"]}, '-P: invalid factor "a b=1,2"'),
        ({"params": ["pool=64..1"]}, "-P pool: the range 64..1 is empty"),
        ({"params": ["settle=0,8", "settle=1,2"]}, "the factor settle was given twice"),
        ({"params": ["n=" + ",".join(map(str, range(1001)))]}, "-P n: 1,001 levels; at most 1,000 are possible"),
        ({"params": [f"n=1,{'x' * 501}"]}, "-P n: a level is longer than 500 characters"),
        ({"plan_values": ["rat=1,2"]}, '--plan-value: unknown value "rat"'),
        ({"plan_values": ["rate=60/m,1/s"]}, "--plan-value: the levels 60/m and 1/s of rate are the same value"),
        ({"plan_values": ["users=0,2"]}, '--plan-value users: "0" is invalid: "0" must be above 0'),
        ({"params": ["a=1,2"], "settings": ["a=3"]}, "--set a: it is a factor of this sweep"),
        ({"params": ["a=1,2"], "skips": ["a"]}, '--skip: invalid combination "a"'),
        ({}, "a sweep needs at least one factor"),
    ],
)
def test_fault_of_a_factor_is_named(given: dict[str, list[str]], fault: str) -> None:
    assert fault in read(**given)[1]


def test_all_faults_of_factors_are_found_at_once() -> None:
    faults = read(params=["a=1", "b=1,1", "c"], plan_values=["rat=1,2", "rate=fast,1/s"], settings=["x"], skips=["y"])[
        1
    ]

    assert len(faults) == 7


@given(st.lists(st.text(max_size=30), max_size=4), st.lists(st.text(max_size=30), max_size=3))
def test_any_text_is_a_factor_or_a_fault(params: list[str], plan_values: list[str]) -> None:
    factors, faults = read(params=params, plan_values=plan_values, skips=params, settings=plan_values)

    assert faults or factors.all


def test_cell_becomes_params_and_options_of_the_run() -> None:
    changes = changes_of(("rate", "load"), {"pool": "4"}, {"settle": "8", "rate": "200/s", "load": "day"})

    assert changes == {"params": ["pool=4", "settle=8"], "rate": "200/s", "loads": "day"}


def test_levels_of_the_same_value_are_the_same_but_not_those_of_another_type() -> None:
    assert same_levels("n", {"8": 8, "08": 8}) == "the levels 8 and 08 of n are the same value"
    assert same_levels("b", {"on": True, "1": 1}) == ""


# -- the command between runs ---------------------------------------------------------------------------


def test_command_is_checked_before_the_sweep_starts() -> None:
    errors = CollectedErrors()

    read_between(errors, "nowhere.sh now", 1, [])
    read_between(errors, "sh -c 'open", 1, [])
    read_between(errors, "", 1, [])
    read_between(errors, "sh -c true", 1, ["pool", "POOL"])

    assert [one.message for one in errors.found] == [
        "--between: the command nowhere.sh was not found, or is not executable",
        "--between: no closing quotation",
        "--between: the command is empty",
        "--between: two factors would both be LOADGEN_SWEEP_POOL",
    ]
    assert read_between(CollectedErrors(), "sh -c 'a b'", 2, ["x"]) == UserCommand(("sh", "-c", "a b"), 2)


# -- noise ----------------------------------------------------------------------------------------------


def test_noise_is_pooled_within_keys_so_levels_do_not_count_as_noise() -> None:
    fast = [log(100), log(104), log(96)]
    slow = [value + log(5) for value in fast]

    noise = pooled_noise([fast, slow, [1.0]], "history")

    assert noise.df == 4
    assert noise.sd == pytest.approx(0.040, abs=0.001)
    assert noise.source == "6 accepted runs of 2 keys in history"


def test_noise_without_two_runs_of_a_key_is_assumed() -> None:
    assert pooled_noise([[1.0], []], "history") == Noise(0.04, 0, "assumed")


# -- options --------------------------------------------------------------------------------------------


def test_options_of_the_runs_survive_the_file_of_the_sweep(tmp_path: Path) -> None:
    options = RunOptions(rate="10/s", label=["release=1"], keys=Path("keys"), agents_per_region=2, quiet=True)
    typed = typed_run_options(options)

    assert typed == {
        "rate": "10/s",
        "label": ["release=1"],
        "keys": str(Path("keys").absolute()),
        "agents_per_region": 2,
    }
    restored = restored_run_options(typed | {"of a newer loadgen": 1}, quiet=False)
    assert restored == RunOptions(rate="10/s", label=["release=1"], keys=Path("keys").absolute(), agents_per_region=2)


def test_options_given_on_resume_must_be_those_of_the_start() -> None:
    stored = SweepOptions(param=["a=1,2"], seed=4, design="full").typed()

    assert differences({}, stored) == []
    assert differences({"seed": 4, "param": ["a=1,2"]}, stored) == []
    assert differences({"seed": 5, "repeat": 2}, stored) == [
        "--seed is 5, and the sweep has 4",
        "--repeat is 2, and the sweep was started without it",
    ]
