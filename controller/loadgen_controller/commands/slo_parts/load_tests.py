"""How load tests are left out of the counts of promises, for the subcommands that show it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from loadgen.errors import ScenarioError
from loadgen.programme.load_tests.said import LoadTests, load_tests_of
from loadgen.programme.programme_toml import FILE_NAME
from loadgen.programme.promises.objectives import DataSource, Objective
from loadgen.programme.pulling.source_settings import read_sources

__all__ = ["load_tests_said"]


def load_tests_said(objectives: Iterable[Objective], data_sources: Iterable[DataSource]) -> dict[str, LoadTests]:
    """Return it by the name of a promise. A programme.toml with errors makes it unknown, and nothing fails."""
    try:
        sources = read_sources(Path(FILE_NAME))
    except ScenarioError:
        why = LoadTests("unknown", f"{FILE_NAME} has errors, which `loadgen slo pull --plan` names")
        return {one.name: why for one in objectives}
    return load_tests_of(objectives, sources, data_sources)
