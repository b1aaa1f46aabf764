"""Starts our programs as forks of a process that has imported everything: 20 ms of CPU instead of up to 1 s each.

The fork is a process of its own, and a child of the process that started it, with its own arguments, environment,
folder, streams, limits, signals and exit code; `/proc` shows its own command and environment. Only the imports have
happened before. A program starts cold, as a new interpreter, if its environment changes what Python imports, if it
needs something that is not done here, on other systems than Linux, or if LOADGEN_TESTS_COLD is set (for coverage,
and to look for imports that are missing).

A *seed* forks for one process, its owner. It has one thread and does nothing else, so its forks start clean, which
forks of a process with threads and sockets would not. The seed of the tests is started once and imports everything. A
program that may start others gets a seed of its own, forked from it before its first line runs.

    owner ── seed ── between ── program     `between` ends at once: the kernel then makes the program a child of the
                                            nearest living ancestor that adopts orphans, which is the owner.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import inspect
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

__all__ = ["WarmPopen", "fleets_start_cold", "is_cold", "let_programs_grow", "programs_grow", "started_warm"]

PROGRAMS: Final = {
    "loadgen.target": "loadgen.target.__main__",
    "loadgen_agent.cli": "loadgen_agent.cli",
    "loadgen_agent.worker.worker": "loadgen_agent.worker.worker",
    "loadgen_controller.cli": "loadgen_controller.cli",
    "tests.support.fake_worker": "tests.support.fake_worker",
    "tests.support.lapsing_agent": "tests.support.lapsing_agent",
    "tests.support.short_lease": "tests.support.short_lease",
}
"""The module whose `main` runs it, by what follows `python -m`."""
STARTING: Final = (
    "loadgen_agent.cli",
    "loadgen_controller.cli",
    "tests.support.lapsing_agent",
    "tests.support.short_lease",
)
"""Those that start others of them."""
_ROOT: Final = Path(__file__).parents[2]
_ROOM: Final = 1 << 16
"""Bytes for the arguments, and for the environment, that /proc shows of a program."""
_OF_THE_START: Final = ("PYTHON", "LC_", "LANG")
"""First letters of variables that an interpreter reads only when it starts."""
_UNBUFFERED: Final = "PYTHONUNBUFFERED"
"""One of them that a fork follows: it writes each line at once."""
_LIMITS: Final = tuple(getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_"))
_USUAL: Final = {
    "executable": None,
    "preexec_fn": None,
    "close_fds": True,
    "shell": False,
    "process_group": -1,
    "gid": None,
    "gids": None,
    "uid": None,
    "umask": -1,
}
"""What a start must have to be warm, of the arguments of `Popen._execute_child`."""
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_GET_CHILD_SUBREAPER: Final = 37
_libc: Final = ctypes.CDLL(None, use_errno=True)
_start_cold: Final = subprocess.Popen._execute_child  # type: ignore[attr-defined]
_PATH: Final = sys.path[1:]
"""Of the first seed, without its own folder."""
_PARAMETERS: Final = inspect.signature(_start_cold)
_own_seed: Seed | None = None
_grows = False
"""Whether programs start programs warm."""


def is_cold(env: Mapping[str, str]) -> bool:
    """Return whether a program with this environment must be started as a new interpreter."""
    if sys.platform != "linux" or os.environ.get("LOADGEN_TESTS_COLD") or env.get("LOADGEN_TESTS_COLD"):
        return True
    return any(
        name.startswith(_OF_THE_START) and name != _UNBUFFERED and _AT_THE_START.get(name) != value
        for name, value in env.items()
    )


_AT_THE_START: Final = dict(os.environ)


class WarmPopen(subprocess.Popen[str]):
    """A process that starts warm, if it can."""

    def _execute_child(self, *args: Any, **options: Any) -> None:
        started_warm(self, *args, **options)


def let_programs_grow(is_wanted: bool) -> None:
    """Let the programs that are started from now on start their programs warm, or cold, as at first."""
    global _grows
    _grows = is_wanted


def programs_grow() -> bool:
    """Return whether programs that are started now start their programs warm."""
    return _grows


@contextlib.contextmanager
def fleets_start_cold() -> Iterator[None]:
    """Within this block, agents and workers are new interpreters, as users' are: for a test about their times."""
    before = _grows
    let_programs_grow(False)
    try:
        yield
    finally:
        let_programs_grow(before)


