"""Reads the servers of probes once, before a run and for `loadgen probe check`. Blocks for at most `LIMIT_S`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from loadgen.errors import LoadgenError
from loadgen.probes.kinds import open_reader, secrets_of
from loadgen.probes.metrics_page.exposition import BadPage, Page, parse
from loadgen.probes.metrics_page.scrape import Scraper
from loadgen.probes.metrics_page.selection import Found, select
from loadgen.probes.metrics_page.settings import rows_of
from loadgen.probes.reader import NotRead, Reading, Tools
from loadgen.probes.running.http_fetch import NotFetched, new_loop
from loadgen.probes.spec import ProbeSpec
from loadgen.secret_variable import variable_of

__all__ = ["LIMIT_S", "Look", "look_at"]

LIMIT_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Look:
    """The result of reading one server. why: the reason if nothing could be read, otherwise empty."""

    spec: ProbeSpec
    why: str = ""
    page: Page | None = None
    found: Found | None = None
    size: int = 0
    """Bytes of the page."""
    round_trip_ns: int = 0
    reading: Reading | None = None
    """The result for kinds without a page."""


def look_at(specs: Sequence[ProbeSpec], secret_of: Callable[[str], str | None]) -> list[Look]:
    """Read the servers of all probes at the same time, each once, and return the results in the order of `specs`.

    secret_of: returns the value of a secret; None if it is not set.
    """
    loop = new_loop()
    try:
        return loop.run_until_complete(_look_at(specs, secret_of))
    finally:
        loop.close()


async def _look_at(specs: Sequence[ProbeSpec], secret_of: Callable[[str], str | None]) -> list[Look]:
    return list(await asyncio.gather(*(_look(spec, secret_of) for spec in specs)))


async def _look(spec: ProbeSpec, secret_of: Callable[[str], str | None]) -> Look:
    for name in secrets_of(spec):
        if secret_of(name) is None:
            return Look(spec, f'secret "{name}" is not set: set {variable_of(name)} on this machine')
    return await (_look_at_page if spec.kind == "metrics" else _look_at_server)(
        spec, Tools(time.perf_counter_ns, secret_of)
    )


async def _look_at_page(spec: ProbeSpec, tools: Tools) -> Look:
    scraper = Scraper(spec, tools.clock, tools.secret(spec.auth_secret))
    try:
        fetched = await scraper.fetch(LIMIT_S)
        page = parse(fetched.body)
    except NotFetched as error:
        return Look(spec, str(error))
    except BadPage as error:
        return Look(spec, f"the page is not used: {error}")
    finally:
        await scraper.close()
    found = select(rows_of(spec), page)
    return Look(spec, "", page, found, len(fetched.body), fetched.received_ns - fetched.sent_ns)


async def _look_at_server(spec: ProbeSpec, tools: Tools) -> Look:
    try:
        reader = open_reader(spec, tools)
    except LoadgenError as error:
        return Look(spec, f"{error.message}; {error.hint}")
    try:
        async with asyncio.timeout(LIMIT_S + 0.5):
            reading = await reader.read(LIMIT_S)
    except NotRead as error:
        return Look(spec, str(error))
    except TimeoutError:
        return Look(spec, f"no complete answer within {LIMIT_S:g} s")
    finally:
        await reader.close()
    return Look(spec, round_trip_ns=reading.received_ns - reading.sent_ns, reading=reading)
