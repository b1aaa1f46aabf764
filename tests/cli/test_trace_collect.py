"""The options and the last line of `loadgen trace collect`."""

from __future__ import annotations

import pytest

from loadgen.backends.collector.trace_ring import Counts
from loadgen.errors import UsageError, errors_in
from loadgen_controller.commands.trace_collect import collect, summary


def test_wrong_options_are_reported_together() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        collect(listen="4318", memory="5 bananas", traces=1)
    assert [str(one).partition(":")[0] for one in errors_in(caught.value)] == ["--listen", "--memory"]


def test_a_memory_that_is_too_small_is_an_error() -> None:
    with pytest.raises(UsageError, match="must be from 1 MiB to 64 GiB"):
        collect(listen="127.0.0.1:0", memory="10KiB", traces=1)


def test_the_last_line_has_all_that_was_dropped() -> None:
    assert summary(Counts(requests=2, spans=9)) == "2 requests with 9 spans"
    counts = Counts(1, 1_000, 3, 2, 80, 5, 7, 4)
    assert summary(counts) == (
        "1 request with 1,000 spans; 80 spans of 2 old traces dropped for space; 5 spans came after their trace was "
        "dropped; 7 spans were too many for one trace; 3 spans had no valid ids; 4 requests refused"
    )