def started_warm(process: Any, *args: Any, **options: Any) -> None:
    """Start a process as `Popen._execute_child` does, but warm if it can be.

    Args:
        process: the Popen object; the others are arguments of its `_execute_child`.
    """
    asked = _PARAMETERS.bind(process, *args, **options).arguments
    if (request := _request_of(asked)) is None or (seed := _seed()) is None:
        _start_cold(process, *args, **options)
        return
    pipes = [asked[name] for name in ("p2cread", "c2pwrite", "errwrite")]
    streams = [stream if pipe == -1 else pipe for stream, pipe in enumerate(pipes)]
    request["files"] = [0, 1, 2, *asked["pass_fds"]]
    request["grows"] = _grows
    try:
        process.pid = seed.fork(request, [*streams, *asked["pass_fds"]])
    except OSError:  # the seed has ended: a test may kill what it finds
        global _own_seed
        _own_seed = None
        _start_cold(process, *args, **options)
        return
    process._child_created = True
    names = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
    process._close_pipe_fds(*(asked[name] for name in names))


def _request_of(asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the program is to become; None if it cannot start warm."""
    words = asked["args"]
    if any(asked[name] != usual for name, usual in _USUAL.items()) or not isinstance(words, (list, tuple)):
        return None
    words = [os.fsdecode(word) for word in words]
    is_safe = words[1:2] == ["-P"]
    module, *rest = words[2 + is_safe :] or [""]
    if words[:1] != [sys.executable] or words[1 + is_safe : 2 + is_safe] != ["-m"] or module not in PROGRAMS:
        return None
    env = {os.fsdecode(k): os.fsdecode(v) for k, v in (os.environ if asked["env"] is None else asked["env"]).items()}
    folder = os.fsdecode(asked["cwd"] or Path.cwd())
    if is_cold(env) or not Path(folder).is_dir():
        return None
    return {
        "command": words,
        "module": module,
        "arguments": rest,
        "is_safe": is_safe,
        "env": env,
        "folder": folder,
        "is_leader": bool(asked["start_new_session"]),
        "cores": sorted(os.sched_getaffinity(0)),
        "schedule": [os.sched_getscheduler(0), os.sched_getparam(0).sched_priority],
        "limits": [resource.getrlimit(limit) for limit in _LIMITS],
    }


class Seed:
    """The owner's end of the link to its seed."""

    def __init__(self, link: socket.socket, pid: int) -> None:
        self._link, self.pid, self._owner, self._lock = link, pid, os.getpid(), threading.Lock()

    @property
    def is_mine(self) -> bool:
        """False in a fork of the owner."""
        return self._owner == os.getpid()

    def fork(self, request: Mapping[str, Any], files: Sequence[int]) -> int:
        """Start a program with these open files as a child of this process. Return its process id."""
        text = json.dumps(request).encode()
        with self._lock, _adopting():
            socket.send_fds(self._link, [len(text).to_bytes(4, "big")], files)
            self._link.sendall(text)
            return int.from_bytes(_exactly(self._link, 4), "big")


def _seed() -> Seed | None:
    """This process's seed. The first call of a test process starts it. None in a fork of a program."""
    global _own_seed
    if _own_seed is None or not _own_seed.is_mine:
        if __name__ == "__main__":
            return None
        ours, theirs = socket.socketpair()
        room = {**os.environ, "LOADGEN_TESTS_ROOM": " " * _ROOM}
        command = [sys.executable, "-m", __name__, str(theirs.fileno()), " " * _ROOM]
        with theirs:
            process = _Cold(command, cwd=_ROOT, env=room, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])
        assert _exactly(ours, 1) == b"r"
        _own_seed = Seed(ours, process.pid)
    return _own_seed


class _Cold(subprocess.Popen[bytes]):
    """The seed itself. It ends when its link does, so nobody waits for it."""

    def _execute_child(self, *args: Any, **options: Any) -> None:
        _start_cold(self, *args, **options)

    def __del__(self) -> None:
        """Say nothing about a process that still runs."""


@contextlib.contextmanager
def _adopting() -> Iterator[None]:
    """Get the orphans among this process's descendants as children."""
    before = ctypes.c_int()
    _libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, before.value, 0, 0, 0)


