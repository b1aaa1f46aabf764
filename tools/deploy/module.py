"""Represent a Terraform module: all blocks of the files in a folder, and the names in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.deploy.hcl import Attribute, Block, read, without_strings

__all__ = ["Fault", "Module", "folders", "named"]

# Names in code: var.x, local.x, module.x.y, data.aws_x.y.z, aws_x.y.z. A name may continue after `[...]` or `[*]`.
_NAMED = re.compile(r"(?<![\w.\])])((?:var|local|module|data|aws_\w+)(?:(?:\[[^\[\]]*\])?\.[A-Za-z_]\w*)+)")
_INDEX = re.compile(r"\[[^\[\]]*\]")


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """A fault in a Terraform file, with its place and rule."""

    path: Path
    line: int
    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what} [{self.rule}]"


@dataclass(frozen=True, slots=True)
class Module:
    folder: Path
    blocks: tuple[Block, ...]

    @classmethod
    def of(cls, folder: Path) -> Module:
        """Return the module in a folder.

        Raises:
            HclError: a file is not valid HCL.
        """
        return cls(folder, tuple(block for path in sorted(folder.glob("*.tf")) for block in read(path).blocks))

    def all(self, *kinds: str) -> Iterator[Block]:
        return (block for block in self.blocks if block.kind in kinds)

    def attributes(self) -> Iterator[tuple[Block, Attribute]]:
        """Yield each attribute with its block, at any depth."""
        for top in self.blocks:
            for block in top.walk():
                for attribute in block.attributes.values():
                    yield block, attribute

    def declared(self, kind: str) -> dict[str, Block]:
        """Return variables, outputs and modules by name, and resources and data sources by type.name."""
        return {".".join(block.labels): block for block in self.all(kind)}

    def locals(self) -> dict[str, Attribute]:
        return {name: one for block in self.all("locals") for name, one in block.attributes.items()}


def named(text: str) -> Iterator[tuple[str, ...]]:
    """Yield the names in an expression, each as its parts."""
    code = without_strings(text)
    while _INDEX.search(code) and (flat := re.sub(r"\[(?:[0-9]+|\*|each\.\w+|count\.index|\w+)\]", "", code)) != code:
        code = flat
    for found in _NAMED.finditer(code):
        yield tuple(_INDEX.sub("", found[1]).split("."))


def folders(root: Path) -> list[Path]:
    """Return every folder below `root` that contains Terraform files."""
    return sorted({path.parent for path in root.rglob("*.tf")})
