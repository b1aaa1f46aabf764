"""The allow-list: which targets may be put under load, by how much, and until when.

    [[allow]]
    host = "shop.internal"              # a name, an address or a CIDR
    addresses = ["10.2.0.0/16"]         # for a name: its allowed addresses; by default public ones
    ports = [443]                       # by default: all
    max_requests_per_s = 2000           # of the whole fleet
    max_users = 5000
    max_duration = "2h"
    owner = "shop team"                 # who agreed
    expires = 2027-03-31                # the last day (UTC)
    proof = "9f2c61d05be8a743"          # for a public host: the word in its consent file

The list belongs to an administrator and is sent to the agents. It is checked at each
connection, with the address that is connected to: a name alone decides nothing. A name's
entry admits public addresses, or the addresses that it lists. So neither DNS that maps a
public name to a private network (rebinding) nor a redirect can bypass the list.

Some addresses are never targets, whatever a list says: link-local addresses, the metadata
services of clouds, broadcast and multicast. An IPv4 address inside IPv6 (mapped, NAT64,
6to4, compatible) is judged as the IPv4 address; `0.0.0.0` and `::` count as this machine.

Everything except `read` is pure: no clock, no DNS. Rates are requests/s of all agents together.
"""

from __future__ import annotations

import re
import stat
import tomllib
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from math import floor
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import msgspec

from loadgen.errors import Fault, ScenarioError, UsageError
from loadgen.units import parse_duration

__all__ = [
    "SLACK",
    "Address",
    "AllowList",
    "CapShare",
    "Entry",
    "as_address",
    "is_own",
    "never",
    "read",
    "share_of_cap",
    "split_cap",
]

Address = IPv4Address | IPv6Address
SLACK: Final = 1.01
"""A fleet starts at most this many times the cap in any second, so that a plan exactly at the cap is not refused."""


class CapShare(NamedTuple):
    """A worker's part of the fleet's cap, in requests/s."""

    whole: int
    """The number of requests that the worker may start in any second. Those of all workers add up to the cap."""
    exact: float
    """The part before rounding: the worker's rate of arrivals if the plan spreads them evenly."""


