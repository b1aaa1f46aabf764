"""The rows of a page in a browser, the servers that it may reach, and what a page may report: without a browser."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec import convert, structs

from loadgen import maximum, mean, minimum, p
from loadgen.allowlist import AllowList, Entry
from loadgen.clients.browser.host_rules import Place, is_allowed, places_of, resolver_rules
from loadgen.clients.browser.page_rows import PageRow, PageRows, outcome_of_text, row_name
from loadgen.clients.browser.reachable import check_plan
from loadgen.clients.browser.vitals_script import BINDING, script
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.net.settings import Http
from loadgen.clients.net.target_guard import TargetGuard
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.argument_validation import Wrong, read_browsers
from loadgen.dsl.plans.objectives.slo import Slo
from loadgen.dsl.users.user_factory import UserFactory, Ways
from loadgen.engine.recording.recorder import Recorder
from loadgen.errors import ScenarioError, UsageError
from loadgen.measure.deltas.series_key import CLS_NS
from loadgen.report.page_tables import page_tables
from loadgen.report.summary_reader import Series, Summary

URL = "http://shop.test/cart?id=7"


class Seen:
    """What a page's rows tell their sink, as texts."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.vitals: dict[str, float] = {}

    def begun(self, row: PageRow) -> None:
        self.said.append(f"begun {row_name(row.url)}")

    def ended(self, row: PageRow, at_ns: int) -> None:
        self.said.append(f"ended {row.outcome} after {at_ns - row.begun_ns}")

    def gone(self, row: PageRow) -> None:
        self.said.append("gone")

    def left(self, row: PageRow) -> None:
        self.said.append(f"left {row_name(row.url)}")
        self.vitals = row.vitals


def report(name: str, value: Any = 0, of: str = "a") -> dict[str, Any]:
    return {"id": of, "name": name, "value": value}


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def rows(seen: Seen) -> PageRows:
    return PageRows(seen, lambda url: url.startswith("http://shop.test"))


def test_a_row_lasts_from_the_navigation_to_the_load_and_its_vitals_are_recorded_when_the_page_is_left(
    rows: PageRows, seen: Seen
) -> None:
    rows.navigating(URL, 100)
    rows.answered(200)
    rows.reported(report("began"))
    rows.loaded(190)
    rows.reported(report("LCP", 220.5))
    rows.reported(report("LCP", 250))
    assert seen.said == ["begun page /cart", "ended ok after 90"]
    rows.navigating("http://shop.test/pay", 300)
    assert "left page /cart" not in seen.said  # it is still shown
    rows.answered(200)
    rows.reported(report("INP", 40))  # of the click that leads to the next page
    rows.reported(report("began", of="b"))
    assert seen.said[-1] == "left page /cart"
    assert seen.vitals == {"lcp": 250, "inp": 40}


def test_an_error_page_has_the_outcome_of_its_status(rows: PageRows, seen: Seen) -> None:
    rows.navigating(URL, 0)
    rows.answered(503)
    rows.loaded(9)
    assert seen.said == ["begun page /cart", "ended http 503 after 9"]


def test_the_load_event_of_the_page_before_ends_no_row(rows: PageRows, seen: Seen) -> None:
    rows.navigating(URL, 0)
    rows.loaded(9)
    assert rows.is_open
    assert seen.said == ["begun page /cart"]


def test_a_superseded_navigation_has_no_end(rows: PageRows, seen: Seen) -> None:
    rows.navigating(URL, 0)
    rows.navigating("http://shop.test/b", 5)
    rows.failed("http://shop.test/b", "net::ERR_ABORTED", 6)  # it became a download
    assert seen.said == ["begun page /cart", "gone", "begun page /b", "gone"]
    rows.leave()
    assert len(seen.said) == 4


def test_a_crash_ends_the_open_row_and_records_no_vitals(rows: PageRows, seen: Seen) -> None:
    rows.navigating(URL, 0)
    rows.answered(200)
    rows.reported(report("began"))
    rows.reported(report("LCP", 3))
    rows.crashed(9)
    rows.leave()
    assert seen.said == ["begun page /cart", "ended page crashed after 9"]
    assert rows.has_crashed


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("net::ERR_CONNECTION_REFUSED at http://a/", "refused"),
        ("net::ERR_EMPTY_RESPONSE", "reset"),
        ("net::ERR_CERT_AUTHORITY_INVALID", "tls"),
        ("net::ERR_TIMED_OUT", "timeout"),
        ("net::ERR_HTTP2_PROTOCOL_ERROR", "protocol"),
        ("net::ERR_TOO_MANY_REDIRECTS", "too many redirects"),
        ("net::ERR_BLOCKED_BY_RESPONSE", "browser blocked_by_response"),
        ("Page.click: Target crashed", "page crashed"),
        ("Page.click: Target page, context or browser has been closed", "browser ended"),
        ("Page.click: no node found for selector", ""),
    ],
)
def test_failures_of_a_navigation_have_the_outcomes_of_http(text: str, outcome: str) -> None:
    assert outcome_of_text(text) == outcome


