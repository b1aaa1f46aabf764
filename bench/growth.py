"""Measure how the cost of a request grows with users, request names and cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench import attackers
from bench.attackers import HERE
from bench.children import TARGET_CORE
from bench.report import Section
from bench.turns import Turn, alternate
from tests.support.nginx import running_nginx

HOW = """\
One worker beside nginx, {seconds} s a turn, {turns} turns of each in alternation; cores and CPU as in the first \
section, but counted from the end of second {skip} on, so that the connections are there. *users*: the four requests \
of `bench/four_requests.py` by the given number of users, and wrk with the same number of connections (its start is \
in it). *names*: `bench/names.py`, four GETs a journey by 64 users, under the given number of request names in turn: \
what recording and folding add. The last column is beside the first row of its kind."""


def measure(
    *,
    users: Sequence[int] = (64, 640, 6_400),
    names: Sequence[int] = (1, 20, 500),
    seconds: int = 5,
    turns: int = 2,
    skip: int = 2,
) -> Section:
    since = ["--skip", str(skip)]
    attacks: dict[str, Callable[[], Turn] | str] = {}
    beside: dict[str, str] = {}
    with running_nginx(cpus=[TARGET_CORE], log=False) as nginx:
        for n in users:
            beside[f"{n:,} users"] = f"{users[0]:,} users"
            attacks[f"{n:,} users"] = attackers.loadgen(HERE / "four_requests.py", nginx.url, seconds, *since, users=n)
        for n in users:
            beside[f"wrk, {n:,} connections"] = f"wrk, {users[0]:,} connections"
            attacks[f"wrk, {n:,} connections"] = attackers.wrk(
                nginx.url, seconds, "-s", str(HERE / "four_requests.lua"), connections=n
            )
        for n in names:
            beside[f"{n} names"] = f"{names[0]} names"
            attacks[f"{n} names"] = attackers.loadgen(
                HERE / "names.py", nginx.url, seconds, *since, environment={"BENCH_NAMES": str(n)}
            )
        compared = alternate(attacks, turns)
    rows = [
        [*row, f"{compared.ratio(row[0], beside[row[0]]):.2f}" if row[0] in compared.turns else ""]
        for row in compared.rows([])
    ]
    return Section(
        "Growth",
        HOW.format(seconds=seconds, turns=turns, skip=skip),
        [*compared.head([]), "× least"],
        rows,
        tools=["nginx", "wrk"],
    )
