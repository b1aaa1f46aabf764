"""For rows of the fault matrix: the seed of a test, and what it saw."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

__all__ = ["seed", "seen"]


@pytest.fixture
def seed(record_property: Callable[[str, object], None]) -> int:
    """Another one each time, or LOADGEN_CHAOS_SEED; stands in the table, and in the output of a test that fails."""
    found = int(os.environ.get("LOADGEN_CHAOS_SEED") or secrets.randbelow(2**31))
    record_property("seed", found)
    print(f"LOADGEN_CHAOS_SEED={found}")
    return found


@pytest.fixture
def seen(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Say what was seen, for the table."""
    return lambda text: record_property("seen", text)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each of them is a fleet of its own, with the times of one."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.quiet)
