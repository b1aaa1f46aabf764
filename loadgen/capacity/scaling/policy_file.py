"""Reads a file with a scaling policy: an HPA in YAML or JSON, or policies of AWS in JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from loadgen.capacity.scaling.aws_file import read_aws
from loadgen.capacity.scaling.faults import FaultList
from loadgen.capacity.scaling.hpa_file import is_hpa, read_hpa
from loadgen.capacity.scaling.policy import ScalingPolicy, Units
from loadgen.errors import UsageError
from loadgen.measure.run_folder.rundir import storage_error
from loadgen.yaml_file import parse_yaml

__all__ = ["read_policy"]

_MOST_BYTES: Final = 1 << 20
_MOST_VALUES: Final = 20_000
_MOST_DEPTH: Final = 50


def read_policy(path: Path, units: Units, least: int | None = None, most: int | None = None) -> ScalingPolicy:
    """Read the policy in a file.

    least, most: numbers of instances in place of those of the file; None: those of the file.

    Raises:
        StorageError: the file cannot be read.
        UsageError: the file is no policy that can be replayed; several faults are an ExceptionGroup of them.
    """
    document = _document(path)
    _check_size(path, document)
    faults = FaultList(path.name)
    policy = (read_hpa if is_hpa(document) else read_aws)(faults, document, units, least, most)
    faults.check()
    assert policy is not None
    return policy


def _check_size(path: Path, document: object) -> None:
    """Check that a document is small, with every alias of YAML counted as what it stands for.

    Raises:
        UsageError: it has too many values, or is nested too deeply.
    """
    stack: list[tuple[object, int]] = [(document, 0)]
    count = 0
    while stack:
        value, depth = stack.pop()
        count += 1
        if count > _MOST_VALUES or depth > _MOST_DEPTH:
            raise UsageError(
                f"{path.name} has more than {_MOST_VALUES:,} values or {_MOST_DEPTH} levels",
                hint="give a file with one policy, without aliases",
            )
        if isinstance(value, dict):
            stack.extend((one, depth + 1) for one in value.values())
        elif isinstance(value, list):
            stack.extend((one, depth + 1) for one in value)


def _document(path: Path) -> Any:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"{path} is larger than 1 MiB", hint="give a file with one policy")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise storage_error(path, exc, doing="read", elsewhere="name a file with a policy") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"{path} is not UTF-8", hint="save it as UTF-8") from exc
    if not text.strip():
        raise UsageError(f"{path} is empty", hint="give an HPA, or a policy of AWS")
    if path.suffix.lower() not in (".yaml", ".yml") and text.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as exc:
            line = getattr(exc, "lineno", 1)
            raise UsageError(f"{path.name}:{line}: invalid JSON: {exc}", hint="correct this line") from exc
    return parse_yaml(text, path.name, extra="analysis")
