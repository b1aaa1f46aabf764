"""What is wrong with calls of `user.ws`, `user.grpc` and `user.client` is found when the scenario is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.dsl.loading.loader import load
from loadgen.errors import ScenarioError
from tests.support.shop_service import shop_set

TEXT = """\
import grpc
from grpc_health.v1 import health_pb2_grpc
from loadgen import Http, Plan, User, arrivals, descriptor_set, journey

SHOP = descriptor_set("shop.binpb")
HEALTH = health_pb2_grpc.HealthStub


class Cache:
    pass


async def connect(user: User) -> Cache:
    return Cache()


@journey
async def talks(user: User) -> None:
    async with user.ws("/feed", subprotocols=["chat.v2"], timeout="2s", headers={{"X-A": "b"}}) as ws:
        await ws.ask({{"id": 7, "op": "join"}}, reply_to="$.id", name="join", timeout="2s")
        async for message in ws.messages(upto=50, within="30s", stamp="$.sent_ms", unit="s"):
            user.check("has text", message.pick("$.text"))
        await ws.ping(timeout=1)
        print(ws.subprotocol, ws.close_code, ws.status_code, ws.headers)
        await ws.close(4000, "bye")
    async with user.ws("wss://example.org/feed"):
        pass
    cart = user.grpc.service("{cart}", SHOP)
    await cart.Get({{"id": "7"}}, timeout="500ms", metadata=(("x-tenant", "a"),))
    live = await user.grpc_channel().accepting(grpc.StatusCode.NOT_FOUND).reflect("{cart}", as_messages=True)
    await live.Get({{"id": "7"}}, compression=grpc.Compression.Gzip)
    print(cart.message("Get"))
    await user.grpc.unary_unary("/{cart}/Get")(b"")
    await HEALTH(user.grpc).Check(None, timeout=2)
    user.client(Cache, scope="worker")
    {line}


