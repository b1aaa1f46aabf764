"""The commands through typer's runner: what they print, and what they exit with."""

from __future__ import annotations

import errno
import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loadgen.errors import BugError, FleetError, UsageError
from loadgen_controller import cli
from tests.report.test_tables import summary

FAULTY = """
from loadgen import Plan, arrivals, journey, p

@journey
def not_async(user):
    pass

plan = Plan(target="nonsense", load=arrivals("10/s").hold("1s"), mix=not_async)
"""


def loadgen(*args: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [str(a) for a in args])


@pytest.fixture
def scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert loadgen("new", "first").exit_code == 0
    return tmp_path / "first.py"


# -- help and faults of the command line ------------------------------------------------------


def test_help_is_grouped_and_in_the_order_of_use() -> None:
    text = loadgen("--help").output

    places = [text.index(f"─ {panel} ─") for panel in ("Run", "Look", "Fleet")]
    assert places == sorted(places)
    assert "Exit codes" in text


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help_with_examples(command: str) -> None:
    result = loadgen(command, "--help")

    assert result.exit_code == 0
    assert "Example" in result.output
    assert f"loadgen {command}" in result.output


@pytest.mark.parametrize("args", [(), ("run",), ("history", "add"), ("runs", "list")])
def test_flags_have_no_type_in_the_help(args: tuple[str, ...]) -> None:
    text = loadgen(*args, "--help").output

    assert "--help" in text
    assert "bool" not in text


@pytest.mark.parametrize("group", [(), ("api",), ("fleet",), ("keys",), ("notify",), ("probe",)])
def test_a_group_without_a_command_shows_its_help_and_an_error_with_a_text(group: tuple[str, ...]) -> None:
    result = loadgen(*group)

    assert result.exit_code == 2
    assert "Usage:" in result.output
    assert "error: missing command\n" in result.stderr
    assert f"{' '.join(group)} --help lists arguments and options" in result.stderr


def test_an_option_without_its_value_has_a_hint_that_names_the_option() -> None:
    result = loadgen("run", "x.py", "--json")
    assert result.exit_code == 2
    assert "hint: write a value after --json" in result.stderr


def test_a_url_in_the_place_of_a_scenario_leads_to_the_command_that_takes_urls() -> None:
    result = loadgen("plan", "http://127.0.0.1:8080/")
    assert result.exit_code == 2
    assert "error: http://127.0.0.1:8080: is a URL, not a scenario file" in result.stderr
    assert "`loadgen run http://127.0.0.1:8080` runs a load on one URL" in result.stderr


def test_an_address_without_a_scheme_has_a_hint_with_this_address() -> None:
    result = loadgen("llm", "127.0.0.1:8000", "--rate", "3/s")
    assert result.exit_code == 2
    assert "hint: write http://127.0.0.1:8000\n" in result.stderr


def test_a_scenario_in_the_place_of_a_run_is_named_as_a_file(tmp_path: Path) -> None:
    file = tmp_path / "browse.py"
    file.write_text("")
    result = loadgen("report", str(file))
    assert result.exit_code == 2
    assert f"error: {file} is a file, not a run" in result.stderr


def test_version_is_told() -> None:
    assert loadgen("--version").output.startswith("loadgen 0.")


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (("fly",), "no such command 'fly'"),
        (("run",), "missing argument"),
        (("run", "x.py", "--fly"), "no such option: --fly"),
        (("run", "x.py", "--workers", "0"), "'--workers': it should be greater than or equal to 1"),
        (("run", "x.py", "--wait", "none"), "invalid value for '--wait'"),
        (("run", "x.py", "--on-lost-agent", "wait"), "'--on-lost-agent': 'wait' is not one of 'continue', 'abort'"),
    ],
)
def test_what_the_parser_finds_is_an_error_line_with_a_hint(args: tuple[str, ...], what: str) -> None:
    result = loadgen(*args)

    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert what in result.stderr
    listed = "its commands" if "no such command" in what else "arguments and options"
    assert f"--help lists {listed}" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["convert", "import", "migrate"])
