"""Values of the parameters in paths: which may be shown, and how often each was requested."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.redact import Redactor
from loadgen.traffic.names.path_segments import parameters_of

__all__ = ["MOST_VALUES", "PathValues", "is_harmless", "path_values"]

MOST_VALUES: Final = 10_000
_NEVER: Final = ("{email", "{token")
"""Parameters whose values are personal or secret by their form."""
_CARD: Final = re.compile(r"(?<!\d)[3-6]\d{12,18}(?!\d)")
"""Numbers of cards begin with 3 to 6. Times in ms since 1970 begin with 1."""


@dataclass(frozen=True)
class PathValues:
    """The paths of a template with parameters, the busiest first. Paths have no query.

    A path is shown if enough users sent it, and if nothing in it looks like a secret or an e-mail address.
    """

    shown: tuple[tuple[str, int], ...]
    """Path and requests, at most `MOST_VALUES`."""
    hidden_hits: tuple[int, ...]
    """Requests of each path that is not shown, the busiest first, at most `MOST_VALUES`."""
    hidden: int
    """Paths that are not shown."""
    hidden_requests: int

    @property
    def shown_requests(self) -> int:
        """Requests of the paths that are shown."""
        return sum(hits for _, hits in self.shown)


def path_values(
    numbers: Mapping[bytes, int],
    template_of: NDArray[np.int64],
    templates: Mapping[int, str],
    hits: NDArray[np.int64],
    users: NDArray[np.int64],
    least_users: int,
) -> dict[str, PathValues]:
    """Return the values of the templates that have parameters, by template.

    numbers: of each path. template_of: index of the template by number of the path. templates: those that are wanted,
    by index. hits, users: by number of the path. The order of `numbers` makes no difference.
    """
    wanted = {index: template for index, template in templates.items() if parameters_of(template)}
    shown: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
    hidden: defaultdict[int, list[int]] = defaultdict(list)
    redactor = Redactor()
    for path, number in numbers.items():
        index = int(template_of[number])
        if index not in wanted:
            continue
        count = int(hits[number])
        if not count:  # only excluded requests have this path
            continue
        text = path.decode("utf-8", "replace")
        if users[number] < least_users or not is_harmless(text, wanted[index], redactor):
            hidden[index].append(count)
        else:
            shown[index].append((text, count))
    found = {}
    for index, template in wanted.items():
        rows = sorted(shown[index], key=lambda row: (-row[1], row[0]))
        rest = sorted([*hidden[index], *(count for _, count in rows[MOST_VALUES:])], reverse=True)
        found[template] = PathValues(tuple(rows[:MOST_VALUES]), tuple(rest[:MOST_VALUES]), len(rest), sum(rest))
    return found


def is_harmless(path: str, template: str, redactor: Redactor) -> bool:
    """Return whether a path can be sent again as it is, and nothing in it looks personal or secret."""
    is_private = any(part.startswith(_NEVER) for part in template.split("/"))
    return not is_private and _is_plain(path) and redactor.text(path) == path and not _has_card_number(path)


def _has_card_number(text: str) -> bool:
    """Return whether 13 to 19 digits in a row may be the number of a payment card, by Luhn's formula."""
    for digits in _CARD.findall(text):
        doubled = [int(digit) * (1 + at % 2) for at, digit in enumerate(reversed(digits))]
        if sum(n - 9 * (n > 9) for n in doubled) % 10 == 0:
            return True
    return False


def _is_plain(path: str) -> bool:
    """Whether a path can be written in a CSV file and sent again as it is. The hash of a long path cannot."""
    return path.isascii() and path.isprintable() and ";" not in path and "@" not in path
