"""The name of a Python's build: read from what Python stores about itself, and unknown where that shows nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.engine.health.interpreter import InterpreterBuild, advice_of, read_build, this_build

DEBIAN = (
    "'--enable-shared' '--prefix=/usr' '--libdir=/usr/lib/{}' '--enable-ipv6' '--with-dbmliborder=bdb:gdbm'"
    " '--with-computed-gotos' '--without-ensurepip' '--with-system-expat' 'MKDIR_P=/bin/mkdir -p'"
)
PYENV = "'--prefix=/home/me/.pyenv/versions/3.11.7' '--enable-shared' 'LDFLAGS=-L/home/me/lib -Wl,-rpath,/home/me/lib'"
OFFICIAL_IMAGE = (
    "'--build=x86_64-linux-gnu' '--enable-loadable-sqlite-extensions' '--enable-optimizations'"
    " '--enable-option-checking=fatal' '--enable-shared' '--with-lto' '--with-ensurepip'"
)
STANDALONE = "'--prefix=/install' '--enable-optimizations' '--with-lto' '--without-ensurepip'"


def built(arguments: object, implementation: str = "CPython", **config: object) -> InterpreterBuild:
    return read_build({"CONFIG_ARGS": arguments, **config}, implementation, "3.13.5")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (PYENV, "CPython 3.13.5 without PGO and LTO"),
        ("", "CPython 3.13.5 without PGO and LTO"),
        (OFFICIAL_IMAGE, "CPython 3.13.5 with PGO and LTO"),
        (STANDALONE, "CPython 3.13.5 with PGO and LTO"),
        (DEBIAN.format("x86_64-linux-gnu"), "CPython 3.13.5 with PGO and LTO"),
        (DEBIAN.format("aarch64-linux-gnu"), "CPython 3.13.5 with PGO and LTO"),
        (DEBIAN.format("riscv64-linux-gnu"), "CPython 3.13.5 (PGO and LTO unknown)"),
        ("'--prefix=/usr' '--with-computed-gotos'", "CPython 3.13.5 (PGO and LTO unknown)"),
        ("'--enable-optimizations'", "CPython 3.13.5 with PGO, without LTO"),
        ("'--with-lto=thin'", "CPython 3.13.5 without PGO, with LTO"),
        ("'--prefix=/usr' '--enable-optimizations'", "CPython 3.13.5 with PGO, LTO unknown"),
        ("'--enable-optimizations' '--disable-optimizations' '--with-lto=no'", "CPython 3.13.5 without PGO and LTO"),
    ],
)
def test_the_arguments_of_configure_name_the_build(arguments: str, named: str) -> None:
    assert str(built(arguments)) == named


def test_a_build_with_the_flags_of_the_compiler_needs_no_arguments_of_configure() -> None:
    # Fedora's and Amazon Linux's packages pass LTO by the flags.
    build = built("'--prefix=/usr' '--enable-optimizations'", PY_CORE_CFLAGS="-O2 -flto=auto -ffat-lto-objects")
    assert str(build) == "CPython 3.13.5 with PGO and LTO"
    assert built("", PY_CORE_CFLAGS="-O3 -fprofile-use -fprofile-correction").has_pgo


def test_debug_and_free_threaded_builds_are_named() -> None:
    assert str(built(OFFICIAL_IMAGE, Py_GIL_DISABLED=1)) == "CPython 3.13.5 with PGO and LTO, free-threaded"
    debug = built(DEBIAN.format("x86_64-linux-gnu") + " '--with-pydebug'", Py_DEBUG=1)
    assert str(debug) == "CPython 3.13.5 without PGO and LTO, debug build"


def test_python_without_stored_arguments_is_unknown() -> None:
    assert str(built(None)) == "CPython 3.13.5 (PGO and LTO unknown)"
    assert str(built(OFFICIAL_IMAGE, "PyPy")) == "PyPy 3.13.5 (PGO and LTO unknown)"


def test_advice_is_given_for_slow_builds_only_and_is_one_line_with_a_remedy() -> None:
    advice = advice_of(built(PYENV))
    assert "without PGO" in advice
    assert "Debian" in advice
    assert "\n" not in advice
    assert advice_of(built(OFFICIAL_IMAGE, Py_DEBUG=1))
    assert advice_of(built(OFFICIAL_IMAGE)) == ""
    assert advice_of(built(None)) == ""


@given(
    st.one_of(st.none(), st.text(), st.integers(), st.sampled_from([PYENV, STANDALONE, "'--prefix=/usr' 'un"])),
    st.dictionaries(st.sampled_from(["CFLAGS", "PY_CORE_CFLAGS", "Py_DEBUG"]), st.one_of(st.none(), st.text())),
)
def test_whatever_is_stored_the_name_is_one_printable_line(arguments: object, more: dict[str, object]) -> None:
    assert str(read_build({"CONFIG_ARGS": arguments, **more}, "CPython", "3.13.5")).isprintable()


def test_the_running_python_has_a_name() -> None:
    assert str(this_build()).startswith(this_build().implementation)
    assert len(str(this_build()).encode()) <= 256  # the limit of names on the wire
