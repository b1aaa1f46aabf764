"""Prompts: of the asked length, unique, and the same on any number of agents."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen import fixed, lognormal, normal, prompt, shared_prefix, uniform, zipf
from loadgen.dsl.prompts.prompt import Prompt, blocks
from loadgen.errors import UsageError

seeds = st.integers(0, 2**64 - 1)


def same_words(a: list[str], b: list[str]) -> int:
    """How many words two texts have in common at their beginning."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


# -- unique prompts ---------------------------------------------------------------------------------


@given(st.integers(1, 3000), seeds, st.integers(0, 2**40), st.integers(0, 50))
def test_a_prompt_has_as_many_words_as_tokens(tokens: int, seed: int, arrival: int, nth: int) -> None:
    made = prompt(tokens=tokens)

    assert len(made.text(seed, arrival, nth).split(" ")) == tokens == made.count(seed, arrival, nth)


def test_a_text_follows_from_seed_load_arrival_and_number_alone() -> None:
    places = [(seed, arrival, nth, load) for seed in (1, 2) for arrival in (0, 1) for nth in (0, 1) for load in (0, 1)]

    first = [prompt(tokens=20).text(*place) for place in places]

    assert first == [prompt(tokens=20).text(*place) for place in places]
    assert len(set(first)) == len(places)


def test_no_two_of_20000_prompts_share_a_cache_block_of_16_tokens() -> None:
    starts = Counter(" ".join(prompt(tokens=16).words(7, arrival)) for arrival in range(20_000))

    assert starts.most_common(1)[0][1] == 1


def test_a_number_of_words_that_is_corrected_keeps_the_beginning() -> None:
    words = prompt(tokens=1000).words(1, 2)

    corrected = prompt(tokens=1000).words(1, 2, tokens_per_word=1.25)

    assert corrected == words[:800]


def test_lengths_of_a_distribution_have_its_mean_and_are_at_least_1() -> None:
    made = prompt(tokens=lognormal(4.6, 0.7))
    counts = [made.count(1, arrival) for arrival in range(20_000)]

    assert sum(counts) / len(counts) == pytest.approx(made.mean_tokens, rel=0.02)
    assert min(prompt(tokens=normal(2, 5, low=None)).count(1, arrival) for arrival in range(1000)) == 1


def test_the_parts_of_a_prompt_are_joined_and_have_texts_of_their_own() -> None:
    both = prompt(tokens=5) + prompt(tokens=7)

    words = both.words(1, 0)

    assert len(words) == 12 == both.mean_tokens
    assert same_words(words[:5], words[5:]) < 5


def test_a_prompt_as_text_is_always_the_same() -> None:
    made = prompt(tokens=4)

    assert str(made) == str(prompt(tokens=4)) == made.text(0, 0)
    assert "4 tokens at" in repr(made)
    assert "test_prompt.py" in repr(made)


def test_a_prompt_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        prompt(tokens=4).parts = ()  # type: ignore[misc]


# -- shared prefixes ---------------------------------------------------------------------------------


def test_a_prefix_has_one_text_for_each_group_whichever_agent_draws_it() -> None:
    policy = shared_prefix("policy", tokens=50, groups=4)

    texts = Counter(policy.text(1, arrival) for arrival in range(2000))

    assert len(texts) == 4
    assert texts.keys() == {shared_prefix("policy", tokens=50, groups=4).text(1, arrival) for arrival in range(2000)}
    assert texts.keys().isdisjoint(policy.text(2, arrival) for arrival in range(100))
    assert texts.keys().isdisjoint(shared_prefix("other", tokens=50, groups=4).text(1, n) for n in range(100))


def test_all_prompts_of_an_iteration_have_the_same_prefix() -> None:
    policy = shared_prefix("policy", tokens=50, groups=1000)

    assert len({policy.text(1, 77, nth) for nth in range(20)}) == 1


@pytest.mark.parametrize("exponent", [0, pytest.param(0.7, marks=pytest.mark.slow), 1.1, 2])
def test_groups_are_picked_as_often_as_zipf_says(exponent: float) -> None:
    groups, n = 8, 20_000
    policy = shared_prefix("policy", tokens=3, groups=groups, pick=zipf(exponent))
    counts = Counter(policy.text(1, arrival) for arrival in range(n))

    weights = [k**-exponent for k in range(1, groups + 1)]
    wanted = [weight / sum(weights) for weight in weights]
    assert [count / n for _, count in counts.most_common()] == pytest.approx(wanted, abs=0.012)


def test_a_user_keeps_its_group_if_the_prefix_is_of_users() -> None:
    policy = shared_prefix("policy", tokens=50, groups=1000, per="user")

    assert len({policy.text(1, 5 * 2**32 + iteration, 0, 0, 5) for iteration in range(20)}) == 1
    assert len({policy.text(1, user * 2**32, 0, 0, user) for user in range(20)}) > 5


