"""How changes and shares are written."""

from __future__ import annotations

from math import inf, nan

import pytest

from loadgen.units import format_change, format_changes, format_share, parse_rate


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (0.046, "+4.6 %"),
        (-0.12, "-12.0 %"),
        (3.69e-6, "0.0 %"),
        (-0.0004, "0.0 %"),
        (0.0005, "+0.1 %"),
        (0.9994, "+99.9 %"),
        (1.3, "+130 %"),
        (1e9, "> +1000 %"),
        (inf, "> +1000 %"),
        (nan, "-"),
    ],
)
def test_a_change_has_its_sign_and_tenths_and_none_where_it_is_nothing(change: float, text: str) -> None:
    assert format_change(change) == text


def test_an_interval_of_changes_has_its_unit_once() -> None:
    assert format_changes(0.019, 0.064) == "+1.9 to +6.4 %"
    assert format_changes(-0.0001, 20.0) == "0.0 to > +1000 %"
    assert format_changes(nan, nan) == "-"


def test_a_share_has_as_many_digits_as_it_means() -> None:
    assert [format_share(share) for share in (0.03, 0.118, 0.0005, 14.2, inf)] == [
        "3 %",
        "11.8 %",
        "0.05 %",
        "1,420 %",
        "any",
    ]


def test_a_rate_that_a_float_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="too large"):
        parse_rate("9" * 400 + "/s")
