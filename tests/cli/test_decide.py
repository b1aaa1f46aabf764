"""`loadgen decide`: its exit codes, its formats, and what it records."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loadgen.errors import ExitCode
from loadgen.history.gate.aa_test_health import CONTROL
from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Event, ObjectiveVerdict
from loadgen.programme.ledger.ledger import Ledger
from loadgen.programme.ledger.slices import Slice
from loadgen_controller import cli
from tests.support.accepted import KEY, history

PROGRAMME = """[journeys.checkout]
live = false
forecast = {low = "300/s", high = "360/s", until = 2999-12-31}

[sources.prod]
kind = "prometheus"
url = "http://prometheus.test:9090"
"""


def decide(*options: str) -> Result:
    return CliRunner().invoke(cli.app, ["decide", "checkout", "--release", "v412", "--store", "history", *options])


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history with all evidence for a GO of v412. Each test gets a copy."""
    path = tmp_path_factory.mktemp("decide") / "history"
    store, now = Store.open(str(path)), datetime.now(UTC)
    old = history(12, {"checkout": 100.0}, sd=0.005)
    passed = (ObjectiveVerdict("p(99) < 300ms", "passed", "checkout"),)
    new = [
        replace(run, labels={"release": "v412"}, objectives=passed)
        for run in history(3, {"checkout": 100.0}, sd=0.005, seed=2, first=12)
    ]
    for run in (*old, *new):
        store.add(run)
    store.pin([run.run_id for run in old[:3]], "1.4")
    details = {"key": KEY.hash(), "detectable": "0.03", "history": "12", "outcome": "PASS"}
    store.note(Event("verdict", "", "ci", tuple(run.run_id for run in new), details=details))
    for n in range(12):
        store.note(Event(CONTROL, (now - timedelta(days=n)).isoformat(), details=details))
    facts = {"low_per_s": 500.0, "high_per_s": 550.0, "release": "v412", "scenario": "shop.py", "plan": "plan"}
    store.add_study({"kind": "capacity find", "facts": facts})
    return path


