"""The report of a model: its figures, that nothing from a log is markup, and how a browser shows it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from loadgen.report.short_texts import cut_in_middle
from loadgen.traffic.fidelity.verdict import PROPERTIES, Row, Verdict, result_of
from loadgen.traffic.model.gap_bins import BINS, EDGES_S, bin_of, shares_below
from loadgen.traffic.model_page.charts import start_chart, start_curve
from loadgen.traffic.model_page.check_page import CheckFacts, check_page
from loadgen.traffic.model_page.facts import PageFacts
from loadgen.traffic.model_page.fidelity import fidelity_section
from loadgen.traffic.model_page.page import model_page
from loadgen.traffic.model_page.pauses import EdgePauses, busiest_pauses, lognormal_below
from loadgen.traffic.model_page.request_shares import expected_shares, visits_by_session
from loadgen.traffic.model_page.session_graph import drawn_graph, in_order_of_flow
from loadgen.traffic.scenario.draft import Call, Child, Draft, DraftEdge, DraftGraph, DraftNode
from loadgen.traffic.sessions.session_arrivals import session_arrivals
from tests.support.browser import Shown, chromium, needs_chromium
from tests.support.hostile import planted
from tests.support.made_logs import SHOP, Line, lines_of, written_log
from tests.support.made_models import facts_of

VERDICT = Verdict(
    (
        Row("request mix", 0.004, 0.003, 0.01, passed=True),
        Row("think", 0.2, 0.01, 0.05, passed=False, parts={"a": (1, 2.5)}),
        Row("locality", None, passed=True, why="no values"),
    )
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> PageFacts:
    return facts_of(written_log(lines_of(SHOP, 800, 3), tmp_path_factory.mktemp("logs") / "access.log", "alb"))


class Elements(HTMLParser):
    """The elements and attributes of a page, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_goes_from_the_verdict_to_how_to_reproduce_it(shop: PageFacts) -> None:
    page = model_page(shop)

    sections = [value for name, value in Elements(page).attributes if name == "id"]
    assert sections == [
        *("fidelity", "lines", "missing", "starts", "names", "pauses", "timeout", "kinds", "left-out"),
        "reproduce",
    ]
    taken = shop.traffic.accounting.taken
    for part in (
        f"{taken:,} read = {taken:,} + 0 + 0 + 0",
        "800",
        "loadgen model update shop.py",
        "access.log",
        "1.2.3",
    ):
        assert part in page
    assert len(page) < 150_000


def test_what_was_not_measured_is_never_shown_as_passed(shop: PageFacts) -> None:
    alone = model_page(shop)
    assert "fidelity not measured" in alone
    assert "faithful" not in alone
    assert "passed" not in alone[alone.index("<body>") :]

    measured = Elements(model_page(replace(shop, verdict=VERDICT))).text
    assert "3 properties: 1 passed, 1 failed (think), 1 not measured." in measured
    assert "no values" in measured
    assert [result_of(row) for row in VERDICT.rows] == ["passed", "failed", "not measured"]


def test_each_property_that_is_compared_is_explained() -> None:
    verdict = Verdict(tuple(Row(name, 0.0) for name in PROPERTIES))
    shown = Elements("".join(fidelity_section(verdict))).text
    assert all(one.about and one.about in shown for one in PROPERTIES.values())


def test_a_check_is_a_page_with_the_verdict_the_lines_and_the_command(shop: PageFacts) -> None:
    facts = CheckFacts(VERDICT, "log", "shop.py", "1.2.3", ("--log", "/var/log/<b>.log"), shop.traffic)

    page = check_page(facts)

    seen = Elements(page)
    assert "b" not in seen.names
    assert "loadgen model check shop.py --log '<b>.log'" in seen.text
    assert "not faithful" in seen.text
    assert f"{shop.traffic.accounting.taken:,} read" in seen.text
    simulated = check_page(replace(facts, against="simulation", traffic=None, notes=(planted("note"),)))
    assert "simulation of the scenario as it is now, without a target" in simulated
    assert "Every line" not in simulated


def test_the_page_shows_the_verdict_on_the_model(shop: PageFacts) -> None:
    partly = Verdict((VERDICT.rows[0], VERDICT.rows[2]))
    assert '<span class="badge doubt">partly</span>' in model_page(replace(shop, verdict=partly))


def test_any_order_of_the_lines_gives_the_same_bytes(tmp_path: Path, shop: PageFacts) -> None:
    lines = written_log(lines_of(SHOP, 800, 3), tmp_path / "access.log", "alb").read_text().splitlines()
    random.Random(1).shuffle(lines)
    (tmp_path / "access.log").write_text("\n".join(lines) + "\n")

    again = model_page(facts_of(tmp_path / "access.log"))

    digest = "SHA-256"
    assert again[: again.rindex(digest)] == model_page(shop)[: again.rindex(digest)]


