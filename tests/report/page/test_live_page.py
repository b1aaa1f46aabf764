"""The live page in a browser, against a server that drops, refuses and comes back as the test says."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import Shown, chromium, needs_chromium
from tests.support.documents import HOSTILE, Document, changes, document
from tests.support.page_server import PageServer

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def shown(browser: Browser) -> Iterator[Shown]:
    with Shown.within(browser) as made:
        yield made


def drawn(page: Page, address: str) -> Page:
    page.goto(address)
    page.wait_for_selector("html[data-drawn]", timeout=60_000)
    return page


def running(slots: int = 120, **more: object) -> Document:
    return document(slots=slots, running=True, **more)  # type: ignore[arg-type]


def test_changes_give_the_same_drawing_as_the_whole_document(shown: Shown) -> None:
    whole = running(silent=(50,), unfit=(60, 61), censored=(70,))
    early, told = changes(whole, start=37, step=9)
    with PageServer.serving(early) as server:
        page = drawn(shown.page, server.run_url)
        for kind, change in told:
            server.tell(kind, change)
        page.wait_for_selector(f"#page[data-seq='{told[-1][1]['seq']}']")
        in_steps, words = shown.pictures(), page.locator("main").inner_text()

    with PageServer.serving(whole) as server:
        drawn(page, server.run_url)
        page.wait_for_selector(f"#page[data-seq='{whole['seq']}']")
        assert page.locator("main").inner_text() == words
        assert shown.pictures() == in_steps
    assert [fault for fault in shown.faults if "net::" not in fault] == []


def test_refresh_and_late_join_show_all_that_was(shown: Shown) -> None:
    whole = running()
    early, told = changes(whole, start=40, step=40)
    with PageServer.serving(early) as server:
        page = drawn(shown.page, server.run_url)
        for kind, change in told:
            server.tell(kind, change, whole)
        page.wait_for_selector(f"#page[data-seq='{told[-1][1]['seq']}']")
        before = shown.pictures()

        server.document["seq"] = told[-1][1]["seq"]
        page.reload()
        page.wait_for_selector(f"#page[data-seq='{told[-1][1]['seq']}']")

        assert shown.pictures() == before
        assert server.last_ids[-1] == str(told[-1][1]["seq"])


def test_lost_connection_is_said_and_what_was_missed_is_there_when_it_is_back(shown: Shown) -> None:
    whole = running()
    early, told = changes(whole, start=40, step=20)
    with PageServer.serving(early) as server:
        page = drawn(shown.page, server.run_url)
        expect(page.locator("#link")).to_have_text("live")
        server.tell(*told[0])
        page.wait_for_selector(f"#page[data-seq='{told[0][1]['seq']}']")

        server.drop(and_stay_down=True)
        expect(page.locator("#link")).to_contain_text("not live")
        for kind, change in told[1:]:
            server.tell(kind, change)
        server.is_down = False

        expect(page.locator("#link")).to_have_text("live")
        page.wait_for_selector(f"#page[data-seq='{told[-1][1]['seq']}']")
        assert server.histories == 1
        assert server.last_ids[-1] == str(told[0][1]["seq"])


def test_longer_slots_are_fetched_anew(shown: Shown) -> None:
    whole = running(slots=100)
    longer = running(slots=60, length_s=2.0)
    longer["seq"] = 9
    with PageServer.serving(whole) as server:
        page = drawn(shown.page, server.run_url)

        server.tell("again", {"seq": 9}, longer)

        page.wait_for_selector("#page[data-seq='9']")
        expect(page.locator("#details")).to_contain_text("steps of 2 s")
        assert server.histories == 2
    assert [fault for fault in shown.faults if "net::" not in fault] == []


def test_before_the_start_the_page_counts_down_in_words(shown: Shown) -> None:
    going = running(slots=2)
    going["run"] |= {"phase": "starting", "clock_s": -1.3}
    with PageServer.serving(going) as server:
        page = drawn(shown.page, server.run_url)
        expect(page.locator("#summary .plain")).to_have_text("Starts in 2 s")
        assert "-" not in page.locator("#details dd").nth(3).inner_text().partition(" UTC, ")[2]


def test_page_says_that_the_run_is_over_and_shows_the_verdict(shown: Shown) -> None:
    going = running(slots=60)
    over = document(slots=60)
    with PageServer.serving(going) as server:
        page = drawn(shown.page, server.run_url)
        expect(page.locator("#summary .badge")).to_contain_text("running")
        expect(page.locator("#slos tbody td.good").first).to_contain_text("so far")

        _, told = changes(over, start=59, step=1)
        server.tell(*told[-1])
        expect(page.locator("#summary .plain")).to_have_text(over["verdict"]["plain"])
        expect(page.locator("#slos")).not_to_contain_text("so far")
        expect(page.locator("#link")).to_have_text("the run has ended")
        server.drop()

        expect(page.locator("#do-stop")).to_be_hidden()
        expect(page.locator("#link")).to_have_text("the run has ended")
        assert len(server.last_ids) == 1


def test_token_of_the_address_is_sent_as_a_header_and_no_longer_shown(shown: Shown) -> None:
    with PageServer.serving(running(slots=20), token="s3cret") as server:
        page = drawn(shown.page, f"{server.run_url}#token=s3cret")
        expect(page.locator("#link")).to_have_text("live")

        assert page.url == server.run_url
        assert page.context.cookies() == []
        page.reload()
        expect(page.locator("#link")).to_have_text("live")


def test_without_token_the_page_says_what_is_needed(shown: Shown) -> None:
    with PageServer.serving(running(slots=20), token="s3cret") as server:
        page = shown.page
        page.goto(server.run_url)

        expect(page.get_by_role("alert")).to_contain_text("who are you?")
        expect(page.get_by_role("alert")).to_contain_text("open the address that loadgen printed")


@pytest.mark.parametrize(("role", "is_there"), [("view", False), ("run", True), ("admin", True)])
def test_controls_are_shown_to_whom_may_use_them(shown: Shown, role: str, is_there: bool) -> None:
    with PageServer.serving(running(slots=20), role=role) as server:
        page = drawn(shown.page, server.run_url)
        expect(page.locator("#link")).to_have_text("live")

        for name in ("pause", "resume", "scale", "stop", "kill"):
            expect(page.locator(f"#do-{name}")).to_be_visible(visible=is_there)


def test_controls_ask_the_server_and_say_what_it_did(shown: Shown) -> None:
    with PageServer.serving(running(slots=20), role="run") as server:
        page = drawn(shown.page, server.run_url)

        page.locator("#do-pause").click()
        expect(page.locator("#controls .told")).to_have_text("pause: done")
        page.locator("#controls input").fill("200/s")
        page.locator("#controls input").press("Enter")
        expect(page.locator("#controls .told")).to_have_text("scale: done")
        page.locator("#controls input").fill("150%")
        page.locator("#do-scale").click()
        expect(page.locator("#do-stop")).to_be_enabled()
        page.locator("#controls input").fill("fast")
        page.locator("#do-scale").click()
        expect(page.locator("#controls .told")).to_contain_text("enter a factor")
        page.locator("#do-stop").click()
        expect(page.locator("#controls .told")).to_have_text("stop: done")

        assert server.deeds == [("pause", {}), ("scale", {"rate": 200}), ("scale", {"factor": 1.5}), ("stop", {})]


def test_kill_asks_first(shown: Shown) -> None:
    with PageServer.serving(running(slots=20)) as server:
        page = drawn(shown.page, server.run_url)

        page.locator("#do-kill").click()
        page.keyboard.press("Enter")
        expect(page.locator("dialog")).to_be_hidden()
        assert server.deeds == []
        page.locator("#do-kill").click()
        page.keyboard.press("Escape")
        expect(page.locator("dialog")).to_be_hidden()
        assert server.deeds == []
        page.locator("#do-kill").click()
        page.locator("#kill-yes").click()
        expect(page.locator("#controls .told")).to_have_text("kill: done")

        assert server.deeds == [("kill", {})]


def test_what_the_server_refuses_is_said_with_its_hint(shown: Shown) -> None:
    with PageServer.serving(running(slots=20)) as server:
        server.refusal = (409, {"error": "the load is paused already", "hint": HOSTILE[1]})
        page = drawn(shown.page, server.run_url)

        page.locator("#do-pause").click()

        expect(page.locator("#controls .told")).to_have_text(f"the load is paused already: {HOSTILE[1]}")
        expect(page.locator("#do-pause")).to_be_enabled()


def test_runs_are_listed_and_lead_to_their_page(shown: Shown) -> None:
    given = copy.deepcopy(running(slots=20))
    given["run"]["scenario"] = HOSTILE[1]
    with PageServer.serving(given) as server:
        page = drawn(shown.page, server.url)
        expect(page.locator("#runs")).to_contain_text(HOSTILE[1])

        page.locator("#runs a").click()

        expect(page.locator("#link")).to_have_text("live")
        assert page.url == server.run_url
    assert [fault for fault in shown.faults if "net::" not in fault] == []


def test_nothing_of_the_live_page_breaks_the_strict_policy(shown: Shown) -> None:
    with PageServer.serving(running(slots=60, hostile=True, names=8)) as server:
        page = drawn(shown.page, server.run_url)
        expect(page.locator("#link")).to_have_text("live")

        assert page.evaluate("window.hacked") is None
        assert shown.faults == []
        assert {address.split("/")[2] for address in shown.asked} == {server.url.split("/")[2]}
