"""`loadgen slo new`, `check`, `import` and `export` as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from loadgen.errors import ExitCode
from loadgen_controller import cli
from loadgen_controller.commands.slo_parts import new as new_command

DATA = Path(__file__).parent.parent / "data/slo"
SCENARIO = """from loadgen import Plan, User, arrivals, error_ratio, journey, mean, p

@journey
async def checkout(user: User) -> None:
    async with user.step("pay"):
        await user.http.get("/")

@journey
async def browse(user: User) -> None:
    await user.http.get("/")

plan = Plan(
    target="http://127.0.0.1:8080",
    load=arrivals("10/s").hold("5m"),
    mix={checkout: 1, browse: 1},
    slos=[
        p(99.5, journey=checkout) < "300ms",
        p(95, step="pay", journey=checkout) < "1.5s",
        error_ratio() < "0.1%",
        mean(journey=checkout) < "200ms",
        p(99, window="1m") < "1s",
        p(100, journey=browse) < "5s",
    ],
)
"""


def loadgen(*args: str) -> Result:
    result = CliRunner().invoke(cli.app, list(args), env={"COLUMNS": "400"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_new_file_passes_the_strict_check() -> None:
    made = loadgen("slo", "new", "checkout", "--threshold", "300ms", "--owner", "payments@shop.example")
    assert made.exit_code == ExitCode.PASSED, made.output
    text = Path("slos/checkout.yaml").read_text()
    assert 'le="0.3"' in text
    assert "loadgen.dev/threshold: 300ms" in text
    checked = loadgen("slo", "check", "--strict", "--owners", "--explain")
    assert checked.exit_code == ExitCode.PASSED, checked.output
    assert "99.5 % of requests are good within 300ms, over any 4w" in checked.output
    assert "13.44 / 5.6 / 2.8 / 0.9333" in checked.output


def test_commands_that_write_a_file_return_json_with_its_name_or_its_content() -> None:
    new = json.loads(loadgen("slo", "new", "checkout", "--format", "json").stdout)
    exported = json.loads(loadgen("slo", "export", "--to", "sloth", "--format", "json").stdout)
    imported = json.loads(loadgen("slo", "import", "slos/checkout.yaml", "--format", "json", "-o", "x.yaml").stdout)

    assert (new["file"], new["content"], new["objectives"][0]["target"]) == ("slos/checkout.yaml", None, 0.995)
    assert (exported["file"], yaml.safe_load(exported["content"])["version"]) == (None, "prometheus/v1")
    assert (imported["file"], imported["content"]) == ("x.yaml", None)
    assert Path("x.yaml").read_text() == Path("slos/checkout.yaml").read_text()


def test_new_explains_the_budget_of_a_promise() -> None:
    shown = loadgen("slo", "new", "checkout", "--target", "99.9%", "--explain").stdout

    assert "error budget 1 - 0.999 = 0.1 %: 1000 of 1,000,000 requests" in shown


def test_import_and_export_explain_on_stderr_so_that_stdout_is_the_file() -> None:
    loadgen("slo", "new", "checkout", "--target", "99.5%")
    arithmetic = "error budget 1 - 0.995 = 0.5 %"

    for command in ("import", "export"):
        plain = loadgen("slo", command, "slos/checkout.yaml")
        shown = loadgen("slo", command, "slos/checkout.yaml", "--explain")
        assert (shown.stdout, shown.exit_code) == (plain.stdout, ExitCode.PASSED)
        assert arithmetic in shown.stderr
        assert arithmetic not in plain.stderr
        document = json.loads(loadgen("slo", command, "slos/checkout.yaml", "--explain", "--format", "json").stdout)
        assert document["objectives"][0]["explained"][0].startswith(arithmetic)


def test_new_never_overwrites_a_file() -> None:
    assert loadgen("slo", "new", "checkout").exit_code == ExitCode.PASSED
    before = Path("slos/checkout.yaml").read_bytes()
    again = loadgen("slo", "new", "checkout", "--target", "99%")
    assert again.exit_code == ExitCode.USAGE
    assert Path("slos/checkout.yaml").read_bytes() == before


def test_new_asks_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["99.9%", "", "me@shop.example"])
    monkeypatch.setattr(new_command, "_is_terminal", lambda: True)
    monkeypatch.setattr(new_command, "ask_text_on_stderr", lambda question, default="": next(answers) or default)
    assert loadgen("slo", "new", "refund").exit_code == ExitCode.PASSED
    document = list(yaml.safe_load_all(Path("slos/refund.yaml").read_text()))[1]
    assert document["spec"]["objectives"] == [{"target": 0.999}]
    assert document["metadata"]["annotations"]["loadgen.dev/owner"] == "me@shop.example"
    assert "loadgen.dev/threshold" not in document["metadata"]["annotations"]


def test_all_wrong_options_of_new_are_shown_at_once() -> None:
    result = loadgen("slo", "new", "Ab", "--target", "2", "--window", "1M", "--threshold", "300", "--good", "x")
    assert result.exit_code == ExitCode.USAGE
    for word in ("RFC 1123", "--target", "--window", "has no unit", "--good and --total"):
        assert word in result.output
    assert not Path("slos").exists()


def test_objectives_of_a_scenario_become_promises_with_the_exact_target() -> None:
    Path("shop.py").write_text(SCENARIO)
    result = loadgen("slo", "new", "--from", "shop.py", "--service", "shop", "--owner", "me")
    assert result.exit_code == ExitCode.PASSED, result.output
    documents = list(yaml.safe_load_all(Path("slos/shop.yaml").read_text()))
    found = {
        one["metadata"]["name"]: (
            one["spec"]["objectives"][0]["target"],
            one["metadata"]["annotations"].get("loadgen.dev/threshold"),
            one["metadata"]["annotations"]["loadgen.dev/journey"],
        )
        for one in documents
        if one["kind"] == "SLO"
    }
    assert found == {
        "checkout-p99-5": (0.995, "300ms", "checkout"),
        "checkout-pay-p95": (0.95, "1500ms", "checkout"),
        "checkout-errors": (0.999, None, "checkout"),
        "browse-errors": (0.999, None, "browse"),
    }
    assert "not a share of requests" in result.output
    assert "our windows slide" in result.output
    assert "its target is 1" in result.output
    checked = loadgen("slo", "check", "--strict", "--scenario", "shop.py")
    assert checked.exit_code == ExitCode.PASSED, checked.output


def test_scenario_without_a_promise_is_an_error() -> None:
    Path("shop.py").write_text(SCENARIO[: SCENARIO.index("    slos=[")] + ")\n")
    result = loadgen("slo", "new", "--from", "shop.py")
    assert result.exit_code == ExitCode.USAGE
    assert "no objective that production can promise" in result.output


def test_check_shows_all_faults_with_their_lines_and_notes() -> None:
    result = loadgen("slo", "check", str(DATA / "openslo_budgeting-method_timeslices-slo.yaml"))
    assert result.exit_code == ExitCode.USAGE
    assert "timeslices-slo.yaml:27: a calendar window of 1m" in result.output
    assert "write 1M for months" in result.output
    assert "note:" in result.output


def test_check_with_json_has_faults_notes_and_objectives() -> None:
    path = str(DATA / "openslo_budgeting-method_occurences-slo.yaml")
    result = loadgen("slo", "check", path, "--format", "json")
    assert result.exit_code == ExitCode.PASSED
    document = json.loads(result.stdout)
    assert document["faults"] == []
    assert [note["line"] for note in document["notes"]] == [9, 17, 27, 29]
    assert "a thresholdMetric is a series" in document["objectives"][0]["not_judged"]
    strict = loadgen("slo", "check", path, "--format", "json", "--strict")
    assert strict.exit_code == ExitCode.USAGE
    assert len(json.loads(strict.stdout)["faults"]) == 4


def test_check_of_alert_windows_shows_their_burn() -> None:
    result = loadgen("slo", "check", str(DATA / "sloth_7d.yaml"))
    assert result.exit_code == ExitCode.PASSED, result.output
    assert "for 1w, burn: page-quick 13.44, page-slow 3.5, ticket-quick 1.4, ticket-slow 0.98" in result.output
    document = json.loads(loadgen("slo", "check", str(DATA / "sloth_google-30d.yaml"), "--format", "json").stdout)
    assert list(document["alert_windows"][0]["factors"].values()) == [14.4, 6, 3, 1]


def test_check_of_journeys_events_and_edges() -> None:
    Path("shop.py").write_text(SCENARIO)
    loadgen("slo", "new", "fast", "--threshold", "300ms", "--journey", "chekout", "--target", "99.99%")
    result = loadgen("slo", "check", "--scenario", "shop.py", "--events", "fast=500", "--edges", "0.25,0.5", "--owners")
    assert result.exit_code == ExitCode.USAGE
    for word in ('did you mean "checkout"', "0.05 of a request", "0.25s or 0.5s", "has no owner"):
        assert word in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--events", "fast"], "not a name with a count"),
        (["--edges", "x"], "not a list of seconds"),
        (["--edges", "NaN"], "not a list of seconds"),
        (["--format", "xml"], "--format xml is unknown"),
        (["none.yaml"], "cannot be read"),
        (["--scenario", "none.py"], "none.py"),
    ],
)
def test_wrong_arguments_of_check_are_usage_errors(arguments: list[str], message: str) -> None:
    result = loadgen("slo", "check", *arguments)
    assert result.exit_code == ExitCode.USAGE
    assert message in result.output


def test_folder_without_yaml_and_unknown_events_are_usage_errors() -> None:
    Path("empty").mkdir()
    assert "no YAML file" in loadgen("slo", "check", "empty").output
    loadgen("slo", "new", "fast")
    result = loadgen("slo", "check", "--events", "slow=5")
    assert result.exit_code == ExitCode.USAGE
    assert "no promise is named slow" in result.output


SLOTH = """version: prometheus/v1
service: shop
slos:
  - name: availability
    objective: 99.9
    sli: {events: {error_query: 'e[{{.window}}]', total_query: 't[{{.window}}]'}}
    alerting: {name: Shop, labels: {a: b}}
