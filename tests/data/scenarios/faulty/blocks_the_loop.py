"""Blocks the loop with `time.sleep`: a comment allows it, and the run has to name the line."""

import time

from loadgen import Plan, User, arrivals, journey


@journey
async def browse(user: User) -> None:
    await user.http.get("/")
    time.sleep(0.3)  # loadgen: allow


plan = Plan(target="http://127.0.0.1:8080", load=arrivals("5/s").hold("3s"), mix=browse)
