"""Long-lived users: each opens a WebSocket, joins, reads what comes, thinks, asks again, and leaves."""

from loadgen import Plan, User, arrivals, error_ratio, journey, p


@journey
async def chat(user: User) -> None:
    async with user.ws("/feed", subprotocols=["chat.v2"]) as ws:
        async with user.step("join"):
            joined = await ws.ask({"id": user.arrival, "op": "join"}, reply_to="$.id", name="join", timeout="10s")
            user.check("same id", joined.pick("$.id", int) == user.arrival)
        await user.think("50ms")
        async with user.step("read"):
            await ws.send({"op": "feed", "n": 10})
            async for message in ws.messages(upto=10, within="30s", stamp="$.sent_ms"):
                user.check("has text", message.pick("$.text") != "")
        await ws.ping()


plan = Plan(
    mix=chat,
    load=arrivals("20/s").hold("3s"),
    slos=[
        p(95, request="join") < "10s",
        p(95, request="WS /feed (connect)", metric="message_gap") < "10s",
        error_ratio(request="WS /feed (close)") < 0.01,
    ],
)
