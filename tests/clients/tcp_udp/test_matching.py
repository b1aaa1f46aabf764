"""Which request an answer belongs to."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen import first
from loadgen.clients.tcp_udp.matching import MAX_GONE, Waiting
from tests.support.examples import examples


def test_answers_find_their_requests_in_any_order() -> None:
    waiting: Waiting[str] = Waiting()
    for name in ("a", "b", "c"):
        waiting.add(name, first(1), name.encode())
    assert [waiting.answered(one)[0] for one in (b"c!", b"a!", b"b!")] == ["c", "a", "b"]
    assert not waiting


def test_without_a_match_the_oldest_request_gets_the_next_message() -> None:
    waiting: Waiting[str] = Waiting()
    waiting.add("one", None, b"")
    waiting.add("two", None, b"")
    assert [waiting.answered(b"x")[0] for _ in range(3)] == ["one", "two", None]


def test_equal_requests_are_answered_oldest_first() -> None:
    waiting: Waiting[str] = Waiting()
    waiting.add("one", first(2), b"id")
    waiting.add("two", first(2), b"id")
    assert [waiting.answered(b"id")[0] for _ in range(2)] == ["one", "two"]


def test_the_answer_of_a_request_that_gave_up_is_late_once() -> None:
    waiting: Waiting[str] = Waiting()
    key = waiting.add("one", first(2), b"id")
    waiting.give_up("one", first(2), key)
    assert [waiting.answered(b"id") for _ in range(2)] == [(None, True), (None, False)]


def test_a_late_answer_is_not_given_to_a_request_without_a_match() -> None:
    waiting: Waiting[str] = Waiting()
    key = waiting.add("one", first(2), b"id")
    waiting.give_up("one", first(2), key)
    waiting.add("two", None, b"")
    assert waiting.answered(b"id") == (None, True)
    assert waiting.answered(b"xx") == ("two", False)


def test_a_match_that_raises_for_a_message_matches_nothing() -> None:
    waiting: Waiting[str] = Waiting()
    waiting.add("one", lambda message: message[9], b"0123456789")
    assert waiting.answered(b"short") == (None, False)
    assert isinstance(waiting.unreadable, IndexError)
    assert waiting.answered(b"012345678" + b"9") == ("one", False)


def test_a_match_whose_result_has_no_hash_matches_nothing() -> None:
    waiting: Waiting[str] = Waiting()
    waiting.add("one", lambda message: [] if len(message) > 2 else 1, b"x")  # type: ignore[arg-type, return-value]
    assert waiting.answered(b"long") == (None, False)


def test_requests_that_gave_up_are_remembered_up_to_a_limit() -> None:
    waiting: Waiting[int] = Waiting()
    for n in range(MAX_GONE + 1):
        key = waiting.add(n, first(4), b"%04d" % n)
        waiting.give_up(n, first(4), key)
    assert waiting.answered(b"0000") == (None, False)
    assert waiting.answered(b"0001") == (None, True)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=30), st.randoms())
@settings(max_examples=examples(200))
def test_each_request_gets_one_answer_with_its_own_id(requests: list[tuple[int, bool]], random: object) -> None:
    waiting: Waiting[tuple[int, int]] = Waiting()
    for n, (one, _) in enumerate(requests):
        waiting.add((one, n), first(1), b"%d" % one)
    messages = [b"%d" % one for one, _ in requests]
    random.shuffle(messages)  # type: ignore[attr-defined]
    answered = [waiting.answered(one)[0] for one in messages]
    assert all(found is not None and b"%d" % found[0] == one for found, one in zip(answered, messages, strict=True))
    assert len(set(answered)) == len(requests)
    assert not waiting
