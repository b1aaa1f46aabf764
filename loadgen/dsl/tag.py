"""Tags: names with few values, by which the rows of a run are split.

    tenant = tag("tenant", "gold", "silver", "free")      set by journeys: user.tag(tenant, row.tenant)
    zone = tag("zone", header="x-zone", most=10)          read from a response header: at most 10 values a row

    plan = Plan(..., tags=[tenant, zone, "header:x-cache"])

The values are declared, so the number of series is known before the run. Another value that appears in the run is
counted in `(other)`. Ids belong into `user.note`, which takes any number of values and splits nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from loadgen.dsl.source_location import Origin, here
from loadgen.engine.recording.tagging import MAX_PARTS, RESERVED, TagSpec
from loadgen.errors import Fault
from loadgen.measure.deltas.limits import NAME_BYTES
from loadgen.measure.deltas.series_key import OTHER, UNTAGGED

__all__ = ["HEADER", "Tag", "is_tag_value", "tag", "tag_name_wrong", "tags_declared"]

HEADER: Final = r"[!#$%&'*+.^_`|~\w-]+"
"""Pattern of a header's name (RFC 9110, token)."""
_NAME: Final = re.compile(r"[A-Za-z][\w.-]*", re.ASCII)
_DEFAULT_MOST: Final = 10


class Tag:
    """A declared tag, made by `tag`. Use it as the key of `tags=`, in `user.tag` and in objectives."""

    __slots__ = ("faults", "name", "origin", "spec")

    def __init__(self, spec: TagSpec, origin: Origin, faults: tuple[Fault, ...] = ()) -> None:
        self.spec, self.origin, self.faults = spec, origin, faults
        self.name: Final = spec.name

    @property
    def values(self) -> tuple[str, ...]:
        """Return the declared values; () for a tag that is read from a header."""
        return self.spec.values

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<tag {self.name} at {self.origin}>"


def tag(name: str, *values: str, header: str | None = None, most: int | None = None) -> Tag:
    """Declare and return a tag. Call it at the top of the file, and list the result in `Plan(tags=[...])`.

    Args:
        name: the name in reports, objectives and outputs: letters, digits, `_`, `-` and `.`.
        values: all values that journeys set. Another literal in the file is an error; another value in the run is
            counted in `(other)`. The product of the numbers of values of a plan's tags must be at most 100.
        header: read the value from this response header instead. Only requests have it.
        most: most values of the header for each row; further ones are counted in `(other)`. Default: 10.

    Errors do not raise; the loader reports them with the others.
    """
    origin = here()
    faults: list[Fault] = []

    def wrong(message: str, hint: str) -> None:
        faults.append(origin.fault(message, hint))

    if (message := tag_name_wrong(name)) is not None:
        wrong(*message)
    called = f'tag "{name}"'
    given: tuple[object, ...] = values
    texts = tuple(one for one in given if isinstance(one, str))
    for one in given:
        if not isinstance(one, str):
            wrong(f"{called}: the value {one!r} is not a text", f'write "{one}"')
        elif not is_tag_value(one):
            wrong(f"{called}: {one[:40]!r} is not a valid value", f"write a text of 1 to {NAME_BYTES} bytes")
    for twice in sorted({one for one in texts if texts.count(one) > 1} if len(texts) <= MAX_PARTS else ()):
        wrong(f'{called} has the value "{twice}" twice', "remove one of them")
    if header is not None and values:
        wrong(f"{called} has values and a header", "leave out the values, or header=")
    elif header is None and not values:
        wrong(f"{called} has no values", f'write tag("{name}", "gold", "free"), or tag("{name}", header="x-{name}")')
    if header is not None and not (isinstance(header, str) and re.fullmatch(HEADER, header.strip(), re.ASCII)):
        wrong(f"{called}: {header!r} is not the name of a header", f'write header="x-{name}"')
    if most is not None and header is None:
        wrong(f"{called}: most= is only for a tag with header=", "leave out most=")
    elif most is not None and (isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= MAX_PARTS):
        wrong(f"{called}: most={most!r} must be a whole number from 1 to {MAX_PARTS}", "write most=10")
        most = None
    is_of_header = isinstance(header, str)
    spec = TagSpec(
        name=str(name),
        values=() if is_of_header else texts,
        header=header.strip().lower() if isinstance(header, str) else "",
        most=(most or _DEFAULT_MOST) if is_of_header else 0,
    )
    made = Tag(spec, origin, tuple(faults))
    declared = _declared.get()
    if declared is not None:
        declared.append(made)
    return made


def is_tag_value(text: str) -> bool:
    """Return whether a text can be the value of a tag: 1 to `NAME_BYTES` bytes, printable, no word of reports.

    Those words are "(other)" and "(none)".
    """
    size_bytes = len(text.encode("utf-8", "replace"))
    return 0 < size_bytes <= NAME_BYTES and text.isprintable() and text not in (OTHER, UNTAGGED)


_declared: ContextVar[list[Tag] | None] = ContextVar("loadgen_tags", default=None)


@contextmanager
def tags_declared() -> Iterator[list[Tag]]:
    """Collect all tags that are declared within this `with` block, in the returned list."""
    declared: list[Tag] = []
    token = _declared.set(declared)
    try:
        yield declared
    finally:
        _declared.reset(token)


def tag_name_wrong(name: object) -> tuple[str, str] | None:
    """Return the error message and the hint for an invalid name of a tag; None if the name is valid."""
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > NAME_BYTES // 4:
        return f"{name!r} is not a valid name of a tag", 'write letters, digits, _, - and ., such as tag("tenant", ...)'
    if name in RESERVED:
        return f'a tag cannot be called "{name}", because rows have a {name} of their own', "choose another name"
    return None
