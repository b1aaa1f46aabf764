"""Traces in files as a backend: the traces of a run are picked from what is there. Unpacking is bounded."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from loadgen.backends.backend import Found, Missing, Progress
from loadgen.backends.files import FilesBackend
from loadgen.backends.limited_unpack import TooLarge, unpacked_whole
from loadgen.errors import UsageError
from loadgen.unpack import ArchiveDamaged

DATA = Path(__file__).parents[1] / "data" / "backends"
ID = "6a00000000000000000000000000a001"
OTHER = "6a00000000000000000000000000a002"


@pytest.mark.parametrize(
    ("name", "count"), [("jaeger-trace.json", 2), ("zipkin-many.json", 3), ("datadog-trace.json", 2)]
)
def test_asked_traces_are_picked_from_a_file_of_any_format(name: str, count: int) -> None:
    found, missing = (answer for _, answer in FilesBackend(DATA / name).read([ID, "f" * 32]))
    assert isinstance(found, Found)
    assert len(found.trace.spans) == count
    assert missing == Missing()


def test_a_trace_may_be_spread_over_the_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    first, second = json.loads((DATA / "jaeger-trace.json").read_bytes())["result"]["resourceSpans"]
    (tmp_path / "a.json").write_text(json.dumps({"resourceSpans": [first]}))
    (tmp_path / "deep" / "b.jsonl").write_text(json.dumps({"resourceSpans": [second]}) + "\n")
    said: list[Progress] = []

    backend = FilesBackend(tmp_path)
    found, _ = (answer for _, answer in backend.read([ID, OTHER], said.append))

    assert isinstance(found, Found)
    assert len(found.trace.spans) == 2
    assert str(backend.plan(2)) == "2 traces"
    assert [said[0].note, said[-1]] == ["read 1 of 2 files", Progress(2, 2)]


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        FilesBackend(tmp_path / "x")


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_unpacking_is_bounded(pack: Callable[[bytes], bytes]) -> None:
    data = b"abc" * 100_000
    assert unpacked_whole(pack(data), len(data)) == data
    assert unpacked_whole(pack(data[:30]) + pack(data[30:]), len(data)) == data
    for most in (0, 1_000, len(data) - 1):
        with pytest.raises(TooLarge, match="has more than"):
            unpacked_whole(pack(data), most)
    with pytest.raises(ArchiveDamaged, match="ends too early"):
        unpacked_whole(pack(data)[:-5], len(data))
    assert unpacked_whole(b"plain", 5) == b"plain"
    with pytest.raises(TooLarge, match="has more than 4 bytes"):
        unpacked_whole(b"plain", 4)