def test_nothing_from_logs_or_their_names_is_markup_and_nothing_is_fetched(tmp_path: Path) -> None:
    paths = ['/"><script>alert(1)</script>', "/<img/src=x/onerror=alert(2)>", "/a'onload='x", "/%3Cb%3E", "/::error::x"]
    lines = [
        Line(1_763_632_800 + 60.0 * n + second, n, "GET", path, 0.02)
        for n in range(40)
        for second, path in enumerate([*paths, "/"])
    ]
    log = written_log(lines, tmp_path / "<b onclick=x>.log", "json")
    measured = Row("bytes", 1.0, 0.0, 2.0, parts={planted("part"): (1.0, 2.0)})
    hostile = Verdict((Row("think", None, why=planted("why")), measured))
    facts = replace(facts_of(log, hostile, least_users=1), notes=(planted("note"),), version=planted("version"))

    page = model_page(facts)

    seen = Elements(page)
    assert not {"script", "b", "img", "iframe", "object", "base", "form"} & set(seen.names)
    assert not {name for name, _ in seen.attributes if name.startswith("on")}
    assert {value[:1] for name, value in seen.attributes if name in ("src", "href") and value != "data:,"} == {"#"}
    assert "<script>" in seen.text
    assert "onclick=x" in seen.text
    for name in ("why", "part", "note", "version"):
        assert name in seen.text
    assert not {char for char in page if not char.isprintable() and char not in "\n\N{NO-BREAK SPACE}"}


def test_shares_of_requests_follow_from_the_graph() -> None:
    nodes = (
        DraftNode("home", "GET /", (Call("GET", ("/",)),), (Child(Call("GET", ("/logo.png",)), 0.5),)),
        DraftNode("product", "GET /p/{id}", (Call("GET", ("/p/1",), name="GET /p/{id}"),)),
    )
    edges: dict[str, tuple[DraftEdge, ...]] = {
        "home": (DraftEdge("product", 50), DraftEdge("", 50)),
        "product": (DraftEdge("product", 25), DraftEdge("", 25)),
    }
    graph = DraftGraph("sessions", {"home": 100}, edges, None, "")
    draft = Draft("", "", "", nodes, (graph,))

    assert visits_by_session(graph) == pytest.approx({"home": 1.0, "product": 1.0})
    assert expected_shares(draft, [100]) == pytest.approx({"GET /": 0.4, "GET /logo.png": 0.2, "GET /p/{id}": 0.4})
    no_way_out = replace(graph, edges={**edges, "product": (DraftEdge("product", 1),)})
    assert expected_shares(replace(draft, graphs=(no_way_out,)), [1]) == {}


def test_expected_shares_of_a_model_are_those_of_its_log(shop: PageFacts) -> None:
    expected = expected_shares(shop.draft, shop.sessions)
    taken = shop.traffic.accounting.taken
    for name in shop.traffic.names.kept:
        assert expected[name.name] == pytest.approx(name.count / taken, abs=0.01)


def test_pauses_of_a_lognormal_distribution_are_within_chance_of_it() -> None:
    rng = np.random.default_rng(4)
    gaps = np.bincount(bin_of((rng.lognormal(1.0, 0.6, 4_000) * 1e6).astype(np.int64)), minlength=BINS)

    one = EdgePauses("", "a", "b", 4_000, shares_below(gaps), lognormal_below(1.0, 0.6), "")

    assert one.distance < one.by_chance == pytest.approx(0.0215, abs=0.0001)
    middle, low, high = one.median_s()
    assert low < middle < high
    assert middle == pytest.approx(np.exp(1.0), rel=0.03)
    # The standard error of a median is sqrt(pi/2) sigma/sqrt(n) of the logarithm.
    assert np.log(high / low) == pytest.approx(2 * 1.96 * 1.2533 * 0.6 / np.sqrt(4_000), rel=0.2)
    wrong = replace(one, model=lognormal_below(1.4, 0.6))
    assert wrong.distance == pytest.approx(0.26, abs=0.02)
    assert EDGES_S[0] == 0.001


def test_the_busiest_pauses_are_those_of_the_log_and_of_the_scenario(shop: PageFacts) -> None:
    found = busiest_pauses(shop.counts, shop.draft, whole_seconds=False)

    assert len(found) == 6
    assert [one.count for one in found] == sorted((one.count for one in found), reverse=True)
    assert all(one.distance < 0.1 for one in found)
    assert {(one.node, one.to) for one in found} <= {
        (node, edge.to) for graph in shop.draft.graphs for node, row in graph.edges.items() for edge in row
    }


def test_quantiles_from_a_file_are_drawn_as_the_scenario_draws_them(tmp_path: Path) -> None:
    lines = [
        Line(1_763_632_800 + 10 * n + at, n, "GET", "/", 0.0)
        for n in range(300)
        for at in (0.0, 2.0 if n % 2 else 30.0 + n / 100)
    ]
    facts = facts_of(written_log(lines, tmp_path / "a.log", "json"))

    (one,) = busiest_pauses(facts.counts, facts.draft, whole_seconds=False)

    assert one.text.startswith('quantiles("data/think.csv"')
    assert one.distance < 0.06
    assert float(np.interp(10.0, EDGES_S, one.model)) == pytest.approx(0.5, abs=0.02)


