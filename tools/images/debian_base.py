"""Makes a base image of Debian packages, for machines that reach no registry of images.

The Dockerfiles ask for python:3.13-slim-bookworm. This base has the same name and the same Python version, but Debian
13 instead of 12, and only what a virtual environment needs.
"""

from __future__ import annotations

from pathlib import Path

from tools.images.buildah import CREATED, logged

__all__ = ["NAME", "make_archive"]

NAME = "docker.io/library/python:3.13-slim-bookworm"

_RELEASE = "trixie"
_PACKAGES = (
    "ca-certificates",
    "libstdc++6",  # numpy and other wheels need it; Debian's essential packages do not have it
    "passwd",  # useradd
    "python3",
    "python3-venv",
)
_COMPILE = "python3 -m compileall -q -f --invalidation-mode unchecked-hash /usr/lib/python3.13"
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*")


def make_archive(archive: Path, log: Path) -> None:
    """Write the root file system as a tar file. The same packages give the same bytes.

    Bytecode of the standard library does not depend on file times ("unchecked-hash"), because the image has one time
    for all files. Otherwise Python would compile the modules again at each start.
    """
    logged(
        [
            "mmdebstrap",
            "--variant=essential",
            f"--include={','.join(_PACKAGES)}",
            *(f"--dpkgopt=path-exclude={path}" for path in _LEFT_OUT),
            "--dpkgopt=path-include=/usr/share/doc/*/copyright",
            '--customize-hook=ln -s python3 "$1/usr/bin/python"',
            f'--customize-hook=chroot "$1" {_COMPILE}',
            # Bytecode that the packages write while they are installed: it differed in one of three builds.
            '--customize-hook=rm -r "$1/usr/share/python3/debpython/__pycache__"',
            _RELEASE,
            str(archive),
        ],
        log,
        {"SOURCE_DATE_EPOCH": str(CREATED), "PYTHONHASHSEED": "0"},
    )
