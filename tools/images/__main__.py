"""Build the images of agent and controller with Debian's buildah: `make images`.

    python -m tools.images            both images as OCI archives in dist/images, with sizes and digests
    python -m tools.images --twice    build everything a second time, and compare the digests

It needs root, and the Debian packages buildah, mmdebstrap, netavark and skopeo; it installs nothing. docs/containers.md
says what the images contain.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from tools.images.build import Image, build
from tools.images.buildah import BuildFailed, missing_packages

__all__ = ["difference", "main"]

GOALS_MB = {"agent": 220, "controller": 300}
"""Goals for the size of all files of an image. docs/containers.md has the measured sizes."""


def difference(first: list[Image], second: list[Image]) -> list[str]:
    """Return a line for each image whose digest differs between two builds."""
    pairs = zip(first, second, strict=True)
    return [f"{a.name}: {a.digest}, then {b.digest}" for a, b in pairs if a.digest != b.digest]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.images", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--into", type=Path, default=Path("dist/images"), metavar="DIR", help="default: dist/images")
    parser.add_argument("--twice", action="store_true", help="build a second time and compare the digests")
    given = parser.parse_args()
    if missing := missing_packages():
        sys.exit(f"Install the Debian packages {', '.join(missing)} first: apt-get install {' '.join(missing)}")
    if os.geteuid() != 0:
        sys.exit("Run this as root: buildah needs it to build with the isolation chroot.")
    into = given.into.resolve()
    try:
        images = build(into, _show)
        for image in images:
            _show(
                f"{image.name}: {image.size_mb:.0f} MB of files (goal: {GOALS_MB[image.name]} MB), "
                f"{image.archive_mb:.0f} MB as {given.into / image.archive}, {image.architecture}, {image.digest}"
            )
        if given.twice:
            second = into / "second"
            _show("a second time, to compare the digests")
            if differing := difference(images, build(second, _show)):
                sys.exit("\n".join([f"The second build, kept in {second}, has other digests:", *differing]))
            shutil.rmtree(second)
            _show("both builds have the same digests")
    except BuildFailed as error:
        sys.exit(str(error))


def _show(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
