"""The allow-list as a file: what its entries admit, and everything that is wrong with one, at once."""

from __future__ import annotations

import contextlib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.allowlist import SLACK, AllowList, Entry, as_address, never, read, split_cap
from loadgen.errors import ScenarioError, UsageError

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)

GOOD = """
[[allow]]
host = "Shop.Internal."
addresses = ["10.2.0.0/16"]
ports = [443, 8443]
max_requests_per_s = 2000
max_users = 500
max_duration = "2h"
owner = "shop team"
expires = 2027-03-31

[[allow]]
host = "10.9.0.0/16"
owner = "platform"
expires = 2026-11-25
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "allow.toml"
    path.write_text(text)
    return path


def admitted(listed: AllowList, host: str, address: str, port: int, at: datetime = NOW) -> bool:
    return listed.entry(host, as_address(address), port, at) is not None


def test_entries_are_read_with_all_that_they_limit(tmp_path: Path) -> None:
    first, second = read(write(tmp_path, GOOD)).allow

    assert (first.host, first.line, second.line) == ("shop.internal", 2, 12)
    assert (first.max_requests_per_s, first.max_users, first.max_duration_ns) == (2000, 500, 7_200_000_000_000)
    assert str(first) == "shop.internal:443,8443 (shop team, until 2027-03-31)"


def test_a_name_leads_where_its_entry_says_and_a_network_to_all_in_it(tmp_path: Path) -> None:
    listed = read(write(tmp_path, GOOD))

    assert admitted(listed, "shop.internal", "10.2.7.7", 443)
    assert admitted(listed, "SHOP.internal.", "::ffff:10.2.7.7", 8443)
    assert not admitted(listed, "shop.internal", "10.3.0.1", 443)
    assert not admitted(listed, "shop.internal", "10.2.7.7", 80)
    assert not admitted(listed, "other.internal", "10.2.7.7", 443)
    assert admitted(listed, "whatever", "10.9.1.1", 1)


def test_a_name_without_addresses_leads_to_public_ones_only() -> None:
    listed = AllowList(allow=(Entry(host="shop.example", owner="us", expires=date(2027, 1, 1)),))

    assert admitted(listed, "shop.example", "93.184.215.14", 443)
    for private in ("127.0.0.1", "10.0.0.1", "192.168.1.1", "fd00::1", "::1", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1"):
        assert not admitted(listed, "shop.example", private, 443)


def test_an_entry_holds_to_the_end_of_its_last_day(tmp_path: Path) -> None:
    listed = read(write(tmp_path, GOOD))
    last, after = datetime(2026, 11, 25, 23, 59, tzinfo=UTC), datetime(2026, 11, 26, tzinfo=UTC)

    assert admitted(listed, "", "10.9.1.1", 80, last)
    assert not admitted(listed, "", "10.9.1.1", 80, after)
    why = listed.why_not("", as_address("10.9.1.1"), 80, after)
    assert why == "its entry expired on 2026-11-25 (owner: platform)"


def test_all_faults_of_a_file_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
[[allow]]
host = "shop example"
owner = " "
expires = 2027-03-31
ports = [0, 443]
max_users = "many"

[[allow]]
hosts = ["a"]
host = "10.0.0.0/8"
addresses = ["10.0.0.1"]
owner = "us"

[[allow]]
host = "shop.example"
owner = "us"
expires = 2027-03-31
addresses = ["nonsense"]
max_requests_per_s = 0
max_duration = "long"
ports = [70000]
proof = "too short"
""",
    )
    with pytest.raises(ScenarioError) as raised:
        read(path)

    said = [(fault.line, fault.message) for fault in raised.value.faults]
    assert {line for line, _ in said} == {7, 9, 10, 19, 20, 21, 22, 23}
    assert all(fault.hint for fault in raised.value.faults)
    text = str(raised.value)
    for what in (
        "max_users: expected int",
        'unknown key "hosts"',
        "expires is missing",
        "'nonsense' is not an address",
    ):
        assert what in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it allows no target"),
        ("allow = 3", "must be a list of tables"),
        ("[[allow]\n", "invalid TOML"),
        ("x = 1", "unknown"),
    ],
)
def test_a_file_that_is_no_list_says_so(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        read(write(tmp_path, text))


def test_a_list_that_anybody_may_write_allows_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    path.chmod(0o666)

    with pytest.raises(UsageError, match="all users may write") as raised:
        read(path)
    assert raised.value.hint == f"chmod o-w {path}"
    with pytest.raises(UsageError, match="cannot be read"):
        read(tmp_path / "none.toml")


def test_a_list_travels_unchanged_and_a_peer_s_is_not_believed(tmp_path: Path) -> None:
    listed = read(write(tmp_path, GOOD))

    assert AllowList.from_json(listed.to_json()) == listed
    proved = AllowList(allow=(msgspec.structs.replace(listed.allow[0], proof="9f2c61d05be8a743"), listed.allow[1]))
    assert proved.to_json() == listed.to_json(), "agents that know no proofs understand it"
    wrong: list[Any] = [b"", b"[]", b'{"allow": [{}]}', b'{"allow": 1}', b'{"allow": [], "x": 1}', b"\xff"]
    wrong.append(AllowList(allow=(Entry(host="a b", owner="x", expires=date(2027, 1, 1)),)).to_json())
    for data in wrong:
        with pytest.raises(ValueError):
            AllowList.from_json(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_list_or_a_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        AllowList.from_json(data)


@pytest.mark.parametrize(
    ("text", "is_"),
    [
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("64:ff9b::a00:1", "10.0.0.1"),
        ("2002:a00:1::", "10.0.0.1"),
        ("::10.0.0.1", "10.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "::1"),
        ("::1", "::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("2001:db8::1", "2001:db8::1"),
    ],
)
def test_an_address_is_judged_as_what_it_leads_to(text: str, is_: str) -> None:
    assert str(as_address(text)) == is_


@given(st.ip_addresses(v=4))
def test_no_ipv6_clothing_hides_what_is_never_a_target(address: Any) -> None:
    raw = int(address)
    forms = [f"::ffff:{address}", f"64:ff9b::{address}", f"2002:{raw >> 16:x}:{raw & 0xFFFF:x}::1"]
    for form in forms:
        assert never(as_address(form)) == never(as_address(str(address)))


@given(
    st.floats(1, 1e6),
    st.lists(st.integers(1, 64), min_size=1, max_size=40),
)
def test_the_shares_of_a_cap_add_up_to_it_and_never_to_more(per_s: float, workers: list[int]) -> None:
    weights = [float(n) for n in workers]
    shares = [
        split_cap(per_s, weights, index, worker, count)
        for index, count in enumerate(workers)
        for worker in range(count)
    ]

    assert int(per_s) <= sum(shares) <= per_s * SLACK
    assert max(shares) - min(shares) <= 2  # all workers are alike
