"""Controls a running run from another terminal, through a UNIX socket of the process that conducts the run.

Each connection carries one line of JSON in each direction: a `ControlRequest` and a `ControlReply`. The API and the web
page build the same `ControlRequest`.

The socket is in a folder that only its owner may enter, and the caller must be the same user. While the run goes on,
the file `control.json` in its folder has the path of the socket.

Invalid requests get an error reply and change nothing: a line that is too long, invalid JSON, or another run's id.
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
from typing import Final

import msgspec

from loadgen.errors import ExitCode, FleetError, LoadgenError, StorageError, UsageError
from loadgen.measure.run_folder.rundir import find_run, list_runs, replace_file, storage_error
from loadgen_controller.control.control_request import ControlReply, ControlRequest

__all__ = [
    "CONTROL_FILE",
    "Going",
    "ask",
    "going",
    "going_all",
    "listening",
]

CONTROL_FILE: Final = "control.json"
MAX_LINE_BYTES: Final = 4_096
"""Longest request. Replies are our own and short."""
_PATIENCE_S: Final = 5.0
"""Longest wait for a complete request, and for a reply."""
_MAX_PATH_BYTES: Final = 100
"""Longest path of a UNIX socket. Kernels allow 104 or 108 bytes."""
_FORMAT: Final = 1
_RUNS_DIR_HINT: Final = "if it was started with another folder of runs, name that with --runs-dir"


class Going(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `control.json`: a running run and its socket."""

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
    """Accept control requests for a run inside the `with` block.

    Args:
        answer: carries out a request; gets the request and the caller ("root, process 4711"). A `LoadgenError` becomes
            an error reply.

    Raises:
        OSError, StorageError: the socket or `control.json` cannot be created. The run does not depend on it.
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
            reply = await _answered(reader, writer, run_id, answer)
            if reply is not None:
                writer.write(msgspec.json.encode(reply) + b"\n")
                writer.write_eof()
                # Read the rest: closing a socket with unread data would discard the reply.
                while await reader.read(MAX_LINE_BYTES):
                    pass
    except (TimeoutError, OSError):
        pass  # the caller is gone or sends no request
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
        return _wrong(UsageError("this run belongs to another user", hint="send requests as the user who started it"))
    try:
        line = await reader.readline()
    except ValueError:  # no end of the line within the limit
        return _wrong(UsageError(f"the control request is longer than {MAX_LINE_BYTES:,} bytes", hint="shorten it"))
    if not line:
        return None
    try:
        asked = msgspec.json.decode(line, type=ControlRequest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _wrong(UsageError(f"invalid control request: {error}", hint="run the same version of loadgen"))
    if asked.run_id != run_id:
        hint = f"send the request to run {asked.run_id}"
        return _wrong(UsageError(f"the request is for run {asked.run_id}, but this is run {run_id}", hint=hint))
    try:
        return answer(asked, f"{_user_name(uid)}, process {pid}")
    except LoadgenError as error:
        return _wrong(error)


def _wrong(error: LoadgenError) -> ControlReply:
    return ControlReply(error=error.message, hint=error.hint, exit_code=int(error.exit_code))


def _peer(writer: asyncio.StreamWriter) -> tuple[int, int]:
    """Return the process id and user id of the program that connected to the socket.

    The process id is -1 if the system does not provide it.
    """
    end = writer.get_extra_info("socket")
    if hasattr(socket, "SO_PEERCRED"):  # Linux
        pid, uid, _ = struct.unpack("3i", end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        return pid, uid
    # macOS: in struct xucred the second number is the user id. The folder keeps other users out in any case.
    _, uid = struct.unpack_from("2I", end.getsockopt(0, 1, 76))
    return -1, uid


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _socket_path(run_id: str) -> Path:
    """Return the path for a run's socket, in a folder that only this user can open.

    The path is short for any run id, because the id is hashed.

    Raises:
        OSError: no folder is private and short enough.
    """
    name = hashlib.sha256(run_id.encode()).hexdigest()[:16] + ".sock"
    bases = [os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"]  # noqa: S108  # its mode is checked
    why = "every possible path is too long"
    for base in filter(None, bases):
        folder = Path(base) / f"loadgen-{os.getuid()}"
        if len(os.fsencode(folder / name)) > _MAX_PATH_BYTES:
            continue
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            # Not `stat`: in /tmp another user may have placed a link with this name before.
            found = folder.lstat()
        except OSError as error:
            why = f"{folder}: {error.strerror}"
            continue
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
            return folder / name
        why = f"{folder} is open to other users"
    raise OSError(f"no private folder for the control socket: {why}. Set XDG_RUNTIME_DIR or TMPDIR to a private folder")


# -- the caller's side ---------------------------------------------------------------------------


def going(run: str | None, runs_dir: Path) -> Going:
    """Find a running run: `run`, or the only one in `runs_dir`.

    Args:
        run: the run's id, the beginning of the id, "last", or the run's folder; None: the only running run.

    Raises:
        UsageError: no run or several runs are running, or the named run is not running or is on another machine.
        FleetError: the process that conducted the run is gone.
        StorageError: `control.json` cannot be read.
    """
    if run is not None:
        folder = find_run(run, runs_dir)
        found = _read(folder)
        if found is None:
            raise UsageError(
                f"run {folder.name} is not running", hint=f"see how it ended with: loadgen runs show {folder.name}"
            )
        return _alive(found)
    all_ = _all(runs_dir)
    here = [one for one in all_ if _is_alive(one)]
    if len(here) == 1:
        return here[0]
    if here:
        raise UsageError(f"{len(here)} runs are running", hint=f"name one: {', '.join(one.run_id for one in here)}")
    if all_:
        return _alive(all_[0])
    raise UsageError(f"no run is running in {runs_dir}", hint=_RUNS_DIR_HINT)


def going_all(runs_dir: Path) -> list[Going]:
    """Find all runs of `runs_dir` that are running on this machine.

    Raises:
        UsageError: there is none.
    """
    found = [one for one in _all(runs_dir) if _is_alive(one)]
    if not found:
        raise UsageError(f"no run is running in {runs_dir}", hint=_RUNS_DIR_HINT)
    return found


def ask(run: Going, asked: ControlRequest) -> ControlReply:
    """Send a request to a run and return its reply. Blocks for up to 5 s.

    Raises:
        UsageError, FleetError: the run rejected the request, does not answer, or is gone.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(_PATIENCE_S)
            line.connect(run.socket)
            line.sendall(msgspec.json.encode(asked) + b"\n")
            with line.makefile("rb") as file:
                data = file.readline()
    except TimeoutError:
        raise FleetError(
            f"run {run.run_id} does not answer: process {run.pid} may be suspended",
            hint=f"check the process, or resume it: kill -CONT {run.pid}",
        ) from None
    except OSError as error:
        raise _gone(run) from error
    try:
        reply = msgspec.json.decode(data, type=ControlReply)
    except msgspec.DecodeError as error:
        hint = f"loadgen runs show {run.run_id} shows its end"
        raise FleetError(f"run {run.run_id} ended before it answered", hint=hint) from error
    if reply.error:
        kind = UsageError if reply.exit_code == ExitCode.USAGE else FleetError
        raise kind(reply.error, hint=reply.hint)
    return reply


