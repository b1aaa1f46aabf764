"""The httpx libraries whose clients a user can have: httpx, and httpx2, which newer SDKs import.

httpx2 is a fork with the same interface and classes of its own. A client library checks these classes
(`isinstance(http_client, httpx2.AsyncClient)`) and catches its exceptions, so a user needs a real client of the library
that the SDK imports. `Library` has the classes of one of them; `transport.py` uses nothing else of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, Final

import httpx

from loadgen.clients.httpx_api.errors import KINDS, add_library
from loadgen.clients.protocol.response_heads import Head
from loadgen.errors import RequestFailed, UsageError
from loadgen.extras import how_to_install

__all__ = ["HTTPX", "LIBRARIES", "Library", "library_of"]

LIBRARIES: Final = ("httpx", "httpx2")


class Library:
    """The classes of one httpx library, and caches of its objects.

    kinds: for each of our failures (`errors.py`) the class that is also this library's exception.
    headers, urls: caches of `transport.py`.
    """

    def __init__(self, name: str, module: ModuleType, kinds: Mapping[type[RequestFailed], type[RequestFailed]]) -> None:
        self.name, self.kinds = name, kinds
        self.client: Any = module.AsyncClient
        self.transport: Any = module.AsyncBaseTransport
        self.stream: Any = module.AsyncByteStream
        self.response: Any = module.Response
        self.header_class: Any = module.Headers
        self.timeout: Any = module.Timeout
        self.byte_stream: Any = module.ByteStream
        self.stream_closed: Any = module.StreamClosed
        self.local_protocol_error: Any = module.LocalProtocolError
        self.unsupported_protocol: Any = module.UnsupportedProtocol
        self.headers: dict[Head, Any] = {}
        self.urls: dict[tuple[str, str], Any] = {}

    def __repr__(self) -> str:
        return f"<Library {self.name}>"


HTTPX: Final = Library("httpx", httpx, {kind: kind for kind in KINDS})
_known: dict[str, Library] = {"httpx": HTTPX}


def library_of(name: str) -> Library:
    """Return the library with this name, `httpx` or `httpx2`. httpx2 is imported on first use.

    Raises:
        UsageError: an unknown name, or httpx2 is not installed.
    """
    library = _known.get(name)
    if library is not None:
        return library
    if name not in LIBRARIES:
        raise UsageError(f"unknown library {name!r}", hint=f"write one of {', '.join(LIBRARIES)}")
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise UsageError(
            f"{name} is not installed, so there is no client of it",
            hint=f"on this machine and on each agent, {how_to_install('httpx2')}",
        ) from error
    library = _known[name] = Library(name, module, add_library(module))
    return library
