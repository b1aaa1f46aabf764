"""What machines of a fleet install, in one folder named by its list's sha256: `python -m tools.wheelhouse`.

    dist/wheelhouse/SHA256/requirements.txt    every package with its version and hash, loadgen's own wheel, too
    dist/wheelhouse/SHA256/wheels.tar          the wheels

SHA256 is that of requirements.txt, so a machine that knows it needs to trust neither the bucket nor the way there: the
list is checked by it, and each wheel by the list. Wheels are for Python 3.12 on x86_64, whatever runs this; nothing is
built from source but loadgen. The same sources give the same name.

`--send BUCKET` makes nothing, and sends what was made into the fleet's bucket: as wheelhouse/SHA256/, what is not there
already, and where it was interrupted it goes on.
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
    (folder / LIST).unlink(missing_ok=True)
    with tarfile.open(folder / WHEELS, "w") as tar:
        for path in sorted([own, *wheels], key=lambda path: path.name):
            info = tar.gettarinfo(path, arcname=path.name)
            info.mtime, info.uid, info.gid, info.uname, info.gname = 0, 0, 0, "", ""
            with path.open("rb") as file:
                tar.addfile(info, file)
    (folder / LIST).write_bytes(text)  # last: where it is, the wheels are whole
    return folder


def send(into: Path, bucket: Bucket) -> dict[str, int]:
    """Bring every wheelhouse of a folder into a fleet's bucket.

    Returns:
        The bytes that were sent of each, by its name; 0 where all of it was there.

    Raises:
        UsageError: there is none, or one is not what its name says; nothing was sent.
        LoadgenError: a file cannot be read, or AWS refuses.
    """
    names = sorted(path.parent.name for path in into.glob(f"*/{LIST}"))
    if not names:
        raise UsageError(f"there is no wheelhouse in {into}", hint="python -m tools.wheelhouse makes one")
    for name in names:
        if hashed(into / name / LIST)[1] != name:
            raise UsageError(f"{into / name / LIST} is not what its folder's name says", hint="make it anew")
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
    parser.add_argument("--send", metavar="BUCKET", help="send what is in DIR there, and make nothing")
    given = parser.parse_args()
    if given.send is None:
        _make(given.into)
        return
    try:
        for name, size in send(given.into, Bucket(f"s3://{given.send}")).items():
            print(f"{name}: {size / 1e6:,.1f} MB sent" if size else f"{name}: is there already")
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
