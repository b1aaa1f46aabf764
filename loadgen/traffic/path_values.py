"""Values of the parameters in paths: which may be shown, and how often each was requested."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from loadgen.redact import Redactor
from loadgen.traffic.path_segments import parameters_of

__all__ = ["MOST_VALUES", "PathValues", "path_values"]

MOST_VALUES: Final = 10_000
_LONGEST: Final = 200
_NEVER: Final = ("{email", "{token")
"""Parameters whose values are personal or secret by their form."""


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
        is_private = any(part.startswith(_NEVER) for part in wanted[index].split("/"))
        if is_private or users[number] < least_users or not _is_plain(text) or redactor.text(text) != text:
            hidden[index].append(count)
        else:
            shown[index].append((text, count))
    found = {}
    for index, template in wanted.items():
        rows = sorted(shown[index], key=lambda row: (-row[1], row[0]))
        rest = sorted([*hidden[index], *(count for _, count in rows[MOST_VALUES:])], reverse=True)
        found[template] = PathValues(tuple(rows[:MOST_VALUES]), tuple(rest[:MOST_VALUES]), len(rest), sum(rest))
    return found


def _is_plain(path: str) -> bool:
    """Whether a path can be written in a CSV file and sent again as it is."""
    return len(path) <= _LONGEST and path.isascii() and path.isprintable() and ";" not in path and "@" not in path
