"""Raises in the plan's set-up: loads well, and the run has to end with file and line."""

from loadgen import Plan, User, arrivals, journey


@journey
async def browse(user: User) -> None:
    await user.http.get("/")


async def make_shop(user: User) -> dict[str, str]:
    return {"shop": {}["name"]}


plan = Plan(target="http://127.0.0.1:8080", load=arrivals("5/s").hold("3s"), mix=browse, set_up=make_shop)
