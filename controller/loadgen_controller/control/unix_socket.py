"""How a run that goes on is spoken to from another terminal: a UNIX socket of its conducting process.

One connection, one line of JSON there (`ControlRequest`), one back (`ControlReply`). The socket lies in
a folder that only its owner may enter, and whoever connects must be of the same
user; where it is stands in `control.json` of the run's folder while the run goes on.

Whatever is sent, nothing but an answer comes of what is no question: a line that is
too long, no JSON, or of another run changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import pwd
import socket
import stat
import struct
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal

import msgspec

from loadgen.errors import ExitCode, FleetError, LoadgenError, StorageError, UsageError
from loadgen.measure.run_folder.rundir import find_run, list_runs, replace_file

__all__ = [
    "CONTROL_FILE",
    "ControlAction",
    "ControlReply",
    "ControlRequest",
    "Going",
    "ask",
    "going",
    "going_all",
    "listening",
]

CONTROL_FILE: Final = "control.json"
MAX_LINE_BYTES: Final = 4_096
"""Of a question; answers are ours and short."""
_PATIENCE_S: Final = 5.0
"""For a line that was begun, and for an answer."""
_MAX_PATH_BYTES: Final = 100
"""Of a UNIX socket's path; kernels take 104 or 108."""
_FORMAT: Final = 1


ControlAction = Literal["pause", "resume", "scale", "skip", "stop", "kill"]


class ControlRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is asked of a run."""

    run_id: str
    do: ControlAction
    load: str | None = None
    factor: float | None = None
    rate: float | None = None
    users: float | None = None
    now: bool = False
    """Of stop: cut off what is in flight."""


class ControlReply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer: what was done, or why it was not."""

    lines: tuple[str, ...] = ()
    error: str = ""
    hint: str = ""
    exit_code: int = 0


class Going(msgspec.Struct, frozen=True, kw_only=True):
    """`control.json`: a run that goes on, and where to ask."""

    format: int
    run_id: str
    socket: str
    pid: int
    host: str


# -- the run's side ------------------------------------------------------------------------------


@asynccontextmanager
async def listening(
    run_dir: Path, run_id: str, answer: Callable[[ControlRequest, str], ControlReply]
) -> AsyncIterator[None]:
    """Listen while within.

    Args:
        answer: of a question and who asks ("root, process 4711"). An error of ours is told, any other is a bug.

    Raises:
        OSError, StorageError: it cannot listen; the run can do without.
    """
    path = _socket_path(run_id)
    server = await asyncio.start_unix_server(
        lambda reader, writer: _serve(reader, writer, run_id, answer), path=str(path), limit=MAX_LINE_BYTES
    )
    file = run_dir / CONTROL_FILE
    try:
        path.chmod(0o600)
        found = Going(format=_FORMAT, run_id=run_id, socket=str(path), pid=os.getpid(), host=socket.gethostname())
        replace_file(file, msgspec.json.encode(found) + b"\n")
        yield
    finally:
        server.close()
        file.unlink(missing_ok=True)
        path.unlink(missing_ok=True)


