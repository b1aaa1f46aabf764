"""Compare `user.httpx` with the stock httpx client. Budgets: 1/15 of one shared client, 1/3 of one client each."""

from __future__ import annotations

from bench import attackers
from bench.attackers import HERE, USERS
from bench.children import TARGET_CORE
from bench.report import Section, skipped
from bench.turns import Budget, alternate
from loadgen import User
from tests.support.nginx import running_nginx

TITLE = "CPU per request of an httpx client"
SHARED, EACH = "stock httpx, one shared", "stock httpx, one each"
BUDGETS = (Budget("user.httpx", SHARED, 1 / 15, "1/15"), Budget("user.httpx", EACH, 1 / 3, "1/3"))
HOW = """\
The four requests, {users} tasks over as many kept connections, {seconds:g} s a turn, {turns} turns of each in \
alternation; cores, CPU and checks as in the first section, all on uvloop. *stock httpx*: `httpx.AsyncClient` as it \
is (`bench/httpx_stock.py`), one that {users} tasks share, or one for each; it records nothing. *user.httpx*: \
`bench/four_requests_httpx.py` through users, steps and plan; *journey*: the same on `user.http`."""


def measure(*, seconds: float = 3, turns: int = 3) -> Section:
    if not hasattr(User, "httpx"):
        return skipped(TITLE, "there is no `user.httpx` yet")
    with running_nginx(cpus=[TARGET_CORE], log=False) as nginx:
        compared = alternate(
            {
                SHARED: attackers.stock_httpx("shared", nginx.url, seconds),
                EACH: attackers.stock_httpx("each", nginx.url, seconds),
                "user.httpx": attackers.loadgen(HERE / "four_requests_httpx.py", nginx.url, seconds),
                "journey": attackers.loadgen(HERE / "four_requests.py", nginx.url, seconds),
            },
            turns,
        )
    bases = [SHARED, EACH]
    return Section(
        TITLE,
        HOW.format(seconds=seconds, turns=turns, users=USERS),
        compared.head(bases),
        compared.rows(bases),
        " ".join(budget.verdict(compared) for budget in BUDGETS),
        ["nginx"],
    )
