"""`loadgen.toml`: environments become overrides, and everything wrong in the file is told at once, by line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.dsl.find_settings import find_settings
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.loadgen_toml import Policy, merged, read_environment, read_places, read_settings
from loadgen.dsl.plans.spec import Overrides
from loadgen.errors import Fault, ScenarioError
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.planning.option_parsing import overrides_of
from tests.support.scenarios import browse_with

STAGING = """
[env.staging]
target = "https://staging.shop.example"
regions = { eu = 1, us = 3 }
allow = ["staging.shop.example"]
params = { pool = 8, fast = true, name = "x" }

[env.prod]
targets = { api = "https://api.example", login = "https://login.example" }
regions = ["eu", "us"]

[policy]
slos = true
tags = ["service"]
max_rate = 500
"""


def settings_with(folder: Path, text: str) -> Path:
    path = folder / "loadgen.toml"
    path.write_text(text)
    return path


def wrong_in(folder: Path, text: str) -> list[str]:
    with pytest.raises(ScenarioError) as raised:
        read_settings(settings_with(folder, text))
    return [f"{fault.line} {fault.message} | {fault.hint}" for fault in raised.value.faults]


def test_an_environment_is_overrides(tmp_path: Path) -> None:
    settings_with(tmp_path, STAGING)
    staging = read_environment(tmp_path / "scenario.py", "staging")
    assert staging.allow == ("staging.shop.example",)
    assert staging.overrides == Overrides(
        target="https://staging.shop.example",
        regions={"eu": 1, "us": 3},
        env="staging",
        env_params={"pool": "8", "fast": "true", "name": "x"},
        allow=("staging.shop.example",),
    )
    assert Overrides.from_json(staging.overrides.to_json()) == staging.overrides


def test_policy_for_results_is_any_or_sure(tmp_path: Path) -> None:
    path = tmp_path / "loadgen.toml"
    path.write_text('[policy]\nobjectives = "sure"\n')
    assert read_settings(path).policy == Policy(objectives="sure")
    path.write_text('[policy]\nobjectives = "certain"\n')
    with pytest.raises(ScenarioError) as error:
        read_settings(path)
    (fault,) = error.value.faults
    assert (fault.line, fault.hint) == (2, 'objectives = "sure"')
    assert fault.message.startswith("objectives: ")


def test_a_policy_is_typed_and_regions_may_be_names(tmp_path: Path) -> None:
    settings = read_settings(settings_with(tmp_path, STAGING))
    assert settings.policy == Policy(slos=True, tags=("service",), max_rate=500)
    assert settings.environments["prod"].overrides.regions == {"eu": 1.0, "us": 1.0}
    assert read_settings(None).environments == {}


def test_the_file_is_looked_for_above_up_to_the_repository(tmp_path: Path) -> None:
    inner = tmp_path / "repository" / "scenarios"
    inner.mkdir(parents=True)
    settings_with(tmp_path, "")
    assert find_settings(inner / "scenario.py") == tmp_path / "loadgen.toml"
    (tmp_path / "repository" / ".git").mkdir()
    assert find_settings(inner / "scenario.py") is None
    settings_with(tmp_path / "repository", "")
    assert find_settings(inner / "scenario.py") == tmp_path / "repository" / "loadgen.toml"


def test_a_file_in_a_folder_of_everybody_is_not_looked_for_from_below(tmp_path: Path) -> None:
    """Else whoever shares /tmp could have figures sent elsewhere."""
    inner = tmp_path / "scenarios"
    inner.mkdir()
    path = settings_with(tmp_path, "")
    tmp_path.chmod(0o777)
    assert find_settings(inner / "scenario.py") == path, "as on a mount that has no owners"
    tmp_path.chmod(0o1777)
    assert find_settings(inner / "scenario.py") is None
    assert find_settings(tmp_path / "scenario.py") == path, "beside it is beside it"


def test_every_fault_of_the_file_is_told_with_its_line(tmp_path: Path) -> None:
    text = """[env.staging]
target = "staging.shop.example"
targts = { api = "https://a.example" }
allow = ["https://shop.example/"]

[env.prod]
regions = { eu = -1 }
params = { "a b" = 1 }
target = 3

[polcy]
slos = true

