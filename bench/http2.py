"""Compare HTTP/2 over TLS with h2load and k6. Budgets: 0.35 × k6, 3 × h2load.

Interpreters in LOADGEN_BENCH_PYTHONS (`bench/interpreters.py`) run the journey too, one row each.
"""

from __future__ import annotations

import sys

from bench import attackers
from bench.attackers import HERE, TRUSTED, USERS, Attack, trusting
from bench.children import TARGET_CORE, run_python
from bench.interpreters import distinct, pythons
from bench.report import Section
from bench.turns import Budget, alternate
from tests.support.nginx import running_nginx

TITLE = "CPU per request of HTTP/2 over TLS"
BUDGETS = (Budget("journey", "k6", 0.35), Budget("journey", "h2load, GET", 3))
HOW = """\
{users} users with a kept connection each and one stream at a time on it, {seconds} s a turn, {turns} turns of each in \
alternation; cores, CPU and checks as in the first section, certificate as in the one before. *journey* and *k6* send \
the four requests, both agree on h2 with nginx; *h2load* sends GET /1k only (it has no mix of methods), and checks \
nothing but what it counts by status. *bare* is `bench/http2_bare.py`: the same requests from uvloop without a client, \
the least that Python on uvloop pays. Handshakes do not count: one round of h2load and of k6 is subtracted, and the \
first {skipped} s of each turn of *journey* and *bare* are left out."""
SKIPPED_S = 2


def measure(*, seconds: int = 8, turns: int = 5) -> Section:
    paths = pythons()[1:]
    builds = distinct([str(run_python("bench.interpreters", "--name", python=path)["build"]) for path in paths])
    with running_nginx(cpus=[TARGET_CORE], log=False, tls=True) as nginx, trusting(nginx.ca) as four_requests:

        def journey(python: str) -> Attack:
            return attackers.loadgen(
                four_requests,
                nginx.http2_url,
                seconds + SKIPPED_S,
                "--skip",
                str(SKIPPED_S),
                environment={**TRUSTED, "BENCH_HTTP2": "1"},
                python=python,
            )

        compared = alternate(
            {
                "h2load, GET": attackers.h2load(f"{nginx.http2_url}/1k", seconds, is_start_left_out=True),
                "k6": attackers.k6(nginx.http2_url, seconds, HERE / "four_requests.js", protocol="HTTP/2.0"),
                "bare": attackers.http2_bare(nginx.http2_url, four_requests.with_name(TRUSTED["BENCH_CA"]), seconds),
                "journey": journey(sys.executable),
                **{f"journey, {build}": journey(path) for build, path in zip(builds, paths, strict=True)},
            },
            turns,
        )
    return Section(
        TITLE,
        HOW.format(seconds=seconds, turns=turns, users=USERS, skipped=SKIPPED_S),
        compared.head(["h2load, GET", "k6"]),
        compared.rows(["h2load, GET", "k6"]),
        " ".join(budget.verdict(compared) for budget in BUDGETS),
        ["nginx", "h2load", "k6"],
    )
