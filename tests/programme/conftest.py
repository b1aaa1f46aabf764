"""The made programme of 13 weeks, written once for all tests."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from loadgen.history.store.write_once_storage import place_of
from loadgen.programme.load_tests.said import load_tests_of
from loadgen.programme.pulling.source_settings import read_sources
from loadgen.programme.recommending.programme_file import read_programme
from loadgen.programme.weekly.build_page import build_page
from loadgen.programme.weekly.gather import Gathered, gather
from loadgen.programme.weekly.page_values import WeeklyPage
from loadgen.programme.weekly.programme_table import PageSettings
from loadgen.programme.weekly.week_of import week_of
from tests.support.made_programme import MadeProgramme, made_programme, objectives

AS_OF = datetime(2026, 7, 27, 6, tzinfo=UTC)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeProgramme:
    """The programme, with 9 weeks of its ledger: a page of one week reads no more. Tests only read it."""
    return made_programme(tmp_path_factory.mktemp("made_programme"), weeks=9)


@pytest.fixture(scope="session")
def gathered(made: MadeProgramme) -> Gathered:
    """What the page of 2026-W30 is made from, as it was known on Monday at 6:00."""
    settings = PageSettings("Shop · performance", "UTC")
    week = week_of("2026-W30", ZoneInfo("UTC"))
    programme = read_programme(made.programme)
    left_out = load_tests_of(objectives(), read_sources(made.programme), ())
    return gather(place_of(str(made.store)), objectives(), week, AS_OF, settings, programme, load_tests=left_out)


@pytest.fixture(scope="session")
def page(gathered: Gathered) -> WeeklyPage:
    """The page of 2026-W30."""
    return build_page(gathered)
