"""Build the folder of packages that the machines of a fleet install: `python -m tools.wheelhouse`.

    dist/wheelhouse/SHA256/requirements.txt    every package with version and hash, including loadgen's wheel
    dist/wheelhouse/SHA256/wheels.tar          the wheels

SHA256 is the sum of requirements.txt. A machine that knows it need not trust the bucket or the network: it checks the
list by the sum, and each wheel by the list. Wheels are for Python 3.12 on x86_64, whatever machine builds them; only
loadgen is built from source. The same sources give the same name.

`--send BUCKET` builds nothing. It uploads existing folders to the fleet's bucket as wheelhouse/SHA256/, skips files
that are already there, and continues an interrupted upload.
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

from loadgen.aws.account.names import WHEELHOUSE
from loadgen.aws.storage.s3 import Bucket, hashed
from loadgen.errors import LoadgenError, UsageError

__all__ = ["lay_out", "main", "send"]

LOCK = Path("deploy/requirements-machine.txt")
LIST, WHEELS = "requirements.txt", "wheels.tar"
PYTHON = "3.12"
PLATFORMS = ("manylinux_2_34_x86_64", "manylinux_2_28_x86_64", "manylinux2014_x86_64")
"""The accepted wheel platforms. Amazon Linux 2023 has glibc 2.34."""


def lay_out(lock: str, own: Path, wheels: list[Path], into: Path) -> Path:
    """Write the folder of one wheelhouse and return it.

    Args:
        lock: pinned packages with hashes, in the form of requirements.txt.
        own: loadgen's wheel.
        wheels: the wheels of the packages; additional ones do no harm.
    Returns:
        The folder, whose name is the sha256 of its requirements.txt.
    """
    name, version = own.name.split("-")[:2]
    ours = f"{name}=={version} --hash=sha256:{hashlib.sha256(own.read_bytes()).hexdigest()}\n"
    text = (lock.rstrip("\n") + "\n" + ours).encode()
    folder = into / hashlib.sha256(text).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LIST).unlink(missing_ok=True)
    with tarfile.open(folder / WHEELS, "w") as tar:
        for path in sorted([own, *wheels], key=lambda path: path.name):
            info = tar.gettarinfo(path, arcname=path.name)
            info.mtime, info.uid, info.gid, info.uname, info.gname = 0, 0, 0, "", ""
            with path.open("rb") as file:
                tar.addfile(info, file)
    (folder / LIST).write_bytes(text)  # written last: a folder with this file is complete
    return folder


def send(into: Path, bucket: Bucket) -> dict[str, int]:
    """Upload every wheelhouse of a folder to a fleet's bucket.

    Returns:
        The number of uploaded bytes by wheelhouse; 0 if the bucket already had all of it.

    Raises:
        UsageError: the folder has no wheelhouse, or a list does not match its folder's name; nothing was uploaded.
        LoadgenError: a file cannot be read, or AWS rejected a request.
    """
    names = sorted(path.parent.name for path in into.glob(f"*/{LIST}"))
    if not names:
        raise UsageError(f"no wheelhouse found in {into}", hint="build one: python -m tools.wheelhouse")
    for name in names:
        if hashed(into / name / LIST)[1] != name:
            raise UsageError(f"{into / name / LIST} does not match its folder's name", hint="build it again")
    return {name: sum(_send(into / name / file, bucket) for file in (WHEELS, LIST)) for name in names}


def _send(file: Path, bucket: Bucket) -> int:
    size, sha256 = hashed(file)
    name = f"{WHEELHOUSE}{file.parent.name}/{file.name}"
    if bucket.sha256(name) == sha256:
        return 0
    bucket.put(name, file, sha256)
    return size


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.wheelhouse", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--into", type=Path, default=Path("dist/wheelhouse"), metavar="DIR")
    parser.add_argument("--send", metavar="BUCKET", help="upload the wheelhouses in DIR to this bucket; build nothing")
    given = parser.parse_args()
    if given.send is None:
        _make(given.into)
        return
    try:
        for name, size in send(given.into, Bucket(f"s3://{given.send}")).items():
            print(f"{name}: {size / 1e6:,.1f} MB sent" if size else f"{name}: already uploaded")
    except LoadgenError as error:
        print(f"{error.message}\n    {error.hint}".rstrip(), file=sys.stderr)
        sys.exit(error.exit_code)


def _make(into: Path) -> None:
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
