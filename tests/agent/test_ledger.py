"""Deltas kept until acknowledged: whatever the line loses, each arrives once and in order."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.measure.deltas.delta import Counters, Delta, Health, SeriesStats
from loadgen.measure.deltas.load_counts import Ending
from loadgen.wire.codec import decode
from loadgen.wire.messages import Fin
from loadgen_agent.delivery.unacknowledged import FIN_AGAIN_NS, STALLED_NS, WINDOW, UnacknowledgedDeltas
from tests.support.examples import examples

S = 10**9


def delta(number: int) -> Delta:
    """The worker's own numbering is of no matter."""
    stats = (SeriesStats(0, number + 1, 5, 1, 4),)
    return Delta("", 0, number, number * S, (number + 1) * S, stats=stats, counters=Counters(requests_finished=1))


def unacknowledged(deltas: int = 0) -> UnacknowledgedDeltas:
    book = UnacknowledgedDeltas("r1", "eu", 7)
    for number in range(deltas):
        book.keep(delta(number))
    return book


def sent(book: UnacknowledgedDeltas, now_ns: int, most: int = 1000) -> list[int]:
    """The seqs of what goes out now; "Fin" as -1."""
    seqs: list[int] = []
    while len(seqs) < most and (data := book.next_due(now_ns)) is not None:
        message = decode(data)
        assert isinstance(message, Delta | Fin)
        seqs.append(message.seq if isinstance(message, Delta) else -1)
        book.was_sent(now_ns)
    return seqs


def test_a_delta_goes_out_under_the_agents_name_and_numbering() -> None:
    book = unacknowledged()
    book.keep(delta(41))
    data = book.next_due(0)
    assert data is not None
    got = decode(data)
    assert isinstance(got, Delta)
    assert (got.agent, got.epoch, got.run_id, got.seq) == ("eu", 7, "r1", 0)
    assert (got.start_ns, got.stats) == (41 * S, delta(41).stats)


def test_at_most_a_window_is_under_way() -> None:
    book = unacknowledged(WINDOW + 5)
    assert sent(book, 0) == list(range(WINDOW))
    book.ack(7, 2, 1)
    assert sent(book, 1) == [WINDOW, WINDOW + 1, WINDOW + 2]


def test_large_deltas_are_not_under_way_all_at_once() -> None:
    """Over a thin line a heartbeat would wait behind them for longer than the lease."""
    book = unacknowledged()
    for number in range(4):
        chance = random.Random(number)
        notes = tuple(chance.randbytes(400).hex() for _ in range(100))  # 40 kB, as zstd sees it
        book.keep(replace(delta(number), health=Health(notes=notes)))
    assert sent(book, 0) == [0]
    book.ack(7, 0, 1)
    assert sent(book, 1) == [1]
    small = unacknowledged(3)
    assert sent(small, 0) == [0, 1, 2]


def test_without_progress_everything_unacknowledged_goes_out_again() -> None:
    book = unacknowledged(4)
    assert sent(book, 0) == [0, 1, 2, 3]
    book.ack(7, 1, S)
    assert sent(book, S + STALLED_NS) == []
    assert sent(book, S + STALLED_NS + 1) == [2, 3]


@pytest.mark.parametrize(
    ("asked_s", "waits_s"), [(0, (2, 4, 8, 8)), (1, (2, 4, 8, 8)), (2, (4, 4, 8, 8)), (5, (8,) * 4)]
)
def test_a_busy_controller_that_asks_for_longer_intervals_gets_the_same_deltas_again_later(
    asked_s: int, waits_s: tuple[int, ...]
) -> None:
    book = unacknowledged(4)
    book.ask(asked_s * S)
    assert sent(book, 0) == [0, 1, 2, 3]
    now_ns = 0
    for wait_s in waits_s:
        assert sent(book, now_ns + wait_s * S) == []
        now_ns += wait_s * S + 1
        assert sent(book, now_ns) == [0, 1, 2, 3]


def test_a_new_connection_sends_everything_unacknowledged_again() -> None:
    book = unacknowledged(3)
    assert sent(book, 0) == [0, 1, 2]
    book.ack(7, 0, 1)
    book.send_again()
    assert sent(book, 2) == [1, 2]


def test_what_was_left_over_is_offered_less_and_less_often_to_who_does_not_take_it() -> None:
    book = UnacknowledgedDeltas.left_over("r0", "eu", 7, [delta(0), delta(1)])
    offered_s = [now_s for now_s in range(300) if sent(book, now_s * S)]
    assert offered_s == [0, 3, 8, 17, 34, 67, 132, 197, 262]


