"""A scenario with one GET of 1 KiB and a check of its status, which hey and h2load can send too."""

from loadgen import Plan, User, arrivals, journey, users


@journey
async def one(user: User) -> None:
    await user.http.get("/1k", expect=200)


plan = Plan(target="http://127.0.0.1:1", load=users(64).hold("5s"), mix=one)
due = Plan(target="http://127.0.0.1:1", load=arrivals("1000/s").hold("5s"), mix=one)
