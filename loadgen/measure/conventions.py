"""The figures of one stream, such as TTFT and TPOT, as each tool of the field defines them.

The input is a list of events, so the figures of any tool can be computed from one recorded stream. Each function
follows the code of its tool: vLLM `bench serve` 009e6d4, SGLang 0.5.23, AIPerf 0.13.0, GuideLLM ee7a774,
inference-perf 7de5ef2, MLPerf LoadGen b66003e. `docs/llm-conventions.md` explains each convention. It also has a table
of special cases, such as streams of one token, without usage, or with an error in them.

Some tools use data that a list of events does not contain. Without usage, SGLang takes the requested number of tokens,
and vLLM counts with its own tokenizer. inference-perf always counts with its own tokenizer. Here the known tokens of
the events replace these numbers. A chunk whose tokens are unknown counts as one token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal

from loadgen.measure.streams import KIND_NUMBERS, EventKind, tokens_of_events

__all__ = ["CONVENTIONS", "Convention", "Event", "Figures", "chunks_of", "figures"]

Convention = Literal["ours", "vllm", "sglang", "aiperf", "guidellm", "inference-perf", "mlperf"]
Event = tuple[int, EventKind, int]
"""(nanoseconds since the call of the request, kind, tokens). Tokens are -1 if they are unknown. For the kind "usage"
they are the number of all output tokens so far."""
Figures = dict[str, float | list[float] | None]
"""Figures of one stream by their keys, see `figures`."""

_GENERATED: Final[tuple[EventKind, ...]] = ("reasoning", "content", "tool_call", "refusal")
_NO_REFUSAL: Final[tuple[EventKind, ...]] = ("reasoning", "content", "tool_call")


@dataclass(slots=True)
class _Chunk:
    """One event of the SSE stream: its time, and the tokens of each kind in it (-1: unknown)."""

    t_ns: int
    tokens: dict[EventKind, int] = field(default_factory=dict)

    def has(self, kinds: Iterable[EventKind]) -> bool:
        return any(kind in self.tokens for kind in kinds)

    def count(self, kinds: Iterable[EventKind]) -> int:
        """Return the tokens of these kinds; -1 if one of the counts is unknown."""
        counts = [self.tokens[kind] for kind in kinds if kind in self.tokens]
        return -1 if -1 in counts else sum(counts)


def figures(
    events: Sequence[Event],
    convention: Convention,
    *,
    chunks: Sequence[int] | None = None,
    hidden_tokens: int = 0,
) -> Figures:
    """Return the figures of one stream by one convention. Figures whose key ends in "_ms" are in ms.

    All conventions have the keys `ttft_ms`, `itl_ms`, `tpot_ms` and `e2e_ms`. Further keys of a convention:
    ours: ttfb_ms, ttfo_ms, icl_ms, stall_ms, closed_ms, output_tokens, itl_is_exact (a bool).
    sglang: itl_speculative_ms. aiperf: ttfo_ms, icl_ms, itl_per_chunk_ms. guidellm: ttfot_ms (as our ttfo).
    inference-perf: tpot_server_ms (with the server's count of tokens), ntpot_ms.

    Keys that begin with `itl` and end in "_ms", and `icl_ms`, hold a list with a value for each token or gap. In aiperf
    and guidellm, `itl_ms` and `itl_per_chunk_ms` hold a list with one value, the mean of the request. A list is empty
    if the stream has no such value. In mlperf, `itl_ms` is None. Other figures are None if the tool does not have them
    for this stream: because it never computes them, because the stream is too short, or because the tool counts the
    request as failed.

    Args:
        events: in the order of their arrival; times must not decrease. Events with the same time came in one read.
        convention: one of CONVENTIONS.
        chunks: for each event, the number of the SSE event that contained it, because one SSE event can have content
            and a finish reason. Default: each event is an SSE event of its own.
        hidden_tokens: output tokens that usage counts and no event has, such as hidden reasoning. Only "ours" uses it.

    Raises:
        ValueError: an unknown convention or kind, a number of tokens below -1, or times that decrease.
    """
    compute = _COMPUTE.get(convention)
    if compute is None:
        raise ValueError(f'unknown convention "{convention}". Use one of {", ".join(_COMPUTE)}.')
    for _, kind, tokens in events:
        if kind not in KIND_NUMBERS:
            raise ValueError(f'unknown kind of event "{kind}". Use one of {", ".join(KIND_NUMBERS)}.')
        if tokens < -1:
            raise ValueError(f"invalid number of tokens {tokens}: must be at least 0, or -1 if unknown")
    if any(later[0] < earlier[0] for earlier, later in pairwise(events)):
        raise ValueError("the times of the events must not decrease")
    if convention == "ours":
        return _ours(events, hidden_tokens)
    return compute(_chunks(events, chunks))


def chunks_of(joined: Sequence[int], events: int) -> list[int]:
    """Return the argument `chunks` of `figures`, from the SSE events with several parts.

    joined: of each such SSE event the index of its first part and the number of its parts, one after the other.
    """
    numbers = list(range(events))
    for first, count in zip(joined[::2], joined[1::2], strict=True):
        numbers[first : first + count] = [first] * count
    return numbers


def _chunks(events: Sequence[Event], numbers: Sequence[int] | None) -> list[_Chunk]:
    found: list[_Chunk] = []
    last: int | None = None
    for i, (t_ns, kind, tokens) in enumerate(events):
        number = i if numbers is None else numbers[i]
        if number != last or not found:
            found.append(_Chunk(t_ns))
            last = number
        chunk = found[-1]
        if kind in _GENERATED and kind in chunk.tokens:
            before = chunk.tokens[kind]
            tokens = -1 if -1 in (before, tokens) else before + tokens
        chunk.tokens[kind] = tokens
    return found


def _usage(chunks: Sequence[_Chunk]) -> int:
    """Return the last usage, or -1."""
    return next((c.tokens["usage"] for c in reversed(chunks) if c.tokens.get("usage", -1) >= 0), -1)


def _sum(chunks: Iterable[_Chunk], kinds: Sequence[EventKind]) -> int:
    """Return the tokens of these kinds; a chunk with an unknown count is one token."""
    return sum(max(c.count(kinds), 1) if c.count(kinds) < 0 else c.count(kinds) for c in chunks if c.has(kinds))


def _ms(ns: float) -> float:
    return ns / 1e6


def _gaps(times_ns: Sequence[int]) -> list[float]:
    return [_ms(later - earlier) for earlier, later in pairwise(times_ns)]


def _first(chunks: Iterable[_Chunk], kinds: Sequence[EventKind]) -> float | None:
    return next((_ms(c.t_ns) for c in chunks if c.has(kinds)), None)


def _failed(**more: list[float] | None) -> Figures:
    """Return figures without values, because the tool counts this request as failed."""
    return {"ttft_ms": None, "itl_ms": [], "tpot_ms": None, "e2e_ms": None, **more}


def _ours(events: Sequence[Event], hidden: int) -> Figures:
    times = [t_ns for t_ns, _, _ in events]
    kinds = [KIND_NUMBERS[kind] for _, kind, _ in events]
    counts, output, exact, _ = tokens_of_events(times, kinds, [tokens for _, _, tokens in events], hidden)
    reads: dict[int, int] = {}  # the tokens of each read that had some, by its time
    for (t_ns, kind, tokens), count in zip(events, counts, strict=True):
        if kind in _GENERATED and tokens != 0:
            reads[t_ns] = reads.get(t_ns, 0) + count
    arrived = list(reads)
    found: Figures = {
        "ttfb_ms": _ms(times[0]) if times else None,
        "ttft_ms": _ms(arrived[0]) if arrived else None,
        "ttfo_ms": next((_ms(t) for t, kind, n in events if kind in _GENERATED and kind != "reasoning" and n), None),
        "itl_ms": [],
        "icl_ms": _gaps(arrived),
        "stall_ms": max(_gaps(arrived), default=None),
        "tpot_ms": None,
        "e2e_ms": _ms(arrived[-1]) if arrived else None,
        "closed_ms": _ms(times[-1]) if times else None,
        "output_tokens": output,
        "itl_is_exact": exact,
    }
    if not arrived:
        return found
    itl: list[float] = []
    counted = arrived[0]
    for t_ns in arrived[1:]:
        if count := reads[t_ns]:
            itl += [_ms((t_ns - counted) / count)] * count
            counted = t_ns
    found["itl_ms"] = itl
    later = output - hidden - reads[arrived[0]]
    if later > 0:
        found["tpot_ms"] = _ms((arrived[-1] - arrived[0]) / later)
    return found


def _vllm(chunks: Sequence[_Chunk]) -> Figures:
    """Return vLLM's figures. Each chunk with a choice counts, even without text, as the role and the finish reason."""
    times = [c.t_ns for c in chunks if c.has(("role", *_GENERATED, "finish"))]
    if not times:
        return _failed()
    output = _usage(chunks)
    if output <= 0:
        output = _sum(chunks, ("content",))
    return {
        "ttft_ms": _ms(times[0]),
        "itl_ms": _gaps(times),
        "tpot_ms": _ms((times[-1] - times[0]) / (output - 1)) if output > 1 else 0.0,
        "e2e_ms": _ms(times[-1]),
    }


def _sglang(chunks: Sequence[_Chunk]) -> Figures:
    """Return SGLang's figures. Chunks with content or reasoning count. Without such a chunk, its TTFT stays 0.

    The end of the request is the last line of the stream.
    """
    if not chunks:
        return _failed(itl_speculative_ms=[])
    kinds: tuple[EventKind, ...] = ("reasoning", "content")
    texts = [c for c in chunks if c.has(kinds)]
    ttft = texts[0].t_ns if texts else 0
    output = _usage(chunks)
    if output < 0:
        output = _sum(texts, kinds)
    speculative: list[float] = []
    for earlier, later in pairwise(texts):
        tokens = later.count(kinds)
        tokens = 1 if tokens < 0 else tokens
        speculative += [_ms((later.t_ns - earlier.t_ns) / tokens)] * tokens if tokens else []
    return {
        "ttft_ms": _ms(ttft),
        "itl_ms": _gaps([c.t_ns for c in texts]),
        "itl_speculative_ms": speculative,
        "tpot_ms": _ms((chunks[-1].t_ns - ttft) / (output - 1)) if output > 1 else None,
        "e2e_ms": _ms(chunks[-1].t_ns),
    }


def _aiperf(chunks: Sequence[_Chunk]) -> Figures:
    """Return AIPerf's figures. ITL is one mean per request.

    The mean leaves out one token. `itl_per_chunk_ms` (AIPerf's `--per-chunk-usage`) leaves out all tokens of the first
    chunk.
    """
    texts = [c for c in chunks if c.has(_NO_REFUSAL)]
    if not texts:
        return _failed(ttfo_ms=None, icl_ms=[], itl_per_chunk_ms=[])
    first, last = texts[0], texts[-1]
    output = _usage(chunks)
    if output < 0:
        output = _sum(texts, _NO_REFUSAL)
    itl = [_ms((last.t_ns - first.t_ns) / (output - 1))] if output > 1 else []
    in_first = _tokens_of_first(chunks, first)
    later = output - in_first if 0 < in_first < output else output - 1
    return {
        "ttft_ms": _ms(first.t_ns),
        "ttfo_ms": _first(texts, ("content", "tool_call")),
        "itl_ms": itl,
        "itl_per_chunk_ms": [_ms((last.t_ns - first.t_ns) / later)] if itl else [],
        "icl_ms": _gaps([c.t_ns for c in texts]),
        "tpot_ms": None,
        "e2e_ms": _ms(last.t_ns),
    }


def _tokens_of_first(chunks: Sequence[_Chunk], first: _Chunk) -> int:
    """Return the tokens of `first`: the usage in it or directly after it in the same read, otherwise its own tokens."""
    start = next(i for i, c in enumerate(chunks) if c is first)
    for chunk in chunks[start:]:
        if chunk.t_ns != first.t_ns or (chunk is not first and chunk.has(_GENERATED)):
            break
        if chunk.tokens.get("usage", -1) >= 0:
            return chunk.tokens["usage"]
    return first.count(_NO_REFUSAL)


def _guidellm(chunks: Sequence[_Chunk]) -> Figures:
    """Return GuideLLM's figures. ITL is one mean per request; TPOT includes the time to the first token.

    GuideLLM stops reading at [DONE].
    """
    end = next((i for i, c in enumerate(chunks) if "done" in c.tokens), len(chunks) - 1)
    chunks = chunks[: end + 1]
    texts = [c for c in chunks if c.has(_NO_REFUSAL)]
    output = _usage(chunks)
    if output < 0:
        output = len(texts)
    if not chunks or any("error" in c.tokens for c in chunks) or (not texts and output == 0):
        return _failed(ttfot_ms=None)
    closed = chunks[-1].t_ns
    last = texts[-1].t_ns if texts else closed
    return {
        "ttft_ms": _first(texts, _NO_REFUSAL),
        "ttfot_ms": _first(texts, ("content", "tool_call")),
        "itl_ms": [_ms((last - texts[0].t_ns) / (output - 1))] if texts and output > 1 else [],
        "tpot_ms": _ms(last / output) if output > 0 else None,
        "e2e_ms": _ms(closed),
    }


def _inference_perf(chunks: Sequence[_Chunk]) -> Figures:
    """Return inference-perf's figures. Only content counts, and each token has the time of its chunk.

    A stream of one token has no TTFT.
    """
    times: list[int] = []
    for chunk in chunks:
        if "content" in chunk.tokens:
            tokens = chunk.tokens["content"]
            times += [chunk.t_ns] * (1 if tokens < 0 else tokens)
    output = len(times)
    by_server = _usage(chunks)
    by_server = by_server if by_server > 0 else output
    streamed = output > 1
    spent = times[-1] - times[0] if streamed else 0
    return {
        "ttft_ms": _ms(times[0]) if streamed else None,
        "itl_ms": _gaps(times),
        "tpot_ms": _ms(spent / (output - 1)) if streamed else None,
        "tpot_server_ms": _ms(spent / (by_server - 1)) if streamed and by_server > 1 else None,
        "ntpot_ms": (_ms(chunks[-1].t_ns / output) if output else 0.0) if chunks else None,
        "e2e_ms": _ms(chunks[-1].t_ns) if chunks else None,
    }


def _mlperf(chunks: Sequence[_Chunk]) -> Figures:
    """Return MLPerf LoadGen's figures. LoadGen divides whole nanoseconds, and drops the remainder.

    There, the system under test reports the first token and the end.
    """
    texts = [c for c in chunks if c.has(_GENERATED)]
    output = _usage(chunks)
    if output < 0:
        output = _sum(texts, _GENERATED)
    has_tpot = texts and output > 1
    return {
        "ttft_ms": _ms(texts[0].t_ns) if texts else None,
        "itl_ms": None,
        "tpot_ms": _ms((chunks[-1].t_ns - texts[0].t_ns) // (output - 1)) if has_tpot else None,
        "e2e_ms": _ms(chunks[-1].t_ns) if chunks else None,
    }


def _never(chunks: Sequence[_Chunk]) -> Figures:
    raise AssertionError(chunks)


_COMPUTE: Final[dict[Convention, Callable[[Sequence[_Chunk]], Figures]]] = {
    "ours": _never,
    "vllm": _vllm,
    "sglang": _sglang,
    "aiperf": _aiperf,
    "guidellm": _guidellm,
    "inference-perf": _inference_perf,
    "mlperf": _mlperf,
}
CONVENTIONS: Final[tuple[Convention, ...]] = tuple(_COMPUTE)