plan = Plan(
    "https://127.0.0.1:7000",
    targets={{"feed": "http://127.0.0.1:7001"}},
    mix={{talks: 1}},
    load=arrivals("5/s").hold("1s"),
    http=Http(http2=True),
)
"""
LINE = TEXT[: TEXT.index("{line}")].count("\n") + 1
CART = "shop.v1.Cart"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop.binpb").write_bytes(shop_set())
    return tmp_path


def faults(folder: Path, line: str = "pass") -> list[str]:
    path = folder / "scenario.py"
    path.write_text(TEXT.format(line=line, cart=CART))
    try:
        load(path)
    except ScenarioError as error:
        return [f"{Path(one.file).name}:{one.line} {one.message} | {one.hint}" for one in error.faults]
    return []


def test_right_calls_are_no_faults(folder: Path) -> None:
    assert faults(folder) == []


WRONG = [
    # user.ws
    ('async with user.ws("feed", targt="feed"): pass', "has no argument targt", 'did you mean "target"?'),
    ('async with user.ws(target="feed"): pass', "needs url", 'user.ws("/feed")'),
    ('async with user.ws("/feed", target="fed"): pass', "has a target 'fed'", 'did you mean "feed"?'),
    ("async with user.ws(5): pass", "5 is not a URL", "write a path"),
    ('async with user.ws("wss:/feed"): pass', "not an absolute", "write"),
    ('async with user.ws("/feed", timeout="soon"): pass', "timeout='soon' is not a duration", '"500ms"'),
    ('async with user.ws("/feed", timeout=0): pass', "timeout=0 must be above 0", 'timeout="2s"'),
    ('async with user.ws("/feed", subprotocols="chat, v2"): pass', "not a subprotocol", 'subprotocols=["chat.v2"]'),
    ('async with user.ws("/feed", subprotocols=5): pass', "not a list", 'subprotocols=["chat.v2"]'),
    ('async with user.ws("/feed", headers={"Upgrade": "x"}): pass', "sets the header Upgrade itself", "leave it out"),
    ('async with user.ws("/feed", headers={"X-A": 3}): pass', "a header must be a text", "write"),
    ('async with user.ws("/feed", headers=[("X-A", "b")]): pass', "headers must be a dictionary", 'headers={"X-'),
    ('async with user.ws("/feed", headers="X-A"): pass', "headers must be", 'headers={"Accept"'),
    ('async with user.ws("/feed", name=""): pass', "is not a name", "write a text"),
    # a WebSocket
    ('await ws.ask({"op": "join"}, reply_to="id")', "reply_to='id' is not a path", 'reply_to="$.id"'),
    ('await ws.ask({"op": "join"}, reply_to="$.id")', "has no id at $.id", "put a text or a number there"),
    ('await ws.ask("hi", timeout="soon")', "ws.ask: timeout='soon' is not a duration", '"500ms"'),
    ('await ws.ask(reply_to="next")', "needs message", "await ws.ask("),
    ('await ws.ask("hi", reply="next")', "has no argument reply", 'did you mean "reply_to"?'),
    ('ws.ask("hi")', "is never awaited", "write `await"),
    ("await ws.ping(timeout=-1)", "timeout=-1 is not a duration", '"500ms"'),
    ("async for m in ws.messages(upto=0): pass", "upto=0 must be a whole number of at least 1", "upto=50"),
    ('async for m in ws.messages(within="soon"): pass', "within='soon' is not a duration", 'within="2s"'),
    ('async for m in ws.messages(unit="h"): pass', "unit='h' is unknown", "s, ms, us, ns"),
    ('async for m in ws.messages(stamp="sent"): pass', "ws.messages: stamp='sent' is not a path", 'stamp="$.id"'),
    ("await ws.close(1001)", "code 1001 is invalid", "write 1000"),
    ("await ws.close(reason=5)", "must be a text", "close(4000"),
    ("await ws.send({1j})", "cannot be sent", "send text"),
    ("ws.png()", "has no png", 'did you mean "ping"?'),
    # user.grpc
    ("await user.grpc.reflect(5)", "5 is not the full name of a gRPC service", 'reflect("shop.v1.Cart")'),
    (
        'await user.grpc.reflect("/shop.v1.Cart/Get")',
        "is not the full name of a gRPC service",
        'reflect("shop.v1.Cart")',
    ),
    ('await user.grpc.reflect("a.B", as_mesages=True)', "has no argument as_mesages", 'did you mean "as_messages"?'),
    ('await user.grpc.reflect("a.B", as_messages=1)', "as_messages=1 must be True or False", "as_messages=True"),
    ('user.grpc.reflect("shop.v1.Cart")', "is never awaited", "write `await"),
    ('user.grpc.service("shop.v1.Cart", "shop.binpb")', "'shop.binpb' is not a descriptor set", "descriptor_set("),
    ('user.grpc.service("shop.v1.Cart")', "needs descriptors", 'SHOP = descriptor_set("shop.binpb")'),
    (
        'user.grpc.service("shop.v1.Cart", descriptor_set("x"))',
        "descriptor_set('x') is called in a function, so the file is not packed with the scenario",
        "write SHOP = descriptor_set('x') at the top of the file, and user.grpc.service('shop.v1.Cart', SHOP) here",
    ),
    ('user.grpc.service("shop.v1.Crt", SHOP)', "no gRPC service shop.v1.Crt", "shop.v1.Cart"),
    ("user.grpc.servce", "has no servce", 'did you mean "service"?'),
    ('await cart.Gt({"id": "7"})', "has no method Gt", "Get"),
    ('await cart.Get({"ids": "7"})', "cannot convert", "id"),
    ('await cart.Get({"id": "7"}, timeout="soon")', "invalid timeout='soon' of a gRPC call", '"500ms"'),
    ('await live.Get({"id": "7"}, timout=2)', "has no argument timout", 'did you mean "timeout"?'),
    ("await health_pb2_grpc.HealthStub(user.grpc).Check(None, timeout=0)", "invalid timeout", '"500ms"'),
    (
        'await health_pb2_grpc.HealthStub(user.grpc).Check(None, metadata={"a": "b"})',
        "must be pairs, not a dictionary",
        "metadata=(('a', 'b'),)",
    ),
    (
        'await health_pb2_grpc.HealthStub(user.grpc).Check(None, metadata=("x-shop", "7"))',
        "must be pairs of a name and a value, got ('x-shop', '7')",
        "write metadata=(('x-shop', '7'),), with a comma",
    ),
    (
        'await health_pb2_grpc.HealthStub(user.grpc).Check(None, metadata="x-shop: 7")',
        "must be pairs of a name and a value, got 'x-shop: 7'",
        "write metadata=(('x-shop', '7'),), with a comma",
    ),
    (
        "await health_pb2_grpc.HealthStub(user.grpc).Check(None, metadata=7)",
        "must be pairs of a name and a value, got 7",
        "write metadata=(('x-tenant', 'a'),), with a comma",
    ),
    (
        'await health_pb2_grpc.HealthStub(user.grpc).Check(None, metadata=(("grpc-x", "b"),))',
        "is reserved: gRPC sets it itself",
        "write pairs",
    ),
    (
        'await health_pb2_grpc.HealthStub(user.grpc).Check(None, compression="gzip")',
        "'gzip' is not supported",
        "Compression.Gzip",
    ),
    ('user.grpc.accepting("NOTFOUND")', "NOTFOUND is not a grpc.StatusCode", "grpc.StatusCode.NOT_FOUND"),
    ("user.grpc.accepting(grpc.StatusCode.UNAVAILBLE)", "is not a grpc.StatusCode", "grpc.StatusCode.UNAVAILABLE"),
    ('user.grpc.unary_unary("shop.v1.Cart")', "not the path of a gRPC method", '"/shop.v1.Cart/Get"'),
    ('user.grpc_channel("fed")', "has a target 'fed'", 'did you mean "feed"?'),
    # user.client
    ("user.client(3)", "3 is not a factory", "pass a class or function"),
    ("user.client(connect)", "connect is async", "connect in a method awaited later"),
    ('user.client(Cache, scope="wrker")', "'wrker' is not a scope", 'did you mean "worker"?'),
    ('user.client(Cache, outcomes={"OSError": "x"})', "'OSError' is not a class", "outcomes={"),
    ("user.client()", "needs factory", "user.client(Cache"),
]


@pytest.mark.parametrize(("line", "message", "hint"), WRONG)
def test_a_wrong_call_is_one_fault_with_its_line_and_a_remedy(folder: Path, line: str, message: str, hint: str) -> None:
    (found,) = faults(folder, line)
    assert found.startswith(f"scenario.py:{LINE} ")
    text, _, remedy = found.partition(" | ")
    assert message in text
    assert hint in remedy


@pytest.mark.parametrize(
    ("line", "messages"),
    [
        ('async with user.ws(timeout="soon", subprotocols=["a b"]): pass', ["needs url", "'soon'", "'a b'"]),
        ('await ws.ask(reply_to="id", timeout="soon")', ["needs message", "'id'", "'soon'"]),
        ('async for m in ws.messages(upto=0, within="soon", unit="h"): pass', ["upto=0", "'soon'", "'h'"]),
        ("await user.grpc.reflect(as_mesages=True)", ["as_mesages", "needs service"]),
        ('user.grpc.service("shop v1", "shop.binpb")', ["'shop v1'", "'shop.binpb'"]),
        ('user.client(3, scope="wrker")', ["3 is not a factory", "'wrker'"]),
    ],
)
def test_all_faults_of_a_call_are_found_at_once(folder: Path, line: str, messages: list[str]) -> None:
    found = faults(folder, line)
    assert len(found) == len(messages)
    for message in messages:
        assert sum(message in one for one in found) == 1
