"""Lets scenarios that this program loads read files of promises, by `openslo(...)`. Importing this module is enough."""

from __future__ import annotations

from pathlib import Path

from loadgen.dsl.plans.objectives.promise_file import PackedPromises, read_promises_by

__all__: list[str] = []


def _read(path: Path) -> PackedPromises:
    from loadgen.programme.promises.for_scenarios import packed_promises  # only for scenarios with promises

    return packed_promises(path)


read_promises_by(_read)
