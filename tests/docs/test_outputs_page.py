"""docs/outputs.md names what is told, all of it, and edges that there are."""

from __future__ import annotations

import re
from pathlib import Path

from loadgen.sinks.buckets import BUCKETS, EDGES_CLS, EDGES_S
from loadgen.sinks.options import KINDS
from tests.sinks.test_dashboard import TOLD

PAGE = (Path(__file__).resolve().parents[2] / "docs/outputs.md").read_text()


def named() -> set[str]:
    """Metrics of the table; `_finished_total` after a whole name is one of its group."""
    found: set[str] = set()
    for line in PAGE.splitlines():
        group = ""
        for name in re.findall(r"`(loadgen_\w+|_\w+)`", line.split("|")[1] if line.startswith("| `loadgen_") else ""):
            group = group if name.startswith("_") else name.rpartition("_started")[0] or name.rpartition("_due")[0]
            found.add(group + name if name.startswith("_") else name)
    return found


def test_every_metric_is_in_its_table_and_nothing_else_is() -> None:
    assert named() == {re.sub(r"_(bucket|count|sum)$", "", name) for name in TOLD}


def test_labels_stand_beside_each() -> None:
    for line in PAGE.splitlines():
        if line.startswith("| `loadgen_"):
            metric, labels = re.findall(r"loadgen_\w+", line)[0], re.findall(r"`(\w+)`", line.split("|")[2])
            family = TOLD.get(metric) or TOLD[metric + "_bucket"]
            assert {*labels, "run_id", "plan"} == set(family.labels), metric


def test_every_kind_of_output_is_in_its_table() -> None:
    assert set(re.findall(r"`([a-z-]+)=[A-Z]", PAGE)) - {"header", "ca"} == set(KINDS)


def test_edges_that_it_shows_are_edges() -> None:
    shown = [float(edge) for edge in re.findall(r'le="([\d.]+)"', PAGE)]
    assert shown
    assert all(edge in EDGES_S or edge in EDGES_CLS for edge in shown)
    assert 0.100031 in EDGES_S
    assert f"{BUCKETS - 1} buckets" in PAGE
