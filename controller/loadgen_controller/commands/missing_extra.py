"""Reports missing packages of the extra `analysis`, such as scipy, which machines of a fleet do without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from loadgen.errors import UsageError

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
        hint = "install the extra `analysis`, see docs/install.md"
        raise UsageError(f"{command} needs {exc.name}, which is not installed", hint=hint) from None
