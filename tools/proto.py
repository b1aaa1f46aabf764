"""Generate the `v1` packages of `loadgen/wire` and `loadgen/api` from `proto/`: `python -m tools.proto`.

With `--check` it only checks that they are up to date. The generator itself needs
protobuf 5, while its output runs on 5 to 7, so it has its own virtual environment.
`--check` does not need the generator if the stored sha256 sums of the .proto files
and of the generated files still match.
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
    parser.add_argument("--check", action="store_true", help="only check that the committed files are up to date")
    check = parser.parse_args(argv).check
    stale = False
    for source in sorted(PROTO.rglob("*.proto")):
        into = ROOT / source.relative_to(PROTO).parent
        if not check:
            generate(source, ROOT)
            stamp_of(source, into).write_text(stamp(source, into), encoding="utf-8")
            print(f"{source.relative_to(ROOT)} -> {into.relative_to(ROOT)}")
        elif not is_current(source, into):
            print(f"{into.relative_to(ROOT)} does not match {source.relative_to(ROOT)}: run `make proto`")
            stale = True
    return int(stale)


def is_current(source: Path, into: Path) -> bool:
    """Return whether the generated files in `into` are up to date.

    It is quick if the stored hashes match; otherwise it generates the files again and compares them.
    """
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
    """Return the sha256 and name of the source and of each generated file, one per line."""
    files = (source, *outputs(into))
    return "".join(f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.name}\n" for f in files)


def outputs(into: Path) -> list[Path]:
    return sorted((*into.glob("*_pb2.py"), *into.glob("*_pb2.pyi")))


def generate(source: Path, into: Path) -> None:
    python = tool_python()
    out = [f"--python_out={into}", f"--pyi_out={into}"]
    subprocess.run([python, "-m", "grpc_tools.protoc", f"-I{PROTO}", *out, str(source)], check=True)


def tool_python() -> Path:
    """Return the interpreter of the generator's virtual environment, which is created on first use."""
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