[policy]
slos = "yes"
max_rate = -1
"""
    assert wrong_in(tmp_path, text) == [
        "2 target: 'staging.shop.example' is not an http or https URL | write \"http://staging.shop.example\"",
        '3 unknown key "env.staging.targts" | did you mean "targets"?',
        "4 allow: 'https://shop.example/' is not a host | write a name or an address, as in \"shop.example\"",
        "7 the weight of eu is -1 | write a finite number of at least 0",
        "8 params: 'a b' is not a valid name of a param | use the name in param(name, ...)",
        '9 target: expected str | null, got int | target = "https://staging.shop.example"',
        '11 unknown key "polcy" | did you mean "policy"?',
        "15 slos: expected bool, got str | write slos = true",
        "16 policy: invalid max_rate -1 | write iterations/s, above 0",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[env.a\n", "1 invalid TOML: "),
        ("x = 1\n", '1 unknown key "x"'),
        ("env = 3\n", "1 env is not a table"),
        ("[env]\na = 3\n", "2 env.a is not a table"),
        ("policy = 1\n", "1 policy is not a table"),
        ("[env.a]\nregions = {eu = 0}\n", "2 regions: all weights are 0"),
        ("env.a.target = 'x'\n", "1 target: 'x' is not an http or https URL"),
        ("history = 's3://perf'\n", "1 history is not a table | write [history]"),
        ("[history]\nstore = 3\n", '2 store: expected str | null, got int | store = "s3://perf/history"'),
        ("[history]\nstore = 'gs://perf'\n", '2 store: "gs://perf" is not a folder or an s3:// URL'),
        ("[history]\nstore = ''\n", '2 store: "" is not a folder or an s3:// URL'),
        ("[history]\nstor = 'x'\n", '2 unknown key "history.stor" | did you mean "store"?'),
        ("[env.a]\nstore = 'http://x'\n", '2 store: "http://x" is not a folder or an s3:// URL'),
        ("out = ['ndjson=x']\n", "1 out is not a table | write [out]"),
        ("[out]\nrun = 'ndjson=x'\n", "2 run: expected array | null, got str | run = ["),
        ("[out]\nrun = ['ndjsn=x']\n", '2 run: "ndjsn" is not a kind of output | did you mean "ndjson"?'),
        ("[out]\nrun = ['x']\n", '2 run: "x" is not a kind of output | use one of "prometheus", '),
        ("[env.a]\nout = ['x=y', 'ndjson=z']\n", '2 out: "x" is not a kind of output'),
    ],
)
def test_a_file_with_one_fault(tmp_path: Path, text: str, told: str) -> None:
    (line,) = wrong_in(tmp_path, text)
    assert line.startswith(told)


def test_places_are_of_the_file_and_an_environment_may_have_others(tmp_path: Path) -> None:
    text = """
[history]
store = "s3://perf/history"

[out]
run = ["prometheus=:9464"]

[env.staging]
store = "kept/staging"

[env.laptop]
out = []
"""
    path, scenario = settings_with(tmp_path, text), tmp_path / "scenarios" / "scenario.py"
    house, staging, laptop = (read_places(scenario, env) for env in (None, "staging", "laptop"))
    assert (house.path, house.store, house.out) == (path, "s3://perf/history", ("prometheus=:9464",))
    assert (staging.store, staging.out) == (str(tmp_path / "kept" / "staging"), house.out)
    assert (laptop.store, laptop.out) == (house.store, ())


def test_history_may_be_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell has it in --store; else a folder called ~ would be made."""
    monkeypatch.setenv("HOME", "/home/ann")
    settings_with(tmp_path, '[history]\nstore = "~/perf"\n')
    assert read_places(tmp_path / "scenario.py", None).store == "/home/ann/perf"
    settings_with(tmp_path, '[history]\nstore = "~nobody-of-that-name/perf"\n')
    assert read_places(tmp_path / "scenario.py", None).store == str(tmp_path / "~nobody-of-that-name" / "perf")


