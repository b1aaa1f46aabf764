"""The fence for connections of client libraries: each has to be admitted by the allow-lists of the run.

    fence = LibraryFence([guard], note=recorder.note)
    fence.raise_around(asyncio.get_running_loop())

It intercepts two ways to open a connection, and checks the address right before it is used:

- the methods of the event loop that connect (`create_connection`, `create_datagram_endpoint`,
  `create_unix_connection`), because uvloop connects in C;
- sockets of Python, in every thread, by the audit events `socket.connect` and `socket.sendto`. So blocking libraries in
  threads are checked, and so is `loop.sock_connect` of both loops.

Imports of libraries that connect in C are refused, too, unless the plan names the library.

An entry of a list with a name admits an address only together with that name. So the fence remembers the addresses that
look-ups of this process returned (`loop.getaddrinfo`, `socket.getaddrinfo`). Connections of loadgen itself were checked
before, and pass.

It does not check: connections in C (`connects_in_c.py` has a table of libraries), datagrams that uvloop sends from a
socket without a fixed peer, and other processes. An audit hook stays until the process ends, so it does nothing without
an active fence.

Only runs with an allow-list have a fence. Decision page 170 has the reasons.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Collection, Sequence
from errno import EACCES
from typing import Any, Final, cast

from loadgen.clients.libraries.connects_in_c import library_of, why_refused
from loadgen.clients.net.target_guard import MOMENT_S, NOT_ALLOWED, TargetGuard
from loadgen.errors import RequestFailed

__all__ = ["ConnectionNotAllowed", "LibraryFence", "LibraryNotAllowed"]

_EVENTS: Final = frozenset({"socket.connect", "socket.sendto"})
_MOST_NAMES: Final = 10_000
"""Remembered addresses; then all are forgotten. A scenario that looks up more has a new host for each user."""
_LOOK_UP: Final = "getaddrinfo"
_METHODS: Final = ("create_connection", "create_datagram_endpoint", "create_unix_connection", "getaddrinfo")


class ConnectionNotAllowed(RequestFailed, PermissionError):
    """An allow-list of the run does not admit a connection of a library.

    The class is an OSError, too, because libraries expect one from a failed connect.
    """

    def __init__(self, outcome: str, detail: str = "") -> None:
        super().__init__(outcome, detail)
        self.errno, self.strerror = EACCES, self.message

    def __str__(self) -> str:
        return self.message


class LibraryNotAllowed(RequestFailed, ImportError):
    """A library that connects in C was imported in a run with an allow-list, and the plan does not name it.

    The class is an ImportError, too, because packages catch it for imports that they can do without.
    """

    def __str__(self) -> str:
        return self.message


class LibraryFence:
    """Checks the connections that client libraries open in this process.

    Args:
        guards: the first one decides on each connection. An address that any of them has admitted for loadgen itself
            is admitted for libraries, too.
        note: is called with a sentence for each place that was refused, once.
        unchecked: the libraries of the plan's `unchecked_libraries=`.
    """

    _active: LibraryFence | None = None
    _has_hook = False

    def __init__(
        self, guards: Sequence[TargetGuard], note: Callable[[str], None], unchecked: Collection[str] = ()
    ) -> None:
        self._guard, self._guards = guards[0], tuple(guards)
        self._note, self._noted = note, set[str]()
        self._unchecked = frozenset(unchecked)
        self._names: dict[str, set[str]] = {}
        """The names that look-ups resolved to an address."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._of_loop: dict[str, Any] = {}
        self._look_up = socket.getaddrinfo

    def raise_around(self, loop: asyncio.AbstractEventLoop) -> None:
        """Check all connections from now on: of this event loop, and of sockets of Python in all threads."""
        self._loop = loop
        self._of_loop = {name: getattr(loop, name) for name in _METHODS}
        for name in _METHODS:
            setattr(loop, name, getattr(self, f"_{name}"))
        self._look_up = socket.getaddrinfo
        setattr(socket, _LOOK_UP, self._look_up_in_threads)
        sys.meta_path.insert(0, cast("Any", self))
        LibraryFence._active = self
        if not LibraryFence._has_hook:
            sys.addaudithook(_audit)
            LibraryFence._has_hook = True

    def take_down(self) -> None:
        """Check no connections any more. Does nothing if the fence does not stand."""
        if self._loop is None:
            return
        for name in _METHODS:
            delattr(self._loop, name)
        setattr(socket, _LOOK_UP, self._look_up)
        sys.meta_path.remove(cast("Any", self))
        self._loop = None
        if LibraryFence._active is self:
            LibraryFence._active = None

    # -- what is refused ----------------------------------------------------------------------------

    def check(self, host: str, address: str, port: int) -> None:
        """Raise if a library may not connect to this address. host: the name that it was asked for; "" if unknown.

        Raises:
            ConnectionNotAllowed: with the outcome `not allowed: ...`.
        """
        if any(guard.has_admitted(address, port) for guard in self._guards):
            return
        names = [one for one in (host, *sorted(self._names.get(address, ()))) if one and one != address]
        refusals = []
        for name in (*names, ""):
            if (refusal := self._guard.refusal(name, address, port)) is None:
                return
            refusals.append(refusal)
        self._refuse(*refusals[0])

    def check_socket(self, path: object) -> None:
        """Raise if a library may not connect to this UNIX socket.

        Raises:
            ConnectionNotAllowed: as `check`.
        """
        if (refusal := self._guard.socket_refusal(str(path))) is not None:
            self._refuse(*refusal)

    def on_connect(self, args: tuple[Any, ...]) -> None:
        """Check the audit event of a socket, in the thread in which it happens.

        Raises:
            ConnectionNotAllowed: the event may not go on.
        """
        sock, place = args[0], args[1]
        if sock.family == getattr(socket, "AF_UNIX", None):
            self.check_socket(place)
        elif sock.family in (socket.AF_INET, socket.AF_INET6) and isinstance(place, tuple) and len(place) > 1:
            host, port = str(place[0]), int(place[1])
            for address in self._addresses(host, port):
                self.check(host, address, port)

    def find_spec(self, module: str, path: object = None, target: object = None) -> None:
        """Return None, so that Python asks the next finder of `sys.meta_path`.

        Raises:
            LibraryNotAllowed: the module is that of a library that connects in C, and the plan does not name it.
        """
        library = library_of(module)
        # The process of a worker has gRPC's library and ZeroMQ by itself.
        if library is not None and library not in self._unchecked and library not in ("grpc", "zmq"):
            raise LibraryNotAllowed(f"{NOT_ALLOWED}library in C", why_refused(library))

    def _refuse(self, rule: str, detail: str) -> None:
        if detail not in self._noted and len(self._noted) < 20:
            self._noted.add(detail)
            self._note(f"a library was not allowed to connect: {detail}")
        raise ConnectionNotAllowed(NOT_ALLOWED + rule, detail)

    # -- names ----------------------------------------------------------------------------------------

    def _remember(self, host: object, found: Sequence[Any]) -> None:
        if isinstance(host, bytes):
            host = host.decode("ascii", "replace")
        if not isinstance(host, str) or not host:
            return
        if len(self._names) >= _MOST_NAMES:
            self._names.clear()
        for info in found:
            self._names.setdefault(str(info[4][0]), set()).add(host)

    def _look_up_in_threads(self, host: Any, port: Any, *args: Any, **options: Any) -> Any:
        found = self._look_up(host, port, *args, **options)
        self._remember(host, found)
        return found

    def _addresses(self, host: str, port: int) -> list[str]:
        """Return the addresses of a host that a socket connects to by its name; of an address only itself."""
        try:
            socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host.partition("%")[0])
        except OSError:
            return [str(info[4][0]) for info in self._look_up_in_threads(host, port)]
        return [host]

    # -- the event loop ---------------------------------------------------------------------------------

    async def _getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        found = await self._of_loop["getaddrinfo"](host, port, **options)
        self._remember(host, found)
        return found

    async def _create_connection(self, factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        connect = self._of_loop["create_connection"]
        if host is None or options.get("sock") is not None:
            return await connect(factory, host, port, **options)  # a connected socket was checked when it connected
        if options.get("ssl") and options.get("server_hostname") is None:
            options["server_hostname"] = host

        async def go(address: str) -> Any:
            return await connect(factory, address, port, **options)

        return await self._first(host, port, options, socket.SOCK_STREAM, go)

    async def _create_datagram_endpoint(
        self, factory: Any, local_addr: Any = None, remote_addr: Any = None, **options: Any
    ) -> Any:
        connect = self._of_loop["create_datagram_endpoint"]
        if remote_addr is None:
            return await connect(factory, local_addr=local_addr, **options)
        host, port = remote_addr[0], remote_addr[1]

        async def go(address: str) -> Any:
            return await connect(factory, local_addr=local_addr, remote_addr=(address, port), **options)

        return await self._first(host, port, options, socket.SOCK_DGRAM, go)

    async def _create_unix_connection(self, factory: Any, path: Any = None, **options: Any) -> Any:
        if path is not None:
            self.check_socket(path)
        return await self._of_loop["create_unix_connection"](factory, path, **options)

    async def _first(self, host: Any, port: Any, options: Any, kind: int, go: Callable[[str], Any]) -> Any:
        """Return what `go` returns for the first address of a host that is admitted and accepts a connection.

        A refusal takes 50 ms, as in `TargetGuard`.

        Raises:
            OSError: of the last address that was tried, or of the look-up; ConnectionNotAllowed if none is admitted.
        """
        found = await self._getaddrinfo(host, port, family=options.get("family", 0), type=kind)
        failure: OSError = OSError(f"no address of {host}")
        for address in dict.fromkeys(str(info[4][0]) for info in found):
            try:
                self.check(str(host), address, int(port))
                return await go(address)
            except ConnectionNotAllowed as refused:
                await asyncio.sleep(MOMENT_S)
                failure = refused
            except OSError as error:
                failure = error
        raise failure


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event in _EVENTS and (fence := LibraryFence._active) is not None:
        fence.on_connect(args)
