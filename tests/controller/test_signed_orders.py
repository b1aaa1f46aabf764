"""Signed orders at a controller: what a client signed is carried to the agents as it is, or refused at once."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest

from loadgen.allowlist import AllowList, Entry
from loadgen.api.v1 import api_pb2 as pb
from loadgen.dsl.plans.spec import Overrides
from loadgen.errors import UsageError
from loadgen.measure.run_folder.rundir import RunDir
from loadgen.signed.launch_statement import Statement
from loadgen.signed.signatures import PUBLIC_NAME, SECRET_NAME, Signer, Verifier, make
from loadgen.wire.messages import Prepare
from loadgen_agent.supervisor.order_authorization import Trust
from loadgen_controller.api.order import parts_of, read_order
from loadgen_controller.control.run_service import Service
from loadgen_controller.control.signed_run_orders import signed
from loadgen_controller.core.run_request import Order
from loadgen_controller.run.conductor import Conductor
from loadgen_controller.run.recovery import restore
from tests.controller.conftest import order_of
from tests.controller.test_station import House
from tests.support.wire import until

OVERRIDES = Overrides(regions={"us": 0.5, "eu": 0.5}, params={"z": "1", "a": "2"})


def listed(line: int = 1, **other: Any) -> AllowList:
    usual: dict[str, Any] = {"host": "127.0.0.0/8", "owner": "us", "expires": date(2999, 1, 1)}
    return AllowList(allow=(Entry(**usual | other, line=line),))


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    make(tmp_path)
    return tmp_path


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path / "runs")
    yield made
    await made.close()


def ordered(allow: AllowList | None, **other: object) -> Order:
    return replace(order_of(**other), allow=allow, overrides_json=OVERRIDES.to_json())


def by_client(keys: Path, allow: AllowList | None = None, **other: object) -> Order:
    return signed(ordered(allow, **other), Signer.read(keys / SECRET_NAME))


async def received(order: Order) -> Order:
    """As the API hands it on."""

    async def parts() -> AsyncIterator[pb.StartPart]:
        for part in parts_of(order):
            yield pb.StartPart.FromString(part.SerializeToString())

    return await read_order(parts())


def permitted(house: House, order: Order, allow: AllowList | None = None, signer: Signer | None = None) -> Order:
    return Service(house.hub, house.runs_dir, allow=allow, signer=signer)._permitted(order)


async def sent(house: House, order: Order) -> Prepare:
    """What the conductor says to an agent."""
    conductor = Conductor(order, house.hub, runs_dir=house.runs_dir)
    agents = await house.joined(a="eu", b="us")
    house._conducting.append(asyncio.create_task(conductor.conduct()))
    return await agents[0].next(Prepare)


async def test_what_a_client_signed_reaches_an_agent_that_finds_it_as_it_was_signed(house: House, keys: Path) -> None:
    order = permitted(house, await received(by_client(keys, listed(line=3))), listed(line=9, proof="0123456789abcdef"))
    prepare = await sent(house, order)
    Trust(Verifier.read(keys / PUBLIC_NAME)).check(prepare)
    assert Statement.read(prepare.statement).allow == listed(line=0)


async def test_a_controller_with_a_key_signs_for_clients_that_have_none(house: House, keys: Path) -> None:
    order = permitted(house, await received(ordered(None)), listed(), Signer.read(keys / SECRET_NAME))
    prepare = await sent(house, order)
    Trust(Verifier.read(keys / PUBLIC_NAME)).check(prepare)


async def test_an_unsigned_order_stays_unsigned_where_there_is_no_key(house: House) -> None:
    order = permitted(house, await received(replace(ordered(None), statement=b"x")))
    assert (order.signature, order.statement) == (b"", b"")


@pytest.mark.parametrize(
    ("signs", "has", "why", "what_to_do"),
    [
        (listed(), None, "but this controller has none", "leave --allow out"),
        (None, listed(), "signed without an allow-list", "give --allow FILE with --sign-with"),
        (listed(max_requests_per_s=500.0), listed(), "differs from the one of this", "ask the controller's operator"),
        (listed(), listed(max_requests_per_s=500.0), "differs from the one of this", "ask the controller's operator"),
    ],
)
async def test_another_list_than_the_controllers_is_refused_with_what_to_do(
    house: House, keys: Path, signs: AllowList | None, has: AllowList | None, why: str, what_to_do: str
) -> None:
    order = await received(by_client(keys, signs))
    with pytest.raises(UsageError, match=why) as refused:
        permitted(house, order, has, Signer.read(keys / SECRET_NAME))
    assert what_to_do in refused.value.hint


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"statement": b""}, "old way"),
        ({"statement": b"{}"}, "format 0"),
        ({"statement": b"\xff"}, "cannot be read"),
        ({"scenario": "other.py"}, "the scenario's path"),
        ({"seed": 8}, "the seed"),
        ({"overrides_json": b"{}"}, "the overrides"),
    ],
)
async def test_a_statement_that_agents_would_refuse_is_refused_at_once(
    house: House, keys: Path, change: dict[str, Any], why: str
) -> None:
    order = await received(replace(by_client(keys), **change))
    with pytest.raises(UsageError, match=why):
        permitted(house, order)


async def test_a_spec_with_other_targets_than_the_signed_ones_is_refused(house: House, keys: Path) -> None:
    order = by_client(keys)
    spec = msgspec.structs.replace(order.spec, target="http://127.0.0.1:2")
    with pytest.raises(UsageError, match="the plan's targets are"):
        permitted(house, await received(replace(order, spec=spec)))


async def test_a_run_that_is_taken_up_again_has_the_statement_that_was_signed(
    house: House, keys: Path, tmp_path: Path
) -> None:
    order = by_client(keys, listed())
    await sent(house, order)
    (folder,) = house.runs_dir.iterdir()
    await until(lambda: list(RunDir(folder).read_events()))
    restored = restore(shutil.copytree(folder, tmp_path / folder.name)).order  # as after a crash
    assert (restored.statement, restored.signature) == (order.statement, order.signature)
    assert permitted(house, restored, listed()).statement == order.statement


async def test_a_run_that_is_taken_up_under_another_list_is_signed_anew_by_a_controller_with_a_key(
    house: House, keys: Path
) -> None:
    order, signer = by_client(keys, listed()), Signer.read(keys / SECRET_NAME)
    service = Service(house.hub, house.runs_dir, allow=listed(max_requests_per_s=500.0), signer=signer)
    again = service._permitted(service._unsigned(order))
    assert Statement.read(again.statement).allow == listed(line=0, max_requests_per_s=500.0)
    same = Service(house.hub, house.runs_dir, allow=listed(), signer=signer)
    assert same._permitted(same._unsigned(order)).statement == order.statement