def _exactly(link: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        more = link.recv(count - len(found))
        if not more:
            raise ConnectionError("the process that forks programs has ended")
        found += more
    return found


# -- the seed, and what it forks -------------------------------------------------------------------


def _serve(link: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Fork a program for each request, until the link ends. Return in each program, with its request and files."""
    for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)  # a signal to a group is meant for the program
    while True:
        size, files, _, _ = socket.recv_fds(link, 4, 64)
        if not size:
            os._exit(0)
        request = json.loads(_exactly(link, int.from_bytes(size, "big")))
        reading, writing = os.pipe()
        between = os.fork()
        if not between:
            between = os.getpid()
            if pid := os.fork():
                os.write(writing, pid.to_bytes(4, "big"))
                os._exit(0)
            while os.getppid() == between:  # what it does next may concern its parent
                time.sleep(0.0002)
            return request, files
        os.close(writing)
        pid = int.from_bytes(os.read(reading, 4), "big")
        os.waitpid(between, 0)
        for file in (reading, *files):
            os.close(file)
        link.sendall(pid.to_bytes(4, "big"))


def _become(request: Mapping[str, Any], files: Sequence[int]) -> None:
    """Give this fork all that the request says, but no module."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if request["is_leader"]:
        os.setsid()
    _keep_only(dict(zip(request["files"], files, strict=True)))
    for limit, pair in zip(_LIMITS, request["limits"], strict=True):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(limit, pair)
    os.sched_setaffinity(0, request["cores"])
    policy, priority = request["schedule"]
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, policy, os.sched_param(priority))
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    os.chdir(request["folder"])
    _show(request["command"], request["env"])
    sys.modules["tests.support.warm_commands"] = sys.modules["__main__"]  # or the interpreter would empty it
    sys.modules["__main__"] = program = sys.modules[PROGRAMS[request["module"]]]
    sys.argv = [program.__file__ or "", *request["arguments"]]
    sys.path[:] = [*([] if request["is_safe"] else [request["folder"]]), *_PATH]
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  until it ends
    by_line = 1 if request["env"].get(_UNBUFFERED) else -1
    sys.stdout = open(1, "w", buffering=by_line, closefd=False)  # noqa: SIM115  until it ends
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115  until it ends
    random.seed()


def _keep_only(files: Mapping[int, int]) -> None:
    """Close all files but those of the values, and give each of them the number that is its key."""
    above = max(*files, *files.values()) + 1
    moved = {number: fcntl.fcntl(file, fcntl.F_DUPFD, above) for number, file in files.items()}
    for number, file in moved.items():
        os.dup2(file, number)
    for file in [int(one.name) for one in Path("/proc/self/fd").iterdir()]:
        if file not in files:
            with contextlib.suppress(OSError):  # the one that lists them
                os.close(file)


def _show(words: Sequence[str], env: Mapping[str, str]) -> None:
    """Let /proc show these arguments and this environment: they are written over those of the first seed."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    of_words, its_end, of_env, end = (int(fields[n - 3]) for n in (48, 49, 50, 51))  # as numbered in proc(5)
    for start, size, texts in (
        (of_words, its_end - of_words, words),
        (of_env, end - of_env, [f"{name}={value}" for name, value in env.items()]),
    ):
        text = b"".join(os.fsencode(one) + b"\0" for one in texts)[: size - 1]
        ctypes.memmove(start, text.ljust(size, b"\0"), size)


def _grow() -> tuple[Seed | None, socket.socket]:
    """Fork a seed for this program. Return it; and in the seed, None and its end of the link."""
    ours, theirs = socket.socketpair()
    owner = os.getpid()
    if pid := os.fork():
        theirs.close()
        return Seed(ours, pid), ours
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != owner:
        os._exit(0)
    ours.detach()
    nothing = os.open(os.devnull, os.O_RDWR)
    _keep_only({0: nothing, 1: nothing, 2: nothing, 3: theirs.detach()})
    _show(["a seed of the tests"], {})
    return None, socket.socket(fileno=3)


def _use(seed: Seed) -> None:
    """Start programs by this seed, which is no process that the program knows."""
    global _own_seed
    _own_seed = seed
    let_programs_grow(True)
    subprocess.Popen._execute_child = started_warm  # type: ignore[attr-defined]
    for name in ("loadgen_agent.supervisor.leftover_processes", "loadgen_controller.agents.local_processes"):
        module = sys.modules[name]
        module.children_of = _without(seed.pid, module.children_of)  # type: ignore[attr-defined]


def _without(seed: int, children_of: Callable[[int], dict[int, str]]) -> Callable[[int], dict[int, str]]:
    return lambda parent: {pid: state for pid, state in children_of(parent).items() if pid != seed}


def _import_all() -> None:
    from loadgen_controller import cli

    for name in cli.COMMANDS:
        import_module(f"loadgen_controller.commands.{name.replace('-', '_')}")
    for module in PROGRAMS.values():
        import_module(module)
    for module in ("loadgen_controller.agents.local_processes", "loadgen.target.llm.__main__"):
        import_module(module)
    gc.collect()
    gc.freeze()


def _run(link: socket.socket) -> None:
    """Be a seed; and in each of its forks, run the program."""
    while True:
        request, files = _serve(link)
        link.detach()  # closed with all other files
        _become(request, files)
        if not request["grows"] or request["module"] not in STARTING:
            break
        seed, link = _grow()
        if seed is not None:
            _use(seed)
            break
    sys.exit(sys.modules["__main__"].main())


if __name__ == "__main__":
    _import_all()
    _link = socket.socket(fileno=int(sys.argv[1]))
    _link.sendall(b"r")
    _run(_link)
