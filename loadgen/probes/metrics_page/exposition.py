"""Parse the text formats of Prometheus (0.0.4) and OpenMetrics (1.0), with limits. Pure: bytes in, values out.

Only the samples of wanted metrics are parsed, because a page can have 100,000 lines of other metrics. If a line of a
wanted metric is invalid, the whole page is rejected, as Prometheus does: half a page would look like a restart of the
server. Exemplars and timestamps are skipped. A value of NaN or infinity is kept.

Source: Prometheus documentation, "Exposition formats"; OpenMetrics 1.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from loadgen.probes.rows import Labels

__all__ = [
    "BYTES_MOST",
    "LINES_MOST",
    "WANTED_MOST",
    "BadPage",
    "Page",
    "Sample",
    "family_of",
    "label_text",
    "parse",
]

BYTES_MOST: Final = 8 << 20
LINES_MOST: Final = 250_000
WANTED_MOST: Final = 20_000
_LINE_BYTES: Final = 16 << 10
_LABELS_MOST: Final = 64
_NAME_BYTES: Final = 256
_VALUE_BYTES: Final = 1024
_FAMILIES_MOST: Final = 20_000
_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r"\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*\"((?:[^\"\\]|\\.)*)\"\s*(,|(?=\}))")
_NUMBER: Final = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[iI]nf(?:inity)?)|[nN]a[nN]")
_ESCAPED: Final = re.compile(r"\\(.)")
_UNESCAPED: Final = {"n": "\n", '"': '"', "\\": "\\"}
_TYPES: Final = frozenset(
    ("counter", "gauge", "histogram", "gaugehistogram", "summary", "untyped", "unknown", "info", "stateset")
)
_SUFFIXES: Final = ("_bucket", "_count", "_sum", "_total", "_created")


class BadPage(Exception):
    """The page is not a page of metrics, or exceeds a limit. The text completes "the page is not used: ..."."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One line of a page."""

    name: str
    labels: Labels
    value: float


@dataclass(frozen=True, slots=True)
class Page:
    """One page of metrics."""

    names: frozenset[str]
    """The names of all samples on the page, wanted or not."""
    types: Mapping[str, str]
    """The type of each family by its name: counter, gauge, histogram, ... Families without a type are absent."""
    samples: tuple[Sample, ...]
    """The samples of wanted names, in the order of the page."""


def family_of(name: str) -> str:
    """Return the name of the family to which a sample belongs: the name without `_total`, `_bucket` and so on."""
    for suffix in _SUFFIXES:
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return name


def label_text(labels: Labels) -> str:
    """Return labels as `{engine="0"}`; an empty text without labels."""
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels) + "}" if labels else ""


def parse(data: bytes, is_wanted: Callable[[str], bool] = lambda _: True) -> Page:
    """Return the content of a page.

    is_wanted: whether the samples of this name are needed; called once for each name.

    Raises:
        BadPage: the bytes are not a page of metrics, the page was cut off, or it exceeds a limit.

    Cost: some 20 ms per MiB of unwanted lines, and some 15 µs per wanted line.
    """
    text = _text(data)
    names: dict[str, bool] = {}
    types: dict[str, str] = {}
    samples: dict[tuple[str, Labels], Sample] = {}
    is_over = False
    for number, line in _lines(text):
        if is_over:
            raise BadPage(f"line {number} comes after # EOF")
        if line[0] == "#":
            words = line.split(None, 3)
            is_over = line.rstrip() == "# EOF"
            if len(words) == 4 and words[1] == "TYPE" and len(types) < _FAMILIES_MOST:
                kind = words[3].strip()
                if kind in _TYPES and _NAME.fullmatch(words[2]):
                    types[words[2]] = kind
            continue
        found = _NAME.match(line)
        if found is None:
            raise BadPage(f"line {number} has no name of a metric")
        name = found[0]
        wanted = names.get(name)
        if wanted is None:
            if len(names) >= _FAMILIES_MOST:
                raise BadPage(f"it has more than {_FAMILIES_MOST:,} names")
            wanted = names[name] = is_wanted(name)
        if wanted:
            sample = _sample(name, line, found.end(), number)
            key = (name, sample.labels)
            if key in samples:
                raise BadPage(f"line {number} repeats {name}{label_text(sample.labels)[:80]}")
            samples[key] = sample
            if len(samples) > WANTED_MOST:
                raise BadPage(f"it has more than {WANTED_MOST:,} series of the wanted metrics")
    if not names and not types:
        raise BadPage("it has no metrics")
    return Page(frozenset(names), types, tuple(samples.values()))


def _text(data: bytes) -> str:
    if len(data) > BYTES_MOST:
        raise BadPage(f"it has more than {BYTES_MOST >> 20} MiB")
    if not data.strip():
        raise BadPage("it is empty")
    if data.lstrip()[:1] == b"<":
        raise BadPage("it is HTML or XML, not metrics")
    if data.lstrip()[:1] in (b"{", b"["):
        raise BadPage("it is JSON, not metrics")
    if not data.endswith(b"\n"):
        # Without the line feed, "12" may be the beginning of "1234".
        raise BadPage("its last line is not complete")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadPage("it is not UTF-8") from None


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a page that are not blank, with their numbers."""
    lines = text.split("\n")
    if len(lines) > LINES_MOST:
        raise BadPage(f"it has more than {LINES_MOST:,} lines")
    for number, line in enumerate(lines, 1):
        if len(line) > _LINE_BYTES:
            raise BadPage(f"line {number} has more than {_LINE_BYTES >> 10} KiB")
        if stripped := line.strip():
            yield number, stripped


def _sample(name: str, line: str, at: int, number: int) -> Sample:
    """Parse the rest of a line: labels, value, and a timestamp or an exemplar, which are skipped."""
    if len(name) > _NAME_BYTES:
        raise BadPage(f"line {number} has a name of more than {_NAME_BYTES} bytes")
    labels: dict[str, str] = {}
    rest = line[at:].lstrip()
    if rest[:1] == "{":
        at = len(line) - len(rest) + 1
        while (found := _LABEL.match(line, at)) is not None:
            key, value = found[1], _ESCAPED.sub(_unescaped, found[2]) if "\\" in found[2] else found[2]
            if key in labels or len(labels) >= _LABELS_MOST or max(len(key), len(value)) > _VALUE_BYTES:
                raise BadPage(f"line {number} repeats a label, or its labels are too many or too long")
            labels[key] = value
            at = found.end()
        while at < len(line) and line[at] == " ":
            at += 1
        if line[at : at + 1] != "}":
            raise BadPage(f"line {number} has invalid labels")
        rest = line[at + 1 :].lstrip()
    word = rest.split(None, 1)[0] if rest else ""
    if _NUMBER.fullmatch(word) is None:
        raise BadPage(f"line {number} has no valid value")
    return Sample(name, tuple(sorted(labels.items())), float(word))


def _unescaped(found: re.Match[str]) -> str:
    return _UNESCAPED.get(found[1], found[0])
