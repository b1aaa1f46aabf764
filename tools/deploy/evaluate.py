"""Evaluate the Terraform examples with tfparse and print them as JSON.

It runs in the virtual environment `.tools/deploy` and imports no loadgen module.

    .tools/deploy/bin/python -m tools.deploy.evaluate hcl FOLDER      [[file, [block names]], ...], by python-hcl2
    .tools/deploy/bin/python -m tools.deploy.evaluate plan EXAMPLE    {type: [{"at": address, argument: value ...}]};
                                                                      "refused" has rejected variables and reasons

tfparse (Trivy's evaluator) does not ask AWS. A value that AWS would assign is an invented id, and the result of a data
source is empty.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

__all__: list[str] = []


def blocks(folder: Path) -> list[tuple[str, list[str]]]:
    import hcl2

    options = hcl2.SerializationOptions(strip_string_quotes=True, explicit_blocks=False)
    found = []
    for path in sorted(folder.rglob("*.tf")):
        parsed = hcl2.loads(path.read_text(encoding="utf-8"), serialization_options=options)
        found.append(
            (
                str(path),
                sorted(
                    name for kind, bodies in parsed.items() if kind != "__comments__" for name in _names(kind, bodies)
                ),
            )
        )
    return found


def _names(kind: str, bodies: list[Any]) -> list[str]:
    deep = {"resource": 2, "data": 2, "variable": 1, "output": 1, "module": 1, "provider": 1}.get(kind, 0)
    return [".".join((kind, *labels)) for body in bodies for labels in _labels(body, deep)]


def _labels(body: dict[str, Any], deep: int) -> list[tuple[str, ...]]:
    if deep == 0:
        return [()]
    return [(name, *rest) for name, inner in body.items() for rest in _labels(inner, deep - 1)]


def plan(example: Path) -> dict[str, list[dict[str, Any]]]:
    import tfparse

    parsed = tfparse.load_from_path(str(example), vars_paths=["terraform.tfvars.example"])
    found: dict[str, list[dict[str, Any]]] = {}
    for kind, ones in parsed.items():
        if kind.startswith("aws_") or kind == "output":
            found[kind] = [{"at": one["__tfmeta"]["path"], **_plain(one)} for one in ones]
    found["refused"] = [
        {"at": variable["__tfmeta"]["path"], "message": rule.get("error_message")}
        for variable in parsed.get("variable", ())
        for rule in _listed(variable.get("validation"))
        if rule.get("condition") is not True
    ]
    return found


def _listed(value: Any) -> list[dict[str, Any]]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items() if key != "__tfmeta"}
    return [_plain(one) for one in value] if isinstance(value, list) else value


if __name__ == "__main__":
    what, where = sys.argv[1], Path(sys.argv[2])
    json.dump(blocks(where) if what == "hcl" else plan(where), sys.stdout)