@pytest.fixture
def folder(evidence: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose history has all evidence for a GO of v412."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "programme.toml").write_text(PROGRAMME)
    shutil.copytree(evidence, tmp_path / "history")
    return tmp_path


def test_a_release_with_all_evidence_is_a_go_and_is_recorded(folder: Path) -> None:
    found = decide()

    assert found.exit_code == 0, found.output
    assert "GO (exit code 0) for v412 of checkout" in found.output
    assert "C-1" in found.output
    assert "Recorded as D-1." in found.output
    assert [one.details["recommendation"] for one in Store.open("history").events("recommended")] == ["GO"]


def test_the_terminal_shows_each_missing_command_in_full(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    (folder / "programme.toml").unlink()
    missing = json.loads(decide("--format", "json", "--no-record").stdout)["missing"]

    shown = " ".join(decide("--no-record").output.split())

    assert missing
    assert [one for one in missing if f"min {one['why']} {one['command']}" not in shown] == []


def test_json_has_recommendation_evidence_and_missing(folder: Path) -> None:
    (folder / "programme.toml").unlink()

    found = decide("--format", "json", "--no-record")
    document = json.loads(found.stdout)

    assert found.exit_code == 3
    assert document["recommendation"] == "INCONCLUSIVE"
    assert {"kind", "id", "state", "says"} <= set(document["evidence"][0])
    assert all({"command", "minutes"} <= set(one) for one in document["missing"])
    assert [one["minutes"] for one in document["missing"]] == sorted(one["minutes"] for one in document["missing"])
    states = {one["kind"]: one["state"] for one in document["evidence"]}
    assert states["promise"] == states["headroom"] == "open"
    assert Store.open("history").events("recommended") == []


def test_as_of_an_earlier_time_nothing_that_was_recorded_later_counts_and_nothing_is_recorded(folder: Path) -> None:
    then = datetime.now(UTC)
    store = Store.open("history")
    ids = tuple(run.run_id for run in store.runs_with_label("release", "v412"))
    later = (then + timedelta(seconds=1)).isoformat()
    store.note(Event("verdict", later, "ci", ids, details={"outcome": "FAIL", "reasons": "p95 is 11 % slower"}))

    now = decide("--no-record")
    before = decide("--as-of", then.isoformat(), "--page", "launch.html")
    long_ago = json.loads(decide("--as-of", "2020-01-01", "--format", "json").stdout)

    assert (now.exit_code, before.exit_code) == (1, 0), before.output
    assert f"As it was known at {then:%Y-%m-%d %H:%M} UTC. Not recorded." in before.output
    assert (long_ago["recommendation"], long_ago["exit_code"], long_ago["id"]) == ("INCONCLUSIVE", 4, None)
    assert Store.open("history").events("recommended") == []


def test_slips_of_journeys_are_named_together_and_nothing_is_recorded(folder: Path) -> None:
    asked = ("decide", "chekout", "checkuot", "refund", "--release", "v412", "--store", "history")
    found = CliRunner().invoke(cli.app, list(asked), env={"COLUMNS": "300"})

    assert found.exit_code == 2
    for name in ("chekout", "checkuot"):
        assert f'no promise, no run of v412 and no programme.toml has the journey "{name}"' in found.output
    assert 'did you mean "checkout"?' in found.output
    assert '"refund"' not in found.output  # it resembles nothing, so its missing evidence is the answer
    assert Store.open("history").events("recommended") == []


def test_an_answer_takes_no_as_of(folder: Path) -> None:
    found = CliRunner().invoke(
        cli.app, ["decide", "--sign", "D-1", "--by", "jo", "--store", "history", "--as-of", "2026-07-27T06:00Z"]
    )
    assert found.exit_code == 2
    assert "--as-of: only for a recommendation" in found.output


def test_markdown_has_the_table(folder: Path) -> None:
    found = decide("--format", "markdown")

    assert found.exit_code == 0, found.output
    assert "| evidence |" in found.stdout


def test_a_fail_of_the_gate_is_a_no_go(folder: Path) -> None:
    store = Store.open("history")
    ids = tuple(run.run_id for run in store.runs_with_label("release", "v412"))
    store.note(Event("verdict", "", "ci", ids, details={"outcome": "FAIL", "reasons": "p95 is 11 % slower"}))

    found = decide()

    assert found.exit_code == 1
    assert "NO-GO (exit code 1)" in found.output
    assert "p95 is 11 % slower" in found.output


def test_an_unknown_release_has_nothing_to_judge(folder: Path) -> None:
    found = CliRunner().invoke(cli.app, ["decide", "checkout", "--release", "v999", "--store", "history"])

    assert found.exit_code == 4
    assert "no valid run of it was found" in found.output


def test_a_folder_that_cannot_be_read_keeps_from_go(folder: Path) -> None:
    broken = folder / "runs" / "20261109-170312-shop-a1b2"
    broken.mkdir(parents=True)
    (broken / "manifest.json").write_text("{")

    found = decide()

    assert found.exit_code == 3
    assert "20261109-170312-shop-a1b2 cannot be read" in found.output


def test_all_errors_are_shown_at_once(folder: Path) -> None:
    (folder / "programme.toml").write_text("[decide]\nruns = 0\nheadrom = 2\n")

    found = CliRunner().invoke(cli.app, ["decide", " ", "--release", " ", "--store", "history"])

    assert found.exit_code == 2
    for part in (
        "the name of the release",
        "the name of a journey",
        "programme.toml:2",
        "programme.toml:3",
        "Traceback",
    ):
        assert (part in found.output) == (part != "Traceback")


def test_texts_from_outside_are_harmless(folder: Path) -> None:
    store = Store.open("history")
    ids = tuple(run.run_id for run in store.runs_with_label("release", "v412"))
    evil = "GO (exit code 0)\x1b[2J\n<script>|[x](http://evil)"
    store.note(Event("verdict", "", "ci", ids, details={"outcome": "FAIL", "reasons": evil}))

    for format_ in ("text", "json", "markdown"):
        output = decide("--format", format_).output
        assert "\x1b[2J" not in output
        assert "<script>" not in output or format_ != "markdown"


# -- promises, explanations, pages ----------------------------------------------------------------

SLO = """apiVersion: openslo/v1
kind: SLO
metadata: {name: checkout-fast, annotations: {loadgen.dev/journey: checkout}}
spec:
  service: checkout
  budgetingMethod: Occurrences
  timeWindow: [{duration: 1d, isRolling: true}]
  objectives: [{target: 0.99}]
  indicator:
    metadata: {name: requests}
    spec:
      ratioMetric:
        counter: true
        good: {metricSource: {type: Prometheus, spec: {query: good}}}
        total: {metricSource: {type: Prometheus, spec: {query: total}}}
"""


def promised(folder: Path, bad: int) -> None:
    """Make the journey live, with a promise and a day of counts."""
    text = PROGRAMME.replace("live = false", 'value = "12.40 EUR"\n' + ELASTICITY) + LAUNCH
    (folder / "programme.toml").write_text(text)
    (folder / "slos").mkdir()
    (folder / "slos" / "checkout.yaml").write_text(SLO)
    end = int(datetime.now(UTC).timestamp()) // 3600 * 3600
    slices = [Slice("checkout-fast", end - 3600 * (n + 1), 3600, 1000 - bad, 1000) for n in range(24)]
    Ledger.open("history").write("prod", slices)


ELASTICITY = 'elasticity = {per = "100ms", low = "-1.1 %", high = "-0.3 %", source = "own A/B test"}'
LAUNCH = """
[launch]
two_people = true
items = ["rollback"]
"""


def test_promise_checklist_impact_and_explanation_are_shown_and_written(folder: Path) -> None:
    promised(folder, bad=2)

    before = decide("--format", "json")
    done = run_decide("--check", "rollback", "--release", "v412", "--by", "jo")
    found = decide("--explain", "--page", "launch.html", "--template", "review.md")
    document = json.loads(decide("--format", "json", "--explain").stdout)

    assert (before.exit_code, done.exit_code, found.exit_code) == (3, 0, 0), found.output
    assert "rollback of v412 is confirmed by jo" in done.output
    assert "production promise of checkout: checkout-fast: kept: 99.8 % against 99 %" in found.output
    assert "performance budget of checkout: measured:" in found.output
    assert "rule: go if every promise is kept" in found.output
    assert "figures: checkout-fast: attainment = good / total = 23952 / 24000 requests" in found.output
    assert "1 of 1 item signed" in (folder / "launch.html").read_text()
    assert "# Performance review of v412: checkout" in (folder / "review.md").read_text()
    states = {one["kind"]: one["state"] for one in document["evidence"]}
    assert states["promise"] == states["checklist"] == states["budget"] == "go"
    assert document["impact"][0]["money"]["currency"] == "EUR"
    promise = next(one for one in document["evidence"] if one["kind"] == "promise")
    assert promise["id"].startswith("S-")
    assert promise["id"] in {one["id"] for one in document["entries"]}
    assert promise["explained"][0].startswith("rule: ")


def test_a_broken_promise_is_a_no_go_until_somebody_overrides_it(folder: Path) -> None:
    promised(folder, bad=30)
    run_decide("--check", "rollback", "--release", "v412", "--by", "jo")

    broken = decide()
    made = run_decide("--override", "D-1", "--because", "the shop closes", "--by", "jo", "--until", "2999-01-01")
    found = decide()

    assert (broken.exit_code, made.exit_code, found.exit_code) == (1, 0, 3)
    assert "not kept: 97.0 % against 99 % over 1d, error budget left -200 %" in found.output
    assert "D-1 is overridden by jo until 2999-01-01" in found.output


def test_two_people_answer_and_a_signature_of_what_is_not_go_warns(folder: Path) -> None:
    promised(folder, bad=2)
    decide()

    signed = run_decide("--sign", "D-1", "--by", "jo", "--role", "head of payments")
    same = run_decide("--override", "D-1", "--because", "x", "--by", "Jo", "--until", "2999-01-01")

    assert "D-1 is INCONCLUSIVE, and stays so; to release anyway: loadgen decide --override D-1" in signed.output
    assert same.exit_code == 2
    assert "Jo signed D-1, and cannot override it as well" in same.output
    assert "D-1 was signed by jo (head of payments)" in decide().output


def test_a_signature_stays_on_this_evidence_while_production_goes_on(folder: Path) -> None:
    promised(folder, bad=2)
    run_decide("--check", "rollback", "--release", "v412", "--by", "jo")
    decide()
    run_decide("--sign", "D-1", "--by", "jo")
    end = int(datetime.now(UTC).timestamp()) // 3600 * 3600
    Ledger.open("history").write("prod", [Slice("checkout-fast", end - 3600, 3600, 999, 1000)])

    assert "on this evidence" in decide().output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--check", "rolback", "--release", "v412"), 'did you mean "rollback"?'),
        (("--check", "rollback"), "--check needs --release"),
        (("--refuse", "rollback", "--release", "v412"), "--refuse needs --because"),
        (("checkout", "--check", "rollback", "--release", "v412"), "--check and --refuse take no journey"),
        (("--check", "rollback", "--sign", "D-1"), "exclude each other"),
        (("--sign", "D-1", "--page", "x.html"), "only for a recommendation"),
        (("--check", "rollback", "--release", "v412", "--role", "x"), "--role: only with --sign"),
        (("checkout", "--release", "v412", "--page", "no/x.html"), "--page: there is no folder no"),
        (("checkout", "--release", "v412", "--template", "programme.toml"), "people may have edited it"),
        (("checkout", "--release", "v412", "--slos", "none.yaml"), "none.yaml"),
    ],
)
def test_wrong_answers_and_files_give_a_sentence(folder: Path, options: tuple[str, ...], message: str) -> None:
    promised(folder, bad=2)

    found = run_decide(*options)

    assert found.exit_code == 2, found.output
    assert message in found.output
    assert "Traceback" not in found.output


