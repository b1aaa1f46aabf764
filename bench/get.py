"""Compare the tools with a single GET request, because hey and h2load can send nothing else."""

from __future__ import annotations

from bench import attackers
from bench.attackers import HERE, USERS
from bench.children import TARGET_CORE
from bench.report import Section
from bench.turns import alternate
from tests.support.nginx import running_nginx

HOW = """\
GET /1k over {users} kept HTTP/1.1 connections, {seconds} s a turn, {turns} turns of each in alternation; cores and \
CPU as in the section before. *hey* and *h2load* (`--h1`) send one URL by GET and check nothing but what they count by \
status, so they have no part in the four requests; *loadgen* is `bench/one_get.py`: a journey of one request, so the \
whole cost of an iteration is in each."""


def measure(*, seconds: int = 3, turns: int = 3) -> Section:
    with running_nginx(cpus=[TARGET_CORE], log=False) as nginx:
        compared = alternate(
            {
                "wrk": attackers.wrk(f"{nginx.url}/1k", seconds),
                "h2load": attackers.h2load(f"{nginx.url}/1k", seconds, "--h1"),
                "hey": attackers.hey(f"{nginx.url}/1k", seconds),
                "loadgen": attackers.loadgen(HERE / "one_get.py", nginx.url, seconds),
            },
            turns,
        )
    bases = ["wrk", "h2load", "hey"]
    return Section(
        "CPU per request of a single GET",
        HOW.format(seconds=seconds, turns=turns, users=USERS),
        compared.head(bases),
        compared.rows(bases),
        tools=["nginx", "wrk", "h2load", "hey"],
    )