def test_starts_of_the_scenario_are_those_of_the_log_with_the_range_of_one_run() -> None:
    rng = np.random.default_rng(3)
    starts = np.sort(rng.uniform(0, 36_000, 9_000) * 1e6).astype(np.int64)

    curve = start_curve(starts, [session_arrivals(starts)])

    assert curve.bin_s == 300
    assert curve.log.tolist() == curve.model.tolist()
    assert curve.log.sum() == 9_000
    assert curve.high - curve.model == pytest.approx(1.96 * np.sqrt(curve.model))
    assert curve.inside == len(curve.log) == 120
    flat = start_curve(starts, None)
    assert flat.model.tolist() == [75.0] * 120
    # With counts of mean 75, 95 % of the bins are in the range of a run with the same mean.
    assert flat.inside >= 0.9 * 120
    long = start_curve(starts * 200, None)
    assert len(long.log) <= 150
    assert start_chart(long).count("<text") < 20


def test_nodes_stand_in_the_order_of_the_flow() -> None:
    moves = {("home", "search"): 90, ("search", "product"): 60, ("product", "search"): 20, ("product", "buy"): 10}
    assert in_order_of_flow(["product", "buy", "search", "home"], moves) == ["home", "search", "product", "buy"]


def test_a_graph_has_its_busiest_nodes_and_the_shares_of_its_edges(shop: PageFacts) -> None:
    (graph,) = shop.draft.graphs
    drawn = drawn_graph(graph)

    assert drawn.nodes == 5
    assert drawn.share > 0.99
    text = Elements(drawn.svg).text
    for name in graph.edges:
        assert name in text
    many: dict[str, tuple[DraftEdge, ...]] = {
        f"node_{n}": (DraftEdge(f"node_{(n + 1) % 30}", 9), DraftEdge("", 1)) for n in range(30)
    }
    assert drawn_graph(replace(graph, starts={"node_0": 5}, edges=many)).nodes == 8


def test_a_model_with_very_many_edges_has_a_page_below_1_mb(shop: PageFacts) -> None:
    (graph,) = shop.draft.graphs
    names = [f"a_node_with_a_long_name_of_{n:012}" for n in range(41)]
    edges = {name: (*(DraftEdge(to, 5) for to in names), DraftEdge("", 5)) for name in names}
    nodes = tuple(DraftNode(name, f"GET /{name}", (Call("GET", (f"/{name}",)),)) for name in names)
    graphs = tuple(replace(graph, name=f"kind_{n}", starts={names[0]: 9}, edges=edges) for n in range(6))
    counts = replace(shop.counts, states=tuple(node.of for node in nodes[:-1]), classes=shop.counts.classes * 6)
    walks = counts.classes[0].walks
    wide = replace(
        walks, gaps=np.ones((41, 41, BINS), np.int64), starts=np.ones(41, np.int64), moves=np.eye(41, dtype=int)
    )
    counts = replace(counts, classes=tuple(replace(one, walks=wide) for one in counts.classes))
    facts = replace(
        shop,
        draft=replace(shop.draft, nodes=nodes, graphs=graphs),
        traffic=replace(shop.traffic, model=counts, files=("access.log",) * 10_000),
        arrivals=None if shop.arrivals is None else (*shop.arrivals,) * 6,
    )

    page = model_page(facts)

    assert len(page) < 500_000
    assert page.count("1,622 more edges in traffic.json") == 6


def test_long_names_lose_their_middle() -> None:
    assert cut_in_middle("GET /orders", 11) == "GET /orders"
    assert cut_in_middle("GET /orders/status", 11) == "GET /…tatus"
    assert cut_in_middle("abc", 1) == "…"


@needs_chromium
@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (390, "dark"), (1400, "light")])
def test_a_browser_shows_it_within_any_width_and_has_nothing_to_complain_about(
    browser: Browser, shop: PageFacts, tmp_path: Path, width: int, scheme: str
) -> None:
    file = tmp_path / "report.html"
    file.write_text(model_page(replace(shop, verdict=VERDICT)))
    with Shown.within(browser, width=width) as shown:
        shown.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        shown.page.goto(file.as_uri())
        assert shown.page.evaluate("document.documentElement.scrollWidth") == width
        assert shown.page.locator("svg.walk .node").count() == 5
        smallest = shown.page.locator("svg.walk text").evaluate_all(
            "all => Math.min(...all.map((one) => one.getBoundingClientRect().height))"
        )
        assert smallest >= 10
        assert shown.faults == []
        assert shown.asked == [file.as_uri()]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened
