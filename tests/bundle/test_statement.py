"""The signed statement: one form for each value, readable, and every field of an order is compared with it."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.allowlist import AllowList, Entry
from loadgen.dsl.plans.allowlist_check import Limits
from loadgen.dsl.plans.spec import Overrides
from loadgen.errors import BundleError
from loadgen.signed.launch_statement import MAX_STATEMENT_BYTES, Statement
from loadgen.units import NS_PER_S
from loadgen.wire.messages import Prepare
from tests.controller.conftest import spec

NOW = datetime(2026, 11, 24, 17, 0, tzinfo=UTC)
LIST = AllowList(
    allow=(
        Entry(host="shop.internal", owner="us", expires=date(2027, 1, 1), line=7, proof="0123456789abcdef"),
        Entry(host="10.0.0.0/8", owner="us", expires=date(2027, 1, 1), line=12, max_requests_per_s=100.0),
    )
)
OVERRIDES = Overrides(target="http://shop.internal", peak=20.0, regions={"us": 1.0, "eu": None})


def statement_of(**other: Any) -> Statement:
    usual: dict[str, Any] = {
        "scenario": "shop.py",
        "plan": "",
        "bundle_sha256": "ab" * 32,
        "bundle_bytes": 10_240,
        "overrides": OVERRIDES,
        "seed": 7,
        "limits": Limits(max_requests_per_s=100.0),
        "allow": LIST,
        "now": NOW,
    }
    plan = other.pop("spec", spec())
    return Statement.of(plan, **usual | other)


def order_of(statement: Statement) -> Prepare:
    """As a sound controller makes it."""
    return Prepare(
        "r1",
        1,
        statement.bundle_sha256,
        statement.bundle_bytes,
        statement.scenario,
        statement.plan,
        statement.overrides.to_json(),
        statement.seed,
        0,
        (1.0,),
        statement.interval_ns,
        digests=statement.digests,
        allow_json=LIST.to_json(),
    )


def test_the_statement_is_text_that_a_person_can_read_and_reads_back_as_the_same() -> None:
    statement = statement_of()
    assert Statement.read(statement.data) == statement
    shown = json.loads(statement.data)
    assert shown["scenario"] == "shop.py"
    assert shown["overrides"]["target"] == "http://shop.internal"
    assert [entry["host"] for entry in shown["allow"]["allow"]] == ["shop.internal", "10.0.0.0/8"]
    assert shown["limits"]["max_requests_per_s"] == 100.0
    assert shown["made_at"] == "2026-11-24T17:00:00Z"
    assert statement.data.startswith(b'{\n  "format": 1,\n  "id": "')
    assert statement.data.endswith(b"}\n")


def test_the_same_values_give_the_same_bytes_and_each_statement_has_an_id_of_its_own() -> None:
    one, other = statement_of(), statement_of()
    assert one.id != other.id
    assert msgspec.structs.replace(other, id=one.id).data == one.data


def test_proofs_and_lines_of_the_allow_list_are_not_in_it() -> None:
    assert b"0123456789abcdef" not in statement_of().data
    assert b'"line"' not in statement_of().data


@pytest.mark.parametrize(
    ("duration_ns", "limits", "hours"),
    [
        (3 * 3600 * NS_PER_S, Limits(), 4),
        (None, Limits(), 25),
        (None, Limits(max_duration_ns=2 * 3600 * NS_PER_S), 3),
    ],
)
def test_it_expires_an_hour_after_the_time_of_its_load(duration_ns: int | None, limits: Limits, hours: int) -> None:
    statement = statement_of(spec=spec(duration_ns=duration_ns, drain_ns=30 * NS_PER_S), limits=limits)
    assert statement.expires_at == NOW + timedelta(hours=hours, seconds=30)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"format": 1}',
        b'{"format": 1, "a": ' + b"[" * 100_000,
        b"x" * (MAX_STATEMENT_BYTES + 1),
    ],
)
def test_what_is_not_a_statement_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError):
        Statement.read(data)


def test_a_statement_of_a_later_format_is_refused_with_what_to_do() -> None:
    data = statement_of().data.replace(b'"format": 1', b'"format": 2')
    with pytest.raises(BundleError, match="format 2, and this version of loadgen reads format 1: use the same version"):
        Statement.read(data)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"seed": 7', b'"seed": 7, "seed": 7'),  # which of two keys counts differs from reader to reader
        (b'"seed": 7', b'"seed":  7'),
        (b'"seed": 7', b'"seed": 7.0'),
        (b'"peak": 20.0', b'"peak": 20'),
        (b'"peak": 20.0', b'"peak": 20.0, "later": 1'),
        (b"}\n", b"}"),
        (b'"plan": ""', b'"plan": "", "more": 1'),
    ],
)
def test_another_form_of_the_same_values_is_refused(old: bytes, new: bytes) -> None:
    data = statement_of().data
    assert data.count(old) >= 1
    changed = new.join(data.rsplit(old, 1))
    with pytest.raises(BundleError):
        Statement.read(changed)


@given(st.data())
def test_a_changed_byte_is_never_read_as_the_same_statement(data: st.DataObject) -> None:
    statement = statement_of()
    place = data.draw(st.integers(0, len(statement.data) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda one: one != statement.data[place]))
    changed = statement.data[:place] + bytes([byte]) + statement.data[place + 1 :]
    with contextlib.suppress(BundleError):
        assert Statement.read(changed) != statement


def test_an_order_as_it_was_signed_differs_in_nothing() -> None:
    assert statement_of().differences(order_of(statement_of())) == ()
    bare = statement_of(allow=None, overrides=Overrides())
    assert bare.differences(replace(order_of(bare), allow_json=b"", overrides_json=b"")) == ()


CHANGED: dict[str, tuple[dict[str, object], str]] = {
    "bundle": ({"bundle_sha256": "cd" * 32}, "the bundle"),
    "size": ({"bundle_bytes": 10_241}, "the bundle"),
    "path": ({"scenario": "other.py"}, "the scenario's path"),
    "plan": ({"plan": "big"}, "the plan's name"),
    "target": (
        {"overrides_json": msgspec.structs.replace(OVERRIDES, target="http://bank.example").to_json()},
        "the overrides",
    ),
    "rate": ({"overrides_json": msgspec.structs.replace(OVERRIDES, peak=2e6).to_json()}, "the overrides"),
    "duration": ({"overrides_json": msgspec.structs.replace(OVERRIDES, duration_s=9e6).to_json()}, "the overrides"),
    "addresses": (
        {"overrides_json": msgspec.structs.replace(OVERRIDES, resolve={"shop.internal": ("9.9.9.9",)}).to_json()},
        "the overrides",
    ),
    "no overrides": ({"overrides_json": b""}, "the overrides"),
    "seed": ({"seed": 8}, "the seed"),
    "interval": ({"interval_ns": NS_PER_S // 2}, "the interval"),
    "digests": ({"digests": ("60:ab",)}, "the digests"),
    "no list": ({"allow_json": b""}, "the allow-list"),
    "wider list": ({"allow_json": AllowList(allow=(*LIST.allow, LIST.allow[0])).to_json()}, "the allow-list"),
    "cap": (
        {"allow_json": LIST.to_json().replace(b'"max_requests_per_s":100.0', b'"max_requests_per_s":100000.0')},
        "the allow-list",
    ),
    "no cap": ({"allow_json": LIST.to_json().replace(b'"max_requests_per_s":100.0,', b"")}, "the allow-list"),
    "nonsense": ({"allow_json": b"["}, "the allow-list"),
}


@pytest.mark.parametrize("what", CHANGED)
def test_an_order_that_was_changed_is_found_with_what_was_changed(what: str) -> None:
    change, name = CHANGED[what]
    order = order_of(statement_of())
    changed = replace(order, **change)  # type: ignore[arg-type]
    assert changed != order
    assert statement_of().differences(changed) == (name,)


def test_a_plan_with_other_targets_than_the_signed_ones_is_found() -> None:
    statement = statement_of(spec=spec(target="http://a.example", targets={"pay": "http://b.example"}))
    assert statement.other_targets(spec(target="http://a.example", targets={"pay": "http://b.example"})) == ""
    assert (
        statement.other_targets(spec(target="http://a.example", targets={"pay": "http://c.example"}))
        == "the plan's targets are http://a.example, http://c.example,"
        " and the signed ones are http://a.example, http://b.example"
    )
