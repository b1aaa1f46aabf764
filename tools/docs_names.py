"""Checks that what the docs name is there: `make check` runs it, and a test.

Looked at in docs/, README.md and CHANGELOG.md, within backticks and outside of code blocks:

- `path/file.py:name` and `path/file.py:Class.method`: the file, and the name in it (by its syntax tree);
- `path/file.ext` with a folder that the project has: the file;
- `module.name` of a module of ours, also dotted in full: the name in it;
- `user.name`, `user.http.name`, `reply.name`: what a journey holds in its hand, so the name in that class;
- `loadgen COMMAND`: the command; `--option` anywhere: an option of some command.
- relative links to files.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"loadgen": "loadgen", "loadgen_controller": "controller", "loadgen_agent": "agent"}
"""Package -> the folder of it, or around it."""
FOLDERS = ("loadgen", "controller", "agent", "proto", "scenarios", "tests", "tools", "bench", "docs", ".ci")

IN_HAND = {
    "user": "User",
    "user.http": "HttpClient",
    "reply": "Reply",
}
LANGUAGE = ("loadgen.dsl.", "loadgen.clients.")
EXTENSIONS = {"json", "jsonl", "tar", "log", "hlog", "key", "pub", "py", "md", "csv", "html", "proto", "toml", "lock"}

_CODE_BLOCK = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_BACKTICKED = re.compile(r"`([^`\n]+)`")
_FILE_AND_NAME = re.compile(r"([\w./-]+\.py):([A-Za-z_][\w.]*)")
_FILE = re.compile(r"[\w.-]+(?:/[\w.-]+)+")
_DOTTED = re.compile(r"([a-z_][\w]*(?:\.[a-z_]\w*)*)\.([A-Za-z_]\w*(?:\.[a-z_]\w*)?)(?:\(\))?")
_COMMAND = re.compile(r"loadgen ([a-z]+)\b")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that a page names and that is not there."""

    page: Path
    line: int
    text: str
    why: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: `{self.text}`: {self.why}"


def main() -> int:
    missing = [m for page in pages(ROOT) for m in check(page.read_text(encoding="utf-8"), page.relative_to(ROOT))]
    for one in missing:
        print(one, file=sys.stderr)
    return 1 if missing else 0


def pages(root: Path) -> list[Path]:
    return [*sorted((root / "docs").rglob("*.md")), root / "README.md", root / "CHANGELOG.md"]


def check(text: str, page: Path) -> Iterator[Missing]:
    """Everything that `page` names and that is not there. Code blocks keep their lines and lose their content."""
    prose = _CODE_BLOCK.sub(lambda m: "\n" * m[0].count("\n"), text)
    for number, line in enumerate(prose.splitlines(), 1):
        for link in _LINK.findall(line):
            if "://" not in link and not (ROOT / page.parent / link).exists():
                yield Missing(page, number, link, "no such file")
        for code in _BACKTICKED.findall(line):
            if why := wrong(code):
                yield Missing(page, number, code, why)


def wrong(code: str) -> str:
    """Why what stands in the backticks is not there; empty when it is, or when it is nothing that can be checked."""
    if named := _FILE_AND_NAME.fullmatch(code):
        path = ROOT / named[1]
        if not path.is_file():
            return "no such file"
        return "" if has_name(path, named[2]) else f"{named[1]} has no {named[2]}"
    if _FILE.fullmatch(code) and code.split("/")[0] in FOLDERS:
        return "" if (ROOT / code).exists() else "no such file"
    if (command := _COMMAND.match(code)) and command[1] not in commands():
        return f"no command {command[1]}"
    if code.startswith(("-", "loadgen ")):
        return next((f"no option {o}" for o in _OPTION.findall(code) if o not in options()), "")
    if (dotted := _DOTTED.fullmatch(code)) and dotted[2] not in EXTENSIONS:
        return wrong_dotted(dotted[1], dotted[2])
    return ""


def wrong_dotted(module: str, name: str) -> str:
    """`histogram.Histogram`, `loadgen.measure.histograms.histogram.Histogram`, `loadgen_controller.core.lifecycle`."""
    whole = f"{module}.{name}"
    holder, _, rest = whole.rpartition(".")
    if holder in IN_HAND:
        name = f"{IN_HAND[holder]}.{rest}"
        there = any(has_name(path, name) for known, path in modules().items() if known.startswith(LANGUAGE))
        return "" if there else f"{holder} has no {rest}"
    if whole.split(".")[0] in PACKAGES and whole in modules():
        return ""
    if module.split(".")[0] in PACKAGES:
        found = [path for known, path in modules().items() if known == module]
    elif "." in module:
        return ""
    else:
        found = [path for known, path in modules().items() if known.rsplit(".", 1)[-1] == module]
    if not found:
        return f"no module {module}" if module.split(".")[0] in PACKAGES else ""
    return "" if any(has_name(path, name) for path in found) else f"{module} has no {name}"


@cache
def modules() -> dict[str, Path]:
    """All modules of the project, by dotted name."""
    found: dict[str, Path] = {}
    for package, folder in PACKAGES.items():
        top = ROOT / folder if folder == package else ROOT / folder / package
        for path in top.rglob("*.py"):
            parts = (package, *path.relative_to(top).with_suffix("").parts)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def has_name(path: Path, name: str) -> bool:
    """Whether the file defines, assigns or imports `name`; `Class.method` looks into the class."""
    body: list[ast.stmt] = ast.parse(path.read_text(encoding="utf-8")).body
    for part in name.split("."):
        for statement in body:
            if part in _names(statement):
                body = statement.body if isinstance(statement, ast.ClassDef) else []
                break
        else:
            return False
    return True


def _names(statement: ast.stmt) -> set[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.Assign(targets=[ast.Name(id="__slots__")], value=ast.Tuple(elts=slots)):
            return {slot.value for slot in slots if isinstance(slot, ast.Constant) and isinstance(slot.value, str)}
        case ast.Assign(targets=targets):
            return {t.id for t in targets if isinstance(t, ast.Name)}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return {(alias.asname or alias.name).split(".")[0] for alias in names}
        case ast.If(body=body):
            return {name for inner in body for name in _names(inner)}
    return set()


@cache
def commands() -> frozenset[str]:
    from loadgen_controller.cli import ORDER

    return frozenset(ORDER)


@cache
def options() -> frozenset[str]:
    """All options of all commands, ours and the agent's, as they are written in the sources."""
    sources = [*(ROOT / "controller/loadgen_controller").rglob("*.py"), *(ROOT / "agent/loadgen_agent").glob("*.py")]
    found = {"--help"}
    for path in sources:
        text = path.read_text(encoding="utf-8")
        found.update(o for said in re.findall(r"\"(--[a-z][a-z/-]+)\"", text) for o in said.split("/"))
        for name in re.findall(r"^    (\w+): (?:Annotated\[|\w+Option\b)", text, re.MULTILINE):
            found.add("--" + name.replace("_", "-"))
    return frozenset(found)


if __name__ == "__main__":
    sys.exit(main())