def test_a_converter_that_newcomers_look_for_is_answered_with_the_tables_for_a_translation_by_hand(
    command: str,
) -> None:
    result = loadgen(command, "script.js")

    assert result.exit_code == 2
    assert f"error: no such command '{command}'\n" in result.stderr
    assert "there is no converter" in result.stderr
    assert "docs/coming-from/k6.md" in result.stderr


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "localhost/shop", "shop.internal:8080/a"])
def test_a_url_without_its_scheme_is_answered_with_the_whole_url_and_no_list_of_files(url: str) -> None:
    result = loadgen("run", url, "--rate", "5/s")

    assert result.exit_code == 2
    assert f"{url}: no such file" in result.stderr
    assert f"for a URL, write http://{url}" in result.stderr
    assert "use one of" not in result.stderr


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "faulty.py"
    path.write_text(FAULTY)

    result = loadgen(
        "run", path, "--rate", "fast", "--duration", "0s", "--regions", "a,,b", "-P", "pool", "--wait", "3",
        "--json", tmp_path / "none" / "x.json",
    )  # fmt: skip

    assert result.exit_code == 2
    for what in (
        '--rate: invalid rate "fast"',
        "--duration: the duration must be longer than 0",
        "--regions: ",
        '-P: invalid parameter "pool"',
        "--wait is only for agents that were started elsewhere",
        "--json: there is no folder",
        "faulty.py:4",
        "not_async is not async",
        "target: 'nonsense' is no",
    ):
        assert what in result.stderr, what
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("args", "what"),
    [
        (("--rate", "10/s", "--users", "5"), "--rate and --users"),
        (("--rate", "-1/s"), "must be above 0"),
        (("--users", "many"), 'invalid number of users "many"'),
        (("--users", "5"), "the load has arrivals"),
        (("--regions", "mars"), 'the plan has no region "mars"'),
        (("-P", "x=1", "-P", "x=2"), "x was given twice"),
        (("--listen", "5700", "--keys", "keys"), "--listen: "),
        (("--listen", "127.0.0.1:0"), "--listen needs --keys"),
        (("--listen", "127.0.0.1:0", "--keys", "none"), "none"),
        (
            ("--listen", "127.0.0.1:0", "--agents-per-region", "2"),
            "--agents-per-region is only for agents on this machine",
        ),
        (("--listen", "127.0.0.1:0", "--workers", "2"), "--workers is only for agents on this machine"),
        (("--keys", "keys"), "--keys is only for agents that were started elsewhere"),
        (("--target", "shop.example"), "is not an http or https URL"),
        (("--target", "http://8.8.8.8"), "--i-may-load 8.8.8.8"),
        (("--target", "http://169.254.169.254", "--i-may-load", "169.254.169.254"), "never allowed"),
    ],
)
def test_usage_fault_ends_with_2_before_anything_starts(scenario: Path, args: tuple[str, ...], what: str) -> None:
    result = loadgen("run", scenario, *args)

    assert result.exit_code == 2
    assert what in result.stderr
    assert not (scenario.parent / "runs").exists()


@pytest.mark.parametrize(
    "args",
    [
        ("run", "first.py", "--json", "folder"),
        ("run", "first.py", "--runs-dir", "first.py"),
        ("gate", "first.py", "--junit", "folder"),
        ("report", "last", "--format", "html", "-o", "folder"),
        ("compare", "a", "b", "--format", "html", "-o", "folder"),
        ("history", "--html", "folder"),
    ],
)
def test_a_place_that_cannot_be_written_is_said_before_the_work(scenario: Path, args: tuple[str, ...]) -> None:
    (scenario.parent / "folder").mkdir()

    result = loadgen(*args)

    assert result.exit_code == 2
    assert f"{args[-2]}: {args[-1]} is a " in result.stderr
    assert not (scenario.parent / "runs").exists()


@pytest.mark.parametrize("command", ["run", "check"])
def test_file_that_is_not_there_is_said(command: str, tmp_path: Path) -> None:
    result = loadgen(command, tmp_path / "none.py")

    assert result.exit_code == 2
    assert "none.py: no such file" in result.stderr


def test_a_url_alone_says_no_load() -> None:
    result = loadgen("run", "http://127.0.0.1:8080")

    assert result.exit_code == 2
    assert "a URL needs --rate or --users" in result.stderr
    assert "loadgen run http://127.0.0.1:8080 --rate 50/s --duration 30s" in result.stderr


