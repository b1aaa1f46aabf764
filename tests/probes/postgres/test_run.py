"""A run with a probe of PostgreSQL: from the settings to the journal, the lanes and the notes."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loadgen.probes.journal import NoteRecord, Sample, ServerClock, read_journal
from loadgen.probes.postgres.statements import added_time, of_body
from loadgen.probes.recorded import Recorded
from loadgen.probes.running.run_probes import RunProbes
from loadgen.probes.settings import ProbeSpec, probe_of
from tests.probes.postgres.conftest import Database

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


async def test_a_run_has_lanes_notes_and_the_statement_that_the_load_added(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A read may take longer than on an idle machine: with a period of 200 ms its limit would be 160 ms.
    monkeypatch.setattr("loadgen.probes.running.one_probe.time_limit_s", lambda _every_ns: 10.0)
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


async def test_without_psycopg_the_probe_does_not_run_and_the_command_that_installs_it_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    notices: list[str] = []
    probes = RunProbes(
        [spec_of("host=127.0.0.1 dbname=shop user=perf")],
        tmp_path,
        clock=time.perf_counter_ns,
        notice=notices.append,
        secret_of=lambda _: None,
    )
    probes.begin()
    await until(lambda: bool(notices))
    await probes.end()
    probes.cancel()

    assert notices[0].startswith("probe shopdb does not run: a probe of PostgreSQL or PgBouncer needs psycopg")
    assert "install the extra `probes`" in notices[0]


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
