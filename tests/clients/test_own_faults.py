"""What is the generator's own fault is told from the target's, and counted."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from loadgen.clients.net import network as network_module
from loadgen.clients.protocol.outcomes import NO_FILES, NO_PORT, OWN_FAULTS, REFUSED, UNREACHABLE, generator_faults
from loadgen.errors import RequestFailed
from tests.support.badserver import refusing_url
from tests.support.scripted import client_of, rows_of


@contextmanager
def _no_descriptors_left() -> Iterator[None]:
    """Only within: what has to be opened later is opened before."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 8, hard))
    held = []
    try:
        while True:
            try:
                held.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                break
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_without_descriptors_the_outcome_says_so_and_it_is_counted_as_ours(host: str) -> None:
    """Also while the name is looked up: the resolver needs descriptors."""
    with refusing_url() as url:
        async with client_of(url.replace("127.0.0.1", host)) as client:
            with pytest.raises(RequestFailed, match="refused"):
                await client.get("/")  # so that the resolver's thread is there
            before = generator_faults()
            with _no_descriptors_left(), pytest.raises(RequestFailed, match=NO_FILES):
                await client.get("/")
            assert generator_faults() == before + 1
            assert [row.outcome for row in rows_of(client)] == [REFUSED, NO_FILES]


async def test_what_the_target_does_is_not_counted_as_ours() -> None:
    before = generator_faults()
    with refusing_url() as url:
        async with client_of(url) as client:
            with pytest.raises(RequestFailed):
                await client.get("/")
    assert generator_faults() == before
    assert {NO_PORT, NO_FILES} == OWN_FAULTS


def test_of_several_addresses_our_own_fault_is_told_first_and_one_that_is_not_there_last() -> None:
    def told(*outcomes: str) -> str:
        return network_module._most_informative([RequestFailed(outcome, "") for outcome in outcomes]).outcome

    assert told(REFUSED, UNREACHABLE) == told(UNREACHABLE, REFUSED) == REFUSED
    assert told(NO_PORT, REFUSED) == told(REFUSED, NO_PORT) == NO_PORT
    assert told(REFUSED, "reset") == "reset"
    assert told(UNREACHABLE) == UNREACHABLE


@pytest.mark.parametrize(("has_source", "outcome"), [(True, NO_PORT), (False, UNREACHABLE)])
def test_an_address_family_that_the_machine_has_not_is_not_a_lack_of_ports(
    has_source: bool, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux says EADDRNOTAVAIL in both cases."""

    async def no_connection(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

    async def ask() -> None:
        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", no_connection)
        async with client_of("http://[::1]:9") as client:
            with pytest.raises(RequestFailed):
                await client.get("/")
            assert [row.outcome for row in rows_of(client)] == [outcome]

    monkeypatch.setattr(network_module, "_has_source", lambda *_: has_source)
    asyncio.run(ask())


def test_an_address_that_can_be_reached_has_a_source() -> None:
    assert network_module._has_source("127.0.0.1", 9)
