"""Generate the `v1` of `loadgen/wire` and `loadgen/api` from `proto/`: `python -m tools.proto`, or with `--check`
whether that is up to date.

The generator needs protobuf 5 for itself while its output runs on 5 to 7, so it
lives in a tool venv of its own. `--check` needs no generator where the stored
sha256 of the .proto files and of what was generated from them still hold.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
TOOL = ROOT / ".tools" / "proto"
# setuptools: the generator imports pkg_resources, which newer ones no longer bring.
REQUIREMENTS = ("grpcio-tools==1.66.2", "setuptools<81")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.proto", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say whether the committed output is up to date")
    check = parser.parse_args(argv).check
    stale = False
    for source in sorted(PROTO.rglob("*.proto")):
        into = ROOT / source.relative_to(PROTO).parent
        if not check:
            generate(source, ROOT)
            stamp_of(source, into).write_text(stamp(source, into), encoding="utf-8")
            print(f"{source.relative_to(ROOT)} -> {into.relative_to(ROOT)}")
        elif not is_current(source, into):
            print(f"{into.relative_to(ROOT)} is not what {source.relative_to(ROOT)} generates: run `make proto`")
            stale = True
    return int(stale)


def is_current(source: Path, into: Path) -> bool:
    """Quick where the stored hashes hold; otherwise generates anew and compares."""
    stored = stamp_of(source, into)
    if stored.exists() and stored.read_text(encoding="utf-8") == stamp(source, into):
        return True
    with tempfile.TemporaryDirectory() as scratch:
        generate(source, Path(scratch))
        fresh = Path(scratch) / into.relative_to(ROOT)
        return all((into / p.name).exists() and p.read_bytes() == (into / p.name).read_bytes() for p in outputs(fresh))


def stamp_of(source: Path, into: Path) -> Path:
    return into / f"{source.name}.sha256"


def stamp(source: Path, into: Path) -> str:
    """One line a file, the source first: sha256 and name."""
    files = (source, *outputs(into))
    return "".join(f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.name}\n" for f in files)


def outputs(into: Path) -> list[Path]:
    return sorted((*into.glob("*_pb2.py"), *into.glob("*_pb2.pyi")))


def generate(source: Path, into: Path) -> None:
    python = tool_python()
    out = [f"--python_out={into}", f"--pyi_out={into}"]
    subprocess.run([python, "-m", "grpc_tools.protoc", f"-I{PROTO}", *out, str(source)], check=True)


def tool_python() -> Path:
    """The tool venv's interpreter; made on first use."""
    python = TOOL / "bin" / "python"
    done = TOOL / ".installed"
    wanted = "\n".join(REQUIREMENTS)
    if not done.exists() or done.read_text(encoding="utf-8") != wanted:
        venv.create(TOOL, with_pip=True, clear=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *REQUIREMENTS], check=True)
        done.write_text(wanted, encoding="utf-8")
    return python


if __name__ == "__main__":
    sys.exit(main())
