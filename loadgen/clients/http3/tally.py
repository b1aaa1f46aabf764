"""Counts of a worker's HTTP/3 connections, for the report."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Tally"]


@dataclass(slots=True)
class Tally:
    """connections: opened so far. lost_packets: sent packets that the target did not acknowledge in time, so their data
    was sent again; of connections that have ended. early_requests, early_accepted: requests sent as 0-RTT, and those
    that the target accepted as such. fallbacks: requests that used TCP, because the offered HTTP/3 did not work.
    """

    connections: int = 0
    lost_packets: int = 0
    early_requests: int = 0
    early_accepted: int = 0
    fallbacks: int = 0

    def early(self, requests: int, *, is_accepted: bool) -> None:
        """Count the 0-RTT requests of a connection, when its handshake has ended."""
        self.early_requests += requests
        if is_accepted:
            self.early_accepted += requests
