"""Finds the store of accepted runs: that of --store, or of `loadgen.toml`, or the folder `history`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from loadgen.dsl.find_settings import find_settings
from loadgen_controller.collect_option_errors import CollectedErrors

__all__ = ["STORE", "all_stores", "store_of"]

STORE: Final = "history"
"""The default store: a folder in the current folder."""
_HERE: Final = Path("scenario.py")
"""Used to look up `loadgen.toml` when there is no scenario: as if one were in the current folder."""


def store_of(errors: CollectedErrors, given: str | None, env: str | None, scenario: Path | None = None) -> str:
    """Return the name of the store of accepted runs: `given`, or the one in `loadgen.toml`, or the folder `history`.

    env: an unknown environment is an error even if a store is given.
    """
    if env is None and (given or find_settings(scenario or _HERE) is None):
        return given or STORE
    from loadgen_controller.planning.option_parsing import places_of  # imports the settings of all parts of a plan

    configured = places_of(errors, scenario, env).store
    return given or configured or STORE


def all_stores(errors: CollectedErrors, given: Iterable[str]) -> list[str]:
    """Return all stores of accepted runs that this folder may use: `given`, those that its `loadgen.toml` names, for
    whatever environment, and the default folder if it exists.
    """
    from loadgen.dsl.plans.loadgen_toml import Settings, read_settings

    settings = errors.catch(lambda: read_settings(find_settings(_HERE))) or Settings()
    places = (settings.places, *(one.places for one in settings.environments.values()))
    named = [*given, *(one.store for one in places if one.store)]
    return list(dict.fromkeys([*named, *([STORE] if Path(STORE).is_dir() else [])]))
