"""Checks the fields of a policy document. Each problem is added to a list with the path of its field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from math import isfinite
from typing import Any, Final

from loadgen.capacity.scaling.faults import FaultList

__all__ = ["MOST_INSTANCES", "Fields"]

MOST_INSTANCES: Final = 100_000
_MISSING: Final = object()


class Fields:
    """One object of a document. YAML is read as text, so numbers may be texts: "60" is 60."""

    def __init__(self, faults: FaultList, value: object, path: str = "") -> None:
        self.faults, self.path = faults, path
        self.is_object = isinstance(value, Mapping)
        self._value: Mapping[str, Any] = value if isinstance(value, Mapping) else {}
        if not self.is_object and value is not _MISSING:
            faults.add(path or "1", "an object is expected here", "write fields with their names")

    @property
    def document(self) -> Mapping[str, Any]:
        """Return the object as it was read."""
        return self._value

    def has(self, key: str) -> bool:
        """Return whether the field is there and not null."""
        return self._value.get(key) not in (None, "", "null", "~")

    def at(self, key: str) -> str:
        """Return the path of a field."""
        return f"{self.path}.{key}" if self.path else key

    def wrong(self, key: str, problem: str, hint: str) -> None:
        """Add a fault of a field."""
        self.faults.add(self.at(key), problem, hint)

    def check_names(self, known: Sequence[str]) -> None:
        """Add a fault for each field that is not known: a misspelt one would silently not count."""
        for name in self._value:
            if name not in known:
                near = get_close_matches(str(name), known, 1)
                lower = [one for one in known if one.lower() == str(name).lower()]
                hint = f"did you mean {(lower or near)[0]}?" if lower or near else f"known are {', '.join(known)}"
                self.wrong(str(name)[:60], "unknown field", hint)

    def object(self, key: str) -> Fields:
        """Return the object in a field; an empty one if the field is missing."""
        return Fields(self.faults, self._value[key] if self.has(key) else _MISSING, self.at(key))

    def objects(self, key: str) -> Iterator[Fields]:
        """Yield the objects in a list."""
        value = self._value.get(key) if self.has(key) else ()
        if not isinstance(value, Sequence) or isinstance(value, str):
            self.wrong(key, "a list is expected here", "write a list")
            return
        for number, one in enumerate(value):
            yield Fields(self.faults, one, f"{self.at(key)}[{number}]")

    def text(self, key: str, default: str = "") -> str:
        """Return a text."""
        if not self.has(key):
            return default
        value = self._value[key]
        if isinstance(value, (str, int, float)) and not isinstance(value, bool):
            return str(value)
        self.wrong(key, "a text is expected here", "write a text")
        return default

    def texts(self, key: str) -> list[str]:
        """Return the texts in a list; nothing if the field is missing."""
        value = self._value.get(key) if self.has(key) else ()
        if isinstance(value, Sequence) and not isinstance(value, str):
            return [one for one in value if isinstance(one, str)]
        self.wrong(key, "a list is expected here", "write a list")
        return []

    def choice(self, key: str, choices: Sequence[str], default: str) -> str:
        """Return a text that is one of the choices."""
        value = self.text(key, default)
        if value in choices:
            return value
        self.wrong(key, f'"{value[:60]}" is not supported', f"write {', '.join(choices[:-1])} or {choices[-1]}")
        return default

    def truth(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self._value.get(key, default)
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        self.wrong(key, "true or false is expected here", "write true or false")
        return default

    def number(self, key: str, default: float | None, *, low: float, high: float) -> float | None:
        """Return a number in [low, high]; `default` if the field is missing or invalid."""
        if not self.has(key):
            return default
        value = self._value[key]
        try:
            number = float(value) if not isinstance(value, bool) else float("nan")
        except (TypeError, ValueError, OverflowError):
            number = float("nan")
        if isfinite(number) and low <= number <= high:
            return number
        self.wrong(key, f"{str(value)[:60]} is not a number from {low:g} to {high:g}", "correct this number")
        return default

    def whole(self, key: str, default: int, *, low: int, high: int) -> int:
        """Return a whole number in [low, high]; `default` if the field is missing or invalid."""
        number = self.number(key, float(default), low=low, high=high)
        if number is None or number != int(number):
            self.wrong(key, f"{self._value[key]} is not a whole number", "write a whole number")
            return default
        return int(number)
