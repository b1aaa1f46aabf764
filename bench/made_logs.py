"""Writes made logs, in the formats combined and ALB, with the properties that cost time: users, agents, hot paths.

Users arrive at random, stay for some requests with pauses, and request few paths often and many paths rarely. Stamps
are in order of time, as a server writes them. The same seed gives the same bytes.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

__all__ = ["alb_lines", "combined_lines", "write_lines"]

_BEGIN_S = 1_795_132_800  # 2026-11-20
_PATHS = 50_000
_AGENTS = 2_000
_PART = 200_000


def _requests(lines: int, seed: int) -> Iterator[tuple[list[int], list[int], list[int], list[int], list[int]]]:
    """Yield parts of at most 200,000 requests: start in µs, user, path, bytes, status, each a list."""
    random = np.random.default_rng(seed)
    rate_per_s = 120.0
    begin_us, user_base = _BEGIN_S * 1_000_000, 0
    popularity = 1 / np.arange(1, _PATHS + 1) ** 1.1
    popularity /= popularity.sum()
    sizes = random.lognormal(9, 1.5, _PATHS).astype(np.int64)
    while lines > 0:
        count = min(lines, _PART)
        sessions = max(1, count // 8)
        length = random.geometric(1 / 8, sessions)
        session = np.repeat(np.arange(sessions), length)[:count]
        count = len(session)
        starts = np.sort(random.random(sessions)) * count / rate_per_s
        pause = random.lognormal(1.6, 1.2, count)
        pause[np.r_[True, session[1:] != session[:-1]]] = 0
        before = np.cumsum(pause)
        first = np.searchsorted(session, np.arange(sessions))
        at_s = starts[session] + before - before[first[session]]
        start = begin_us + np.rint(at_s * 1e6).astype(np.int64)
        order = np.argsort(start, kind="stable")
        path = random.choice(_PATHS, count, p=popularity)
        status = random.choice((200, 304, 404, 302, 500), count, p=(0.88, 0.06, 0.03, 0.025, 0.005))
        size = np.where(status == 200, sizes[path] + random.integers(0, 3, count) * 7, 300)
        user = user_base + session % 150_000
        yield tuple(column[order].tolist() for column in (start, user, path, size, status))
        begin_us, user_base, lines = (
            begin_us + round(count / rate_per_s * 1e6),
            user_base + sessions // 2,
            lines - count,
        )


def _texts(seed: int) -> tuple[list[str], list[str]]:
    random = np.random.default_rng(seed)
    kinds = (
        "/products/{}",
        "/search/{}",
        "/api/v2/items/{}/reviews",
        "/static/{}.js",
        "/users/{}/orders",
        "/blog/post-{}",
    )
    paths = ["/", "/cart", "/login", *(kinds[n % len(kinds)].format(n) for n in range(3, _PATHS))]
    agents = [
        f"Mozilla/5.0 (Windows NT {n % 3 + 8}.0; Win64; x64) AppleWebKit/537.{n % 40} (KHTML, like Gecko) "
        f"Chrome/{90 + n % 50}.0.{n}.{random.integers(0, 200)} Safari/537.36"
        for n in range(_AGENTS)
    ]
    return paths, agents


def combined_lines(lines: int, seed: int) -> Iterator[str]:
    """Yield lines of the format combined, about 240 bytes each."""
    paths, agents = _texts(seed)
    second, stamp = 0, ""
    for part in _requests(lines, seed):
        for start, user, path, size, status in zip(*part, strict=True):
            if start // 1_000_000 != second:
                second = start // 1_000_000
                stamp = datetime.fromtimestamp(second, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
            yield (
                f"{10 + user % 200}.{user // 200 % 256}.{user // 51_200 % 256}.7 - - [{stamp}] "
                f'"GET {paths[path]} HTTP/1.1" {status} {size} "https://shop.example{paths[path // 7]}" '
                f'"{agents[user % _AGENTS]}"\n'
            )


def alb_lines(lines: int, seed: int) -> Iterator[str]:
    """Yield lines of an Application Load Balancer, about 720 bytes each."""
    paths, agents = _texts(seed)
    second, stamp = 0, ""
    number = 0
    for part in _requests(lines, seed):
        for start, user, path, size, status in zip(*part, strict=True):
            number += 1
            if start // 1_000_000 != second:
                second = start // 1_000_000
                stamp = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            part_us = start % 1_000_000
            took_us = min(999_999 - part_us, 1_000 + path * 37 % 90_000)
            yield (
                f"https {stamp}.{part_us + took_us:06}Z app/shop/50dc6c495c0c9188 "
                f"{10 + user % 200}.{user // 200 % 256}.{user // 51_200 % 256}.7:{1024 + number % 60_000} "
                f"10.0.{number % 3}.{number % 7}:8080 0.000 {took_us / 1e6:.3f} 0.000 {status} {status} "
                f'{400 + path % 300} {size} "GET https://shop.example:443{paths[path]} HTTP/2.0" '
                f'"{agents[user % _AGENTS]}" '
                "TLS_AES_128_GCM_SHA256 TLSv1.3 "
                "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/shop/73e2d6bc24d8a067 "
                f'"Root=1-{second:08x}-{number * 2654435761 % 2**96:024x}" "shop.example" '
                '"arn:aws:acm:eu-west-1:123456789012:certificate/12345678-1234-1234-1234-123456789012" '
                f'1 {stamp}.{part_us:06}Z "forward" "-" "-" "10.0.{number % 3}.{number % 7}:8080" "{status}" "-" "-" '
                f"TID_{number * 40503 % 2**64:016x}\n"
            )


def write_lines(path: Path, lines: Iterator[str]) -> int:
    """Write lines to a file, packed if its name ends in `.gz`. Return the bytes of the lines."""
    written = 0
    with gzip.open(path, "wb", 6) if path.suffix == ".gz" else path.open("wb") as file:
        for line in lines:
            text = line.encode()
            written += len(text)
            file.write(text)
    return written


if __name__ == "__main__":
    kind, count, name = sys.argv[1:]
    write_lines(Path(name), (alb_lines if kind == "alb" else combined_lines)(int(count), 1))