"""


def test_import_of_sloth_writes_openslo_with_its_period_and_alerts() -> None:
    Path("sloth.yaml").write_text(SLOTH)
    result = loadgen("slo", "import", "sloth.yaml", "--windows", str(DATA / "sloth_7d.yaml"), "-o", "out.yaml")
    assert result.exit_code == ExitCode.PASSED, result.output
    assert "sloth.yaml:7: slos[1].alerting.name is not kept" in result.output
    text = Path("out.yaml").read_text()
    assert "duration: 1w" in text
    assert "threshold: 13.44" in text
    assert loadgen("slo", "check", "out.yaml").exit_code == ExitCode.PASSED
    assert loadgen("slo", "import", "sloth.yaml", "--strict").exit_code == ExitCode.USAGE


def test_import_with_broken_alert_windows_shows_their_faults() -> None:
    Path("sloth.yaml").write_text(SLOTH)
    Path("w.yaml").write_text((DATA / "sloth_7d.yaml").read_text().replace("12.5", "x"))
    result = loadgen("slo", "import", "sloth.yaml", "--windows", "w.yaml")
    assert result.exit_code == ExitCode.USAGE
    assert "w.yaml:11" in result.output


def test_export_is_stable_and_names_each_loss() -> None:
    loadgen("slo", "new", "shop-fast", "--service", "shop", "--threshold", "300ms")
    first = loadgen("slo", "export", "--to", "sloth", "-o", "a.yaml")
    assert first.exit_code == ExitCode.PASSED
    assert "run sloth with --default-slo-period=28d" in first.output
    assert loadgen("slo", "export", "--to", "openslo", "-o", "b.yaml").exit_code == ExitCode.PASSED
    assert loadgen("slo", "export", "b.yaml", "--to", "openslo", "-o", "c.yaml").exit_code == ExitCode.PASSED
    assert Path("b.yaml").read_bytes() == Path("c.yaml").read_bytes()
    strict = loadgen("slo", "export", "--to", "sloth", "--strict", "-o", "d.yaml")
    assert strict.exit_code == ExitCode.USAGE
    assert not Path("d.yaml").exists()


def test_export_shows_what_a_reader_would_refuse() -> None:
    loadgen("slo", "new", "fast", "--window", "30d")
    result = loadgen("slo", "export", "--for", "dash0", "-o", "a.yaml")
    assert "Dash0 supports rolling windows of 28 days only" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "slot"], 'did you mean "sloth"'),
        (["--for", "dash"], "--for dash is unknown"),
        (["--to", "sloth", "--for", "dash0"], "needs --to openslo"),
    ],
)
def test_wrong_arguments_of_export_are_usage_errors(arguments: list[str], message: str) -> None:
    result = loadgen("slo", "export", *arguments)
    assert result.exit_code == ExitCode.USAGE
    assert message in result.output


def test_export_of_what_cannot_be_written_says_so() -> None:
    path = str(DATA / "openslo_budgeting-method_ratio-timeslices.yaml")
    result = loadgen("slo", "export", path, "--to", "sloth")
    assert result.exit_code == ExitCode.USAGE
    assert "sloth supports Occurrences only" in result.output


def test_control_characters_of_files_are_escaped_on_the_terminal() -> None:
    Path("evil.yaml").write_text(
        (DATA / "openslo_budgeting-method_ratio-timeslices.yaml")
        .read_text()
        .replace("main-page\n", '"ma\\e[2Jin\\u202e"\n', 1)
        .replace("service: web-shop", 'service: "web\\e[31m"')
    )
    result = loadgen("slo", "check", "evil.yaml")
    assert result.exit_code == ExitCode.USAGE
    assert "\x1b" not in result.output
    assert "\u202e" not in result.output


def test_export_writes_rules_for_prometheus_and_names_what_they_cannot_say() -> None:
    loadgen("slo", "new", "shop-fast", "--service", "shop", "--threshold", "300ms")
    made = loadgen("slo", "export", "--to", "prometheus", "-o", "rules.yaml")
    assert made.exit_code == ExitCode.PASSED, made.output
    rules = [rule for group in yaml.safe_load(Path("rules.yaml").read_text())["groups"] for rule in group["rules"]]
    assert [rule["labels"]["long_window"] for rule in rules if "alert" in rule] == ["1h", "6h", "1d", "3d"]
    slices = loadgen(
        "slo", "export", str(DATA / "openslo_budgeting-method_ratio-timeslices.yaml"), "--to", "prometheus"
    )
    assert slices.exit_code == ExitCode.USAGE
    assert "main-page: the source: rules support Prometheus only" in slices.output
    assert "no promise can be written for prometheus" in slices.output


def test_check_names_the_time_that_a_page_takes_at_low_traffic() -> None:
    loadgen("slo", "new", "rare", "--target", "99.9%", "--window", "30d")
    quiet = loadgen("slo", "check", "--events", "rare=7200")
    assert quiet.exit_code == ExitCode.PASSED
    assert "at 10 requests/h a full outage pages after some 30 minutes instead of 6" in quiet.output
    assert loadgen("slo", "check", "--events", "rare=7200", "--strict").exit_code == ExitCode.USAGE
    assert "requests/h" not in loadgen("slo", "check", "--events", "rare=7200000").output
