"""A Terraform module as it stands in its folder: all blocks of its files, and what they name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.deploy.hcl import Attribute, Block, read, without_strings

__all__ = ["Fault", "Module", "folders", "named"]

# Names in code: var.x, local.x, module.x.y, data.aws_x.y.z, aws_x.y.z. After `[...]` or `[*]` it goes on.
_NAMED = re.compile(r"(?<![\w.\])])((?:var|local|module|data|aws_\w+)(?:(?:\[[^\[\]]*\])?\.[A-Za-z_]\w*)+)")
_INDEX = re.compile(r"\[[^\[\]]*\]")


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """Something wrong, and where."""

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
        """
        Raises:
            HclError: a file is no HCL.
        """
        return cls(folder, tuple(block for path in sorted(folder.glob("*.tf")) for block in read(path).blocks))

    def all(self, *kinds: str) -> Iterator[Block]:
        return (block for block in self.blocks if block.kind in kinds)

    def attributes(self) -> Iterator[tuple[Block, Attribute]]:
        """Each with the block that it is in, at any depth."""
        for top in self.blocks:
            for block in top.walk():
                for attribute in block.attributes.values():
                    yield block, attribute

    def declared(self, kind: str) -> dict[str, Block]:
        """Variables, outputs, modules by name; resources and data sources by type.name."""
        return {".".join(block.labels): block for block in self.all(kind)}

    def locals(self) -> dict[str, Attribute]:
        return {name: one for block in self.all("locals") for name, one in block.attributes.items()}


def named(text: str) -> Iterator[tuple[str, ...]]:
    """The names that an expression mentions, each as its parts."""
    code = without_strings(text)
    while _INDEX.search(code) and (flat := re.sub(r"\[(?:[0-9]+|\*|each\.\w+|count\.index|\w+)\]", "", code)) != code:
        code = flat
    for found in _NAMED.finditer(code):
        yield tuple(_INDEX.sub("", found[1]).split("."))


def folders(root: Path) -> list[Path]:
    """Every folder below with Terraform files in it."""
    return sorted({path.parent for path in root.rglob("*.tf")})
