"""For all tests: hypothesis without deadlines, and which tests start processes.

`make test-unit` runs the tests that start no process. A test module starts processes if it imports one of the helpers
of `tests/support/module_marks.py` or a module of the standard library that starts them; all of its tests get the marker
`process`. A test without the marker that starts a process fails, so the rule cannot be forgotten.
"""

from __future__ import annotations

import gc
import os
import ssl
import subprocess
from collections.abc import Callable, Generator, Iterator
from functools import cache, wraps
from pathlib import Path
from typing import Any
from zlib import crc32

import botocore.loaders
import httpx
import pytest
from hypothesis import settings

from tests.support import warm_commands
from tests.support.examples import ALL
from tests.support.first_python import is_for_the_first_python
from tests.support.module_marks import DECIDING, has_no_test, is_of_processes, missing

# What is collected lives until the end: looking through it for garbage again and again takes a tenth of the CPU.
gc.disable()

# Before numpy is imported. A thread of OpenBLAS that waits spins, and takes the core from the tests beside it: with two
# threads, the model of a log takes twice the CPU. Processes of tests inherit it.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ["LOADGEN_LINE_EVERY_S"] = "0"  # tests wait for lines of runs; a line each 10 s would make them wait longer

SECOND = "second"
"""The profile of a Python after the first, which also leaves out what tests/support/first_python.py lists."""

# No deadline: no test here asserts how long anything takes. `make slow` runs all property tests with "thorough".
settings.register_profile("loadgen", deadline=None, max_examples=ALL // 10)
settings.register_profile(SECOND, deadline=None, max_examples=ALL // 30)  # in CI, on a Python after the first
settings.register_profile("thorough", deadline=None, max_examples=ALL)
settings.load_profile("loadgen")

WAITS_LONG = ("tests/programme/test_prometheus_real.py",)
"""Modules with a test that takes minutes and hardly any CPU."""

COLD = ("slow", "peers", "engine")
"""Marks of tests that start their programs as new interpreters, as users do."""

_unit_test: str = ""
"""The name of the test that runs, if it must start no process."""


def _watched(start: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that starts a process as `start` does, and makes the test fail if that is a unit test."""

    @wraps(start)
    def watched(*args: Any, **options: Any) -> Any:
        if _unit_test:
            raise AssertionError(f"{_unit_test} starts a process: mark it with pytest.mark.process")
        return start(*args, **options)

    return watched


def _start(process: Any, *args: Any, **options: Any) -> None:
    """Start a process warm (tests/support/warm_commands.py), but not in a slow test or in one about its times."""
    start = warm_commands.started_warm if warm_commands.programs_grow() else _start_cold
    start(process, *args, **options)


_start_cold = subprocess.Popen._execute_child  # type: ignore[attr-defined]
subprocess.Popen._execute_child = _start  # type: ignore[attr-defined]

# An audit hook would see the same three, and thousands of other events in each test: 3 % of the CPU of all unit tests.
for _holder, _name in ((subprocess.Popen, "_execute_child"), (os, "posix_spawn"), (os, "fork")):
    setattr(_holder, _name, _watched(getattr(_holder, _name)))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import a module that has no test for `-m`, or none for this Python."""
    if collection_path.suffix != ".py" or collection_path.name == "conftest.py":
        return None
    is_second = config.getoption("hypothesis_profile", None) == SECOND
    is_left_out = is_second and is_for_the_first_python(collection_path)
    return True if is_left_out or has_no_test(collection_path, config.option.markexpr) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that start processes, and mix the modules in an order that is always the same.

    Each worker of pytest gets a part of the list. In the order of the folders, one of them would get all long tests.
    """
    for item in items:
        if is_of_processes(item.path):
            item.add_marker(pytest.mark.process)
        for mark in item.iter_markers():
            if mark.name in DECIDING and missing(item.path, mark.name):
                raise pytest.UsageError(f"{item.nodeid}: its module must name its mark, as pytest.mark.{mark.name}")
    items.sort(key=lambda item: _place(item.nodeid.partition("::")[0]))


def _place(module: str) -> tuple[bool, int]:
    """Return the place of a module in the order. One that waits for minutes begins first: the others run beside it."""
    return module not in WAITS_LONG, crc32(module.encode())


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def _one_loader_of_aws_models() -> Iterator[None]:
    """Read the description of an AWS service once, and not for each session: that takes 0.3 s."""
    loader = cache(botocore.loaders.create_loader)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", loader)
        yield


@pytest.fixture(autouse=True, scope="session")
def _no_wait_for_disks() -> Iterator[None]:
    """Let a sync only check its file: no test cuts the power, and each file of a store would wait for the disk."""

    def checked(fd: int) -> None:
        os.fstat(fd)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, checked, raising=False)
        yield


@pytest.fixture(scope="module")
def small_heap() -> None:
    """Freeze older objects, so that each `gc.collect()` of this module's tests takes 2 ms instead of 36 ms.

    Measured with 340,000 older objects, as a worker has after 4,000 tests.
    """
    gc.collect()
    gc.freeze()


def _certificates() -> tuple[str | None, ...]:
    """Where this machine's certificates are, if its environment says so."""
    return tuple(map(os.environ.get, ("SSL_CERT_FILE", "SSL_CERT_DIR")))


@pytest.fixture(autouse=True, scope="session")
def _one_tls_context_of_httpx() -> Iterator[None]:
    """Make the usual TLS context of stock httpx clients once, and not for each client: that takes 6 ms."""
    made, found = httpx.create_ssl_context, _certificates()
    once = cache(made)

    def context(verify: ssl.SSLContext | str | bool = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
        is_usual = verify is True and cert is None and found == _certificates()
        return (once if is_usual else made)(verify, cert, trust_env)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("httpx._transports.default.create_ssl_context", context)
        yield


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Make a unit test fail that starts a process, or whose fixtures do."""
    global _unit_test
    _unit_test = "" if item.get_closest_marker("process") else item.name
    warm_commands.let_programs_grow(not any(map(item.get_closest_marker, COLD)))
    try:
        return (yield)
    finally:
        _unit_test = ""
