"""A journey that is not async, and data without a column; both are to be told."""

from dataclasses import dataclass

from loadgen import Plan, User, arrivals, feed, journey


@dataclass
class Shopper:
    email: str
    password: str


@journey
def browse(user: User) -> None:
    user.http.get("/")


@journey(data=feed.csv("data/no_password.csv", Shopper))
async def buy(user: User, shopper: Shopper) -> None:
    await user.http.get("/")


plan = Plan(
    target="http://127.0.0.1:8080",
    load=arrivals("1/s").hold("1s"),
    mix={browse: 1, buy: 1},
)
