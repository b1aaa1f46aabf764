"""Archives of feeds: the same rows as the plain file, unpacked once; cut, damaged and hostile ones are named."""

from __future__ import annotations

import gzip
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from loadgen.dsl.data import feed, rowfile, unpack
from loadgen.dsl.data.feed import open_feed
from loadgen.dsl.data.zstd_frames import is_whole
from loadgen.errors import ScenarioError

ROWS = b"email,age\n" + b"".join(b"user-%d@shop.example,%d\n" % (n, n % 90) for n in range(2_000))
PACK: dict[str, Callable[[bytes], bytes]] = {
    "rows.csv.gz": gzip.compress,
    "rows.csv.zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}


@dataclass(frozen=True)
class Shopper:
    email: str
    age: int


@pytest.fixture(autouse=True)
def spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files of this test."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def packed(folder: Path, name: str, data: bytes = ROWS) -> Path:
    path = folder / name
    path.write_bytes(PACK[name.removeprefix("whole.")](data))
    return path


def rows_of(path: Path) -> list[Shopper | None]:
    opened = open_feed(feed.csv(path, Shopper))
    return [opened.row(n) for n in range(len(opened))]


def fault_of(path: Path) -> str:
    with pytest.raises(ScenarioError) as raised:
        open_feed(feed.csv(path, Shopper))
    (fault,) = raised.value.faults
    assert fault.where.startswith(str(path))
    assert fault.hint
    return fault.message


@pytest.mark.parametrize("name", PACK)
@pytest.mark.parametrize("most", [rowfile.FULL_CHECK_BYTES, 1_000])
def test_an_archive_has_the_rows_of_its_file_small_or_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, most: int
) -> None:
    monkeypatch.setattr(rowfile, "FULL_CHECK_BYTES", most)
    plain = tmp_path / "rows.csv"
    plain.write_bytes(ROWS)
    assert rows_of(packed(tmp_path, name)) == rows_of(plain)


@pytest.mark.parametrize("name", PACK)
def test_an_archive_of_several_parts_has_all_rows(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    half = len(ROWS) // 2
    path.write_bytes(PACK[name](ROWS[:half]) + PACK[name](ROWS[half:]))
    assert len(rows_of(path)) == 2_000


def test_lines_of_json_can_be_packed_too(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.GZ"
    path.write_bytes(gzip.compress(b'{"email": "a", "age": 1}\n'))
    assert open_feed(feed.jsonl(path, Shopper)).row(0) == Shopper("a", 1)


def test_an_error_in_a_row_has_the_archives_name_and_the_line_of_its_content(tmp_path: Path) -> None:
    path = packed(tmp_path, "rows.csv.gz", b"email,age\na,1\nb,old\n")
    with pytest.raises(ScenarioError) as raised:
        open_feed(feed.csv(path, Shopper))
    assert [(fault.where, fault.line) for fault in raised.value.faults] == [(f"{path}:3", 3)]


def test_an_archive_is_unpacked_once_and_a_changed_one_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spool: Path
) -> None:
    count = 0
    really = unpack._unpack

    def counting(path: Path, file: Any) -> None:
        nonlocal count
        count += 1
        really(path, file)

    monkeypatch.setattr(unpack, "_unpack", counting)
    path = packed(tmp_path, "rows.csv.gz")
    for _ in range(3):
        rows_of(path)
    assert count == 1
    packed(tmp_path, "rows.csv.gz", ROWS + b"new@shop.example,1\n")
    assert len(rows_of(path)) == 2_001
    assert count == 2
    (folder,) = spool.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert all(one.stat().st_mode & 0o077 == 0 for one in folder.iterdir() if one.suffix != ".lock")


def test_files_that_nobody_used_for_a_day_are_deleted(tmp_path: Path, spool: Path) -> None:
    rows_of(packed(tmp_path, "rows.csv.gz"))
    (old,) = (one for one in next(spool.iterdir()).iterdir() if one.suffix != ".lock")
    os.utime(old, (0, 0))
    rows_of(packed(tmp_path, "rows.csv.zst", ROWS + b"new@shop.example,1\n"))
    assert not old.exists()


# -- what is wrong ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PACK)
@given(share=st.floats(0, 1, exclude_max=True))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_cut_archive_never_gives_rows(tmp_path: Path, name: str, share: float) -> None:
    whole = PACK[name](ROWS)
    path = tmp_path / name
    path.write_bytes(whole[: int(len(whole) * share)])
    message = fault_of(path)
    assert message in (
        "the archive ends too early",
        "the archive is not a zstd file",  # less than its first four bytes
        "the file is empty",  # an empty gzip file is one without members
    ) or message.startswith("the archive is not a gzip file")


@pytest.mark.parametrize("name", PACK)
@given(at=st.floats(0.1, 0.99), flip=st.integers(1, 255))
@example(at=0.7054333578814261, flip=1)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_archive_never_gives_other_rows(tmp_path: Path, name: str, at: float, flip: int) -> None:
    data = bytearray(PACK[name](ROWS))
    data[int(len(data) * at)] ^= flip
    path = tmp_path / name
    path.write_bytes(data)
    try:
        rows = rows_of(path)
    except ScenarioError as error:
        (fault,) = error.faults
        assert fault.message.startswith(("the archive is damaged", "the archive ends too early"))
    else:  # some bits of a zstd archive mean nothing, as 1 of 700 in this one
        assert rows == rows_of(packed(tmp_path, f"whole.{name}"))


@pytest.mark.parametrize(("name", "what"), [("rows.csv.gz", "gzip"), ("rows.csv.zst", "zstd")])
def test_a_file_that_is_no_archive_is_named(tmp_path: Path, name: str, what: str) -> None:
    path = tmp_path / name
    path.write_bytes(ROWS)
    assert fault_of(path) == f"the archive is not a {what} file"


@pytest.mark.parametrize("name", PACK)
def test_a_bomb_is_rejected_and_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spool: Path, name: str
) -> None:
    monkeypatch.setattr(unpack, "_LEAST_LIMIT_BYTES", 2 << 20)
    path = packed(tmp_path, name, b"email,age\n" + bytes(5 << 20))
    assert "unpacks to more than 2 MiB" in fault_of(path)
    assert [one.suffix for one in next(spool.iterdir()).iterdir()] == [".lock"]