def test_an_item_without_a_checklist_names_what_to_write(folder: Path) -> None:
    found = run_decide("--check", "rollback", "--release", "v412")

    assert found.exit_code == 2
    assert "programme.toml has no checklist" in found.output


# -- overrides and signatures ---------------------------------------------------------------------


def run_decide(*options: str) -> Result:
    return CliRunner().invoke(cli.app, ["decide", *options, "--store", "history"])


def fail_gate() -> None:
    store = Store.open("history")
    ids = tuple(one.run_id for one in store.runs_with_label("release", "v412"))
    store.note(Event("verdict", "", "ci", ids, details={"outcome": "FAIL", "reasons": "p95 is 11 % slower"}))


def test_an_override_is_shown_beside_the_recommendation_that_stays(folder: Path) -> None:
    fail_gate()
    decide()

    made = run_decide("--override", "D-1", "--because", "the shop closes", "--by", "maria", "--until", "2999-08-15")
    found = decide()

    assert made.exit_code == 0, made.output
    assert found.exit_code == 1
    assert "D-1 was overridden by maria, in force until 2999-08-15, because the shop closes" in found.output


def test_an_override_that_ended_is_still_shown(folder: Path) -> None:
    fail_gate()
    decide()
    details = {"id": "D-1", "release": "v412", "until": "2026-01-01T00:00:00Z"}
    Store.open("history").note(Event("overridden", "", "maria", because="the shop closes", details=details))

    assert "ended on 2026-01-01" in decide().output