def _all(runs_dir: Path) -> list[Going]:
    return [one for one in map(_read, list_runs(runs_dir)) if one is not None]


def _read(folder: Path) -> Going | None:
    """Return where to reach a running run, from the `control.json` in its folder.

    Return None if there is no such file, because the run is not running or has no socket.
    """
    path = folder / CONTROL_FILE
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Going)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise storage_error(path, error, doing="read") from error
    except msgspec.DecodeError as error:
        raise StorageError(
            f"cannot read {path}: {error}",
            hint="the file is damaged; press Ctrl-C in the terminal in which the run was started",
        ) from error
    if found.format > _FORMAT:
        raise StorageError(
            f"{path} was written by a newer loadgen", hint="use the version of loadgen that conducts the run"
        )
    return found


def _is_alive(run: Going) -> bool:
    return run.host == socket.gethostname() and Path(run.socket).exists() and _runs(run.pid)


def _alive(run: Going) -> Going:
    if run.host != socket.gethostname():
        raise UsageError(f"run {run.run_id} is conducted on {run.host}", hint="run this command there")
    if not _is_alive(run):
        raise _gone(run)
    return run


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # EPERM: the process exists and belongs to another user.
    except OSError:
        return True
    return True


def _gone(run: Going) -> FleetError:
    return FleetError(
        f"cannot reach run {run.run_id}: its process {run.pid} is gone",
        hint=f"loadgen runs show {run.run_id} shows what is left of it",
    )