def test_the_limit_is_200_times_the_archive_between_64_mib_and_16_gib() -> None:
    assert unpack.limit_bytes(0) == 64 << 20
    assert unpack.limit_bytes(10 << 20) == 2000 << 20
    assert unpack.limit_bytes(1 << 40) == 16 << 30


def test_a_zstd_window_that_needs_too_much_memory_is_rejected(tmp_path: Path) -> None:
    huge = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    path = tmp_path / "rows.csv.zst"
    maker = zstandard.ZstdCompressor(compression_params=huge).compressobj()
    path.write_bytes(maker.compress(ROWS) + maker.flush())
    assert fault_of(path).startswith("the archive is damaged")


def test_a_full_disk_is_an_error_with_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spool: Path) -> None:
    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    @contextmanager
    def full(path: Path, mode: int) -> Iterator[Full]:
        yield Full()

    monkeypatch.setattr(unpack, "atomic_file", full)
    path = packed(tmp_path, "rows.csv.gz")
    with pytest.raises(ScenarioError) as raised:
        open_feed(feed.csv(path, Shopper))
    (fault,) = raised.value.faults
    assert fault.message == "the archive cannot be unpacked: No space left on device"
    assert str(spool) in fault.hint


def test_a_folder_that_others_may_read_or_that_is_a_link_is_not_used(tmp_path: Path, spool: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (spool / f"loadgen-feeds-{os.getuid()}").symlink_to(elsewhere)
    assert len(rows_of(packed(tmp_path, "rows.csv.gz"))) == 2_000
    assert not list(elsewhere.iterdir())


def test_a_missing_archive_gets_the_message_of_a_missing_file(tmp_path: Path) -> None:
    packed(tmp_path, "rows.csv.gz")
    with pytest.raises(ScenarioError) as raised:
        open_feed(feed.csv(tmp_path / "row.csv.gz", Shopper))
    assert raised.value.faults[0].hint == 'did you mean "rows.csv.gz"?'


@pytest.mark.parametrize("size", [0, 1, 100, 200_000])
@pytest.mark.parametrize("has_size", [True, False])
@pytest.mark.parametrize("has_checksum", [True, False])
def test_frames_of_every_form_are_whole_and_cut_ones_are_not(size: int, has_size: bool, has_checksum: bool) -> None:
    data = os.urandom(size // 2) + b"a" * (size - size // 2)
    maker = zstandard.ZstdCompressor(write_checksum=has_checksum, write_content_size=has_size)
    frame = maker.compress(data)
    skippable = (0x184D2A53).to_bytes(4, "little") + (3).to_bytes(4, "little") + b"abc"
    for whole in (frame, frame + frame, skippable + frame, frame + skippable):
        assert is_whole(io.BytesIO(whole)) is True
        assert not is_whole(io.BytesIO(whole[:-1]))
    assert is_whole(io.BytesIO(b"")) is None
