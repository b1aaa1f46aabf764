"""The Grafana dashboard asks for nothing that is not told."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from loadgen.sinks.metric_names_and_labels import FAMILIES, MESSAGES, PAGES, STREAMS, TAGGED, Family

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD: Final[dict[str, Any]] = json.loads((ROOT / "deploy/grafana/loadgen.json").read_text())
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
TOLD: dict[str, Family] = {family.name + suffix: family for family in FAMILIES for suffix in SUFFIXES[family.kind]}


def expressions() -> Iterator[tuple[str, str]]:
    """(where, expression) of all panels and variables."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["definition"]


def labels_of(expression: str) -> set[str]:
    named = set(re.findall(r'[{,]\s*(\w+)\s*=~?"', expression))
    for group in re.findall(r"by \(([^)]*)\)", expression):
        named |= {name.strip() for name in group.split(",")}
    return named | set(re.findall(r"label_values\(.*,\s*(\w+)\)", expression))


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_every_metric_and_label_that_it_asks_for_is_told(where: str, expression: str) -> None:
    names = set(re.findall(r"\bloadgen_\w+", expression))
    assert names
    assert names <= TOLD.keys(), where
    for name in names:
        allowed = {*TOLD[name].labels, "job", "instance"} | ({"le"} if name.endswith("_bucket") else set())
        assert labels_of(expression) <= allowed, where


def test_every_legend_names_a_label_of_its_series() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert label in labels_of(target["expr"]), panel["title"]


def test_everything_but_the_clock_is_on_it() -> None:
    asked = {TOLD[name].name for _, one in expressions() for name in re.findall(r"\bloadgen_\w+", one)}

    assert {family.name for family in FAMILIES} - asked == {
        "loadgen_run_clock_seconds",
        *(family.name for family in TAGGED.values()),
        *(family.name for group in (STREAMS, MESSAGES, PAGES) for family in group.values()),
    }


def test_panels_do_not_lie_on_each_other_and_every_variable_is_used() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    text = json.dumps(DASHBOARD["panels"])
    for variable in DASHBOARD["templating"]["list"]:
        assert f"${variable['name']}" in text or f"${{{variable['name']}}}" in text
