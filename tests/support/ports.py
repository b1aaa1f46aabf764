"""Ports for programs that have to be told one before they start."""

from __future__ import annotations

import random
import socket

__all__ = ["free_port", "free_ports"]

_PORTS = range(15_000, 32_000)
"""Below those that Linux, macOS and BSD give to whoever asks for any port, as connections of tests beside do."""


def free_ports(n: int, host: str = "127.0.0.1") -> list[int]:
    """Ports of `host` at which nobody listens; drawn at random, so that tests side by side do not draw the same."""
    found: list[int] = []
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        if len(found) == n:
            break
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
        found.append(port)
    return found


def free_port(host: str = "127.0.0.1") -> int:
    (port,) = free_ports(1, host)
    return port
