"""Marks of the target on a page: both forms, order, bounds, and texts that cannot do harm."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path

from loadgen.report.target_side.marks import MARKS_MOST, Mark, page_marks
from loadgen.report.target_side.metrics_file import read_target_side


def test_marks_of_probes_and_of_scaling_stand_among_those_of_the_run_by_time() -> None:
    own = [{"at_s": 5.0, "kind": "agent lost", "text": "agent a1 is lost"}]
    there = [
        Mark(at_s=7.5, error_s=0.25, probe="shopdb", text="the server was restarted"),
        Mark(at_s=-20.0, error_s=1.0, name="web", title="one more", status="Failed", cause="no room", length_s=30.0),
    ]

    assert page_marks(own, there) == [
        {
            "at_s": -20.0,
            "kind": "target",
            "text": "one more (Failed), 30.0 s long: no room",
            "source": "web",
            "error_s": 1.0,
        },
        *own,
        {"at_s": 7.5, "kind": "target", "text": "the server was restarted", "source": "shopdb", "error_s": 0.25},
    ]


def test_of_very_many_marks_those_nearest_to_the_start_of_the_load_are_left() -> None:
    found = page_marks([], [Mark(at_s=float(n), text="checkpoint") for n in range(-100, 1_000)])

    assert [one["at_s"] for one in found] == [float(n) for n in range(MARKS_MOST)]


def test_a_mark_cannot_forge_lines_and_needs_a_time() -> None:
    found = page_marks([], [Mark(at_s=1.0, text="a\nb \x1b[31m", probe="x\ny"), Mark(at_s=inf, text="never")])

    assert [(one["text"], one["source"]) for one in found] == [("a\\nb \\x1b[31m", "x\\ny")]


def test_marks_are_read_from_the_file_of_the_run(tmp_path: Path) -> None:
    marks = [
        {"probe": "k8s", "at_s": 3.0, "error_s": 1.0, "text": "Pod web-1 was killed"},
        {
            "name": "web",
            "at_s": 4.0,
            "length_s": None,
            "error_s": 1.0,
            "title": "t",
            "status": "InProgress",
            "cause": "c",
        },
    ]
    (tmp_path / "metrics.json").write_text(json.dumps({"format": 1, "metrics": [], "marks": marks}))

    assert [(one.source, one.words) for one in read_target_side(tmp_path).marks] == [
        ("k8s", "Pod web-1 was killed"),
        ("web", "t (InProgress): c"),
    ]
