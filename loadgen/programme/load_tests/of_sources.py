"""Gives each promise the condition of its source, for files that other tools read without our settings. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from loadgen.programme.promises.objectives import Objective
from loadgen.programme.promises.slo_set import SloSet
from loadgen.programme.pulling.source_settings import Source, source_of

__all__ = ["with_source_settings"]


def with_source_settings(slos: SloSet, sources: Mapping[str, Source]) -> SloSet:
    """Return the set in which each promise has the `load_tests` of its source, if it has none of its own."""
    return replace(slos, objectives=tuple(_with_setting(one, slos, sources) for one in slos.objectives))


def _with_setting(one: Objective, slos: SloSet, sources: Mapping[str, Source]) -> Objective:
    source = source_of(one.sources[0], sources, slos.sources) if len(one.sources) == 1 else ""
    return one if one.load_tests or isinstance(source, str) else replace(one, load_tests=source.load_tests)
