"""The live view, drawn into memory."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from io import StringIO

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from loadgen.report.slos import used_text
from loadgen_controller.screen.live import Screen, fit, line, show, unfit_line
from loadgen_controller.screen.live_figures import Cells, Figures, SloRow, Streams
from tests.support.figures import agent, cells, figures, row


def drawn(f: Figures, width: int = 80, height: int = 24, page: str = "") -> list[str]:
    console = Console(file=StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(Screen(f, page))
    return capture.get().splitlines()


def test_everything_has_its_place_on_80_by_24() -> None:
    lines = drawn(figures())

    assert len(lines) <= 24
    assert all(len(text.rstrip()) <= 80 for text in lines)
    text = "\n".join(lines)
    for part in (
        "running 0:12 of 0:20",
        "3 of 3 agents reported",
        "offered 200/s  achieved 199/s",
        "users 66, 15 busy, 0 waiting",
        "p50     p90     p95     p99   p99.9",
        "last 1 s",
        "whole run",
        "2,388",
        "> 434",
        "us-east-1 (simulated)",
        "add to cart",
        "POST /cart",
        '✘ p(99, step="add to cart") < 40ms  53.9 ms of 2,390  35 % above',
        "http 503 12 · timeout 3",
        "● us-east-1-1 running  22 users  cpu 31 %",
    ):
        assert part in text, part


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50)])
def test_the_whole_address_of_the_page_is_at_the_bottom_and_has_room(width: int, height: int) -> None:
    address = "http://127.0.0.1:8089/runs/20260101-000000-shop#token=" + "x" * 43
    many = figures(parts=tuple(row(f"  step {n}", 12, 5.0) for n in range(60)))
    lines = drawn(many, width, height, address)

    at = next(n for n, text in enumerate(lines) if text.startswith("page: "))
    assert "".join(lines[at:]) == f"page: {address}"
    assert len(lines) <= height
    assert not any("page: " in text for text in drawn(many, width, height))


def test_last_window_stands_beside_the_whole_run_where_it_is_wide() -> None:
    lines = drawn(figures(), 200, 50)

    (checkout,) = (text for text in lines if text.startswith("checkout  ") and "│" in text)
    assert "199" in checkout.split("│")[0]
    assert "2,388" in checkout.split("│")[1]
    assert any("errors" in text and "agents" in text for text in lines)


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
def test_what_decides_comes_first(size: tuple[int, int]) -> None:
    text = "\n".join(drawn(figures(), *size))
    order = ["3 of 3 agents reported", "0:12 of 0:20", "✘ p(99", "offered 200/s", "response, ms"]
    order += ["checkout", "us-east-1"]
    order += ["add to cart  ", "http 503", "● us-east-1-1"] if size[0] == 80 else ["add to cart  ", "errors"]
    places = [text.index(part, text.index("response, ms") if n > 4 else 0) for n, part in enumerate(order)]
    assert places == sorted(places)


def test_a_line_names_two_of_many_unfit_workers_and_says_how_many_more() -> None:
    told = unfit_line(figures(), [f"worker {n}: lag" for n in range(9)])

    assert told == "0:11  unfit to measure: worker 0: lag, worker 1: lag, 7 more"


@pytest.mark.parametrize(
    ("at_s", "told"),
    [
        (-0.3, "starts in 1 s "),
        (-2.0, "starts in 2 s "),
        (0.0, "running 0:00 of 0:20"),
        (61.9, "running 1:01 of 0:20"),
    ],
)
def test_the_clock_counts_down_to_the_start_in_words_and_up_from_it(at_s: float, told: str) -> None:
    assert any(text.startswith(told) for text in drawn(replace(figures(), clock_s=at_s)))


async def test_no_line_has_a_time_before_the_start() -> None:
    out = StringIO()
    before = replace(figures(), phase="starting", clock_s=-0.8, last_s=0.0)
    showing = asyncio.create_task(show(lambda: before, Console(file=out, width=100)))
    await asyncio.sleep(0.05)
    showing.cancel()
    assert "0:00  starting: 3 of 3 agents registered" in out.getvalue()
    assert "-0:" not in out.getvalue()


@given(
    st.integers(1, 5),
    st.integers(0, 12),
    st.integers(0, 40),
    st.integers(0, 12),
    st.sampled_from([(80, 24), (100, 30), (150, 24), (200, 50)]),
)
def test_no_run_outgrows_the_screen(
    journeys: int, regions: int, parts: int, agents: int, size: tuple[int, int]
) -> None:
    f = figures(
        journeys=tuple(row(f"journey {n}", 100, 5) for n in range(journeys)),
        regions=tuple(row(f"region {n}", 100, 5) for n in range(regions)),
        parts=tuple(row(f"  step {n}", 100, 5) for n in range(parts)),
        agents=tuple(agent(f"r{n}") for n in range(agents)),
        slos=figures().slos * journeys,
        notices=("an agent was lost", "a line blocked the loop"),
        counted=("checks 3 of 4 ok",),
    )

    lines = drawn(f, *size)

    assert len(lines) <= size[1]
    assert all(len(text.rstrip()) <= size[0] for text in lines)


def test_what_has_no_room_is_counted() -> None:
    f = figures(parts=tuple(row(f"  step {n}", 100, 5) for n in range(40)))

    (cut,) = (text for text in drawn(f) if "more" in text and "and" in text)

    shown = sum(text.startswith("  step ") for text in drawn(f))
    assert f"{40 - shown} more" in cut


def test_lost_agent_comes_first_and_says_why() -> None:
    lost = agent("eu-west-1", state="lost", note="silent for 10.0 s", reported=False)
    f = figures(agents=(agent("us-east-1"), lost), reported=1, agents_wanted=2)

    lines = [text for text in drawn(f, 120) if text.startswith(("●", "○"))]

    assert lines[0].startswith("○ eu-west-1-1 lost")
    assert "silent for 10.0 s" in lines[0]
    assert "cpu" not in lines[0]
    assert "1 of 2 agents reported" in drawn(f, 120)[0]


def test_before_the_first_window_there_are_agents_and_no_figures() -> None:
    f = figures(last_s=0.0, phase="preparing", journeys=(), regions=(), parts=(), slos=(), errors=(), clock_s=0.0)

    text = "\n".join(drawn(f))

    assert "3 of 3 agents registered" in text
    assert "achieved -" in text


def test_window_is_one_line_where_there_is_no_terminal() -> None:
    assert line(figures(slos=figures().slos[:1])) == (
        "0:11 to 0:12, 3 of 3 agents reported, 199/s of 200/s iterations, 602/s requests,"
        " checkout: last p95 157 ms p99 250 ms of 199, run p95 157 ms p99 250 ms of 2,388, 15 iterations failed"
    )


def test_line_says_what_is_wrong_with_its_window_and_what_is_failing() -> None:
    f = figures(
        unfit=("us-east-1-1: lag p99 41.0 ms is above 2.00 ms", "eu-west-1-1: 3 requests had no local port"),
        counted=("checks 3 of 4 ok (has price: 6 of 240 failed)", "orders 1,200"),
        total=replace(figures().total, requests_started=7200, requests_pool_limited=360),
    )

    assert line(f).endswith(
        ", 15 iterations failed, 2 unfit to measure, pool-limited 5.00 % of requests,"
        " checks 3 of 4 ok (has price: 6 of 240 failed),"
        ' failing: p(99, step="add to cart") < 40ms'
    )


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
def test_unfit_second_is_marked_where_its_figures_stand(size: tuple[int, int]) -> None:
    us = agent("us-east-1")
    unfit = msgspec.structs.replace(us.health, unfit=("lag p99 41.0 ms is above 2.00 ms",))
    us = replace(us, health=unfit, unfit=3, intervals=12)
    f = figures(
        journeys=(replace(figures().journeys[0], is_unfit=True),),
        regions=(replace(row("us-east-1", 796, 71), is_unfit=True), row("eu-west-1", 796, 71)),
        agents=(us, agent("eu-west-1")),
    )

    lines = drawn(f, *size)

    (marked,) = (text for text in lines if text.startswith("checkout ") and " unfit " in text)
    assert "199" in marked
    (of_agent,) = (text for text in lines if "us-east-1-1" in text)
    assert "unfit 3 of 12" in of_agent
    assert any(text.startswith("us-east-1 unfit") for text in lines) is (size[0] > 150)
    assert not any("eu-west-1 unfit" in text for text in lines)


def test_windowed_objective_shows_its_worst_window_and_budget() -> None:
    slo = SloRow(
        'p(95, window="1m") < 300ms',
        "failed",
        "8.10 % late or failed",
        1200,
        "",
        "162 % of budget",
        "worst window 0:05 to 1:05",
    )

    (shown,) = (text for text in drawn(figures(slos=(slo,)), 120) if "window=" in text)

    assert shown.rstrip().endswith("8.10 % late or failed of 1,200  162 % of budget  worst window 0:05 to 1:05")


def test_broken_objective_shows_how_many_traces_can_be_read() -> None:
    text = "12 traces above 300 ms so far"
    slo = SloRow("p(95) < 300ms", "failed", "412 ms", 1200, "37 % above", "162 % of budget", traces=text)

    (shown,) = (line for line in drawn(figures(slos=(slo,)), 120) if "p(95)" in line)

    assert shown.rstrip().endswith(f"412 ms of 1,200  37 % above  162 % of budget  {text}")


def test_what_the_scenario_counts_has_a_line_where_there_is_room() -> None:
    f = figures(counted=("checks 3 of 4 ok (has price: 6 of 240 failed)", "orders 1,200"))

    assert any(
        "counted checks 3 of 4 ok (has price: 6 of 240 failed) · orders 1,200" in text for text in drawn(f, 90, 40)
    )
    assert not any("counted" in text for text in drawn(f, 80, 12))


def test_who_waits_at_a_rendezvous_stands_before_what_is_counted() -> None:
    f = figures(meeting=("37 of 100 wait at sale opens",), counted=("orders 1,200",))

    assert any("37 of 100 wait at sale opens  counted orders 1,200" in text for text in drawn(f, 90, 40))
    assert any("37 of 100 wait at sale opens" in text for text in drawn(figures(meeting=f.meeting), 160, 40))
    assert "37 of 100 wait at sale opens" in line(f)


def test_pool_limited_run_says_so_in_its_first_line() -> None:
    total = replace(figures().total, requests_started=7200, requests_pool_limited=360)
    assert "pool-limited 5.00 %" in drawn(figures(total=total))[0]
    assert "pool-limited" not in drawn(figures())[0]


def test_budget_is_told_as_a_share_or_a_multiple() -> None:
    assert [used_text(used) for used in (None, 0.0, 0.412, 1.62, 31.4)] == [
        "",
        "0 % of budget",
        "41 % of budget",
        "162 % of budget",
        "31.4x the budget",
    ]


def test_before_the_first_interval_the_registered_agents_are_counted() -> None:
    f = figures(last_s=0.0, phase="waiting for agents", registered=1, agents_wanted=2)
    assert f.reported_text == "1 of 2 agents registered"
    assert replace(f, agents_wanted=1).reported_text == "1 of 1 agent registered"


def test_an_agent_line_ends_with_a_whole_figure_where_the_next_one_has_no_room() -> None:
    f = figures(agents=(agent("us-east-1"),))
    (whole,) = (text for text in drawn(f, 100) if text.startswith("● us-east-1-1"))
    fields = whole.rstrip().split("  ")
    for width in range(60, len(whole.rstrip())):
        (cut,) = (text for text in drawn(f, width) if text.startswith("● us-east-1-1"))
        shown = cut.rstrip().split("  ")
        assert shown == fields[: len(shown)], width


def test_line_of_an_unfit_agent_fits_into_80_columns_and_has_its_lag_once() -> None:
    reasons = (
        "lag p99 41.0 ms is above 2.00 ms",
        "other programs had its core for 31.0 % of the time",
        "its machine is busy (load 5.3 on 2 cores)",
    )
    us = agent("us")
    us = replace(us, health=msgspec.structs.replace(us.health, unfit=reasons), unfit=3, intervals=12)
    (of_agent,) = (text.rstrip() for text in drawn(figures(agents=(us,)), 120) if "us-1" in text)
    assert "unfit 3 of 12  other programs have its core, busy machine  22 users" in of_agent
    assert of_agent.count("lag p99") == 1


async def plain_lines(monkeypatch: pytest.MonkeyPatch, looks: list[Figures], every_s: str) -> list[str]:
    """The lines where there is no terminal, after all of `looks` were shown."""
    monkeypatch.setattr("loadgen_controller.screen.live.REFRESH_S", 0)
    monkeypatch.setenv("LOADGEN_LINE_EVERY_S", every_s)
    out, ended, last = StringIO(), asyncio.Event(), looks[-1]

    def look() -> Figures:
        if not looks:
            ended.set()
            return last
        return looks.pop(0)

    showing = asyncio.create_task(show(look, Console(file=out, width=80)))
    await ended.wait()
    showing.cancel()
    await asyncio.gather(showing, return_exceptions=True)
    return out.getvalue().splitlines()


async def test_plain_output_has_a_line_each_10_s(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = await plain_lines(monkeypatch, [figures(last_n=n) for n in range(25)], "none")
    assert [text[:12] for text in lines if " to " in text] == ["0:00 to 0:01", "0:10 to 0:11", "0:20 to 0:21"]


async def test_plain_output_has_unfit_agents_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    unfit = [(), (), ("us: lag p99 2 ms",), ("us: lag p99 3 ms",), (), ("us: lag p99 5 ms", "eu: lag p99 6 ms")]
    looks = [figures(last_n=n, unfit=one) for n, one in enumerate(unfit)]
    lines = await plain_lines(monkeypatch, looks, "")
    assert [text for text in lines if "fit to measure" in text] == [
        "0:02  unfit to measure: us: lag p99 2 ms",
        "0:05  unfit to measure: eu: lag p99 6 ms",
    ]


async def test_plain_output_has_each_window_once_and_each_notice_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = [figures(last_n=n // 2, notices=("agent eu is lost",)) for n in range(6)]
    lines = await plain_lines(monkeypatch, looks, "0")
    assert sum(text.startswith(("0:00 to", "0:01 to", "0:02 to")) for text in lines) == 3
    assert lines.count("note: agent eu is lost") == 1


@given(st.integers(0, 60), st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)), max_size=7))
def test_fit_never_gives_more_than_wanted_nor_takes_what_is_least(room: int, wishes: list[tuple[int, int]]) -> None:
    given_rows = fit(room, wishes)

    for got, (wanted, least) in zip(given_rows, wishes, strict=True):
        assert min(wanted, least) <= got <= wanted
    if sum(given_rows) > room:
        assert given_rows == [min(wanted, least) for wanted, least in wishes]


def test_bound_is_shown_as_a_bound() -> None:
    assert row("x", 10, 100, bound=True).run.text()[-1] == "> 610"
    assert Cells().text() == ("-",) * 5


STREAMS = Streams(cells(40, 101), cells(800, 9.9), 812.4, 12, "97.2 %")


def test_requests_to_models_have_one_line_in_the_order_of_decision() -> None:
    (narrow,) = (text for text in drawn(figures(streams=STREAMS), 80, 24) if text.startswith("ttft"))
    (wide,) = (text for text in drawn(figures(streams=STREAMS), 200, 50) if text.startswith("ttft"))

    assert narrow.rstrip() == "ttft 101 p99 354 ms  itl 9.90 p99 34.6  tok/s 812  in flight 12  goodput 97.2 %"
    assert wide.startswith(
        "ttft p50 101 p95 222 p99 354 ms  itl p50 9.90 p99 34.6 ms  output tok/s 812  requests in fl"
    )
    assert "goodput 97.2 %" in wide
    assert not any(text.startswith("ttft") for text in drawn(figures(), 200, 50))


def test_a_line_of_a_log_has_the_figures_of_streams() -> None:
    assert (
        "ttft p50 101 ms p95 222 ms p99 354 ms, itl p50 9.90 ms p99 34.6 ms, 812 output tok/s, 12 requests in flight,"
        " goodput 97.2 %" in line(figures(streams=STREAMS))
    )
    assert "ttft" not in line(figures())
