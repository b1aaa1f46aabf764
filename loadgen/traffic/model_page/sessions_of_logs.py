"""Sections about sessions: their starts, the time-out, pauses, and kinds with their graphs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from loadgen.outside_text import in_html
from loadgen.report.report_parts import PLACEHOLDER, Table
from loadgen.report.static_page import table_html
from loadgen.traffic.model.gap_bins import EDGES_S, Think, fitted, shares_below
from loadgen.traffic.model.model_counts import ClassCounts
from loadgen.traffic.model_page.charts import pause_chart, start_chart, start_curve
from loadgen.traffic.model_page.facts import PageFacts
from loadgen.traffic.model_page.pauses import EdgePauses, busiest_pauses, quantile
from loadgen.traffic.model_page.session_graph import drawn_graph
from loadgen.traffic.names.naming import OTHER
from loadgen.traffic.scenario.draft import DraftGraph
from loadgen.units import NS_PER_S, format_count, format_duration, format_share, quantity

__all__ = ["kinds_section", "pauses_section", "starts_section", "timeout_section"]

_LONG_S: Final = 600.0
_STEADY: Final = 0.05
_TELLING: Final = 3
_MOST_EDGES: Final = 100
"""Rows of a table of edges. 6 graphs with 41 nodes each can have 10,000 edges: 1.7 MB."""


def starts_section(facts: PageFacts) -> Iterator[str]:
    """Yield the curve of session starts, of the log and of the scenario."""
    traffic = facts.traffic
    curve = start_curve(traffic.sessions.starts, facts.arrivals)
    width = format_duration(curve.bin_s * NS_PER_S)
    yield '<p class="keys"><span class="log">log</span><span class="mod">scenario, mean of runs</span>'
    yield '<span class="rng">95 % of runs of the scenario</span></p>'
    yield f'<figure class="chart wide-chart">{start_chart(curve)}</figure>'
    bins = len(curve.log)
    yield (
        f'<p class="note">Sessions that start in each {width}; all times are UTC. In {format_count(curve.inside)} of '
        f"{format_count(bins)} bins the log is within the range of one run.</p>"
    )
    if facts.arrivals is None:
        yield f"<p>The scenario plays a mean rate, because {in_html(traffic.no_arrivals)}.</p>"
        return
    rows = []
    for graph, one, n in zip(facts.draft.graphs, facts.arrivals, facts.sessions, strict=True):
        spacing = "random: poisson()"
        if one.cv is not None:
            spacing = f"{'bursts' if one.cv > 1 else 'even'}: gamma(cv={one.cv:.2f})"
        rate = f"{n / len(one.counts):.3g}/min"
        peak = format_count(max(one.counts))
        rows.append((graph.name, format_count(n), rate, peak, f"{one.dispersion:.2f}", f"{one.step_s} s", spacing))
    columns = ("kind", "sessions", "mean rate", "busiest minute", "dispersion", "counts of", "spacing")
    note = (
        "Dispersion: the variance of counts within a minute, divided by that of random starts: 1 if the starts "
        "are random, more for bursts, less for even starts."
    )
    yield table_html(Table("", columns, tuple(rows), note=note))


def timeout_section(facts: PageFacts) -> Iterator[str]:
    """Yield how much the number and length of sessions depend on the time-out."""
    sessions = facts.traffic.sessions
    requests = int(sessions.lengths.sum())
    by_timeout = {float(timeout_s): count for timeout_s, count in sessions.counts_by_timeout.items()}
    by_timeout[sessions.timeout_s] = sessions.count
    rows = []
    for timeout_s, count in sorted(by_timeout.items()):
        mark = " (chosen)" if timeout_s == sessions.timeout_s else ""
        change = count / sessions.count - 1
        shown = f"{change:+.1%}".replace("%", " %") if change else PLACEHOLDER
        rows.append(
            (format_duration(timeout_s * NS_PER_S) + mark, format_count(count), shown, f"{requests / count:.2f}")
        )
    columns = ("time-out", "sessions", "difference", "requests for each session")
    yield table_html(Table("", columns, tuple(rows)))
    reach = max(abs(count / sessions.count - 1) for count in by_timeout.values())
    what = "matters little" if reach < _STEADY else "matters: compare the scenarios of several time-outs"
    text = f"The largest difference is {format_share(reach)}, so the choice of the time-out {what}."
    gaps = np.sum([one.walks.gaps.sum((0, 1)) for one in facts.counts.classes], axis=0)
    if gaps.sum() and sessions.timeout_s > _LONG_S:
        below = shares_below(gaps, whole_seconds=not facts.traffic.has_fractions)
        longer = round(1 - float(np.interp(_LONG_S, EDGES_S, below)), 6)
        text += (
            f" Of {quantity(int(gaps.sum()), 'pause')} within sessions, {format_share(longer)} are longer than "
            f"{format_duration(_LONG_S * NS_PER_S)}."
        )
    yield f"<p>{text}</p>"


def pauses_section(facts: PageFacts) -> Iterator[str]:
    """Yield the pauses of the busiest edges."""
    found = busiest_pauses(facts.counts, facts.draft, whole_seconds=not facts.traffic.has_fractions)
    if not found:
        yield "<p>No session has a second action, so there are no pauses.</p>"
        return
    yield '<p class="keys"><span class="log">log</span><span class="mod">scenario</span>'
    yield '<span class="chn">95 % range of the log\'s shares by chance</span></p>'
    yield '<div class="plots">'
    for one in found:
        yield from _pauses(one)
    yield "</div>"
    yield (
        '<p class="note">The share of pauses below a time, on a logarithmic axis. By chance: a sample of this size '
        "differs from its own distribution by up to this much (95 %).</p>"
    )


def _pauses(one: EdgePauses) -> Iterator[str]:
    middle, low, high = (format_duration(value * NS_PER_S) for value in one.median_s())
    model = format_duration(quantile(one.model, 0.5) * NS_PER_S)
    kind = f'<span class="note">{in_html(one.kind)}</span>' if one.kind else ""
    yield f'<figure class="chart"><figcaption><h3>{in_html(f"{one.node} → {one.to}")}</h3>{kind}</figcaption>'
    yield pause_chart(one)
    yield (
        f'<p class="note">{quantity(one.count, "pause")}. Median {middle} ({low} to {high}, 95 %), scenario {model}. '
        f"Largest difference {one.distance:.3f}, by chance up to {one.by_chance:.3f}. Scenario: {in_html(one.text)}</p>"
    )
    yield "</figure>"


def kinds_section(facts: PageFacts) -> Iterator[str]:
    """Yield the kinds of sessions: a table of what tells them apart, and the graph of each."""
    counts, draft = facts.counts, facts.draft
    total = sum(facts.sessions)
    every = np.sum([one.walks.visits for one in counts.classes], axis=0)
    rows = []
    for graph, one in zip(draft.graphs, counts.classes, strict=True):
        pause = fitted(one.walks.gaps.sum((0, 1)), whole_seconds=not facts.traffic.has_fractions)
        visits, counted = int(one.walks.visits.sum()), max(1, int(one.lengths.sum()))
        rows.append(
            (
                graph.name,
                _telling(facts, one, every),
                format_count(len(one.starts)),
                _share_of_sessions(len(one.starts), total),
                f"{visits / counted:.2f}",
                format_share(int(one.lengths[1]) / counted),
                format_share(int(one.lengths[11:].sum()) / counted),
                _median(pause),
            )
        )
    columns = (
        *("kind", "typical requests", "sessions", "share (95 %)", "actions", "1 action", "> 10 actions"),
        "median pause",
    )
    note = (
        "Typical requests: nodes whose share of the kind's actions is most above their share of all actions. "
        "The interval of a share covers the chance of the number of sessions alone, not the search for kinds."
    )
    yield table_html(Table("", columns, tuple(rows), words=2, note=note))
    if not counts.sample.is_all:
        sample = format_count(counts.sample.table.count)
        yield f'<p class="note">The kinds were found in a random sample of {sample} sessions; all sessions count.</p>'
    yield '<div class="plots">'
    for graph, one in zip(draft.graphs, counts.classes, strict=True):
        yield from _graph(graph, one, total)
    yield "</div>"
    yield (
        '<p class="note">The busiest nodes of each kind. Blue steps go down, orange ones back up or to the same node. '
        "The width is the number of steps, the figure is the share of the node's successors.</p>"
    )


def _median(pause: Think | None) -> str:
    return PLACEHOLDER if pause is None else format_duration(pause.median * NS_PER_S)


def _share_of_sessions(count: int, total: int) -> str:
    from loadgen.analysis.proportion_interval import clopper_pearson  # slow to import, and only for this page

    if count == total:
        return format_share(1)
    low, high = clopper_pearson(count, total)
    return f"{format_share(count / total)} ({low * 100:.3g} to {format_share(high)})"


def _telling(facts: PageFacts, one: ClassCounts, every: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> str:
    """Return the nodes whose share is larger in this kind than in all sessions, the largest difference first."""
    counts = facts.counts
    mine, all_ = one.walks.visits / max(1, one.walks.visits.sum()), every / max(1, every.sum())
    node_of = {node.of: node.name for node in facts.draft.nodes}
    names = [node_of.get(name, name) for name in (*counts.states, OTHER)]
    if len(counts.classes) == 1:
        at = [int(n) for n in np.argsort(-mine, kind="stable")[:_TELLING] if mine[n]]
        texts = [f"{names[n]} {format_share(float(mine[n]))}" for n in at]
    else:
        at = [int(n) for n in np.argsort(all_ - mine, kind="stable")[:_TELLING] if mine[n] > all_[n]]
        texts = [f"{names[n]} {format_share(float(mine[n]))} (all: {format_share(float(all_[n]))})" for n in at]
    return ", ".join(text.replace(" %", "\N{NO-BREAK SPACE}%") for text in texts)


def _graph(graph: DraftGraph, one: ClassCounts, total: int) -> Iterator[str]:
    drawn = drawn_graph(graph)
    share = format_share(len(one.starts) / total)
    text = f"{quantity(len(one.starts), 'session')}, {share}; drawn: {drawn.nodes} of {len(graph.edges)} nodes"
    yield f'<figure class="chart"><figcaption><h3>{in_html(graph.name)}</h3>'
    yield f'<span class="note">{text}, {format_share(drawn.share)} of the steps</span></figcaption>'
    yield drawn.svg
    every = sorted(((name, edge) for name, row in graph.edges.items() for edge in row), key=lambda one: -one[1].count)
    rows = tuple(
        (name, edge.to or "leave", format_count(edge.count), format_share(edge.count / max(1, _sum(graph, name))))
        for name, edge in every[:_MOST_EDGES]
    )
    more = len(every) - len(rows)
    note = f"{quantity(more, 'more edge')} in traffic.json." if more else ""
    table = table_html(Table("", ("node", "then", "count", "share"), rows, words=2, note=note))
    yield f"<details><summary>{quantity(len(every), 'edge')} as a table</summary>{table}</details></figure>"


def _sum(graph: DraftGraph, node: str) -> int:
    return sum(edge.count for edge in graph.edges[node])
