"""Traces from files: packed or plain, alone or in folders, and what is wrong with them named with the file."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from loadgen.backends import files
from loadgen.backends.backend import Found, Missing, Progress
from loadgen.backends.files import FilesBackend, traces_in_files
from loadgen.backends.unpack import Unpacked, unpacked
from loadgen.errors import UsageError

DATA = Path(__file__).parents[1] / "data" / "backends"
ID = "6a00000000000000000000000000a001"
OTHER = "6a00000000000000000000000000a002"
JAEGER = (DATA / "jaeger-trace.json").read_bytes()


def spans(path: Path, *ids: str) -> dict[str, int]:
    """How many spans each found trace has."""
    answers = dict(FilesBackend(path).read(ids or (ID,))).items()
    return {one: len(found.trace.spans) for one, found in answers if isinstance(found, Found)}


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zstandard.ZstdCompressor().compress])
def test_a_file_may_be_packed(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "traces"
    path.write_bytes(pack(JAEGER))
    assert spans(path) == {ID: 2}


@pytest.mark.parametrize(
    ("name", "count"), [("jaeger-trace.json", 2), ("zipkin-many.json", 3), ("datadog-trace.json", 2)]
)
def test_the_format_is_recognized(name: str, count: int) -> None:
    assert spans(DATA / name) == {ID: count}


def test_a_trace_may_be_spread_over_the_files_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    first, second = json.loads(JAEGER)["result"]["resourceSpans"]
    (tmp_path / "a.json").write_text(json.dumps({"resourceSpans": [first]}))
    (tmp_path / "deep" / "b.jsonl").write_text(json.dumps({"resourceSpans": [second]}) + "\n")
    (tmp_path / ".hidden").write_text("not read")
    said: list[Progress] = []

    backend = FilesBackend(tmp_path)
    found = dict(backend.read([ID, OTHER], said.append))

    assert isinstance(found[ID], Found)
    assert len(found[ID].trace.spans) == 2
    assert found[OTHER] == Missing()
    assert str(backend.plan(2)) == "2 traces"
    assert said[0].note == "read 1 of 2 files"


def test_all_traces_of_a_file_can_be_read() -> None:
    assert {one.id for one in traces_in_files(DATA / "zipkin-many.json")} == {ID, OTHER}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "a.json: "),
        (b"hello", "a.json: "),
        (b'{"resourceSpans": [', "a.json: "),
        (JAEGER[:-40], "a.json: "),
        (gzip.compress(JAEGER, mtime=0)[:-20], "a.json: the archive ends too early"),
        (gzip.compress(JAEGER, mtime=0)[:-8] + b"x" * 8, "a.json: the archive is damaged"),
        (zstandard.ZstdCompressor().compress(JAEGER)[:-5], "a.json: the archive ends too early"),
        (b"\x28\xb5\x2f\xfd" + b"x" * 50, "a.json: the archive is damaged"),
    ],
    ids=["empty", "text", "cut", "cut end", "cut gzip", "bad gzip", "cut zstd", "bad zstd"],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        spans(path)
    assert str(tmp_path / why) in caught.value.message
    assert caught.value.hint


def test_missing_files_and_empty_folders_are_errors(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "x", "no such file or folder"), (tmp_path, "the folder has no files")):
        with pytest.raises(UsageError, match=why):
            FilesBackend(path)


def test_limits_of_files_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        (tmp_path / f"{number}.json").write_bytes(JAEGER)
    monkeypatch.setattr(files, "FILE_BYTES", 1 << 10)
    with pytest.raises(UsageError, match="has more than 0 GiB"):
        spans(tmp_path / "0.json")
    (tmp_path / "0.json").write_bytes(gzip.compress(JAEGER))
    with pytest.raises(UsageError, match="the archive has more than 1,024 bytes"):
        spans(tmp_path / "0.json")
    monkeypatch.setattr(files, "FILES_MOST", 2)
    with pytest.raises(UsageError, match="has more than 2 files"):
        FilesBackend(tmp_path)


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_unpacking_is_bounded(pack: Callable[[bytes], bytes]) -> None:
    data = b"abc" * 100_000
    assert unpacked(pack(data), len(data)) == data
    assert unpacked(pack(data[:30]) + pack(data[30:]), len(data)) == data
    for most in (0, 1_000, len(data) - 1):
        with pytest.raises(Unpacked, match="has more than"):
            unpacked(pack(data), most)
    assert unpacked(b"plain", 5) == b"plain"
    with pytest.raises(Unpacked, match="has more than 4 bytes"):
        unpacked(b"plain", 4)
