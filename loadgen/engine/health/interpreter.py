"""Names how the running Python was built: with or without PGO and LTO, debug, free-threaded.

PGO (profile-guided optimization) and LTO (link-time optimization) are settings of the compiler. An interpreter without
them runs the same programs and uses more CPU, so a core drives fewer requests:
docs/decisions/147-the-build-of-the-interpreter.md has the figures.

`read_build` is pure. Its evidence is the configuration that Python stores about itself (`sysconfig`):

- `--enable-optimizations` and `--with-lto` among the arguments of `configure`. The official images `python:3.x`, the
  builds of uv (python-build-standalone), Fedora, Amazon Linux and conda have them.
- `-flto` and `-fprofile-use` among the flags of the compiler.
- Debian and Ubuntu store neither. Their rules build python3 with PGO and LTO on `_DEBIAN_ARCHS`, which is returned.

Any other Python of a distribution (prefix /usr) without these marks is unknown, because a package can run
`make profile-opt`, which leaves no mark. So is a Python without stored arguments: PyPy, and CPython on Windows.
"""

from __future__ import annotations

import platform
import shlex
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

__all__ = ["InterpreterBuild", "advice_of", "read_build", "this_build"]

_DEBIAN_ARCHS: Final = frozenset(
    {"x86_64", "aarch64", "arm", "i386", "powerpc", "powerpc64", "powerpc64le", "s390x"},
)
"""First words of the multiarch names for which debian/rules of python3.13 sets `with_pgo` and `with_lto`."""
_DEBIAN_DBM: Final = "--with-dbmliborder=bdb:gdbm"
_FLAGS: Final = ("CFLAGS", "CFLAGS_NODIST", "LDFLAGS_NODIST", "PY_CFLAGS_NODIST", "PY_CORE_CFLAGS", "PY_CORE_LDFLAGS")
_PGO_FLAGS: Final = ("-fprofile-use", "-fprofile-instr-use")


@dataclass(frozen=True, slots=True)
class InterpreterBuild:
    """The build of a Python interpreter. `str` gives its name, such as "CPython 3.13.5 with PGO and LTO"."""

    implementation: str
    """"CPython", "PyPy"."""
    version: str
    """"3.13.5"."""
    has_pgo: bool | None
    """None: unknown."""
    has_lto: bool | None
    """None: unknown."""
    is_debug: bool = False
    """Built `--with-pydebug`: several times slower."""
    is_free_threaded: bool = False
    """Built without the global interpreter lock: slower in one thread, and loadgen uses one."""

    def __str__(self) -> str:
        name = f"{self.implementation} {self.version} {_optimized(self.has_pgo, self.has_lto)}"
        return name + (", free-threaded" if self.is_free_threaded else "") + (", debug build" if self.is_debug else "")

    @property
    def is_slow(self) -> bool:
        """Return whether a faster build of this version exists for certain: it has no PGO, or it is a debug build."""
        return self.has_pgo is False or self.is_debug


def _optimized(pgo: bool | None, lto: bool | None) -> str:
    if pgo is lto:
        return {True: "with PGO and LTO", False: "without PGO and LTO", None: "(PGO and LTO unknown)"}[pgo]
    words = {True: "with {}", False: "without {}", None: "{} unknown"}
    return f"{words[pgo].format('PGO')}, {words[lto].format('LTO')}"


def read_build(config: Mapping[str, object], implementation: str, version: str) -> InterpreterBuild:
    """Return the build that the stored configuration shows. Pure; it never fails, whatever the values are.

    config: as `sysconfig.get_config_vars()`. implementation, version: as of the module `platform`.
    """
    stored = config.get("CONFIG_ARGS")
    arguments = _words(stored)
    pgo = lto = None
    if implementation == "CPython" and isinstance(stored, str):
        flags = [word for name in _FLAGS for word in _words(config.get(name))]
        otherwise = _without_marks(arguments, bool(config.get("Py_DEBUG")))
        pgo = _switch(arguments, "optimizations", ("enable", "disable"))
        if pgo is None:
            pgo = True if any(word.startswith(_PGO_FLAGS) for word in flags) else otherwise
        lto = _switch(arguments, "lto", ("with", "without"))
        if lto is None:
            lto = True if any(word.startswith("-flto") for word in flags) else otherwise
    return InterpreterBuild(
        implementation, version, pgo, lto, bool(config.get("Py_DEBUG")), bool(config.get("Py_GIL_DISABLED"))
    )


@cache
def this_build() -> InterpreterBuild:
    """Return the build of the interpreter that runs this code. The first call takes some 10 ms."""
    config = sysconfig.get_config_vars() if sys.implementation.name == "cpython" else {}
    return read_build(config, platform.python_implementation(), platform.python_version())


def advice_of(build: InterpreterBuild) -> str:
    """Return one line about a slow build, with the remedy; "" if the build is not known to be slow."""
    if not build.is_slow:
        return ""
    return (
        f"this Python is {build}: agents that use it need more CPU for the same load."
        " Use python3 of Debian or Ubuntu, an image python:3.x, or a Python of uv (docs/install.md#which-python)"
    )


def _switch(arguments: list[str], name: str, verbs: tuple[str, str]) -> bool | None:
    """Return the last setting of an argument of configure; None if it was not given."""
    found = None
    for word in arguments:
        option, _, value = word.partition("=")
        if option == f"--{verbs[0]}-{name}":
            found = value != "no"
        elif option == f"--{verbs[1]}-{name}":
            found = False
    return found


def _without_marks(arguments: list[str], is_debug: bool) -> bool | None:
    """Return whether a CPython without marks has PGO and LTO; None if unknown."""
    options = {option: value for option, _, value in (word.partition("=") for word in arguments)}
    if is_debug or options.get("--prefix") not in ("/usr", "/usr/"):
        return False
    triplet = options.get("--libdir", "").removeprefix("/usr/lib/")
    is_debian = _DEBIAN_DBM in arguments and "-linux-gnu" in triplet
    return True if is_debian and triplet.partition("-")[0] in _DEBIAN_ARCHS else None


def _words(text: object) -> list[str]:
    if not isinstance(text, str):
        return []
    try:
        return shlex.split(text)
    except ValueError:  # an unmatched quote
        return text.replace("'", " ").replace('"', " ").split()
