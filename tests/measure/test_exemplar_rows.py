"""Exemplars travel as one string, and are decoded and checked when their delta is merged."""

from __future__ import annotations

import msgspec
import pytest

from loadgen.errors import LimitExceeded, WireError
from loadgen.measure.deltas.delta import Delta, unpacked
from loadgen.measure.deltas.exemplar import MAX_EXEMPLARS, Exemplar
from loadgen.measure.deltas.exemplar_rows import ROW_FIELDS, decode_rows, encode_rows
from loadgen.measure.deltas.limits import NAME_BYTES
from loadgen.measure.merging.merge import Accepted, Merge
from loadgen.units import NS_PER_S

ONE = Exemplar("shop", "pay", "POST /pay", "ok", "slowest", 0, 7, NS_PER_S, 3_000_000, 2_900_000, "ab" * 16)


def rows(*exemplars: Exemplar) -> bytes:
    return encode_rows(tuple(getattr(one, name) for name in ROW_FIELDS) for one in exemplars)


def delta(agent: str, data: bytes) -> Delta:
    return Delta(agent, 0, 0, 0, NS_PER_S, exemplar_rows=data)


@pytest.mark.parametrize("name", ["GET /", "é" * (NAME_BYTES // 2), "x" * NAME_BYTES], ids=["short", "wide", "longest"])
def test_exemplars_come_back_as_they_were(name: str) -> None:
    given = (msgspec.structs.replace(ONE, request=name), msgspec.structs.replace(ONE, note="n" * 900, warmup=True))
    assert decode_rows(rows(*given), "delta") == given
    assert unpacked(delta("a", rows(*given))).exemplars == given


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"why": "because"}, WireError, "an unknown kind: because"),
        ({"response_ns": -1}, WireError, "impossible exemplar"),
        ({"service_ns": -1}, WireError, "impossible exemplar"),
        ({"trace": "a" * 65}, WireError, "impossible exemplar"),
        ({"journey": "x" * (NAME_BYTES + 1)}, LimitExceeded, "Exemplar.journey"),
        ({"request": "é" * (NAME_BYTES // 2 + 1)}, LimitExceeded, "Exemplar.request"),
        ({"at_ns": 1 << 63}, WireError, "cannot be read"),
        ({"n": "7"}, WireError, "cannot be read"),
    ],
    ids=str,
)
def test_what_is_impossible_or_too_long_is_rejected(
    change: dict[str, object], error: type[WireError], words: str
) -> None:
    with pytest.raises(error, match=words):
        decode_rows(rows(ONE, msgspec.structs.replace(ONE, **change)), "delta 3 of a")


@pytest.mark.parametrize("data", [b"\x91", b"{}", rows(ONE)[:-1], rows(ONE) + b"\0", b"\xff"], ids=repr)
def test_other_bytes_are_rejected(data: bytes) -> None:
    with pytest.raises(WireError, match="delta 3 of a has exemplars that cannot be read"):
        decode_rows(data, "delta 3 of a")


def test_more_exemplars_than_a_delta_may_have_are_rejected() -> None:
    with pytest.raises(WireError, match="has 501 exemplars"):
        decode_rows(rows(*[ONE] * (MAX_EXEMPLARS + 1)), "delta 3 of a")


@pytest.mark.parametrize("wrong", [{0}, {1}, {0, 2}, {0, 1, 2}], ids=str)
def test_a_delta_with_wrong_exemplars_changes_nothing_and_the_others_of_its_batch_are_merged(wrong: set[int]) -> None:
    merge = Merge(NS_PER_S)
    given = [("eu", delta(f"a{n}", b"\xff" if n in wrong else rows(ONE))) for n in range(3)]
    found = merge.accept_all(given)
    assert {n for n, one in enumerate(found) if isinstance(one, WireError)} == wrong
    assert [one for one in found if not isinstance(one, WireError)] == [Accepted.MERGED] * (3 - len(wrong))
    assert sorted(kept.agent for kept in merge.exemplars) == [f"a{n}" for n in range(3) if n not in wrong]
    assert [merge.next_seq(f"a{n}", 0) for n in range(3)] == [int(n not in wrong) for n in range(3)]
