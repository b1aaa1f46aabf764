"""What was never sent makes do with the room that there is: time gets coarser, counts stay."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.measure.deltas.delta import Counters, Delta
from loadgen.measure.merging.merge import Accepted, Merge
from loadgen.units import NS_PER_S
from loadgen.wire.codec import decode
from loadgen.wire.messages import Fin
from loadgen_agent.delivery.backlog import Backlog, Place
from loadgen_agent.delivery.unacknowledged import STALLED_NS, UnacknowledgedDeltas
from tests.support.counts import counts_of
from tests.support.deltas import FakeAgent, request_key
from tests.support.examples import examples

S = NS_PER_S
KEYS = tuple(request_key(f"GET /{n}") for n in range(5))
BLANK = Delta("eu", 7, 0, 0, 0, run_id="r1")


class PaperShelf:
    """A shelf in memory, with room for so many; what is named in `damaged` cannot be read."""

    def __init__(self, room: int = 10**9) -> None:
        self.room, self.kept, self.count = room, dict[Place, bytes](), 0
        self.damaged: set[int] = set()

    def put(self, data: bytes) -> Place | None:
        if len(self.kept) >= self.room:
            return None
        self.count += 1
        self.kept[0, self.count, 0] = data
        return 0, self.count, 0

    def get(self, place: Place) -> bytes | None:
        return None if place[1] in self.damaged else self.kept[place]

    def drop(self, place: Place) -> None:
        del self.kept[place]


def measured(seconds: int) -> list[Delta]:
    agent = FakeAgent("eu", 7)
    return [agent.delta({key: [1_000 * (k % 3 + 1)] for key in KEYS[: k % 5 + 1]}) for k in range(seconds)]


def taken(backlog: Backlog) -> list[Delta]:
    found: list[Delta] = []
    while backlog.is_ready:
        queued_delta = backlog.take(len(found))
        assert queued_delta.data is not None
        delta = decode(queued_delta.data)
        assert isinstance(delta, Delta)
        found.append(delta)
    return found


def spans(deltas: Iterable[Delta]) -> list[tuple[int, int]]:
    return [(delta.start_ns // S, delta.end_ns // S) for delta in deltas]


def backlog(deltas: Iterable[Delta], shelf: PaperShelf | None = None, room_bytes: int = 10**9) -> Backlog:
    made = Backlog(BLANK, shelf, room_bytes)
    for delta in deltas:
        made.append(delta)
    return made


def test_with_room_everything_stays_as_it_is() -> None:
    run = measured(20)
    assert taken(backlog(run)) == run


def test_without_room_time_gets_coarser_evenly_and_nothing_is_lost() -> None:
    run = measured(64)
    made = backlog(run, room_bytes=4_600)
    assert made.in_memory_bytes <= 4_600
    found = taken(made)
    assert counts_of(found) == counts_of(run)
    assert [delta.seq for delta in found] == list(range(len(found)))
    lengths = [end - start for start, end in spans(found)]
    assert sum(lengths) == 64
    assert max(lengths) <= 8  # where all alike were 5


def test_what_the_memory_has_no_room_for_is_on_the_shelf_alone_and_as_fine() -> None:
    run, shelf = measured(64), PaperShelf()
    made = backlog(run, shelf, room_bytes=3_000)
    assert made.in_memory_bytes <= 3_000
    assert taken(made) == run


def test_a_shelf_that_is_full_leaves_joining() -> None:
    run, shelf = measured(64), PaperShelf(room=30)
    made = backlog(run, shelf, room_bytes=3_000)
    found = taken(made)
    assert counts_of(found) == counts_of(run)
    assert spans(found)[:20] == [(k, k + 1) for k in range(20)]
    assert made.in_memory_bytes <= 3_000


def test_a_damaged_record_is_skipped_and_said_and_what_follows_can_still_be_merged() -> None:
    run, shelf = measured(6), PaperShelf()
    made = backlog(run, shelf, room_bytes=0)
    shelf.damaged = {2}
    merge = Merge()
    found = taken(made)
    for delta in found:
        assert merge.accept("eu", delta) is Accepted.MERGED
    assert [delta.seq for delta in found] == list(range(6))
    assert found[1].health.notes == (
        "the measurements from 1.0 s to 2.0 s are lost: their record in the spool is damaged",
    )
    assert counts_of(found) == counts_of([run[0], replace(run[1], index=b"", count=b""), *run[2:]])
    (epoch,) = merge.epochs("eu")
    assert epoch.missing_ns(0, 6 * S) == S


def test_asked_for_longer_intervals_it_joins_up_to_their_boundaries() -> None:
    run = measured(9)
    made = Backlog(BLANK)
    made.append(run[0])
    made.ask(3 * S)
    for delta in run[1:8]:
        made.append(delta)
    assert len(made) == 4
    made.ask(0)  # what has begun is told
    made.append(run[8])
    assert spans(found := taken(made)) == [(0, 1), (1, 3), (3, 6), (6, 8), (8, 9)]
    assert counts_of(found) == counts_of(run)


@settings(max_examples=examples(150), deadline=None)
@given(
    st.lists(
        st.sampled_from(["keep", "keep", "keep", "send", "send and ack", "lose", "reconnect", "ask", "stall"]),
        max_size=80,
    ),
    st.sampled_from([0, 1_500, 4_000, 10**9]),
    st.sampled_from([None, 0, 3, 1_000]),
)
def test_whatever_happens_on_the_way_the_controller_has_what_was_kept(
    doings: list[str], room_bytes: int, shelf_room: int | None
) -> None:
    shelf = None if shelf_room is None else PaperShelf(shelf_room)
    book, merge, run = UnacknowledgedDeltas("r1", "eu", 7, shelf, room_bytes), Merge(), iter(measured(200))
    kept: list[Delta] = []
    arrived: list[Delta] = []
    fins: list[Fin] = []
    now_ns = 0

    def send(acks: bool, arrives: bool = True) -> None:
        while (data := book.next_due(now_ns)) is not None:
            book.was_sent(now_ns)
            message = decode(data)
            if isinstance(message, Fin):
                fins.append(message)
            elif arrives:
                assert isinstance(message, Delta)
                if merge.accept("eu", message) is Accepted.MERGED:
                    arrived.append(message)
                if acks:
                    book.ack(7, len(arrived) - 1, now_ns)

    for doing in doings:
        now_ns += S // 10
        match doing:
            case "keep":
                kept.append(next(run))
                book.keep(kept[-1])
            case "ask":
                book.ask(0 if now_ns % 2 else 3 * S)
            case "send":
                send(acks=False)
            case "send and ack":
                send(acks=True)
            case "lose":
                send(acks=True, arrives=False)
            case "stall":
                now_ns += STALLED_NS + 1
            case _:
                book.send_again()
    book.close(None, "")
    for _ in range(len(kept) + 3):
        now_ns += STALLED_NS + 1
        send(acks=True)
    assert book.is_handed_over
    assert counts_of(arrived) == counts_of(kept)
    assert {fin.last_seq for fin in fins} == {len(arrived) - 1}
    assert fins[-1].totals == sum((delta.counters for delta in arrived), Counters())
    assert fins[-1].recorded == sum(s.n for delta in arrived for s in delta.stats)
    if shelf is not None:
        assert not shelf.kept


@pytest.mark.parametrize("room_bytes", [0, 2_000])
def test_memory_is_bounded_however_long_nothing_is_acknowledged(room_bytes: int) -> None:
    book = UnacknowledgedDeltas("r1", "eu", 7, None, room_bytes)
    for delta in measured(600):
        book.keep(delta)
    assert book.unacked_bytes < 4_000
    assert book.last_seq < 10
