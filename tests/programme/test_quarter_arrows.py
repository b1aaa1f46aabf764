"""The page of a quarter: an arrow for each week of each promise, and whether it became more reliable."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from loadgen.analysis.attainment.slices import slices_of
from loadgen.programme.pages.weekly_html import weekly_html
from loadgen.programme.publishing.published_text import text_of_page
from loadgen.programme.weekly.as_csv import as_csv
from loadgen.programme.weekly.as_json import as_json
from loadgen.programme.weekly.as_markdown import as_markdown
from loadgen.programme.weekly.build_page import build_page
from loadgen.programme.weekly.cells.evidence_book import EvidenceBook
from loadgen.programme.weekly.cells.weeks_of_quarter import Weeks, trend_cell, weeks_of_quarter
from loadgen.programme.weekly.gather import Gathered, Promise
from loadgen.programme.weekly.page_values import WeeklyPage
from loadgen.programme.weekly.week_of import quarter_of, weeks_before

QUARTER = quarter_of("2026-Q2", ZoneInfo("UTC"))
WEEKS = [one for one in weeks_before(QUARTER, 15, ZoneInfo("UTC")) if one.start >= QUARTER.start]


def promise(gathered: Gathered, bad: Sequence[float | None]) -> tuple[Promise, Gathered]:
    """A promise with one slice of 1,000 requests in each week; None: the week has no counts."""
    given = [(week.start, share) for week, share in zip(WEEKS, bad, strict=False) if share is not None]
    start = np.array([at for at, _ in given])
    good = np.array([1000 - share for _, share in given])
    units = slices_of(start, 300, good, 1000, 0, False)
    found = replace(gathered.promises[0], units=units)
    return found, replace(gathered, period=QUARTER, at=QUARTER.end, promises=(found,))


def weeks(gathered: Gathered, bad: Sequence[float | None]) -> Weeks:
    one, quarter = promise(gathered, bad)
    found = weeks_of_quarter(one, quarter, EvidenceBook())
    assert found is not None
    return found


def test_each_week_has_an_arrow_against_the_week_before(gathered: Gathered) -> None:
    # Up is more reliable: fewer bad requests. A tenth is the same. A week without counts has no arrow on either side.
    found = weeks(gathered, [4, 4.3, 5, 2, None, 2, 2, 2, 2, 2, 2, 0, 0])
    assert found.arrows == "→ ↘ ↗ · · → → → → → ↗ →"
    assert found.count == 12


@pytest.mark.parametrize(
    ("bad", "arrow", "says"),
    [
        ([4] * 6 + [2] * 6, "↗", "↗ more reliable (0.2 % not good, 0.4 % before)"),
        ([2] * 6 + [4] * 6, "↘", "↘ less reliable (0.4 % not good, 0.2 % before)"),
        ([4] * 12, "→", "→ the same (0.4 % not good, 0.4 % before)"),
    ],
)
def test_the_arrow_of_the_quarter_compares_its_last_four_weeks_with_its_first(
    gathered: Gathered, bad: list[float], arrow: str, says: str
) -> None:
    found = weeks(gathered, bad)
    assert (found.arrow, says in found.text) == (arrow, True)


def test_fewer_than_eight_weeks_have_no_arrow(gathered: Gathered) -> None:
    one, quarter = promise(gathered, [4] * 7)
    assert weeks(gathered, [4] * 7).arrow == ""
    assert trend_cell(one, quarter, EvidenceBook()).text == "too few weeks"


def quarter_page(gathered: Gathered) -> WeeklyPage:
    found, quarter = promise(gathered, [4] * 6 + [2] * 6)
    return build_page(replace(quarter, promises=(found, *gathered.promises[1:])))


def test_the_arrow_is_in_the_table_of_each_form_of_the_page(gathered: Gathered) -> None:
    page = quarter_page(gathered)
    slo = gathered.promises[0].objective.name
    row = next(one for one in page.rows if one.slo == slo)

    assert row.trend is not None
    assert row.trend.text == "↗ more reliable"
    assert set(row.trend.evidence) <= {one.id for one in page.evidence}
    html = weekly_html(page).decode()
    assert "↗ more reliable" in html
    assert 'data-name="13 weeks"' in html
    assert "| 13 weeks |" in as_markdown(page).decode()
    table = list(csv.DictReader(io.StringIO(as_csv(page).decode())))
    assert next(one for one in table if one["slo"] == slo)["trend"] == "↗ more reliable"
    document = json.loads(as_json(page))
    assert document["columns"]["trend"] == "13 weeks"
    assert "13 weeks: ↗ more reliable" in str(text_of_page(page))


def test_the_page_of_a_week_and_that_for_customers_have_no_trend(gathered: Gathered, page: WeeklyPage) -> None:
    assert all(row.trend is None for row in page.rows)
    assert "trend" not in json.loads(as_json(page))["columns"]
    _, quarter = promise(gathered, [4] * 12)
    assert all(row.trend is None for row in build_page(quarter, is_public=True).rows)
