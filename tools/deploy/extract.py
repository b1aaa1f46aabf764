"""Write `aws-schema.json`, the part of the AWS provider's schema that our Terraform files use. It needs npm.

    python -m tools.deploy.extract            after `npm pack @cdktf/provider-aws@21.22.1` in the current folder

The provider itself cannot be downloaded where loadgen is developed. This npm package is generated from its schema,
6.25.0. Its type declarations have every block and argument, and which arguments are required; its code has the
attributes that can be read.

    {"provider": "6.25.0", "source": "...",
     "resource": {"aws_vpc": {"arguments": {"cidr_block": false}, "blocks": {...}, "read": ["arn"]}}, "data": {...}}

An argument's value is true if it is required. A block has `arguments` and `blocks` too, and `one` if it may occur only
once.
"""

from __future__ import annotations

import json
import re
import sys
import tarfile
from pathlib import Path
from typing import Any

from tools.deploy.hcl import read

PACKAGE = "cdktf-provider-aws-21.22.1.tgz"
WHERE = Path(__file__).with_name("aws-schema.json")
ROOT = Path(__file__).parents[2] / "deploy" / "terraform"

_INTERFACE = re.compile(r"^export interface (\w+)[^{]*\{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_MEMBER = re.compile(r"/\*\*(.*?)\*/\s*readonly (\w+)(\??): ([^;]+);", re.DOTALL)
_NAME = re.compile(r"#(\w+) \w+#\w+\}")
_CLASS = re.compile(r"^class (\w+) extends cdktf\.Terraform(?:Resource|DataSource) ", re.MULTILINE)
_READ = re.compile(r"^ +// (\w+) - computed: ", re.MULTILINE)


def used() -> dict[str, set[str]]:
    """Return the types of resources and data sources in our files."""
    found: dict[str, set[str]] = {"resource": set(), "data": set()}
    for path in ROOT.rglob("*.tf"):
        for block in read(path).blocks:
            if block.kind in found and block.labels[0].startswith("aws_"):
                found[block.kind].add(block.labels[0])
    return found


def shape_of(declarations: str, code: str) -> dict[str, Any]:
    """Return the schema of a type from its declarations and its code."""
    interfaces = {found[1]: found[2] for found in _INTERFACE.finditer(declarations)}
    whole = _CLASS.search(code)
    if whole is None:
        raise SystemExit("a type without its class: the package has another form; adapt _CLASS")
    return {
        **_block(interfaces, f"{whole[1]}Config" if f"{whole[1]}Config" in interfaces else f"{whole[1][:-1]}Config"),
        "read": sorted(set(_READ.findall(code, whole.start()))),
    }


def _block(interfaces: dict[str, str], name: str) -> dict[str, Any]:
    arguments: dict[str, bool] = {}
    blocks: dict[str, Any] = {}
    for about, _, optional, kind in _MEMBER.findall(interfaces[name]):
        named = _NAME.search(about)
        if named is None:
            raise SystemExit(
                f"{name}: a member without its Terraform name: the package has another form; adapt _MEMBER"
            )
        inner = re.match(r"\w+", kind)
        if f"* {named[1]} block" in about and inner is not None and inner[0] in interfaces:
            blocks[named[1]] = {**_block(interfaces, inner[0]), "one": "[]" not in kind, "required": not optional}
        else:
            arguments[named[1]] = not optional
    return {"arguments": dict(sorted(arguments.items())), "blocks": dict(sorted(blocks.items()))}


def main() -> None:
    package = Path(sys.argv[1] if len(sys.argv) > 1 else PACKAGE)
    schema: dict[str, Any] = {
        "provider": "6.25.0",
        "source": "type declarations of npm's @cdktf/provider-aws 21.22.1 (MPL-2.0), by tools/deploy/extract.py",
    }
    wanted = {
        (kind, one): f"data-{one}".replace("_", "-") if kind == "data" else one.removeprefix("aws_").replace("_", "-")
        for kind, types in used().items()
        for one in sorted(types)
    }
    with tarfile.open(package) as tar:
        texts = {
            member.name: file.read().decode().partition("//# sourceMappingURL")[0]
            for member in tar
            if member.name.split("/")[-2] in wanted.values() and (file := tar.extractfile(member)) is not None
        }
    for (kind, one), folder in wanted.items():
        declarations, code = (texts[f"package/lib/{folder}/index.{end}"] for end in ("d.ts", "js"))
        schema.setdefault(kind, {})[one] = shape_of(declarations, code)
    WHERE.write_text(json.dumps(schema, indent=None, separators=(",", ":")).replace('"aws_', '\n"aws_') + "\n")
    print(f"{WHERE}: {len(wanted)} types, {WHERE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
