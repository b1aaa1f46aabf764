"""The format in which a command writes its result: that of `--format`, or that of the file's name."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from loadgen_controller.collect_option_errors import CollectedErrors

__all__ = ["output_format"]

F = TypeVar("F", bound=StrEnum)


def output_format(
    errors: CollectedErrors, given: F | None, output: Path | None, by_ending: Mapping[str, F], without: F
) -> F | None:
    """Return the format of the output. Add an error if the file's name has no known ending, or contradicts `given`.

    Args:
        given: the value of `--format`; None: the name decides.
        output: the file; None: stdout.
        by_ending: the formats that a name can have, by its ending in lower case.
        without: the format if there is neither `--format` nor a file.
    """
    ending = "" if output is None else output.suffix.lower()
    by_name = by_ending.get(ending)
    if given is not None:
        if by_name not in (None, given) and given in by_ending.values():
            right = next(end for end, one in by_ending.items() if one is given)
            hint = f"remove --format to write {by_name}, or end the name in {right}"
            errors.add(f"--format {given} contradicts the name {output}, which ends in {ending}", hint)
        return given
    if output is None:
        return without
    if by_name is None:
        known = ", ".join(f"{end} ({one})" for end, one in by_ending.items())
        hint = f"add --format, or name a file that ends in {known}"
        errors.add(f"cannot derive the format from the name {output}", hint)
    return by_name
