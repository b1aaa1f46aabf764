"""Measure the pure parts of inference streams: the SSE reader, the decoders and the figures of a stream."""

from __future__ import annotations

from collections.abc import Callable
from time import thread_time_ns

from bench.report import Section, held, spread
from loadgen.clients.events import SseReader
from loadgen.clients.llm_apis.apis import APIS
from loadgen.clients.llm_apis.stream_reading import StreamReading
from loadgen.engine.recording.kept_streams import StreamKeeper
from loadgen.measure.streams import CONTENT, DONE, FINISH, ROLE, USAGE, stream_times

__all__ = ["measure"]

COUNT = 4_000
TURNS = 21
CHUNKS = 256
HOW = f"""\
CPU time of the thread in this process, {TURNS} turns of each in alternation, {COUNT:,} calls a turn. \
The figures are per event. \
The event is a chunk of chat completions of 184 bytes with one word. *figures*: `stream_times` of a stream of {CHUNKS} \
chunks, per event; with usage at the end, with usage in each chunk, and with two tokens a chunk that usage does not \
tell apart. *figures of one token*: the whole call for a stream of one chunk. *reading*: `StreamReading.feed` of one \
event. *choice*: whether a stream is kept, for one that is not, once a stream."""

CHAT = (
    b'{"id":"chatcmpl-9a1b","object":"chat.completion.chunk","created":1694268190,"model":"qwen3-8b",'
    b'"choices":[{"index":0,"delta":{"content":" lamp"},"logprobs":null,"finish_reason":null}]}'
)
ANTHROPIC = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" lamp"}}'
BUDGETS_NS = {"SSE reader, one event a read": 600, "figures, usage at the end": 100, "figures of one token": 4_000}


def _stream(chunks: int, *, tokens: int = 1, is_continuous: bool = False) -> tuple[list[int], bytearray, list[int]]:
    times, kinds, counts = [1_000_000_000], bytearray([ROLE]), [-1]
    for i in range(1, chunks + 1):
        times.append(times[-1] + 20_000_000)
        kinds.append(CONTENT)
        counts.append(-1)
        if is_continuous:
            times.append(times[-1])
            kinds.append(USAGE)
            counts.append(i * tokens)
    times += [times[-1] + 1, times[-1] + 2, times[-1] + 3]
    kinds += bytes([FINISH, USAGE, DONE])
    counts += [-1, chunks * tokens, -1]
    return times, kinds, counts


def _works() -> dict[str, tuple[Callable[[], object], int]]:
    """Each function that is measured, and the number of events of one call."""
    one = b"data: " + CHAT + b"\n\n"
    reader = SseReader()
    reader.feed(one)
    ten, half = one * 10, len(one) // 2
    named = b"event: content_block_delta\ndata: " + ANTHROPIC + b"\n\n"
    final, continuous, uneven = _stream(CHUNKS), _stream(CHUNKS, is_continuous=True), _stream(CHUNKS, tokens=2)
    short = _stream(1)
    chat, anthropic = APIS["chat"].decode, APIS["anthropic"].decode
    reading, keeper = StreamReading(APIS["chat"]), StreamKeeper(1e-9, 3)
    keeper.bar_ns = 1 << 40
    return {
        "SSE reader, one event a read": (lambda: reader.feed(one), 1),
        "SSE reader, ten events a read": (lambda: reader.feed(ten), 10),
        "SSE reader, an event in two reads": (lambda: (reader.feed(one[:half]), reader.feed(one[half:])), 1),
        "SSE reader, an event with a name": (lambda: reader.feed(named), 1),
        "decoder of chat completions": (lambda: chat("message", CHAT), 1),
        "decoder of Anthropic messages": (lambda: anthropic("content_block_delta", ANTHROPIC), 1),
        "figures, usage at the end": (lambda: stream_times(*final), len(final[0])),
        "figures, usage in each chunk": (lambda: stream_times(*continuous), len(continuous[0])),
        "figures, two tokens a chunk": (lambda: stream_times(*uneven), len(uneven[0])),
        "reading of one event": (lambda: reading.feed(one, 1), 1),
        "choice of a stream to keep": (lambda: keeper.bar_ns < 1_000 or keeper.hash(0, 123_456) < keeper.below, 1),
        "figures of one token": (lambda: stream_times(*short), 1),
    }


def measure(*, turns: int = TURNS) -> Section:
    works = _works()
    took_ns: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(turns):
        for name, (work, events) in works.items():
            calls = max(COUNT // events, 1)
            began = thread_time_ns()
            for _ in range(calls):
                work()
            took_ns[name].append((thread_time_ns() - began) / calls / events)
    rows = [(name, *spread(values, 0)) for name, values in took_ns.items()]
    verdict = " ".join(
        f"Budget of {name}: {budget:,} ns: {held(min(took_ns[name]) <= budget)}." for name, budget in BUDGETS_NS.items()
    )
    return Section("Inference streams", HOW, ("part", "least, ns", "median, ns"), rows, verdict)
