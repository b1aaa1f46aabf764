"""Large bodies as a scenario names them: `file("data/photo.jpg")`, `blob("5MB", seed=1)`.

    PHOTO = file("data/photo.jpg")                        at the top, so that it travels to the agents
    ...
    await user.http.post("/photos", files={"photo": PHOTO})
    await user.http.put(url, content=blob("5MB", seed=user.random.randrange(1000)))

They never raise: they keep the place where they were made and what is wrong with
them, and the loader collects those that are made while the scenario is loaded
(`bodies_made`), wherever they are kept. What is first named within a journey, the
loader cannot see: such a file does not travel. See `clients/request/large_bodies.py` for how they
are sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import Self, TypeVar

from loadgen.clients.protocol.large_bodies import Blob, FileBody
from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault, ScenarioError
from loadgen.units import parse_size

__all__ = ["ScenarioBlob", "ScenarioFile", "blob", "bodies_made", "file"]


class ScenarioFile(FileBody):
    """A file of the scenario. path: seen from the file that names it, wherever the scenario is unpacked."""

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
    """A blob, and where it was made."""

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
"""While a scenario is loaded."""


@contextmanager
def bodies_made() -> Iterator[list[ScenarioFile | ScenarioBlob]]:
    """Collects each `file()` and `blob()` that is called within the block, in order."""
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
    """A file beside the scenario, to be sent: `content=file(...)`, `files={"photo": file(...)}`.

    It is read while it is sent, 64 KiB at a time. A part of it is `file("a.bin")[:5_000_000]`. In a form its
    file name is that of the path, and its content type follows from that.
    """
    origin = here()
    given: object = path
    if not isinstance(given, str | PathLike) or not fspath(given):
        return _note(ScenarioFile(Path(), origin, (origin.fault(f"{given!r} is no path of a file"),)))
    place = Path(origin.file).parent / fspath(given)
    faults: tuple[Fault, ...] = ()
    if place.is_dir():
        faults = (origin.fault(f"{place.name} is a folder", "file(...) is one file"),)
    elif not place.is_file():
        faults = (origin.fault(f"no file {fspath(given)!r}", f"paths are seen from {place.parent.name or '.'}/"),)
    return _note(ScenarioFile(place, origin, faults))


def blob(size: str | int, *, seed: int = 0) -> ScenarioBlob:
    """Pseudo-random bytes to be sent, made while they are sent: `content=blob("5MB", seed=1)`.

    They follow from `seed` alone, the same on each agent, and do not compress. A part is `blob("5MB")[:1_000_000]`.
    size: "5MB" (10**6), "64KiB" or bytes.
    """
    origin = here()
    faults: list[Fault] = []
    size_bytes = 0
    given: object = size
    if isinstance(given, bool) or not isinstance(given, str | int):
        faults.append(origin.fault(f"size={given!r} is no size", 'blob("5MB", seed=1)'))
    else:
        try:
            size_bytes = parse_size(given)
        except ValueError as error:
            faults.append(origin.fault(f"size: {error}"))
    kind: object = seed
    if not isinstance(kind, int) or isinstance(kind, bool):
        faults.append(origin.fault(f"seed={kind!r} is no whole number"))
        seed = 0
    return _note(ScenarioBlob(size_bytes, seed, origin, tuple(faults)))


def _refuse(faults: tuple[Fault, ...]) -> None:
    """Of those made within a journey the loader knows nothing: they are refused when they are used."""
    if faults:
        raise ScenarioError(faults)
