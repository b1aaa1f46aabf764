"""`[trace.NAME]` of loadgen.toml: all errors at once, at their lines, and no secret in a message."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.backends.settings import AuthHeader, TraceSource
from loadgen.dsl.plans.loadgen_toml import Settings, read_environment, read_settings
from loadgen.errors import Fault, ScenarioError

GOOD = """
[env.staging]
target = "https://staging.shop.example"
trace = "staging"

[env.other]
target = "https://other.shop.example"

[trace.staging]
backend = "jaeger"
url = "https://jaeger.staging.example/"
auth = { header = "Authorization", secret = "jaeger-token" }
keep = ["tenant", "app.*"]

[trace.dd]
backend = "datadog"
url = "https://api.datadoghq.eu"
auth = [{ header = "DD-API-KEY", secret = "dd-api-key" }, { header = "DD-APPLICATION-KEY", secret = "dd-app-key" }]

[trace.local]
backend = "collector"

[trace.aws]
backend = "xray"
region = "eu-west-1"

[trace.grafana]
backend = "tempo"
url = "http://tempo:3200/tempo"
tenant = "team|b"
"""


def settings_of(folder: Path, text: str) -> Settings:
    path = folder / "loadgen.toml"
    path.write_text(text)
    return read_settings(path)


def faults_of(folder: Path, text: str) -> list[Fault]:
    with pytest.raises(ScenarioError) as caught:
        settings_of(folder, text)
    return list(caught.value.faults)


def messages(folder: Path, table: str) -> list[str]:
    return [fault.message for fault in faults_of(folder, f"[trace.t]\n{table}\n")]


def test_sources_are_read_by_name(tmp_path: Path) -> None:
    sources = settings_of(tmp_path, GOOD).traces

    assert list(sources) == ["staging", "dd", "local", "aws", "grafana"]
    assert sources["staging"] == TraceSource(
        name="staging",
        backend="jaeger",
        url="https://jaeger.staging.example",
        auth=(AuthHeader("Authorization", "jaeger-token"),),
        keep=("tenant", "app.*"),
    )
    assert sources["dd"].secrets == ("dd-api-key", "dd-app-key")
    assert sources["local"].url == "http://127.0.0.1:4318"
    assert (sources["aws"].region, sources["aws"].url) == ("eu-west-1", "")
    assert sources["grafana"].tenant == "team|b"


def test_an_environment_chooses_its_source(tmp_path: Path) -> None:
    settings_of(tmp_path, GOOD)
    assert read_environment(tmp_path / "s.py", "staging").trace == "staging"
    assert read_environment(tmp_path / "s.py", "other").trace is None


def test_an_environment_with_an_unknown_source_is_an_error_with_the_nearest_name(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, GOOD.replace('trace = "staging"', 'trace = "stagin"'))
    assert (fault.line, fault.message) == (4, 'trace: no source "stagin"')
    assert "staging" in fault.hint


def test_all_errors_of_all_tables_are_reported_at_once_at_their_lines(tmp_path: Path) -> None:
    text = """[trace.a]
backend = "jager"
url = "ftp://jaeger.example"
[trace.b]
url = "https://zipkin.example"
speed = 5
keep = ["*", "tenant"]
[trace.c]
backend = "zipkin"
tenant = "x"
ca = "missing.pem"
[trace]
d = 5
"""
    found = {(fault.line, fault.message) for fault in faults_of(tmp_path, text)}
    assert found == {
        (2, "trace.a: backend: unknown backend 'jager'"),
        (3, "trace.a: url: 'ftp://jaeger.example' is not an http or https URL"),
        (4, "trace.b: the backend is missing"),
        (6, 'unknown key "trace.b.speed"'),
        (7, "trace.b: keep: '*' is not the name of an attribute"),
        (8, "trace.c: the url is missing"),
        (10, "trace.c: tenant: only the backend tempo has this key"),
        (11, "trace.c: ca: missing.pem does not exist"),
        (13, "trace.d is not a table"),
    }
    assert all(fault.hint for fault in faults_of(tmp_path, text))


def test_a_value_of_the_wrong_type_is_reported_once(tmp_path: Path) -> None:
    found = messages(tmp_path, 'backend = "jaeger"\nurl = 5\nkeep = "tenant"\nauth = "jaeger-token"')
    assert len(found) == 3
    assert all("xpected" in one for one in found)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://me:canary@jaeger.example", "url: the URL contains credentials"),
        ("https://canary@jaeger.example", "url: the URL contains credentials"),
        ("https://jaeger.example/?api_key=canary", "url: the query contains a secret"),
        ("https://jaeger.example/?a=1", "url: must have neither a query nor a fragment"),
        ("https://jaeger.example/#x", "url: must have neither a query nor a fragment"),
        ("jaeger.example:16686", "url: not a URL with a valid host and port"),
        ("http://[::1", "url: not a URL with a valid host and port"),
        ("http://jaeger:0", "url: 'http://jaeger:0' is not an http or https URL"),
        ("http://jaeger/a b", "url: 'http://jaeger/a b' is not an http or https URL"),
        ("file:///etc/passwd", "url: not a URL with a valid host and port"),
    ],
)
def test_a_bad_url_is_an_error_and_a_password_is_not_shown(tmp_path: Path, url: str, why: str) -> None:
    faults = faults_of(tmp_path, f'[trace.t]\nbackend = "jaeger"\nurl = "{url}"\n')
    assert [fault.message for fault in faults] == [f"trace.t: {why}"]
    assert "canary" not in str(faults)


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ('backend = "xray"\nurl = "https://x"', "url: the backend xray has no url"),
        ('backend = "xray"\nregion = "Europe"', "region: 'Europe' is not a region"),
        (
            'backend = "xray"\nauth = { header = "X", secret = "s" }',
            "auth: X-Ray uses the credentials of AWS",
        ),
        (
            'backend = "datadog"\nurl = "https://api.datadoghq.eu"',
            "auth: Datadog needs an API key and an application key",
        ),
        (
            'backend = "jaeger"\nurl = "http://j"\nauth = { header = "Authorization", secret = "Bearer canary" }',
            "auth: secret must be the name of a secret",
        ),
        (
            'backend = "jaeger"\nurl = "http://j"\nauth = { header = "Host", secret = "s" }',
            "auth: header must be the name of an HTTP header that you may set",
        ),
        (
            'backend = "jaeger"\nurl = "http://j"\nauth = [{header="A",secret="s"},{header="a",secret="t"}]',
            "auth: the same header occurs twice",
        ),
        ('backend = "tempo"\nurl = "http://t"\ntenant = "a b"', "tenant: invalid characters, or longer than 150"),
    ],
)
def test_what_does_not_fit_the_backend_is_an_error(tmp_path: Path, table: str, why: str) -> None:
    found = messages(tmp_path, table)
    assert found == [f"trace.t: {why}"]
    assert "canary" not in str(found)
