"""What the words of the command line name, how inputs are unpacked, and ranges of a file."""

from __future__ import annotations

import gzip
import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadgen import unpack
from loadgen.errors import UsageError
from loadgen.traffic.inputs import log_input
from loadgen.traffic.inputs.find_inputs import find_inputs
from loadgen.traffic.inputs.line_blocks import blocks
from loadgen.traffic.inputs.log_input import Buckets, LogInput
from loadgen.traffic.rows.period import ALL_TIMES, Period
from loadgen.unpack import ArchiveDamaged, is_packed, unpacked
from tests.support.examples import examples

TEXT = "".join(f"line {n} {n * 7919 % 1000}\n" for n in range(50_000)).encode()


def names(folder: Path, *words: str) -> list[str]:
    found = find_inputs([str(folder / word) for word in words], ALL_TIMES)
    return [str(Path(source.name).relative_to(folder)) for source in found]


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    for name in ("a.log", "a.log.1.gz", "old/b.log", "old/deep/c.log", "old/.hidden"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a.log*"], ["a.log", "a.log.1.gz"]),
        (["**/*.log"], ["a.log", "old/b.log", "old/deep/c.log"]),
        (["old"], ["old/b.log", "old/deep/c.log"]),
        (["ol*"], ["old/b.log", "old/deep/c.log"]),
        (["a.log", "a.[l]og", "."], ["a.log", "a.log.1.gz", "old/b.log", "old/deep/c.log"]),
    ],
    ids=["star", "any depth", "folder", "pattern of a folder", "each once"],
)
def test_files_folders_and_patterns_are_found_each_once(logs: Path, words: list[str], expected: list[str]) -> None:
    assert names(logs, *words) == expected


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a[1].log").write_text("x")
    (tmp_path / "a1.log").write_text("x")

    assert names(tmp_path, "a[1].log") == ["a[1].log"]


def test_a_pattern_without_a_file_is_an_error_with_the_pattern(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\*\.gz: no file matches this pattern"):
        names(tmp_path, "*.gz")


def test_a_dash_is_standard_input_once() -> None:
    assert find_inputs(["-", "-"], ALL_TIMES) == [LogInput("standard input", "stream")]


def test_standard_input_is_read_and_may_be_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(b"a\nb\n"))))

    assert [block.lines for block in blocks(LogInput("standard input", "stream"), Buckets())] == [[b"a", b"b"]]


def pieces(data: bytes, seed: int = 1) -> Iterator[bytes]:
    """Pieces of 1 byte to 100 kB, as a network sends them."""
    rng = random.Random(seed)
    while data:
        size = rng.choice((1, 2, 3, 5, 17, 4_095, 4_096, 4_097, 100_000))
        yield data[:size]
        data = data[size:]


PACKED = {
    "plain": TEXT,
    "gzip": gzip.compress(TEXT),
    "two members": gzip.compress(TEXT[:99]) + gzip.compress(TEXT[99:]),
    "gzip with padding": gzip.compress(TEXT) + b"\0" * 512,
    "zstd": zstandard.compress(TEXT),
    "two frames": zstandard.compress(TEXT[:99]) + zstandard.compress(TEXT[99:]),
    "zstd with a skippable frame": zstandard.compress(TEXT) + b"\x50\x2a\x4d\x18\3\0\0\0abc",
    "zstd without a size": zstandard.ZstdCompressor(write_content_size=False, write_checksum=True).compress(TEXT),
}


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("seed", range(3))
def test_archives_in_any_pieces_have_their_content(kind: str, seed: int) -> None:
    assert b"".join(unpacked(pieces(PACKED[kind], seed))) == TEXT


@pytest.mark.parametrize("kind", ["gzip", "two members", "zstd", "two frames"])
@pytest.mark.parametrize("cut", [5, 40, -1, -9])
def test_a_cut_archive_is_an_error_and_never_a_short_log(kind: str, cut: int) -> None:
    with pytest.raises(ArchiveDamaged, match="ends too early"):
        b"".join(unpacked(pieces(PACKED[kind][:cut])))


@pytest.mark.parametrize("kind", ["gzip", "zstd without a size"])
def test_a_changed_byte_in_an_archive_is_an_error(kind: str) -> None:
    data = bytearray(PACKED[kind])
    data[len(data) // 2] ^= 255

    with pytest.raises(ArchiveDamaged, match=r"is damaged|ends too early"):
        b"".join(unpacked(pieces(bytes(data))))


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_bomb_is_unpacked_in_small_pieces(monkeypatch: pytest.MonkeyPatch, pack: Callable[[bytes], bytes]) -> None:
    monkeypatch.setattr(unpack, "_ZSTD_BYTES", 256)

    sizes = [len(piece) for piece in unpacked(iter([pack(b"\0" * (24 << 20))]))]

    assert sum(sizes) == 24 << 20
    assert max(sizes) <= (1 << 20) + 256 // 4 * (128 << 10)


@settings(max_examples=examples(400), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.binary(max_size=40).filter(lambda text: b"\r" not in text), max_size=12)
    .map(b"\n".join)
    .filter(lambda text: not is_packed(text)),
    st.lists(st.integers(1, 300), max_size=4),
    st.sampled_from((3, 1 << 20)),
)
def test_the_ranges_of_a_file_have_each_line_once(tmp_path: Path, text: bytes, bounds: list[int], size: int) -> None:
    (tmp_path / "a").write_bytes(text)
    ends = [*sorted(set(bounds)), None]
    begins = [0, *sorted(set(bounds))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_input, "_PIECE_BYTES", size)
        found = [
            line
            for begin, end in zip(begins, ends, strict=True)
            for block in blocks(LogInput(str(tmp_path / "a"), "file", begin=begin, end=end), Buckets())
            for line in block.lines
        ]

    expected = text.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    assert found == expected[: -1 if not expected[-1] else None]


@pytest.mark.parametrize(
    ("begin", "end", "first", "last"),
    [
        ("2026-11-20", "2026-11-20", "2026-11-20T00:00:00", "2026-11-20T23:59:59"),
        ("2026-11-20T08:30", "2026-11-20T09:00", "2026-11-20T08:30:00", "2026-11-20T08:59:59"),
        ("2026-11-20T08:30+02:00", "2026-11-21", "2026-11-20T06:30:00", "2026-11-21T23:59:59"),
    ],
)
def test_a_period_includes_its_begin_and_a_whole_last_day(begin: str, end: str, first: str, last: str) -> None:
    period = Period.of(begin, end)

    assert period.begin_us == Period.of(first, "").begin_us
    assert period.end_us - 1_000_000 == Period.of(last, "").begin_us


@pytest.mark.parametrize(
    ("begin", "end"), [("2026-11-21", "2026-11-20"), ("yesterday", ""), ("", "20.11.2026"), ("1960-01-01", "")]
)
def test_an_invalid_period_is_an_error(begin: str, end: str) -> None:
    with pytest.raises(ValueError, match=r"invalid time|is empty"):
        Period.of(begin, end)
