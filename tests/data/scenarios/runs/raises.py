"""A journey with a fault of its own in every iteration."""

from loadgen import Plan, User, arrivals, journey


@journey
async def raises(user: User) -> None:
    row: dict[str, str] = {}
    print(row["sku"])


plan = Plan(target="http://127.0.0.1:1", load=arrivals("50/s").hold("20s"), mix=raises)