def test_a_page_of_a_server_that_is_not_allowed_has_an_outcome_of_its_own(rows: PageRows, seen: Seen) -> None:
    rows.navigating("http://other.test/", 0)
    rows.failed("http://other.test/", "net::ERR_NAME_NOT_RESOLVED", 1)
    assert seen.said[-1] == "ended not allowed: no entry after 1"
    rows.navigating(URL, 0)
    rows.failed(URL, "net::ERR_NAME_NOT_RESOLVED", 1)
    assert seen.said[-1] == "ended dns after 1"


@pytest.mark.parametrize(
    "bad",
    [
        None,
        "text",
        [],
        {},
        report("LCP", "12"),
        report("LCP", float("nan")),
        report("LCP", float("inf")),
        report("LCP", -1),
        report("LCP", True),
        report("LCP", 1e300),
        report("CLS", 1_001),
        report("lcp", 1),
        report("LCP", 1, of="another document"),
        {"id": ["a"], "name": "LCP", "value": 1},
        {"id": "a", "name": {}, "value": 1},
    ],
)
def test_a_report_that_a_hostile_page_sends_is_ignored(rows: PageRows, seen: Seen, bad: object) -> None:
    rows.navigating(URL, 0)
    rows.answered(200)
    rows.reported(report("began"))
    rows.loaded(2)
    rows.reported(bad)
    rows.leave()
    assert seen.vitals == {}


def test_a_page_that_claims_to_begin_again_keeps_its_row(rows: PageRows, seen: Seen) -> None:
    rows.navigating(URL, 0)
    rows.answered(200)
    rows.reported(report("began"))
    rows.loaded(2)
    rows.reported(report("LCP", 7))
    rows.reported(report("began", of="b"))
    rows.leave()
    assert seen.said.count("left page /cart") == 1
    assert seen.vitals == {"lcp": 7}


# -- servers --------------------------------------------------------------------------------------


def entry(host: str, *ports: int) -> Entry:
    return Entry(host=host, owner="shop team", expires=date(2100, 1, 1), ports=ports)


def test_pages_may_reach_the_targets_and_the_names_of_the_allow_list() -> None:
    allow = AllowList(allow=(entry("cdn.test", 443), entry("10.0.0.0/8"), entry("img.test")))
    places = places_of(["https://Shop.test/api", "http://127.0.0.1:8080", "tcp://queue.test:5672"], allow)
    assert set(map(str, places)) == {
        *("shop.test:443", "127.0.0.1:8080", "cdn.test:443", "img.test:80", "img.test:443"),
    }
    assert is_allowed("https://shop.test/x", places)
    assert is_allowed("wss://cdn.test/live", places)
    assert is_allowed("data:image/png;base64,AA", places)
    assert not is_allowed("https://shop.test:8443/x", places)
    assert not is_allowed("http://cdn.test/x", places)
    assert not is_allowed("http://[bad", places)


def test_each_server_gets_a_rule_with_its_checked_address_and_all_others_fail() -> None:
    rules = resolver_rules([(Place("shop.test", 443), "10.2.0.7"), (Place("::1", 80), "::1")])
    assert rules == "MAP shop.test:443 10.2.0.7:443, MAP [::1]:80 [::1]:80, MAP * ~NOTFOUND"


def test_the_script_contains_the_library_and_reports_by_the_binding() -> None:
    text = script()
    assert "var webVitals=" in text
    assert f"window.{BINDING}" in text
    assert "sourceMappingURL" not in text
    assert "LIBRARY" not in text


# -- what is refused before anything starts -------------------------------------------------------


def test_a_machine_without_a_chromium_is_refused_and_the_message_names_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOADGEN_CHROMIUM", "/no/such")
    with pytest.raises(UsageError, match=r'Plan\(browsers=\.\.\.\): LOADGEN_CHROMIUM names "/no/such"') as caught:
        check_plan(Http(), False, TcpNetwork())
    assert "on each machine with an agent" in caught.value.hint


