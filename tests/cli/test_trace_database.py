"""`loadgen trace` of a run with probes of a database: what is shown, and that only `--advise` connects to a server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from loadgen.probes.journal import NAME, Journal
from loadgen.probes.postgres.advice import Advice, Candidate, Trial
from loadgen.probes.postgres.statements import StatementKey
from loadgen.probes.reader import NotRead, Tools
from loadgen.probes.spec import ProbeSpec
from loadgen.report.run_as_dataframes import open_run
from loadgen_controller import cli
from loadgen_controller.commands.tracing import index_advice
from tests.support.made_database_side import LEDGER, chain, counters, increase, journal, plan_note, texts, waiter
from tests.support.traced_past_run import RUN_ID, MadeRequest, otlp_document, traced_run

SENT, KNOWN = "SELECT * FROM item WHERE tenant = %s", "SELECT * FROM item WHERE tenant = $1"
PROBE: dict[str, Any] = {
    "name": "shopdb",
    "kind": "postgres",
    "own": {"dsn": "host=127.0.0.1 port=9 dbname=shop user=perf", "password": {"secret": "shopdb-password"}},
}
LINE = "SELECT * FROM item WHERE tenant = $1: +100 % of added database time"


def loadgen(*args: str | Path) -> Result:
    return CliRunner().invoke(cli.app, ["trace", "last", *map(str, args)], env={"COLUMNS": "400"})


def with_statement(one: MadeRequest) -> dict[str, Any]:
    """The trace of a request, whose queries have a statement."""
    document = otlp_document(one)
    for call in document["resourceSpans"][1]["scopeSpans"][0]["spans"][1:]:
        values = {"db.system.name": "postgresql", "db.query.text": SENT}
        call["attributes"] = [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]
    return document


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    run, file = traced_run(tmp_path_factory.mktemp("database"), document=with_statement)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["spec"]["probes"] = [PROBE]
    (run / "manifest.json").write_text(json.dumps(manifest))
    log = Journal(run)
    by = {LEDGER: counters(3_000, 9_000.0)}
    wait = waiter(20.0, statement="SELECT * FROM item WHERE tenant = ?")
    notes = [increase(0, 30, by), texts(KNOWN), plan_note("full scan of 100,000 rows of item"), chain(30, wait)]
    log.append(*journal(*notes))
    log.close()
    return run, file


@pytest.fixture
def traced(made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOADGEN_SECRET_SHOPDB_PASSWORD", "canary")
    return Path(shutil.copytree(made[0], tmp_path / "runs" / RUN_ID)), made[1]


class Server:
    """Stands in for the database: notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Sequence[StatementKey]] = []
        self.why = ""

    async def advise(self, spec: ProbeSpec, tools: Tools, keys: Sequence[StatementKey], _: float) -> tuple[Advice, ...]:
        assert tools.secret("shopdb-password") == "canary"
        self.asked.append(keys)
        if self.why:
            raise NotRead(self.why)
        index = Candidate("public", "item", ("tenant",), (False,))
        return tuple(
            Advice(key.query, KNOWN, 2_435.0, Trial(index, 8.4, "condition", 1 << 20), 100_000, 3) for key in keys
        )


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server()
    monkeypatch.setattr(index_advice, "advise", found.advise)
    return found


def cause(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "cause.json").read_text())
    return found


def test_statement_and_lock_stand_below_the_path_and_no_server_is_contacted(
    traced: tuple[Path, Path], server: Server
) -> None:
    result = loadgen("--file", traced[1])
    assert result.exit_code == 0, result.output
    assert f"{LINE}, 3,000 calls, mean 3.00 ms; full scan of 100,000 rows of item" in result.stdout
    assert "stock: SELECT item of settle is held up by payout (idle in transaction, last statement" in result.stdout
    assert server.asked == []
    document = cause(traced[0])
    assert document["ranked"][0]["statement"]["query_id"] == "-7"
    assert document["locks"][0]["waits"] == 1


