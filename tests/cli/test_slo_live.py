"""`loadgen slo check --live`, and pulls from Datadog, as a user calls them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner, Result

from loadgen.errors import ExitCode
from loadgen.programme.ledger.ledger import Ledger
from loadgen_controller import cli
from loadgen_controller.commands.slo_parts import pull
from tests.support.metrics_server import MetricsServer, metrics_server, page_reply

KEYS = {"LOADGEN_SECRET_DD_API": "hunter2-api", "LOADGEN_SECRET_DD_APP": "hunter2-app"}
PROMISE = """apiVersion: openslo/v1
kind: SLO
metadata:
  name: {name}
  annotations: {{loadgen.dev/owner: payments@shop.example, loadgen.dev/source: {source}}}
spec:
  service: checkout
  budgetingMethod: Occurrences
  timeWindow: [{{duration: 4w, isRolling: true}}]
  objectives: [{{target: 0.995}}]
  indicator:
    metadata: {{name: ratio}}
    spec:
      ratioMetric:
        counter: true
        good: {{metricSource: {{type: {type}, spec: {{query: '{good}'}}}}}}
        total: {{metricSource: {{type: {type}, spec: {{query: '{total}'}}}}}}
"""


def loadgen(*args: str, keys: bool = True) -> Result:
    result = CliRunner().invoke(cli.app, list(args), env={"COLUMNS": "400", **(KEYS if keys else {})})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert "hunter2" not in result.output
    return result


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("loadgen.programme.sources.http_calls._BACKOFF_S", 0.0)
    monkeypatch.setattr("loadgen.dsl.secret._values", {})


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    """A Datadog with 10 good of 11 requests in each slice, and a Prometheus without any series."""

    def answer(connection: Any) -> None:
        parts = urlsplit(found.requests[-1].split(b" ", 2)[1].decode())
        given = {key: values[0] for key, values in parse_qs(parts.query).items()}
        if "from" not in given:
            empty = {"status": "success", "data": {"resultType": "matrix", "result": []}}
            connection.sendall(page_reply(json.dumps(empty)))
            return
        starts = range(int(given["from"]), int(given["to"]), 300)
        counts = (7, 6) if "!client:loadgen" in given["query"] else (11, 10)
        series = [
            {"interval": 300, "query_index": n, "pointlist": [[at * 1000, value] for at in starts]}
            for n, value in enumerate(counts)
        ]
        connection.sendall(page_reply(json.dumps({"status": "ok", "series": series})))

    with metrics_server() as found:
        found.answer = answer
        yield found


def written(server: MetricsServer, *names: str, source: str = "dd", type_: str = "Datadog", query: str = "") -> None:
    Path("slos").mkdir(exist_ok=True)
    query = query or "sum:shop.hits{service:shop}.as_count()"
    for name in names:
        text = PROMISE.format(name=name, source=source, type=type_, good=query.replace("hits", "ok"), total=query)
        Path(f"slos/{name}.yaml").write_text(text)
    url = f"http://127.0.0.1:{server.port}"
    Path("programme.toml").write_text(
        f'[sources.dd]\nkind = "datadog"\nurl = "{url}"\napi_key_secret = "dd-api"\napplication_key_secret = "dd-app"\n'
        f'[sources.prod]\nkind = "prometheus"\nurl = "{url}"\n'
    )


def test_live_reports_each_promise_and_fails_where_one_has_no_data(server: MetricsServer) -> None:
    written(server, "prom", source="prod", type_="Prometheus", query='shop_hits_total{code="200"}')
    written(server, "any", type_="Any")
    written(server, "checkout-fast")

    result = loadgen("slo", "check", "--live")
    document = json.loads(loadgen("slo", "check", "--live", "--format", "json").stdout)

    assert result.exit_code == ExitCode.FAILED, result.output
    assert "checkout-fast: dd has 12 slices of 12: 120 of 132 requests were good" in result.output
    assert "any: was not asked\n  failed: its metricSource has the type Any, so no source can be asked" in result.output
    assert "prom: prod answers, and has no counts\n  failed: no series is shop_hits_total" in result.output
    assert "3 promises asked with 2 calls, 2 failed; nothing was stored" in result.output
    assert not Path("history").exists()
    assert {one["slo"]: one["is_reached"] for one in document["live"]} == {
        "any": None,
        "checkout-fast": True,
        "prom": True,
    }


def test_live_asks_no_more_promises_than_its_calls_allow(server: MetricsServer) -> None:
    written(server, "a", "b", "c")

    result = loadgen("slo", "check", "--live", "--calls", "2")

    assert result.exit_code == ExitCode.FAILED
    assert "c: was not asked\n  failed: 2 calls were sent, and it needs 1 more: raise the limit of 2" in result.output
    assert len(server.requests) == 2


def test_live_shows_how_many_requests_of_load_tests_the_condition_leaves_out(server: MetricsServer) -> None:
    written(server, "a", "b")
    path = Path("programme.toml")
    path.write_text(path.read_text().replace("[sources.prod]", 'load_tests = "!client:loadgen"\n[sources.prod]'))

    result = loadgen("slo", "check", "--live")
    few = loadgen("slo", "check", "--live", "--calls", "3")
    path.write_text(path.read_text().replace("!client:loadgen", "!client:other"))
    nothing = loadgen("slo", "check", "--live", "--format", "json")

    assert "a: dd has 12 slices of 12: 72 of 84 requests were good\n" in result.output
    assert result.output.count("  note: load_tests leaves 48 of 132 requests out") == 2
    assert "2 promises asked with 4 calls, 0 failed" in result.output
    # The comparison takes only calls that are left, so it makes no promise fail.
    assert few.exit_code == ExitCode.PASSED
    assert few.output.count("load_tests leaves 48") == 1
    (first, _) = json.loads(nothing.stdout)["live"]
    assert first["left_out"] == 0
    assert first["notes"] == [
        "load_tests leaves nothing out: no load test ran in this time, or its requests do not have the mark"
    ]


def test_live_names_all_missing_secrets_and_sends_nothing(server: MetricsServer) -> None:
    written(server, "a")

    result = loadgen("slo", "check", "--live", keys=False)

    assert result.exit_code == ExitCode.USAGE
    assert "LOADGEN_SECRET_DD_API" in result.output
    assert "LOADGEN_SECRET_DD_APP" in result.output
    assert server.requests == []


def test_live_asks_nothing_when_a_file_has_a_fault(server: MetricsServer) -> None:
    written(server, "a")
    path = Path("slos/a.yaml")
    path.write_text(path.read_text().replace("0.995", "1.5"))

    assert loadgen("slo", "check", "--live").exit_code == ExitCode.USAGE
    assert loadgen("slo", "check", "--calls", "0").exit_code == ExitCode.USAGE
    assert server.requests == []


def test_fourteen_promises_need_28_calls_to_datadog_and_known_slices_none(
    server: MetricsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)

    class _Standing(datetime):
        """A clock that no slice ends on between two commands."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return now

    monkeypatch.setattr(pull, "datetime", _Standing)
    written(server, *(f"promise-{n}" for n in range(14)))

    shown = loadgen("slo", "pull", "--plan")
    sent = len(server.requests)
    first = loadgen("slo", "pull", "slos/promise-0.yaml", "--from", "6d")
    calls = len(server.requests)
    again = json.loads(loadgen("slo", "pull", "slos/promise-0.yaml", "--from", "6d", "--format", "json").stdout)

    assert "28 calls, and one more for each range of a promise with sloId; nothing was sent" in shown.output
    assert sent == 0
    assert first.exit_code == ExitCode.PASSED, first.output
    assert calls == 2
    assert again["revisions"] == []
    # Only what may still change is asked for again: 15 minutes.
    assert all(one["slices"] <= 4 for one in again["objectives"])


def test_a_pull_that_failed_in_the_middle_goes_on_where_it_ended(server: MetricsServer) -> None:
    written(server, "checkout-fast")
    whole = server.answer
    server.answer = lambda connection: (
        whole(connection)
        if len(server.requests) == 1
        else connection.sendall(page_reply("no", "500 Internal Server Error", "Connection: close\r\n"))
    )

    first = loadgen("slo", "pull")
    server.answer, server.requests = whole, []
    second = loadgen("slo", "pull")

    assert first.exit_code == ExitCode.INCOMPLETE
    assert "1,500 slices read" in first.output
    assert "missing: the server returned http 500" in first.output
    assert second.exit_code == ExitCode.PASSED
    assert len(server.requests) == 1
    now = int(time.time())
    assert len(Ledger.open("history").read(now - 7 * 86_400, now).slices("checkout-fast")) >= 2014
