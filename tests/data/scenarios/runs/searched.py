"""Searches that are short: their windows last a second."""

from __future__ import annotations

from loadgen import Plan, User, arrivals, journey, p, search


@journey
async def front(user: User) -> None:
    await user.http.get("/")


short = Plan("http://127.0.0.1:9", search(p(95) < "50ms", start="150/s", upto="400/s", every="1s"), front)
steady = Plan("http://127.0.0.1:9", arrivals("5/s").hold("1m"), front)
