"""The health of gRPC targets, which `loadgen check` asks for. The servers are those of grpcio."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.clients.grpc_client.channel import GrpcChannel
from loadgen.clients.grpc_client.health import health_of
from loadgen.dsl.loading.loader import load
from loadgen_controller.planning.rehearsal import Rehearsed, rehearse
from tests.support.grpc_server import grpc_server
from tests.support.grpc_services import running_services
from tests.support.http2 import prior_pool
from tests.support.scripted import client_of, rows_of

SCENARIO = """
from loadgen import Http, Plan, User, iterations, journey

@journey
async def get(user: User) -> None:
    answer = await user.grpc.unary_unary("/shop.v1.Cart/Get")(b"x") if CALLS else b"x"
    user.check("echo", answer == b"x")

plan = Plan(target="URL", mix=get, load=iterations(1), http=Http(http2="prior"))
"""


async def health_in_check(tmp_path: Path, url: str, *, calls: bool = True) -> list[Rehearsed]:
    path = tmp_path / "get.py"
    path.write_text(SCENARIO.replace("URL", url).replace("CALLS", str(calls)))
    return [one async for one in rehearse(load(path)) if one.journey != "get"]


@pytest.mark.parametrize(("serves", "status"), [(True, "SERVING"), (False, "NOT_SERVING")])
async def test_a_server_reports_its_status(serves: bool, status: str) -> None:
    with running_services(serves=serves) as services:
        async with client_of(services.url, pool=prior_pool()) as client:
            assert await health_of(GrpcChannel(client)) == status
            assert [row.outcome for row in rows_of(client)] == ["ok"]


async def test_a_server_without_the_service_passes_a_check(tmp_path: Path) -> None:
    async with grpc_server() as server:
        (health,) = await health_in_check(tmp_path, server.url)
    assert (health.title, health.outcome, health.notes) == (
        "(gRPC health)",
        "ok",
        ("the target: no health service",),
    )


async def test_a_server_that_is_not_ready_fails_a_check(tmp_path: Path) -> None:
    with running_services(serves=False) as services:
        (health,) = await health_in_check(tmp_path, services.url)
    assert not health.has_passed
    assert health.detail == "the target reports NOT_SERVING"


async def test_a_target_without_grpc_calls_is_not_asked(tmp_path: Path) -> None:
    async with grpc_server() as server:
        assert await health_in_check(tmp_path, server.url, calls=False) == []
    assert server.calls == []
