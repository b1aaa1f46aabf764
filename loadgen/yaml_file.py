"""Reads YAML. Only this module imports PyYAML, which belongs to the extras `traffic` and `analysis`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from loadgen.errors import UsageError
from loadgen.extras import missing_package

__all__ = ["YamlEvent", "parse_yaml", "yaml_events"]


@dataclass(frozen=True, slots=True)
class YamlEvent:
    """One event of a YAML parser. line: from 1.

    text: of a scalar, or the name of an alias's anchor. anchor: the name that aliases use for this node, or "".
    is_plain: whether a scalar is written without quotes. tag: explicit, or "".
    """

    kind: Literal["document", "end document", "map", "list", "end", "scalar", "alias"]
    line: int
    text: str = ""
    anchor: str = ""
    tag: str = ""
    is_plain: bool = False


def parse_yaml(text: str, name: str, *, extra: str = "traffic") -> Any:
    """Return the value of a YAML document. All scalars are texts; tags make no objects.

    name: of the file, for errors. extra: the one that an error names if PyYAML is not installed.

    Raises:
        UsageError: the text is not YAML, or PyYAML is not installed.
    """
    try:
        import yaml  # only for YAML files
    except ModuleNotFoundError:
        raise missing_package(f"{name}: YAML", "PyYAML", extra) from None
    try:
        # BaseLoader makes texts, lists and objects of texts only. SafeLoader fails at an example such as 2024-13-45.
        return yaml.load(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader))  # noqa: S506
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{name}:{mark.line + 1}" if mark is not None else name
        problem = getattr(error, "problem", None) or "the document cannot be read"
        raise UsageError(f"{place}: invalid YAML: {problem}", hint="correct this line") from None
    except (RecursionError, ValueError) as error:
        raise UsageError(f"{name}: invalid YAML: {error}", hint="use a document with less nesting") from None


def yaml_events(text: str, name: str, *, extra: str = "analysis") -> Iterator[YamlEvent]:
    """Yield the events of all documents of a YAML text, one after the other, without building anything.

    The caller decides about limits: it can stop at any event. name: of the file, for errors. extra: as in `parse_yaml`.

    Raises:
        UsageError: the text is not YAML, or PyYAML is not installed. The message begins with the name and the line.
    """
    try:
        import yaml  # only for YAML files
    except ModuleNotFoundError:
        raise missing_package(f"{name}: YAML", "PyYAML", extra) from None
    kinds: dict[type, Literal["document", "end document", "map", "list", "end", "scalar", "alias"]] = {
        yaml.DocumentStartEvent: "document",
        yaml.DocumentEndEvent: "end document",
        yaml.MappingStartEvent: "map",
        yaml.SequenceStartEvent: "list",
        yaml.MappingEndEvent: "end",
        yaml.SequenceEndEvent: "end",
        yaml.ScalarEvent: "scalar",
        yaml.AliasEvent: "alias",
    }
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CBaseLoader", yaml.BaseLoader)):
            kind = kinds.get(type(event))
            if kind is None:
                continue
            anchor = getattr(event, "anchor", None) or ""
            implicit = getattr(event, "implicit", False)
            yield YamlEvent(
                kind,
                event.start_mark.line + 1,
                anchor if kind == "alias" else str(getattr(event, "value", "")),
                "" if kind == "alias" else anchor,
                getattr(event, "tag", None) or "",
                isinstance(implicit, tuple) and bool(implicit[0]),
            )
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        if mark is not None:
            line = mark.line + 1
        else:
            line = text.count("\n", 0, max(0, getattr(error, "position", 0) or 0)) + 1
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "the document cannot be read"
        lines = text.split("\n")
        found = lines[line - 1] if line <= len(lines) else ""
        is_tab = "\t" in found[: len(found) - len(found.lstrip())]
        raise UsageError(
            f"{name}:{line}: invalid YAML: {'a tab cannot indent a line' if is_tab else problem}",
            hint="indent with spaces" if is_tab else "correct this line",
        ) from None
    except (RecursionError, ValueError) as error:
        raise UsageError(f"{name}: invalid YAML: {error}", hint="save it as UTF-8, with less nesting") from None
