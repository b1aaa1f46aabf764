"""The figures of other tools that a plan records besides ours: from the bytes of a stream to custom metrics."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from loadgen.clients.llm.settings import Llm
from loadgen.clients.llm_apis.apis import APIS
from loadgen.clients.llm_apis.stream_reading import StreamReading
from loadgen.engine.recording.recorder import Recorder
from loadgen.engine.recording.stream_meter import StreamMeter
from loadgen.engine.recording.user_meter import Meter
from loadgen.measure.conventions import chunks_of
from loadgen.measure.deltas.series_key import OK
from loadgen.measure.merging.merge import Merge

MS = 1_000_000
READS = (
    (100, b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'),
    (200, b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}\n\n'),
    (240, b'data: {"choices":[{"index":0,"delta":{"content":" b"},"finish_reason":"stop"}]}\n\n'),
    (
        250,
        b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\ndata: [DONE]\n\n',
    ),
)


def read() -> StreamReading:
    reading = StreamReading(APIS["chat"])
    for ms, data in READS:
        reading.feed(data, ms * MS)
    return reading


def test_an_event_with_text_and_a_finish_reason_is_one_chunk_of_vllm() -> None:
    found = read().figures("vllm", 0)

    assert (found["ttft_ms"], found["itl_ms"], found["tpot_ms"], found["e2e_ms"]) == (100, [100, 40], 140, 240)


def test_parts_of_one_event_have_one_number_and_all_others_their_own() -> None:
    reading = read()

    numbers = chunks_of(reading.joined, len(reading.t_ns))

    assert len(reading.t_ns) == 6
    assert [number - numbers[0] for number in numbers] == [0, 1, 2, 2, 4, 5]


def test_a_meter_records_the_figures_of_ok_streams_as_custom_metrics_by_warm_up() -> None:
    recorder, reading = Recorder(), read()

    def settle(outcome: str, *, warmup: bool = False) -> None:
        series = recorder.request_series("ask", None, "chat", warmup)
        held: Any = SimpleNamespace(
            series=series,
            asked_ns=0,
            done_ns=250 * MS,
            outcome=outcome,
            wait_ns=None,
            own_limits=None,
            stream_times=lambda: reading.times(0, 250 * MS),
            convention_figures=lambda: iter([("vllm", reading.figures("vllm", 0))]),
        )
        meter = object.__new__(StreamMeter)
        meter.recorder, meter._sample, meter._is_held = recorder, held, True
        before = Meter.settle
        Meter.settle = lambda self: None  # type: ignore[method-assign]
        try:
            meter.settle()
        finally:
            Meter.settle = before  # type: ignore[method-assign]

    settle(OK)
    settle("stream truncated")
    settle(OK, warmup=True)
    merge = Merge()
    delta = recorder.flip(0, 1_000 * MS)
    merge.accept("eu", replace(delta, agent="a", epoch=1, run_id="run"))

    itl, _ = merge.select("trend", request="vllm itl", metric="value")
    assert (itl.total, itl.sum_ns) == (2, 140 * MS)
    assert merge.select("trend", request="vllm itl", metric="value", warmup=True)[0].total == 2


def test_an_unknown_convention_is_an_error_of_the_settings() -> None:
    wrongs = list(Llm(model="m", conventions=("vlm",)).wrongs())  # type: ignore[arg-type]

    assert wrongs == [
        ("Llm: unknown convention 'vlm'", "use one of vllm, sglang, aiperf, guidellm, inference-perf, mlperf")
    ]
    assert list(Llm(model="m", conventions="vllm").wrongs())  # type: ignore[arg-type]
    assert not list(Llm(model="m", conventions=("vllm", "aiperf")).wrongs())
    assert Llm(model="m", conventions=("vllm",)).as_json() == {"model": "m", "conventions": ("vllm",)}
