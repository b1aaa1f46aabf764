"""Reads all of `programme.toml` that `loadgen decide` needs, with all errors of its readers at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loadgen.errors import Fault, ScenarioError
from loadgen.programme.money_file import Money, read_money
from loadgen.programme.programme_toml import read_programme_toml
from loadgen.programme.recommending.launch_file import Launch, read_launch
from loadgen.programme.recommending.programme_file import Programme, read_programme

__all__ = ["Settings", "read_settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the file says. An empty one: no facts, no checklist, no prices, and the default thresholds."""

    programme: Programme = field(default_factory=Programme)
    launch: Launch = field(default_factory=Launch)
    money: Mapping[str, Money] = field(default_factory=dict)


def read_settings(path: Path) -> Settings:
    """Return the content of the file.

    Raises:
        ScenarioError: with all errors and their lines, or the file cannot be read.
    """
    read_programme_toml(path)  # a file that cannot be read has this error alone
    faults: list[Fault] = []
    programme, launch, money = Programme(), Launch(), {}
    try:
        programme = read_programme(path)
    except ScenarioError as error:
        faults += error.faults
    try:
        launch = read_launch(path)
    except ScenarioError as error:
        faults += error.faults
    try:
        money = dict(read_money(path))
    except ScenarioError as error:
        faults += error.faults
    if faults:
        raise ScenarioError(sorted(dict.fromkeys(faults)))
    return Settings(programme, launch, money)
