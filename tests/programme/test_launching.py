"""What is at stake, the launch page, and the template of a review."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

from loadgen.analysis.recommending.impact import Elasticity, Span
from loadgen.programme.gathering.promises import Volume
from loadgen.programme.launching.at_stake import impact_document, impact_rows, stakes, total_said, without_money
from loadgen.programme.launching.launch_page import launch_page
from loadgen.programme.launching.template import BLANK, review_template
from loadgen.programme.money_file import Abandoned, Money
from loadgen.programme.pages.launch_html import launch_html
from loadgen.programme.recommending.checklist import Check
from loadgen.programme.recommending.facts import Forecast, JourneyFacts, RunFact
from loadgen.programme.recommending.performance import MeanChange
from loadgen.programme.recommending.recommendation import Evidence, Missing, Piece, Policy, Recommendation, recommend

NOW = datetime(2026, 7, 27, 9, tzinfo=UTC)
OWN = Elasticity(100, Span(-0.007, -0.011, -0.003), "own A/B test, 2026-05", tested_ms=200)
CHECKOUT = Money(12.40, "EUR", None, "order", OWN)
WEEK = Volume(41_200, 100, 0.0, "checkout-fast", "S-1180ab3c")
SLOWER = MeanChange("1.4", 86, 71, 102)
AT_STAKE = stakes(("checkout",), {"checkout": CHECKOUT}, {"checkout": WEEK}, {"checkout": SLOWER})


def stake(
    money: Money | None = CHECKOUT, volume: Volume | None = WEEK, change: MeanChange | None = SLOWER
) -> Mapping[str, object]:
    given = {} if money is None else {"checkout": money}
    (found,) = impact_document(
        stakes(
            ("checkout",),
            given,
            {} if volume is None else {"checkout": volume},
            {} if change is None else {"checkout": change},
        )
    )
    return found


def test_the_known_answer_of_the_specification() -> None:
    found = stake()

    assert found["requests"] == 41_200
    money = found["money"]
    assert isinstance(money, dict)
    assert round(money["point"]) == 3_075
    assert money["low"] == pytest.approx(1_303, abs=30)
    assert money["high"] == pytest.approx(4_998, abs=30)
    assert "3,075 EUR a week at stake" in str(found["says"])


@pytest.mark.parametrize(
    ("money", "volume", "change", "says"),
    [
        (replace(CHECKOUT, elasticity=replace(OWN, tested_ms=50)), WEEK, SLOWER, "clipped: the elasticity was tested"),
        (replace(CHECKOUT, elasticity=replace(OWN, kind="published", source="Z")), WEEK, SLOWER, "if our customers"),
        (CHECKOUT, WEEK, MeanChange("1.4", -5, -12, 2), "smaller than its interval, so it may not exist"),
        (CHECKOUT, None, SLOWER, "the volume is unknown"),
        (CHECKOUT, WEEK, None, "the change of the mean response time against a pinned release is unknown"),
        (replace(CHECKOUT, elasticity=None), WEEK, SLOWER, "no elasticity, so there is no figure in money"),
        (CHECKOUT, replace(WEEK, missing_s=7200.0), SLOWER, "2 hours of the week have no counts"),
        (Money(), WEEK, SLOWER, "all users together wait +1.0 hours a week (0.8 to 1.2)"),
        (
            replace(CHECKOUT, abandoned=Abandoned(Span(0.3, 0.2, 0.5), "survey")),
            WEEK,
            SLOWER,
            "100 failed requests a week: 372 EUR a week at stake (95 %: 248 to 620)",
        ),
    ],
)
def test_what_must_not_be_claimed_is_a_note_instead(
    money: Money, volume: Volume | None, change: MeanChange | None, says: str
) -> None:
    found = str(stake(money, volume, change)["says"])

    assert says in found
    assert "because" not in found
    assert "lost" not in found


def test_journeys_of_the_same_purchase_and_other_currencies_are_never_added() -> None:
    def total(*moneys: Money) -> str:
        names = [f"j{n}" for n in range(len(moneys))]
        of = dict(zip(names, moneys, strict=True))
        return total_said(stakes(names, of, dict.fromkeys(names, WEEK), dict.fromkeys(names, SLOWER)))

    assert "order would be counted twice" in total(CHECKOUT, CHECKOUT)
    assert "EUR and USD cannot be added" in total(CHECKOUT, replace(CHECKOUT, currency="USD", purchase="gift"))
    assert "6,151 EUR a week" in total(CHECKOUT, replace(CHECKOUT, purchase="gift")).replace("6,150", "6,151")
    assert total(CHECKOUT) == ""


def test_nothing_is_said_where_nothing_is_known() -> None:
    assert stakes(("checkout",), {}, {}, {}) == ()


def test_what_programme_toml_lacks_for_money_is_named_by_key_and_table() -> None:
    valued = replace(CHECKOUT, elasticity=None)

    assert without_money(("checkout",), {"checkout": CHECKOUT}) == ()
    assert without_money(("checkout", "refund"), {"checkout": valued}) == (
        "`elasticity` of [journeys.checkout]",
        "`value` and `elasticity` of [journeys.refund]",
    )
    assert "programme.toml lacks `elasticity` of [journeys.checkout]" in str(stake(valued)["says"])
    assert "programme.toml lacks `value` and `elasticity` of [journeys.checkout]" in str(stake(Money())["says"])
    page = launch_page(
        recommended(), "v412", ("refund",), "D-8", NOW.isoformat(), no_money=without_money(("refund",), {})
    )
    text = " ".join(Texts(launch_html(page)).found)
    assert "No cost was computed: programme.toml lacks `value` and `elasticity` of [journeys.refund]." in text


def recommended() -> Recommendation:
    gate = Evidence("gate", "G-88", "no-go", "p95 <b>is</b> 11 % slower", NOW, "v412", journey="checkout")
    others = impact_rows(
        stakes(("checkout",), {"checkout": CHECKOUT}, {"checkout": WEEK}, {"checkout": SLOWER}), "v412"
    )
    override = Evidence("override 1", "D-7", "open", "D-7 was overridden by maria", release="v412", required=False)
    policy = Policy("v412", (Piece("gate", "checkout"), Piece("headroom", "checkout")))
    return recommend([gate, *others, override], policy, NOW, missing=[Missing("loadgen capacity find x", 60, "peak")])


class Texts(HTMLParser):
    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page.decode())

    def handle_data(self, data: str) -> None:
        self.found.append(data)


def test_the_launch_page_has_all_parts_and_no_text_as_html() -> None:
    checks = (Check("rollback", "the rollback was done", "done", "jo", "2026-07-26T10:00:00Z"),)

    page = launch_page(
        recommended(), "v412", ("checkout",), "D-8", NOW.isoformat(), checks=checks, at_stake=AT_STAKE, notes=("torn",)
    )
    html = launch_html(page)
    text = " ".join(Texts(html).found)

    assert (page.recommendation, page.reason) == ("NO-GO", "Against it: gate of checkout.")
    assert [one.kind for one in page.evidence] == ["gate", "headroom"]
    assert [one.state for one in page.evidence] == ["failed", "open"]
    for part in (
        "3,075 EUR",
        "D-7 was overridden by maria",
        "the rollback was done",
        "loadgen capacity find x",
        "torn",
    ):
        assert part in text
    assert "Nobody has signed yet: loadgen decide --sign D-8" in text
    assert b"<b>is</b>" not in html


def test_the_template_is_filled_and_its_blanks_are_marked() -> None:
    runs = [RunFact("run-1", NOW, "v412", "valid", frozenset({"checkout"}), (), file="shop.py:peak", minutes=10)]
    facts = {"checkout": JourneyFacts(forecast=Forecast(300, 360, NOW))}

    text = review_template(
        recommended(), "v412", ("checkout",), "D-8", NOW.isoformat(), runs=runs, facts=facts,
        checks=(Check("rollback", "the rollback was done"),),
    )  # fmt: skip

    for part in (
        "# Performance review of v412: checkout",
        f"Decision that is asked for: {BLANK}",
        "Run run-1 of shop.py:peak, 10 min: valid",
        "Expected peak of checkout: 300/s to 360/s, until 2026-07-27",
        f"- hot keys: {BLANK}",
        "gate of checkout: no-go:",
        "`loadgen capacity find x`",
        f"the rollback was done: {BLANK} (who, until when)",
        f"NO-GO. Signed: {BLANK}",
    ):
        assert part in text
    assert "<b>" not in text
