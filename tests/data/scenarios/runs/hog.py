"""A journey that computes for `hog` milliseconds without awaiting: what a worker cannot bear."""

from time import perf_counter

from loadgen import Plan, User, arrivals, journey, param

HOG_S = param("hog", float, default=0.0) / 1000


def compute(seconds: float) -> None:
    until = perf_counter() + seconds
    while perf_counter() < until:
        sum(range(500))


@journey
async def hog(user: User) -> None:
    await user.think(0, 0.02)  # so that starts and answers fall anywhere
    await user.http.get("/", expect=200)
    compute(HOG_S)


plan = Plan(target="http://127.0.0.1:1", load=arrivals("100/s").hold("5s"), mix=hog)


@journey
async def one(user: User) -> None:
    await user.http.get("/", expect=200)


# Half of what one worker can do beside nginx on two cores: at 12,000/s it is suspect.
steady = Plan(target="http://127.0.0.1:1", load=arrivals("5000/s").hold("5s"), mix=one, warmup="1s")
