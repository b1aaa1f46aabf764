"""The tags of one worker: which names and values exist, and how many series they may make.

A plan declares its tags: a name with its values, or a name with the response header that has the value. So the number
of series is known before the run, whatever values the scenario meets:

- A value that is not declared is counted in `(other)`. It is not stored, so memory stays flat.
- A tag that is read from a header keeps its first `most` values for each row; later ones are in `(other)`.
- A row has at most `MAX_PARTS` combinations of values, and a worker at most `MAX_TAGGED_SERIES` tagged series. A series
  beyond has `(other)` in place of each value.

Each of these is noted once in the report. Every value is in exactly one series, so the sum over the values of a tag and
over the series without it is the row without tags, bucket by bucket.

Tags of a load are constants. They need no declaration, and no limit applies to them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final, Protocol

import msgspec

from loadgen.errors import UsageError
from loadgen.measure.deltas.limits import NAME_BYTES
from loadgen.measure.deltas.series_key import OTHER, SeriesKey, Tags

__all__ = [
    "MAX_PARTS",
    "MAX_TAGGED_SERIES",
    "MOST_OF_HEADER",
    "RESERVED",
    "GivenTags",
    "NamedTag",
    "Pair",
    "TagSpec",
    "Tagging",
    "items_of",
    "looks_like_id",
]

MAX_PARTS: Final = 100
"""Most combinations of values of a row, and most products of a plan's declared values."""
MAX_TAGGED_SERIES: Final = 2_000
"""Most tagged series of a worker: journeys, steps and requests, in and after the warm-up."""
MOST_OF_HEADER: Final = 20
"""Most values for each row of a tag that is written "header:NAME"."""
RESERVED: Final = frozenset({"journey", "step", "request", "outcome", "region", "load", "warmup"})
"""Names that a tag cannot have, because rows, objectives and outputs already have a field of this name."""
_VALUE_CHARACTERS: Final = 100
_NEW_VALUES: Final = 50
"""A tag with more undeclared values than this, in its first `_TRIES` values, looks like a field for ids."""
_TRIES: Final = 1_000
_MAX_KNOWN: Final = 10_000
"""Most results of `merged` that are stored; there are few, because values are bounded."""

Pair = tuple[str, str]
"""(name, value) of one tag."""


class NamedTag(Protocol):
    """A tag as the scenario declares it (dsl/tag.py)."""

    @property
    def name(self) -> str: ...


GivenTags = Mapping[str, str] | Mapping[NamedTag, str] | Mapping[NamedTag | str, str]
"""Tags as a scenario writes them: {"kind": "first"} or {kind: "first"}."""


class TagSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A declared tag: either with its values, or with the response header that has the value, in lower case.

    The tag "cache" has both: its values are known, and clients read them from several headers.
    """

    name: str
    values: tuple[str, ...] = ()
    header: str = ""
    most: int = 0
    """Most values of a header for each row."""


class _Rule:
    """One declared tag: the pair of each of its values, and the other values that were seen."""

    __slots__ = ("is_of_header", "most", "name", "other", "pairs", "tries", "unknown")

    def __init__(self, spec: TagSpec) -> None:
        self.name, self.most, self.is_of_header = spec.name, spec.most, bool(spec.header)
        self.pairs: dict[object, Pair] = (
            {} if self.is_of_header else {value: (spec.name, value) for value in spec.values}
        )
        self.other: Pair = (spec.name, OTHER)
        self.unknown: set[int] = set()
        """Hashes of undeclared values, at most `_NEW_VALUES` + 1."""
        self.tries = 0


class Tagging:
    """The tags of one worker's plan, and the limits on series. Without declarations it ignores all tags by name.

    is_strict: a name that the plan does not declare is an error of the scenario, instead of being ignored.
    """

    def __init__(self, specs: Iterable[TagSpec] = (), *, is_strict: bool = False) -> None:
        self._rules: dict[object, _Rule] = {spec.name: _Rule(spec) for spec in specs}
        self._order = {name: at for at, name in enumerate(self._rules)}
        self._of_header = {spec.header: spec.name for spec in specs if spec.header}
        self._is_strict = is_strict
        self.is_declared = bool(self._rules)
        """Whether users may have tags of their own."""
        self._merged: dict[tuple[Tags, Tags], Tags] = {}
        self._seen: dict[tuple[SeriesKey, str], set[str]] = {}
        """Values of a header that a row has kept."""
        self._parts: dict[SeriesKey, int] = {}
        """By row, the number of its tagged series."""
        self._series = 0
        self._note: Callable[[str], None] = lambda _: None
        self._known: Callable[[str], str] = str

    def bind(self, note: Callable[[str], None], known: Callable[[str], str]) -> None:
        """Set where remarks for the operator go, and the function that removes secrets from a text."""
        self._note, self._known = note, known

    # -- values ----------------------------------------------------------------------------------

    def pair(self, tag: NamedTag | str, value: object) -> Pair | None:
        """HOT, once for each tag that a user sets. Return the pair under which a value is counted.

        Returns None for a tag that this plan does not split by.

        Raises:
            UsageError: an unknown name, a value that is not a text, or a tag that is read from a header.
        """
        name = tag if isinstance(tag, str) else tag.name
        rule = self._rules.get(name)
        if rule is None:
            self._check_undeclared(tag, value)
            return None
        try:
            return rule.pairs.get(value) or self._other(rule, value)
        except TypeError:  # an unhashable value
            return self._other(rule, value)

    def pairs(self, tags: GivenTags) -> Tags:
        """Return the pairs of several tags; those that this plan does not split by are left out.

        Raises:
            UsageError: as in `pair`, or `tags` is not a mapping.
        """
        if not isinstance(tags, Mapping):
            raise UsageError(f"tags={tags!r} must be a dictionary", hint='write tags={"kind": "first"}')
        items: Iterable[tuple[NamedTag | str, object]] = tags.items()
        return tuple(pair for tag, value in items if (pair := self.pair(tag, value)) is not None)

    def _check_undeclared(self, tag: NamedTag | str, value: object) -> None:
        if not isinstance(value, str):
            raise UsageError(f"tag {tag}: {value!r} is not a text", hint="write a text, such as str(value)")
        # A `Tag` is declared, even if this plan does not split by it: journeys are shared by several plans.
        if self._is_strict and isinstance(tag, str):
            there = ", ".join(f'"{name}"' for name in self._order)
            raise UsageError(
                f'the plan declares no tag "{tag}"',
                hint=(f"use one of {there}, or declare it" if there else "declare it")
                + f': Plan(tags=[tag("{tag}", "one value", "another")])',
            )

    def _other(self, rule: _Rule, value: object) -> Pair:
        """Return the pair of a value that is not declared, and note the first of them."""
        if rule.is_of_header:
            raise UsageError(
                f'tag "{rule.name}" is read from a response header, so a journey cannot set it',
                hint='declare another tag, with its values: tag("tenant", "gold", "free")',
            )
        if not isinstance(value, str):
            raise UsageError(f'tag "{rule.name}": {value!r} is not a text', hint="write a text, such as str(value)")
        if value == OTHER:
            return rule.other
        rule.tries += 1
        shown = self._known(value[:_VALUE_CHARACTERS])
        if not rule.unknown:
            self._note(f'tag {rule.name}: values that are not declared are in {OTHER}, such as "{shown}"')
        if len(rule.unknown) <= _NEW_VALUES:
            rule.unknown.add(hash(value))
            is_many = len(rule.unknown) > _NEW_VALUES and rule.tries <= _TRIES
            if is_many or (rule.tries == 1 and looks_like_id(value)):
                self._note(f'tag {rule.name}: "{shown}" looks like an id; write user.note({rule.name}=...) for ids')
        return rule.other

    # -- series ----------------------------------------------------------------------------------

    def merged(self, tags: Tags, more: Tags) -> Tags:
        """Return `tags` with the pairs of `more`, which replace those of the same name, in the order of declaration.

        Tags of a load that are not declared come first. Equal arguments return the same object.
        """
        if not more:
            return tags
        found = self._merged.get((tags, more))
        if found is None:
            if len(self._merged) >= _MAX_KNOWN:
                self._merged.clear()
            order = self._order
            pairs = sorted((dict(tags) | dict(more)).items(), key=lambda pair: order.get(pair[0], -1))
            found = self._merged[tags, more] = tuple(pairs)
        return found

    def of_headers(self, row: SeriesKey, values: Tags) -> Tags:
        """Return the pairs under which values of response headers are counted in a row.

        values: (header in lower case, value as received).
        """
        return tuple(self._of_header_value(row, header, value) for header, value in values)

    def _of_header_value(self, row: SeriesKey, header: str, value: str) -> Pair:
        name = self._of_header.get(header, header)
        rule = self._rules.get(name)
        most = rule.most if rule is not None else MOST_OF_HEADER
        kept = self._seen.setdefault((replace(row, tags=row.tags[: self.own(row.tags)]), name), set())
        value = self._known(value[:_VALUE_CHARACTERS])
        if value not in kept:
            if len(kept) >= most:
                self._note(f"more than {most} values of {name} for {row.request}: the rest is in {OTHER}")
                return name, OTHER
            if not kept and looks_like_id(value):
                self._note(f'tag {name}: "{value}" looks like an id; a tag is for few values')
            kept.add(value)
        return name, value

    def fitting(self, key: SeriesKey) -> SeriesKey:
        """Return the key under which a new series is counted: `key` while there is room, else one with `(other)`.

        Call it once for each new series.
        """
        own = self.own(key.tags)
        if all(value == OTHER for _, value in key.tags[own:]):
            return key
        row = replace(key, tags=key.tags[:own])
        parts = self._parts.get(row, 0)
        if parts >= MAX_PARTS:
            what = key.request or key.step or key.journey
            self._note(f"more than {MAX_PARTS} combinations of tags for {what}: the rest is in {OTHER}")
        elif self._series >= MAX_TAGGED_SERIES:
            self._note(f"more than {MAX_TAGGED_SERIES:,} tagged series in a worker: the rest is in {OTHER}")
        else:
            self._parts[row] = parts + 1
            self._series += 1
            return key
        return replace(key, tags=(*key.tags[:own], *((name, OTHER) for name, _ in key.tags[own:])))

    def own(self, tags: Tags) -> int:
        """Return how many tags at the beginning of `tags` are those of the load: declared ones follow them."""
        return next((at for at, (name, _) in enumerate(tags) if name in self._order), len(tags))


def items_of(tags: GivenTags) -> object:
    """Return a key for the tags of a call: its only (name, value) pair, or a tuple of all pairs.

    Raises:
        AttributeError, TypeError: `tags` is not a mapping.

    With an unhashable value, this function returns a key that no dictionary accepts.
    """
    if len(tags) == 1:  # nearly always, and takes half the time of a tuple of pairs
        (pair,) = tags.items()
        return pair
    return (*tags.items(),)


def looks_like_id(value: str) -> bool:
    """Return whether a text looks like the id of one thing, such as a UUID, a long number or a hash."""
    return bool(_ID.fullmatch(value.strip()))


_ID: Final = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\d{6,}|[0-9a-f]{16,}|[0-9A-HJKMNP-TV-Z]{26}",
    re.IGNORECASE,
)
assert NAME_BYTES >= 2 * _VALUE_CHARACTERS
