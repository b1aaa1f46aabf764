"""Files and folders of traces: formats, archives, lines, limits, and errors with path and line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import zstandard

from loadgen.backends import trace_files as module
from loadgen.backends.trace_files import collect_files, trace_files
from loadgen.errors import ExitCode, TraceFormatError, UsageError
from loadgen.traces.convert.spans import SpanCollector
from loadgen.traces.model import Trace
from tests.support.trace_documents import as_jaeger, as_otlp, as_otlp_protobuf, as_zipkin, shop_trace

TRACES = [shop_trace(number) for number in range(1, 6)]
LINES = b"".join(json.dumps(as_otlp(*one)).encode() + b"\n" for one in TRACES)


def read(path: Path, **of_collector: object) -> list[Trace]:
    found = SpanCollector(**of_collector)  # type: ignore[arg-type]
    collect_files(trace_files(path), found)
    return found.traces()


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a"])
def test_files_with_one_object_a_line_are_read_packed_or_plain(tmp_path: Path, name: str) -> None:
    data = LINES
    if name.endswith("gz"):
        data = gzip.compress(data)
    if name.endswith("zst"):
        data = zstandard.ZstdCompressor().compress(data)
    (tmp_path / name).write_bytes(data)
    assert [(trace.id, len(trace.spans)) for trace in read(tmp_path)] == [(id, len(spans)) for id, spans in TRACES]


@pytest.mark.parametrize("piece", [1, 7, 1_000, 1 << 20])
def test_the_size_of_pieces_changes_nothing(tmp_path: Path, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PIECE_BYTES", piece)
    (tmp_path / "lines").write_bytes(b"\n \n" + LINES.replace(b"\n", b"\r\n\n"))
    (tmp_path / "indented").write_text("\n" + json.dumps(as_jaeger(*shop_trace(6)), indent=1))
    (tmp_path / "one line").write_text(json.dumps(as_zipkin(*shop_trace(7))) + "\n")
    (tmp_path / "proto.pb").write_bytes(as_otlp_protobuf(*shop_trace(8)))
    found = {trace.id: len(trace.spans) for trace in read(tmp_path)}
    assert found == {id: len(spans) for id, spans in (*TRACES, shop_trace(6), shop_trace(7), shop_trace(8))}


def test_a_trace_may_be_spread_over_files_of_a_folder(tmp_path: Path) -> None:
    id, spans = shop_trace()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/a.json").write_text(json.dumps(as_otlp(id, spans[:2])))
    (tmp_path / "b.pb.gz").write_bytes(gzip.compress(as_otlp_protobuf(id, spans[2:])))
    (tmp_path / ".hidden").write_text("no trace")
    [trace] = read(tmp_path)
    assert (trace.id, len(trace.spans)) == (id, len(spans))


def test_only_wanted_traces_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(LINES)
    assert [trace.id for trace in read(tmp_path, only=[TRACES[3][0]])] == [TRACES[3][0]]


def test_progress_is_reported_for_each_file(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(LINES)
    seen: list[tuple[int, int]] = []
    collect_files(trace_files(tmp_path), SpanCollector(), lambda done, of: seen.append((done, of)))
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "a.json: the document is empty"),
        (b"<html>", "a.json: this is a page in HTML"),
        (LINES + b'{"resourceSpans": [', "a.json:6: OTLP JSON: invalid JSON: Input data was truncated"),
        (LINES[:-40], "a.json:5: OTLP JSON: invalid JSON"),
        (LINES + b"\nhello\n", "a.json:7: unknown format"),
    ],
)
def test_errors_name_the_file_and_the_line(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(TraceFormatError, match=words) as caught:
        read(path)
    assert caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_damaged_archives_are_errors(tmp_path: Path, pack: object) -> None:
    assert callable(pack)
    path = tmp_path / "a.gz"
    path.write_bytes(pack(LINES)[:-20])
    with pytest.raises(UsageError, match=r"a.gz: the archive (ends too early|is damaged)"):
        read(path)


@pytest.mark.parametrize("text", [b"\n", b" ", b"x", b'{"a": [\n'])
def test_a_small_archive_that_expands_without_end_is_refused(
    tmp_path: Path, text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LEAST_LIMIT_BYTES", 1 << 20)
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(text * ((4 << 20) // len(text))))
    with pytest.raises(UsageError, match=r"the archive has .* bytes, and its content more than"):
        read(path)


def test_lines_and_documents_have_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LINE_BYTES", 30_000)
    monkeypatch.setattr(module, "MOST_DOCUMENT_BYTES", 50_000)
    monkeypatch.setattr(module, "_PIECE_BYTES", 1_000)
    lines, document = tmp_path / "lines", tmp_path / "document"
    lines.write_bytes(LINES + b'{"resourceSpans": [' + b" " * 40_000 + b"]}\n")
    with pytest.raises(UsageError, match="a line has more than"):
        read(lines)
    document.write_text(json.dumps(as_otlp(*shop_trace(n_queries=200)), indent=1))
    with pytest.raises(UsageError, match="the limit for a single JSON document"):
        read(document)


def test_missing_and_empty_places_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        trace_files(tmp_path / "none")
    with pytest.raises(UsageError, match="has no files"):
        trace_files(tmp_path)
    monkeypatch.setattr(module, "MOST_FILES", 1)
    for name in "ab":
        (tmp_path / name).write_bytes(LINES)
    with pytest.raises(UsageError, match="more than 1 files"):
        trace_files(tmp_path)
    with pytest.raises(UsageError, match="cannot be read"):
        collect_files([tmp_path / "gone"], SpanCollector())