def test_without_a_file_no_places_are_said(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    found = read_places(tmp_path / "scenario.py", None)
    assert (found.path, found.store, found.out) == (None, None, ())


def test_faults_of_places_are_told_with_all_others(tmp_path: Path) -> None:
    text = """[history]
store = "ftp://perf"

[out]
run = ["ndjsn=x", "statsd=:8125", "y"]

[env.a]
target = "x"
"""
    assert [line.partition(" | ")[0] for line in wrong_in(tmp_path, text)] == [
        '2 store: "ftp://perf" is not a folder or an s3:// URL',
        '5 run: "ndjsn" is not a kind of output',
        '5 run: "y" is not a kind of output',
        "8 target: 'x' is not an http or https URL",
    ]


@given(st.text(alphabet='[]env.=ab"{}\n 1,policy', max_size=60))
def test_no_text_crashes_the_reading(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.getbasetemp() / "texts"  # by itself: below a file of nonsense no command works
    folder.mkdir(exist_ok=True)
    path = settings_with(folder, text)
    read: Path | None = None
    faults: tuple[Fault, ...] = ()
    try:
        read = read_settings(path).path
    except ScenarioError as error:
        faults = error.faults
    assert (read == path) != bool(faults)
    assert all(fault.file == str(path) and fault.message for fault in faults)


def test_an_environment_that_is_not_there_is_told_with_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    for text, told in (
        (None, "no loadgen.toml in the folder of scenario.py or above"),
        (STAGING, 'no environment "stagin"'),
    ):
        if text is not None:
            settings_with(tmp_path, text)
        with pytest.raises(ScenarioError) as raised:
            read_environment(tmp_path / "scenario.py", "stagin")
        assert raised.value.faults[0].message == told
    assert raised.value.faults[0].hint == 'did you mean "staging"?'


def options(path: Path, **given: object) -> Overrides:
    wrongs = CollectedErrors()
    usual: dict[str, object] = dict.fromkeys(("target", "rate", "users", "duration", "regions"))
    overrides = overrides_of(wrongs, **(usual | {"params": (), "scenario": path} | given))  # type: ignore[arg-type]
    wrongs.check()
    return overrides


def test_the_command_line_beats_the_file(tmp_path: Path) -> None:
    settings_with(tmp_path, STAGING)
    path = tmp_path / "scenario.py"
    chosen = options(path, env="staging", target="http://x", regions="us", params=["pool=9"], rate="7/s")
    assert (chosen.target, chosen.regions, chosen.peak) == ("http://x", {"us": 3}, 7)
    assert (chosen.params, chosen.env_params["pool"], chosen.env) == ({"pool": "9"}, "8", "staging")
    assert options(path, env="staging").target == "https://staging.shop.example"
    assert options(path) == Overrides() == merged(None, Overrides())
    with pytest.raises(ScenarioError, match='no environment "stage"'):
        options(path, env="stage")


def test_params_of_an_environment_serve_several_scenarios(tmp_path: Path) -> None:
    path = browse_with(tmp_path, load='arrivals(param("pool", int, default=4)).hold("10s")')
    settings_with(tmp_path, STAGING)
    spec = load(path, None, options(path, env="staging")).plan.spec()
    assert (spec.total_arrivals, spec.environment, spec.params) == (80, "staging", {"pool": 8})
    assert load(path, None, options(path, env="staging", params=["pool=2"])).plan.spec().total_arrivals == 20


def test_a_target_that_the_environment_leaves_as_it_was_is_told(tmp_path: Path) -> None:
    targets = 'targets={"api": "https://api.shop.example", "pay": "https://pay.shop.example"}'
    path = browse_with(tmp_path, target="None", regions=f"['eu', 'us'], {targets}")
    settings_with(tmp_path, STAGING)
    scenario = load(path, None, options(path, env="prod"))
    assert scenario.plan.spec().targets == {"api": "https://api.example", "pay": "https://pay.shop.example"}
    assert scenario.plan.target == "https://api.example"
    assert sorted(warning.message for warning in scenario.warnings) == [
        '[env.prod] has a target "login" that the plan does not have; remove it, or correct the name',
        '[env.prod] has no target "pay": it stays https://pay.shop.example; add it there to change it',
    ]


def test_report_settings_are_a_title_and_an_owner(tmp_path: Path) -> None:
    path = settings_with(tmp_path, '[report]\ntitle = "Shop, weekly"\nowner = "Shop team"\n')

    found = read_settings(path).report

    assert (found.title, found.owner) == ("Shop, weekly", "Shop team")
    assert read_settings(None).report.title == ""
    assert wrong_in(tmp_path, '[report]\ntitel = "Shop"\ntitle = 3\n') == [
        '2 unknown key "report.titel" | did you mean "title"?',
        '3 title: expected str, got int | title = "Shop, weekly load test"',
    ]
