"""The first minute of a flash sale in the demo shop, with a queue page before it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import log
from random import Random

from loadgen import OpenExecutor, Plan, User, error_ratio, journey, p


@dataclass(frozen=True)
class QueuePage(OpenExecutor):
    """Visitors who come at the opening and wait in a queue, which lets in `lets_in_per_s` of them per second.

    Half of all visitors who have not come yet come within each `half_s` seconds.
    """

    people: int
    half_s: float
    lets_in_per_s: float
    patience_s: float = 60.0  # visitors who would wait longer leave

    def wrong(self) -> Iterable[str]:
        if self.people < 1:
            yield f"people={self.people} must be at least 1"
        if self.half_s <= 0 or self.lets_in_per_s <= 0:
            yield f"half_s={self.half_s:g}, lets_in_per_s={self.lets_in_per_s:g}: both must be above 0"

    def due(self, seed: int) -> Iterator[float]:
        dice = Random(seed)
        comes_s = sorted(dice.expovariate(log(2) / self.half_s) for _ in range(self.people))
        free_s = 0.0
        for at_s in comes_s:
            turn_s = max(at_s, free_s)
            if turn_s - at_s <= self.patience_s:
                yield turn_s
                free_s = turn_s + 1 / self.lets_in_per_s


@journey
async def buy(user: User) -> None:
    login = await user.http.post("/login", json={"email": "b@shop.example", "password": "b"}, expect=200)
    user.http.headers["Authorization"] = "Bearer " + login.pick("$.token")
    async with user.step("product"):
        page = await user.http.get("/products/sku-0001", name="/products/{sku}", expect=200)
        csrf = page.pick("css:input[name=csrf]@value")
    await user.think(0.5, 2)
    async with user.step("buy"):
        await user.http.post("/cart", json={"sku": "sku-0001", "csrf": csrf}, expect=201)
        await user.http.post("/checkout", expect=201)


plan = Plan(
    target="http://127.0.0.1:8080",
    load=QueuePage(people=1_000, half_s=5, lets_in_per_s=30),
    mix=buy,
    slos=[p(95, step="buy") < "500ms", error_ratio() < "0.5%"],
    regions={"eu-west-1": 2, "us-east-1": 1},
    seed=7,
)
