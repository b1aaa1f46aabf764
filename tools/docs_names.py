"""Check that every file, name, command and option in the docs exists. `make check` and a test run it.

It reads docs/, README.md, CHANGELOG.md and CONTRIBUTING.md. Outside of code blocks it checks, within backticks:

- `path/file.py:name` and `path/file.py:Class.method`: the file exists and defines the name (by its syntax tree);
- `path/file.ext` in a folder of the project: the file exists;
- `module.name` of a module of the project, also with its full dotted name: the module defines the name;
- `user.name`, `user.http.name`, `reply.name`: the class of that object in a journey has the name;
- `loadgen COMMAND`: the command exists; `--option` anywhere: some command has the option.

In docs/coming-from, the first column of a table has the words of another tool; their names are not checked.

Relative links must lead to a file, and links with `#heading` to a heading of that page.
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
"""Each package, with its own folder or the folder around it."""
FOLDERS = ("loadgen", "controller", "agent", "proto", "scenarios", "tests", "tools", "bench", "docs", ".ci")

IN_HAND = {
    "user": "User",
    "user.http": "HttpClient",
    "reply": "Reply",
}
LANGUAGE = ("loadgen.dsl.", "loadgen.clients.")
_OF_OTHER_TOOLS = Path("docs/coming-from")
EXTENSIONS = {"json", "jsonl", "tar", "log", "hlog", "key", "pub", "py", "md", "csv", "html", "proto", "toml", "lock"}

_CODE_BLOCK = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_BACKTICKED = re.compile(r"`([^`\n]+)`")
_FILE_AND_NAME = re.compile(r"([\w./-]+\.py):([A-Za-z_][\w.]*)")
_FILE = re.compile(r"[\w.-]+(?:/[\w.-]+)+")
_DOTTED = re.compile(r"([a-z_][\w]*(?:\.[a-z_]\w*)*)\.([A-Za-z_]\w*(?:\.[a-z_]\w*)?)(?:\(\))?")
_COMMAND = re.compile(r"loadgen ([a-z]+(?:-[a-z]+)*)\b")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
_LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)]*))?\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Missing:
    """A file, name, command, option or link target that a page mentions and that does not exist."""

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
    """Return the pages to check."""
    top = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")
    return [*sorted((root / "docs").rglob("*.md")), *(root / name for name in top)]


def check(text: str, page: Path) -> Iterator[Missing]:
    """Yield everything that `page` mentions and that does not exist. Line numbers count the lines of code blocks."""
    prose = _CODE_BLOCK.sub(lambda m: "\n" * m[0].count("\n"), text)
    for number, line in enumerate(prose.splitlines(), 1):
        for link, heading in _LINK.findall(line):
            if "://" in link:
                continue
            target = ROOT / page.parent / link if link else ROOT / page
            if not target.exists():
                yield Missing(page, number, link, "file not found")
            elif heading and target.suffix == ".md" and target.is_file() and heading not in headings(target):
                yield Missing(page, number, f"{link}#{heading}", "heading not found")
        is_foreign = page.parent == _OF_OTHER_TOOLS and line.startswith("| ")
        ours = line.split(" | ", 1)[-1] if is_foreign else line
        for code in _BACKTICKED.findall(ours):
            if why := wrong(code):
                yield Missing(page, number, code, why)


def wrong(code: str) -> str:
    """Return why the name in backticks does not exist; empty if it exists or cannot be checked."""
    if named := _FILE_AND_NAME.fullmatch(code):
        path = ROOT / named[1]
        if not path.is_file():
            return "file not found"
        return "" if has_name(path, named[2]) else f"{named[1]} has no {named[2]}"
    if _FILE.fullmatch(code) and code.split("/")[0] in FOLDERS:
        return "" if (ROOT / code).exists() else "file not found"
    if (command := _COMMAND.match(code)) and command[1] not in commands():
        return f"no command {command[1]}"
    if code.startswith(("-", "loadgen ")):
        return next((f"no option {o}" for o in _OPTION.findall(code) if o not in options()), "")
    if (dotted := _DOTTED.fullmatch(code)) and dotted[2] not in EXTENSIONS:
        return wrong_dotted(dotted[1], dotted[2])
    return ""


def wrong_dotted(module: str, name: str) -> str:
    """Return why a dotted name does not exist; empty if it exists or cannot be checked.

    Examples: `histogram.Histogram`, `loadgen.measure.histograms.histogram.Histogram`,
    `loadgen_controller.core.lifecycle`.
    """
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
def headings(page: Path) -> frozenset[str]:
    """Return the anchors of the page's headings, as GitHub makes them: lower case, hyphens, no punctuation."""
    prose = _CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))
    return frozenset(
        re.sub(r"[^\w\- ]", "", found.lower().strip()).replace(" ", "-") for found in _HEADING.findall(prose)
    )


@cache
def modules() -> dict[str, Path]:
    """Return all modules of the project by dotted name."""
    found: dict[str, Path] = {}
    for package, folder in PACKAGES.items():
        top = ROOT / folder if folder == package else ROOT / folder / package
        for path in top.rglob("*.py"):
            parts = (package, *path.relative_to(top).with_suffix("").parts)
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def statements(path: Path) -> list[ast.stmt]:
    """Return the top-level statements of a file."""
    return ast.parse(path.read_text(encoding="utf-8")).body


@cache
def has_name(path: Path, name: str) -> bool:
    """Return whether the file defines, assigns or imports `name`; for `Class.method`, whether the class does."""
    body = statements(path)
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
    from loadgen_controller.cli import COMMANDS

    return frozenset(COMMANDS)


@cache
def options() -> frozenset[str]:
    """Return all options of `loadgen` and `loadgen-agent`, as written in the sources."""
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
