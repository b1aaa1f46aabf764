"""One load of each model, all at once."""

from loadgen import Load, Plan, User, arrivals, iterations, journey, users


@journey
async def by_chance(user: User) -> None:
    await user.http.get("/")


@journey
async def swing(user: User) -> None:
    await user.http.get("/")


@journey
async def each_five(user: User) -> None:
    await user.http.get("/")


@journey
async def paced(user: User) -> None:
    await user.http.get("/")
    await user.think("50ms")


plan = Plan(
    target="http://127.0.0.1:1",
    regions={"a": 3, "b": 2, "c": 1},
    loads=[
        Load(by_chance, arrivals("60/s").hold("3s").gamma(cv=1.5)),
        Load(swing, arrivals().sine(mean="40/s", amplitude="40/s", period="1500ms", duration="3s")),
        Load(each_five, iterations(per_user=5, users=7)),
        Load(paced, users(5).hold("3s").pace("1s")),
    ],
)
