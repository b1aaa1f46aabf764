"""Takes the fields of a YAML mapping one by one. Every fault is collected with its line, none is raised.

After the last field, `end` reports all fields that were not taken; otherwise they would be lost silently.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Final

from loadgen.outside_text import one_line
from loadgen.programme.promises.objectives import CALENDAR_UNITS, SECONDS_OF_UNIT, Threshold
from loadgen.programme.promises.slo_set import Findings
from loadgen.programme.slo_files.yaml_nodes import Node, YamlList, YamlMap, YamlText, plain_value
from loadgen.similar_names import did_you_mean

__all__ = ["NAME", "Fields", "json_of", "parse_threshold", "quoted", "read_number", "split_duration"]

NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
"""A label of RFC 1123: lower-case letters, digits and inner hyphens, at most 63."""
_NUMBER: Final = re.compile(r"[-+]?(\d{1,18}(\.\d{0,18})?|\.\d{1,18})")
_DURATION: Final = re.compile(r"([1-9]\d{0,9})([a-zA-Z]+)")
_THRESHOLD: Final = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)\s*([a-zA-Zµ%]*)")
_BOOLEANS: Final = {"true": True, "false": False}
_MOST_DESCRIPTION: Final = 1050


def quoted(text: str) -> str:
    """Return a text from a file for a message: safe, in quotes, at most 60 characters."""
    return f'"{one_line(text, 60)}"'


def json_of(node: Node | None) -> str:
    """Return a node as JSON with sorted keys; {} for no node."""
    value = {} if node is None or (isinstance(node, YamlText) and node.is_null) else plain_value(node)
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def read_number(text: str) -> Decimal | None:
    """Return a decimal number such as 0.995 exactly; None: no number. Exponents, "inf" and "nan" give None."""
    try:
        return Decimal(text) if _NUMBER.fullmatch(text) else None
    except InvalidOperation:
        return None


def split_duration(text: str) -> tuple[int, str] | None:
    """Return number and unit of a duration of OpenSLO, such as (4, "w"); None: no duration. `1m` is a minute, `1M` a
    month.
    """
    found = _DURATION.fullmatch(text)
    if found is None or found[2] not in ("m", *CALENDAR_UNITS):
        return None
    return int(found[1]), found[2]


def parse_threshold(text: str) -> Threshold:
    """Return a limit with its unit, such as "300ms".

    Raises:
        ValueError: not a limit above 0 with a unit; the message ends with what to write.
    """
    found = _THRESHOLD.fullmatch(text.strip())
    units = ", ".join((*SECONDS_OF_UNIT, "%"))
    if found is None:
        raise ValueError(f'threshold {quoted(text)} is invalid; write a number with a unit: "300ms"')
    unit = found[2].replace("µs", "us")
    if not unit:
        raise ValueError(f'threshold {quoted(text)} has no unit; write one of {units}: "{found[1]}ms"')
    if unit not in (*SECONDS_OF_UNIT, "%"):
        raise ValueError(f'threshold {quoted(text)} has an unknown unit; write one of {units}: "300ms"')
    value = Decimal(found[1])
    if value <= 0:
        raise ValueError(f'threshold {quoted(text)} must be above 0; write "300ms"')
    return Threshold(value.normalize(), unit)


@dataclass(slots=True)
class Fields:
    """One mapping of a document. path: of the mapping within the document, such as "spec.timeWindow"."""

    findings: Findings
    map: YamlMap
    path: str
    taken: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, findings: Findings, node: Node, path: str) -> Fields | None:
        """Return the fields of a node; None and a fault if it is not a mapping."""
        if isinstance(node, YamlMap):
            return cls(findings, node, path)
        findings.fault(node.line, f"{path or 'the document'} must be a mapping", "write fields: name: value")
        return None

    @property
    def line(self) -> int:
        """Return the line where the mapping begins."""
        return self.map.line

    def has(self, key: str) -> bool:
        """Return whether the field is there, also if it is empty."""
        return key in self.map.values

    def line_of(self, key: str) -> int:
        """Return the line of a field's key; of the mapping if it is missing."""
        return self.map.keys.get(key, self.line)

    def name_of(self, key: str) -> str:
        """Return the whole path of a field."""
        return f"{self.path}.{key}" if self.path else key

    def fault(self, key: str, message: str, hint: str = "") -> None:
        """Add a fault at the line of a field."""
        self.findings.fault(self.line_of(key), message, hint)

    def note(self, key: str, message: str, hint: str = "") -> None:
        """Add a note at the line of a field."""
        self.findings.note(self.line_of(key), message, hint)

    def node(self, key: str) -> Node | None:
        """Take a field; None if it is missing or null. A null is noted."""
        self.taken.add(key)
        node = self.map.values.get(key)
        if isinstance(node, YamlText) and node.is_null:
            self.note(key, f"{self.name_of(key)} is null", "leave it out, or give it a value")
            return None
        return node

    def missing(self, key: str, hint: str) -> None:
        """Add the fault that a field is missing."""
        self.findings.fault(self.line_of(key), f"{self.name_of(key)} is missing", hint)

    def text(self, key: str, *, hint: str = "") -> str:
        """Take a text; "" if it is missing. hint: what to write, which makes a missing field a fault."""
        node = self.node(key)
        if node is None:
            if hint:
                self.missing(key, hint)
            return ""
        if not isinstance(node, YamlText):
            self.fault(key, f"{self.name_of(key)} must be a text", hint or "write one value")
            return ""
        if "\0" in node.text:
            self.fault(key, f"{self.name_of(key)} has a character with code 0", "remove it")
            return ""
        return node.text

    def description(self) -> str:
        """Take `description`, at most 1,050 characters."""
        text = self.text("description")
        if len(text) > _MOST_DESCRIPTION:
            self.fault("description", f"{self.name_of('description')} has more than 1,050 characters", "shorten it")
        return text

    def name(self, key: str = "name", *, required: bool = True) -> str:
        """Take a name of RFC 1123; "" with a fault otherwise."""
        name = self.text(key, hint="give it a name, such as checkout-fast" if required else "")
        if name and NAME.fullmatch(name) is None:
            self.fault(
                key,
                f"{self.name_of(key)} {quoted(name)} is not a name of RFC 1123",
                "use lower-case letters, digits and inner hyphens, at most 63",
            )
        return name

    def choice(self, key: str, choices: Sequence[str], *, required: bool = True) -> str:
        """Take one of several words; "" with a fault otherwise."""
        text = self.text(key, hint=f"write one of {', '.join(choices)}" if required else "")
        if text and text not in choices:
            self.fault(key, f"{self.name_of(key)} {quoted(text)} is unknown", did_you_mean(text, choices))
            return ""
        return text

    def number(self, key: str, *, hint: str = "") -> Decimal | None:
        """Take a decimal number; None if it is missing or invalid. hint: as in `text`."""
        text = self.text(key, hint=hint)
        if not text:
            return None
        value = read_number(text)
        if value is None:
            self.fault(key, f"{self.name_of(key)} {quoted(text)} is not a decimal number", hint or "write it as 0.995")
        return value

    def boolean(self, key: str) -> bool | None:
        """Take `true` or `false`; None if it is missing or invalid. `yes` and `no` are texts here."""
        text = self.text(key)
        if not text:
            return None
        if text not in _BOOLEANS:
            self.fault(key, f"{self.name_of(key)} {quoted(text)} must be true or false", "write true or false")
        return _BOOLEANS.get(text)

    def duration(self, key: str, *, hint: str = "", is_in_minutes: bool = False) -> tuple[int, str] | None:
        """Take a duration such as 4w; None if it is missing or invalid. is_in_minutes: a bare number is in minutes."""
        text = self.text(key, hint=hint)
        if not text:
            return None
        if is_in_minutes and text.isascii() and text.isdecimal():
            text = f"{text.lstrip('0')}m"
        found = split_duration(text)
        if found is None:
            self.fault(
                key,
                f"{self.name_of(key)} {quoted(text)} is not a duration",
                "write a whole number with one unit: 5m (minutes), 1h, 1d, 4w, 1M (months), 1Q, 1Y",
            )
        return found

    def seconds(self, key: str, *, hint: str = "", is_in_minutes: bool = False) -> int | None:
        """Take a duration of fixed length, in seconds; months, quarters and years are faults."""
        found = self.duration(key, hint=hint, is_in_minutes=is_in_minutes)
        if found is None:
            return None
        size = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}.get(found[1])
        if size is None or found[0] * size > 366 * 10 * 86_400:
            reason = "has no fixed length" if size is None else "is longer than 10 years"
            self.fault(key, f"{self.name_of(key)} {found[0]}{found[1]} {reason}", "write it in m, h, d or w")
            return None
        return found[0] * size

    def sub(self, key: str, *, hint: str = "") -> Fields | None:
        """Take a mapping; None if it is missing or not a mapping. hint: as in `text`."""
        node = self.node(key)
        if node is None:
            if hint:
                self.missing(key, hint)
            return None
        return Fields.of(self.findings, node, self.name_of(key))

    def items(self, key: str) -> list[Node]:
        """Take a list; empty if it is missing."""
        node = self.node(key)
        if node is None:
            return []
        if isinstance(node, YamlList):
            return node.items
        self.fault(key, f"{self.name_of(key)} must be a list", "begin each item with -")
        return []

    def pairs(self, key: str) -> Iterator[tuple[str, str, int]]:
        """Take a mapping of texts; yield (key, text, line). A list of texts is joined with commas, and noted."""
        found = self.sub(key)
        if found is None:
            return
        for name, node in found.map.values.items():
            line = found.line_of(name)
            if isinstance(node, YamlText):
                yield name, "" if node.is_null else node.text, line
            elif isinstance(node, YamlList) and all(isinstance(one, YamlText) for one in node.items):
                texts = [one.text for one in node.items if isinstance(one, YamlText)]
                found.note(name, f"{found.name_of(name)} is a list", "write one text; a list is joined with commas")
                yield name, ",".join(texts), line
            else:
                found.fault(name, f"{found.name_of(name)} must be a text", "write one text for each key")

    def lost(self, *keys: str) -> None:
        """Take known fields that have no place in our values, and note that they are lost."""
        for key in keys:
            if self.has(key):
                self.taken.add(key)
                self.note(
                    key,
                    f"{self.name_of(key)} is not kept",
                    "leave it out: an export lacks it",
                )

    def end(self, known: Collection[str] = ()) -> None:
        """Note all fields that were not taken. known: names for hints, besides those that were taken."""
        for key in self.map.values:
            if key not in self.taken:
                near = did_you_mean(key, [*self.taken, *known])
                self.note(
                    key,
                    f"{self.path or 'the document'} has the unknown field {quoted(key)}, which is not read",
                    near if near.startswith("did you mean") else "remove it, or check its spelling",
                )
