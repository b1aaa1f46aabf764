"""Where the API of a controller is, for both of its ends. Light: it is imported by commands that never call one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from loadgen.hostport import is_loopback
from loadgen.wire.sockets import parse_address

__all__ = ["ERROR_KEY", "Place"]

ERROR_KEY: Final = "loadgen-error-bin"
"""Trailing metadata of a call that failed: JSON of a `Told`."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a controller is, and how it is spoken to."""

    address: str
    ca: bytes | None = None
    """PEM: who has to vouch for the controller's certificate. None: whom this system trusts."""
    token: str = field(default="", repr=False)

    @property
    def is_plain(self) -> bool:
        """Without TLS: to this machine, unless there is a certificate to check."""
        return self.ca is None and is_loopback(parse_address(self.address)[0].strip("[]"))
