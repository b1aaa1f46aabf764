"""Write the table of commands and options that help and completion read: `python -m tools.command_table`.

`--check` compares the table with the commands, and writes nothing. Run it after each change of a command or an option.
"""

from __future__ import annotations

import json
import sys
from enum import Enum
from typing import Any, get_args

from loadgen_controller.cli import COMMANDS, command
from loadgen_controller.completion.command_table import FILE

__all__ = ["main", "table_text"]


def table_text() -> str:
    """Return the JSON text of the table, made from the commands themselves."""
    return json.dumps({name: _entry(command(name)) for name in COMMANDS}, indent=1, ensure_ascii=False) + "\n"


def _entry(one: Any) -> dict[str, Any]:
    options: dict[str, Any] = {}
    arguments = []
    for param in one.params:
        if getattr(param, "hidden", False):
            continue
        if param.param_type_name == "argument":
            arguments.append(_option(param, repeats=param.nargs == -1))
        else:
            options |= dict.fromkeys((*param.opts, *param.secondary_opts), _option(param))
    entry: dict[str, Any] = {"help": _first_paragraph(one.help), "options": options, "arguments": arguments}
    if default := getattr(one, "default", None):
        usual = _entry(one.commands[default])
        entry |= {name: usual[name] for name in ("options", "arguments")}
    if hasattr(one, "commands"):
        entry["commands"] = {name: _entry(inner) for name, inner in one.commands.items()}
    return entry


def _option(param: Any, *, repeats: bool = False) -> dict[str, Any]:
    entry: dict[str, Any] = {"help": _first_sentence(param.help)}
    if param.param_type_name == "argument" or not (param.is_flag or param.count):
        value = param.metavar or param.name.upper()
        entry["value"] = value + "..." * (repeats and not value.endswith("..."))
        if choices := _choices(param.type_descriptor.annotation):
            entry["choices"] = choices
    return entry


def _choices(annotation: Any) -> list[str]:
    """Return the values of an enum, also of one in a union such as `Format | None`; nothing for other types."""
    kinds = get_args(annotation) or (annotation,)
    return [each.value for kind in kinds if isinstance(kind, type) and issubclass(kind, Enum) for each in kind]


def _first_paragraph(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())


def _first_sentence(text: str | None) -> str:
    sentence, dot, _ = _first_paragraph(text).partition(". ")
    return sentence + dot.strip()


def main() -> int:
    """Write or check the table, and return an exit code: 1 if the check found a difference."""
    made = table_text()
    if "--check" not in sys.argv[1:]:
        FILE.write_text(made, encoding="utf-8")
    elif FILE.read_text(encoding="utf-8") != made:
        print(f"{FILE} does not match the commands; run: python -m tools.command_table", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
