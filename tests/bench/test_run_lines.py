"""The benchmarks read the lines of a run as they are printed now."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.run_lines import second_of
from loadgen_controller.screen.live import line
from loadgen_controller.screen.live_figures import Figures
from tests.controller.test_looks import look, merged


def figures() -> Figures:
    found = look(merged(3))
    assert isinstance(found, Figures)
    return found


@pytest.mark.parametrize(("last_n", "second"), [(0, 0), (7, 7), (61, 61)])
def test_the_second_of_a_line_is_the_start_of_its_interval(last_n: int, second: int) -> None:
    shown = replace(figures(), last_n=last_n, last_s=1.0, reported=3, agents_wanted=3)
    assert second_of(line(shown)) == second


def test_a_line_of_which_agents_are_missing_has_no_second() -> None:
    assert second_of(line(replace(figures(), last_n=7, last_s=1.0, reported=2, agents_wanted=3))) is None
    assert second_of("note: agents now report every 2 s") is None
