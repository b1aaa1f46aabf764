"""The demo shop on PostgreSQL, behind PgBouncer and Varnish, loaded while probes read the database.

    with database_stack() as stack:
        run = stack.run(folder, "items", rate=40)
        run.statements()[0]

One stack serves many runs: a run begins with the faults that its case sets, and ends without any.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from loadgen import open_run
from loadgen.probes.journal import NoteRecord, read_journal
from loadgen.probes.postgres.advice import Advice
from loadgen.probes.postgres.advise import advise
from loadgen.probes.postgres.statements import StatementKey
from loadgen.probes.postgres.summary import ChainLine, StatementLine, chain_lines, statements_summary
from loadgen.probes.reader import Tools
from loadgen.probes.recorded import Recorded
from loadgen.probes.spec import ProbeSpec
from tests.support.pgbouncer_server import PgBouncer, running_pgbouncer
from tests.support.postgres_server import PostgresServer, running_postgres
from tests.support.quiet import undisturbed
from tests.support.run import Finished, loadgen
from tests.support.target import RunningTarget, running_target
from tests.support.varnish_server import Varnish, running_varnish

__all__ = ["DatabaseRun", "Stack", "change", "database_stack"]

_SCENARIO: Final = '''
"""Items and batches of the demo shop."""

from loadgen import Plan, User, arrivals, journey, p


@journey
async def items(user: User) -> None:
    await user.http.get(f"/items?tenant={{1 + user.arrival * 7 % {tenants}}}", name="items", expect=200)


@journey
async def batch(user: User) -> None:
    await user.http.post("/ach", name="batch", expect=201)


plan = Plan(
    target="{target}",
    load=arrivals("{rate}/s").poisson(seed={seed}).hold("{seconds}s"),
    mix={{{mix}}},
    random=True,
    tags=["cache"],
    slos=[{slos}],
    timeout="10s",
    drain="6s",
    seed={seed},
)
'''
_SETTINGS: Final = """
[probes.shopdb]
kind = "postgres"
dsn = "host=127.0.0.1 port={database} dbname=postgres user=postgres"

[probes.pool]
kind = "pgbouncer"
dsn = "host=127.0.0.1 port={bouncer} user=pgbouncer"
"""


@dataclass(frozen=True, slots=True)
class DatabaseRun:
    """A finished run with its probes."""

    done: Finished
    port: int
    """The port of PostgreSQL."""

    def statements(self) -> tuple[StatementLine, ...]:
        """Return the statements by added time, as reports have them, the worst first."""
        notes, t0_ns, end_ns = self._notes()
        return statements_summary(notes, t0_ns, end_ns).lines

    def chains(self) -> tuple[ChainLine, ...]:
        """Return the lock chains, those with the most waiting first."""
        return chain_lines(*self._notes())

    def pool_values(self, metric: str) -> list[float]:
        """Return the values of one metric of PgBouncer's probe during the load."""
        frame = open_run(self.done.folder).probes()
        mine = frame[(frame.probe == "pool") & (frame.metric == metric) & (frame.at_s >= 0)]
        return [float(one) for one in mine.value.dropna()]

    def p95_ms(self, request: str) -> float:
        """Return p95 of the response time of a request."""
        return float(self.done.row("request", request=request)["response_ms"]["p95"])

    def _notes(self) -> tuple[list[NoteRecord], int, int]:
        """Return the notes of PostgreSQL's probe, T0, and the time of the last one."""
        recorded = Recorded(read_journal(self.done.folder))
        (state,) = (one for one in recorded.probes.values() if one.probe.name == "shopdb")
        assert recorded.t0_ns is not None
        return state.notes, recorded.t0_ns, max((note.at_ns for note in state.notes), default=0)

    def advice(self, *keys: StatementKey) -> tuple[Advice, ...]:
        """Ask for index advice on statements, as the option --advise does."""
        spec = ProbeSpec(
            kind="postgres",
            name="shopdb",
            every_ns=10**9,
            own={"dsn": f"host=127.0.0.1 port={self.port} dbname=postgres user=postgres"},
        )
        return asyncio.run(advise(spec, Tools(time.perf_counter_ns, lambda _: None), keys))

    def results(self, from_s: float = 0.0, to_s: float = 1e9) -> dict[str, int]:
        """Return the requests for items by result of the caches, of a part of the run."""
        frame = open_run(self.done.folder).frame(1.0, tags=True)
        mine = frame[(frame.request == "items") & (frame.tags != "") & (frame.at_s >= from_s) & (frame.at_s < to_s)]
        return {str(tags).partition("=")[2]: int(part["count"].sum()) for tags, part in mine.groupby("tags")}


