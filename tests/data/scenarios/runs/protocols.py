"""gRPC, WebSocket, TCP and UDP in each iteration, and a plan with HTTP/3, for servers of tests that count all of it."""

from grpc import aio

from loadgen import Http, Plan, User, first, iterations, journey, lines


@journey
async def talk(user: User) -> None:
    cart = user.grpc_channel("cart")
    await cart.unary_unary("/shop.v1.Cart/Get")(b"7")
    async for _ in cart.unary_stream("/shop.v1.Cart/Watch")(b"3,10"):
        pass
    await cart.stream_unary("/shop.v1.Cart/Sum")([b"ab", b"c"])
    call = cart.stream_stream("/shop.v1.Cart/Chat")(key=lambda message: message)
    for message in (b"a", b"b"):
        await call.write(message)
        await call.read()
    await call.done_writing()
    user.check("chat ends", await call.read() is aio.EOF)

    async with user.ws("/feed", target="feed", name="feed") as ws:
        await ws.ask({"id": user.arrival}, reply_to="$.id", name="join")
        await ws.send({"op": "feed", "n": 3})
        async for _ in ws.messages(upto=3):
            pass
        await ws.ping()

    async with user.tcp("gate", frame=lines()) as link:
        await link.ask(b"PING", name="ping", expect=b"PONG")
        await link.ask(b"here", name="echo", expect=b"here")

    number = user.arrival.to_bytes(4, "big")
    await user.udp("dns").ask(number + b"who", match=first(4), timeout="5s", name="lookup")


@journey
async def shop(user: User) -> None:
    reply = await user.http.get("/shop")
    user.check("HTTP/3", reply.http_version == "HTTP/3")
    await user.http.post("/shop", content=b"x" * 10_000)


# The test writes the addresses of its servers here.
plan = Plan(
    targets={
        "cart": "http://127.0.0.1:7001",
        "feed": "http://127.0.0.1:7002",
        "gate": "tcp://127.0.0.1:7003",
        "dns": "udp://127.0.0.1:7004",
    },
    mix=talk,
    load=iterations(30, users=6),
    http=Http(http2="prior"),
    regions={"eu": 1},
)
http3 = Plan(
    target="https://127.0.0.1:7005",
    ca="ca.pem",
    mix=shop,
    load=iterations(30, users=6),
    http=Http(http3="only"),
    regions={"eu": 1},
)
