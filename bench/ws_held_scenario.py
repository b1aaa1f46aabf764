"""A scenario whose users each hold a WebSocket and read what the server sends, for `python -m bench ws_held`."""

from loadgen import Plan, User, journey, param, users


@journey
async def hold(user: User) -> None:
    async with user.ws("/") as ws:
        async for _ in ws.messages(within="1h"):
            pass


PEAK = param("users", int, default=100)
plan = Plan(target="http://127.0.0.1:1", load=users().ramp(to=PEAK, over="4s").hold("1h"), mix=hold, drain="2s")
