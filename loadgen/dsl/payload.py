"""Large request bodies: `file("data/photo.jpg")`, `blob("5MB", seed=1)`.

    PHOTO = file("data/photo.jpg")                        at the top of the file, so that it travels to the agents
    ...
    await user.http.post("/photos", files={"photo": PHOTO})
    await user.http.put(url, content=blob("5MB", seed=user.random.randrange(1000)))

They never raise when created: they keep their place and their errors. The loader collects
all bodies that are created while the scenario is loaded (`bodies_made`). It cannot see a
file that is first named within a journey, so such a file does not travel. See
`clients/protocol/file_and_generated_bodies.py` for how bodies are sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import Self, TypeVar

from loadgen.clients.protocol.file_and_generated_bodies import Blob, FileBody
from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault, ScenarioError
from loadgen.units import parse_size

__all__ = ["ScenarioBlob", "ScenarioFile", "blob", "bodies_made", "file"]


class ScenarioFile(FileBody):
    """A file of the scenario as a request body. Its path is relative to the file that names it."""

    __slots__ = ("faults", "origin")

    def __init__(self, path: Path, origin: Origin, faults: tuple[Fault, ...] = ()) -> None:
        super().__init__(path)
        self.origin, self.faults = origin, faults

    @property
    def size_bytes(self) -> int:
        _refuse(self.faults)
        return super().size_bytes

    def _part(self, begin: int, size: int) -> Self:
        part = type(self)(self.path, self.origin, self.faults)
        part._begin, part._size = begin, size
        return part


class ScenarioBlob(Blob):
    """A generated request body that keeps the place where it was created."""

    __slots__ = ("faults", "origin")

    def __init__(self, size: int, seed: int, origin: Origin, faults: tuple[Fault, ...] = ()) -> None:
        super().__init__(size, seed)
        self.origin, self.faults = origin, faults

    @property
    def size_bytes(self) -> int:
        _refuse(self.faults)
        return super().size_bytes

    def _part(self, begin: int, size: int) -> Self:
        part = type(self)(size, self.seed, self.origin, self.faults)
        part._begin = begin
        return part


Body = TypeVar("Body", ScenarioFile, ScenarioBlob)
_made: list[ScenarioFile | ScenarioBlob] | None = None
"""Bodies created while a scenario is loaded; None at other times."""


@contextmanager
def bodies_made() -> Iterator[list[ScenarioFile | ScenarioBlob]]:
    """Collect each `file()` and `blob()` created within this `with` block, in a list, in order."""
    global _made
    before, _made = _made, []
    try:
        yield _made
    finally:
        _made = before


def _note(body: Body) -> Body:
    if _made is not None:
        _made.append(body)
    return body


def file(path: str | PathLike[str]) -> ScenarioFile:
    """Return a request body that is read from a file: `content=file(...)`, `files={"photo": file(...)}`.

    The path is relative to the calling file. The file is read while it is sent, 64 KiB at a time. Slices send a part:
    `file("a.bin")[:5_000_000]`. In a form, the file name is taken from the path, and the content type from the name.
    """
    origin = here()
    place = origin.beside(path)
    if place is None:
        return _note(
            ScenarioFile(
                Path(), origin, (origin.fault(f"{path!r} is not a path of a file", 'write file("data/photo.jpg")'),)
            )
        )
    faults: tuple[Fault, ...] = ()
    if place.is_dir():
        faults = (origin.fault(f"{place.name} is a folder", "name a single file"),)
    elif not place.is_file():
        faults = (
            origin.fault(
                f"no file {fspath(path)!r}", "correct the path; it is relative to the file that calls file(...)"
            ),
        )
    return _note(ScenarioFile(place, origin, faults))


def blob(size: str | int, *, seed: int = 0) -> ScenarioBlob:
    """Return a request body of pseudo-random bytes, generated while they are sent: `content=blob("5MB", seed=1)`.

    The bytes depend only on `seed`, so they are the same on each agent. They do not compress. Slices send a part:
    `blob("5MB")[:1_000_000]`.

    size: "5MB" (10**6 bytes each), "64KiB", or a number of bytes.
    """
    origin = here()
    faults: list[Fault] = []
    size_bytes = 0
    given: object = size
    if isinstance(given, bool) or not isinstance(given, str | int):
        faults.append(origin.fault(f"size={given!r} is not a size", 'write blob("5MB", seed=1)'))
    else:
        try:
            size_bytes = parse_size(given)
        except ValueError as error:
            faults.append(origin.fault(f"size: {error}", 'write blob("5MB", seed=1)'))
    kind: object = seed
    if not isinstance(kind, int) or isinstance(kind, bool):
        faults.append(origin.fault(f"seed={kind!r} is not a whole number", "write seed=1"))
        seed = 0
    return _note(ScenarioBlob(size_bytes, seed, origin, tuple(faults)))


def _refuse(faults: tuple[Fault, ...]) -> None:
    """Raise ScenarioError if there are errors.

    This is for bodies that are created within a journey, because the loader never sees their errors.
    """
    if faults:
        raise ScenarioError(faults)
