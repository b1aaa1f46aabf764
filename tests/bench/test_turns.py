"""Who is measured beside whom, and whether a budget is held."""

from __future__ import annotations

from collections.abc import Callable

from bench.turns import Budget, Compared, Turn, alternate


def _compared(**costs_us: list[float]) -> Compared:
    return Compared({name: [Turn(us * 1e-6 * 1000, 1000, 2.0) for us in of] for name, of in costs_us.items()})


def test_attackers_take_turns_in_alternation() -> None:
    order: list[str] = []

    def attack(name: str) -> Callable[[], Turn]:
        def turn() -> Turn:
            order.append(name)
            return Turn(1.0, 10, 1.0)

        return turn

    compared = alternate({"a": attack("a"), "b": attack("b")}, 3)

    assert order == ["a", "b", "a", "b", "a", "b"]
    assert [len(turns) for turns in compared.turns.values()] == [3, 3]


def test_an_attacker_that_is_not_there_is_a_row_with_its_reason() -> None:
    compared = alternate({"a": lambda: Turn(1.0, 100_000, 2.0), "wrk": "skipped: wrk is not installed"}, 1)

    rows = compared.rows(["wrk", "a"])

    assert compared.head(["wrk", "a"])[-1] == "× a"
    assert rows[0] == ["a", "10.00", "10.00", "10.00", "50,000", "1"]
    assert rows[1][:2] == ["wrk", "skipped: wrk is not installed"]
    assert len({len(row) for row in rows} | {len(compared.head(["wrk", "a"]))}) == 1


def test_ratios_are_those_of_medians() -> None:
    compared = _compared(ours=[30.0, 10.0, 20.0], wrk=[9.0, 10.0, 1.0, 11.0, 12.0])

    assert round(compared.ratio("ours", "wrk"), 9) == 2.0


def test_a_budget_is_held_at_its_limit_and_not_above_it() -> None:
    at, above = _compared(ours=[22.0], wrk=[10.0]), _compared(ours=[22.1], wrk=[10.0])

    assert Budget("ours", "wrk", 2.2).verdict(at) == "ours / wrk = 2.2, budget 2.2: held."
    assert Budget("ours", "wrk", 2.2).verdict(above) == "ours / wrk = 2.21, budget 2.2: NOT HELD."


def test_a_budget_says_a_fraction_as_people_do() -> None:
    assert Budget("ours", "k6", 1 / 5, "1/5").verdict(_compared(ours=[10.0], k6=[60.0])) == (
        "ours / k6 = 0.167, budget 1/5: held."
    )


def test_a_budget_beside_a_tool_that_is_missing_is_not_judged() -> None:
    compared = _compared(ours=[10.0])
    compared.skipped["k6"] = "skipped: k6 cannot be had"

    assert Budget("ours", "k6", 0.2).verdict(compared) == "ours / k6: not judged, k6 was skipped: k6 cannot be had."
    assert "held" not in Budget("ours", "wrk", 2).verdict(compared)
