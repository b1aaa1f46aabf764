"""A whole run on an unusual way to its target: a name sent elsewhere, a client certificate, a proxy."""

from __future__ import annotations

import json
import ssl
import tarfile
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from loadgen.measure.run_folder.rundir import RunDir
from loadgen.wire.codec import decode
from tests.support.in_thread import in_thread
from tests.support.proxy import SeenProxy, proxy
from tests.support.run import Finished, ends_with, loadgen
from tests.support.scenarios import write
from tests.support.scripted import Scripted, ok, scripted

SCENARIO = """
from loadgen import Http, Plan, User, arrivals, journey, secret


@journey
async def browse(user: User) -> None:
    await user.http.get("/", expect=200)


plan = Plan(
    target="{target}",
    load=arrivals("20/s").hold("1s"),
    mix=browse,
    ca="ca.pem",
    http=Http({http}),
)
"""
CERT = 'cert=("client.pem", secret("client-key"))'
LOGIN = "me:canary-of-the-proxy"


@contextmanager
def served(tls: ssl.SSLContext | None = None, status: str = "200 OK") -> Iterator[tuple[Scripted, SeenProxy]]:
    """A target and a proxy, each in a thread."""
    with in_thread(scripted(ok(b"x", status=status), tls=tls)) as server, in_thread(proxy(login=LOGIN)) as seen:
        yield server, seen


class Files:
    """A scenario's folder with its certificates; the key is elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        authority = trustme.CA()
        own = authority.issue_cert("worker@load.example")
        self.key = own.private_key_pem.bytes().decode()
        folder.mkdir()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        (folder / "client.pem").write_bytes(own.cert_chain_pems[0].bytes())
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("shop.example").configure_cert(self.context)
        authority.configure_trust(self.context)
        self.context.verify_mode = ssl.CERT_REQUIRED

    def scenario(self, target: str, http: str) -> str:
        return str(write(self.folder, SCENARIO.replace("{target}", target).replace("{http}", http)))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "scenario")


def assert_ran(run: Finished) -> None:
    assert ends_with(run.exit_code, run.summary, 0), run.out + run.err
    requests = run.summary["requests"]
    assert (requests["started"], requests["finished"], requests["errors"]) == (20, 20, 0)


def test_a_run_shows_its_certificate_to_a_name_that_was_sent_elsewhere_and_its_key_to_nobody(
    files: Files, tmp_path: Path
) -> None:
    with served(files.context) as (server, _):
        port = server.url.rpartition(":")[2]
        path = files.scenario(f"https://shop.example:{port}", CERT)
        args = ("run", path, "--resolve", f"shop.example:{port}:127.0.0.1")
        run = loadgen(*args, runs_dir=tmp_path / "runs", env={"LOADGEN_SECRET_CLIENT_KEY": files.key})
        assert {request.header("host") for request in server.requests} == {f"shop.example:{port}"}
    assert_ran(run)
    manifest = json.loads((run.folder / "manifest.json").read_text())
    assert manifest["overrides"]["resolve"] == {f"shop.example:{port}": ["127.0.0.1"]}
    assert manifest["spec"]["http"] == {
        "cert": ["client.pem", 'secret("client-key")'],
        "resolve": {f"shop.example:{port}": ["127.0.0.1"]},
    }
    assert f"resolve: shop.example:{port} was reached at 127.0.0.1, without DNS" in run.out
    assert "connections presented a client certificate" in run.out
    with tarfile.open(run.folder / "bundle.tar") as bundle:
        assert sorted(bundle.getnames()) == ["ca.pem", "client.pem", "scenario.py"]
    line = files.key.splitlines()[1]
    assert line not in run.out + run.err
    held = [p for p in (tmp_path / "runs").rglob("*") if p.is_file() and line.encode() in p.read_bytes()]
    assert held == []


def test_a_run_through_a_proxy_says_so_and_tells_its_login_to_nobody(files: Files, tmp_path: Path) -> None:
    with served(status="503 Busy") as (server, seen):  # what fails is kept whole, as it was sent
        http = f'proxy="{seen.url}", proxy_auth=secret("proxy-login")'
        path = files.scenario(server.url, http)
        run = loadgen("run", path, runs_dir=tmp_path / "runs", env={"LOADGEN_SECRET_PROXY_LOGIN": LOGIN})
        assert len(seen.requests) == 20
    assert ends_with(run.exit_code, run.summary, 1), run.out + run.err
    assert f"requests went through the proxy {seen.url}" in run.out
    kept = [json.loads(one.read_text()) for one in (run.folder / "failures").glob("*.json")]
    assert any("Proxy-Authorization" in json.dumps(one) for one in kept)
    for canary in ("canary-of-the-proxy", b64encode(LOGIN.encode()).decode()):
        held = [p for p in (tmp_path / "runs").rglob("*") if p.is_file() and canary.encode() in p.read_bytes()]
        deltas = [one for one in RunDir.open(run.folder).records() if canary in repr(decode(one))]
        assert (held, deltas, canary in run.out + run.err) == ([], [], False)


def test_certificates_that_were_not_verified_are_warned_of_before_and_told_after(files: Files, tmp_path: Path) -> None:
    with served() as (server, _):
        run = loadgen("run", files.scenario(server.url, "verify=False"), runs_dir=tmp_path / "runs")
    assert_ran(run)
    assert "scenario.py:15: http: verify=False accepts any certificate" in run.err
    assert "certificates were not verified (verify=False)" in run.out


def test_all_that_is_wrong_with_the_way_is_told_before_anything_starts(files: Files, tmp_path: Path) -> None:
    wrong_key = trustme.CA().issue_cert("worker@load.example").private_key_pem.bytes().decode()
    env = {"LOADGEN_SECRET_CLIENT_KEY": wrong_key, "LOADGEN_SECRET_PROXY_LOGIN": "nobody"}
    http = f'{CERT}, proxy="http://93.184.215.14:3128", proxy_auth=secret("proxy-login"), source=["198.51.100.1"]'
    path = files.scenario("http://127.0.0.1:1", http)
    run = loadgen(
        *("run", path, "--resolve", "shop.example:169.254.169.254"),
        *("--resolve", "api.example:nonsense"),
        runs_dir=tmp_path / "runs",
        env=env,
    )
    assert run.exit_code == 2
    assert not (tmp_path / "runs").exists()
    assert '--resolve: "api.example:nonsense" must be HOST[:PORT]:ADDRESS[,ADDRESS]' in run.err
    assert "resolve: shop.example has a link-local address, which is never allowed" in run.err
    assert "source: 198.51.100.1 is not an address of this machine" in run.err
    assert "the private key does not belong to the certificate" in run.err
    assert wrong_key.splitlines()[1] not in run.err


def test_check_takes_the_same_way(files: Files, tmp_path: Path) -> None:
    with served() as (server, _):
        port = server.url.rpartition(":")[2]
        path = files.scenario(f"http://shop.example:{port}", "")
        done = loadgen("check", path, "--resolve", f"shop.example:{port}:127.0.0.1", runs_dir=tmp_path)
        elsewhere = loadgen("check", path, "--resolve", f"shop.example:{port}:8.8.8.8", runs_dir=tmp_path)
        assert len(server.requests) == 1
    assert done.exit_code == 0, done.out + done.err
    assert elsewhere.exit_code == 2
    assert f"shop.example:{port} is sent to 8.8.8.8, which is public" in elsewhere.err