def test_report_and_markdown_have_the_same_lines(traced: tuple[Path, Path]) -> None:
    loadgen("--file", traced[1])
    for kind, name in (("html", "r.html"), ("markdown", "r.md")):
        done = CliRunner().invoke(cli.app, ["report", "last", "--format", kind, "-o", name])
        assert done.exit_code == 0, done.output
        text = Path(name).read_text()
        assert "of added database time" in text
        assert "is held up by payout" in text


def test_notebook_has_the_statement_its_part_and_who_held_it_up(traced: tuple[Path, Path]) -> None:
    pytest.importorskip("pandas")
    loadgen("--file", traced[1])
    first = open_run(traced[0]).causes().iloc[0]
    assert (first["statement"], first["statement_share"], first["held_up_by"]) == (KNOWN, 1.0, ("payout",))


def test_advice_on_demand_is_a_hypothesis_and_its_limits_are_shown_before(
    traced: tuple[Path, Path], server: Server
) -> None:
    result = loadgen("--file", traced[1], "--advise")
    assert result.exit_code == 0, result.output
    assert (
        "index advice from shopdb (127.0.0.1:9): one read-only connection each, EXPLAIN without execution; at most 5"
        in (result.stdout)
    )
    assert "index (tenant) of item: cost 2,435 to 8.4 for the generic plan, a hypothesis; 3 statements" in result.stdout
    assert server.asked == [[LEDGER]]
    assert cause(traced[0])["ranked"][0]["statement"]["advice"]["columns"] == ["tenant"]
    assert "canary" not in result.output + (traced[0] / "cause.json").read_text()


def test_a_dry_run_contacts_no_database(traced: tuple[Path, Path], server: Server) -> None:
    result = loadgen("--file", traced[1], "--advise", "--dry-run")
    assert result.exit_code == 0
    assert "index advice from shopdb" in result.stdout
    assert server.asked == []


def test_a_database_that_does_not_answer_leaves_the_other_lines_and_exits_with_3(
    traced: tuple[Path, Path], server: Server
) -> None:
    server.why = "connection refused"
    result = loadgen("--file", traced[1], "--advise")
    assert result.exit_code == 3
    assert LINE in result.stdout
    assert "probe shopdb gave no index advice: connection refused" in result.stderr
    assert cause(traced[0])["ranked"][0]["statement"]["advice"] is None


def test_a_run_without_the_statement_at_the_server_asks_for_no_advice(
    traced: tuple[Path, Path], server: Server
) -> None:
    (traced[0] / NAME).unlink()
    result = loadgen("--file", traced[1], "--advise")
    assert result.exit_code == 0
    assert "no index advice: no ranked path has a statement of a probed database" in result.stdout
    assert server.asked == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probes": []}, "had no probe of PostgreSQL"),
        (
            {"own": {"dsn": "host=db password=hunter2"}},
            "--advise: invalid settings of probe shopdb in the run folder: dsn",
        ),
        ({"own": {"dsn": "host=8.8.8.8"}}, "8.8.8.8:5432 is public"),
        ({"own": {"dsn": "host=169.254.169.254"}}, "never allowed"),
        ({"own": {**PROBE["own"], "password": {"secret": "unset"}}}, 'secret "unset" is not set'),
    ],
)
def test_settings_that_are_missing_wrong_or_not_allowed_are_errors_before_anything_is_read(
    traced: tuple[Path, Path], server: Server, change: dict[str, Any], message: str
) -> None:
    path = traced[0] / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["spec"]["probes"] = change.get("probes", [{**PROBE, **change}])
    path.write_text(json.dumps(manifest))
    result = loadgen("--file", traced[1], "--advise")
    assert result.exit_code == 2
    assert message in result.stderr
    assert "hunter2" not in result.output
    assert not (traced[0] / "cause.json").exists()


def test_a_host_to_allow_without_advice_is_an_error(traced: tuple[Path, Path]) -> None:
    result = loadgen("--file", traced[1], "--i-may-load", "db.example")
    assert result.exit_code == 2
    assert "--i-may-load needs --advise" in result.stderr


def test_a_damaged_journal_of_probes_is_a_note(traced: tuple[Path, Path]) -> None:
    (traced[0] / NAME).write_bytes(b"something else")
    result = loadgen("--file", traced[1])
    assert result.exit_code == 0
    assert "the run's probes were not compared: " in result.stdout
