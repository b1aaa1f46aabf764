"""What the weeks of a quarter and the newest runs say about a promise on the pages of production."""

from __future__ import annotations

from dataclasses import replace
from math import nan
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from loadgen.analysis.attainment.slices import slices_of
from loadgen.history.store.stored_run import SloCounts
from loadgen.programme.evidence.walk import numbers_without_evidence
from loadgen.programme.runs.sample_text import STRICTER
from loadgen.programme.weekly.as_json import as_document
from loadgen.programme.weekly.build_page import build_page
from loadgen.programme.weekly.cells.evidence_book import EvidenceBook
from loadgen.programme.weekly.cells.weeks_of_production import levels_said, months_said
from loadgen.programme.weekly.gather import Gathered, Promise
from loadgen.programme.weekly.week_of import quarter_of

HOUR, WEEK = 3_600, 604_800


def quarter(gathered: Gathered, bad: list[float]) -> tuple[Gathered, Promise]:
    """Return a quarter, and a promise of 99.5 % with these shares of bad requests in its whole weeks, from 6 April on.

    1,000 requests an hour.
    """
    period = quarter_of("2026-Q2", ZoneInfo("UTC"))
    first = 1_775_433_600  # Monday, 2026-04-06
    shares = np.repeat(bad, 168)
    units = slices_of(first + HOUR * np.arange(len(shares)), HOUR, 1000 * (1 - shares), 1000)
    one = next(one for one in gathered.promises if one.journey == "cart")
    state = replace(one.state, end=first + len(bad) * WEEK)
    found = replace(gathered, period=period, at=period.end, settings=replace(gathered.settings, zone="UTC"))
    return found, replace(one, units=units, state=state)


def texts(gathered: Gathered, promise: Promise) -> list[str]:
    return [one.text for one in levels_said(promise, gathered, EvidenceBook())]


def test_a_new_level_of_the_weekly_share_is_named_with_its_week_and_its_size(gathered: Gathered) -> None:
    noise = np.random.default_rng(3).normal(0, 0.03, 12)
    levels = np.where(np.arange(12) < 6, 0.002, 0.004) * np.exp(noise)

    (text,) = texts(*quarter(gathered, levels.tolist()))

    # The seventh week begins on 18 May, which is in ISO week 21.
    assert text.startswith("cart-fast has another level since week 21: its weekly share of bad requests is ")
    change = int(text.split("requests is ")[1].split(" %")[0])
    assert 90 <= change <= 110
    assert "% higher (" in text


def test_weeks_that_resemble_each_other_have_no_new_level(gathered: Gathered) -> None:
    noise = np.random.default_rng(4).normal(0, 0.05, 12)

    assert texts(*quarter(gathered, (0.003 * np.exp(noise)).tolist())) == []
    assert texts(*quarter(gathered, [0.002] * 4 + [0.02] * 3)) == []  # fewer than 8 weeks


@pytest.mark.parametrize(("bad_weeks", "months"), [(0, 10), (12, 0), (3, 3)])
def test_months_like_these_are_a_resampling_of_whole_weeks(gathered: Gathered, bad_weeks: int, months: int) -> None:
    # A month keeps 99.5 % only without a bad week: (9/12)^4 is 0.32.
    found, promise = quarter(gathered, [0.03] * bad_weeks + [0.001] * (12 - bad_weeks))

    (said,) = months_said(promise, found, EvidenceBook())

    target = f"{(promise.objective.target * 100).normalize():f} %"
    assert f"the last 12 weeks, about {months} months in 10 keep {target} (weeks drawn at random)" in said.text


def test_fewer_than_12_weeks_say_nothing_about_months(gathered: Gathered) -> None:
    found, promise = quarter(gathered, [0.001] * 11)

    assert list(months_said(promise, found, EvidenceBook())) == []


def test_the_newest_run_of_the_week_stands_beside_production_with_the_note(gathered: Gathered) -> None:
    sample = SloCounts("cart-fast", "cart", "cart@shop.example", 0.995, 300.0, 30_000, 60, "kept", 0.9965, 0.9988)
    short = replace(sample, low=nan, high=nan, state="too short")
    runs = (*gathered.runs[:-2], replace(gathered.runs[-2], slos=(short,)), replace(gathered.runs[-1], slos=(sample,)))

    page = build_page(replace(gathered, runs=runs))

    (said,) = (one for section in page.sections for one in section.items if one.key == "run sample")
    newest = gathered.runs[-1].run_id
    assert f"cart-fast in the run {newest}, under a load that we chose: 99.80 % (95 %: 99.65 to 99.88 %)" in said.text
    assert "of 30,000 requests against 99.5 %; production: 99.79 %;" in said.text
    assert said.text.endswith(f"; {STRICTER}.")
    assert numbers_without_evidence(as_document(page)) == []
    assert {one.id for one in page.evidence} >= set(said.evidence)
