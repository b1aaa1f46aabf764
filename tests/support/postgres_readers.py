"""Runs the reader of a PostgreSQL probe in a test: a clock, and a spec for a server."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from loadgen.probes.postgres.reader import PostgresReader, open_reader
from loadgen.probes.reader import Note, Tools
from loadgen.probes.spec import ProbeSpec

__all__ = ["bodies", "opened", "spec_of"]


def spec_of(dsn: str, **own: Any) -> ProbeSpec:
    """Return a probe of this server, without a password unless `own` has one."""
    return ProbeSpec(name="shopdb", kind="postgres", own={"dsn": dsn, **own})


@asynccontextmanager
async def opened(
    dsn: str, secret: str | None = None, t0: Callable[[], int | None] = lambda: None, **own: Any
) -> AsyncIterator[PostgresReader]:
    """Open a reader, and close it afterwards."""
    reader = open_reader(spec_of(dsn, **own), Tools(time.monotonic_ns, lambda _: secret, None, t0))
    try:
        yield reader
    finally:
        await reader.close()


def bodies(notes: tuple[Note, ...], kind: str) -> list[Any]:
    """Return the bodies of the notes of a kind."""
    return [note.body for note in notes if note.kind == kind]
