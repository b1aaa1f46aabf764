"""Decides which valid requests of a log are not traffic of users: crawlers, health checks, static files, preflights.

Excluded requests are counted by reason. docs/decisions/104-exclusions-of-logs-own-list-of-agents.md has the reasons for
the rules.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import translate
from typing import Final

from loadgen.traffic.filters.agents import CRAWLER, HEALTH, kind_of_agent
from loadgen.traffic.names.path_segments import path_of

__all__ = [
    "ERRORS",
    "KINDS",
    "PATTERN",
    "PREFLIGHT",
    "REASONS",
    "STATIC",
    "ExclusionRules",
    "Exclusions",
    "wrong_kind",
    "wrong_pattern",
]

STATIC: Final = "static file"
PREFLIGHT: Final = "CORS preflight"
PATTERN: Final = "path of --exclude"
REASONS: Final = (CRAWLER, HEALTH, PREFLIGHT, PATTERN, STATIC)
"""In the order of the checks: a crawler that requests a static file is a crawler."""
SHARED: Final = "shared"
"""Not excluded: requests of shared users count, but are in no session."""

ERRORS: Final = "errors"
"""Not excluded: a log in which all requests failed with a 5xx status is rejected as a model of users."""

KINDS: Final = {
    "bots": CRAWLER,
    ERRORS: ERRORS,
    "health": HEALTH,
    "preflights": PREFLIGHT,
    SHARED: SHARED,
    "statics": STATIC,
}
"""The values of `--keep`, with the reason that each one switches off."""

_STATIC: Final = frozenset(
    b"avif bmp css cur eot gif ico jpeg jpg js map mjs otf png svg swf ttf webp woff woff2".split(b" ")
)
"""Suffixes of files that a browser loads by itself to show a page. Documents and media (.pdf, .mp4) are content."""
_MOST_CACHED: Final = 100_000
_KEPT_BYTES: Final = 4 << 10


@dataclass(frozen=True)
class ExclusionRules:
    """The rules in use.

    kept: kinds that are not excluded, keys of `KINDS`. patterns: paths that are excluded, with the wildcards `*`, `?`
    and `[...]` of file names; `*` also stands for `/`.
    """

    kept: frozenset[str] = frozenset()
    patterns: tuple[str, ...] = ()

    def excludes(self, kind: str) -> bool:
        """Return whether a kind, a key of `KINDS`, is excluded."""
        return kind not in self.kept

    def as_json(self) -> dict[str, object]:
        """Return the block `exclusions` of `traffic.json`."""
        return {"kept": sorted(self.kept), "patterns": sorted(self.patterns)}


class Exclusions:
    """Applies the rules to the agents and the requests of one reader of logs, and remembers the results for agents."""

    def __init__(self, rules: ExclusionRules) -> None:
        self._off = {KINDS[kind] for kind in rules.kept}
        self._agents: dict[bytes, str] = {}
        self._excludes_statics = rules.excludes("statics")
        self._excludes_preflights = rules.excludes("preflights")
        texts = sorted(translate(pattern) for pattern in rules.patterns)
        self._pattern = re.compile("|".join(texts).encode()) if texts else None

    def of_agent(self, agent: bytes) -> str:
        """Return the reason why requests with this agent are excluded; empty if they are taken."""
        found = self._agents.get(agent)
        if found is None:
            kind = kind_of_agent(agent)
            found = "" if kind in self._off else kind
            if len(agent) < _KEPT_BYTES:
                if len(self._agents) >= _MOST_CACHED:
                    self._agents.clear()
                self._agents[agent] = found
        return found

    def of_request(self, method: bytes, target: bytes) -> str:
        """Return the reason why a request is excluded; empty if it is taken. About 1 µs, so callers should cache it.

        target: of the request line. Its query does not matter: `/home?from=app.js` is a page.
        """
        if method == b"OPTIONS" and self._excludes_preflights:
            return PREFLIGHT
        path = path_of(target)
        if path == b"/robots.txt" and CRAWLER not in self._off:  # no person requests it
            return CRAWLER
        if self._pattern is not None and self._pattern.match(path):
            return PATTERN
        if self._excludes_statics:
            name = path.rpartition(b"/")[2].partition(b";")[0]
            _, dot, suffix = name.rpartition(b".")
            if dot and suffix.lower() in _STATIC:
                return STATIC
        return ""


def wrong_kind(kind: str) -> tuple[str, str] | None:
    """Return the error and the hint for an invalid value of `--keep`; None if it is valid."""
    if kind in KINDS:
        return None
    return f'invalid kind "{kind}"', f"write one of: {', '.join(KINDS)}"


def wrong_pattern(pattern: str) -> tuple[str, str] | None:
    """Return the error and the hint for an invalid value of `--exclude`; None if it is valid."""
    if pattern.startswith(("/", "*")):
        return None
    return f'invalid pattern "{pattern}"', "write a path such as /internal/* or *.json; it begins with / or *"