# -- errors -----------------------------------------------------------------------------------


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> Result:
    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("loadgen_controller.commands.keys.init_keys", fail)
    return loadgen("keys", "init", "keys")


def test_bug_is_70_and_asks_for_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    for error in (KeyError("x"), BugError("a broken invariant")):
        result = failing(monkeypatch, error)

        assert result.exit_code == 70
        assert "this is a bug in loadgen" in result.stderr
        assert "report it with the command" in result.stderr
        assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", ["out.csv", None])
def test_a_full_disk_is_no_bug(monkeypatch: pytest.MonkeyPatch, name: str | None) -> None:
    monkeypatch.setattr("os.dup2", lambda *_: None)  # without a name, the file is stdout, which would be closed
    result = failing(monkeypatch, OSError(errno.ENOSPC, "No space left on device", name))
    assert result.exit_code == 5
    assert f"cannot write {name or 'the output'}: No space left" in result.stderr
    assert "free some space" in result.stderr


def test_debug_switch_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOADGEN_DEBUG", "1")

    assert "Traceback" in failing(monkeypatch, KeyError("x")).stderr


def test_group_of_errors_is_told_one_by_one_and_exits_with_the_gravest(monkeypatch: pytest.MonkeyPatch) -> None:
    result = failing(monkeypatch, ExceptionGroup("both", [FleetError("the wire broke"), UsageError("wrong option")]))

    assert result.exit_code == 2
    assert "error: the wire broke" in result.stderr
    assert "error: wrong option" in result.stderr


def test_a_name_in_an_error_forges_no_line_and_steers_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    told = failing(monkeypatch, UsageError("no run a\nerror: b\x1b[2J", hint="c\nd")).stderr

    assert "\x1b" not in told
    assert told.count("\nerror:") == 0
    assert "\\x1b[2J" in told


def test_interruption_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    assert failing(monkeypatch, KeyboardInterrupt()).exit_code == 130


# -- the small commands -------------------------------------------------------------------------


def test_new_scenario_has_20_lines_and_loads(scenario: Path) -> None:
    from loadgen.dsl.loading.loader import load

    text = scenario.read_text()
    assert len([line for line in text.splitlines() if line.strip()]) <= 20
    assert load(scenario).journeys[0].name == "first"


