"""Debian's PgBouncer in front of a database: its own folder, its own port, stopped by its pid.

    with running_postgres() as postgres, running_pgbouncer(postgres.port, pool_size=2) as bouncer:
        psycopg.connect(bouncer.url())
        bouncer.show("POOLS")

`postgres` and the users of `users=` may log in without a password, and `pgbouncer` is the user of its console. Under
the user root it runs as `postgres`, because PgBouncer refuses to run as root.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.support.ports import free_port

__all__ = ["PgBouncer", "running_pgbouncer"]

_START_S = 30
_CONFIG = """
[databases]
* = host=127.0.0.1 port={database_port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
admin_users = pgbouncer
pool_mode = {mode}
default_pool_size = {pool_size}
max_client_conn = 500
max_prepared_statements = {prepared}
ignore_startup_parameters = extra_float_digits
server_login_retry = 1
logfile = {folder}/log
pidfile = {folder}/pid
"""


@dataclass(frozen=True, slots=True)
class PgBouncer:
    """A running PgBouncer. pid: of its process."""

    port: int
    pid: int
    host: str = "127.0.0.1"

    def url(self, dbname: str = "postgres", user: str = "postgres") -> str:
        return f"postgresql://{user}@{self.host}:{self.port}/{dbname}"

    def dsn(self, dbname: str = "postgres", user: str = "postgres") -> str:
        return f"host={self.host} port={self.port} dbname={dbname} user={user}"

    def show(self, what: str) -> list[dict[str, Any]]:
        """Return the rows of `SHOW POOLS`, `SHOW STATS` and so on. The console takes only the simple protocol."""
        with psycopg.connect(self.dsn("pgbouncer", "pgbouncer"), autocommit=True, row_factory=dict_row) as console:
            return console.execute(f"SHOW {what}").fetchall()


@contextlib.contextmanager
def running_pgbouncer(
    database_port: int,
    *,
    pool_size: int = 20,
    mode: str = "transaction",
    prepared: int = 0,
    users: Sequence[str] = (),
) -> Iterator[PgBouncer]:
    """Start PgBouncer on a free port; skips the test if it is not installed.

    Args:
        database_port: of a PostgreSQL on 127.0.0.1 that trusts all users.
        pool_size: connections to the database, for each pair of user and database.
        prepared: statements that PgBouncer prepares for its clients; 0: none, so clients must not prepare either.
        users: those of the database, besides `postgres`.
    """
    program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    if not os.access(program, os.X_OK):
        pytest.skip("PgBouncer is not installed (Debian: pgbouncer)")
    folder = Path(tempfile.mkdtemp(prefix="loadgen-pgbouncer-"))
    port = free_port()
    config = folder / "pgbouncer.ini"
    config.write_text(
        _CONFIG.format(
            database_port=database_port, port=port, mode=mode, pool_size=pool_size, prepared=prepared, folder=folder
        )
    )
    logins = folder / "users"
    logins.write_text("".join(f'"{user}" ""\n' for user in ("postgres", "pgbouncer", *users)))
    command = [program, str(config)]
    if os.geteuid() == 0:
        try:
            owner = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("there is no user postgres, and PgBouncer refuses to run as root")
        for path in (folder, config, logins):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        # setpriv, unlike runuser, becomes the program, so its pid is that of PgBouncer.
        command = ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups", *command]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        bouncer = PgBouncer(port, process.pid)
        _wait_until_ready(process, bouncer, folder)
        yield bouncer
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_ready(process: subprocess.Popen[bytes], bouncer: PgBouncer, folder: Path) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            bouncer.show("VERSION")
        except psycopg.OperationalError:
            log = folder / "log"
            said = log.read_text(errors="replace") if log.exists() else ""
            assert process.poll() is None, f"PgBouncer did not start: {said}"
            assert time.monotonic() < deadline, f"PgBouncer is not ready: {said}"
            time.sleep(0.02)
        else:
            return
