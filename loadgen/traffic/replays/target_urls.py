"""The URLs that a replay sends. A path or a value of the log is sent only if enough users sent it and nothing in it
looks private; all others are replaced by ranks: `/orders/17` stands for the order with the 17th most requests.

With a file of ids for a parameter, row n of the file replaces the n-th most requested value of the parameter.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from loadgen.errors import UsageError
from loadgen.redact import Redactor
from loadgen.traffic.names.path_segments import is_parameter, parameters_of, template_segment
from loadgen.traffic.names.path_values import is_harmless
from loadgen.traffic.replays.target_counts import TargetCounts, fields_of, template_part, value_part
from loadgen.traffic.sessions.named_rows import NamedRows

__all__ = ["HIDDEN", "Replaced", "TargetUrls"]

HIDDEN: Final = "hidden"
"""The first segment in place of paths of which nothing may be sent."""
_WHOLE_PATH: Final = ""
"""The name under which such paths are ranked. No parameter has it."""


@dataclass(frozen=True)
class Replaced:
    """Numbers of requests, and of different targets, with replaced values."""

    requests: int
    targets: int
    mapped_requests: int
    """Requests with a value from a file of ids."""
    fields: int
    """Requests whose query lost a field, because too few users sent its name."""
    values_without_id: Mapping[str, int]
    """By parameter with a file: values beyond the last row. They begin at the first row again."""


class TargetUrls:
    """The URL of each target. ids: by parameter, ids that replace its values."""

    def __init__(
        self, read: NamedRows, counts: TargetCounts, least_users: int, ids: Mapping[str, tuple[str, ...]]
    ) -> None:
        self._counts, self._least, self._ids = counts, least_users, ids
        self._templates, self._template_of = read.templates, read.template_of
        self._redactor = Redactor()
        self._known = [self._is_known(index, template) for index, template in enumerate(read.templates)]
        self._ranks = self._ranked()
        if missing := sorted(set(ids) - set(self._ranks)):
            there = ", ".join(sorted(set(self._ranks) - {_WHOLE_PATH}))
            raise UsageError(
                f'--map: no path has a parameter "{missing[0]}"',
                hint=f"name one of these: {there}" if there else "name parameters with --name '/products/{sku}'",
            )
        self._made: dict[int, str] = {}
        self._replaced: set[int] = set()
        self._mapped: set[int] = set()
        self._lost_fields: set[int] = set()

    def url(self, number: int) -> str:
        """Return the path, with its query if queries are kept, that is sent for the target with this number."""
        made = self._made.get(number)
        if made is None:
            text = self._counts.texts[number]
            path, _, query = (text or b"").partition(b"?")
            sent = self._path(number, None if text is None else path)
            # A client takes `//a/b` for the host `a` and the path `/b`, but removes the segment `.`.
            sent = f"/.{sent}" if sent.startswith("//") else sent
            made = self._made[number] = sent + self._query(number, query)
        return made

    def replaced(self) -> Replaced:
        """Return what was replaced in the targets so far."""
        requests = self._counts.requests
        return Replaced(
            requests=int(sum(requests[number] for number in self._replaced)),
            targets=len(self._replaced),
            mapped_requests=int(sum(requests[number] for number in self._mapped)),
            fields=int(sum(requests[number] for number in self._lost_fields)),
            values_without_id={
                name: max(0, len(self._ranks[name]) - len(ids)) for name, ids in sorted(self._ids.items())
            },
        )

    def _is_known(self, index: int, template: str) -> bool:
        """Whether the fixed segments of a template may be sent."""
        try:
            users = self._counts.users(template_part(index))
        except KeyError:  # a template of which no path is left
            return False
        text = "/".join("" if is_parameter(part) else part for part in template.split("/"))
        return users >= self._least and is_harmless(text, "", self._redactor)

    def _ranked(self) -> dict[str, dict[str, int]]:
        """Return by parameter the rank of each value, from 1: the most requested one first."""
        hits: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for number in self._counts.used():
            text, requests = self._counts.texts[number], int(self._counts.requests[number])
            index = int(self._template_of[number])
            if text is None:
                continue
            path, _, query = text.partition(b"?")
            if not self._known[index]:
                hits[_WHOLE_PATH][_readable(path)] += requests
            for name, value in _values(_readable(path), self._templates[index]):
                hits[name][value] += requests
            for raw_name, raw_value in fields_of(query):
                hits[_readable(raw_name)][_readable(raw_value)] += requests
        return {
            name: {value: rank for rank, (value, _) in enumerate(sorted(found.items(), key=_busiest), 1)}
            for name, found in hits.items()
        }

    def _path(self, number: int, path: bytes | None) -> str:
        index = int(self._template_of[number])
        template = self._templates[index]
        text = "" if path is None else _readable(path)
        names = {name for _, name in parameters_of(template)}
        is_shown = (
            path is not None and self._counts.users(path) >= self._least and is_harmless(text, template, self._redactor)
        )
        if is_shown and not names & set(self._ids):
            return text
        if not is_shown and not self._known[index]:
            self._replaced.add(number)
            return f"/{HIDDEN}/{self._ranks.get(_WHOLE_PATH, {}).get(text, 0)}"
        if not is_shown and not (names and names <= set(self._ids)):
            self._replaced.add(number)
        values = dict(_values(text, template)) if path is not None else {}
        return _filled(template, {name: self._value(number, name, values.get(name), is_shown) for name in names})

    def _value(self, number: int, name: str, value: str | None, is_shown: bool) -> str:
        """Return what is sent for the value of a parameter in a path; None is a value that is unknown."""
        rank = self._ranks.get(name, {}).get(value or "", 0)
        if name in self._ids:
            self._mapped.add(number)
            return quote(self._ids[name][(max(rank, 1) - 1) % len(self._ids[name])], safe="")
        if is_shown and value is not None:
            return value
        return str(rank) if name.startswith("id") else f"{name}-{rank}"

    def _query(self, number: int, query: bytes) -> str:
        sent = []
        for raw_name, raw_value in fields_of(query):
            name, value = _readable(raw_name), _readable(raw_value)
            if self._counts.users(value_part(raw_name)) < self._least or not self._may_send(name, ""):
                self._lost_fields.add(number)
            elif name in self._ids:
                sent.append(f"{name}={self._value(number, name, value, False)}")
            elif self._counts.users(value_part(raw_name, raw_value)) >= self._least and self._may_send(name, value):
                sent.append(f"{name}={value}")
            else:
                self._replaced.add(number)
                rank = self._ranks[name][value]
                sent.append(f"{name}={rank}" if value.isdigit() else f"{name}={quote(name)}-{rank}")
        return f"?{'&'.join(sent)}" if sent else ""

    def _may_send(self, name: str, value: str) -> bool:
        """Whether a field of a query can be sent, and nothing in it looks personal or secret."""
        text = f"{name}={value}" if value else name
        template = template_segment(unquote_to_bytes(value or name))
        return is_harmless(text, template, self._redactor) and " " not in text


def _busiest(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _readable(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _values(path: str, template: str) -> Iterator[tuple[str, str]]:
    """Yield the parameters of a template with their values in a path."""
    segments = path.strip("/").split("/")
    for at, name in parameters_of(template):
        if name.startswith("rest"):
            yield name, "/".join(segments[at:])
        elif at < len(segments):
            suffix = template.strip("/").split("/")[at].partition("}")[2]
            yield name, segments[at].partition(";")[0].removesuffix(suffix)


def _filled(template: str, values: Mapping[str, str]) -> str:
    """Return a template with values in place of its parameters."""
    filled = []
    for segment in template.split("/"):
        if is_parameter(segment):
            name, _, suffix = segment[1:].partition("}")
            segment = values[name] + suffix
        filled.append(segment)
    return "/".join(filled)
