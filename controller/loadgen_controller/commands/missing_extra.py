"""Reports missing packages of the extra `analysis`, such as scipy, which machines of a fleet do without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from loadgen.extras import missing_package

__all__ = ["needing_analysis"]


@contextmanager
def needing_analysis(command: str) -> Iterator[None]:
    """Import modules that need the extra `analysis` inside this `with` block.

    A missing package becomes a usage error.

    command: the name that the error begins with.

    Raises:
        UsageError: a package of the extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as exc:
        if (exc.name or "loadgen").startswith("loadgen"):
            raise
        raise missing_package(command, exc.name or "a package", "analysis") from None
