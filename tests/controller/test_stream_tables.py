"""The tables of one answer of a model in `loadgen check`: events as they came, figures as each tool defines them."""

from __future__ import annotations

from loadgen.engine.recording.kept_streams import StreamEvents
from loadgen.measure.streams import KIND_NUMBERS
from loadgen.report.report_parts import Table
from loadgen_controller.screen.stream_tables import stream_tables

MS = 1_000_000
ASKED = 7_000 * MS


def tables_of(events: list[tuple[float, str, int]], joined: list[int] | None = None) -> list[Table]:
    kinds = bytearray(KIND_NUMBERS[kind] for _, kind, _ in events)  # type: ignore[index]
    found = StreamEvents(
        [ASKED + round(ms * MS) for ms, _, _ in events], kinds, [n for *_, n in events], joined or [], -1, 0, True
    )
    return list(stream_tables("ask: chat", found, ASKED))


def test_the_golden_stream_has_the_figures_of_every_tool() -> None:
    """The events of tests/data/llm/golden_stream.json, with the known answers of docs/llm-conventions.md."""
    events = [
        *((100.0, "role", -1), (200.0, "reasoning", 2), (300.0, "content", 1), (340.0, "content", 3)),
        *(
            (340.0, "content", 1),
            (420.0, "content", 2),
            (425.0, "finish", -1),
            (430.0, "usage", 9),
            (431.0, "done", -1),
        ),
    ]

    shown, figures = tables_of(events)

    assert [row[0] for row in shown.rows] == [kind for _, kind, _ in events]
    assert shown.rows[1][:2] == ("reasoning", "200.000")
    by_tool = {row[0]: row[1:] for row in figures.rows}
    assert by_tool["ours"] == ("200", "31.43", "31.43", "420")
    assert by_tool["vllm"] == ("100", "54.17", "40.62", "425")
    assert by_tool["mlperf"] == ("200", "-", "28.88", "431")
    assert len(by_tool) == 7


def test_of_a_long_stream_the_first_and_the_last_events_are_shown() -> None:
    events = [(float(n), "content", 1) for n in range(100)]

    shown, _ = tables_of(events)

    assert len(shown.rows) == 12 + 1 + 4
    assert shown.rows[12] == ("84 more", "", "", "")
    assert shown.rows[-1] == ("content", "99.000", "1.000", "1")


def test_a_stream_without_events_has_no_table() -> None:
    assert tables_of([]) == []
