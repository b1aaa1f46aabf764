"""The causes of slow requests in sentences and short lines: the same words on the terminal, the page and in Markdown.

"Lies in" and "goes with" are chosen with care: traces show where time went, not what would go away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from loadgen.report.report_parts import milliseconds
from loadgen.report.why_slow.cause_file import Attribute, CauseFile, Example, Ranked, Same
from loadgen.report.why_slow.database.lines import path_lines, pool_text
from loadgen.traces.trace_attributes import STATUS
from loadgen.units import NS_PER_MS, format_count, format_duration, format_ratio, quantity

__all__ = [
    "added_text",
    "all_lines",
    "attribute_text",
    "database_lines",
    "detail_parts",
    "example_title",
    "foot_lines",
    "headline",
    "ms_text",
    "path_text",
    "pool_lines",
    "sentence_of",
    "share_text",
    "sure_text",
    "without_text",
]

ARROW = " > "
_MANY_MORE = 0.5
"""The numbers of calls are shown if the means of slow and fast traces differ by at least this."""
_LEAST_NS = 5_000
"""A shorter time is shown as 0."""
_ATTRIBUTES = 3
_TOGETHER = 4
"""The number of attributes that are named if all of them mark the same traces."""
_LEAST_Q = 1e-9
_CANDIDATES = 3
_NOTES = 12
_REASONS = 3
_PAIRS = 2
_UNEXPLAINED = 4
_LEAST_PART = 0.005
"""The smallest part of the difference that is named as not explained."""
_MOST_SENTENCES = 5
"""Ranked paths in Markdown and JUnit: the length of a comment on a pull request is limited."""


def path_text(path: Sequence[str], most: int | None = None) -> str:
    """Return a path in words: "shop: POST /checkout > stock: reserve > SELECT item".

    A service is named where it changes. most: the most characters; a longer text loses its first elements.
    """
    parts: list[str] = []
    before = ""
    for element in path:
        service, colon, operation = element.partition(": ")
        parts.append(operation if colon and service == before and operation else element)
        before = service
    text = ARROW.join(parts)
    first = 0
    while most is not None and len(text) > most and first < len(parts) - 1:
        first += 1
        rest = [path[first], *parts[first + 1 :]]
        text = f"…{ARROW}{ARROW.join(rest)}"
    return text


def ms_text(ns: float, *, sign: bool = False) -> str:
    """Return a time in ms with three digits: "190", "-0.40"; with a sign "+190"."""
    if abs(ns) < _LEAST_NS:
        return "0"
    text = milliseconds(abs(ns) / NS_PER_MS)
    return f"{'-' if ns < 0 else '+' if sign else ''}{text}"


def share_text(share: float) -> str:
    """Return a share in whole percent: "67 %"."""
    return f"{share * 100:.0f} %" if abs(share) >= 0.095 or not share else f"{share * 100:.1f} %"


def headline(causes: CauseFile) -> str:
    """Return the slow request in one line: name, percentile, objective, and the share above it with its interval."""
    of, chosen = causes.objective, causes.chosen
    parts = []
    if chosen.observed_ms is not None:
        parts.append(f"{chosen.percentile} {milliseconds(chosen.observed_ms)} ms")
    parts.append(f"objective {chosen.text}" if chosen.text else f"slow: above {ms_text(of.threshold_ns)} ms")
    where = f"{of.name} in {chosen.region}" if chosen.region else of.name
    if chosen.above is None:
        return f"{where}: {', '.join(parts)}"
    low, high = chosen.above_interval
    interval = ""
    if low is not None and high is not None:
        interval = f"; 95 %: {format_ratio(low).removesuffix(' %')} to {format_ratio(high)}"
    counted = f" (of {quantity(of.requests, 'request')}{interval})" if of.requests else ""
    return f"{where}: {', '.join(parts)}: {format_ratio(chosen.above)} above it{counted}"


def added_text(one: Ranked, causes: CauseFile) -> str:
    """Return the added time of a path and its share of the difference: "+190 of +283 ms (67 %)"."""
    whole = ms_text(causes.difference_ns, sign=True)
    return f"{ms_text(one.added_ns, sign=True)} of {whole} ms ({share_text(one.share)})"


def without_text(one: Ranked, causes: CauseFile) -> str:
    """Return the counterfactual of a path: "without its excess: at most 0.10 % above the limit"."""
    if one.without_share_over is None:
        return ""
    text = f"without its excess: {_at_most(one.without_share_over)} above the limit"
    if one.without_percentile_ns is not None:
        text += f", {causes.chosen.percentile} at most {ms_text(one.without_percentile_ns)} ms"
    return text


def _at_most(share: float) -> str:
    return f"at most {format_ratio(share)}" if share > 0 else "none"


def sure_text(one: Ranked, causes: CauseFile) -> str:
    """Return how often the path stays first: "first in 998 of 1,000 resamples"; "" if there are no resamples."""
    of = causes.resampling.resamples
    return f"first in {format_count(round(one.stays_first * of))} of {format_count(of)} resamples" if of else ""


def detail_parts(one: Ranked, causes: CauseFile) -> Iterator[str]:
    """Yield the details of a path: calls, attributes, when it became slower, and the number of traces."""
    if (kind := _kind_text(one)) and (kind,) != one.path:
        yield kind
    for attribute in one.attributes[:_ATTRIBUTES]:
        yield attribute_text(attribute, causes.against)
    if one.since_s is not None:
        error = "" if one.since_error_s is None else f" (± {one.since_error_s:.0f})"
        yield f"slower since second {one.since_s:.0f}{error}"
    if causes.against:
        yield f"in {quantity(one.n_slow, 'trace')} of this run and {format_count(one.n_fast)} of the other"
    else:
        yield f"in {format_count(one.n_slow)} slow and {quantity(one.n_fast, 'fast trace')}"


def database_lines(one: Ranked, causes: CauseFile) -> Iterator[str]:
    """Yield what probes of databases saw of a path: its statement, and the lock chains that held it up."""
    yield from path_lines(one.path, one.statement, one.below, causes.locks)


def _kind_text(one: Ranked) -> str:
    slow, fast = one.slow_calls, one.fast_calls
    if one.kind == "pause" and one.pauses:
        return f"{quantity(one.pauses, 'pause')} of the instance, {ms_text(one.pause_ns)} ms each"
    if one.kind in ("more calls", "retries") or abs(slow - fast) >= _MANY_MORE:
        more, slower = ms_text(one.more_calls_ns, sign=True), ms_text(one.slower_calls_ns, sign=True)
        retries = "retries, " if one.kind == "retries" else ""
        return f"{retries}{slow:.3g} calls instead of {fast:.3g}: more calls {more}, slower calls {slower} ms"
    return one.kind


def attribute_text(one: Attribute, against: str = "") -> str:
    """Return an attribute: "version=2.1 in 96 % of slow, 22 % of fast (q < 1e-9)"; of a number its medians.

    against: the other run, if two runs are compared.
    """
    slow, fast = ("this run", "the other") if against else ("slow", "fast")
    q = f"q {one.q:.2g}" if one.q >= _LEAST_Q else "q < 1e-9"
    if one.value is None:
        return f"{_key_text(one)} {one.slow:.4g} in {slow}, {one.fast:.4g} in {fast}, medians ({q})"
    names = [_named(one), *map(_named, one.together)]
    most = f", and {len(names) - _TOGETHER} more" if len(names) > _TOGETHER else ""
    shares = f"in {share_text(one.slow)} of {slow}, {share_text(one.fast)} of {fast}"
    return f"{' = '.join(names[:_TOGETHER])}{most} {shares} ({q})"


def _named(one: Attribute | Same) -> str:
    """Return "stock service.version=2.1", or for the status of a span "status=error of stock: reserve"."""
    if one.key == STATUS and ": " in one.where:
        return f"{one.key}={one.value} of {one.where}"
    return f"{_key_text(one)}={one.value}"


def _key_text(one: Attribute | Same) -> str:
    return f"{one.where} {one.key}" if one.where else one.key


def sentence_of(number: int, one: Ranked, causes: CauseFile) -> str:
    """Return a ranked path with all its figures in one line, for Markdown and JUnit."""
    figures = [added_text(one, causes), without_text(one, causes), sure_text(one, causes)]
    figures += [*detail_parts(one, causes), *database_lines(one, causes)]
    return f"{number}. {path_text(one.path)}: {'; '.join(text for text in figures if text)}"


def all_lines(causes: CauseFile, together: Sequence[str] = ()) -> Iterator[str]:
    """Yield everything that traces and probes show as lines of text, the most important first.

    together: lines about series of the target that go with slow requests.
    """
    yield headline(causes)
    yield from (sentence_of(number, one, causes) for number, one in enumerate(causes.ranked[:_MOST_SENTENCES], 1))
    yield from pool_lines(causes)
    yield from together
    yield from foot_lines(causes)


def pool_lines(causes: CauseFile) -> Iterator[str]:
    """Yield what probes of PgBouncer saw in the time of slow requests."""
    yield from map(pool_text, causes.pools)


def foot_lines(causes: CauseFile) -> Iterator[str]:
    """Yield the lines below the ranking: unexplained parts, numbers of traces, repairs, notes, and two commands."""
    if causes.not_ranked is not None:
        yield f"nothing is ranked: {causes.not_ranked.reason}"
        for one in causes.not_ranked.candidates[:_CANDIDATES]:
            yield f"candidate, order not reliable: {path_text(one.path)}, {added_text(one, causes)}"
            yield from database_lines(one, causes)
    for pair in causes.pairs[:_PAIRS]:
        both = " and ".join(path_text(path) for path in pair.paths)
        yield f"{both} must both become faster: then {_at_most(pair.without_share_over)} above the limit"
    if parts := [part for part in causes.unexplained if abs(part.added_ns) >= _LEAST_PART * abs(causes.difference_ns)]:
        texts = [f"{ms_text(part.added_ns, sign=True)} ms {path_text(part.path)}" for part in parts[:_UNEXPLAINED]]
        title = "not explained" if causes.lines else f"parts of {ms_text(causes.difference_ns, sign=True)} ms"
        yield f"{title}: {'; '.join(texts)}"
    yield _found_text(causes)
    if causes.found is not None and causes.found.differ:
        corrected = (
            "the weights were corrected for the difference"
            if causes.found.is_corrected
            else "no correction is possible"
        )
        yield f"slow and fast traces were found in different proportions; {corrected}"
    if causes.failed.traces:
        yield _failed_text(causes)
    if causes.cost_ns is not None:
        yield _cost_text(causes, causes.cost_ns)
    if any(causes.repair.values()):
        yield f"repaired: {_counts_text(causes.repair)}"
    if any(causes.left_out.values()):
        yield f"left out: {_counts_text(causes.left_out)}"
    yield from causes.notes[:_NOTES]
    if causes.look:
        yield f"to show a slow trace: {causes.look}"
    if causes.rerun:
        yield f"to check the cause: {causes.rerun}"


def _counts_text(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {format_count(count)}" for name, count in counts.items() if count)


def _failed_text(causes: CauseFile) -> str:
    failed = causes.failed
    text = f"shown separately: {quantity(failed.traces, 'failed request')} ({_counts_text(failed.outcomes)})"
    if failed.paths:
        part = failed.paths[0]
        text += f": {ms_text(part.added_ns, sign=True)} of {ms_text(failed.added_ns, sign=True)} ms are in "
        text += path_text(part.path)
    return text


def _cost_text(causes: CauseFile, cost_ns: float) -> str:
    low, high = causes.cost_interval_ns
    interval = "" if low is None or high is None else f"{ms_text(low)} to {ms_text(high)}"
    numbers = ""
    if causes.cost_sampled:
        numbers = f"{format_count(causes.cost_sampled)} sampled and {quantity(causes.cost_others, 'other request')}"
    more = "; ".join(text for text in (interval, numbers) if text)
    is_clear = low is None or low > 0
    costs = "tracing costs the target" if is_clear else "no measurable cost of tracing for the target:"
    return f"{costs} {ms_text(cost_ns)} ms a request{f' ({more})' if more else ''}"


def _found_text(causes: CauseFile) -> str:
    found = causes.found
    if causes.against:
        text = (
            f"from {quantity(causes.n_slow, 'trace')} of this run and {format_count(causes.n_fast)} of {causes.against}"
        )
    else:
        text = f"from {format_count(causes.n_slow)} slow and {quantity(causes.n_fast, 'fast trace')}"
    if found is not None and found.asked:
        text += f": {format_count(found.found)} of {format_count(found.asked)} requested traces were found"
        if found.slow is not None and found.fast is not None:
            text += f" (slow {share_text(found.slow)}, fast {share_text(found.fast)})"
    for reason, count in sorted(causes.refused.items(), key=lambda one: (-one[1], one[0]))[:_REASONS]:
        text += f"; {format_count(count)} refused: {reason}"
    return text


def example_title(one: Example, kind: str) -> str:
    """Return the title of a waterfall: "A slow request: 812 ms, at 312.0 s, trace 4bf9…"."""
    return f"A {kind}: {format_duration(one.response_ns)}, at {one.at_s:.1f} s, trace {one.trace}"
