"""The story of the two pools on real processes: PostgreSQL, a collector, the demo shop, and scenarios/ach.py.

with two_pools(tmp_path) as story:
    found = story.sweep("a")            # result.json of `loadgen sweep`
    run = story.run("ach.py:shifts", settle=8, payout=8, seconds=200)
    story.cause(run)                    # what `loadgen trace` says
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.support.database_run import change
from tests.support.postgres_server import PostgresServer, running_postgres
from tests.support.quiet import undisturbed
from tests.support.run import Finished, loadgen
from tests.support.target import RunningTarget, running_target
from tests.support.traced_shop.own_collector import own_collector, write_settings

__all__ = ["POOLS", "TwoPools", "two_pools"]

SCENARIO: Final = Path(__file__).parents[2] / "scenarios" / "ach.py"
POOLS: Final = ("-P", "settle=0,8", "-P", "payout=0,8")
_PROBE: Final = """
[probes.shopdb]
kind = "postgres"
dsn = "{dsn}"
"""


@dataclass(frozen=True, slots=True)
class TwoPools:
    """The running servers, and the folder with the scenario and its settings."""

    folder: Path
    shop: RunningTarget
    postgres: PostgresServer

    def change(self, **faults: Any) -> None:
        """Change the shop: settle, payout, shared_lock."""
        change(self.shop, **faults)

    def sweep(self, name: str, *options: str, seconds: float = 10) -> Mapping[str, Any]:
        """Sweep both pools over 0 and 8 workers, and return the result as JSON. name: of its folder."""
        where = (
            "--target",
            self.shop.url,
            "--output",
            str(self.folder / name),
            "--json",
            str(self.folder / f"{name}.json"),
        )
        done = self._loadgen("sweep", "ach.py", *POOLS, "--set", f"seconds={seconds}", *where, "--yes", *options)
        assert done.exit_code in (0, 3), done.out + done.err
        found: Mapping[str, Any] = json.loads((self.folder / f"{name}.json").read_text())
        return found

    def run(self, plan: str, name: str, **params: float) -> Finished:
        """Run a plan with these parameters; name: of the folder of its run."""
        given = [part for key, value in params.items() for part in ("-P", f"{key}={value}")]
        done = self._loadgen("run", plan, *given, "--target", self.shop.url, "--quiet", runs=name)
        assert done.exit_code in (0, 1, 4), done.out + done.err
        return done

    def rerun(self, run: Finished, name: str, *options: str) -> Finished:
        """Repeat a run with these options."""
        where = ("--runs-dir", str(self.folder / name))
        done = self._loadgen("runs", "rerun", str(run.folder), *options, *where, runs=name)
        assert done.exit_code in (0, 1, 4), done.out + done.err
        return done

    def trace(self, run: Path, *options: str) -> Finished:
        """Return the finished `loadgen trace`."""
        return self._loadgen("trace", str(run), *options)

    def _loadgen(self, *args: str, runs: str = "runs") -> Finished:
        with contextlib.chdir(self.folder), undisturbed():
            return loadgen(*args, runs_dir=self.folder / runs, env={"COLUMNS": "200"}, timeout_s=1_200)


@contextlib.contextmanager
def two_pools(folder: Path) -> Iterator[TwoPools]:
    """Start all servers, and write scenario and settings into the folder."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(undisturbed())
        postgres = stack.enter_context(running_postgres())
        postgres.sql("CREATE EXTENSION pg_stat_statements")
        collector = stack.enter_context(own_collector())
        options = ("--database", postgres.url(), "--pool-size", "20", "--spans", collector)
        shop = stack.enter_context(running_target(*options))
        shutil.copy(SCENARIO, folder / "ach.py")
        write_settings(folder, collector)
        with (folder / "loadgen.toml").open("a", encoding="utf-8") as file:
            file.write(_PROBE.format(dsn=postgres.dsn()))
        yield TwoPools(folder, shop, postgres)
