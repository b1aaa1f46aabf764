"""`loadgen slo pull` and `slo exclude` as a user calls them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner, Result

from loadgen.errors import ExitCode
from loadgen.history.store.write_once_storage import place_of
from loadgen.programme.ledger.exclusions import exclusions
from loadgen.programme.ledger.ledger import Ledger
from loadgen.programme.ledger.slices import Slice
from loadgen_controller import cli
from tests.support.metrics_server import MetricsServer, metrics_server, page_reply
from tests.support.sinks import http_receiver

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
        good: {{metricSource: {{type: Prometheus, spec: {{query: 'sum(rate(shop_bucket{{le="0.3"}}[5m]))'}}}}}}
        total: {{metricSource: {{type: Prometheus, spec: {{query: '{total}'}}}}}}
"""

NOT_JUDGED = """\
apiVersion: openslo/v1
kind: SLO
metadata: {name: p95}
spec:
  service: shop
  budgetingMethod: Occurrences
  timeWindow: [{duration: 4w, isRolling: true}]
  objectives: [{target: 0.99, op: lte, value: 500}]
  indicator:
    metadata: {name: p95}
    spec: {thresholdMetric: {metricSource: {type: Prometheus, spec: {query: p95}}}}
"""


def loadgen(*args: str) -> Result:
    result = CliRunner().invoke(cli.app, list(args), env={"COLUMNS": "400"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    """Counters that grow by 10 good and 11 requests each slice, scraped every 15 s."""
    labels = {"job": "shop", "instance": "shop:80"}

    def answer(connection: Any) -> None:
        parts = urlsplit(found.requests[-1].split(b" ", 2)[1].decode())
        given = {key: values[0] for key, values in parse_qs(parts.query).items()}
        rows: list[dict[str, Any]] = []
        if parts.path.endswith("range"):
            first, last, step = (int(given[key]) for key in ("start", "end", "step"))
            for role, each in (("total", 11), ("good", 10)):
                for part in ("value", "at", "resets", "seen"):
                    values = [
                        [t, str({"value": t // step * each, "at": t - 4, "resets": 0, "seen": 20}[part])]
                        for t in range(first, last + 1, step)
                    ]
                    rows.append({"metric": {**labels, "loadgen_part": f"{role} {part}"}, "values": values})
        else:
            end = int(given["time"])
            rows.append({"metric": labels, "values": [[end - 15 * n, "1"] for n in range(9, 0, -1)]})
        body = {"status": "success", "data": {"resultType": "matrix", "result": rows}}
        connection.sendall(page_reply(json.dumps(body)))

    with metrics_server() as found:
        found.answer = answer
        yield found


def written(url: str, *names: str, total: str = "sum(rate(shop_count[5m]))") -> None:
    Path("slos").mkdir(exist_ok=True)
    for name in names:
        Path(f"slos/{name}.yaml").write_text(PROMISE.format(name=name, source="prod", total=total))
    Path("programme.toml").write_text(f'[sources.prod]\nkind = "prometheus"\nurl = "{url}"\n')


def url_of(server: MetricsServer) -> str:
    return f"http://127.0.0.1:{server.port}"


def test_pull_writes_the_counts_of_each_promise_and_asks_only_once(server: MetricsServer) -> None:
    written(url_of(server), "checkout-fast", "search-fast")

    first = loadgen("slo", "pull", "--from", "2h")
    sent = len(server.requests)
    again = loadgen("slo", "pull", "--from", "2h", "--format", "json")

    assert first.exit_code == ExitCode.PASSED, first.output
    assert "checkout-fast: 2" in first.output
    assert sent == 4
    now = int(time.time())
    found = Ledger.open("history").read(now - 7200, now)
    assert set(found.by_slo) == {"checkout-fast", "search-fast"}
    assert {(one.good, one.total, one.missing_s) for one in found.slices("search-fast")} == {(10, 11, 0)}
    document = json.loads(again.stdout)
    assert document["revisions"] == []
    assert all(one["slices"] <= 3 for one in document["objectives"])


def test_the_plan_shows_calls_and_points_and_sends_nothing(server: MetricsServer) -> None:
    written(url_of(server), *(f"promise-{n}" for n in range(14)))

    shown = loadgen("slo", "pull", "--plan")
    document = json.loads(loadgen("slo", "pull", "--plan", "--format", "json").stdout)

    assert shown.exit_code == ExitCode.PASSED, shown.output
    assert "promise-3: 2 calls, 2,01" in shown.output
    assert "nothing was sent" in shown.output
    assert document["calls"] == 28 <= 60
    assert server.requests == []
    assert not Path("history").exists()


def test_pull_explains_which_slices_are_read_and_shows_the_queries(server: MetricsServer) -> None:
    written(url_of(server), "checkout-fast")
    planned = loadgen("slo", "pull", "--plan", "--explain", "--from", "1h").output
    loadgen("slo", "pull", "--from", "2h")
    again = loadgen("slo", "pull", "--explain", "--from", "1h").output
    document = json.loads(loadgen("slo", "pull", "--plan", "--explain", "--format", "json").stdout)

    assert "the ledger has 0, of which 0 are newer than late = 10m and may still change" in planned
    assert 'good: shop_bucket{le="0.3"}' in planned
    assert "of which 0 are" not in again
    (one,) = document["objectives"]
    assert 0 < one["unsettled"] < one["stored"] < one["wanted"]
    assert one["queries"]["total"] == "shop_count"


@pytest.mark.parametrize(
    ("sources", "says"),
    [
        ('[sources.till]\nkind = "csv"\nfile = "a.csv"\n', "loadgen.dev/source: NAME; NAME is one of till"),
        ("", "loadgen.dev/source: NAME; write [sources.NAME] in programme.toml"),
    ],
)
def test_the_plan_of_a_promise_without_a_source_names_the_sources_that_there_are(sources: str, says: str) -> None:
    Path("programme.toml").write_text(sources)
    loadgen("slo", "new", "checkout")
    assert f"it names no source: write the annotation {says}" in loadgen("slo", "pull", "--plan").output
    loadgen("slo", "new", "refund", "--source", "till")
    assert "refund: it names no source" not in loadgen("slo", "pull", "--plan").output


def test_what_cannot_be_read_is_missing_and_the_exit_code_is_3(server: MetricsServer) -> None:
    written(url_of(server), "checkout-fast")
    server.reply(page_reply("no", "403 Forbidden"))

    result = loadgen("slo", "pull")

    assert result.exit_code == ExitCode.INCOMPLETE
    assert "missing: the server returned http 403: these credentials have no right to read it" in result.output
    assert not Path("history/slis").exists()


def test_a_query_that_is_no_counter_and_an_unknown_source_are_missing_with_a_reason(server: MetricsServer) -> None:
    written(url_of(server), "ratio", total="shop_count / 2")
    Path("slos/other.yaml").write_text(PROMISE.format(name="other", source="nowhere", total="shop_count"))

    result = loadgen("slo", "pull")

    assert result.exit_code == ExitCode.INCOMPLETE
    assert "is not a plain counter" in result.output
    assert "the source nowhere is neither in programme.toml nor a DataSource of the files" in result.output


def test_counts_come_from_a_csv_file_and_a_correction_is_a_revision() -> None:
    written("http://127.0.0.1:9", "checkout-fast")
    Path("programme.toml").write_text('[sources.prod]\nkind = "csv"\nfile = "counts.csv"\n')
    start = (int(time.time()) - 7200) // 300 * 300
    rows = [f"{start + 300 * n},checkout-fast,9,10" for n in range(3)]
    counts = Path("counts.csv")
    counts.write_text("\n".join(["time[unix s],slo,good,total", *rows]))
    first = loadgen("slo", "pull")
    counts.write_text(counts.read_text().replace(",9,10", ",8,10", 1))
    second = loadgen("slo", "pull", "--because", "retries were counted")
    counts.write_text("time,slo\n")
    third = loadgen("slo", "pull")

    assert (first.exit_code, second.exit_code, third.exit_code) == (0, 0, ExitCode.INCOMPLETE), third.output
    assert "-2: retries were counted" in second.output
    assert "missing: counts.csv:1: the header needs each of these columns once" in third.output
    found = Ledger.open("history").read(start, start + 900)
    assert [one.good for one in found.slices("checkout-fast")] == [8, 9, 9]


def test_errors_of_programme_toml_are_named_at_once() -> None:
    written("http://127.0.0.1:9", "checkout-fast")
    Path("programme.toml").write_text(
        '[sources.a]\nkind = "prometheus"\nurl = "http://user:pw@x"\ncolour = "red"\n[sources.B]\nkind = "csv"\n'
        "[decode]\nruns = 3\n[decide]\nruns = 3\n"
    )

    result = loadgen("slo", "pull")

    assert result.exit_code == ExitCode.USAGE
    for text in (
        "unknown key 'colour'",
        "without user, password",
        "[sources.B] has an invalid name",
        "file is missing",
        'programme.toml:7: unknown key "decode"',
    ):
        assert text in result.output
    assert "pw" not in result.output.replace("http or https", "")


def test_a_missing_secret_is_named_before_anything_is_sent(server: MetricsServer) -> None:
    written(url_of(server), "checkout-fast")
    settings = Path("programme.toml")
    settings.write_text(settings.read_text() + 'auth_secret = "prometheus-login"\n')

    result = loadgen("slo", "pull")

    assert result.exit_code == ExitCode.USAGE
    assert "LOADGEN_SECRET_PROMETHEUS_LOGIN" in result.output
    assert server.requests == []


def test_times_in_the_wrong_order_are_an_error() -> None:
    written("http://127.0.0.1:9", "checkout-fast")

    result = loadgen("slo", "pull", "--from", "2026-07-27", "--to", "2026-07-20")

    assert result.exit_code == ExitCode.USAGE
    assert "--from must be before --to" in result.output


def test_an_exclusion_is_recorded_with_its_author_and_reason() -> None:
    result = loadgen(
        *("slo", "exclude", "--from", "2026-07-21T02:00", "--to", "2026-07-21T03:00"),
        *("--because", "maintenance", "--slo", "checkout-fast", "--by", "ada"),
    )

    assert result.exit_code == ExitCode.PASSED, result.output
    ((found,), troubles) = exclusions(place_of("history"))
    assert not troubles
    assert (found.end - found.start, found.because, found.slos, found.by) == (
        3600,
        "maintenance",
        ("checkout-fast",),
        "ada",
    )
    assert "excluded for checkout-fast from 2026-07-21 02:00 UTC to 2026-07-21 03:00 UTC: maintenance" in result.output


def test_an_exclusion_explains_what_it_leaves_out_and_names_a_promise_that_nobody_has() -> None:
    loadgen("slo", "new", "checkout-fast")
    start = int(datetime(2026, 7, 21, 2, tzinfo=UTC).timestamp())
    Ledger.open("history").write("prod", [Slice("checkout-fast", start + 300 * n, 300, 9, 10) for n in range(24)])
    time_of = ("--from", "2026-07-21T02:02", "--to", "2026-07-21T03:00", "--because", "x", "--explain")

    shown = loadgen("slo", "exclude", *time_of, "--slo", "chekout-fast", "--slo", "checkout-fast")
    document = json.loads(loadgen("slo", "exclude", *time_of, "--format", "json").stdout)

    assert "  checkout-fast: 12 slices left out: 12 of 120 requests bad" in shown.output
    assert 'note: no promise in slos is named "chekout-fast"; did you mean "checkout-fast"?' in shown.stderr
    assert document["left_out"] == {"checkout-fast": {"slices": 12, "total": 120, "bad": 12}}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--from", "2h", "--because", " "), "excluding a time needs a reason"),
        (("--from", "90d", "--because", "x"), "at most 31 days"),
        (("--from", "then", "--because", "x"), '--from: invalid time "then"'),
        (("--from", "2h", "--because", "x", "--slo", "a,b"), '--slo: invalid name "a,b"'),
    ],
)
def test_an_exclusion_without_a_reason_or_a_time_is_rejected(options: tuple[str, ...], why: str) -> None:
    result = loadgen("slo", "exclude", *options)

    assert result.exit_code == ExitCode.USAGE
    assert why in result.output
    assert not Path("history").exists()


def counted(name: str, bad: int, hours: int = 1) -> None:
    """Write counts of four weeks until `hours` ago."""
    end = (int(time.time()) - 3600 * hours) // 300 * 300
    slices = [Slice(name, end - 300 * n, 300, 1000 - bad, 1000) for n in range(1, 288 * 29)]
    Ledger.open("history").write("prod", slices)


@pytest.mark.parametrize(
    ("bad", "code", "text"),
    [
        ({"a": 1, "b": 2}, ExitCode.PASSED, "2 of 2 promises kept"),
        ({"a": 1, "b": 9}, ExitCode.FAILED, "b: not kept: 99.10 % against 99.5 %, 4w to "),
        ({"a": 1}, ExitCode.INCOMPLETE, "b: no data: the ledger has no counts of it in this time; run loadgen"),
    ],
)
def test_status_is_0_if_all_are_kept_1_if_one_is_broken_and_3_without_data(
    bad: dict[str, int], code: ExitCode, text: str
) -> None:
    written("http://127.0.0.1:9", "a", "b")
    for name, count in bad.items():
        counted(name, count)

    result = loadgen("slo", "status", "--explain")
    document = json.loads(loadgen("slo", "status", "--format", "json").stdout)

    assert result.exit_code == code, result.output
    assert text in result.output
    assert "owner payments@shop.example" in result.output
    assert [one["slo"] for one in document["promises"]] == ["a", "b"]


def test_status_names_files_of_the_ledger_that_it_cannot_read() -> None:
    written("http://127.0.0.1:9", "a")
    counted("a", 1)
    torn = sorted(Path("history/slis").rglob("*.parquet"))[-2]  # soon after midnight, the last one has only minutes
    torn.write_bytes(b"PAR1")

    result = loadgen("slo", "status")

    assert result.exit_code == ExitCode.INCOMPLETE
    assert f"note: slis/{torn.parent.name}/prod-1.parquet is left out" in result.output


def test_status_is_3_if_the_clock_is_behind_the_ledger() -> None:
    written("http://127.0.0.1:9", "a")
    counted("a", 1)
    Ledger.open("history").write("prod", [Slice("a", (int(time.time()) // 300 + 864) * 300, 300, 0, 1000)])

    result = loadgen("slo", "status")

    assert result.exit_code == ExitCode.INCOMPLETE
    assert "a: kept" in result.output
    assert "note: the ledger has counts of " in result.output


def test_status_as_of_a_time_before_all_revisions_has_no_data() -> None:
    written("http://127.0.0.1:9", "a")
    counted("a", 1)

    result = loadgen("slo", "status", "--as-of", "2026-01-01T00:00Z")
    wrong = loadgen("slo", "status", "--as-of", "soon")

    assert result.exit_code == ExitCode.INCOMPLETE
    assert "a: no data" in result.output
    assert wrong.exit_code == ExitCode.USAGE


def test_texts_of_a_server_are_harmless_in_the_terminal(server: MetricsServer) -> None:
    written(url_of(server), "checkout-fast")
    error = {"status": "error", "errorType": "x\x1b[2J", "error": "\u202e::error::gone\r\n\x07"}
    server.reply(page_reply(json.dumps(error), "422 Unprocessable"))

    result = loadgen("slo", "pull")
    excluded = loadgen("slo", "exclude", "--from", "2h", "--because", "it\x1b[2J\n::error::x")

    assert result.exit_code == ExitCode.INCOMPLETE
    for text in (result.output, excluded.output):
        assert not set("\x1b\u202e\x07\r") & set(text)
        assert "\n::" not in text


def test_status_notify_sends_a_change_once_and_never_changes_the_exit_code() -> None:
    written("http://127.0.0.1:9", "a")
    counted("a", 200)
    Path("programme.toml").write_text('[publish]\nchannels = ["team"]\n')
    with http_receiver(status=404) as receiver:
        Path("loadgen.toml").write_text(f'[notify.team]\nkind = "webhook"\nurl = "{receiver.url}"\n')
        refused = loadgen("slo", "status", "--notify")
        receiver.status = 204
        sent = loadgen("slo", "status", "--notify", "--format", "json")
        again = loadgen("slo", "status", "--notify")

    assert [one.exit_code for one in (refused, sent, again)] == [ExitCode.FAILED] * 3
    assert "note: 1 change of promises not sent to team: the server answers http 404 (tries: 1)" in refused.output
    assert "note: 1 change of promises sent to team" in sent.output
    assert "note:" not in again.output
    bodies = [json.loads(got.body) for got in receiver.got]
    assert [body["type"] for body in bodies] == ["status", "status"]
    assert bodies[0]["id"] == bodies[1]["id"]
    assert bodies[0]["events"][0]["rows"][0].startswith("a: not kept: ")


def test_all_that_notify_lacks_is_reported_at_once() -> None:
    written("http://127.0.0.1:9", "a")
    Path("programme.toml").write_text('[publish]\nto = "out"\n')

    result = loadgen("slo", "status", "--notify", "--as-of", "2026-07-27")

    assert result.exit_code == ExitCode.USAGE
    assert "--notify and --as-of exclude each other" in result.output
    assert "no channel of [publish] sends the event status" in result.output


def test_a_promise_of_a_kind_that_is_not_judged_is_shown_and_does_not_fail_cron_for_ever() -> None:
    written("http://127.0.0.1:9", "a")
    counted("a", 1)
    Path("slos/p95.yaml").write_text(NOT_JUDGED)

    result = loadgen("slo", "status")
    Path("slos/a.yaml").unlink()
    alone = loadgen("slo", "status")

    assert result.exit_code == ExitCode.PASSED, result.output
    assert "p95: not judged: a thresholdMetric is a series of values" in result.output
    assert "1 of 1 promise kept, 1 not judged" in result.output
    assert alone.exit_code == ExitCode.INCOMPLETE


def test_a_kept_promise_that_burns_counts_as_kept_and_is_no_pass() -> None:
    written("http://127.0.0.1:9", "a")
    end = (int(time.time()) - 3600) // 300 * 300
    slices = [Slice("a", end - 300 * n, 300, 900 if n < 25 else 1000, 1000) for n in range(1, 288 * 29)]
    Ledger.open("history").write("prod", slices)

    result = loadgen("slo", "status")

    assert result.exit_code == ExitCode.FAILED, result.output
    assert "a: kept, but its budget burns: " in result.output
    assert "1 of 1 promise kept, 1 budget burns" in result.output


def test_a_pull_of_many_days_shows_their_revisions_as_one_line(tmp_path: Path) -> None:
    written("http://127.0.0.1:9", "a")
    Path("programme.toml").write_text('[sources.prod]\nkind = "csv"\nfile = "counts.csv"\n')
    end = int(time.time()) // 300 * 300
    rows = "".join(f"{start},a,9,10\n" for start in range(end - 4 * 86_400, end, 300))
    Path("counts.csv").write_text(f"time[unix s],slo,good,total\n{rows}")

    lines = loadgen("slo", "pull", "--from", "4d").output.splitlines()

    assert len(lines) == 2
    assert lines[1].endswith("/prod-1, 5 revisions: first data")


@pytest.mark.parametrize(
    "command",
    [
        ("slo", "status", "--as-of", "0001-01-01"),
        ("slo", "anomaly", "list", "--as-of", "9999-12-31T23:59Z"),
        ("decide", "checkout", "--release", "v1", "--as-of", "9999-12-31T23:59Z"),
        ("slo", "pull", "--plan", "--from", "0001-01-01"),
        ("slo", "exclude", "--from", "0001-01-01", "--to", "0001-01-02", "--because", "x"),
    ],
)
def test_times_at_the_ends_of_the_calendar_are_usage_errors(command: tuple[str, ...]) -> None:
    loadgen("slo", "new", "checkout")
    done = loadgen(*command)
    assert done.exit_code == ExitCode.USAGE, done.output
    assert ": must be from 2000 to 2999" in done.output
