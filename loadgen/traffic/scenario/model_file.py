"""Reads a scenario that `loadgen model` wrote, with its `traffic.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loadgen.errors import UsageError
from loadgen.traffic.reading.log_options import LogOptions
from loadgen.traffic.scenario.draft import KnownNames
from loadgen.traffic.scenario.options_json import options_of
from loadgen.traffic.scenario.traffic_json import FORMAT

__all__ = ["ModelFile", "read_model"]

_MOST_BYTES: Final = 64 << 20


@dataclass(frozen=True)
class ModelFile:
    """A scenario and its `traffic.json`."""

    path: Path
    text: str
    facts: Mapping[str, Any]
    """The whole of `traffic.json`."""
    options: LogOptions
    inputs: tuple[str, ...]
    known_nodes: Mapping[str, str]
    """Name of the requests by function."""
    known: KnownNames
    files: Mapping[str, str]
    """Hashes of the data files by path beside the scenario."""


def read_model(path: Path) -> ModelFile:
    """Return a scenario and its `traffic.json`, which is in the same folder.

    Raises:
        UsageError: one of them cannot be read, or is not what `loadgen model` writes.
    """
    text = _text(path, "name a scenario that `loadgen model LOG... -o FILE.py` wrote")
    beside = path.parent / "traffic.json"
    hint = f"make a new scenario with `loadgen model LOG... -o FILE.py`, which also writes {beside.name}"
    try:
        facts = json.loads(_text(beside, hint))
        if facts["format"] != FORMAT:
            raise UsageError(f"{beside}: has the format {facts['format']!r}, not {FORMAT}", hint=hint)
        nodes = _texts(facts["nodes"])
        return ModelFile(
            path=path,
            text=text,
            facts=facts,
            options=options_of(facts["options"]),
            inputs=tuple(map(str, facts["inputs"])),
            known_nodes=nodes,
            known=KnownNames(
                nodes={name: node for node, name in nodes.items()},
                choices={template: variable for variable, template in _texts(facts["choices"]).items()},
            ),
            files=_texts(facts["files"]),
        )
    except json.JSONDecodeError as error:
        raise UsageError(f"{beside}:{error.lineno}: not valid JSON: {error.msg}", hint=hint) from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"the key {error} is missing" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"{beside}: not written by `loadgen model`: {what}", hint=hint) from None


def _texts(found: Any) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise TypeError("nodes, choices and files must be objects of texts")
    return found


def _text(path: Path, hint: str) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"{path}: larger than {_MOST_BYTES >> 20} MiB", hint=hint)
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not a text in UTF-8", hint=hint) from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}", hint=hint) from None
