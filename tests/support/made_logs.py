"""Access logs of sessions whose chain, pauses and starts are known, in three formats.

Written without loadgen: plain Python's `random` walks the chain, so a model of the log can be held against it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["LEAVE", "SHOP", "SHOP_KINDS", "Chain", "Line", "lines_of", "lines_of_kinds", "written_log"]

LEAVE = "leave"
BEGIN_S = 1_763_632_800
"""2025-11-20 10:00:00 UTC."""


@dataclass(frozen=True)
class Chain:
    """rows: by request line, what follows with its probability. starts: where sessions begin. think: (mu, sigma) of the
    lognormal pause after each request.
    """

    rows: dict[str, dict[str, float]]
    starts: dict[str, float]
    think: dict[str, tuple[float, float]] = field(default_factory=dict)
    took_s: float = 0.02


SHOP = Chain(
    rows={
        "GET /": {"GET /search": 0.5, "GET /products/{}": 0.2, LEAVE: 0.3},
        "GET /search": {"GET /search": 0.2, "GET /products/{}": 0.6, LEAVE: 0.2},
        "GET /products/{}": {"GET /search": 0.25, "GET /products/{}": 0.25, "POST /cart": 0.2, LEAVE: 0.3},
        "POST /cart": {"GET /products/{}": 0.35, "POST /checkout": 0.45, LEAVE: 0.2},
        "POST /checkout": {LEAVE: 1.0},
    },
    starts={"GET /": 0.85, "GET /products/{}": 0.15},
    think={"GET /search": (0.8, 0.6), "GET /products/{}": (1.8, 0.7)},
)

SHOP_KINDS = (
    (
        0.6,
        Chain(
            rows={
                "GET /": {"GET /search": 0.5, "GET /products/{}": 0.2, LEAVE: 0.3},
                "GET /search": {"GET /search": 0.25, "GET /products/{}": 0.55, LEAVE: 0.2},
                "GET /products/{}": {
                    "GET /search": 0.25,
                    "GET /products/{}": 0.25,
                    "GET /reviews": 0.1,
                    LEAVE: 0.4,
                },
                "GET /reviews": {"GET /products/{}": 0.7, LEAVE: 0.3},
            },
            starts={"GET /": 0.85, "GET /products/{}": 0.15},
            think={"GET /search": (0.8, 0.6), "GET /products/{}": (1.8, 0.7)},
        ),
    ),
    (
        0.3,
        Chain(
            rows={
                "GET /": {"GET /products/{}": 0.6, "GET /search": 0.3, LEAVE: 0.1},
                "GET /search": {"GET /products/{}": 0.9, LEAVE: 0.1},
                "GET /products/{}": {"POST /cart": 0.6, "GET /products/{}": 0.2, LEAVE: 0.2},
                "POST /cart": {"GET /products/{}": 0.25, "GET /cart/delivery": 0.7, LEAVE: 0.05},
                "GET /cart/delivery": {"POST /checkout": 0.9, LEAVE: 0.1},
                "POST /checkout": {"GET /orders/status": 0.5, LEAVE: 0.5},
                "GET /orders/status": {"GET /orders/status": 0.3, LEAVE: 0.7},
            },
            starts={"GET /": 0.9, "GET /search": 0.1},
            think={"POST /cart": (2.5, 0.5)},
        ),
    ),
    (
        0.1,
        Chain(
            rows={
                "GET /api/stock": {"GET /api/stock": 0.8, "GET /api/prices": 0.15, LEAVE: 0.05},
                "GET /api/prices": {"GET /api/stock": 0.6, LEAVE: 0.4},
            },
            starts={"GET /api/stock": 1.0},
            think={"GET /api/stock": (3.4, 0.1), "GET /api/prices": (3.4, 0.1)},
        ),
    ),
)
"""Kinds of sessions with their shares: people who look, people who buy, and a program."""


@dataclass(frozen=True, order=True)
class Line:
    """A request of the log."""

    start_s: float
    user: int
    method: str
    path: str
    took_s: float
    status: int = 200


def lines_of(chain: Chain, sessions: int, seed: int, over_s: float = 36_000.0, products: int = 50) -> list[Line]:
    """Return the requests of sessions of different users that start at random within `over_s`."""
    rng = random.Random(seed)
    found = []
    weights = [1 / (n + 1) for n in range(products)]
    for user in range(sessions):
        at = BEGIN_S + rng.uniform(0, over_s)
        state = rng.choices(list(chain.starts), list(chain.starts.values()))[0]
        while state != LEAVE:
            method, _, path = state.partition(" ")
            product = 1_000 + rng.choices(range(products), weights)[0]
            found.append(Line(at, user, method, path.format(product), chain.took_s))
            at += chain.took_s + rng.lognormvariate(*chain.think.get(state, (1.2, 0.5)))
            row = chain.rows[state]
            state = rng.choices(list(row), list(row.values()))[0]
    return sorted(found)


def lines_of_kinds(kinds: Sequence[tuple[float, Chain]], sessions: int, seed: int) -> list[Line]:
    """Return the requests of sessions of several kinds, which no user shares. kinds: with the share of each."""
    return sorted(
        replace(line, user=line.user + number * sessions)
        for number, (share, chain) in enumerate(kinds)
        for line in lines_of(chain, round(sessions * share), seed + number)
    )


def written_log(lines: list[Line], path: Path, kind: str) -> Path:
    """Write the lines as `combined` (stamps of 1 s), `alb` or `json` (stamps of 1 µs and 1 ms), and return the path."""
    write = {"combined": _combined, "alb": _alb, "json": _json}[kind]
    path.write_text("".join(f"{write(line)}\n" for line in lines))
    return path


def _address(user: int) -> str:
    return f"10.{user >> 16 & 255}.{user >> 8 & 255}.{user & 255}"


def _stamp(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _combined(line: Line) -> str:
    at = datetime.fromtimestamp(int(line.start_s), UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    return f'{_address(line.user)} - - [{at}] "{line.method} {line.path} HTTP/1.1" {line.status} 512 "-" "Firefox"'


def _alb(line: Line) -> str:
    end, url = _stamp(line.start_s + line.took_s), f"https://shop.example:443{line.path}"
    return (
        f"h2 {end} app/shop/1 {_address(line.user)}:4711 10.9.9.9:80 0.000 {line.took_s:.3f} 0.000 {line.status} "
        f'{line.status} 100 512 "{line.method} {url} HTTP/2.0" "Firefox" ECDHE TLSv1.2 arn:aws:x "Root=1-2" '
        f'"shop.example" "arn:aws:y" 0 {_stamp(line.start_s)} "forward" "-" "-" "10.9.9.9:80" "{line.status}" "-" '
        '"-" TID_1'
    )


def _json(line: Line) -> str:
    return json.dumps(
        {
            "time": _stamp(line.start_s),
            "remote_addr": _address(line.user),
            "request": f"{line.method} {line.path} HTTP/1.1",
            "status": line.status,
            "body_bytes_sent": 512,
            "duration": line.took_s,
            "http_user_agent": "Firefox",
        }
    )
