"""Reads YAML. Only this module imports PyYAML, which belongs to the extras `traffic` and `analysis`."""

from __future__ import annotations

from typing import Any

from loadgen.errors import UsageError
from loadgen.extras import missing_package

__all__ = ["parse_yaml"]


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
