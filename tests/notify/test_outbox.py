"""Which message is sent when: one a minute for each kind, then a sum; five tries; limits."""

from __future__ import annotations

from itertools import count

from loadgen.notify.event import Event, EventKind
from loadgen.notify.outbox import Outbox


def event(kind: EventKind = EventKind.AGENT_LOST, name: str = "shop") -> Event:
    return Event.of(kind, name, "it happened", "2026-11-28T09:00:00Z")


def outbox() -> Outbox:
    numbers = count(1)
    return Outbox(lambda: f"msg_{next(numbers)}")


def sent(box: Outbox, now_s: float) -> list[tuple[str, int]]:
    """The messages that are due, delivered: (id, number of events)."""
    found = []
    while (message := box.due(now_s)) is not None:
        found.append((message.id, message.count))
        box.delivered(message)
    return found


def test_the_first_event_is_sent_at_once_and_those_of_its_minute_together_after_it() -> None:
    box = outbox()
    for second in (0, 1, 2, 59):
        box.offer(event(), second)
    assert sent(box, 59) == [("msg_1", 1)]
    assert box.wake_s == 60
    assert sent(box, 60) == [("msg_2", 3)]
    assert box.is_empty


def test_a_sum_begins_a_minute_of_its_own() -> None:
    box = outbox()
    box.offer(event(), 0)
    box.offer(event(), 1)
    assert [number for _, number in sent(box, 60)] == [1, 1]
    box.offer(event(), 61)
    assert sent(box, 61) == []
    assert sent(box, 120) == [("msg_3", 1)]


def test_each_kind_has_a_minute_of_its_own() -> None:
    box = outbox()
    for kind in (EventKind.START, EventKind.AGENT_LOST, EventKind.END):
        box.offer(event(kind), 0)
    assert len(sent(box, 0)) == 3


def test_an_event_after_a_quiet_minute_is_sent_at_once() -> None:
    box = outbox()
    box.offer(event(), 0)
    sent(box, 0)
    box.offer(event(), 60)
    assert sent(box, 60) == [("msg_2", 1)]


def test_a_message_is_tried_five_times_with_longer_and_longer_waits_and_keeps_its_id() -> None:
    box = outbox()
    box.offer(event(), 0)
    now_s, tries = 0.0, []
    while (message := box.due(now_s)) is not None:
        tries.append((now_s, message.id))
        box.failed(message, "http 503", now_s)
        now_s = box.wake_s if box.wake_s is not None else now_s
    assert tries == [(at, "msg_1") for at in (0, 1, 6, 36, 156)]
    assert [(one.message.id, one.why) for one in box.undelivered] == [("msg_1", "http 503")]
    assert box.is_empty


def test_a_rejection_is_final() -> None:
    box = outbox()
    box.offer(event(), 0)
    message = box.due(0)
    assert message is not None
    box.failed(message, "http 410", 0, is_final=True)
    assert box.is_empty
    assert len(box.undelivered) == 1


def test_at_the_end_sums_are_due_at_once_and_tries_follow_quickly() -> None:
    box = outbox()
    box.offer(event(), 0)
    first = box.due(0)
    assert first is not None
    for _ in range(3):
        box.failed(first, "http 503", 0)  # the next try would be in 30 s
    box.offer(event(), 1)
    box.hurry(10)
    assert sent(box, 12) == [("msg_1", 1), ("msg_2", 1)]


def test_a_channel_that_is_down_costs_little_memory() -> None:
    box = outbox()
    for second in range(10_000):
        box.offer(event(), second)
        message = box.due(second)
        if message is not None and message.tries == 0:
            box.failed(message, "down", 1e9)  # never due again
    assert len(box._waiting) <= 50
    assert len(box.undelivered) <= 50
    assert all(len(message.events) <= 20 for message in box._waiting)
    assert sum(message.count for message in box._waiting[-2:]) == 120  # counted, although most are not kept
