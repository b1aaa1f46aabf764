"""Print random samples of docstrings, file names and messages for readers who have never seen the code.

    python -m tools.blind_sample --seed 7              # for the readers
    python -m tools.blind_sample --seed 7 --truth      # with the place of each sample, for the judge

There are three lists. From a docstring with its signature, readers explain what the function does; from a file path,
what is inside; from an error message with its hint, what to do. docs/testing.md has the last results.
"""

from __future__ import annotations

import argparse
import ast
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from loadgen import errors

BUILT_FROM_VALUES = frozenset(("LimitExceeded", "AgentLost"))
"""Errors that make their sentence from values; what is written where they are raised is no message."""
ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("loadgen", "controller/loadgen_controller", "agent/loadgen_agent")
ERRORS = frozenset(
    name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)
) | {"fault"}


@dataclass(frozen=True, slots=True)
class Sample:
    """One text for the readers, and its place in the code."""

    text: str
    place: str


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--seed", type=int, required=True)
    ask.add_argument("--docstrings", type=int, default=60)
    ask.add_argument("--files", type=int, default=40)
    ask.add_argument("--messages", type=int, default=30)
    ask.add_argument("--truth", action="store_true", help="also print where each sample is")
    given = ask.parse_args()
    chance = random.Random(given.seed)
    sources = [
        path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")) if "v1" not in path.parts
    ]
    trees = {path.relative_to(ROOT): ast.parse(path.read_text(encoding="utf-8")) for path in sources}
    documented = [one for path, tree in trees.items() for one in docstrings(path, tree)]
    raised = [one for path, tree in trees.items() for one in messages(path, tree)]
    files = [Sample(str(path), str(path)) for path in trees if path.name != "__init__.py"]
    for title, population, count in (
        ("Docstrings: what does it do?", documented, given.docstrings),
        ("Files: what is inside?", files, given.files),
        ("Messages: what is wrong, and what does the user do?", raised, given.messages),
    ):
        print(f"\n# {title} ({count} of {len(population):,})\n")
        for number, one in enumerate(chance.sample(population, min(count, len(population))), 1):
            print(f"{number}. {one.text}" + (f"\n   [{one.place}]" if given.truth else ""))


def docstrings(path: Path, tree: ast.Module) -> Iterator[Sample]:
    """Yield each function and method with a docstring, as its qualified name, signature and docstring."""

    def walk(body: list[ast.stmt], prefix: str) -> Iterator[Sample]:
        for node in body:
            if isinstance(node, ast.ClassDef):
                yield from walk(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (text := ast.get_docstring(node)):
                returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
                keyword = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
                signature = f"{keyword} {prefix}{node.name}({ast.unparse(node.args)}){returns}"
                yield Sample(f"{signature}\n   {text.replace(chr(10), chr(10) + '   ')}", f"{path}:{node.lineno}")

    yield from walk(tree.body, "")


def messages(path: Path, tree: ast.Module) -> Iterator[Sample]:
    """Yield each message of an error of ours with its hint. Messages that only pass on another text are left out."""
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None and _is_text(node.value)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        texts = [one for one in node.args if isinstance(one, ast.JoinedStr) or _is_text(one)]
        if name not in ERRORS or name in BUILT_FROM_VALUES or not texts or not _has_words(texts[0]):
            continue
        hints = [one.value for one in node.keywords if one.arg == "hint"] + texts[1:]
        hints = [constants.get(one.id, one) if isinstance(one, ast.Name) else one for one in hints]
        if not hints and name == "WireError":
            hints = [ast.Constant(errors.WireError("").hint)]
        parts = [_shown(texts[0]), *(f"hint: {_shown(one)}" for one in hints)]
        yield Sample("\n   ".join(parts), f"{path}:{node.lineno}")


def _has_words(node: ast.expr) -> bool:
    """Whether a message is more than values that are filled in."""
    return sum(word.isalpha() for word in re.sub(r"\{[^}]*\}", " ", _shown(node)).split()) > 1


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value


def _shown(node: ast.expr) -> str:
    """Return the text as the user sees it, with `{...}` in place of values."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(one.value) if isinstance(one, ast.Constant) else "{" + ast.unparse(one.value) + "}"
            for one in node.values
            if isinstance(one, ast.Constant | ast.FormattedValue)
        )
    return "{" + ast.unparse(node) + "}"


if __name__ == "__main__":
    main()
