"""Chooses one kind of runs: a history can hold several, and only runs of one kind can be compared."""

from __future__ import annotations

from collections.abc import Sequence

from loadgen.errors import UsageError
from loadgen.history.store.store import Store
from loadgen.history.store.stored_run import Key
from loadgen.report.report_tables import Table
from loadgen.units import quantity
from loadgen_controller.screen.terminal_report import Output, print_table

__all__ = ["chosen"]


def chosen(store: Store, key: str = "", target: str = "", *, is_one: bool = True) -> Key | None:
    """Return the key of the one kind of runs (same plan, target and placement) that the options choose.

    Args:
        key: the beginning of the key's hash. target: a part of the target's name.
        is_one: raise if several kinds match; otherwise a table of them is printed, and None is returned.
    Raises:
        UsageError: the store has no runs, no kind matches, or (with `is_one`) several do.
    """
    keys = store.keys()
    if not keys:
        hint = f"add one with: loadgen history add RUN --store {store}, or loadgen gate ... --add"
        unread = (
            f"; cannot read {quantity(len(store.unreadable), 'file')}: {store.unreadable[0]}"
            if store.unreadable
            else ""
        )
        raise UsageError(f"there are no accepted runs in {store}{unread}", hint=hint)
    found = [one for one in keys if one.hash().startswith(key) and target in one.target]
    if len(found) == 1:
        return found[0]
    if not found:
        asked = " and ".join(text for text in (key and f"key {key}", target and f"target {target}") if text)
        raise UsageError(f"no runs in {store} have {asked}", hint="choose one of these keys: " + _some(keys))
    if is_one:
        raise UsageError(
            f"{store} has {len(found)} kinds of runs, which cannot be compared with each other",
            hint=f"choose one with --key: {_some(found)}",
        )
    rows = [(one.hash(), _plan_of(one), one.target, one.rate, one.placement, one.instances) for one in found]
    title = f"{len(found)} kinds of runs in {store}, which cannot be compared with each other: choose one with --key"
    columns = ("Key", "Plan", "Target", "Rate", "Placement", "Machines")
    print_table(Output(), Table(title, columns, tuple(rows), words=len(columns)), {0})
    return None


def _some(keys: Sequence[Key], most: int = 5) -> str:
    more = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(f"{one.hash()} ({one.target} at {one.rate})" for one in keys[:most]) + more


def _plan_of(key: Key) -> str:
    """Return the names of scenario and plan in a key: "shop.py: spike"."""
    lines = dict(line.partition(": ")[::2] for line in key.plan.splitlines())
    return ": ".join(text for text in (lines.get("scenario", ""), lines.get("plan", "")) if text)
