"""A worker's memory moves into huge pages: which ranges may become one, and what the system does with them."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest

from loadgen import huge_pages
from loadgen.huge_pages import HUGE_BYTES, WORTHWHILE_NS, collapse_heap, collapse_heap_before, heap_ranges

MAPS = """\
55cf3f600000-55cf3f800000 r-xp 00000000 fe:00 1 /usr/bin/python3
55cf40000000-55cf40400000 rw-p 00000000 00:00 0                          [heap]
7fd580000000-7fd5803fffff rw-p 00000000 00:00 0
7fd590100000-7fd590700000 rw-p 00000000 00:00 0
7fd5a0000000-7fd5a0400000 rw-s 00000000 00:01 7 /dev/shm/progress
7fd5b0000000-7fd5b0400000 ---p 00000000 00:00 0
7fd5c0000000-7fd5c0400000 rw-p 00200000 fe:00 9 /usr/lib/libpython3.11.so
7fff99c00000-7fff9a000000 rw-p 00000000 00:00 0                          [stack]
"""


def test_aligned_ranges_of_the_heap_may_become_huge_pages_and_nothing_else() -> None:
    assert [hex(begin) for begin in heap_ranges(MAPS)] == [
        "0x55cf40000000",
        "0x55cf40200000",
        "0x7fd580000000",
        "0x7fd590200000",
        "0x7fd590400000",
    ]


@pytest.mark.skipif(not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="this system has no huge pages")
def test_memory_in_use_moves_with_its_content_and_memory_that_is_not_in_use_does_not() -> None:
    size = 4 * HUGE_BYTES
    with (
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as full,
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as sparse,
    ):
        pattern = bytes(range(256)) * (size // 256)
        full.write(pattern)
        sparse[0] = sparse[size - 1] = 1
        made = collapse_heap()
        assert made >= 3  # four ranges of the full one, of which one may lie across its ends
        assert full[:] == pattern
        assert sparse.find(b"\1") == 0
        assert sparse.rfind(b"\1") == size - 1
        assert collapse_heap() >= made - 1  # found again


def test_a_system_without_huge_pages_changes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huge_pages, "_MAPS", tmp_path / "none")
    assert collapse_heap() == 0
    monkeypatch.setattr(sys, "platform", "darwin")
    assert collapse_heap() == 0


def test_a_kernel_that_refuses_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huge_pages, "_COLLAPSE", 12_345)  # no such advice: EINVAL, as before Linux 6.1
    assert collapse_heap() == 0


@pytest.mark.parametrize(
    ("duration_ns", "is_worthwhile"), [(WORTHWHILE_NS - 1, False), (WORTHWHILE_NS, True), (None, True)]
)
def test_only_a_load_that_is_long_enough_begins_with_huge_pages(
    duration_ns: int | None, is_worthwhile: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huge_pages, "collapse_heap", lambda: 7)
    assert collapse_heap_before(duration_ns) == (7 if is_worthwhile else 0)
