"""Read Terraform files as blocks, labels and attributes with their line numbers.

An expression is kept as text and not evaluated. That is enough to find the arguments of a block and the names in an
expression. `python -m tools.deploy` also reads the same files with python-hcl2, to check this reader.

Grammar: the HCL native syntax specification, without provider functions; `dynamic` is an ordinary block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Attribute", "Block", "HclError", "read", "read_text", "strings", "without_strings"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_HEREDOC = re.compile(r"<<(-?)([A-Za-z_][A-Za-z0-9_-]*)\n")
_PAIRS = {"(": ")", "[": "]", "{": "}"}


class HclError(Exception):
    """A file is not valid HCL, or uses syntax that this reader does not support."""

    def __init__(self, path: Path, line: int, what: str) -> None:
        super().__init__(f"{path}:{line}: {what}")
        self.path, self.line, self.what = path, line, what


@dataclass(frozen=True, slots=True)
class Attribute:
    name: str
    text: str
    """The text of the expression."""
    line: int

    @property
    def literal(self) -> str:
        """The text without the quotes of a plain string."""
        return self.text[1:-1] if len(self.text) >= 2 and self.text[0] == self.text[-1] == '"' else self.text


@dataclass(frozen=True, slots=True)
class Block:
    """A block. A whole file is a block without a kind."""

    path: Path
    kind: str
    labels: tuple[str, ...]
    line: int
    remarks: tuple[str, ...] = ()
    """The comment lines directly above the block."""
    attributes: dict[str, Attribute] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)

    def of(self, kind: str) -> Iterator[Block]:
        return (block for block in self.blocks if block.kind == kind)

    def walk(self) -> Iterator[Block]:
        """Yield the block and all blocks within it."""
        yield self
        for block in self.blocks:
            yield from block.walk()

    @property
    def name(self) -> str:
        return ".".join((self.kind, *self.labels))


def read(path: Path) -> Block:
    """Return the file's text as a block.

    Raises:
        HclError: the text is not valid HCL.
    """
    return read_text(path.read_text(encoding="utf-8"), path)


def read_text(text: str, path: Path) -> Block:
    return _Reader(text if text.endswith("\n") else text + "\n", path).file()


def without_strings(text: str) -> str:
    """Return an expression with the text in quotes blanked, except for interpolations."""
    return _split(text)[0]


def strings(text: str) -> str:
    """Return the texts in quotes in an expression, without interpolations."""
    return _split(text)[1]


def _split(text: str) -> tuple[str, str]:
    code: list[str] = []
    quoted: list[str] = []
    depth: list[int] = []  # depth of braces, for each string with an open interpolation
    inside, at, braces = False, 0, 0
    while at < len(text):
        two = text[at : at + 2]
        if inside:
            if two in ("${", "%{") and text[at - 1 : at] != two[0]:
                depth.append(braces)
                inside, at = False, at + 2
                code.append(" ")
                continue
            if text[at] == "\\":
                quoted.append(two)
                at += 2
                continue
            inside = text[at] != '"'
            quoted.append(text[at] if inside else "\n")
        elif text[at] == '"':
            inside = True
            code.append(" ")
        else:
            if text[at] == "}" and depth and braces == depth[-1]:
                depth.pop()
                inside = True
                at += 1
                code.append(" ")
                continue
            braces += {"{": 1, "}": -1}.get(text[at], 0)
            code.append(text[at])
        at += 1
    return "".join(code), "".join(quoted)


class _Reader:
    def __init__(self, text: str, path: Path) -> None:
        self.text, self.path, self.at = text, path, 0

    def file(self) -> Block:
        body = Block(self.path, "", (), 1)
        self._body(body, closing=False)
        return body

    def _line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1

    def _fail(self, what: str) -> HclError:
        return HclError(self.path, self._line(), what)

    def _body(self, into: Block, *, closing: bool) -> None:
        while True:
            remarks = self._blank()
            if self.at >= len(self.text):
                if closing:
                    raise HclError(self.path, into.line, f"the block {into.name} is not closed")
                return
            if self.text[self.at] == "}":
                if not closing:
                    raise self._fail("a } without an opening {")
                self.at += 1
                return
            self._statement(into, remarks)

    def _statement(self, into: Block, remarks: tuple[str, ...]) -> None:
        line, name = self._line(), self._identifier()
        self._spaces()
        if self.text[self.at] == "=" and self.text[self.at + 1] != "=":
            self.at += 1
            if name in into.attributes:
                raise HclError(self.path, line, f"{name} is set twice")
            into.attributes[name] = Attribute(name, self._expression(), line)
            return
        labels = []
        while self.text[self.at] != "{":
            labels.append(self._label())
            self._spaces()
        self.at += 1
        block = Block(self.path, name, tuple(labels), line, remarks)
        into.blocks.append(block)
        self._body(block, closing=True)

    def _identifier(self) -> str:
        found = _NAME.match(self.text, self.at)
        if found is None:
            raise self._fail(f"a name was expected before {self.text[self.at : self.at + 20]!r}")
        self.at = found.end()
        return found[0]

    def _label(self) -> str:
        if self.text[self.at] == '"':
            begin = self.at
            self._string()
            return self.text[begin + 1 : self.at - 1]
        return self._identifier()

    def _expression(self) -> str:
        """Read an expression up to the end of the line, or until all open brackets are closed."""
        self._spaces()
        begin = end = self.at
        waiting: list[str] = []
        while True:
            if self.at >= len(self.text):
                raise self._fail("a bracket is not closed")
            char = self.text[self.at]
            if char == "\n" and not waiting:
                break
            if not waiting and char == "}":  # the closing brace of a block on one line
                break
            if self._comment():
                continue
            if char == '"':
                self._string()
            elif (heredoc := _HEREDOC.match(self.text, self.at)) is not None:
                self._heredoc(heredoc)
            else:
                if char in _PAIRS:
                    waiting.append(_PAIRS[char])
                elif char in ")]}" and (not waiting or waiting.pop() != char):
                    raise self._fail(f"a {char} without an opening bracket")
                self.at += 1
            if not char.isspace():
                end = self.at
        if end == begin:
            raise self._fail("an expression was expected")
        return self.text[begin:end]

    def _heredoc(self, found: re.Match[str]) -> None:
        closing = re.compile(rf"^[ \t]*{found[2]}[ \t]*$" if found[1] else rf"^{found[2]}[ \t]*$", re.MULTILINE)
        closed = closing.search(self.text, found.end())
        if closed is None:
            raise self._fail(f"<<{found[2]} is not closed")
        self.at = closed.end()

    def _string(self) -> None:
        """Skip to after the closing quote. An interpolation may contain strings."""
        self.at += 1
        while self.at < len(self.text):
            two = self.text[self.at : self.at + 2]
            if two in ("$$", "%%") and self.text[self.at + 2 : self.at + 3] == "{":
                self.at += 3
            elif two in ("${", "%{"):
                self.at += 2
                self._interpolation()
            elif two[0] == "\\":
                self.at += 2
            elif two[0] == '"':
                self.at += 1
                return
            elif two[0] == "\n":
                raise self._fail("a string is not closed")
            else:
                self.at += 1
        raise self._fail("a string is not closed")

    def _interpolation(self) -> None:
        depth = 1
        while depth:
            if self.at >= len(self.text):
                raise self._fail("a ${ is not closed")
            if self.text[self.at] == '"':
                self._string()
                continue
            depth += {"{": 1, "}": -1}.get(self.text[self.at], 0)
            self.at += 1

    def _spaces(self) -> None:
        while self.text[self.at : self.at + 1] in (" ", "\t"):
            self.at += 1
        if self.at >= len(self.text):
            raise self._fail("the file ends too early")

    def _comment(self) -> str | None:
        """Read a comment, if one starts here; a line comment without its newline."""
        if self.text[self.at] == "#" or self.text.startswith("//", self.at):
            end = self.text.index("\n", self.at)
        elif self.text.startswith("/*", self.at):
            end = self.text.find("*/", self.at) + 2
            if end < 2:
                raise self._fail("a comment is not closed")
        else:
            return None
        found, self.at = self.text[self.at : end], end
        return found

    def _blank(self) -> tuple[str, ...]:
        """Skip space and comments; return the comments directly above the next token, without an empty line between."""
        remarks: list[str] = []
        newlines = 0
        while self.at < len(self.text):
            if self.text[self.at].isspace():
                newlines += self.text[self.at] == "\n"
                if newlines > 1:
                    remarks.clear()
                self.at += 1
            elif (comment := self._comment()) is not None:
                remarks.append(comment)
                newlines = 0
            else:
                break
        return tuple(remarks)