def test_a_signature_says_whether_the_evidence_has_changed(folder: Path) -> None:
    decide()
    assert run_decide("--sign", "D-1", "--by", "maria").exit_code == 0
    assert "signed by maria" in decide().output
    assert "on this evidence" in decide().output

    fail_gate()

    assert "on other evidence" in decide().output
    again = run_decide("--sign", "D-1", "--by", "maria")
    assert again.exit_code == 2
    assert "signed D-1 already" in again.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--override", "D-1"), "--override needs --because"),
        (("--override", "D-1", "--because", " ", "--until", "2999-01-01"), "--override needs --because"),
        (("--override", "D-1", "--because", "x", "--until", "tomorrow"), 'invalid date "tomorrow"'),
        (("--override", "D-1", "--because", "x", "--until", "2020-01-01"), "--until of the override of D-1 is in the"),
        (("--override", "D-9", "--because", "x", "--until", "2999-01-01"), "no recommendation D-9"),
        (("--override", "D-2", "--because", "x", "--until", "2999-01-01"), "D-2 is a GO"),
        (("--override", "D-3", "--because", "x", "--until", "2999-01-01"), "cannot be overridden"),
        (("--override", "D-1", "--sign", "D-1", "--because", "x", "--until", "2999-01-01"), "exclude each other"),
        (("checkout", "--release", "v413", "--sign", "D-1"), "take no journey and no --release"),
        (("--sign", "D-1", "--because", "x"), "only with --override"),
        (("--sign", "D-9"), "the newest are D-1, D-2, D-3"),
        ((), "the name of the release is missing"),
        (
            ("checkout", "--release", "v412", "--until", "2999-01-01"),
            "only with --override, --sign, --check or --refuse",
        ),
    ],
)
def test_what_cannot_be_overridden_or_signed_gives_a_sentence(
    folder: Path, options: tuple[str, ...], message: str
) -> None:
    store = Store.open("history")
    for n, (answer, is_valid) in enumerate([("NO-GO", True), ("GO", True), ("INCONCLUSIVE", False)], 1):
        document = json.dumps({"is_valid": is_valid, "evidence": []})
        details = {"id": f"D-{n}", "release": "v412", "recommendation": answer, "document": document}
        store.note(Event("recommended", f"2026-11-0{n}T00:00:00Z", details=details))

    found = run_decide(*options)

    assert found.exit_code == 2, found.output
    assert message in found.output
    assert "Traceback" not in found.output


