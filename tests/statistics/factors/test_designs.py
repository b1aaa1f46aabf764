"""Designs: which cells are run, and which terms they can tell apart."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.analysis.factors.design import (
    ONE_AT_A_TIME,
    Design,
    estimable,
    fraction,
    full,
    latin,
    one_at_a_time,
)
from loadgen.analysis.factors.factor import Factor
from loadgen.analysis.factors.generators import choose, defining_words, resolution_of
from tests.statistics.sweep_rates import factors_of

RANGES = [Factor("rate", (), 10, 200, unit="/s"), Factor("workers", (), 1, 8, is_whole=True)]


def sentences(error: BaseException) -> list[str]:
    return [str(one) for one in error.exceptions] if isinstance(error, ExceptionGroup) else [str(error)]


def signs(design: Design) -> np.ndarray:
    return np.array([[2 * f.levels.index(v) - 1 for f, v in zip(design.factors, c, strict=True)] for c in design.cells])


# -- full ----------------------------------------------------------------------------------------------


def test_full_design_has_every_combination_once_and_begins_with_the_first_levels() -> None:
    design = full(factors_of(2, 3))
    assert set(design.cells) == set(product("01", "012"))
    assert len(design.cells) == 6
    assert design.cells[0] == ("0", "0")
    assert estimable(design) == ("a", "b", "a × b")


def test_skipped_cells_are_left_out_and_what_they_cost_is_said() -> None:
    design = full(factors_of(2, 2, 2), [{"a": "1", "b": "1"}])
    assert len(design.cells) == 6
    assert estimable(design) == ("a", "b", "c", "a × c", "b × c")
    assert design.notes == ("without the skipped cells a × b cannot be estimated",)


def test_skip_that_makes_two_factors_the_same_is_refused() -> None:
    with pytest.raises(ValueError, match="the effect of a and of b cannot be told from other effects"):
        full(factors_of(2, 2), [{"a": "0", "b": "1"}, {"a": "1", "b": "0"}])


@pytest.mark.parametrize(
    ("factors", "skip", "expected"),
    [
        ([], [], ["a sweep needs at least one factor"]),
        ([Factor("settle", ("8",))], [], ["factor settle has fewer than two levels: 8"]),
        ([Factor("settle", ("8", "8"))], [], ["has the level 8 2 times", "has fewer than two levels"]),
        ([Factor("a", ("0", "1")), Factor("a", ("0", "1"))], [], ["factor a is given 2 times"]),
        (factors_of(*[10] * 6), [], ["the design has 1,000,000 cells; at most 1,024 are allowed"]),
        (factors_of(*[2] * 11), [], ["the full design has 2,048 cells; at most 1,024 are allowed. Use a fraction"]),
        (factors_of(2, 2), [{"c": "0"}], ["skip names the unknown factor c; the factors are a, b"]),
        (factors_of(2, 2), [{"a": "7"}], ["skip names a=7; the levels of a are 0, 1"]),
        (factors_of(2, 2), [{}], ["a skipped combination must name at least one level"]),
        (factors_of(2), [{"a": "0"}, {"a": "1"}], ["skip leaves no cell"]),
        (RANGES, [], ["factor rate is a range", "factor workers is a range"]),
        ([Factor("n" + str(i), ("0", "1")) for i in range(31)], [], ["31 factors are more than 30"]),
    ],
)
def test_full_design_names_every_fault(factors: list[Factor], skip: list[dict[str, str]], expected: list[str]) -> None:
    with pytest.raises((ValueError, ExceptionGroup)) as caught:
        full(factors, skip)
    found = sentences(caught.value)
    assert [any(one in text for text in found) for one in expected] == [True] * len(expected), found


@given(st.data())
def test_terms_are_estimable_exactly_if_their_columns_add_rank(data: st.DataObject) -> None:
    """Against ranks of whole matrices, for any cells of a 2 x 2 x 3 design that keep the main effects."""
    every = list(product("01", "01", "012"))
    lost = data.draw(st.sets(st.sampled_from(every), max_size=7))
    factors = factors_of(2, 2, 3)
    try:
        design = full(factors, [dict(zip("abc", one, strict=True)) for one in lost])
    except ValueError:
        return
    parts = {"a": [0], "b": [1], "c": [2], "a × b": [0, 1], "a × c": [0, 2], "b × c": [1, 2]}

    def columns(at: list[int]) -> np.ndarray:
        names = list(product(*(factors[i].levels for i in at)))
        return np.array([[float(tuple(cell[i] for i in at) == one) for one in names] for cell in design.cells])

    def rank(names: list[str]) -> int:
        return int(
            np.linalg.matrix_rank(np.concatenate([columns(parts[one]) for one in ["a", "b", "c", *names]], axis=1))
        )

    # An interaction is lost if the others and the main effects leave it fewer degrees of freedom than a whole design.
    df = {"a × b": 1, "a × c": 2, "b × c": 2}
    whole = rank(list(df))
    kept = {one for one in df if whole - rank([other for other in df if other != one]) == df[one]}
    assert {one for one in estimable(design) if "×" in one} <= kept


# -- fractions -----------------------------------------------------------------------------------------

PUBLISHED = {
    (3, 3): 4, (4, 4): 8, (5, 5): 16, (5, 3): 8, (6, 6): 32, (6, 4): 16, (6, 3): 8, (7, 7): 64, (7, 4): 16, (7, 3): 8,
    (8, 8): 128, (8, 5): 64, (8, 4): 16, (9, 6): 128, (9, 4): 32, (9, 3): 16, (10, 5): 128, (10, 4): 32, (10, 3): 16,
    (11, 5): 128, (11, 4): 32, (11, 3): 16,
}  # fmt: skip
"""(factors, resolution): the fewest runs. Montgomery, Design and Analysis of Experiments, table 8.14."""


@pytest.mark.parametrize("case", PUBLISHED)
def test_fraction_is_the_smallest_published_one_of_its_resolution(case: tuple[int, int]) -> None:
    design = fraction(factors_of(*[2] * case[0]), case[1])
    assert (len(design.cells), design.resolution) == (PUBLISHED[case], case[1])


@pytest.mark.parametrize("case", PUBLISHED)
def test_any_factors_fewer_than_the_resolution_form_a_full_design(case: tuple[int, int]) -> None:
    """The definition of resolution, without words: each projection has all combinations equally often."""
    columns = signs(fraction(factors_of(*[2] * case[0]), case[1]))
    strength = min(case[1] - 1, 4)
    for some in list(combinations(range(case[0]), strength))[:60]:
        _, counts = np.unique(columns[:, some], axis=0, return_counts=True)
        assert len(counts) == 2**strength
        assert len(set(counts)) == 1


def test_words_of_fractions_have_the_published_lengths() -> None:
    """Wu and Hamada, Experiments, tables 5A: numbers of words of length 3, 4, ... of minimum-aberration designs."""
    published = {
        (7, 4): (7, 7, 0, 0, 1), (9, 5): (4, 14, 8, 0, 4, 1), (9, 4): (0, 6, 8, 0, 0, 1), (9, 3): (0, 1, 4, 2),
        (10, 5): (0, 10, 16, 0, 0, 5), (10, 4): (0, 2, 8, 4, 0, 1), (10, 3): (0, 0, 3, 3, 1),
        (11, 6): (0, 25, 0, 27, 0, 10, 0, 1), (11, 7): (12, 26, 28, 24, 20, 13, 4), (11, 3): (0, 0, 0, 6, 0, 1),
    }  # fmt: skip
    from loadgen.analysis.factors.generators import _TABLE

    for (factors, added), lengths in published.items():
        words = defining_words(factors, tuple(_TABLE[factors][added - 1].split()))
        assert tuple(sum(len(word) == 3 + at for word in words) for at in range(len(lengths))) == lengths
        assert len(words) == 2**added - 1


def test_fraction_has_the_cells_of_pydoe() -> None:
    """fracfact_by_res(6, 3) of pyDOE3's documentation, with the signs of the added columns turned."""
    published = [
        (-1, -1, -1, 1, 1, 1), (1, -1, -1, -1, -1, 1), (-1, 1, -1, -1, 1, -1), (1, 1, -1, 1, -1, -1),
        (-1, -1, 1, 1, -1, -1), (1, -1, 1, -1, 1, -1), (-1, 1, 1, -1, -1, 1), (1, 1, 1, 1, 1, 1),
    ]  # fmt: skip
    ours = {tuple(row) for row in signs(fraction(factors_of(*[2] * 6), 3))}
    assert ours == {(*row[:3], *(-one for one in row[3:])) for row in published}


