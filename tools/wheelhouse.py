"""What machines of a fleet install, in one folder named by its list's sha256: `python -m tools.wheelhouse`.

    dist/wheelhouse/SHA256/requirements.txt    every package with its version and hash, loadgen's own wheel, too
    dist/wheelhouse/SHA256/wheels.tar          the wheels

SHA256 is that of requirements.txt, so a machine that knows it needs to trust neither the bucket nor the way there: the
list is checked by it, and each wheel by the list. Wheels are for Python 3.12 on x86_64, whatever runs this; nothing is
built from source but loadgen. The same sources give the same name.

Copy it where Terraform says: aws s3 cp --recursive dist/wheelhouse s3://BUCKET/wheelhouse/
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

__all__ = ["lay_out", "main"]

LOCK = Path("deploy/requirements-machine.txt")
PYTHON = "3.12"
PLATFORMS = ("manylinux_2_34_x86_64", "manylinux_2_28_x86_64", "manylinux2014_x86_64")
"""Amazon Linux 2023 has glibc 2.34."""


def lay_out(lock: str, own: Path, wheels: list[Path], into: Path) -> Path:
    """Write the folder of one wheelhouse.

    Args:
        lock: pinned packages with hashes.
        own: loadgen's wheel.
        wheels: of the packages; they may be more.
    Returns:
        The folder, named by the sha256 of the list in it.
    """
    name, version = own.name.split("-")[:2]
    ours = f"{name}=={version} --hash=sha256:{hashlib.sha256(own.read_bytes()).hexdigest()}\n"
    text = (lock.rstrip("\n") + "\n" + ours).encode()
    folder = into / hashlib.sha256(text).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "requirements.txt").write_bytes(text)
    with tarfile.open(folder / "wheels.tar", "w") as tar:
        for path in sorted([own, *wheels], key=lambda path: path.name):
            info = tar.gettarinfo(path, arcname=path.name)
            info.mtime, info.uid, info.gid, info.uname, info.gname = 0, 0, 0, "", ""
            with path.open("rb") as file:
                tar.addfile(info, file)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.wheelhouse", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--into", type=Path, default=Path("dist/wheelhouse"), metavar="DIR")
    into = parser.parse_args().into
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        environ = os.environ | {"SOURCE_DATE_EPOCH": "315532800"}
        build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder / "own"), "."]
        subprocess.run([*pip, *build], check=True, env=environ)
        platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
        fetch = ["download", "--require-hashes", "--no-deps", "--only-binary", ":all:", "--python-version", PYTHON]
        subprocess.run([*pip, *fetch, *platforms, "-r", str(LOCK), "--dest", str(folder / "wheels")], check=True)
        (own,) = (folder / "own").glob("*.whl")
        made = lay_out(LOCK.read_text(), own, list((folder / "wheels").glob("*.whl")), into)
    print(made / "requirements.txt")
    print(f"wheelhouse = {made.name!r}".replace("'", '"'))


if __name__ == "__main__":
    main()