def test_a_busted_prefix_starts_differently_in_each_request_and_keeps_its_length() -> None:
    busted = shared_prefix("policy", tokens=50, groups=1, cache="bust")
    kept = shared_prefix("policy", tokens=50, groups=1).words(1, 0)

    texts = [busted.words(1, arrival, nth) for arrival in range(100) for nth in range(2)]

    assert len({tuple(words[:8]) for words in texts}) == 200
    assert all(words[8:] == kept[8:] and len(words) == 50 for words in texts)
    assert len(shared_prefix("policy", tokens=3, groups=1, cache="bust").words(1, 0)) == 3


def test_a_prefix_before_a_prompt_is_shared_up_to_its_end_only() -> None:
    both = shared_prefix("policy", tokens=40, groups=1) + prompt(tokens=20)

    assert same_words(both.words(1, 0), both.words(1, 1)) == 40


def test_each_group_has_a_length_of_its_own_if_the_length_is_a_distribution() -> None:
    policy = shared_prefix("policy", tokens=uniform(10, 1000), groups=50, pick=zipf(0))
    lengths = {policy.text(1, arrival): policy.count(1, arrival) for arrival in range(500)}

    assert len(set(lengths.values())) > 20
    assert all(len(text.split()) == length for text, length in lengths.items())


# -- blocks ---------------------------------------------------------------------------------------------


def test_prompts_share_text_as_far_as_their_block_ids_are_equal() -> None:
    first, second = blocks((1, 2, 3), 1300, 512).words(9, 0), blocks((1, 2, 4, 5), 2000, 512).words(9, 1)

    assert (len(first), len(second)) == (1300, 2000)
    assert same_words(first, second) == 1024


def test_blocks_have_another_text_in_another_run() -> None:
    assert blocks((1,), 20, 512).text(1, 0) != blocks((1,), 20, 512).text(2, 0)


# -- errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: prompt(tokens=0), "prompt: tokens=0 must be 1 to 10,000,000"),
        (lambda: prompt(tokens=-5), "prompt: tokens=-5 must be 1 to 10,000,000"),
        (lambda: prompt(tokens=10**7 + 1), "prompt: tokens=10000001 must be 1 to 10,000,000"),
        (lambda: prompt(tokens=True), "prompt: tokens=True is not a whole number or a distribution"),
        (lambda: prompt(tokens=1.5), "prompt: tokens=1.5 is not a whole number or a distribution"),  # type: ignore[arg-type]
        (lambda: prompt(tokens="1k"), "prompt: tokens='1k' is not a whole number"),  # type: ignore[arg-type]
        (lambda: prompt(tokens=fixed(0)), "is 0 on average"),
        (lambda: prompt(tokens=lognormal(30, 1)), "on average, but must be 1 to 10,000,000"),
        (lambda: prompt(tokens=lognormal(1, -1)), "sigma cannot be negative"),
        (lambda: prompt(tokens=5) + prompt(tokens=0), "tokens=0"),
        (lambda: shared_prefix(""), "shared_prefix: '' is not a name"),
        (lambda: shared_prefix(7), "shared_prefix: 7 is not a name"),  # type: ignore[arg-type]
        (lambda: shared_prefix("p", tokens=0), "shared_prefix: tokens=0 must be 1 to"),
        (lambda: shared_prefix("p", groups=0), "groups=0 must be a whole number from 1"),
        (lambda: shared_prefix("p", groups=2.5), "groups=2.5 must be a whole number from 1"),  # type: ignore[arg-type]
        (lambda: shared_prefix("p", per="day"), "per='day' is unknown"),  # type: ignore[arg-type]
        (lambda: shared_prefix("p", cache="off"), "cache='off' is unknown"),  # type: ignore[arg-type]
        (lambda: shared_prefix("p", cache=[]), r"cache=\[\] is unknown"),  # type: ignore[arg-type]
        (lambda: shared_prefix("p", pick=1.1), "pick=1.1 is unknown"),  # type: ignore[arg-type]
        (lambda: shared_prefix("p", pick=zipf(-1)), "zipf: exponent=-1 must be a number from 0 to 10"),
        (lambda: shared_prefix("p", pick=zipf(float("nan"))), "exponent=nan"),
    ],
)
def test_a_wrong_argument_is_an_error_with_a_hint_when_the_prompt_is_drawn(made: Any, says: str) -> None:
    one: Prompt = made()

    (fault,) = one.faults
    assert fault.hint
    assert fault.file == __file__
    assert repr(one).startswith("<invalid prompt")
    with pytest.raises(UsageError, match=says):
        one.text(1, 0)
    with pytest.raises(UsageError, match=says):
        one.count(1, 0)


def test_a_text_is_not_added_to_a_prompt() -> None:
    with pytest.raises(TypeError):
        prompt(tokens=5) + "more"  # type: ignore[operator]