@pytest.mark.parametrize("factors", range(3, 12))
def test_reference_cell_is_the_first_one_of_every_fraction_and_words_hold_in_all_cells(factors: int) -> None:
    for resolution in (3, 4, 5):
        try:
            design = fraction(factors_of(*[2] * factors), resolution)
        except ValueError:
            continue
        assert set(design.cells[0]) == {"0"}
        columns = signs(design)
        for word in design.defining:
            names = word.removeprefix("−").split(" × ")
            product_ = columns[:, ["abcdefghijk".index(one) for one in names]].prod(axis=1)
            assert set(product_) == {-1 if word.startswith("−") else 1}


def test_interactions_below_resolution_v_are_aliased_and_named_as_pairs() -> None:
    design = fraction(factors_of(2, 2, 2, 2))
    assert design.resolution == 4
    assert design.defining == ("a × b × c × d",)
    assert design.aliases == (("a × b", "c × d"), ("a × c", "b × d"), ("a × d", "b × c"))
    assert estimable(design) == ("a", "b", "c", "d")
    assert "never decided" in design.notes[0]


def test_main_effects_of_resolution_iii_are_named_with_their_interactions() -> None:
    assert fraction(factors_of(2, 2, 2)).aliases == (("a", "b × c"), ("b", "a × c"), ("c", "a × b"))


