"""A scenario with one GET of 1 KiB and a check of its status, which hey and h2load can send too."""

import os

from loadgen import Http, Plan, User, arrivals, journey, users

HTTP = Http(clock="kernel" if os.environ.get("BENCH_CLOCK") == "kernel" else "loop")


@journey
async def one(user: User) -> None:
    await user.http.get("/1k", expect=200)


plan = Plan(target="http://127.0.0.1:1", load=users(64).hold("5s"), mix=one, http=HTTP)
due = Plan(target="http://127.0.0.1:1", load=arrivals("1000/s").hold("5s"), mix=one, http=HTTP)
