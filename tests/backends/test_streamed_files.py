"""A file with one object a line is read trace by trace, wherever the spans of a trace stand."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.backends.backend import Found, Missing
from loadgen.backends.files import FilesBackend
from loadgen.traces.convert.otlp_json import collect_otlp_json
from loadgen.traces.convert.spans import SpanCollector
from tests.support.trace_documents import as_jaeger, as_otlp, shop_trace

MADE = [shop_trace(number) for number in range(1, 6)]
IDS = [trace for trace, _ in MADE]


def lines_of(order: list[int]) -> list[str]:
    """Each span on a line of its own, in an order."""
    spans = [(trace, span) for trace, spans in MADE for span in spans]
    return [json.dumps(as_otlp(spans[n][0], [spans[n][1]])) + "\n" for n in order]


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(sum(len(spans) for _, spans in MADE))), st.integers(1, 29))
def test_answers_do_not_depend_on_the_places_of_spans_in_lines_and_files(order: list[int], first: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = lines_of(order)
        (folder / "a.jsonl").write_text("".join(lines[:first]) + lines[first] + lines[first])
        (folder / "b.jsonl").write_text("\n" + "".join(lines[first + 1 :]) + "".join(lines[:2]))
        answers = dict(FilesBackend(folder).read([*IDS, "f" * 32]))
    assert isinstance(answers.pop("f" * 32), Missing)
    for trace, spans in MADE:
        answer = answers[trace]
        assert isinstance(answer, Found)
        assert {span.id for span in answer.trace.spans} == {span.id for span in spans}


def test_trace_is_returned_before_the_next_line_is_decoded(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    good = [json.dumps(as_otlp(*one)) + "\n" for one in MADE]
    file.write_text("".join([*good[:3], '{"resourceSpans": [{"traceId": "' + IDS[4] + '", "x": 1}], "x": }\n']))
    answers = FilesBackend(file).read(IDS)
    assert [next(answers)[0] for _ in range(3)] == IDS[:3]


def test_files_without_lines_are_still_read_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(as_otlp(*one)) + "\n" for one in MADE[:3]))
    (tmp_path / "b.json").write_text(json.dumps(as_jaeger(*MADE[3]), indent=1))
    answers = dict(FilesBackend(tmp_path).read(IDS))
    assert [isinstance(answers[one], Found) for one in IDS] == [True] * 4 + [False]


def test_taken_trace_no_longer_counts_for_the_limit_of_spans() -> None:
    found = SpanCollector(most_spans=6)
    for one in MADE:
        collect_otlp_json(json.dumps(as_otlp(*one)).encode(), found)
        taken = found.take(one[0])
        assert taken is not None
        assert len(taken.spans) == 6
    assert found.traces() == []