def test_fraction_of_resolution_v_can_tell_all_interactions_apart() -> None:
    design = fraction(factors_of(*[2] * 11))
    assert len(design.cells) == 128
    assert len(estimable(design)) == 11 + 55
    assert design.aliases == ()


@pytest.mark.parametrize(
    ("levels", "resolution", "expected"),
    [
        ((2, 2), None, "a fraction needs 3 to 11 factors, not 2"),
        ((2,) * 12, None, "a fraction needs 3 to 11 factors, not 12"),
        ((2, 3, 2), None, "factor b has 3 levels; a fraction needs two levels for each factor"),
        ((2, 2, 2, 2), 5, "no fraction of 4 factors has the resolution 5; the full design has 16 cells"),
    ],
)
def test_impossible_fraction_is_refused(levels: tuple[int, ...], resolution: int | None, expected: str) -> None:
    factors = [Factor("abcdefghijkl"[at], tuple(map(str, range(n)))) for at, n in enumerate(levels)]
    with pytest.raises(ValueError, match=expected):
        fraction(factors, resolution)


def test_generators_have_the_resolution_that_was_asked_for() -> None:
    for factors in range(3, 12):
        for resolution in range(3, 6):
            chosen = choose(factors, resolution)
            assert chosen is None or resolution_of(defining_words(factors, chosen)) >= resolution


# -- Latin hypercubes and one at a time ----------------------------------------------------------------


@pytest.mark.parametrize(("runs", "seed"), [(4, 1), (7, 2), (20, 3)])
def test_latin_hypercube_uses_each_slice_of_a_range_once(runs: int, seed: int) -> None:
    design = latin([Factor("x", (), 0, 1), Factor("y", (), 50, 90)], runs, seed)
    for at, one in enumerate(design.factors):
        assert one.low is not None
        assert one.high is not None
        shares = [(float(cell[at]) - one.low) / (one.high - one.low) for cell in design.cells]
        # Levels are rounded to three digits.
        assert sorted(round(share * runs - 0.5) for share in shares) == list(range(runs))
    assert design == latin([Factor("x", (), 0, 1), Factor("y", (), 50, 90)], runs, seed)


def test_levels_of_a_latin_hypercube_have_their_unit_and_whole_numbers_where_asked() -> None:
    design = latin(RANGES, 16, 3)
    assert all(cell[0].endswith("/s") and 10 <= float(cell[0].removesuffix("/s")) <= 200 for cell in design.cells)
    assert {cell[1] for cell in design.cells} == set("12345678")


def test_response_surface_is_fitted_only_where_the_cells_allow_it() -> None:
    assert estimable(latin(RANGES, 9, 1)) == ("rate", "workers", "rate × workers", "rate²", "workers²")
    few = latin(RANGES, 8, 1)
    assert estimable(few) == ("rate", "workers")
    assert few.notes[0].startswith("8 cells are too few for a response surface: it needs 9")


@pytest.mark.parametrize(
    ("factors", "runs", "expected"),
    [
        ([Factor("x", (), 3, 3)], 8, "factor x has the range 3 to 3; the low end must be lower"),
        ([Factor("x", (), 0, float("inf"))], 8, "factor x has the range 0 to inf"),
        ([Factor("x", ("1", "2"))], 8, "factor x has levels; a Latin hypercube needs a range"),
        ([Factor("x", (), 0, 1)], 2, "2 runs are outside 3 to 1,024"),
        ([Factor("x", (), 0, 1)], 10**6, "1,000,000 runs are outside"),
    ],
)
def test_impossible_latin_hypercube_is_refused(factors: list[Factor], runs: int, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        latin(factors, runs, 1)


def test_one_at_a_time_never_runs_the_corner_and_says_so() -> None:
    design = one_at_a_time([Factor("settle", ("0", "8")), Factor("payout", ("0", "4", "8"))])
    assert design.cells == (("0", "0"), ("8", "0"), ("0", "4"), ("0", "8"))
    assert design.notes == (ONE_AT_A_TIME,)
    assert ONE_AT_A_TIME == "it cannot see interactions: the cell where both are high is never run"
    assert estimable(design) == ("settle", "payout")