def test_a_recommendation_is_published_with_page_and_document(folder: Path) -> None:
    (folder / "programme.toml").write_text(f'{PROGRAMME}\n[publish]\nto = "out"\n')

    done = decide("--publish")

    assert done.exit_code == ExitCode.PASSED, done.output
    written = sorted(str(path.relative_to("out")) for path in Path("out").rglob("*") if path.is_file())
    names = ("index.html", "recommendation.json", "recommendation.md")
    assert written == [f"recommendations/{place}/{name}" for place in ("D-1", "latest") for name in names]
    published = json.loads(Path("out/recommendations/D-1/recommendation.json").read_text())
    assert (published["id"], published["recommendation"]) == ("D-1", "GO")
    assert "D-1" in Path("out/recommendations/latest/index.html").read_text()


def test_a_publish_that_fails_does_not_change_the_recommendation(folder: Path) -> None:
    (folder / "programme.toml").write_text(f'{PROGRAMME}\n[publish]\nto = "out"\n')
    (folder / "out").write_text("a file is no folder")

    done = decide("--publish")

    assert done.exit_code == ExitCode.PASSED
    assert "not published: " in done.stderr


def test_what_is_not_recorded_is_not_published(folder: Path) -> None:
    (folder / "programme.toml").write_text(f'{PROGRAMME}\n[publish]\nto = "out"\n')
    for option in ("--no-record", "--as-of=2026-07-27T06:00Z"):
        done = decide("--publish", option)
        assert done.exit_code == ExitCode.USAGE
        assert "only a recorded recommendation can be published" in done.output
    assert not (folder / "out").exists()
