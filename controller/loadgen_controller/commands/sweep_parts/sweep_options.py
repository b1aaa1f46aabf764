"""The options of a sweep as they were typed, in the form in which `sweep.json` keeps them for `--resume`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from loadgen.sweep.plan import SweepPlan
from loadgen_controller.commands.shared_options import RunOptions

__all__ = ["OutputOptions", "SweepOptions", "differences", "restored_run_options", "typed_run_options"]

_FREE: Final = ("quiet", "runs_dir", "param")
"""Options that do not change what is measured, and those that a sweep replaces."""
_PATHS: Final = ("keys", "ca", "token_file", "fleet", "allow", "sign_with")
_SPELT: Final = {"loads": "--load", "param": "-P", "setting": "--set", "of": "--of"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepOptions:
    """The options of `loadgen sweep` besides those of `RunOptions`, as they were typed; None: not given."""

    param: list[str] | None = None
    plan_value: list[str] | None = None
    setting: list[str] | None = None
    skip: list[str] | None = None
    design: str | None = None
    resolution: int | None = None
    cells: int | None = None
    repeat: int | None = None
    of: str | None = None
    block: str | None = None
    control_every: int | None = None
    between: str | None = None
    between_timeout: str | None = None
    early: bool | None = None
    seed: int | None = None

    def typed(self) -> dict[str, Any]:
        """Return the options that were given, by name."""
        return {one.name: value for one in fields(self) if (value := getattr(self, one.name)) not in (None, [], False)}


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """Where the result of a sweep goes, as it was typed; None: not given."""

    html: Path | None = None
    json: Path | None = None
    csv: Path | None = None
    store: str | None = None

    def stored_in(self, plan: SweepPlan) -> SweepPlan:
        """Return the plan with these options, for `--resume` in whatever folder."""
        files = {"html": self.html, "json": self.json, "csv": self.csv}
        typed = {name: str(path if str(path) == "-" else path.absolute()) for name, path in files.items() if path}
        if self.store:
            typed["store"] = self.store if "://" in self.store else str(Path(self.store).absolute())
        return replace(plan, options={**plan.options, "outputs": typed})

    def or_those_of(self, plan: SweepPlan) -> OutputOptions:
        """Return these options; those of a stored sweep where none is given."""
        stored = plan.options.get("outputs")
        typed = {name: str(value) for name, value in stored.items()} if isinstance(stored, dict) else {}
        files = {name: Path(typed[name]) if name in typed else None for name in ("html", "json", "csv")}
        return OutputOptions(
            self.html or files["html"],
            self.json or files["json"],
            self.csv or files["csv"],
            self.store or typed.get("store"),
        )


def typed_run_options(options: RunOptions) -> dict[str, Any]:
    """Return the options of the runs that were given, by name, with absolute paths."""
    found: dict[str, Any] = {}
    for one in fields(options):
        value = getattr(options, one.name)
        if one.name in _FREE or value is None or value == []:
            continue
        found[one.name] = str(value.absolute()) if isinstance(value, Path) else value
    return found


def restored_run_options(typed: Mapping[str, Any], *, quiet: bool) -> RunOptions:
    """Return the options of the runs of a stored sweep. Unknown names, of a newer loadgen, are ignored."""
    known = {one.name for one in fields(RunOptions)} - set(_FREE)
    given: dict[str, Any] = {
        name: Path(value) if name in _PATHS else value for name, value in typed.items() if name in known
    }
    return RunOptions(**given, quiet=quiet)


def differences(given: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each given option that differs from the stored sweep."""
    found = []
    for name, value in given.items():
        if name in stored and stored[name] == value:
            continue
        there = f"has {_text(stored[name])}" if name in stored else "was started without it"
        found.append(f"{_SPELT.get(name, '--' + name.replace('_', '-'))} is {_text(value)}, and the sweep {there}")
    return found


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
