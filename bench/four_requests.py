"""The scenario of the first benchmark: four requests in two steps, with a check of each response."""

import os

from loadgen import Http, Plan, User, journey, users

CA, IS_HTTP2 = os.environ.get("BENCH_CA"), bool(os.environ.get("BENCH_HTTP2"))


@journey
async def four(user: User) -> None:
    async with user.step("read"):
        await user.http.get("/", expect=200)
        reply = await user.http.get("/json", expect=200)
        assert reply.json()["ok"] is True  # loadgen: allow
    async with user.step("write"):
        await user.http.post("/json", json={"sku": "sku-0001", "quantity": 2}, expect=200)
        page = await user.http.get("/1k", expect=200)
        assert len(page.content) == 1024  # loadgen: allow
        assert not IS_HTTP2 or page.http_version == "HTTP/2"


plan = Plan(
    target="http://127.0.0.1:1",
    load=users(64).hold("5s"),
    mix=four,
    ca=CA,
    http=Http(http2=IS_HTTP2, clock="kernel" if os.environ.get("BENCH_CLOCK") == "kernel" else "loop"),
)
