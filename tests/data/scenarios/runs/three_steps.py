"""Three steps at 100.25/s against a shop that freezes only the third: with users to spare, and with 10.

The rate is low, so that also a slow machine serves within a few ms what waited for the end of a stall. It is no
multiple of 0.2/s, so that four stalls, 5 s apart, begin at four different moments between two arrivals.
"""

from loadgen import Plan, User, arrivals, journey


@journey
async def three_steps(user: User) -> None:
    async with user.step("one"):
        await user.http.get("/", expect=200)
    async with user.step("two"):
        await user.http.get("/products", expect=200)
    async with user.step("three"):
        await user.http.get("/search?q=a", name="search", expect=200)


plan = Plan(target="http://127.0.0.1:1", load=arrivals("100.25/s").hold("20s"), mix=three_steps)
capped = Plan(target="http://127.0.0.1:1", load=arrivals("100.25/s").hold("20s"), mix=three_steps, max_users=10)
