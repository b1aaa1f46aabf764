"""`loadgen probe check`: what a page has, what is missing, and why a page cannot be read. And who may be probed."""

from __future__ import annotations

import unicodedata
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from loadgen.allowlist import AllowList, Entry
from loadgen.errors import UsageError
from loadgen.probes.reader import Reading
from loadgen.probes.rows import Row, Series
from loadgen.probes.running.look import Look
from loadgen.probes.settings import ProbeSpec
from loadgen_controller import cli
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.probing import check_servers
from loadgen_controller.planning.probe_permission import check_probe, check_probe_secrets, warn_of_probes
from loadgen_controller.planning.scenario import load_scenario
from tests.support.metrics_server import metrics_server, page_reply, vllm_page


def check(*args: str, env: dict[str, str] | None = None, columns: int = 80) -> Result:
    return CliRunner().invoke(cli.app, ["probe", "check", *args], env={"COLUMNS": str(columns), **(env or {})})


def test_all_metrics_of_a_preset_are_found() -> None:
    more = "".join(f'vllm:request_{name}_time_seconds_bucket{{le="+Inf"}} 1.0\n' for name in ("prefill", "decode"))
    with metrics_server(lambda: vllm_page(10) + more) as server:
        done = check(server.url, "--preset", "vllm")

    assert done.exit_code == 0, done.output
    assert "requests running" in done.stdout
    assert "vllm:kv_cache_usage_perc" in done.stdout
    assert "400 of 1000" in done.stdout
    assert "optional" in done.stdout  # speculative decoding is optional
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_missing_metrics_are_named_and_give_exit_code_3() -> None:
    with metrics_server(lambda: vllm_page(10, old=True)) as server:
        done = check(server.url, "--preset", "vllm")

    assert done.exit_code == 3
    assert "vllm:gpu_cache_usage_perc" in done.stdout
    assert [line.split() for line in done.stdout.splitlines() if "missing" in line] == [
        ["prefill", "time", "vllm:request_prefill_time_seconds", "missing"],
        ["decode", "time", "vllm:request_decode_time_seconds", "missing"],
    ]
    assert "the page does not have 2 of 13 metrics" in done.stderr
    assert "hint:" in done.stderr


def test_without_a_choice_the_metrics_of_the_page_are_listed() -> None:
    with metrics_server(lambda: "# TYPE up gauge\nup 1\n# TYPE hits counter\nhits_total 3\n") as server:
        listed, chosen = check(server.url), check(server.url, "--metric", "hits_total", "--metric", "up")

    assert listed.exit_code == chosen.exit_code == 0
    assert ["hits", "counter"] in [line.split() for line in listed.stdout.splitlines()]
    assert ["hits", "hits_total", "3"] in [line.split() for line in chosen.stdout.splitlines()]


@pytest.mark.parametrize(
    ("reply", "why", "hint"),
    [
        (page_reply("", "404 Not Found"), "the server returned http 404", "check the path of the URL"),
        (page_reply("<html></html>"), "it is HTML or XML, not metrics", "check the path of the URL"),
        (page_reply("", "401 Unauthorized"), "the server returned http 401", "--auth-secret"),
        (b"", "disconnected", "that this machine reaches the server"),
    ],
)
def test_a_page_that_cannot_be_read_gives_exit_code_5_and_a_hint(reply: bytes, why: str, hint: str) -> None:
    with metrics_server() as server:
        server.reply(reply)
        done = check(server.url, "--preset", "vllm")

    assert done.exit_code == 5
    assert why in done.stderr
    assert hint in done.stderr


def test_a_hostile_page_cannot_control_the_terminal() -> None:
    text = (
        "# TYPE up\x1b[2J gauge\n# TYPE up gauge\x1b[2J\n# TYPE level gauge\n"
        'level{a="\x1b[31m::error::\u202e"} 1\nlevel{a="PASSED (exit code 0)"} 2\n'
    )
    with metrics_server(lambda: text) as server:
        listed, chosen = check(server.url), check(server.url, "--metric", "level")

    assert listed.exit_code == chosen.exit_code == 0
    assert not [c for c in listed.output + chosen.output if unicodedata.category(c) in ("Cc", "Cf") and c != "\n"]
    assert "::error::" not in chosen.output


def test_all_wrong_options_are_reported_at_once_and_show_no_secret() -> None:
    done = check("http://me:canary@127.0.0.1/m", "--preset", "vlm", "--auth-secret", "Bearer canary", "--metric", "a{}")

    assert done.exit_code == 2
    for option in ("URL: ", "--preset: ", "--auth-secret: ", "--metric: "):
        assert f"error: {option}" in done.stderr
    assert "canary" not in done.output


