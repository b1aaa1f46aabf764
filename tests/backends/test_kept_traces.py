"""Traces are kept in the folder of the run: completely, never fetched twice, and without anything secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import zstandard

from loadgen.backends.backend import Found, Missing, Refused
from loadgen.backends.kept_traces import BATCH, FOLDER, KeptTraces, kept_ids, kept_traces
from loadgen.errors import StorageError
from loadgen.traces.convert.otlp_json import traces_of_otlp_json
from loadgen.traces.model import Span, Trace

RECORDED = (Path(__file__).parents[1] / "data" / "backends" / "jaeger-trace.json").read_bytes()
ONE = traces_of_otlp_json(RECORDED, keep=("tenant",))[0]


def trace(number: int, *, is_cut: bool = False, **attributes: str) -> Trace:
    spans = (Span("a" * 16, "", "shop", "GET /", 5, 9, "server", attributes=attributes, resolution_ns=1_000),)
    return Trace(f"{number:032x}", spans, is_cut)


def keep(run: Path, *traces: Trace, source: str = "staging") -> None:
    with KeptTraces(run, source) as kept:
        for one in traces:
            kept.add(Found(one))


def test_what_was_kept_is_read_as_it_was(tmp_path: Path) -> None:
    traces = [ONE, trace(1, is_cut=True), trace(2, tenant="a"), trace(3)]
    keep(tmp_path, *traces)

    assert list(kept_traces(tmp_path)) == traces
    assert kept_ids(tmp_path) == {one.id for one in traces}
    (file,) = (tmp_path / FOLDER).iterdir()
    assert file.name == "staging-00001.jsonl.zst"
    assert file.stat().st_mode & 0o077 == 0


def test_each_line_is_otlp_that_other_tools_can_read(tmp_path: Path) -> None:
    keep(tmp_path, trace(1), trace(2))
    (file,) = (tmp_path / FOLDER).iterdir()
    lines = zstandard.ZstdDecompressor().decompress(file.read_bytes()).decode().splitlines()
    assert [json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["spanId"] for line in lines] == [
        "a" * 16
    ] * 2


def test_only_found_traces_are_kept(tmp_path: Path) -> None:
    with KeptTraces(tmp_path, "staging") as kept:
        kept.add(Missing())
        kept.add(Refused("no"))
    assert not (tmp_path / FOLDER).exists()
    assert kept_ids(tmp_path) == set()
    assert list(kept_traces(tmp_path)) == []


def fetch_until(run: Path, error: BaseException) -> None:
    with KeptTraces(run, "staging") as kept:
        for number in range(1, 4):
            kept.add(Found(trace(number)))
        raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError()])
def test_ctrl_c_and_errors_keep_what_was_read(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        fetch_until(tmp_path, error)
    assert len(kept_ids(tmp_path)) == 3


def test_a_kill_costs_no_more_than_one_batch(tmp_path: Path) -> None:
    kept = KeptTraces(tmp_path, "staging").__enter__()
    for number in range(1, 2 * BATCH + 30):
        kept.add(Found(trace(number)))
    assert len(kept_ids(tmp_path)) == 2 * BATCH


def test_later_commands_add_files_and_never_change_one(tmp_path: Path) -> None:
    keep(tmp_path, trace(1))
    (first,) = (tmp_path / FOLDER).iterdir()
    before = first.read_bytes()
    keep(tmp_path, trace(2), trace(1, tenant="other"))

    assert first.read_bytes() == before
    assert [one.id for one in kept_traces(tmp_path)] == [trace(1).id, trace(2).id]
    assert next(kept_traces(tmp_path)) == trace(1)


def test_sources_are_kept_apart(tmp_path: Path) -> None:
    keep(tmp_path, trace(1), source="staging")
    keep(tmp_path, trace(2), source="../a b*?")

    assert kept_ids(tmp_path, "staging") == {trace(1).id}
    assert [one.id for one in kept_traces(tmp_path, "../a b*?")] == [trace(2).id]
    assert len(kept_ids(tmp_path)) == 2
    assert {path.parent for path in tmp_path.rglob("*.zst")} == {tmp_path / FOLDER}


def test_damaged_files_and_lines_count_as_absent(tmp_path: Path) -> None:
    keep(tmp_path, trace(1))
    keep(tmp_path, trace(2))
    (tmp_path / FOLDER / "staging-00001.jsonl.zst").write_bytes(b"\x28\xb5\x2f\xfdrubbish")
    (tmp_path / FOLDER / "staging-00003.jsonl.zst").write_bytes(
        zstandard.ZstdCompressor().compress(b'{"resourceSpans": 5}\n{"a":\n\n[]\n')
    )
    assert kept_ids(tmp_path) == {trace(2).id}
    assert [one.id for one in kept_traces(tmp_path)] == [trace(2).id]


def test_a_folder_that_cannot_be_written_is_an_error_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("a file is in the way")
    with pytest.raises(StorageError, match="traces cannot be stored in") as caught:
        keep(tmp_path, trace(1))
    assert "make space" in caught.value.hint


def test_nothing_secret_is_in_any_file(tmp_path: Path) -> None:
    assert b"canary-secret" in RECORDED
    keep(tmp_path, ONE)
    content = b"".join(
        zstandard.ZstdDecompressor().decompress(path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()
    )
    assert b"POST /checkout" in content
    assert b"canary" not in content
