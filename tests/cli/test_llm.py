"""`loadgen llm`: the scenario that it writes, its wrong options, and one run against the scripted server."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from loadgen.dsl.loading.loader import load
from loadgen.dsl.prompts.words import word_list
from loadgen.errors import LoadgenError
from loadgen.measure.deltas.kept_stream import kept_share_of
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.planning.llm_scenario import LlmRequest, scenario_text
from tests.support.llm_target import running_llm
from tests.support.run import Finished, ends_with, loadgen
from tests.support.tokenizer_files import of_words

URL = "http://127.0.0.1:8000"


def text_of(**options: object) -> str:
    errors = CollectedErrors()
    text = scenario_text(errors, LlmRequest(**{"url": URL, **options}))  # type: ignore[arg-type]
    errors.check()
    return text


def faults_of(**options: object) -> list[tuple[str, str]]:
    errors = CollectedErrors()
    scenario_text(errors, LlmRequest(**{"url": URL, **options}))  # type: ignore[arg-type]
    assert all(isinstance(one, LoadgenError) for one in errors.found)
    return [(one.message, one.hint) for one in errors.found]


def test_a_rate_makes_an_open_load_with_the_objective_on_goodput() -> None:
    text = text_of(model="qwen3-8b", rate="4/s", duration="2m", goodput="ttft=500ms, tpot=50ms")
    assert "from loadgen import Llm, Plan, User, arrivals, goodput, journey, prompt\n" in text
    assert 'llm=Llm(model="qwen3-8b")' in text
    assert 'load=arrivals("4/s").poisson().hold("2m")' in text
    assert "user.llm.chat(prompt(tokens=1024), max_tokens=256)" in text
    assert 'slos=[goodput(ttft="500ms", tpot="50ms") > "95%"]' in text
    assert '> "99.5%"' in text_of(rate="4/s", goodput="e2e=3s", goodput_share="99.5%")
    ast.parse(text)


@pytest.mark.parametrize(
    ("options", "title"),
    [
        ({"users": "1"}, "1024 tokens in, 256 out, 1 user. Made by loadgen llm."),
        ({"users": "8"}, "1024 tokens in, 256 out, 8 users. Made by loadgen llm."),
        ({"users": "1,2,4"}, "1024 tokens in, 256 out, at levels of 1, 2, 4 users. Made by loadgen llm."),
        ({"rate": "5"}, "1024 tokens in, 256 out, at 5/s. Made by loadgen llm."),
        ({"rate": "30/m, 2"}, "1024 tokens in, 256 out, at levels of 30/m, 2/s. Made by loadgen llm."),
    ],
)
def test_the_title_names_the_load_in_words(options: dict[str, object], title: str) -> None:
    assert text_of(**options).startswith(f'"""{title}"""\n')


def test_conventions_of_other_tools_are_settings_of_the_plan() -> None:
    assert 'llm=Llm(conventions=("vllm",))' in text_of(rate="4/s", convention="vllm")
    assert 'llm=Llm(conventions=("vllm", "inference-perf"))' in text_of(rate="4/s", convention="vllm, inference-perf")


@pytest.mark.parametrize(("share", "written"), [("5%", "0.05"), ("0.1 %", "0.001"), ("0", "0"), ("100%", "1")])
def test_the_share_of_kept_streams_is_a_setting_of_the_plan(tmp_path: Path, share: str, written: str) -> None:
    text = text_of(rate="4/s", keep_streams=share)
    assert f"llm=Llm(keep_streams={written})" in text
    (tmp_path / "ask.py").write_text(text)
    spec = load(tmp_path / "ask.py", None).plan.spec()
    assert kept_share_of(spec.llm) == float(written)


@pytest.mark.parametrize(
    ("options", "load_text", "levels"),
    [
        (
            {"users": "1,2,4"},
            'users().levels([1, 2, 4], each="1m", settle="10s", stop_when_saturated=True)',
            ["1", "2", "4"],
        ),
        (
            {"rate": "1/s, 30/m", "each": "30s", "settle": "0s", "is_even": True},
            'arrivals().levels(["1/s", "30/m"], each="30s", settle="0s")',
            ["1/s", "0.5/s"],
        ),
        ({"rate": "2/s"}, 'arrivals("2/s").poisson().hold("1m")', []),
        ({"users": "8", "duration": "90s"}, 'users(8).hold("90s")', []),
    ],
)
def test_the_text_is_a_valid_scenario(
    tmp_path: Path, options: dict[str, object], load_text: str, levels: list[str]
) -> None:
    text = text_of(**options, api="completions", input=30, output=7, is_exact=True, key="api-token")
    assert f"load={load_text}," in text
    assert 'api="completions", api_key=secret("api-token")' in text
    (tmp_path / "ask.py").write_text(text)
    spec = load(tmp_path / "ask.py", None, check_secrets=False).plan.spec()
    assert [span.text for span in spec.lanes[0].level_spans] == levels
    assert (spec.target, spec.secrets, spec.drain_ns) == (URL, ("api-token",), 120_000_000_000)


def test_a_sweep_that_rises_stops_after_a_saturated_level_unless_all_levels_are_wanted() -> None:
    assert "stop_when_saturated=True" in text_of(rate="1/s, 2/s, 3/s")
    assert "stop_when" not in text_of(rate="1/s, 2/s, 3/s", has_all_levels=True)
    assert "stop_when" not in text_of(users="4,2,1")
    assert faults_of(rate="1/s", has_all_levels=True)[0][0] == "--all-levels needs several levels"


def test_the_drain_is_as_long_as_an_answer_may_take(tmp_path: Path) -> None:
    assert 'drain="2m"' in text_of(rate="1/s", output=256)
    assert 'drain="4m"' in text_of(rate="1/s", output=4096)
    assert 'drain="2m"' in text_of(rate="1/s", output=4096, goodput="e2e=20s")
    assert 'drain="5m"' in text_of(rate="1/s", output=1000, goodput="ttft=2s,tpot=250ms")
    assert 'drain="10m"' in text_of(rate="1/s", output=100_000)  # the time limit of a request
    for output in (256, 4096, 100_000):
        (tmp_path / "ask.py").write_text(text_of(rate="1/s", output=output))
        assert not load(tmp_path / "ask.py", None).warnings
    short = text_of(rate="1/s", output=4096).replace('drain="4m"', 'drain="1m"')
    (tmp_path / "ask.py").write_text(short)
    assert "drain: 1m is too short: an answer" in load(tmp_path / "ask.py", None).warnings[0].message


@pytest.mark.parametrize(
    ("url", "target", "path"),
    [
        (f"{URL}/v1", URL, ""),
        (f"{URL}/", URL, ""),
        (f"{URL}/gateway/v1/chat", URL, 'path="/gateway/v1/chat"'),
    ],
)
def test_the_path_of_the_url_is_that_of_the_requests(url: str, target: str, path: str) -> None:
    text = text_of(url=url, users="1")
    assert f'target="{target}"' in text
    assert f"llm=Llm({path})" in text


def test_one_level_can_demand_a_sure_verdict_and_so_can_a_sweep_without_objective() -> None:
    assert not faults_of(users="2", goodput="e2e=3s", needs_sure=True)
    assert not faults_of(users="1,2", needs_sure=True)


def test_names_cannot_leave_their_quotes() -> None:
    text = text_of(users="1", model='x"), __import__("os").system("id"), Llm(model="')
    call = next(
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call) and ast.unparse(node.func) == "Llm"
    )
    assert [keyword.arg for keyword in call.keywords] == ["model"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"key": "sk canary"}, "--key: the value is not a valid name of a secret"),
        ({"key": "sk-canary/" + "x" * 90}, "--key: the value is not a valid name of a secret"),
        ({"url": f"{URL}?api_key=canary"}, "the URL has a query or a fragment"),
        ({"url": f"{URL}#canary"}, "the URL has a query or a fragment"),
    ],
)
def test_an_api_key_in_place_of_a_name_or_in_the_url_is_not_printed(options: dict[str, str], message: str) -> None:
    ((found, hint),) = faults_of(users="1", **options)
    assert found == message
    assert "canary" not in found + hint


def test_all_wrong_options_are_reported_at_once() -> None:
    found = faults_of(
        url="ftp://u:p@h/",
        api="chta",
        key="a b",
        rate="0/s",
        users="1,1",
        each="z",
        settle="-1s",
        input=0,
        output=10**8,
        goodput="ttft=5,tpto=3ms,e2e=1s,e2e=2s",
        goodput_share="200%",
        convention="vlm",
        keep_streams="200%",
        is_even=True,
    )
    for part in (
        "unsupported URL",
        "--api: unknown API 'chta'",
        "--key: the value is not a valid name of a secret",
        "--input: 0 tokens",
        "--output: 100,000,000 tokens",
        "--rate and --users are both given",
        "--rate: '0/s'",
        "--users: 1 is given twice",
        "--even is for --rate",
        "--each",
        "--settle",
        "--goodput: ttft=5: '5' is not a duration above 0 with a unit",
        "--goodput: unknown metric 'tpto'",
        "--goodput: e2e is given twice",
        "--goodput-share: '200%'",
        "--convention: unknown tool 'vlm'",
        "--keep-streams: '200%' is not a share from 0 % to 100 %",
    ):
        assert any(part in message for message, _ in found), part
    assert all(hint for _, hint in found)
    assert "did you mean chat?" in [hint for _, hint in found]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "neither --rate nor --users is given"),
        ({"users": "1,2", "duration": "1m"}, "--duration cannot be used with several levels"),
        ({"users": "2", "each": "1m"}, "--each needs several levels"),
        ({"users": "1,2", "each": "5s"}, "--settle 10s must be shorter than --each 5s"),
        ({"users": "1,2", "goodput": "e2e=3s", "needs_sure": True}, "--sure cannot be used with several levels"),
        ({"users": "two"}, "--users: 'two' is not a number of users"),
        ({"users": "1,,2"}, "--users: '' is not a number of users"),
        ({"users": "1", "goodput_share": "95%"}, "--goodput-share needs --goodput"),
        ({"users": "1", "goodput": "e2e=3s", "goodput_share": "1/2"}, "--goodput-share: '1/2' is not a share"),
        ({"users": "1", "convention": "vllm,vllm"}, "is given twice"),
        ({"users": "1", "url": "http://h/?x=1"}, "has a query or a fragment"),
        ({"users": "1", "url": "http://u:p@h"}, "contains credentials"),
        ({"users": ",".join(map(str, range(1, 52)))}, "51 levels are more than 50"),
    ],
)
def test_options_that_do_not_fit_are_errors(options: dict[str, object], message: str) -> None:
    ((found, hint),) = faults_of(**options)
    assert message in found
    assert hint


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asks(*words: str) -> Finished:
    """Run `loadgen llm` in the folder of the test."""
    return loadgen("llm", *words, runs_dir=Path("runs"))


def test_wrong_options_end_with_exit_code_2_and_leave_no_file(in_folder: Path) -> None:
    done = asks(URL, "--users", "0", "--wait", "3", "--save", "ask.py")
    assert done.exit_code == 2
    assert "--users: '0' is not a number of users above 0" in done.err
    assert "--wait is only for agents that were started elsewhere" in done.err
    assert not list(in_folder.iterdir())
    (in_folder / "ask.py").write_text("mine")
    done = asks(URL, "--users", "1", "--save", "ask.py")
    assert (done.exit_code, "already exists" in done.err) == (2, True)
    assert (in_folder / "ask.py").read_text() == "mine"
    # A public host that is not allowed is found after the file was written.
    done = asks("http://llm.example", "--users", "1", "--save", "other.py")
    assert (done.exit_code, (in_folder / "other.py").exists()) == (2, False)


@pytest.mark.usefixtures("in_folder")
def test_a_key_whose_secret_is_not_set_is_an_error_of_the_option() -> None:
    done = asks(URL, "--users", "1", "--key", "no-such-token")
    assert done.exit_code == 2
    assert done.err.startswith('error: --key: secret "no-such-token" is not set')
    assert "set LOADGEN_SECRET_NO_SUCH_TOKEN" in done.err
    assert "llm.py" not in done.err


def test_a_sweep_runs_and_has_a_table_of_levels(in_folder: Path) -> None:
    with running_llm("--model", "toy", "--ttft", "20ms", "--itl", "5ms") as url:
        words = ["--users", "1,2", "--each", "3s", "--settle", "1s", "--input", "20", "--output", "4"]
        done = asks(url, *words, "--goodput", "e2e=5s", "--json", "result.json", "--save", "ask.py")
    scenario = (in_folder / "ask.py").read_text()
    assert scenario in done.out
    assert "Levels: requests to AI models, ms" in done.out
    assert "Levels: goodput, e2e<=" in done.out
    summary = json.loads((in_folder / "result.json").read_text())
    assert ends_with(done.exit_code, summary, 0), done.out + done.err
    assert [one["level"] for one in summary["levels"]] == ["1", "2"]
    assert summary["scenario"] == "ask.py"
    for one in summary["levels"]:
        assert one["requests"]["ok"] == one["iterations"]["started"] > 0
        assert one["requests"]["failed"] == 0
        assert one["stream_ms"]["ttft"]["p50"] >= 19
        assert one["output_tokens_per_s"] == pytest.approx(4 * one["achieved_per_s"])
        goodput = one["goodput"]
        assert (goodput["good"], goodput["share"], goodput["above"]) == (one["requests"]["ok"], 1.0, 0.95)
        assert (goodput["low"], goodput["interval"]) == (None, "too short")
    assert summary["knee"]["verdict"] == "not decided"
    # The rest was settling.
    tagged = {
        line["tags"]["level"]: line["count"]
        for line in summary["tagged"]
        if line["kind"] == "request" and "level" in line["tags"]
    }
    assert sum(tagged.values()) == summary["requests"]["finished"]
    assert set(tagged) == {"1", "2", "settling"}


def test_a_tokenizer_is_taken_beside_the_scenario_from_anywhere(
    in_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = of_words(tmp_path_factory.mktemp("model") / "tokenizer.json", word_list())
    with running_llm("--model", "toy", "--ttft", "5ms", "--itl", "1ms") as url:
        words = [url, "--rate", "20/s", "--duration", "2s", "--input", "9", "--output", "2"]
        done = asks(*words, "--tokenizer", str(file), "--json", "result.json")
    summary = json.loads((in_folder / "result.json").read_text())
    assert ends_with(done.exit_code, summary, 0), done.err
    assert 'llm=Llm(tokenizer="tokenizer.json")' in done.out
    assert summary["llm"]["tokens"]["prompt"] == 9 * summary["requests"]["finished"]
    assert summary["llm"]["model"] == "toy", "the server lists it"


def test_a_tokenizer_that_cannot_be_used_is_an_error_beside_the_others(in_folder: Path) -> None:
    (in_folder / "saved").mkdir()
    (in_folder / "config.json").write_text('{"model_type": "qwen3"}')
    of_words(in_folder / "tokenizer.json")
    wrong = asks(URL, "--users", "0", "--tokenizer", "config.json")
    far = asks(URL, "--users", "1", "--tokenizer", "tokenizer.json", "--save", "saved/ask.py")

    assert wrong.exit_code == far.exit_code == 2
    assert "config.json is JSON, but not a tokenizer" in wrong.err
    assert "--users: '0' is not a number of users above 0" in wrong.err
    assert "--tokenizer: tokenizer.json is not in the folder of --save" in far.err
    assert not (in_folder / "saved" / "ask.py").exists()


def test_a_kept_scenario_names_the_tokenizer_of_its_folder() -> None:
    assert 'llm=Llm(tokenizer="data/tokenizer.json")' in text_of(rate="4/s", tokenizer="data/tokenizer.json")


@pytest.mark.usefixtures("in_folder")
def test_one_level_with_the_summary_on_stdout_prints_nothing_else_there() -> None:
    with running_llm("--model", "toy", "--ttft", "5ms", "--itl", "1ms") as url:
        done = asks(url, "--rate", "20/s", "--duration", "2s", "--input", "9", "--output", "2", "--json", "-")
    summary = json.loads(done.out)
    assert ends_with(done.exit_code, summary, 0), done.err
    assert (summary["exit_code"], summary["levels"], summary["knee"]) == (done.exit_code, [], None)
    assert "user.llm.chat(prompt(tokens=9), max_tokens=2)" in done.err


@pytest.mark.slow
def test_a_sweep_over_three_agents_ends_after_a_saturated_level(in_folder: Path) -> None:
    with running_llm("--model", "toy", "--slots", "8", "--ttft", "50ms", "--service", "500ms") as url:
        probe = f'[probes.vllm]\nurl = "{url}/metrics"\npreset = "vllm"\n'
        (in_folder / "loadgen.toml").write_text(probe)
        words = ["--each", "36s", "--settle", "4s", "--input", "20", "--output", "4", "--agents-per-region", "3"]
        done = asks(url, "--rate", "24/s,48/s,96/s", *words, "--json", "result.json", "--save", "ask.py")
    summary = json.loads((in_folder / "result.json").read_text())
    assert ends_with(done.exit_code, summary, 0), done.out + done.err
    (why,) = (reason for reason in summary["reasons"] if reason.startswith("stopped after"))
    assert "level 24/s is saturated" in why
    assert why.endswith("not run: 48/s, 96/s")
    assert why in " ".join(done.out.split())
    first, *others = summary["levels"]
    assert first["saturated"] is True
    assert first["achieved_per_s"] == pytest.approx(16, rel=0.05)
    assert first["in_flight"]["mean"] > first["queued"]["mean"] > 50
    assert first["tokens"]["output"] == 4 * first["requests"]["ok"]
    assert [(one["achieved_per_s"], one["requests"]["ok"], one["in_flight"]) for one in others] == [(None, 0, None)] * 2
    assert summary["requests"]["started"] == summary["requests"]["finished"] < 24 * 36 * 1.4