def test_the_secret_is_sent_and_never_shown() -> None:
    with metrics_server() as server:
        missing = check(server.url, "--preset", "vllm", "--auth-secret", "probe-login")
        done = check(
            server.url, "--metric", "vllm:prompt_tokens", "--auth-secret", "probe-login",
            env={"LOADGEN_SECRET_PROBE_LOGIN": "Bearer canary"},
        )  # fmt: skip

    assert missing.exit_code == 2
    assert 'secret "probe-login" is not set' in missing.stderr
    assert "set LOADGEN_SECRET_PROBE_LOGIN, or put its value into a file" in " ".join(missing.stderr.split())
    assert done.exit_code == 0
    assert b"Authorization: Bearer canary" in server.requests[0]
    assert "canary" not in done.output


def test_the_preset_of_another_server_is_recognized() -> None:
    with metrics_server(lambda: vllm_page(10)) as server:
        done = check(server.url, "--preset", "sglang")

    assert done.exit_code == 3
    assert "the page has the metrics of vllm: write --preset vllm" in done.stderr


def test_hints_name_the_options_of_the_command() -> None:
    done = check("http://me:pw@127.0.0.1/metrics", "--auth-header", "X-Key")

    assert done.exit_code == 2
    assert "name a secret with --auth-secret instead" in done.stderr
    assert "--auth-header needs --auth-secret" in done.stderr


# -- who may be probed ---------------------------------------------------------------------------------

PROBE = ProbeSpec(name="v", url="http://gpu.example:8000/metrics", preset="vllm")
ENTRY = Entry(host="gpu.example", owner="team", expires=date(2999, 1, 1), ports=(8000,), addresses=("10.0.0.0/8",))


def test_private_hosts_may_be_probed_and_public_ones_if_they_are_named() -> None:
    check_probe(PROBE, resolve=lambda _: ["10.0.0.7"])
    check_probe(PROBE, ["GPU.example"], resolve=lambda _: ["93.184.215.14"])
    with pytest.raises(UsageError, match=r"probe v: gpu\.example:8000 is public") as raised:
        check_probe(PROBE, resolve=lambda _: ["10.0.0.7", "93.184.215.14"])
    assert raised.value.hint.endswith("--i-may-load gpu.example")


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "168.63.129.16", "224.0.0.1"])
def test_metadata_services_may_never_be_probed(address: str) -> None:
    with pytest.raises(UsageError, match="which is never allowed"):
        check_probe(PROBE, ["gpu.example"], resolve=lambda _: [address])


def test_an_allow_list_decides_about_probes() -> None:
    check_probe(PROBE, (), AllowList(allow=(ENTRY,)), resolve=lambda _: ["10.0.0.7"])
    with pytest.raises(UsageError, match="no entry of the allow-list names it"):
        check_probe(PROBE, ["gpu.example"], AllowList(), resolve=lambda _: ["10.0.0.7"])


def test_before_a_run_a_page_that_cannot_be_read_is_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    with metrics_server(lambda: "up 1\n") as server:
        gone = ProbeSpec(name="gone", url="http://127.0.0.1:1/metrics", preset="sglang")
        warn_of_probes([gone, ProbeSpec(name="other", url=server.url, preset="vllm")])

    err = capsys.readouterr().err
    assert "warning: probe gone: http://127.0.0.1:1/metrics cannot be read: no connection to 127.0.0.1:1" in err
    assert "loadgen probe check http://127.0.0.1:1/metrics --preset sglang" in err
    assert f"warning: probe other: none of its metrics is on {server.url}" in err


SCENARIO = """
from loadgen import Plan, User, iterations, journey, metrics_page

@journey
async def home(user: User) -> None:
    await user.http.get("/")

plan = Plan(
    target="http://127.0.0.1:1", load=iterations(1), mix=home,
    probes=[metrics_page("http://127.0.0.1:1/metrics", preset="vllm")],
)
"""


def test_probes_can_be_left_out_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "s.py").write_text(SCENARIO)
    (tmp_path / "loadgen.toml").write_text('[probes.a]\nurl = "http://8.8.8.8/m"\npreset = "vllm"\n')

    scenario = load_scenario(CollectedErrors(), str(tmp_path / "s.py"), with_probes=False)
    with pytest.raises(UsageError, match=r"probe a: 8\.8\.8\.8:80 is public"):
        load_scenario(CollectedErrors(), str(tmp_path / "s.py"))

    assert scenario.plan.spec().probes == ()


def test_probes_beside_their_servers_need_no_secret_here_and_no_look(capsys: pytest.CaptureFixture[str]) -> None:
    apart = ProbeSpec(name="db", url="http://127.0.0.1:1/m", preset="vllm", auth_secret="none-set", at="apart")

    check_probe_secrets([apart])
    warn_of_probes([apart])

    assert capsys.readouterr().err == ""


def test_a_share_of_a_server_is_shown_as_two_counters(capsys: pytest.CaptureFixture[str]) -> None:
    row = Row(key="hits", title="hits", kind="share", names=("hits",), scale=100.0)
    values = {Series("hits", "value", "hit"): 40.0, Series("hits", "of", "read"): 100.0}
    spec = ProbeSpec(name="db", kind="postgres", own={"dsn": "host=db"})

    check_servers._show(Look(spec, reading=Reading(0, 5, (row,), values)), is_chosen=True)

    assert "40 of 100" in capsys.readouterr().out
