"""Debian's nginx as the second, real target: its own folder, its own port, its own access log.

    with running_nginx() as nginx:
        ...  # nginx.url
        nginx.access_log_count()

With `tls=True` also over TLS (`nginx.tls_url`) and over HTTP/2 and TLS (`nginx.http2_url`), trusted by `nginx.ca`.
With `http3=True` also over HTTP/3 (`nginx.http3_url`): the same port over TCP offers it (Alt-Svc), with HTTP/2.
`/` small HTML, `/json` JSON (GET and POST), `/1k` exactly 1,024 bytes, `/status/404` and `/status/503` those statuses.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import trustme

from tests.support.ports import free_ports

__all__ = ["JSON_BODY", "RunningNginx", "nginx_path", "running_nginx"]

JSON_BODY = '{"ok":true,"items":[{"id":1,"name":"one"},{"id":2,"name":"two"},{"id":3,"name":"three"}]}'
_HTML = "<!doctype html><html><head><title>nginx</title></head><body><h1>It works</h1></body></html>"
_LOG_FORMAT = "$request_method $uri $status $connection $connection_requests $msec"
_CONFIG = """
daemon off;
worker_processes 1;
error_log {folder}/error.log warn;
pid {folder}/nginx.pid;
worker_rlimit_nofile 20000;
events {{ worker_connections 16384; }}
http {{
    log_format counted escape=json '{log_format}';
    access_log {access_log};
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 100000000;
    keepalive_timeout 600s;
    tcp_nodelay on;
    {settings}
    {servers}
}}
"""
_SERVER = """
    server {{
        listen {host}:{port} {listen} backlog=4096;
        {settings}
        default_type application/json;
        location = / {{ default_type text/html; return 200 '{html}'; }}
        location = /json {{ return 200 '{json}'; }}
        location = /1k {{ default_type text/plain; return 200 '{one_k}'; }}
        location = /ready {{ access_log off; return 204; }}
        location = /status/404 {{ return 404; }}
        location = /status/503 {{ return 503; }}
    }}
