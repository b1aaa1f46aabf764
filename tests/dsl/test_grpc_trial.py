"""Trials of journeys with gRPC calls: canned answers, over the same way as in a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from loadgen import User, descriptor_set, grpc_reply, journey
from loadgen.clients.grpc_client.canned import CannedCall
from loadgen.errors import UsageError
from tests.support.shop_service import CART, shop_set

Answer = health_pb2.HealthCheckResponse
HEALTH = "grpc.health.v1.Health"


@journey
async def looks(user: User) -> None:
    stub = health_pb2_grpc.HealthStub(user.grpc)
    first = await stub.Check(health_pb2.HealthCheckRequest(service="a"), metadata=(("x-tenant", "b"),))
    user.check("serving", first.status == Answer.SERVING)
    async for change in stub.Watch(health_pb2.HealthCheckRequest()):
        user.check("changes", change.status == Answer.SERVING)
    await stub.Check(health_pb2.HealthCheckRequest(service="gone"))


@journey
async def chats(user: User) -> None:
    call = user.grpc_channel("other").stream_stream("/shop.v1.Cart/Chat")()
    for text in (b"1", b"2"):
        await call.write(text)
        user.check("echo", await call.read() == b"echo " + text)
    await call.done_writing()
    user.check("last", await call.read() == b"bye")
    user.check("end", await call.read() is aio.EOF)
    user.check("sum", await user.grpc.stream_unary("/shop.v1.Cart/Sum")([b"1", b"2"]) == b"3")


@journey
async def reflects(user: User) -> None:
    cart = await user.grpc.reflect(CART)
    found = await cart.Get({"id": "7"})
    user.check("cart", found["id"] == "seven")


async def test_canned_answers_are_messages_dicts_statuses_and_lists() -> None:
    gone = grpc_reply(status=grpc.StatusCode.NOT_FOUND, details="no ä", trailing_metadata=(("x-why", "gone"),))
    trial = await looks.trial(
        replies={
            f"{HEALTH}/Check": [{"status": "SERVING"}, gone],
            f"{HEALTH}/*": grpc_reply(*(Answer(status=n) for n in (1, 2, 1))),
        }
    )
    assert (trial.outcome, trial.detail) == ("grpc not_found", f"{HEALTH}/Check: no ä")
    assert trial.checks == {"serving": (1, 1), "changes": (2, 3)}
    assert [(one.name, one.outcome) for one in trial.requests] == [
        (f"{HEALTH}/Check", "ok"), (f"{HEALTH}/Watch", "ok"), (f"{HEALTH}/Check", "grpc not_found")
    ]  # fmt: skip
    calls: Any = trial.sent
    assert all(isinstance(call, CannedCall) for call in calls)
    assert [call.name for call in calls] == [f"{HEALTH}/Check", f"{HEALTH}/Watch", f"{HEALTH}/Check"]
    assert calls[0].messages == (health_pb2.HealthCheckRequest(service="a"),)
    assert calls[0].headers["x-tenant"] == "b"


async def test_streams_of_both_sides_are_answered_message_by_message() -> None:
    trial = await chats.trial(
        replies={"shop.v1.Cart/Chat": grpc_reply(b"echo 1", b"echo 2", b"bye"), "shop.v1.Cart/Sum": b"3"}
    )
    assert trial.outcome == "ok"
    assert trial.checks == {"echo": (2, 2), "last": (1, 1), "end": (1, 1), "sum": (1, 1)}


async def test_a_function_gets_the_call() -> None:
    def answer(call: CannedCall) -> Any:
        return Answer(status=1 if call.messages[0].service == "a" else 2)

    trial = await looks.trial(replies={f"{HEALTH}/Check": answer, f"{HEALTH}/Watch": grpc_reply()})
    assert trial.outcome == "ok"


@pytest.mark.parametrize("given", [{"GET /": 200}, {"/shop.v1.Cart/Get": b""}, {"shop.v1.Cart/Chat": b""}])
async def test_a_call_without_a_canned_answer_is_an_error_of_the_test(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        await looks.trial(replies=given)
    assert caught.value.message == f"no canned reply for {HEALTH}/Check"
    assert f'add "{HEALTH}/Check" to the replies' in (caught.value.hint or "")


async def test_wrong_canned_answers_are_errors_of_the_test() -> None:
    with pytest.raises(
        UsageError, match=r"the canned answer of grpc.health.v1.Health/Check has the invalid type float"
    ):
        await looks.trial(replies={f"{HEALTH}/Check": 0.5})
    with pytest.raises(UsageError) as caught:
        await looks.trial(replies={f"{HEALTH}/Check": {"state": 1}})
    assert 'no field named "state"' in caught.value.message
    with pytest.raises(UsageError, match=r"is not a grpc.StatusCode"):
        grpc_reply(status=5)


async def test_services_of_a_descriptor_set_stand_for_reflection(tmp_path: Path) -> None:
    file = tmp_path / "shop.binpb"
    file.write_bytes(shop_set())
    trial = await reflects.trial(replies={"reflection": descriptor_set(str(file)), f"{CART}/Get": {"id": "seven"}})
    assert trial.outcome == "ok"
    assert trial.checks == {"cart": (1, 1)}
    with pytest.raises(UsageError) as caught:
        await reflects.trial(replies={f"{CART}/Get": {"id": "seven"}})
    assert 'add "reflection": descriptor_set' in (caught.value.hint or "")
