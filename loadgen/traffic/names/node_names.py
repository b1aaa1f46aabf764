"""Names of functions for names of requests: `GET /products/{sku}` becomes `product`, `POST /cart` `post_cart`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from keyword import iskeyword, issoftkeyword
from typing import Final

from loadgen.traffic.names.path_segments import is_parameter

__all__ = ["node_names"]

_TAKEN: Final = frozenset(
    {
        *("user", "visit", "Visit", "plan", "sessions", "traffic", "begin_session", "dataclass", "other"),
        *("Load", "Plan", "User", "graph", "node", "edge", "leave", "choices", "replay", "arrivals", "lognormal"),
        *("quantiles", "range", "print", "list", "type", "id"),
    }
)
"""Names that the text of a scenario uses itself, and builtins that people use in nodes."""
_LONGEST: Final = 40


def node_names(names: Iterable[str], known: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the name of a function for each name of requests, such as `GET /cart`. They differ from each other.

    The first in alphabetical order gets the short one, so that the result does not depend on the order.
    known: functions that exist already, by name of the requests. They keep their names, which no other gets.
    """
    known = known or {}
    names = set(names)
    found = {name: function for name, function in known.items() if name in names}
    taken = {*_TAKEN, *known.values()}
    for name in sorted(names - found.keys()):
        options = list(_options(name))
        for option in (*options, *(f"{options[-1]}_{n}" for n in range(2, 1_000))):
            if option not in taken and not iskeyword(option) and not issoftkeyword(option):
                found[name] = option
                taken.add(option)
                break
    return found


def _options(name: str) -> Iterable[str]:
    """Yield shorter names first: the last literal segment, then with the one before, and so on."""
    method, _, path = name.partition(" ")
    segments = path.strip("/").split("/")
    words = []
    for at, segment in enumerate(segments):
        if segment and not is_parameter(segment):
            is_one = at + 1 < len(segments) and is_parameter(segments[at + 1])
            words.append(_one_of(_word(segment)) if is_one else _word(segment))
    words = [word for word in words if word] or ["home" if path == "/" else "page"]
    verb = "" if method == "GET" else f"{_word(method)}_"
    for count in range(1, len(words) + 1):
        text = f"{verb}{'_'.join(words[-count:])}"[:_LONGEST].strip("_")
        yield text if not text[0].isdigit() else f"page_{text}"


def _word(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def _one_of(word: str) -> str:
    """Return the singular of an English plural."""
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > 3 else word
