"""A group of commands with a default one: `loadgen trace RUN` is `loadgen trace why RUN`."""

from __future__ import annotations

from typing import Any, ClassVar

from typer.core import TyperGroup

__all__ = ["GroupWithDefault"]


class GroupWithDefault(TyperGroup):
    """A group whose first argument may be that of its default command. A subclass names this command."""

    default: ClassVar[str]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Add the name of the default command to arguments that name none, also for `--help`."""
        return super().parse_args(ctx, args if args and args[0] in self.commands else [self.default, *args])
