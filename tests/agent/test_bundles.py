"""A bundle on its way: asked for in chunks, taken in any order, verified before anything is written."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.bundle import MAX_BYTES, pack_files
from loadgen.errors import BundleError
from loadgen.wire.messages import CHUNK_BYTES, BundleChunk, BundleRequest
from loadgen_agent.supervisor.bundles import AHEAD, ASK_AGAIN_NS, Cache, Fetch


def answer(request: BundleRequest, data: bytes, chunk: int) -> BundleChunk:
    return BundleChunk(request.sha256, request.offset, data[request.offset : request.offset + chunk])


@given(st.integers(1, 5000), st.integers(1, 700), st.integers(0, 2**32))
def test_chunks_that_are_lost_late_twice_or_out_of_order_make_the_whole(size: int, chunk: int, seed: int) -> None:
    random_ = random.Random(seed)
    data = random_.randbytes(size)
    fetch, now_ns = Fetch("sha", size, chunk), 0
    line: list[BundleChunk] = []
    while fetch.data is None:
        now_ns += ASK_AGAIN_NS // 2
        asked = fetch.requests(now_ns)
        assert len(asked) <= AHEAD
        line += [answer(request, data, chunk) for request in asked for _ in range(random_.choice((1, 1, 0, 2)))]
        random_.shuffle(line)
        for _ in range(random_.randint(0, len(line))):
            fetch.take(line.pop())
    assert fetch.data == data
    assert fetch.requests(now_ns + ASK_AGAIN_NS * 2) == []


def test_chunks_are_asked_for_in_order_and_only_a_few_at_a_time() -> None:
    fetch = Fetch("sha", 100, 5)
    assert [r.offset for r in fetch.requests(0)] == list(range(0, 5 * AHEAD, 5))
    fetch.take(BundleChunk("sha", 0, bytes(5)))
    assert [r.offset for r in fetch.requests(1)] == [5 * AHEAD]


def test_chunks_of_others_and_unasked_ones_are_ignored() -> None:
    fetch = Fetch("sha", 100, 50)
    fetch.requests(0)
    fetch.take(BundleChunk("other", 0, bytes(50)))
    fetch.take(BundleChunk("sha", 25, bytes(50)))
    assert [r.offset for r in fetch.requests(ASK_AGAIN_NS + 1)] == [0, 50]


@pytest.mark.parametrize(("offset", "length"), [(0, 0), (0, 1), (0, 39), (0, 41), (80, 19), (80, 21), (80, 40)])
def test_a_chunk_of_another_length_than_was_asked_for_is_an_error(offset: int, length: int) -> None:
    fetch = Fetch("sha", 100, 40)
    fetch.requests(0)
    with pytest.raises(
        BundleError, match=f"at offset {offset} of the bundle; it must have {40 if offset < 80 else 20}"
    ):
        fetch.take(BundleChunk("sha", offset, bytes(length)))


def test_bytes_that_are_announced_and_not_sent_take_no_memory() -> None:
    """256 MiB announced and sent a byte at a time took 7.5 GB: a list of an offset for each byte."""
    before = psutil.Process().memory_info().rss
    fetch = Fetch("sha", MAX_BYTES)
    fetch.requests(0)
    with pytest.raises(BundleError, match="a chunk of 1 bytes"):
        fetch.take(BundleChunk("sha", 0, b"x"))
    fetch.take(BundleChunk("sha", 0, bytes(CHUNK_BYTES)))
    assert psutil.Process().memory_info().rss - before < 16 << 20


@pytest.mark.parametrize("size", [0, -1, MAX_BYTES + 1])
def test_a_bundle_over_the_limit_is_not_even_asked_for(size: int) -> None:
    with pytest.raises(BundleError, match="it must have 1 to"):
        Fetch("sha", size)


def test_the_cache_keeps_what_verifies_and_nothing_else(tmp_path: Path) -> None:
    scenario = tmp_path / "s.py"
    scenario.write_text("x = 1\n")
    bundle = pack_files(scenario, [scenario])
    cache = Cache()
    with pytest.raises(BundleError, match="sha256"):
        cache.put(hashlib.sha256(b"other").hexdigest(), bundle.data)
    assert cache.get(bundle.sha256) is None
    folder = cache.put(bundle.sha256, bundle.data)
    assert (folder / "s.py").read_text() == "x = 1\n"
    assert cache.get(bundle.sha256) == folder == cache.put(bundle.sha256, bundle.data)
    assert folder.parent.stat().st_mode & 0o077 == 0
    assert [p.name for p in folder.parent.iterdir()] == [bundle.sha256]
    for name in ("", "..", "/etc", "a" * 63 + "/"):
        assert cache.get(name) is None
    cache.clear()
    assert not folder.exists()
