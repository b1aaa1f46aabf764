"""A service without generated code: reflected in the set-up, and called with dicts."""

from loadgen import Http, Plan, User, arrivals, journey

HEALTH = "grpc.health.v1.Health"


async def set_up(user: User) -> dict[str, int]:
    await user.grpc.reflect(HEALTH)
    return {"carts": 7}


@journey
async def looks(user: User) -> None:
    health = await user.grpc.reflect(HEALTH)
    reply = await health.Check({"service": ""})
    user.check("serving", reply["status"] == "SERVING")
    async for change in health.Watch({}):
        user.check("first change", change["status"] == "SERVING")
        break
    user.check("value of the set-up", user.shared == {"carts": 7})


@journey
async def fails(user: User) -> None:
    health = await user.grpc.reflect(HEALTH)
    await health.Check({"service": "unknown"}, metadata=(("x-api-key", "abcdefgh12345678"),))


http = Http(http2="prior")
load = arrivals("5/s").hold("2s")
nowhere = "http://127.0.0.1:9"  # the test names its server with --target
plan = Plan(target=nowhere, mix=looks, load=load, http=http, set_up=set_up, regions=["north", "south"])
failing = Plan(target=nowhere, mix=fails, load=load, http=http, set_up=set_up)
