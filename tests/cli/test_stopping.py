"""What Ctrl-C and SIGTERM ask the conductor for."""

from __future__ import annotations

from loadgen_controller.stopping import DRAINING, Stopping


def stopping() -> tuple[Stopping, list[tuple[str, bool]]]:
    asked: list[tuple[str, bool]] = []
    return Stopping(lambda reason, now: asked.append((reason, now))), asked


def test_first_interrupt_drains_and_the_second_stops_at_once() -> None:
    stop, asked = stopping()

    stop.interrupt()
    assert [now for _, now in asked] == [False]
    assert stop.notices == (DRAINING,)

    stop.interrupt()
    assert [now for _, now in asked] == [False, True]
    assert stop.notices == ("stopping at once",)


def test_sigterm_is_a_first_interrupt_and_never_a_second() -> None:
    stop, asked = stopping()

    stop.terminate()
    stop.terminate()
    assert [now for _, now in asked] == [False]

    stop.interrupt()
    assert [now for _, now in asked] == [False, True]
