"""The journey of `bench/four_requests.py` with `user.httpx`."""

from loadgen import Plan, User, journey, users


@journey
async def four(user: User) -> None:
    http = user.httpx
    async with user.step("read"):
        assert (await http.get("/")).status_code == 200  # loadgen: allow
        reply = await http.get("/json")
        assert reply.status_code == 200  # loadgen: allow
        assert reply.json()["ok"] is True  # loadgen: allow
    async with user.step("write"):
        assert (await http.post("/json", json={"sku": "sku-0001", "quantity": 2})).status_code == 200  # loadgen: allow
        page = await http.get("/1k")
        assert page.status_code == 200  # loadgen: allow
        assert len(page.content) == 1024  # loadgen: allow


plan = Plan(target="http://127.0.0.1:1", load=users(64).hold("5s"), mix=four)
