"""A history in memory, for tests that need many of them."""

from __future__ import annotations

from collections.abc import Iterable


class Memory:
    """A place whose files are in a dictionary."""

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        self.files = dict(files or {})

    def names(self, below: str) -> list[str]:
        return sorted(name for name in self.files if name.startswith(below))

    def read(self, names: Iterable[str]) -> list[bytes | str]:
        return [self.files[name] for name in names]

    def put_new(self, name: str, data: bytes) -> bool:
        return self.files.setdefault(name, data) is data
