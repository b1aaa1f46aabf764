"""The words for what was found go from weak to strong, and only the last one is about a cause."""

from __future__ import annotations

from loadgen.ladder import Rung, sentence, words_of


def test_rungs_are_ordered_from_a_correlation_to_a_repeated_run() -> None:
    assert list(Rung) == sorted(Rung)
    assert [words_of(rung) for rung in Rung] == ["coincides with", "lies in", "is held up by", "goes away when"]


def test_sentence_has_the_words_of_its_rung() -> None:
    assert sentence(Rung.HELD_UP, "settle", "payout") == "settle is held up by payout"
    assert sentence(Rung.GOES_AWAY, "it", "payout runs later") == "it goes away when payout runs later"
