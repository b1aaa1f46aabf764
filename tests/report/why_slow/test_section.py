"""The section "Why slow" of the page: every text is escaped, its size is bounded, and its bar adds up."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html.parser import HTMLParser

from msgspec.structs import replace

from loadgen.report.why_slow.cause_file import Attribute, Example, Part, Ranked, WaterfallRow
from loadgen.report.why_slow.database.parts import AdvicePart, LockPart, PoolPart, StatementPart
from loadgen.report.why_slow.lines import attribute_text
from loadgen.report.why_slow.section import section
from loadgen.report.why_slow.waterfall import MOST_PIECES, MOST_ROWS
from tests.support.made_causes import MS, made_causes

HOSTILE = "<script>alert(1)</script>\"' onload=x \x1b[31m\u202e"


@dataclass
class Seen:
    tags: set[str]
    attributes: set[str]
    text: str


def seen_in(page: str) -> Seen:
    found = Seen(set(), set(), "")

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.tags.add(tag)
            found.attributes |= {name for name, _ in attrs}

        def handle_data(self, data: str) -> None:
            found.text += data

    Reader().feed(page)
    return found


def _statement(text: str) -> StatementPart:
    return StatementPart(
        probe=text, text=text, query_id="1", how="fingerprint", plan=(text,) * 5, advice=AdvicePart(text=text)
    )


def _lock(path: tuple[str, ...], text: str) -> LockPart:
    return LockPart(
        probe=text, path=path, root=text, waiter=text, relation=text, root_state=text, root_statement=text,
        root_earlier=(text,) * 3, root_holds=(text,) * 3, statement=text, how=text,
    )  # fmt: skip


def steps_in(page: str) -> list[tuple[str, float, float]]:
    """Kind, begin and width of each step of the bar, in units of the drawing."""
    found = re.findall(r'<rect class="(step-\w+)" x="([\d.]+)" y="3" width="([\d.]+)"', page)
    return [(kind, float(x), float(width)) for kind, x, width in found]


def test_section_has_the_ranked_paths_and_both_waterfalls() -> None:
    seen = seen_in(section(made_causes()))
    assert "shop: POST /checkout > stock: reserve > SELECT item" in seen.text
    assert "41 calls instead of 1: more calls +171, slower calls +19.0 ms" in seen.text
    assert "A slow request: 403 ms" in seen.text
    assert "A fast request: 120 ms" in seen.text


def test_steps_of_the_bar_lead_from_the_fast_mean_to_the_slow_one() -> None:
    (_, begin, fast), *steps, (_, _, slow) = steps_in(section(made_causes()))
    assert (begin, fast, slow) == (0.0, 297.8, 1000.0)
    at = fast
    for kind, x, width in steps:
        assert kind == "step-more"
        assert abs(x - at) < 0.2
        at = x + width
    assert abs(at - slow) < 1.1


def test_paths_that_became_faster_lead_back() -> None:
    causes = made_causes(unexplained=(Part(path=("cache: GET",), added_ns=-50.0 * MS),))
    page = section(causes)
    (less,) = [step for step in steps_in(page) if step[0] == "step-less"]
    assert abs(less[2] - 50 / 453 * 1000) < 0.2 or less[2] > 0
    assert "-50.0 ms" in seen_in(page).text


def test_parts_without_a_line_are_one_step_so_that_the_bar_still_adds_up() -> None:
    page = section(made_causes(unexplained=()))
    assert "+20.0 ms all other paths" in seen_in(page).text


def test_hostile_names_are_text_and_nothing_else() -> None:
    plain = seen_in(section(made_causes()))
    example = Example(
        trace=HOSTILE,
        response_ns=5 * MS,
        at_s=0.0,
        rows=(WaterfallRow(name=HOSTILE, depth=0, begin_ns=0, end_ns=5 * MS),),
    )
    causes = made_causes(
        objective=replace(made_causes().objective, name=HOSTILE),
        chosen=replace(made_causes().chosen, text=HOSTILE, why=HOSTILE, region=HOSTILE),
        ranked=(
            Ranked(
                path=(HOSTILE,),
                added_ns=1.0,
                kind=HOSTILE,
                attributes=(Attribute(where=HOSTILE, key=HOSTILE, value=HOSTILE),),
                statement=_statement(HOSTILE),
            ),
        ),
        unexplained=(Part(path=(HOSTILE,), added_ns=1e9),),
        notes=(HOSTILE,),
        refused={HOSTILE: 1},
        repair={HOSTILE: 1},
        rerun=HOSTILE,
        locks=(_lock((HOSTILE,), HOSTILE),),
        pools=(PoolPart(probe=HOSTILE, most=1, waiting=1, samples=1),),
        slow_example=example,
        fast_example=example,
    )
    page = section(causes)
    seen = seen_in(page)
    assert seen.tags <= plain.tags
    assert seen.attributes <= plain.attributes
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert seen.text.count("<script>alert(1)</script>") >= 10


def test_section_has_at_most_150_kB_whatever_the_target_sent() -> None:
    name = "service: " + "ü<" * 1_000
    rows = tuple(
        WaterfallRow(
            name=name,
            depth=n,
            begin_ns=0,
            end_ns=10**12,
            own_ns=10**9,
            pieces=tuple((k * 10**10, k * 10**10 + 5 * 10**9) for k in range(MOST_PIECES)),
            more=10_000,
            is_error=True,
        )
        for n in range(MOST_ROWS)
    )
    example = Example(trace="0" * 32, response_ns=10**12, at_s=1e6, rows=rows, left_out=200_000)
    attributes = tuple(Attribute(where=name, key=name, value=name, slow=1.0) for _ in range(8))
    path = (name,) * 100
    line = Ranked(path=path, added_ns=1e9, attributes=attributes, statement=_statement(name))
    ranked = (line,) * 30
    causes = made_causes(
        ranked=ranked,
        unexplained=tuple(Part(path=(name,) * 100, added_ns=1e9) for _ in range(30)),
        notes=(name,) * 1_000,
        refused=dict.fromkeys((f"{name}{n}" for n in range(1_000)), 1),
        locks=(_lock(path, name),) * 10,
        pools=(PoolPart(probe=name, most=1, waiting=1, samples=1),) * 5,
        slow_example=example,
        fast_example=example,
    )
    assert len(section(causes).encode()) <= 150_000


def test_waterfalls_have_no_inline_style_because_the_page_forbids_it() -> None:
    assert "style" not in seen_in(section(made_causes())).attributes


def test_error_status_of_a_span_reads_as_an_attribute_of_its_operation() -> None:
    one = Attribute(where="stock: reserve", key="status", value="error", slow=0.9, fast=0.02, q=1e-12)
    assert attribute_text(one) == "status=error of stock: reserve in 90 % of slow, 2.0 % of fast (q < 1e-9)"
