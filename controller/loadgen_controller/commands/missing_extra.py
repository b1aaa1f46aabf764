"""What a command needs and this machine goes without: fleets have no scipy, and nothing that brings it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from loadgen.errors import UsageError

__all__ = ["needing_analysis"]


@contextmanager
def needing_analysis(command: str) -> Iterator[None]:
    """Around the imports of what needs the extra `analysis`; other commands start without.

    Raises:
        UsageError: something of it is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as exc:
        if (exc.name or "loadgen").startswith("loadgen"):
            raise
        hint = 'pip install "loadgen[analysis]"'
        raise UsageError(f"{command} needs {exc.name}, which is not installed", hint=hint) from None