_METADATA: Final = frozenset(
    ip_address(one)
    for one in ("169.254.169.254", "169.254.170.2", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16")
)
"""Metadata services of AWS, Google, Azure, Alibaba. Most are link-local anyway."""
_NAT64: Final = IPv6Network("64:ff9b::/96")
_COMPATIBLE: Final = IPv6Network("::/96")
_HOST = re.compile(r"(?=.{1,253}\Z)(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?", re.ASCII)
_PROOF = re.compile(r"[A-Za-z0-9_-]{16,128}")
_DAY: Final = timedelta(days=1)


# -- addresses ------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def as_address(text: str) -> Address:
    """Parse an IP address and return the address that it really leads to: IPv4 inside IPv6 becomes IPv4, and the "any
    address" becomes this machine.

    Raises:
        ValueError: not an IP address.
    """
    # An address with a zone (`%eth0`) does not equal the same address without one.
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        address = _embedded_ipv4_or_self(address)
    if address.is_unspecified:
        return ip_address("127.0.0.1" if address.version == 4 else "::1")
    return address


def _embedded_ipv4_or_self(address: IPv6Address) -> Address:
    inner = address.ipv4_mapped or address.sixtofour
    # Small numbers such as `::1` are addresses of their own and contain no IPv4 address.
    if inner is None and (address in _NAT64 or (address in _COMPATIBLE and int(address) > 0xFFFF)):
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
    return address if inner is None else inner


def never(address: Address) -> str:
    """Return why load against this address is never permitted: "link-local", "metadata", "multicast" or "broadcast"; ""
    if it may be permitted.
    """
    if address in _METADATA:
        return "metadata"
    if address.is_link_local:
        return "link-local"
    if address.is_multicast:
        return "multicast"
    return "broadcast" if address == IPv4Address("255.255.255.255") else ""


def is_own(address: Address) -> bool:
    """Return True if this is an address of this machine or of a private network."""
    return address.is_private or address.is_loopback


# -- the list -------------------------------------------------------------------------------------


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One `[[allow]]` table. None means no limit."""

    host: str
    """A name in lower case, or a network; a single address counts as a network."""
    owner: str
    expires: date
    """The last day on which the entry is valid, UTC."""
    addresses: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    max_requests_per_s: float | None = None
    max_users: int | None = None
    max_duration: str | None = None
    proof: str | None = None
    """The word that a public host has to show in its consent file."""
    line: int = 0
    """The line in the file, for messages."""

    @property
    def max_duration_ns(self) -> int | None:
        return None if self.max_duration is None else parse_duration(self.max_duration)

    @property
    def is_network(self) -> bool:
        return _network(self.host) is not None

    def holds_at(self, at: datetime) -> bool:
        return at < datetime.combine(self.expires, time(), UTC) + _DAY

    def admits(self, host: str, address: Address | None, port: int) -> bool:
        """Return True if this entry permits load on the target with this name, address and port. The entry's expiry
        date is not checked; see `holds_at`.

        Args:
            host: the requested name; empty if only the address counts.
            address: None if a proxy looks it up; then the name alone decides.
        """
        if self.ports and port not in self.ports:
            return False
        network = _network(self.host)
        if network is not None:
            return address is not None and address in network
        if host.lower().rstrip(".") != self.host:
            return False
        if address is None:
            return True
        if self.addresses:
            return any(address in of for one in self.addresses if (of := _network(one)) is not None)
        return not is_own(address)

    def __str__(self) -> str:
        ports = f":{','.join(map(str, self.ports))}" if self.ports else ""
        return f"{self.host}{ports} ({self.owner}, until {self.expires})"


class AllowList(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All entries of a file. An empty list allows no target."""

    allow: tuple[Entry, ...] = ()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Parse JSON from another process and return the allow-list. Every value is checked, because the sender is not
        trusted.

        Raises:
            ValueError: not the JSON of a list, or an invalid entry.
        """
        found = msgspec.json.decode(data, type=cls)
        for entry in found.allow:
            for message, _ in _wrong(entry):
                raise ValueError(f"allow-list: {message}")
        return found

    def to_json(self) -> bytes:
        """Return the list as JSON for the agents. Proofs are left out, because the controller has checked them."""
        bare = tuple(msgspec.structs.replace(entry, proof=None) for entry in self.allow)
        return msgspec.json.encode(AllowList(allow=bare))

    def entry(self, host: str, address: Address | None, port: int, at: datetime) -> Entry | None:
        """Return the first entry that permits load on the target and has not expired at the time `at`; None if there is
        none. For the arguments see `Entry.admits`.
        """
        for entry in self.allow:
            if entry.admits(host, address, port) and entry.holds_at(at):
                return entry
        return None

    def why_not(self, host: str, address: Address | None, port: int, at: datetime) -> str:
        """Return a few words about why no entry permits load on the target, taken from the entry that fits best. Call
        it only if `entry` has returned None.
        """
        expired = [entry for entry in self.allow if entry.admits(host, address, port)]
        if expired:
            return f"its entry expired on {expired[0].expires} (owner: {expired[0].owner})"
        for entry in self.allow:
            if any(entry.admits(host, address, one) for one in entry.ports):
                return f"its entry is for ports {', '.join(map(str, entry.ports))} (owner: {entry.owner})"
        named = next((e for e in self.allow if not e.is_network and e.host == host.lower().rstrip(".")), None)
        if named is not None:
            where = ", ".join(named.addresses) if named.addresses else "public addresses"
            return f"its entry is for {where} (owner: {named.owner})"
        return "no entry of the allow-list names it"


def split_cap(per_s: float, weights: Sequence[float], index: int, worker: int = 0, workers: int = 1) -> int:
    """Return how many requests a worker may start in any second: its integer share of the fleet's limit of `per_s`
    requests per second.

    weights: of all agents. index: of the worker's agent in them. worker, workers: the worker's number in its agent, and
    how many there are. The shares of all workers add up exactly to the limit times SLACK, rounded down. They are split
    by largest remainder: among agents by weight, among an agent's workers evenly. Each worker computes its share alone.
    """
    return _parted(_parted(floor(per_s * SLACK), weights)[index], [1.0] * workers)[worker]


def share_of_cap(per_s: float, weights: Sequence[float], index: int, worker: int = 0, workers: int = 1) -> CapShare:
    """Return a worker's share of the fleet's limit of requests/s, as an integer (as `split_cap`) and exactly."""
    exact = per_s * SLACK * weights[index] / (sum(weights) or 1.0) / workers
    return CapShare(split_cap(per_s, weights, index, worker, workers), exact)


def _parted(whole: int, weights: Sequence[float]) -> list[int]:
    total = sum(weights)
    if total <= 0:
        return [0] * len(weights)
    exact = [whole * weight / total for weight in weights]
    parts = [floor(one) for one in exact]
    order = sorted(range(len(parts)), key=lambda i: (parts[i] - exact[i], i))
    for i in order[: whole - sum(parts)]:
        parts[i] += 1
    return parts


# -- reading --------------------------------------------------------------------------------------


def read(path: Path) -> AllowList:
    """Read an allow-list from a TOML file, check it and return it.

    Raises:
        UsageError: the file cannot be read, or all users of the machine may write it.
        ScenarioError: with all errors in the file, each with its line.
    """
    try:
        text, mode = path.read_text(encoding="utf-8"), path.stat().st_mode
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError([_syntax(path, error)]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--allow: {path} cannot be read: {getattr(error, 'strerror', None) or error}",
            hint="pass a TOML file with [[allow]] tables, see docs/guard.md",
        ) from None
    if mode & stat.S_IWOTH:
        raise UsageError(
            f"--allow: all users may write {path} (mode {stat.S_IMODE(mode):04o}), so it is not used",
            hint=f"chmod o-w {path}",
        )
    return _List(path, text).read(content)


class _List:
    """Parses one file and collects its errors."""

    def __init__(self, path: Path, text: str) -> None:
        self._path = path
        self._lines = text.splitlines()
        self._heads = [n for n, line in enumerate(self._lines, 1) if re.match(r"\s*\[\[\s*allow\s*\]\]", line)]
        self._faults: list[Fault] = []

    def read(self, content: dict[str, Any]) -> AllowList:
        tables = content.get("allow", [])
        if not isinstance(tables, list) or not all(isinstance(one, dict) for one in tables):
            self._add(0, "", "must be a list of tables", 'write [[allow]] and host = "shop.example"')
            tables = []
        for key in content:
            if key not in ("allow", "env", "policy"):
                self._add(0, key, f'unknown key "{key}"', "write entries as [[allow]] tables")
        if not tables and not self._faults:
            self._add(
                0,
                "",
                "the list has no [[allow]] entry, so it allows no target",
                'write [[allow]] and host = "shop.example"',
            )
        entries = [entry for n, table in enumerate(tables) if (entry := self._entry(n, table)) is not None]
        if self._faults:
            raise ScenarioError(self._faults)
        return AllowList(allow=tuple(entries))

    def _entry(self, n: int, table: dict[str, Any]) -> Entry | None:
        before = len(self._faults)
        fields = {f.name: f for f in msgspec.structs.fields(Entry) if f.name != "line"}
        good: dict[str, Any] = {}
        for key, value in table.items():
            if key not in fields:
                self._add(n, key, f'unknown key "{key}"', f"use one of {', '.join(fields)}")
                continue
            try:
                good[key] = msgspec.convert(value, fields[key].type)
            except msgspec.ValidationError as error:
                self._add(n, key, f"{key}: {str(error)[0].lower()}{str(error)[1:].replace('`', '')}", _EXAMPLES[key])
        for key, one in fields.items():
            if one.required and key not in table:
                self._add(n, "", f"{key} is missing", _EXAMPLES[key])
        if len(self._faults) > before:
            return None
        entry = Entry(**{**good, "host": _plain_host(good["host"])}, line=self._line(n, ""))
        for message, key in _wrong(entry):
            self._add(n, key, message, _EXAMPLES[key])
        return entry

    def _line(self, n: int, key: str) -> int:
        """Return the line of `key` in the n-th entry of the file, or the first line of the entry. Return 0 if the
        entries are not written as [[allow]] tables.
        """
        if n >= len(self._heads):
            return 0
        head = self._heads[n]
        last = self._heads[n + 1] - 1 if n + 1 < len(self._heads) else len(self._lines)
        found = (
            number
            for number, line in enumerate(self._lines[head:last], head + 1)
            if key and re.match(rf"\s*{re.escape(key)}\s*=", line)
        )
        return next(found, head)

    def _add(self, n: int, key: str, message: str, hint: str) -> None:
        self._faults.append(Fault(str(self._path), self._line(n, key), f"allow: {message}", hint))


_EXAMPLES: Final = {
    "host": 'write host = "shop.internal", "10.2.0.7" or "10.2.0.0/16"',
    "owner": 'write owner = "shop team": who agreed to the load',
    "expires": "write expires = 2027-03-31, the last day on which the entry is valid",
    "addresses": 'write addresses = ["10.2.0.0/16"], only for a host that is a name',
    "ports": "write ports = [443, 8443]",
    "max_requests_per_s": "write max_requests_per_s = 2000, for the whole fleet",
    "max_users": "write max_users = 5000",
    "max_duration": 'write max_duration = "2h"',
    "proof": 'write proof = "9f2c61d05be8a743": 16 to 128 random letters, digits, - and _',
}


def _wrong(entry: Entry) -> Iterator[tuple[str, str]]:
    """Check an entry of an allow-list, and yield (message, key of the wrong value) for each error."""
    network = _network(entry.host)
    if network is None and not _HOST.fullmatch(entry.host):
        yield f"host: {entry.host!r} is not a name, address or network", "host"
    if network is not None and entry.addresses:
        yield "addresses: not allowed, because host is an address or network already", "addresses"
    for one in entry.addresses:
        if _network(one) is None:
            yield f"addresses: {one!r} is not an address or network", "addresses"
    for port in entry.ports:
        if not 1 <= port <= 65535:
            yield f"ports: invalid port {port}", "ports"
    if not entry.owner.strip():
        yield "owner: empty, but somebody has to be responsible for the load", "owner"
    rate = entry.max_requests_per_s
    if rate is not None and not 1 <= rate <= 1e9:
        yield f"max_requests_per_s: must be 1 or more, got {rate:g}", "max_requests_per_s"
    if entry.max_users is not None and entry.max_users < 1:
        yield f"max_users: must be 1 or more, got {entry.max_users}", "max_users"
    if entry.proof is not None and not _PROOF.fullmatch(entry.proof):
        yield "proof: must be 16 to 128 letters, digits, - and _", "proof"
    if entry.max_duration is not None:
        try:
            parse_duration(entry.max_duration)
        except ValueError as error:
            yield f"max_duration: {error}", "max_duration"


def _syntax(path: Path, error: tomllib.TOMLDecodeError) -> Fault:
    found = re.search(r" \(at line (\d+), column \d+\)$", str(error))
    message = str(error)[: found.start()] if found else str(error)
    line = int(found[1]) if found else 0
    return Fault(str(path), line, f"invalid TOML: {message}", "correct the syntax; toml.io describes it")


def _plain_host(text: str) -> str:
    return text.strip().lower().rstrip(".")


@lru_cache(maxsize=4096)
def _network(text: str) -> IPv4Network | IPv6Network | None:
    """Parse an IP address or network and return it as a network; None if `text` is neither."""
    try:
        return ip_network(text)
    except ValueError:
        return None
