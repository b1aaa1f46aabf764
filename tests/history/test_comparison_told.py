"""A comparison in words, as a page, as a document, and drawn: each says what is known, and nothing more."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from math import nan

import pytest

from loadgen.analysis.compare import Between
from loadgen.history.compare.compare import compare
from loadgen.history.compare.comparison import Comparison, Side
from loadgen.history.compare.json_document import encode
from loadgen.history.compare.page import page
from loadgen.history.compare.quantile_plot import svg, text_plot
from loadgen.history.compare.quantiles import QUANTILES, Curve, Quantiles, curve_of
from loadgen.history.compare.text import report_of
from loadgen.report.exports.markdown import report_lines
from tests.support.accepted import accepted, history

SHOP = {"checkout": 400.0, "checkout > login": 120.0}
PAST = history(20, SHOP, sd=0.02)


def compared(factor: float = 1.3, name: str = "B", past: bool = True, **more: object) -> Comparison:
    base = Side("A", (accepted(SHOP, run_id="run-a"),))
    slow = {one: ms * factor for one, ms in SHOP.items()}
    return compare(base, Side(name, (accepted(slow, run_id="run-b", **more),)), history=PAST if past else ())  # type: ignore[arg-type]


def curve(*changes: float, band: float = 0.02, known: bool = True) -> Curve:
    """As many quantiles as there are, the last one again and again."""
    change = (*changes, *(changes[-1:] * len(QUANTILES)))[: len(QUANTILES)]
    low, high = (tuple(one + off for one in change) for off in (-band, band))
    return Curve("checkout", change, low, high, known)


# -- words ----------------------------------------------------------------------------------------


def test_headline_counts_names_and_their_verdicts() -> None:
    assert report_of(compared()).headline == "B (1 run) compared with A (1 run): of 2 names, by p95, 2 slower."
    assert report_of(compared(1.0)).headline.endswith("2 without a clear difference.")


def test_how_much_runs_differ_is_said_with_the_runs_that_it_is_from() -> None:
    (line,) = report_of(compared()).lines
    assert re.fullmatch(r"Runs of the same code differ by [12]\.\d % .*; 20 runs of the history\)\.", line)


def test_what_is_inconclusive_says_what_would_tell() -> None:
    report = report_of(compared(past=False))
    assert report.result == "inconclusive"
    assert "the run-to-run variation of this code is unknown" in report.lines[0]
    assert "--between 3%" in report.lines[1]
    assert all(cell.startswith("(") for *_, cell in report.tables[0].rows)


def test_fast_failures_are_told_as_what_they_are() -> None:
    report = report_of(compared(0.7, failed=dict.fromkeys(SHOP, 600)))
    assert report.headline.endswith("2 faster but with more errors, 2 with more errors.")
    assert any("went from 0.00 % to 5.00 %" in line and "That is not an improvement" in line for line in report.lines)
    assert {row[2] for row in report.tables[0].rows} == {"more errors"}


def test_errors_are_in_the_headline_where_no_latency_changed() -> None:
    headline = report_of(compared(1.0, failed={"checkout": 600})).headline
    assert headline.endswith("2 without a clear difference, 1 with more errors.")


def test_one_bad_region_is_told_as_what_it_is() -> None:
    def regions(us: float) -> dict[str, dict[str, float]]:
        return {"eu": SHOP, "us": {name: ms * us for name, ms in SHOP.items()}}

    base = Side("A", (accepted(SHOP, run_id="a", regions=regions(1.0)),))
    new = Side("B", (accepted({n: ms * 1.2 for n, ms in SHOP.items()}, run_id="b", regions=regions(1.4)),))
    report = report_of(compare(base, new, history=PAST))
    (line,) = [line for line in report.lines if line.startswith("Only region us")]
    assert "is +40.0 % there and 0.0 % elsewhere (p95, and 1 more name)" in line
    assert "this region and not the release" in line
    assert any(table.title.startswith("By region") for table in report.tables)


def test_many_names_are_cut_to_what_matters_unless_all_are_asked_for() -> None:
    shop = {f"journey {n}": 100.0 for n in range(30)}
    sides = [Side(name, (accepted(shop, run_id=name),)) for name in ("A", "B")]
    found = compare(*sides, history=history(20, shop))
    short, whole = report_of(found).tables[0], report_of(found, all_rows=True).tables[0]
    assert (len(short.rows), len(whole.rows)) == (30, 120)
    assert "of 120 rows" in short.note


def test_markdown_shows_the_figures_and_folds_the_rest_and_names_are_no_markup() -> None:
    text = "\n".join(report_lines(report_of(compared(name="@team <b>|"))))
    assert text.startswith("### &#64;&#8203;team &lt;b&gt;\\|")
    assert "| checkout | p50 | slower |" in text
    assert text.count("<details>") == text.count("</details>") >= 1


# -- page and document ----------------------------------------------------------------------------


class Tags(HTMLParser):
    """Which elements are opened, and how often each attribute that could fetch or run something is there."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.grave: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append(tag)
        self.grave += [name for name, _ in attrs if name in ("src", "style") or name.startswith("on")]


def test_style_of_the_page_is_the_one_that_its_policy_allows() -> None:
    text = page([compared()], [[]]).decode()
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in text


