"""The address of a controller's API, for client and server. It imports no gRPC, since most commands call no API."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from loadgen.hostport import is_loopback

__all__ = ["ERROR_KEY", "Place"]

ERROR_KEY: Final = "loadgen-error-bin"
"""Key of the trailing metadata of a failed call. The value is a `ControlReply` as JSON."""


@dataclass(frozen=True, slots=True)
class Place:
    """The address of a controller, with the certificate and token for calls."""

    address: str
    ca: bytes | None = None
    """PEM: the authority that must have signed the controller's certificate. None: any that this system trusts."""
    token: str = field(default="", repr=False)

    @property
    def is_plain(self) -> bool:
        """Return whether calls use no TLS, because the controller is on this machine and no certificate was given."""
        from loadgen.wire.sockets import parse_address  # imports libzmq, which most commands do without

        return self.ca is None and is_loopback(parse_address(self.address)[0].strip("[]"))