@dataclass(frozen=True, slots=True)
class Stack:
    """All servers. shop uses PostgreSQL, pooled the same one through PgBouncer; varnish is in front of shop."""

    postgres: PostgresServer
    bouncer: PgBouncer
    shop: RunningTarget
    pooled: RunningTarget
    varnish: Varnish

    def run(
        self,
        folder: Path,
        *,
        by: str = "shop",
        tenants: int = 200,
        mix: str = "items: 4, batch: 1",
        slos: str = 'p(95, request="items") < "5s"',
        rate: int = 50,
        seconds: int = 12,
        seed: int = 1,
        **faults: Any,
    ) -> DatabaseRun:
        """Load the shop with these faults on, and switch them off.

        by: "shop", "pooled" (the shop whose database is PgBouncer) or "varnish". tenants: the number of different URLs
        of items. faults: as `PUT /database` takes them.
        """
        shop = self.pooled if by == "pooled" else self.shop
        target = {"shop": self.shop.url, "pooled": self.pooled.url, "varnish": self.varnish.url}[by]
        values: dict[str, Any] = {"mix": mix, "slos": slos, "rate": rate, "seconds": seconds, "seed": seed}
        text = _SCENARIO.format(target=target, tenants=tenants, **values)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "shop_run.py").write_text(text, encoding="utf-8")
        settings = _SETTINGS.format(database=self.postgres.port, bouncer=self.bouncer.port)
        (folder / "loadgen.toml").write_text(settings, encoding="utf-8")
        self.postgres.sql("SELECT pg_stat_statements_reset()")
        shop.reset()
        change(shop, **faults)
        try:
            with undisturbed():
                done = loadgen("run", str(folder / "shop_run.py"), "--quiet", runs_dir=folder / "runs")
        finally:
            change(shop, **{name: False if name == "missing_index" else 0 for name in faults})
        assert done.exit_code in (0, 1, 4), done.out + done.err
        return DatabaseRun(done, self.postgres.port)

    def empty_cache_when(self, asked: int, after_s: float) -> threading.Thread:
        """Empty Varnish once the shop has received so many requests for items, and some seconds have passed.

        Returns the thread that does so; it ends by itself. Reset the shop before.
        """

        def empty() -> None:
            until = time.monotonic() + 120
            while self.items_asked() < asked and time.monotonic() < until:
                time.sleep(0.05)
            time.sleep(after_s)
            self.varnish.empty()

        thread = threading.Thread(target=empty, name="empties the cache")
        thread.start()
        return thread

    def items_asked(self) -> int:
        """Return how many requests for items the shop has received since its run began."""
        return int(self.shop.stats()["by_route"].get("GET /items", 0))


def change(shop: RunningTarget, **faults: Any) -> None:
    """Change the faults of a running shop."""
    if faults:
        httpx.put(f"{shop.url}/database", json=faults, timeout=60).raise_for_status()


@contextlib.contextmanager
def database_stack(bouncer_pool: int = 2) -> Iterator[Stack]:
    """Start all servers."""
    with contextlib.ExitStack() as stack:
        postgres = stack.enter_context(running_postgres())
        postgres.sql("CREATE EXTENSION pg_stat_statements")
        postgres.sql("CREATE EXTENSION hypopg")
        bouncer = stack.enter_context(running_pgbouncer(postgres.port, pool_size=bouncer_pool))
        shop = stack.enter_context(running_target("--database", postgres.url(), "--pool-size", "20"))
        pooled = stack.enter_context(
            running_target("--database", bouncer.url(), "--no-prepared-statements", "--pool-size", "20")
        )
        varnish = stack.enter_context(running_varnish(int(shop.url.rpartition(":")[2])))
        yield Stack(postgres, bouncer, shop, pooled, varnish)