def test_page_has_figures_and_curves_and_runs_and_fetches_nothing() -> None:
    text = page([compared(), compared(1.0)], [[curve(0.1)], []]).decode()
    found = Tags(text)
    assert found.opened.count("h1") == 2
    assert found.opened.count("svg") == 1
    assert not {"script", "iframe", "object", "embed"} & set(found.opened)
    assert found.grave == []
    assert "default-src 'none'" in text


def test_names_in_a_page_are_text() -> None:
    text = page([compared(name='<script>alert("x")</script>')], [[]]).decode()
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_document_has_every_row_and_null_for_what_is_not_known() -> None:
    found = json.loads(encode([compared(past=False)], [[curve(0.1, nan)]], 3))
    assert (found["format"], found["outcome"], found["exit_code"]) == (1, "inconclusive", 3)
    (one,) = found["comparisons"]
    assert {row["p"] for row in one["rows"]} == {None}
    assert {(row["name"], row["percentile"]) for row in one["rows"]} == {
        (name, percentile) for name in SHOP for percentile in ("p50", "p95", "p99", "mean")
    }
    assert one["curves"][0]["change"][:2] == [0.1, None]
    assert one["new"]["runs"][0]["run_id"] == "run-b"


# -- curves ---------------------------------------------------------------------------------------


def quantiles(shift: float = 0.0, tail: float = 0.0, error: float = 0.01) -> Quantiles:
    """From 100 ms on; `tail` on top from p90 on."""
    values = tuple((100.0 + q) * (1 + shift) * (1 + (tail if q >= 90 else 0.0)) for q in QUANTILES)
    return Quantiles(values, (error,) * len(QUANTILES))


def test_known_shift_of_all_quantiles_is_a_flat_curve() -> None:
    found = curve_of("x", [quantiles()], [quantiles(0.1)], {})
    assert found.change == pytest.approx([0.1] * 99)
    assert all(low < 0.1 < high for low, high in zip(found.low, found.high, strict=True))
    assert not found.is_known
    assert "the run-to-run variation is unknown" in found.band


def test_known_shift_of_the_tail_is_seen_there_only() -> None:
    found = curve_of("x", [quantiles()], [quantiles(tail=0.3)], {})
    assert found.change[:89] == pytest.approx([0.0] * 89)
    assert found.change[89:] == pytest.approx([0.3] * 10)


def test_band_holds_how_much_runs_differ_by_the_nearest_percentile() -> None:
    known = {name: Between(s, s, 19, 20) for name, s in (("p50", 0.01), ("p95", 0.04), ("p99", 0.16))}
    found = curve_of("x", [quantiles()], [quantiles()], known)
    width = [high - low for low, high in zip(found.low, found.high, strict=True)]
    assert width[49] < width[94] < width[98]
    assert found.is_known


def test_several_runs_a_side_make_the_band_by_themselves() -> None:
    found = curve_of("x", [quantiles(0.0), quantiles(0.04)], [quantiles(0.1), quantiles(0.12)], {})
    assert found.is_known
    assert found.low[50] < found.change[50] < found.high[50]


def test_pairs_do_not_see_what_drifts_in_both() -> None:
    base, new = ([quantiles(off + own) for off in (0.0, 0.2, 0.4)] for own in (0.0, 0.05))
    alone, paired = curve_of("x", base, new, {}), curve_of("x", base, new, {}, is_paired=True)
    assert alone.low[50] < 0 < paired.low[50]


def test_runs_too_short_have_a_curve_without_a_band() -> None:
    found = curve_of("x", [quantiles(error=nan)], [quantiles(0.1, error=nan)], {})
    assert found.change[50] == pytest.approx(0.1)
    assert found.band.startswith("No band")
    assert "●" in "".join(text_plot(found))
    assert "polygon" not in svg(found)


def test_quantiles_of_which_only_a_bound_is_known_are_left_out() -> None:
    cut = Quantiles((*quantiles().values_ms[:-1], nan), quantiles().errors)
    found = curve_of("x", [cut], [quantiles()], {})
    assert found.change[97] == pytest.approx(0.0)
    assert found.change[98] != found.change[98]


def test_plot_is_above_the_line_where_the_new_side_is_slower() -> None:
    lines = text_plot(curve(*[0.0] * 50, 0.2))
    zero = next(n for n, line in enumerate(lines) if line.lstrip().startswith("0 "))
    assert all(line[9:].find("●") > 30 for line in lines[:zero] if "●" in line)
    assert lines[zero][9:20].count("●") > 5
    assert lines[-1].split() == ["p10", "p25", "p50", "p75", "p90", "p99"]
    assert max(map(len, lines)) <= 9 + 66 + 3


@pytest.mark.parametrize("changes", [(0.0,), (5.0, -0.5), (nan,), (1e6,), (1e-9,)])
def test_any_curve_can_be_drawn(changes: tuple[float, ...]) -> None:
    lines = text_plot(curve(*changes))
    assert len(lines) == 12
    assert svg(curve(*changes)).endswith("</svg>")
    assert "nan" not in svg(curve(*changes))


def test_a_plot_of_no_size_is_refused() -> None:
    with pytest.raises(ValueError, match="a plot needs at least 11 by 3 characters"):
        text_plot(curve(0.0), height=2)
