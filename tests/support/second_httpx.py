"""A second httpx library for tests: a copy of httpx under the name httpx2, with classes of its own, as the real fork.

    with second_httpx() as httpx2:
        ...  # importable as httpx2

`library` makes a module whose code counts as an installed package, for stand-ins of SDKs.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx

from loadgen.clients.httpx_api import libraries

__all__ = ["library", "second_httpx"]


@contextmanager
def second_httpx() -> Iterator[Any]:
    """Install the copy for the time of the block, also where the real httpx2 is installed."""
    assert httpx.__file__ is not None
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "httpx2"}
    known = libraries._known.pop("httpx2", None)
    spec = spec_from_file_location(
        "httpx2", httpx.__file__, submodule_search_locations=[str(Path(httpx.__file__).parent)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["httpx2"] = module
    try:
        spec.loader.exec_module(module)
        assert module.AsyncClient is not httpx.AsyncClient
        yield module
    finally:
        for name in list(sys.modules):
            if name.split(".")[0] == "httpx2":
                del sys.modules[name]
        sys.modules.update(before)
        libraries._known.pop("httpx2", None)
        if known is not None:
            libraries._known["httpx2"] = known


def library(source: str, name: str = "sdk") -> Any:
    """Return a module with this code, whose file is in the folder of installed packages."""
    module = ModuleType(name)
    exec(compile(source, f"{sysconfig.get_paths()['purelib']}/{name}.py", "exec"), module.__dict__)
    return module