def test_an_installation_without_playwright_is_refused_and_the_message_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("loadgen.clients.browser.chromium.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"loadgen\[browser\]") as caught:
        check_plan(Http(), False, TcpNetwork())
    assert "install the extra `browser`" in caught.value.hint


def test_settings_that_a_browser_would_not_follow_are_refused_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.clients.browser.reachable.check_installed", lambda: "/usr/bin/chromium")
    with pytest.raises(UsageError, match=r"ignores these settings of the plan: ca=, Http\(uds=\), Http\(tls_min=\)"):
        check_plan(Http(uds="/run/shop.sock", tls_min="1.3"), True, TcpNetwork())


def test_these_settings_are_errors_of_the_plan_when_it_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    path = tmp_path / "shop.py"
    path.write_text(
        "from loadgen import Http, Plan, User, arrivals, journey\n@journey\nasync def look(user: User) -> None:\n"
        "    async with user.browser('/') as page:\n        await page.click('a')\nplan = Plan('https://x', "
        "arrivals('1/s').hold('1s'), look, browsers=1, ca='ca.pem', http=Http(http3=True))\n"
    )
    with pytest.raises(ScenarioError) as caught:
        load(path)
    (fault,) = caught.value.faults
    assert fault.message == "browsers: Chromium ignores these settings of the plan: ca=, Http(http3=)"
    assert "a plan for the browsers alone" in fault.hint


def test_an_allow_list_with_a_limit_of_requests_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.clients.browser.reachable.check_installed", lambda: "/usr/bin/chromium")
    capped = AllowList(allow=(structs.replace(entry("shop.test"), max_requests_per_s=5.0),))
    with pytest.raises(UsageError, match="the allow-list limits requests/s"):
        check_plan(Http(), False, TcpNetwork(guard=TargetGuard(capped)))


@pytest.mark.parametrize("wrong", [-1, 101, True, "2", 1.5])
def test_an_invalid_number_of_browsers_is_an_error_of_the_plan(wrong: Any) -> None:
    found: list[Wrong] = []
    assert read_browsers(wrong, found) == 0
    assert [one.argument for one in found] == ["browsers"]


def test_a_plan_without_browsers_refuses_to_open_a_page() -> None:
    user = UserFactory(Ways({"": "http://shop.test"}), TcpNetwork(), None, seed=1).user(Recorder())
    with pytest.raises(UsageError, match="the plan has no browsers"):
        user.browser("/")


# -- figures --------------------------------------------------------------------------------------


def test_the_table_of_pages_shows_vitals_at_p75_with_their_counts_and_cls_as_a_score() -> None:
    lcp = {"count": 12, "p50": 300.0, "p75": 1_234.5, "p95": 2_500.0}
    row = {
        "kind": "request",
        "journey": "look",
        "step": None,
        "request": "page /",
        "outcome": "*",
        "region": "*",
        "count": 13,
        "page_ms": {"lcp": lcp, "ttfb": {"count": 13, "p75": 45.6}},
        "cls": {"count": 12, "p75": 0.1055},
    }
    shown = SimpleNamespace(series=(convert(row, Series),))
    (table,) = page_tables(cast(Summary, shown))
    assert table.rows == (("page /", "12", "1,234", "2,500", "-", "0", "0.105", "-", "45.6"),)
    assert list(page_tables(cast(Summary, SimpleNamespace(series=())))) == []


def test_objectives_limit_times_of_pages_by_durations_and_the_score_by_a_number() -> None:
    limited = p(75, request="page /", metric="lcp") < "2.5s"
    assert limited.objective is not None
    assert (limited.objective.metric, limited.faults) == ("lcp", ())
    score = p(75, request="page /", metric="cls") < 0.1
    assert score.objective is not None
    assert (score.text, score.objective.limit) == ('p(75, request="page /", metric="cls") < 0.1', 0.1 * CLS_NS)


@pytest.mark.parametrize(
    ("slo", "message", "hint"),
    [
        (
            p(75, request="page /", metric="cls") < "100ms",  # type: ignore[operator]
            "cls is a score without a unit, so its limit must be a number, without quotes",
            'write p(75, request="page /", metric="cls") < 0.1',
        ),
        (
            p(75, request="page /", metric="cls") < "0.1",  # type: ignore[operator]
            "must be a number, without quotes",
            'write p(75, request="page /", metric="cls") < 0.1',
        ),
        (
            maximum(request="page /", metric="cls") < 0,
            "the limit must be above 0, since no score is below 0",
            'write maximum(request="page /", metric="cls") < 0.1',
        ),
        (
            p(75, request="page /", metric="lcp") < 2.5,  # type: ignore[operator]
            "the limit has no unit",
            'write p(75, request="page /", metric="lcp") < "300ms"',
        ),
        (
            mean(metric="cls") < 0.1,
            'mean(metric="cls"): a journey has no cls; it is a score of a request',
            'add request="page /"',
        ),
        (p(75, metric="inp") < "1s", "inp; it is a time of a request", 'add request="page /"'),
        (
            minimum(request="page /", metric="cls", window="1m") > 0.1,
            "cls is not counted by due time",
            "leave out window=, or judge response",
        ),
    ],
)
def test_a_wrong_limit_of_a_page_is_an_error_with_the_right_form(slo: Slo, message: str, hint: str) -> None:
    (fault,) = slo.faults
    assert message in fault.message
    assert (fault.hint or "").startswith(hint)