def test_new_never_overwrites(scenario: Path) -> None:
    before = scenario.read_text()

    result = loadgen("new", "first")

    assert result.exit_code == 2
    assert "already exists" in result.stderr
    assert scenario.read_text() == before


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("1st", "cannot be the name of a journey"),
        ("__init__", "cannot be the name of a journey"),
        ("class", "already has a meaning"),
        ("arrivals", "already has a meaning"),
        ("Plan", "already has a meaning"),
        ("json", "would hide the Python module json"),
        ("loadgen", "would hide the Python module loadgen"),
    ],
)
def test_new_refuses_what_cannot_be_a_journey(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    result = loadgen("new", name)

    assert result.exit_code == 2
    assert said in result.stderr
    assert not list(tmp_path.iterdir())


def test_keys_are_made_once_and_a_revoked_name_gets_a_new_one(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    for made, said in (("controller.key", "created"), ("controller.key", "already has a controller's key")):
        assert said in loadgen("keys", "init", keys).output
        assert (keys / made).is_file()
    first = loadgen("keys", "agent", keys, "eu", "us")
    assert f"copy {keys / 'copy-to' / 'us'} to the host of us" in first.output.replace("\n", "")
    assert "eu already has a key" in loadgen("keys", "agent", keys, "eu").output
    old = loadgen("keys", "revoke", keys, "eu").output.split()[-1]
    assert loadgen("keys", "agent", keys, "eu").exit_code == 0

    rows = [line.split()[:3] for line in loadgen("keys", "list", keys).output.splitlines()]

    assert [row[:2] for row in rows if row[1:2] == ["good"]] == [["eu", "good"], ["us", "good"]]
    assert ["eu", "revoked", old] in rows


def test_all_names_that_are_none_are_said_and_no_key_is_made(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    loadgen("keys", "init", keys)

    result = loadgen("keys", "agent", keys, "good", "a b", "../x", "")

    assert result.exit_code == 2
    for name in ("'a b'", "'../x'", "''"):
        assert f"invalid key name {name}" in result.stderr
    assert not list((keys / "agents").glob("good*"))


def test_keys_are_not_made_in_a_file(scenario: Path) -> None:
    result = loadgen("keys", "init", "first.py")

    assert result.exit_code == 2
    assert "first.py is a file" in result.stderr


def test_a_controller_that_cannot_listen_is_not_the_one_that_resume_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loadgen("keys", "init", "keys")
    loadgen("keys", "agent", "keys", "a")
    Path("runs").mkdir()
    Path("runs/controller.json").write_text("of the one that runs")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = f"127.0.0.1:{taken.getsockname()[1]}"
        for listen, api in ((busy, "127.0.0.1:0"), ("127.0.0.1:0", busy)):
            result = loadgen("controller", "--keys", "keys", "--listen", listen, "--api", api)

            assert result.exit_code == 5
            assert f"at {busy}" in result.stderr
    assert Path("runs/controller.json").read_text() == "of the one that runs"


def test_what_is_wrong_with_the_token_file_names_the_option(tmp_path: Path) -> None:
    for name, said in (("none", "No such file"), (".", "it is a folder")):
        result = loadgen("agents", "--controller", "127.0.0.1:1", "--token-file", tmp_path / name)

        assert result.exit_code == 2
        assert "error: --token-file: cannot read" in result.stderr
        assert said in result.stderr


def test_the_signing_key_is_made_once(tmp_path: Path) -> None:
    first = loadgen("keys", "signing", tmp_path)
    secret = (tmp_path / "signing.key").read_bytes()
    again = loadgen("keys", "signing", tmp_path)

    assert "copy" in first.output
    assert "signing.pub" in first.output
    assert "already has a signing key" in again.output
    assert (tmp_path / "signing.key").read_bytes() == secret
    assert (tmp_path / "signing.key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("arguments", "wrong", "hint"),
    [
        (("agent", "keys", "eu"), "is not a key folder", "loadgen keys init keys"),
        (("list", "keys"), "is not a key folder", "loadgen keys init keys"),
        (("revoke", "keys", "eu"), "is not a key folder", "loadgen keys init keys"),
    ],
)
def test_keys_without_a_folder_say_how_to_make_it(
    arguments: tuple[str, ...], wrong: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    result = loadgen("keys", *arguments)

    assert result.exit_code == 2
    assert wrong in result.stderr
    assert hint in result.stderr


def test_target_refuses_what_makes_no_sense() -> None:
    result = loadgen("target", "--every", "5s")

    assert result.exit_code == 2
    assert "--stall" in result.stderr


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for run_id, result in (("20261124-170312-checkout-a1b2", "passed"), ("20261124-180000-checkout-ffff", "failed")):
        folder = tmp_path / "runs" / run_id
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text("{}")
        (folder / "summary.json").write_text(json.dumps(summary(run_id=run_id, result=result)))
    (tmp_path / "runs/20261125-000000-torn").mkdir()
    (tmp_path / "runs/20261125-000000-torn/manifest.json").write_text("{}")
    return tmp_path / "runs"


def test_runs_are_listed_newest_first(runs: Path) -> None:
    for args in (("runs", "--runs-dir", runs), ("runs", "list", "--runs-dir", runs)):
        lines = loadgen(*args).output.splitlines()[2:]

        assert [line.split()[1] for line in lines] == ["not", "failed", "passed"]


def test_no_runs_is_no_error(tmp_path: Path) -> None:
    result = loadgen("runs", "--runs-dir", tmp_path)

    assert result.exit_code == 0
    assert "no runs in" in result.output


def test_run_is_shown_again(runs: Path) -> None:
    for run in ("20261124-170312-checkout-a1b2", "20261124-17"):
        assert "PASSED (exit code 0): 2 of 2 objectives met" in loadgen("runs", "show", run, "--runs-dir", runs).output


@pytest.mark.parametrize(("run", "what"), [("2026", "3 runs begin"), ("1999", "no run 1999"), ("last", "no summary")])
def test_run_that_cannot_be_shown_says_why(runs: Path, run: str, what: str) -> None:
    result = loadgen("runs", "show", run, "--runs-dir", runs)

    assert result.exit_code == 2
    assert what in result.stderr
