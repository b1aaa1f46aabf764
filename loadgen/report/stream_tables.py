"""Format requests to AI models as tables: their times in the order of decision, their tokens, and the failed ones.

The times are those of requests that ended ok. Requests that failed are in a table of their own, with the output tokens
that they had cost. All figures are by our own convention (docs/llm-conventions.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from loadgen.measure.deltas.series_key import OK
from loadgen.report.report_parts import PLACEHOLDER, Table, milliseconds
from loadgen.report.summary_reader import Llm, Series, StreamFigures, Summary, TokenFigures
from loadgen.units import format_count, format_ratio, quantity

__all__ = ["stream_name", "stream_tables"]

_ALL: Final = "*"
_NO_TIMES: Final = StreamFigures()
_NO_TOKENS: Final = TokenFigures()
MOST_ROWS: Final = 30
"""The most rows of a table; summary.json has all."""


def stream_tables(summary: Summary) -> Iterator[Table]:
    """Yield the tables of requests to AI models; nothing if the run had none."""
    if summary.llm is None:
        return
    lines = [s for s in summary.series if s.region == _ALL and s.kind == "request" and s.stream_ms]
    rows = [s for s in lines if s.outcome == _ALL]
    ok = {_place(s): s for s in lines if s.outcome == OK}
    several = len({s.journey for s in rows}) > 1
    left_out = f"summary.json has {quantity(len(rows) - MOST_ROWS, 'more row')}." if rows[MOST_ROWS:] else ""
    names = [(stream_name(s, several), ok.get(_place(s))) for s in rows[:MOST_ROWS]]
    yield Table(
        "Streams, ms",
        ("", "count", "ttft p50", "p95", "p99", "due p95", "itl p50", "p99", "tpot p50"),
        tuple(_times(name, s) for name, s in names),
        note="\n".join(filter(None, (_TIMES_NOTE, left_out))),
    )
    tokens = [_tokens(name, s, summary.llm.measured_s) for name, s in names]
    yield Table(
        "Tokens of streams", _TOKEN_COLUMNS, tuple(tokens), note=_total(summary, summary.llm, list(ok.values()))
    )
    failed = tuple(_failed(s, several) for s in lines if s.outcome not in (_ALL, OK))
    if failed:
        note = "wasted: output tokens of requests that failed. The tables above leave these requests out."
        yield Table("Failed streams", ("", "outcome", "count", "with a token", "wasted"), failed[:MOST_ROWS], 2, note)


_TIMES_NOTE: Final = (
    "Requests to AI models that ended ok. ttft: to the first token; due: ttft from when the request was due; itl: gap"
    " before each token, over tokens; tpot: mean gap of a request. docs/llm-conventions.md defines them."
)
_TOKEN_COLUMNS: Final = ("", "in", "cached", "out", "out p99", "output tok/s")


def stream_name(s: Series, several: bool) -> str:
    """Return the name of a row, with its journey if the table has `several` journeys, and its step."""
    return " > ".join(filter(None, (s.journey if several else "", s.step, s.request)))


def _place(s: Series) -> tuple[str, str | None, str | None]:
    return s.journey, s.step, s.request


def _times(name: str, s: Series | None) -> tuple[str, ...]:
    found = {} if s is None else s.stream_ms
    ttft, due = found.get("ttft", _NO_TIMES), found.get("ttft_due", _NO_TIMES)
    itl, tpot = found.get("itl", _NO_TIMES), found.get("tpot", _NO_TIMES)
    shown = (ttft.p50, ttft.p95, ttft.p99, due.p95, itl.p50, itl.p99, tpot.p50)
    return name, format_count(ttft.count), *map(milliseconds, shown)


def _tokens(name: str, s: Series | None, measured_s: float | None) -> tuple[str, ...]:
    found = {} if s is None else s.tokens
    prompt, output = found.get("prompt", _NO_TOKENS), found.get("output", _NO_TOKENS)
    cached = found.get("cached", _NO_TOKENS)
    share = format_ratio(cached.sum / prompt.sum) if cached.count and prompt.sum else PLACEHOLDER
    rate = _number(output.sum / measured_s) if measured_s and output.count else PLACEHOLDER
    return name, _mean(prompt), share, _mean(output), _p99(output), rate


def _failed(s: Series, several: bool) -> tuple[str, ...]:
    ttft = s.stream_ms.get("ttft", _NO_TIMES)
    wasted = s.tokens.get("output", _NO_TOKENS).sum
    return (
        stream_name(s, several),
        s.outcome,
        format_count(ttft.count),
        format_count(ttft.count - ttft.censored),
        format_count(wasted),
    )


def _total(summary: Summary, llm: Llm, ok: Sequence[Series]) -> str:
    """Return the sentences with the totals over all rows, and how far their tokens are known.

    ok: the rows of requests that ended ok.
    """
    rate = "" if llm.output_tokens_per_s is None else f", {_number(llm.output_tokens_per_s)} output tokens/s"
    prompt, output = (format_count(llm.tokens.get(name, 0)) for name in ("prompt", "output"))
    known = sum(s.tokens.get("prompt", _NO_TOKENS).count for s in ok)
    if not known:
        prompt = "an unknown number of"
    elif known < llm.ok:
        prompt = f"{prompt} (known of {quantity(known, 'request')})"
    ended = f"{format_count(llm.ok)} of {quantity(llm.requests, 'request')} ended ok"
    total = (
        f"in, out: mean tokens of a request. In all: {ended}, with {prompt} prompt and {output} output tokens{rate}."
    )
    # Rows by tag have all outcomes, and a request that failed may have had no usage, either.
    failed = llm.requests - llm.ok
    guessed = sum(s.count for s in summary.tagged if _is_guessed(s)) - failed
    if guessed <= 0:
        return total
    without = f"{'at least ' if failed else ''}{quantity(guessed, 'request')}"
    return (
        f"{total} An estimate: the server sent no usage for {without}, so each event of a stream counts as one output "
        "token, and may have several."
    )


def _is_guessed(s: Series) -> bool:
    """Return whether this is the row of requests whose tokens were counted by events."""
    return s.kind == "request" and (s.region, s.outcome) == (_ALL, _ALL) and s.tags == {"tokens": "events"}


def _mean(figures: TokenFigures) -> str:
    return PLACEHOLDER if not isinstance(figures.mean, float | int) else _number(figures.mean)


def _p99(figures: TokenFigures) -> str:
    return PLACEHOLDER if not isinstance(figures.p99, float | int) else _number(figures.p99)


def _number(value: float) -> str:
    """Return a number of tokens with one decimal below 100, and whole above."""
    return f"{value:,.1f}" if value < 99.95 and value % 1 else f"{value:,.0f}"