async def _serve(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    run_id: str,
    answer: Callable[[ControlRequest, str], ControlReply],
) -> None:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            told = await _answered(reader, writer, run_id, answer)
            if told is not None:
                writer.write(msgspec.json.encode(told) + b"\n")
                writer.write_eof()
                while await reader.read(MAX_LINE_BYTES):  # closed with something unread, the answer would be lost
                    pass
    except (TimeoutError, OSError):
        pass  # whoever asked is gone, or asks nothing
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _answered(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    run_id: str,
    answer: Callable[[ControlRequest, str], ControlReply],
) -> ControlReply | None:
    pid, uid = _peer(writer)
    if uid != os.getuid():
        return _wrong(UsageError("this run is another user's"))
    try:
        line = await reader.readline()
    except ValueError:  # no end of the line within the limit
        return _wrong(UsageError(f"a question has at most {MAX_LINE_BYTES:,} bytes"))
    if not line:
        return None
    try:
        asked = msgspec.json.decode(line, type=ControlRequest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _wrong(UsageError(f"this is no question: {error}", hint="run the same version of loadgen"))
    if asked.run_id != run_id:
        return _wrong(UsageError(f"this is run {run_id}, not {asked.run_id}"))
    try:
        return answer(asked, f"{_user_name(uid)}, process {pid}")
    except LoadgenError as error:
        return _wrong(error)


def _wrong(error: LoadgenError) -> ControlReply:
    return ControlReply(error=error.message, hint=error.hint, exit_code=int(error.exit_code))


def _peer(writer: asyncio.StreamWriter) -> tuple[int, int]:
    """(process id, user id) of the other end; -1 where the system does not tell."""
    end = writer.get_extra_info("socket")
    if hasattr(socket, "SO_PEERCRED"):  # Linux
        pid, uid, _ = struct.unpack("3i", end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        return pid, uid
    # macOS: struct xucred, of which the second number is the user's. The folder keeps others out in any case.
    _, uid = struct.unpack_from("2I", end.getsockopt(0, 1, 76))
    return -1, uid


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _socket_path(run_id: str) -> Path:
    """In a folder of our own; short, whatever the run is called."""
    name = hashlib.sha256(run_id.encode()).hexdigest()[:16] + ".sock"
    bases = [os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"]  # noqa: S108  # its mode is checked
    why = "no folder for it"
    for base in filter(None, bases):
        folder = Path(base) / f"loadgen-{os.getuid()}"
        if len(os.fsencode(folder / name)) > _MAX_PATH_BYTES:
            continue
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
        except OSError as error:
            why = f"{folder}: {error.strerror}"
            continue
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
            return folder / name
        why = f"{folder} is not ours alone"
    raise OSError(f"no socket to be asked by: {why}")


# -- the asking side -----------------------------------------------------------------------------


def going(run: str | None, runs_dir: Path) -> Going:
    """The run that is meant: `run`, or the only one that goes on in `runs_dir`.

    Args:
        run: its id, how that begins, "last", or its folder.

    Raises:
        UsageError: no run goes on, several do, or the one that is named does not.
        FleetError: its conducting process is gone.
    """
    if run is not None:
        folder = find_run(run, runs_dir)
        found = _read(folder)
        if found is None:
            raise UsageError(f"run {folder.name} does not go on", hint=f"loadgen runs show {folder.name}")
        return _alive(found)
    all_ = _all(runs_dir)
    here = [one for one in all_ if _is_alive(one)]
    if len(here) == 1:
        return here[0]
    if here:
        raise UsageError(f"{len(here)} runs go on: which of them?", hint=", ".join(one.run_id for one in here))
    if all_:
        return _alive(all_[0])
    raise UsageError(f"no run goes on in {runs_dir}", hint="--runs-dir says where it was started")


def going_all(runs_dir: Path) -> list[Going]:
    """All that go on in `runs_dir`, on this machine.

    Raises:
        UsageError: none does.
    """
    found = [one for one in _all(runs_dir) if _is_alive(one)]
    if not found:
        raise UsageError(f"no run goes on in {runs_dir}", hint="--runs-dir says where it was started")
    return found


def ask(run: Going, asked: ControlRequest) -> ControlReply:
    """Ask, and hear what was done.

    Raises:
        UsageError, FleetError: it was not, and why; or the run is gone.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(_PATIENCE_S)
            line.connect(run.socket)
            line.sendall(msgspec.json.encode(asked) + b"\n")
            with line.makefile("rb") as file:
                data = file.readline()
    except TimeoutError:
        raise FleetError(f"run {run.run_id} does not answer: process {run.pid} may be stopped") from None
    except OSError as error:
        raise _gone(run) from error
    try:
        told = msgspec.json.decode(data, type=ControlReply)
    except msgspec.DecodeError as error:
        raise FleetError(f"run {run.run_id} ended before it answered") from error
    if told.error:
        kind = UsageError if told.exit_code == ExitCode.USAGE else FleetError
        raise kind(told.error, hint=told.hint)
    return told


def _all(runs_dir: Path) -> list[Going]:
    return [one for one in map(_read, list_runs(runs_dir)) if one is not None]


def _read(folder: Path) -> Going | None:
    """None: the run does not go on, or cannot be asked."""
    path = folder / CONTROL_FILE
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Going)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise StorageError(f"cannot read {path}: {error}") from error
    if found.format > _FORMAT:
        raise StorageError(f"{path} is of a newer loadgen", hint="use the loadgen that conducts the run")
    return found


def _is_alive(run: Going) -> bool:
    return run.host == socket.gethostname() and Path(run.socket).exists() and _runs(run.pid)


def _alive(run: Going) -> Going:
    if run.host != socket.gethostname():
        raise UsageError(f"run {run.run_id} is conducted on {run.host}", hint="ask there")
    if not _is_alive(run):
        raise _gone(run)
    return run


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _gone(run: Going) -> FleetError:
    return FleetError(
        f"run {run.run_id} cannot be asked any more: its process {run.pid} is gone",
        hint=f"loadgen runs show {run.run_id} shows what is left of it",
    )
