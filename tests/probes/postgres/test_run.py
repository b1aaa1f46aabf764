"""A run with a probe of PostgreSQL: from the settings to the journal, the lanes and the notes."""

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

from loadgen.probes.journal import NoteRecord, Sample, ServerClock, read_journal
from loadgen.probes.postgres.statements import added_time, of_body
from loadgen.probes.recorded import Recorded
from loadgen.probes.running.run_probes import RunProbes
from loadgen.probes.settings import ProbeSpec, probe_of
from loadgen_controller import cli
from tests.probes.postgres.conftest import Database
from tests.support.traced_past_run import MadeRequest, otlp_document, traced_run

pytestmark = pytest.mark.process  # the fixture `database` starts a server


def spec_of(dsn: str, **more: Any) -> ProbeSpec:
    spec, wrong = probe_of("shopdb", {"kind": "postgres", "dsn": dsn, **more})
    assert wrong == []
    assert spec is not None
    return spec


def records(folder: Path, kind: type) -> list[Any]:
    return [record for record in read_journal(folder) if isinstance(record, kind)]


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(120):
        while not is_so():
            await asyncio.sleep(0.05)


async def test_a_run_has_lanes_notes_and_the_statement_that_the_load_added(database: Database, tmp_path: Path) -> None:
    database.sql(
        "CREATE TABLE item (id int, tenant int); INSERT INTO item SELECT i, i % 9 FROM generate_series(1, 9000) i"
    )
    notices: list[str] = []
    probes = RunProbes(
        [spec_of(database.dsn(), every="200ms")],
        tmp_path,
        clock=time.perf_counter_ns,
        notice=notices.append,
        secret_of=lambda _: None,
    )
    probes.begin()
    with database.session() as shop:
        await until(lambda: bool(records(tmp_path, Sample)))
        probes.start_at(t0_ns := time.perf_counter_ns())
        for _ in range(20):
            await asyncio.to_thread(shop.execute, "SELECT count(*) FROM item WHERE tenant = 5")
        shop.execute("BEGIN; SELECT 1")
        await until(lambda: any(one.kind == "sessions" for one in records(tmp_path, NoteRecord)))
        (figures,) = await probes.end()
    probes.cancel()

    notes = records(tmp_path, NoteRecord)
    increases = [of_body(one.body) for one in notes if one.kind == "statements" and "rows" in one.body]
    texts = {row["query_id"]: row for one in notes if one.kind == "statements" for row in one.body.get("texts", ())}
    worst = added_time(increases, t0_ns, time.perf_counter_ns()).rows[0]
    lanes = {lane["metric"] for lane in Recorded(read_journal(tmp_path)).lanes()}

    assert texts[str(worst.key.query)]["text"] == "SELECT count(*) FROM item WHERE tenant = $1"
    assert worst.during.calls == 20
    assert {"connections", "active", "lock_waits"} <= {row["key"] for row in figures["rows"]}
    assert lanes
    assert records(tmp_path, ServerClock)
    assert notices == []


@pytest.mark.parametrize(
    "dsn",
    [
        "host=db dbname=shop user=perf password=hunter2",
        "host=db password='hunter2 with spaces' user=perf",
        "postgresql://perf:hunter2@db/shop",
        "postgresql://perf@db/shop?password=hunter2",
    ],
)
def test_a_password_in_the_dsn_is_refused_without_showing_it(dsn: str) -> None:
    spec, wrong = probe_of("shopdb", {"kind": "postgres", "dsn": dsn})

    assert spec is None
    assert any("secret = " in hint for _, _, hint in wrong)
    assert "hunter2" not in str(wrong)


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
    spec = spec_of(database.dsn(), every="200ms")
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
        await until(lambda: bool(records(folder, Sample)))
        probes.start_at(time.perf_counter_ns())
        payout.execute("BEGIN; UPDATE item SET price = 1 WHERE tenant = 5; SELECT 1")
        waits = asyncio.create_task(asyncio.to_thread(settle.execute, sent, (2, 5)))
        await until(lambda: any(_longest_s(one) >= 1 for one in records(folder, NoteRecord)))
        payout.execute("ROLLBACK")
        await waits
    await probes.end()
    probes.cancel()


def _longest_s(note: NoteRecord) -> float:
    waits = [one.get("waits_s", 0.0) for tree in note.body.get("trees", ()) for one in tree["waiters"]]
    return max(waits, default=0.0)


def _with_statement(one: MadeRequest, text: str) -> dict[str, Any]:
    document = otlp_document(one)
    for call in document["resourceSpans"][1]["scopeSpans"][0]["spans"][1:]:
        values = {"db.system.name": "postgresql", "db.query.text": text}
        call["attributes"] = [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]
    return document
