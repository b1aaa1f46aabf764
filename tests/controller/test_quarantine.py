"""Ten bad messages within a minute and an agent is not listened to; time is handed in."""

from __future__ import annotations

import pytest

from loadgen.units import NS_PER_S
from loadgen_controller.core import quarantine as module
from loadgen_controller.core.quarantine import BAD_MESSAGES, QUARANTINE_NS, WITHIN_NS, Quarantine


class Handed:
    """A quarantine and its clock."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.quarantine = Quarantine(lambda: self.now_ns)

    def bad(self, agent: str, count: int, apart_ns: int = 0) -> list[bool]:
        said = []
        for _ in range(count):
            said.append(self.quarantine.bad(agent))
            self.now_ns += apart_ns
        return said


def test_the_tenth_bad_message_within_a_minute_is_one_too_many() -> None:
    handed = Handed()
    assert handed.bad("a", BAD_MESSAGES, 6 * NS_PER_S) == [False] * 9 + [True]
    assert handed.quarantine.holds("a")
    assert not handed.quarantine.holds("b")


def test_bad_messages_far_apart_are_only_counted() -> None:
    handed = Handed()
    assert not any(handed.bad("a", 100, WITHIN_NS // 9 + 1))


def test_after_a_minute_it_is_over_and_all_begins_anew() -> None:
    handed = Handed()
    handed.bad("a", BAD_MESSAGES)
    handed.now_ns += QUARANTINE_NS - 1
    assert handed.quarantine.holds("a")
    handed.now_ns += 1
    assert not handed.quarantine.holds("a")
    assert handed.bad("a", BAD_MESSAGES) == [False] * 9 + [True]


def test_one_message_beyond_a_limit_is_enough() -> None:
    handed = Handed()
    handed.quarantine.begin("a")
    assert handed.quarantine.holds("a")
    assert not handed.quarantine.holds("b")
    handed.now_ns += QUARANTINE_NS
    assert not handed.quarantine.holds("a")


def test_names_without_end_take_no_memory_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_KNOWN", 100)
    handed = Handed()
    for number in range(1_000):
        handed.bad(f"a.{number}", 1)
    assert len(handed.quarantine._bad) == 100
    for number in range(1_000):
        handed.bad(f"b.{number}", BAD_MESSAGES, QUARANTINE_NS // 100)
    assert len(handed.quarantine._until_ns) < 100
