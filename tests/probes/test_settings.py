"""Probes in a plan and in loadgen.toml: all errors at once, at their lines, and no secret in a message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.loadgen_toml import read_settings
from loadgen.errors import Fault, ScenarioError
from loadgen.probes.settings import ProbeSpec, place_of, probe_of, wrongs_of

SCENARIO = """
from loadgen import Plan, User, iterations, journey, metrics_page

@journey
async def home(user: User) -> None:
    await user.http.get("/")

plan = Plan(
    target="http://127.0.0.1:1",
    load=iterations(1),
    mix=home,
    probes=[
        {probes}
    ],
)
"""
GOOD = 'metrics_page("http://127.0.0.1:8000/metrics", preset="vllm")'


def plan_with(folder: Path, *probes: str) -> Any:
    path = folder / "s.py"
    path.write_text(SCENARIO.format(probes=",\n        ".join(probes)))
    return load(path).plan


def faults_of(folder: Path, *probes: str) -> list[Fault]:
    with pytest.raises(ScenarioError) as caught:
        plan_with(folder, *probes)
    return list(caught.value.faults)


def test_a_probe_of_a_plan_is_in_its_spec(tmp_path: Path) -> None:
    other = 'metrics_page("http://10.0.0.7/m", metrics=["up_total"], every="5s", name="gpu", auth_secret="login")'

    plan = plan_with(tmp_path, GOOD, other)

    assert plan.spec().probes == (
        ProbeSpec(name="vllm", url="http://127.0.0.1:8000/metrics", preset="vllm"),
        ProbeSpec(name="gpu", url="http://10.0.0.7/m", metrics=("up",), every_ns=5_000_000_000, auth_secret="login"),
    )
    assert plan.secrets == ()  # agents need no secret of a probe


def test_all_errors_of_all_probes_are_reported_at_once_at_their_lines(tmp_path: Path) -> None:
    found = faults_of(
        tmp_path,
        'metrics_page("127.0.0.1:8000", preset="vlm", every="soon")',
        'metrics_page("http://h/m", metrics="up", name="a b", auth_header="Host")',
        '"http://h/metrics"',
        GOOD,
        GOOD,
    )

    told = [(fault.line, fault.message) for fault in found]
    assert (13, "probes: preset: unknown preset 'vlm'") in told
    assert any(line == 13 and "url: " in message for line, message in told)
    assert any(line == 13 and message.startswith("probes: every: ") for line, message in told)
    assert (14, "probes: metrics: not a list of names") in told
    assert (14, "probes: name: 'a b' is not a valid name of a probe") in told
    assert (14, "probes: auth_header is not the name of a header") in told
    assert any("'http://h/metrics' is not a probe" in message for _, message in told)
    assert any('two probes are named "vllm"' in message for _, message in told)
    assert all(fault.hint for fault in found)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"url": "http://me:canary@h/m"}, "url: the URL contains credentials"),
        ({"url": "ftp://me:canary@h/m"}, "url: the URL contains credentials"),
        ({"url": "http://h/m?token=canary"}, "url: the URL has a fragment, or a query with a secret"),
        ({"url": "http://h/m", "auth_secret": "Bearer canary"}, "auth_secret is not the name of a secret"),
    ],
)
def test_a_secret_in_the_wrong_place_is_an_error_that_does_not_show_it(given: dict[str, str], why: str) -> None:
    probe, wrong = probe_of("p", {"preset": "vllm", **given})

    assert probe is None
    assert why in wrong[0][1]
    assert "canary" not in str(wrong)


@pytest.mark.parametrize("every", ["100ms", "2h", 0, -1, True, None])
def test_the_interval_has_limits(every: object) -> None:
    _, wrong = probe_of("p", {"url": "http://h/m", "preset": "vllm", "every": every})

    assert [key for key, _, _ in wrong] == ([] if every is None else ["every"])


def test_a_probe_from_another_process_is_checked_again() -> None:
    good = ProbeSpec(name="v", url="http://h/m", preset="vllm", metrics=("up",), auth_secret="a")

    assert not list(wrongs_of(good))
    assert not list(wrongs_of(ProbeSpec(name="v", url="http://h/m", preset="sglang")))
    assert list(wrongs_of(ProbeSpec(name="v", url="file:///etc/passwd", preset="vllm")))
    assert list(wrongs_of(ProbeSpec(name="../v", url="http://h/m", preset="vllm")))
    assert list(wrongs_of(ProbeSpec(name="v", url="http://h/m", preset="vllm", every_ns=1)))
    assert list(wrongs_of(ProbeSpec(name="v", url="http://h/m")))


@pytest.mark.parametrize(
    ("url", "place"),
    [("http://h/m", ("h", 80)), ("https://h/m", ("h", 443)), ("http://[::1]:9/m", ("::1", 9))],
)
def test_host_and_port_of_a_page(url: str, place: tuple[str, int]) -> None:
    assert place_of(url) == place


def test_probes_of_the_settings_are_read(tmp_path: Path) -> None:
    path = tmp_path / "loadgen.toml"
    path.write_text(
        '[probes.vllm]\nurl = "http://h:8000/metrics"\npreset = "vllm"\nevery = 2\n'
        '[probes.gpu]\nurl = "http://h:9400/metrics"\nmetrics = ["DCGM_FI_DEV_GPU_UTIL"]\n'
    )

    assert read_settings(path).probes == (
        ProbeSpec(name="vllm", url="http://h:8000/metrics", preset="vllm", every_ns=2_000_000_000),
        ProbeSpec(name="gpu", url="http://h:9400/metrics", metrics=("DCGM_FI_DEV_GPU_UTIL",)),
    )


def test_all_errors_of_the_settings_are_reported_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "loadgen.toml"
    path.write_text('[probes.a]\nurl = 7\npreset = "vlm"\nevry = "1s"\n[probes.b]\npreset = "vllm"\n')

    with pytest.raises(ScenarioError) as caught:
        read_settings(path)

    told = [(fault.line, fault.message) for fault in caught.value.faults]
    assert (2, "url: expected str, got int") in told
    assert (3, "probes.a: preset: unknown preset 'vlm'") in told
    assert (4, 'unknown key "probes.a.evry"') in told
    assert (5, "probes.b: url: the URL of the metrics page is missing") in told
    assert len(told) == 4
