"""The interface of each kind of probe: a reader. `run_probes.py` calls it, on the event loop of the probes' thread.

A reader waits for nothing but its own server, and no longer than the limit that it gets. Its times are ns of the
clock in `Tools`. It sends only what it needs for reading, and it never changes anything at the server.

A kind has a module with a function `open_reader(spec, tools) -> Reader` (see `kinds.py`). The function connects to
nothing: the first `read` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, runtime_checkable

from loadgen.allowlist import Address
from loadgen.probes.rows import Row, Series

__all__ = [
    "NOTE_BYTES",
    "NOTE_KINDS",
    "NotRead",
    "Note",
    "NoteKind",
    "Permit",
    "Reader",
    "Reading",
    "ReadsLate",
    "ServerTime",
    "TimedValues",
    "Tools",
]

NoteKind = Literal["locks", "statements", "plan", "sessions", "settings", "mark"]
NOTE_KINDS: Final = ("locks", "statements", "plan", "sessions", "settings", "mark")
NOTE_BYTES: Final = 256 << 10
"""The most bytes of a note's body as JSON. The body of a larger note is replaced by its size."""

Permit = Callable[[str, Address, int], str]
"""Returns why a connection to this host, address and port is not permitted; "" if it is permitted."""


class NotRead(Exception):
    """The server could not be read. The text is one line with the reason, without secrets.

    notes: what `Reader.last` had read before.
    """

    def __init__(self, why: str, notes: tuple[Note, ...] = ()) -> None:
        super().__init__(why)
        self.notes = notes


@dataclass(frozen=True, slots=True)
class Note:
    """Something with a structure that was true at a time: a lock chain, a plan, an event.

    at_ns: time by the clock of the probe. kind: one of `NOTE_KINDS`.
    body: JSON. A mark has "text", and may have "about" (the object), "error_ns" (the most by which its time may be
        off) and "key" (the same event again has the same key; it is recorded once).
    """

    at_ns: int
    kind: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ServerTime:
    """The server's own clock, which was read between `sent_ns` and `received_ns`: a bound of its offset.

    at_ns: Unix time of the server, ns. The true time is in [at_ns, at_ns + resolution_ns).
    """

    sent_ns: int
    received_ns: int
    at_ns: int
    resolution_ns: int = 1


@dataclass(frozen=True, slots=True)
class TimedValues:
    """Values of one series with times of the server's clock: Unix time in ms, increasing."""

    series: Series
    at_ms: tuple[int, ...]
    values: tuple[float, ...]
    group: str = ""
    """Series of one group with the same time were read together, such as those of one scrape of one instance."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The result of one read.

    sent_ns, received_ns: times of the first request and of the last complete answer.
    rows: the rows that exist now, each with its kind. values: by series; its row is in `rows`.
    """

    sent_ns: int
    received_ns: int
    rows: tuple[Row, ...] = ()
    values: Mapping[Series, float] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()
    timed: tuple[TimedValues, ...] = ()
    """Values with times of their own, from a server that keeps them. `server` is needed with them."""
    server: ServerTime | None = None
    remarks: tuple[str, ...] = ()
    """Sentences for the operator, such as a missing permission and the line that gives it. Each is shown once."""
    cost_ns: int | None = None
    """The time that the server worked. None: the time from `sent_ns` to `received_ns`, which has the network in it."""


class Reader(Protocol):
    """Reads one server. Its methods are called one after another."""

    async def read(self, limit_s: float) -> Reading:
        """Read once, within `limit_s`.

        Raises:
            NotRead: there is no complete reading. The sample becomes a gap.
        """

    async def last(self) -> tuple[Note, ...]:
        """Return what is read only once, after the load, such as the texts and plans of statements.

        Raises:
            NotRead: not all of it could be read.
        """

    async def close(self) -> None:
        """Close the connection. A second call does nothing."""


@runtime_checkable
class ReadsLate(Protocol):
    """A reader whose server keeps old values: after the load it fetches values that came too late."""

    async def late(self, since_ns: int, limit_s: float) -> Reading:
        """Return everything since a time of the probe's clock again, within `limit_s`.

        Raises:
            NotRead: there is no complete reading.
        """


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools of a reader, from the process in which it runs.

    clock: the run's clock, ns. secret_of: returns the value of a secret; None if it is not set here.
    permit: decides about each connection, by the address; None: all but metadata services are permitted.
    t0: returns the start of the load on this clock; None if it is not known (yet).
    """

    clock: Callable[[], int]
    secret_of: Callable[[str], str | None]
    permit: Permit | None = None
    t0: Callable[[], int | None] = lambda: None

    def secret(self, name: str) -> str:
        """Return the value of a secret that is set; "" without a name."""
        return (self.secret_of(name) or "") if name else ""
