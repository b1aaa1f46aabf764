"""Batches of payments at the demo shop with a database, while its pools settle and payout work.

Start the shop, and load it:

    loadgen target --database postgresql://shop@127.0.0.1/shop --pool-size 20
    loadgen run scenarios/ach.py -P settle=8 -P payout=8

`plan` sets the number of workers of both pools before its load, as an operator would. In `shifts`, settle works all the
time, and a load of its own starts and stops payouts in the second half. The run records when payouts were active.
docs/tutorial-two-pools.md uses both plans to find out why batches are slow.
"""

from loadgen import Load, Plan, User, arrivals, error_ratio, journey, p, param, users

settle = param("settle", int, default=0)
payout = param("payout", int, default=0)
seconds = param("seconds", float, default=20.0)
payout_after = param("payout_after", float, default=seconds / 2)

BATCHES = arrivals("20/s").poisson()
SLOS = [p(99, request="ach") < "100ms", error_ratio(request="ach") < "1%"]


@journey
async def post_batch(user: User) -> None:
    await user.http.post("/ach", name="ach", expect=201)


async def set_pools(user: User) -> None:
    await user.http.put("/database", json={"settle": settle, "payout": payout}, expect=200)


async def set_settle(user: User) -> None:
    await user.http.put("/database", json={"settle": settle, "payout": 0}, expect=200)


async def stop_pools(user: User) -> None:
    await user.http.put("/database", json={"settle": 0, "payout": 0}, expect=200)


plan = Plan(
    target="http://127.0.0.1:8080",
    load=BATCHES.hold(f"{seconds}s"),
    mix=post_batch,
    set_up=set_pools,
    tear_down=stop_pools,
    slos=SLOS,
    trace="100%",
)


@journey
async def payout_run(user: User) -> None:
    await user.http.put("/database", name="payout starts", json={"payout": payout}, expect=200)
    await user.think("5s", "8s")
    await user.http.put("/database", name="payout stops", json={"payout": 0}, expect=200)
    await user.think("8s", "16s")


shifts = Plan(
    target="http://127.0.0.1:8080",
    loads=[
        Load(post_batch, BATCHES.hold(f"{seconds}s"), name="ach"),
        Load(payout_run, users(1).hold(f"{seconds - payout_after}s"), after=f"{payout_after}s", name="payout"),
    ],
    set_up=set_settle,
    tear_down=stop_pools,
    slos=SLOS,
    trace="50%",
)
