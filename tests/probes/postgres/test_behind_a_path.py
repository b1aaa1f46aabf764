"""From a slow request to its statement, the lock that held it up, and an index: with a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from loadgen.probes.journal import NoteRecord, Sample, read_journal
from loadgen.probes.running.run_probes import RunProbes
from loadgen.probes.settings import probe_of
from loadgen.probes.spec import ProbeSpec
from loadgen_controller import cli
from tests.probes.postgres.conftest import Database
from tests.support.traced_past_run import MadeRequest, otlp_document, traced_run

pytestmark = pytest.mark.process  # the fixture `database` starts a server


def test_a_slow_request_leads_to_its_statement_the_lock_that_held_it_up_and_an_index(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run and its traces are made up; the probe, the lock, the plan and the advice are real."""
    sent = "UPDATE item SET price = price + %s WHERE tenant = %s"
    run, file = traced_run(tmp_path, document=lambda one: _with_statement(one, sent))
    database.sql(
        "CREATE TABLE item (id int PRIMARY KEY, tenant int, price int);"
        " INSERT INTO item SELECT i, i % 1000, 0 FROM generate_series(1, 60000) i; ANALYZE item"
    )
    spec, _ = probe_of("shopdb", {"kind": "postgres", "dsn": database.dsn(), "every": "200ms"})
    assert spec is not None
    asyncio.run(_held_up(database, spec, run, sent))
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["spec"]["probes"] = [msgspec.to_builtins(spec)]
    (run / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.chdir(tmp_path)

    done = CliRunner().invoke(cli.app, ["trace", "last", "--file", str(file), "--advise"], env={"COLUMNS": "400"})
    causes = json.loads((run / "cause.json").read_text())
    statement, (lock,) = causes["ranked"][0]["statement"], causes["locks"]

    assert done.exit_code == 0, done.output
    assert statement["text"] == "UPDATE item SET price = price + $1 WHERE tenant = $2"
    assert (statement["how"], statement["is_search"], statement["advice"]["columns"]) == (
        "fingerprint",
        True,
        ["tenant"],
    )
    assert statement["plan"][0].startswith("full scan of 60,000 rows of item")
    assert (lock["root"], lock["waiter"], lock["root_state"]) == ("payout", "settle", "idle in transaction")
    assert lock["relation"].endswith("item")
    assert lock["longest_wait_ms"] >= 1_000
    assert 0 < lock["error_ms"] < 60_000
    assert "stock: SELECT item of settle is held up by payout (idle in transaction" in done.stdout
    assert database.sql("SELECT count(*) FROM pg_indexes WHERE tablename = 'item'") == "1"


async def _held_up(database: Database, spec: ProbeSpec, folder: Path, sent: str) -> None:
    """Read a probe while one session holds rows for which another one waits."""
    probes = RunProbes([spec], folder, clock=time.perf_counter_ns, notice=lambda _: None, secret_of=lambda _: None)
    probes.begin()
    with database.session("payout") as payout, database.session("settle") as settle:
        await _until(lambda: any(isinstance(one, Sample) for one in read_journal(folder)))
        probes.start_at(time.perf_counter_ns())
        payout.execute("BEGIN; UPDATE item SET price = 1 WHERE tenant = 5; SELECT 1")
        waits = asyncio.create_task(asyncio.to_thread(settle.execute, sent, (2, 5)))
        await _until(lambda: any(_longest_s(one) >= 1 for one in read_journal(folder) if isinstance(one, NoteRecord)))
        payout.execute("ROLLBACK")
        await waits
    await probes.end()
    probes.cancel()


async def _until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not is_so():
            await asyncio.sleep(0.05)


def _longest_s(note: NoteRecord) -> float:
    waits = [one.get("waits_s", 0.0) for tree in note.body.get("trees", ()) for one in tree["waiters"]]
    return max(waits, default=0.0)


def _with_statement(one: MadeRequest, text: str) -> dict[str, Any]:
    document = otlp_document(one)
    for call in document["resourceSpans"][1]["scopeSpans"][0]["spans"][1:]:
        values = {"db.system.name": "postgresql", "db.query.text": text}
        call["attributes"] = [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]
    return document
