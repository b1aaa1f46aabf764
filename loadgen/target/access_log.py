"""The access log of the demo shop: a JSON object for each answer, with the names of nginx.

Only `duration` is not nginx's name. `loadgen model` takes the time beside `request_time` as the end of a request, as
nginx writes it, and `time` is the start here.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from loadgen.errors import UsageError

__all__ = ["AccessLog", "LoggedRequest"]

_BUFFER: Final = 1 << 16

LoggedRequest = tuple[float, str, str, str]
"""When the request arrived, in s since 1970; client's address; request line; user agent."""


class AccessLog:
    """Appends lines to a file, which is complete when it is closed.

    Raises:
        UsageError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("a", buffering=_BUFFER, encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"--access-log: cannot write {path}: {error.strerror or error}",
                hint="name a file in a folder that exists",
            ) from None

    def add(self, request: LoggedRequest, status: int, size: int, took_s: float) -> None:
        """Add an answer. size: bytes of head and body."""
        at_s, client, line, agent = request
        self._file.write(
            json.dumps(
                {
                    "time": datetime.fromtimestamp(at_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
                    "remote_addr": client,
                    "request": line,
                    "status": status,
                    "body_bytes_sent": size,
                    "duration": round(took_s, 6),
                    "http_user_agent": agent,
                }
            )
            + "\n"
        )

    def flush(self) -> None:
        """Write what is in memory."""
        self._file.flush()

    def close(self) -> None:
        """Write the rest, and close the file."""
        self._file.close()
