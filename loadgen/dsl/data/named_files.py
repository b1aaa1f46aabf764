"""Data files that a scenario names outside of a plan and of journeys, such as `choices("data/skus.csv")`.

The loader collects them while it runs the scenario: agents need these files, and their errors are reported with all
others before anything starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Protocol

from loadgen.dsl.source_location import Origin
from loadgen.errors import Fault, ScenarioError

__all__ = ["NamedFile", "data_files_named", "faults_of", "name_file"]


class NamedFile(Protocol):
    """Something that a scenario made from a data file."""

    @property
    def path(self) -> Path: ...
    @property
    def origin(self) -> Origin: ...
    @property
    def faults(self) -> tuple[Fault, ...]:
        """Errors in the arguments and in the file."""
        ...


_named: ContextVar[list[NamedFile] | None] = ContextVar("loadgen_named_files", default=None)


@contextmanager
def data_files_named() -> Iterator[list[NamedFile]]:
    """Collect everything that is made from a data file within this `with` block."""
    found: list[NamedFile] = []
    token = _named.set(found)
    try:
        yield found
    finally:
        _named.reset(token)


def name_file(made: NamedFile) -> None:
    """Add something that was made from a data file to the scenario that is being loaded, if there is one."""
    found = _named.get()
    if found is not None:
        found.append(made)


def faults_of(read: Callable[[], object]) -> tuple[Fault, ...]:
    """Return the errors in a data file, which `read` raises as a ScenarioError; () if there are none."""
    try:
        read()
    except ScenarioError as error:
        return tuple(error.faults)
    return ()
