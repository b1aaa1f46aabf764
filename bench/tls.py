"""Compare the four-request journey over TLS with wrk over TLS. Budget: 2.5 × wrk."""

from __future__ import annotations

from bench import attackers
from bench.attackers import HERE, TRUSTED, USERS, trusting
from bench.children import TARGET_CORE
from bench.report import Section
from bench.turns import Budget, alternate
from tests.support.nginx import running_nginx

BUDGET = Budget("journey", "wrk", 2.5)
HOW = """\
The four requests of `bench/four_requests.py` over TLS and HTTP/1.1, {users} users with a kept connection each, \
{seconds:g} s a turn, {turns} turns of each in alternation; cores, CPU and checks as in the first section. nginx has a \
certificate for 127.0.0.1 of an authority made for this run; the plan trusts it by `ca=`, wrk verifies nothing. \
{users} handshakes a turn are in it."""


def measure(*, seconds: float = 4, turns: int = 5) -> Section:
    with running_nginx(cpus=[TARGET_CORE], log=False, tls=True) as nginx, trusting(nginx.ca) as four_requests:
        compared = alternate(
            {
                "wrk": attackers.wrk(nginx.tls_url, seconds, "-s", str(HERE / "four_requests.lua")),
                "journey": attackers.loadgen(four_requests, nginx.tls_url, seconds, environment=TRUSTED),
            },
            turns,
        )
    return Section(
        "CPU per request over TLS",
        HOW.format(seconds=seconds, turns=turns, users=USERS),
        compared.head(["wrk"]),
        compared.rows(["wrk"]),
        BUDGET.verdict(compared),
        ["nginx", "wrk"],
    )
