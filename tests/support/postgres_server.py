"""A real PostgreSQL server for tests: its own folder, its own port, thrown away afterwards.

    with running_postgres() as server:
        psycopg.connect(server.dsn("postgres"))

The server listens on 127.0.0.1 only and trusts every user from there. Nothing is made durable (`fsync=off`), so it
starts in about a second. Under the user root, all programs of the server run as the user `postgres` by `runuser`,
because `initdb` and `postgres` refuse to run as root.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.ports import free_port

__all__ = ["LIBRARIES", "PostgresServer", "postgres_bin", "running_postgres"]

LIBRARIES = ("pg_stat_statements",)
"""The libraries that are loaded at the start of the server unless a test names others."""
_ALL_LIBRARIES = ("pg_stat_statements", "pg_wait_sampling", "pg_qualstats")
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "60",
    "max_wal_size": "512MB",
    "autovacuum_naptime": "600s",
    "track_io_timing": "on",
    "compute_query_id": "on",
    "jit": "off",
}
_START_S = 300
"""Generous: on a machine that is busy with other tests, `initdb` has taken a minute."""


@dataclass(slots=True)
class PostgresServer:
    """A running server. All users may log in without a password; `postgres` is the superuser."""

    bin: Path
    folder: Path
    port: int
    _as_owner: tuple[str, ...]
    host: str = "127.0.0.1"

    def dsn(self, dbname: str = "postgres", user: str = "postgres", **more: str) -> str:
        """Return a connection string for libpq, such as psycopg takes."""
        parts = {"host": self.host, "port": str(self.port), "dbname": dbname, "user": user, **more}
        return " ".join(f"{key}={value}" for key, value in parts.items())

    def url(self, dbname: str = "postgres", user: str = "postgres") -> str:
        """Return the same as a URL."""
        return f"postgresql://{user}@{self.host}:{self.port}/{dbname}"

    def sql(self, text: str, dbname: str = "postgres") -> str:
        """Run statements with `psql` as the superuser, and return their rows as text; an error fails the test."""
        command = [*self._psql(dbname), "-c", text]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def log(self) -> str:
        """Return what the server has logged so far."""
        return (self.folder / "log").read_text(errors="replace")

    def restart(self, mode: str = "immediate") -> None:
        """Stop the server, whoever is connected, and start it again on the same port; see `stop`."""
        self.stop(mode)
        self.start()

    def start(self) -> None:
        """Start the server and wait until it answers."""
        data, log = self.folder / "data", self.folder / "log"
        self.run("pg_ctl", "-D", str(data), "-l", str(log), "-w", "-t", str(_START_S), "-s", "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server: `fast` ends its sessions in order, `immediate` ends them as a crash would, and the
        newest transactions are lost."""
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-s", "-m", mode, "stop")

    def run(self, program: str, *args: str) -> None:
        """Run a program of the server as its owner, and fail the test if it fails."""
        command = [*self._as_owner, str(self.bin / program), *args]
        # The server inherits these descriptors, so a pipe would stay open as long as the server runs.
        said = self.folder / "said"
        with said.open("wb") as out:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/", timeout=_START_S + 30, check=False
            )
        log = self.folder / "log"
        assert done.returncode == 0, said.read_text(errors="replace") + (self.log() if log.exists() else "")

    def _psql(self, dbname: str) -> list[str]:
        return [str(self.bin / "psql"), "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", self.dsn(dbname)]


def postgres_bin() -> Path | None:
    """Return the folder of the newest PostgreSQL server of this machine; None if there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


@contextlib.contextmanager
def running_postgres(
    *, libraries: Sequence[str] = LIBRARIES, settings: Mapping[str, str] | None = None
) -> Iterator[PostgresServer]:
    """Start a new, empty server on a free port; skips the test if PostgreSQL or one of the libraries is missing.

    Args:
        libraries: `shared_preload_libraries`. pg_wait_sampling and pg_qualstats come last in the list.
        settings: settings of postgresql.conf, which win over those of this module.
    """
    programs = postgres_bin()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql-17)")
    folder = Path(tempfile.mkdtemp(prefix="loadgen-postgres-"))
    server = PostgresServer(programs, folder, free_port(), _owner(folder))
    wanted = [one for one in _ALL_LIBRARIES if one in libraries] + [x for x in libraries if x not in _ALL_LIBRARIES]
    try:
        server.run("initdb", "-D", str(folder / "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        lines = {**_SETTINGS, "port": str(server.port), "shared_preload_libraries": ",".join(wanted)}
        lines.update(settings or {})
        with (folder / "data/postgresql.conf").open("a") as conf:
            conf.writelines(f"{key} = '{value}'\n" for key, value in lines.items())
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _owner(folder: Path) -> tuple[str, ...]:
    """Return the command that runs a program as the owner of the server, and give it the folder."""
    if os.geteuid() != 0:
        return ()
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("there is no user postgres, and PostgreSQL refuses to run as root")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ("runuser", "-u", "postgres", "--")
