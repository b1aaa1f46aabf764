"""Ends the process, then fails; what comes after is looked at all the same."""

import sys

from loadgen import Plan, User, arrivals, journey
from raises import first_of

sys.exit("set SHOP first")
SKU = first_of([])


@journey
async def browse(user: User) -> None:
    await user.http.get(f"/{SKU}")


plan = Plan(target="ftp://shop.example", load=arrivals("1/s").hold("1s"), mix=browse)
