"""Endpoints: a method and a path with parameters. Logs, OpenAPI documents and scenarios write the same one differently.

`GET /products/{id}`, `GET /products/{sku}` and `f"/products/{sku}"` are the same endpoint. `/products/7` is a request
of it. If `/products/new` is an endpoint, too, it is not a request of `/products/{id}`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

__all__ = ["ANYTHING", "READS", "Endpoint", "Index", "endpoint_of_name"]

READS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
ANYTHING: Final = "{}"
"""A segment, or a part of a segment, that only a run can show."""
_PARAMETER: Final = re.compile(r"\{[^{}]*\}")
_NAME: Final = re.compile(r"(?:([A-Za-z]+) )?(/\S*)")


@dataclass(frozen=True, order=True)
class Endpoint:
    """A method in upper case and a path that begins with `/`. Parameters are in braces."""

    method: str
    path: str

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def is_write(self) -> bool:
        """Whether the method may change data."""
        return self.method not in READS

    @property
    def segments(self) -> tuple[str, ...]:
        """The segments of the path, with `{}` for each parameter. A `/` at the end makes no difference."""
        return tuple(_PARAMETER.sub(ANYTHING, part) for part in self.path.strip("/").split("/"))


def endpoint_of_name(name: str, method: str = "GET") -> Endpoint | None:
    """Return the endpoint of a name such as `GET /cart` or `/cart`; None for other names.

    method: of a name without one.
    """
    found = _NAME.fullmatch(name)
    return None if found is None else Endpoint((found[1] or method).upper(), found[2].partition("?")[0])


class Index:
    """Known endpoints, to find the one that a request belongs to."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._by_length: defaultdict[tuple[str, int], list[tuple[tuple[str, ...], Endpoint]]] = defaultdict(list)
        for one in sorted(endpoints):
            segments = one.segments
            self._by_length[one.method, len(segments)].append((segments, one))

    def find(self, wanted: Endpoint) -> tuple[Endpoint, ...]:
        """Return the known endpoints that fit best: those with the most equal segments; () if none fits.

        Two endpoints may fit equally well: `/a/{x}` and `/{x}/b` for `/a/b`. A computed segment fits parameters only.
        """
        segments = wanted.segments
        best, found = -1, list[Endpoint]()
        for known, endpoint in self._by_length[wanted.method, len(segments)]:
            score = _score(known, segments)
            if score > best:
                best, found = score, [endpoint]
            elif score == best >= 0:
                found.append(endpoint)
        return tuple(found)


def _score(known: tuple[str, ...], wanted: tuple[str, ...]) -> int:
    """Return how well a request fits: 2 for each equal segment, 1 for a text in place of a parameter; -1 if it does
    not fit.
    """
    score = 0
    for one, other in zip(known, wanted, strict=True):
        if one == other:
            score += 2
        elif ANYTHING in one and _fits(one, other):
            score += 1
        else:
            return -1
    return score


def _fits(pattern: str, text: str) -> bool:
    """Whether a text can stand in place of a segment with parameters, such as `{}.json`."""
    return re.fullmatch(".+".join(map(re.escape, pattern.split(ANYTHING))), text) is not None
