"""Check deploy/terraform as far as possible without an AWS account: `make deploy-check`.

    python -m tools.deploy                    all checks
    python -m tools.deploy --without checkov  all checks except this one

Each line shows a check with its faults and its time, or why it was skipped. The exit code is 1 only for faults.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.deploy import facts, lint, outside, schema
from tools.deploy.hcl import HclError, read
from tools.deploy.module import Module, folders

ROOT = Path("deploy/terraform")


def _modules() -> list[Module]:
    return [Module.of(folder) for folder in folders(ROOT)]


def _lint() -> Iterator[str]:
    try:
        modules = _modules()
    except HclError as error:
        yield str(error)
        return
    yield from map(str, sorted(lint.check(modules, schema.schema())))


def _schema() -> Iterator[str]:
    yield from map(str, sorted(schema.check(_modules(), schema.schema())))


def _hcl() -> Iterator[str]:
    """Check that python-hcl2 can read every file and finds the same blocks as our reader."""
    for path, names in outside.evaluated("hcl", ROOT):
        ours = sorted(block.name for block in read(Path(path)).blocks)
        if ours != names:
            yield f"{path}: python-hcl2 and tools/deploy/hcl.py find different blocks: {set(ours) ^ set(names)}"


def _facts() -> Iterator[str]:
    for name, expected in facts.EXAMPLES.items():
        plan = outside.evaluated("plan", ROOT / "examples" / name)
        yield from (f"{name}: {what}" for what in facts.check(plan, expected))


def _user_data() -> dict[str, str]:
    plan = outside.evaluated("plan", ROOT / "examples" / "multi-region")
    return {f"{index}.yaml": text for index, (_, text) in enumerate(facts.user_data(plan))}


def _scripts() -> Iterator[str]:
    """Check the scripts and units as they are in the rendered user data."""
    scripts: dict[str, str] = {}
    units: dict[str, str] = {}
    for text in _user_data().values():
        config = json.loads(text.removeprefix("#cloud-config\n"))
        role = next(one["content"] for one in config["write_files"] if one["path"] == "/etc/loadgen/boot.env")
        for file in config["write_files"]:
            name = Path(file["path"]).name
            if name.endswith(".sh"):
                scripts[("agent-" if "ROLE='agent'" in role else "controller-") + name] = file["content"]
            elif name.endswith(".service"):
                units[name] = file["content"]
    yield from outside.shellcheck(scripts)
    yield from outside.systemd(units)


CHECKS: dict[str, Callable[[], Iterator[str]]] = {
    "lint": _lint,
    "schema": _schema,
    "hcl": _hcl,
    "facts": _facts,
    "scripts": _scripts,
    "cloud-init": lambda: outside.cloud_init(_user_data()),
    "checkov": lambda: outside.checkov(ROOT),
    "terraform": lambda: outside.terraform(ROOT),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.deploy", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        choices=CHECKS,
        metavar="CHECK",
        help=f"leave out this check; one of {', '.join(CHECKS)}",
    )
    without = parser.parse_args().without
    wrong = 0
    for name, check in CHECKS.items():
        begin = time.monotonic()
        try:
            found = None if name in without else list(check())
        except outside.Skipped as why:
            print(f"{name}: skipped: {why}")
            continue
        except subprocess.TimeoutExpired as late:
            found = [str(late)]
        if found is None:
            print(f"{name}: skipped: --without {name}")
            continue
        wrong += len(found)
        print(f"{name}: {len(found) or 'no'} fault{'s' * (len(found) != 1)}, {time.monotonic() - begin:.1f} s")
        for what in found:
            print(f"  {what}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