"""


@dataclass(frozen=True, slots=True)
class RunningNginx:
    url: str
    pid: int
    """Of the master."""
    worker_pid: int
    access_log: Path
    tls_url: str = ""
    http2_url: str = ""
    http3_url: str = ""
    ca: Path | None = None
    """What to trust, as PEM."""

    def access_log_count(self) -> int:
        """Requests that nginx has answered and logged; it logs right after the last byte, so see `settled_count`."""
        with self.access_log.open("rb") as log:
            return sum(1 for _ in log)

    def counts(self) -> Counter[str]:
        """The same by `METHOD /path status`."""
        with self.access_log.open() as log:
            return Counter(" ".join(line.split()[:3]) for line in log)

    def served(self) -> list[tuple[float, str]]:
        """When each was logged (Unix time, whole ms), and its path."""
        with self.access_log.open() as log:
            return [(float(parts[-1]), parts[1]) for parts in map(str.split, log)]

    def connections(self) -> int:
        """How many connections the logged requests came over."""
        with self.access_log.open() as log:
            return len({line.split()[3] for line in log})

    def most_within(self, seconds: float) -> int:
        """The largest number of requests that were logged within any `seconds`."""
        at_s = np.sort([at for at, _ in self.served()])
        return int((np.searchsorted(at_s, at_s + seconds) - np.arange(len(at_s))).max())

    def settled_count(self, expected: int, within_s: float = 60.0) -> int:
        """The count once it has reached `expected`, or what it is after `within_s`."""
        deadline = time.monotonic() + within_s
        while (count := self.access_log_count()) < expected and time.monotonic() < deadline:
            time.sleep(0.01)
        return count


def nginx_path() -> str | None:
    """Where nginx is; None where it is not installed."""
    found = shutil.which("nginx") or "/usr/sbin/nginx"
    return found if os.access(found, os.X_OK) else None


@contextlib.contextmanager
def running_nginx(
    *,
    cpus: Sequence[int] | None = None,
    log: bool = True,
    tls: bool = False,
    http3: bool = False,
    host: str = "127.0.0.1",
    log_format: str = _LOG_FORMAT,
    locations: str = "",
    http_settings: str = "",
) -> Iterator[RunningNginx]:
    """Start nginx with one worker on a free port; skips the test where nginx is not installed.

    Args:
        cpus: pin it to these (Linux).
        log: False: no access log, for benchmarks.
        tls: it listens on two more ports, with TLS.
        http3: it listens on one more port, with HTTP/3. Skips the test where nginx was built without it.
        host: the address to listen at.
        log_format: of the access log, with nginx's variables.
        locations: more of them, as in its configuration.
        http_settings: more of them, for all servers. {folder} is replaced by a folder that is removed at the end.
    """
    program = nginx_path()
    if program is None:
        pytest.skip("nginx is not installed (Debian: nginx-light)")
    folder = Path(tempfile.mkdtemp(prefix="loadgen-nginx-"))
    folder.chmod(0o755)  # started as root, the worker runs as another user
    access_log = folder / "access.log"
    port, tls_port, http2_port, http3_port = free_ports(4, host)
    servers = [_server(port, settings=locations, host=host)]
    settings = _certificate(folder) if tls or http3 else ""
    if http3:
        _skip_without_http3(program)
        offer = f"add_header alt-svc 'h3=\":{http3_port}\"; ma=86400' always;"
        listen = f"listen {host}:{http3_port} quic; http2 on;"
        servers.append(_server(http3_port, "ssl", f"{settings} {listen} {offer} {locations}", host))
    if tls:
        servers += [_server(tls_port, "ssl", settings), _server(http2_port, "ssl", f"{settings} http2 on;")]
    config = _CONFIG.format(
        folder=folder,
        log_format=log_format,
        access_log=f"{access_log} counted" if log else "off",
        servers="".join(servers),
        settings=http_settings.format(folder=folder),
    )
    (folder / "nginx.conf").write_text(config)
    if log:
        access_log.touch()
    command = [program, "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        url = f"http://{host}:{port}"
        _wait_until_ready(process, url)
        if cpus is not None:
            os.sched_setaffinity(process.pid, cpus)
            os.sched_setaffinity(_worker_of(process.pid), cpus)
        running = RunningNginx(url, process.pid, _worker_of(process.pid), access_log)
        if http3:
            running = replace(running, http3_url=f"https://{host}:{http3_port}", ca=folder / "ca.pem")
        if tls:
            running = replace(
                running,
                tls_url=f"https://127.0.0.1:{tls_port}",
                http2_url=f"https://127.0.0.1:{http2_port}",
                ca=folder / "ca.pem",
            )
        yield running
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stderr is not None:
            process.stderr.close()
        shutil.rmtree(folder, ignore_errors=True)


def _skip_without_http3(program: str) -> None:
    said = subprocess.run([program, "-V"], capture_output=True, text=True, check=True).stderr
    if "--with-http_v3_module" not in said:
        pytest.skip("this nginx was built without HTTP/3")


def _server(port: int, listen: str = "", settings: str = "", host: str = "127.0.0.1") -> str:
    return _SERVER.format(
        host=host, port=port, listen=listen, settings=settings, html=_HTML, json=JSON_BODY, one_k="x" * 1024
    )


def _certificate(folder: Path) -> str:
    """Write a certificate for 127.0.0.1 and the authority that signed it; nginx's settings for it."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    return f"ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.pem;"


def _wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"{url}/ready", timeout=5).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                said = (
                    process.stderr.read().decode() if process.stderr is not None and process.poll() is not None else ""
                )
                raise AssertionError(f"nginx did not start: {said}") from None
            time.sleep(0.01)
        else:
            return


def _worker_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return int(children.read_text().split()[0]) if children.exists() else pid
