"""Compare the CPU time of the four-request journey with other tools that send the same requests, in one run."""

from __future__ import annotations

from bench import attackers
from bench.attackers import HERE, USERS
from bench.children import ATTACKER_CORE, TARGET_CORE
from bench.report import Section
from bench.turns import Budget, alternate
from tests.support.nginx import running_nginx

BUDGETS = (
    Budget("journey", "wrk", 2.2),
    Budget("journey", "k6", 1 / 5, "1/5"),
    Budget("journey", "Locust", 1 / 6, "1/6"),
)
WANTED = 1.6
HOW = """\
GET / (HTML), GET /json (parsed and checked), POST /json, GET /1k (length checked); {users} users, closed, kept \
connections, {seconds:g} s a turn, {turns} turns of each in alternation. nginx (no access log) on core {target}, the \
attacker on core {attacker}. CPU is the attacker's user and system time by rusage: of wrk the whole process, of k6 the \
whole process less that of a run of one round, of Locust from the start of its load to its stop, of loadgen one worker \
process from T0 to the end of its drain, with recording and folding. *wrk* sends the four requests from a Lua table \
and checks nothing; *k6* and *Locust* (FastHttpUser) check what the journey does, without its two steps; *client \
alone* is loadgen's HTTP client and recorder driven by {users} bare tasks; *journey* is `bench/four_requests.py` \
through users, steps and plan."""


def measure(*, seconds: float = 4, turns: int = 5) -> Section:
    with running_nginx(cpus=[TARGET_CORE], log=False) as nginx:
        compared = alternate(
            {
                "wrk": attackers.wrk(nginx.url, seconds, "-s", str(HERE / "four_requests.lua")),
                "client alone": attackers.client(nginx.url, seconds),
                "journey": attackers.loadgen(HERE / "four_requests.py", nginx.url, seconds),
                "k6": attackers.k6(nginx.url, seconds, HERE / "four_requests.js"),
                "Locust": attackers.locust(nginx.url, seconds, HERE / "four_requests_locust.py"),
            },
            turns,
        )
    bases = [budget.beside for budget in BUDGETS]
    return Section(
        "CPU per request of a scripted journey",
        HOW.format(seconds=seconds, turns=turns, target=TARGET_CORE, attacker=ATTACKER_CORE, users=USERS),
        compared.head(bases),
        compared.rows(bases),
        " ".join(budget.verdict(compared) for budget in BUDGETS) + f" The goal is {WANTED:g} × wrk.",
        ["nginx", "wrk", "k6", "locust"],
    )