def test_late_repeated_and_impossible_acknowledgements_change_nothing() -> None:
    book = unacknowledged(3)
    sent(book, 0)
    book.ack(7, 1, 1)
    for epoch, seq in ((7, 0), (7, 1), (7, -1), (7, 3), (7, 10**9), (6, 2), (8, 2)):
        book.ack(epoch, seq, 2)
        assert book.acked == 1


def test_an_acknowledgement_of_what_was_sent_before_the_connection_broke_is_good() -> None:
    book = unacknowledged(3)
    sent(book, 0)
    book.send_again()
    book.ack(7, 2, 1)
    assert (book.acked, sent(book, 1)) == (2, [])


def test_the_fin_comes_after_the_last_delta_and_again_until_it_is_forgotten() -> None:
    book = unacknowledged(2)
    book.close(Fin("r1", 0, 1, Counters(requests_finished=2), 3), "")
    assert sent(book, 0) == [0, 1, -1]
    assert (sent(book, FIN_AGAIN_NS - 1), book.is_handed_over) == ([], False)
    book.ack(7, 1, FIN_AGAIN_NS)
    assert book.is_handed_over
    assert sent(book, FIN_AGAIN_NS) == [-1]
    assert sent(book, 2 * FIN_AGAIN_NS) == [-1]


def test_the_fin_waits_while_deltas_are_not_even_sent() -> None:
    book = unacknowledged(WINDOW + 1)
    book.close(None, "killed")
    assert -1 not in sent(book, 0)
    book.ack(7, 0, 1)
    assert sent(book, 1) == [WINDOW, -1]


def fin_of(book: UnacknowledgedDeltas) -> Fin:
    """The last word of a closed book."""
    last = None
    while (data := book.next_due(0)) is not None:
        last = decode(data)
        book.was_sent(0)
    assert isinstance(last, Fin)
    return last


def test_the_fin_of_a_worker_that_died_adds_up_what_it_sent() -> None:
    book = unacknowledged(3)
    book.close(None, "the worker was killed by SIGKILL")
    book.keep(delta(3))  # too late
    assert fin_of(book) == Fin(
        "r1", 7, 2, Counters(requests_finished=3), 1 + 2 + 3, 0, "the worker was killed by SIGKILL", Ending.DIED
    )


def test_the_fin_of_a_worker_keeps_its_own_totals_so_that_a_lost_delta_shows() -> None:
    book = unacknowledged(2)
    totals = Counters(requests_finished=99)
    book.close(Fin("r1", 0, 2, totals, 1000, 12), "stopped early")
    fin = fin_of(book)
    assert (fin.epoch, fin.last_seq, fin.totals, fin.recorded, fin.started_at_ns) == (7, 1, totals, 1000, 12)
    assert fin.reason == "stopped early; the worker sent 3 deltas, 2 arrived"


@settings(max_examples=examples(300), deadline=None)
@given(st.lists(st.sampled_from(["keep", "tick", "pump", "drop acks", "lose", "reconnect", "swap"]), max_size=120))
def test_over_a_line_that_loses_and_reorders_each_delta_is_taken_once_and_in_order(doings: list[str]) -> None:
    """The other end takes only what is next, as the merge does, and acknowledges what it has."""
    book, now_ns, kept = unacknowledged(), 0, 0
    wire: list[int] = []
    taken: list[int] = []

    def deliver(acks: bool) -> None:
        for seq in wire:
            if seq == len(taken):
                taken.append(seq)
            if acks:
                book.ack(7, len(taken) - 1, now_ns)
        wire.clear()

    for doing in doings:
        now_ns += 10_000_000
        match doing:
            case "keep":
                book.keep(delta(kept))
                kept += 1
            case "tick":
                now_ns += STALLED_NS + 1
            case "pump":
                wire += sent(book, now_ns)
                deliver(acks=True)
            case "drop acks":
                wire += sent(book, now_ns)
                deliver(acks=False)
            case "lose":
                sent(book, now_ns, most=3)
            case "swap":
                wire += sent(book, now_ns)[::-1]
            case _:
                book.send_again()
        assert taken == list(range(len(taken)))
        assert book.acked < len(taken) <= kept
    for _ in range(2 + kept):
        now_ns += STALLED_NS + 1
        wire += sent(book, now_ns)
        deliver(acks=True)
    assert taken == list(range(kept))
    assert book.acked == kept - 1
