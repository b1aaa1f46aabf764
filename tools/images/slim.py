"""Makes the environment of an image smaller and the same in each build: a step of deploy/docker/*.Dockerfile.

    /opt/loadgen/bin/python slim.py make /opt/loadgen          remove, strip, compile
    /opt/loadgen/bin/python -B slim.py check loadgen_agent ... import every module of these packages, open AWS clients

It needs nothing but Python, because it runs in the build stage: the base image has no binutils.
"""

from __future__ import annotations

import compileall
import importlib
import pkgutil
import py_compile
import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["AWS_SERVICES", "check", "loaded_bytes", "main", "make"]

AWS_SERVICES = (
    "application-autoscaling",
    "application-signals",
    "autoscaling",
    "cloudwatch",
    "ec2",
    "s3",
    "service-quotas",
    "sns",
    "ssm",
    "sts",
    "xray",
)
"""The services that loadgen calls. tests/deploy/test_images.py compares them with the calls in the code."""

AWS_SIGN_IN = ("signin", "sso", "sso-oidc", "sts")
"""The services that botocore itself calls to find credentials."""

_NEVER_RUN = ("*.a", "*.c", "*.cpp", "*.h", "*.pxd", "*.pxi", "*.pyi", "*.pyx", "zstandard/_cffi.*.so")
"""Files that are only for compilers and type checkers. CPython uses zstandard/backend_c, not its _cffi."""

_NOT_INSTALLED = ("httpx2", "pandas", "pyarrow", "pytest", "scipy", "statsmodels")
"""The extras analysis and httpx2, and pytest, are not part of the images."""

_ELF64_LITTLE_ENDIAN = b"\x7fELF\x02\x01"
_HEADER_BYTES = 64


def make(prefix: Path) -> None:
    """Remove unused files from the environment in `prefix`, strip its libraries, and compile its modules."""
    (packages,) = prefix.glob("lib/python3*/site-packages")
    before = _bytes_in(prefix)
    _remove_aws_models(packages / "botocore/data", {*AWS_SERVICES, *AWS_SIGN_IN})
    _remove_aws_models(packages / "boto3/data", set())  # models of boto3's resources; loadgen uses clients only
    for tests in [folder for folder in packages.rglob("tests") if folder.is_dir()]:
        shutil.rmtree(tests)
    for pattern in _NEVER_RUN:
        for file in list(packages.rglob(pattern)):
            file.unlink()
    for file in sorted(packages.rglob("*.so*")):
        file.write_bytes(loaded_bytes(file.read_bytes()))
    # The default bytecode contains the time of its source, which differs between builds. "Unchecked" also saves a read
    # of each source at each start.
    compileall.compile_dir(
        packages, quiet=1, force=True, maxlevels=99, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )
    print(f"{prefix}: {before / 1e6:.0f} MB, then {_bytes_in(prefix) / 1e6:.0f} MB with bytecode")


def check(packages: list[str]) -> None:
    """Import every module of the packages, and open a client of each AWS service.

    Raises:
        ImportError: a module cannot be imported, for example because the lock lacks a package or `make` removed a file.
    """
    names = [name for package in packages for name in _modules(package)]
    without = []
    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] not in _NOT_INSTALLED:
                raise
            without.append(f"{name} ({error.name})")
    session = importlib.import_module("boto3").session.Session()
    for service in AWS_SERVICES:
        session.client(service, region_name="us-east-1")
    print(f"imported {len(names) - len(without)} modules, opened {len(AWS_SERVICES)} AWS clients")
    if without:
        print(f"not imported, because the image does not have their package: {', '.join(without)}")


def loaded_bytes(library: bytes) -> bytes:
    """Return a shared library without its symbol table, debug information and section headers.

    The loader reads only the segments in the program headers, so everything behind the last segment can go. On our
    wheels this saves as much as `strip --strip-unneeded`, to 3 kB a file. A file that is no ELF file of 64 bits and
    little endian is returned unchanged.
    """
    if not library.startswith(_ELF64_LITTLE_ENDIAN):
        return library
    (headers_at,) = struct.unpack_from("<Q", library, 32)
    size, count = struct.unpack_from("<HH", library, 54)
    end = max(_HEADER_BYTES, headers_at + size * count)
    for number in range(count):
        offset, _, _, in_file = struct.unpack_from("<QQQQ", library, headers_at + size * number + 8)
        end = max(end, offset + in_file)
    kept = bytearray(library[:end])
    struct.pack_into("<Q", kept, 40, 0)  # e_shoff: no section headers
    struct.pack_into("<HH", kept, 60, 0, 0)  # e_shnum, e_shstrndx
    return bytes(kept)


def _remove_aws_models(data: Path, kept: set[str]) -> None:
    """Remove the folders of `data` except `kept`. Its files, such as endpoints.json, are for all services."""
    if missing := {name for name in kept if not (data / name).is_dir()}:
        sys.exit(f"{data} has no {', '.join(sorted(missing))}. Change AWS_SERVICES or AWS_SIGN_IN in slim.py.")
    for folder in data.iterdir():
        if folder.is_dir() and folder.name not in kept:
            shutil.rmtree(folder)


def _modules(package: str) -> Iterator[str]:
    """Yield the names of a package and of all modules in it. Modules called __main__ run a program, so they are out."""
    yield package
    found = importlib.import_module(package)
    for module in pkgutil.walk_packages(getattr(found, "__path__", []), f"{package}."):
        if not module.name.endswith(".__main__"):
            yield module.name


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())


def main(arguments: list[str]) -> None:
    """Perform the step that the command line names."""
    match arguments:
        case ["make", prefix]:
            make(Path(prefix))
        case ["check", *packages]:
            check(packages)
        case _:
            sys.exit("usage: slim.py make PREFIX | slim.py check PACKAGE...")


if __name__ == "__main__":
    main(sys.argv[1:])
