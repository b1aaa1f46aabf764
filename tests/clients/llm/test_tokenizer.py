"""A tokenizer's file counts the tokens of answers without usage, and makes prompts exact."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen import Plan, journey, lognormal, prompt, shared_prefix, users
from loadgen.bundle import pack
from loadgen.clients.llm import tokenizer as module
from loadgen.clients.llm.settings import Llm
from loadgen.clients.llm.token_comparison import TokenComparison
from loadgen.clients.llm.tokenizer import MOST_BYTES, Tokenizer, tokenizer_of
from loadgen.clients.llm_apis.row_tags import LLM_TAGS
from loadgen.dsl.loading.loader import load
from loadgen.dsl.prompts.calibrate_by_server import NO_USAGE_BUT_TOKENIZER
from loadgen.dsl.prompts.prompt import Prompt
from loadgen.dsl.prompts.tokenizer_words import exact_words
from loadgen.dsl.prompts.words import word_list
from loadgen.dsl.users.user import User
from loadgen.errors import ScenarioError, UsageError
from tests.clients.llm.asked import asked
from tests.clients.llm.test_model_facts import facts_of, streamed
from tests.support.examples import examples
from tests.support.llm_target import llm_in_thread
from tests.support.scripted import HANG, ok, scripted
from tests.support.tokenizer_files import of_letters, of_pieces, of_words

BY_TOKENIZER = ("tokens", "tokenizer")
SCENARIO = """
from loadgen import Llm, Plan, User, journey, users

@journey
async def ask(user: User) -> None:
    await user.llm.chat("hi")

plan = Plan(target="http://127.0.0.1:1", llm=Llm(model="m", tokenizer="{file}"), load=users(1).hold("1s"), mix=ask)
"""


@pytest.fixture(scope="module")
def words_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return of_words(tmp_path_factory.mktemp("words") / "tokenizer.json", word_list())


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with llm_in_thread(model=["sim"], tokens_per_event=4) as server:
        yield server.url


def without_usage(*texts: str, finish: str = "stop") -> bytes:
    """Return a streamed answer of these events whose server sends no usage."""
    choices: list[tuple[dict[str, str], str | None]] = [({"content": text}, None) for text in texts]
    ends: list[tuple[dict[str, str], str | None]] = [({}, finish)] if finish else []
    events = [{"choices": [{"index": 0, "delta": delta, "finish_reason": end}]} for delta, end in choices + ends]
    return streamed(*events, *(["[DONE]"] if finish else []))


# -- the file ---------------------------------------------------------------------------------------------


def test_the_tokens_of_a_text_are_counted_without_the_special_tokens_around_it(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Implementation
    from tokenizers.processors import TemplateProcessing

    path = of_words(tmp_path / "tokenizer.json", ["<s>", "oak", "lamp"])
    made = Implementation.from_file(str(path))
    made.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made.enable_truncation(2)
    made.enable_padding(length=9)
    path.write_text(made.to_str())

    counted = tokenizer_of(path)

    assert counted.count("oak lamp oak lamp table") == 5, "not cut to 2, and not filled to 9"
    assert counted.count("") == 0
    assert counted.count("oak \ud83d lamp") == 3, "half of a surrogate pair is a word"


@pytest.mark.parametrize(
    ("content", "says", "hint"),
    [
        (b"oak lamp", "tokenizer.json is not JSON: ", "name the tokenizer.json that is published with the model"),
        (b'{"model"', "tokenizer.json is not JSON: ", "name the tokenizer.json"),
        (b"\x00\xff", "tokenizer.json is not JSON: ", "name the tokenizer.json"),
        (b'{"architectures": ["X"]}', "is JSON, but not a tokenizer: it has no model with a vocab", "not config.json"),
        (b'{"oak": 1, "lamp": 2}', "is JSON, but not a tokenizer", "not config.json or vocab.json"),
        (b"[1, 2]", "is JSON, but not a tokenizer", "not config.json or vocab.json"),
        (
            b'{"model": {"vocab": {"a": 0}, "type": "New"}}',
            "the package tokenizers cannot read tokenizer.json: ",
            "name",
        ),
    ],
)
def test_a_file_of_another_kind_is_an_error_of_the_plan(tmp_path: Path, content: bytes, says: str, hint: str) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)

    ((message, remedy),) = Llm(tokenizer="tokenizer.json").wrongs(tmp_path)

    assert message.startswith("Llm: tokenizer: ")
    assert says in message
    assert hint in remedy


def test_a_missing_file_a_folder_and_another_value_are_errors_of_the_plan(tmp_path: Path) -> None:
    def message_of(tokenizer: Any) -> str:
        ((message, hint),) = Llm(tokenizer=tokenizer).wrongs(tmp_path)
        assert "tokenizer.json" in hint
        return message

    assert message_of("none.json") == "Llm: tokenizer: none.json cannot be read: No such file or directory"
    assert message_of(tmp_path).endswith(" is not a file")
    assert message_of(7) == "Llm: tokenizer=7 must be the path of a file"
    assert message_of("") == "Llm: tokenizer='' must be the path of a file"


def test_a_file_beyond_the_size_limit_is_an_error_of_the_plan(tmp_path: Path) -> None:
    with (tmp_path / "tokenizer.json").open("wb") as file:
        file.truncate(MOST_BYTES + 1)

    ((message, _),) = Llm(tokenizer="tokenizer.json").wrongs(tmp_path)

    assert message == "Llm: tokenizer: tokenizer.json has 67,108,865 bytes; the limit is 67,108,864"


def test_without_the_extra_the_error_has_the_command_that_installs_it(
    words_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module._loaded.cache_clear()
    monkeypatch.setattr(module, "find_spec", lambda name: None)

    ((message, hint),) = Llm(tokenizer=words_file).wrongs()

    assert message == "Llm: tokenizer: tokenizer.json needs the package tokenizers, which is not installed"
    assert hint.startswith("on this machine and on each agent, install the extra `llm`")


def test_the_file_travels_with_the_scenario_and_its_path_stays_here(tmp_path: Path) -> None:
    of_words(tmp_path / "tokenizer.json")
    path = tmp_path / "ask.py"
    path.write_text(SCENARIO.format(file="tokenizer.json"))

    scenario = load(path)

    assert pack(scenario).files == ("ask.py", "tokenizer.json")
    assert scenario.plans["plan"].spec().llm == {"model": "m", "tokenizer": "tokenizer.json"}


def test_a_file_outside_of_the_scenarios_folder_is_an_error(tmp_path: Path) -> None:
    of_words(tmp_path / "tokenizer.json")
    folder = tmp_path / "inside"
    folder.mkdir()
    (folder / "ask.py").write_text(SCENARIO.format(file="../tokenizer.json"))

    with pytest.raises(ScenarioError) as error:
        load(folder / "ask.py")

    assert [fault.message for fault in error.value.faults] == [
        "tokenizer.json is not in the scenario's folder, so agents do not get it"
    ]


# -- tokens of answers --------------------------------------------------------------------------------------


async def test_answers_without_usage_are_counted_in_rows_of_their_own(url: str, words_file: Path) -> None:
    got: list[Any] = []

    async def ask(user: User) -> None:
        got.append((await user.llm.chat("hi", max_tokens=8)).output_tokens)
        reply = await user.llm.chat("hi", max_tokens=12, extra={"stream_options": None})
        got.append((reply.output_tokens, reply.usage.output, reply.stream_times().token_source))

    found = await asked(url, ask, times=2, tokenizer=words_file)

    assert got[-2:] == [8, (12, -1, "tokenizer")]
    assert found.tags("chat") == {(("cold", "first"),), (), (BY_TOKENIZER,)}
    counted = [values for key, values in found.keys if key.metric == "output_tokens" and BY_TOKENIZER in key.tags]
    assert counted == [[12_000, 12_000]]


async def test_the_tokens_of_an_answer_are_spread_over_its_events(words_file: Path) -> None:
    times: list[Any] = []

    async def ask(user: User) -> None:
        times.append((await user.llm.chat("hi")).stream_times())

    with llm_in_thread(model=["sim"], tokens_per_event=4, output=12, ttft="5ms", itl="15ms") as server:
        await asked(server.url, ask, tokenizer=words_file, usage="none")

    (found,) = times
    assert (found.output_tokens, found.itl_is_exact) == (12, False)
    if len(found.icl_ns) == 2:  # else the machine stood still, and a read brought several events
        assert [count for _, count in found.itl] == [4, 4]


@pytest.mark.parametrize(("tokens_per_event", "is_exact"), [(1, True), (3, False)])
async def test_gaps_between_tokens_are_exact_if_each_event_has_one(
    words_file: Path, tokens_per_event: int, is_exact: bool
) -> None:
    got: list[bool] = []

    async def ask(user: User) -> None:
        got.append((await user.llm.chat("hi")).stream_times().itl_is_exact)

    with llm_in_thread(model=["sim"], tokens_per_event=tokens_per_event, output=9, itl="10ms") as server:
        await asked(server.url, ask, tokenizer=words_file, usage="none")
    assert got == [is_exact]


async def test_a_whole_answer_without_usage_is_counted_too(words_file: Path) -> None:
    body = {"choices": [{"index": 0, "message": {"content": "the oak lamp is there"}, "finish_reason": "stop"}]}
    got: list[int] = []

    async def ask(user: User) -> None:
        got.append((await user.llm.chat("hi", stream=False)).output_tokens)

    async with scripted(ok(json.dumps(body).encode(), "Content-Type: application/json")) as server:
        found = await asked(server.url, ask, tokenizer=words_file)
    assert got == [5]
    assert found.tags("chat") == {(BY_TOKENIZER, ("cold", "first"), ("answer", "whole"))}


async def test_an_answer_that_breaks_or_is_left_is_counted_as_far_as_it_came(words_file: Path) -> None:
    async def ask(user: User) -> None:
        await user.llm.chat("hi")

    async def leave(user: User) -> None:
        async with user.llm.stream("hi") as answer:
            async for part in answer.parts():
                if part.kind == "content":
                    break

    whole = without_usage("the oak", " lamp is", finish="")
    part = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 9999\r\n\r\n"
        + whole.partition(b"\r\n\r\n")[2]
    )
    async with scripted(whole) as server, scripted([part, HANG]) as hanging:
        broken = await asked(server.url, ask, tokenizer=words_file)
        left = await asked(hanging.url, leave, tokenizer=words_file)
    assert broken.values("output_tokens", "stream truncated") == [4_000]
    assert left.values("output_tokens", "left") == [4_000]
    assert all(BY_TOKENIZER in tags for tags in broken.tags("chat") | left.tags("chat"))


async def test_answers_with_several_choices_count_one_token_an_event(words_file: Path) -> None:
    chunks = [{"choices": [{"index": n, "delta": {"content": "oak lamp"}, "finish_reason": None}]} for n in (0, 1)]
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    data = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in (*chunks, end)) + "data: [DONE]\n\n"

    async def ask(user: User) -> None:
        await user.llm.chat("hi")

    async with scripted(ok(data.encode(), "Content-Type: text/event-stream")) as server:
        found = await asked(server.url, ask, tokenizer=words_file)
    assert found.values("output_tokens") == [2_000]
    assert found.tags("chat") == {(("tokens", "events"), ("cold", "first"))}


async def test_the_answers_of_an_sdk_are_counted_too(url: str, words_file: Path) -> None:
    async def ask(user: User) -> None:
        from tests.clients.llm.test_sdk_answers import openai_of

        messages: Any = [{"role": "user", "content": "?"}]
        stream: Any = await openai_of(user).chat.completions.create(
            model="sim", messages=messages, stream=True, max_tokens=8
        )
        async for _ in stream:
            pass

    found = await asked(url, ask, tokenizer=words_file)
    assert found.values("output_tokens") == [8_000]
    assert found.tags("POST /v1/chat/completions") == {(BY_TOKENIZER,)}


def counting(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the name of the thread of each count."""
    names: list[str] = []
    plain: Callable[[Tokenizer, Sequence[str]], int] = Tokenizer.count_all

    def noted(self: Tokenizer, texts: Sequence[str]) -> int:
        names.append(threading.current_thread().name)
        return plain(self, texts)

    monkeypatch.setattr(Tokenizer, "count_all", noted)
    return names


async def test_long_answers_are_counted_by_a_thread_once_each(
    words_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = counting(monkeypatch)

    async def ask(user: User) -> None:
        await user.llm.chat("hi")
        await user.llm.chat("hi")

    async with scripted(lambda request: without_usage(*["oak lamp "] * (500 if names else 3))) as server:
        found = await asked(server.url, ask, tokenizer=words_file)
    assert found.values("output_tokens") == [6_000, 1_000_000]
    assert [name.startswith("tokenizer") for name in names] == [False, True]


async def test_an_answer_whose_journey_is_cancelled_while_it_is_counted_is_recorded(
    words_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[asyncio.Timeout] = []

    async def never(self: Tokenizer, texts: Sequence[str]) -> int:
        limits[0].reschedule(0)
        await asyncio.sleep(3600)
        raise AssertionError

    monkeypatch.setattr(Tokenizer, "count_aside", never)

    async def ask(user: User) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as limit:
                limits.append(limit)
                await user.llm.chat("hi")
                raise AssertionError("was not cancelled")

    async with scripted(without_usage("oak", " lamp")) as server:
        found = await asked(server.url, ask, tokenizer=words_file)
    assert found.values("output_tokens") == [2_000]


# -- server and tokenizer compared ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("by_server", "by_tokenizer", "answers", "says"),
    [
        (1000, 1010, 100, ""),
        (1000, 990, 100, ""),
        (1000, 1011, 99, ""),
        (1000, 1011, 100, "counts over 1 % more tokens"),
        (1000, 940, 100, "counts over 5 % fewer tokens"),
        (1000, 1150, 19, ""),
        (1000, 1150, 20, "counts over 10 % more tokens"),
        (10, 100, 20, "counts over 50 % more tokens"),
    ],
)
def test_a_difference_of_more_than_1_percent_is_said_once(
    by_server: int, by_tokenizer: int, answers: int, says: str
) -> None:
    comparison = TokenComparison()
    notes = [comparison.add(by_server, by_tokenizer) for _ in range(answers)]

    assert says in notes[-1] if says else not any(notes)
    assert not any(notes[:-1])
    assert comparison.is_over is not (answers < 100 and not says)


async def test_the_comparison_ends_with_a_note_and_the_server_keeps_the_row(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = counting(monkeypatch)
    path = of_letters(tmp_path / "tokenizer.json")

    async def ask(user: User) -> None:
        for _ in range(25):
            await user.llm.chat("hi", max_tokens=4)
        notes.extend(user._meter.recorder._notes)

    notes: list[str] = []
    found = await asked(url, ask, tokenizer=path)
    assert [note for note in notes if "tokens than the server" in note] == [
        "the tokenizer of the plan counts over 50 % more tokens than the server in the same answers: check that its "
        "file belongs to this model"
    ]
    assert len(names) == 20, "later answers are not counted"
    assert found.values("output_tokens") == [4_000] * 25


# -- prompts ---------------------------------------------------------------------------------------------------


def drawn(words: Any, n: int) -> list[str]:
    """Return texts of n tokens: alone, with a shared prefix, and with a busted one."""
    policy = shared_prefix("policy", tokens=n, groups=4)
    busted = shared_prefix("policy", tokens=n, groups=4, cache="bust")
    return [one.text(1, n, words=words) for one in (prompt(tokens=n), policy, busted)]


def test_prompts_are_exact_with_a_vocabulary_that_splits_many_words(tmp_path: Path) -> None:
    common = word_list()[::3]
    known = tokenizer_of(of_pieces(tmp_path / "tokenizer.json", [" ".join(common)] * 3, 1_500))
    words = exact_words(known)

    assert words is not None
    assert not set(words) - set(word_list()) or len(set(words) & set(word_list())) < 500
    assert known.count(" ".join(drawn(None, 500))) > 1_600, "the shipped words are not exact"
    for n in (1, 2, 7, 100, 1024):
        assert [known.count(text) for text in drawn(words, n)] == [n] * 3
    both = shared_prefix("policy", tokens=30) + prompt(tokens=12)
    assert known.count(both.text(1, 5, words=words)) == 42


@pytest.fixture(scope="module")
def vocabularies(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Tokenizer, np.ndarray]]:
    """Tokenizers of several kinds and sizes, each with the words that are one token for it."""
    folder = tmp_path_factory.mktemp("vocabularies")
    lists = word_list(), word_list()[::2], [word[::-1] + "o" for word in word_list()[::7]]
    files = [of_words(folder / "words.json", word_list())]
    files += [
        of_pieces(folder / f"{n}-{size}.json", [" ".join(texts)] * 3, size)
        for n, texts in enumerate(lists)
        for size in (900, 1_800)
    ]
    found = [(known, exact_words(known)) for known in map(tokenizer_of, files)]
    assert all(words is not None for _, words in found)
    return [(known, words) for known, words in found if words is not None]


LENGTHS = st.one_of(st.integers(1, 400), st.builds(lognormal, st.floats(0.5, 5), st.floats(0.1, 1)))
PARTS = st.one_of(
    st.builds(prompt, LENGTHS),
    st.builds(
        lambda tokens, groups, cache, per: shared_prefix("policy", tokens, groups=groups, cache=cache, per=per),
        LENGTHS,
        st.integers(1, 9),
        st.sampled_from(["keep", "bust"]),
        st.sampled_from(["iteration", "user"]),
    ),
)


@settings(max_examples=examples(200), deadline=None)
@given(parts=st.lists(PARTS, min_size=1, max_size=4), at=st.tuples(*[st.integers(0, 2**40)] * 3), which=st.integers(0))
def test_prompts_prefixes_and_their_sums_have_exactly_their_tokens_in_all_vocabularies(
    vocabularies: list[tuple[Tokenizer, np.ndarray]], parts: list[Prompt], at: tuple[int, int, int], which: int
) -> None:
    known, words = vocabularies[which % len(vocabularies)]
    whole = reduce(add, parts)

    text = whole.text(*at, words=words)

    assert known.count(text) == whole.count(*at)


async def test_a_conversation_sends_exactly_the_tokens_of_its_prompts(tmp_path: Path) -> None:
    path = of_pieces(tmp_path / "tokenizer.json", [" ".join(word_list()[::3])] * 3, 1_500)
    known = tokenizer_of(path)

    async def talk(user: User) -> None:
        chat = user.llm.conversation(system=shared_prefix("policy", tokens=70))
        await chat.ask(prompt(tokens=30))
        await chat.ask(shared_prefix("manual", tokens=11, cache="bust") + prompt(tokens=9))

    async with scripted(lambda _: without_usage("oak")) as server:
        await asked(server.url, talk, tokenizer=path)
    messages = json.loads(server.requests[-1].body)["messages"]
    found = [(one["role"], known.count(one["content"])) for one in messages if one["role"] != "assistant"]
    assert found == [("system", 70), ("user", 30), ("user", 20)]


def test_a_vocabulary_with_tokens_of_several_words_cannot_make_exact_prompts(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Implementation
    from tokenizers import models, pre_tokenizers

    first, second, *others = word_list()[:300]
    vocabulary: dict[str, int] = {}
    merges: list[tuple[str, str]] = []
    for token in [f"\u2581{first}", f"\u2581{second}", *(f"\u2581{word}" for word in others)]:
        for end in range(1, len(token) + 1):
            vocabulary.setdefault(token[:end], len(vocabulary))
            vocabulary.setdefault(token[end - 1], len(vocabulary))
            if end > 1:
                merges.append((token[: end - 1], token[end - 1]))
    vocabulary[f"\u2581{first}\u2581{second}"] = len(vocabulary)
    merges.append((f"\u2581{first}", f"\u2581{second}"))
    made = Implementation(models.BPE(vocab=vocabulary, merges=list(dict.fromkeys(merges))))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    (tmp_path / "tokenizer.json").write_text(made.to_str())
    known = tokenizer_of(tmp_path / "tokenizer.json")

    assert known.count_each([first, f"{second} {first}", f"{first} {second}"]) == [1, 2, 1], "one of two words"
    assert known.joins_words()
    assert exact_words(known) is None


def test_with_a_vocabulary_that_has_the_shipped_words_the_texts_stay_the_same(words_file: Path) -> None:
    words = exact_words(tokenizer_of(words_file))

    assert words is not None
    assert list(words) == list(word_list())
    assert drawn(words, 50) == drawn(None, 50)


def test_words_of_its_own_are_used_if_it_has_few_of_the_shipped_ones(tmp_path: Path) -> None:
    from tokenizers import Tokenizer as Implementation
    from tokenizers import models, pre_tokenizers

    own = [f"{a}{b}um" for a in "bdfgk" for b in "aeiouklmnrst"]
    vocabulary = {word: n for n, word in enumerate([*"abcdefghijklmnopqrstuvwxyz", *own, "go"])}
    merges = []
    for word in list(vocabulary)[26:]:
        for end in range(2, len(word) + 1):
            vocabulary.setdefault(word[:end], len(vocabulary))
            merges.append((word[: end - 1], word[end - 1]))
    made = Implementation(models.BPE(vocab=vocabulary, merges=list(dict.fromkeys(merges))))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    (tmp_path / "tokenizer.json").write_text(made.to_str())
    known = tokenizer_of(tmp_path / "tokenizer.json")

    words = exact_words(known)

    assert words is not None
    assert {"go", "baum"} <= set(words)
    assert [known.count(text) for text in drawn(words, 200)] == [200] * 3


def test_a_vocabulary_without_words_cannot_make_exact_prompts(tmp_path: Path) -> None:
    assert exact_words(tokenizer_of(of_letters(tmp_path / "tokenizer.json"))) is None


async def test_prompts_of_both_ways_have_the_words_of_the_tokenizer(tmp_path: Path) -> None:
    path = of_pieces(tmp_path / "tokenizer.json", [" ".join(word_list()[::3])] * 3, 1_500)
    known = tokenizer_of(path)
    texts: list[str] = []

    async def ask(user: User) -> None:
        texts.append(user.text_of(prompt(tokens=300)))
        await user.llm.chat(prompt(tokens=200))

    async with scripted(without_usage("oak")) as server:
        await asked(server.url, ask, tokenizer=path)
    texts.append(json.loads(server.requests[0].body)["messages"][0]["content"])
    assert [known.count(text) for text in texts] == [300, 200]


# -- set-up --------------------------------------------------------------------------------------------------------


async def test_the_set_up_says_if_the_server_counts_otherwise_than_the_file(words_file: Path) -> None:
    with llm_in_thread(model=["sim"]) as same, llm_in_thread(model=["sim"], tokens_per_word=1.5) as other:
        right = await facts_of(same.url, tokenizer=words_file)
        wrong = await facts_of(other.url, tokenizer=words_file)

    assert (right.tokens_per_word, right.warning) == (1.0, "")
    assert wrong.tokens_per_word == 1.0, "prompts keep the tokens of the file"
    assert wrong.warning.startswith(
        "the server counts 1.500 tokens for each token of tokenizer.json: check that the file"
    )


async def test_the_set_up_says_that_the_tokenizer_counts_where_the_server_does_not(words_file: Path) -> None:
    async with scripted(
        lambda request: (
            ok(b'{"data": [{"id": "sim"}]}', "Content-Type: application/json")
            if request.target == "/v1/models"
            else without_usage("oak")
        )
    ) as server:
        found = await facts_of(server.url, tokenizer=words_file)
    assert found.warning == NO_USAGE_BUT_TOKENIZER.format(name="tokenizer.json")


async def test_without_words_of_one_token_the_server_corrects_the_prompts(tmp_path: Path) -> None:
    path = of_letters(tmp_path / "tokenizer.json")
    with llm_in_thread(model=["sim"], tokens_per_word=1.5) as server:
        found = await facts_of(server.url, tokenizer=path)
    assert found.tokens_per_word == pytest.approx(1.5, abs=0.02)
    assert found.warning.startswith(
        "prompts are not exact: tokenizer.json has fewer than 64 words that are always one token each."
    )


async def test_a_trial_finds_the_file_beside_its_journey(words_file: Path) -> None:
    @journey
    async def ask(user: User) -> None:
        user.check("four", (await user.llm.chat("hi")).output_tokens == 4)

    replies = {"POST /v1/chat/completions": without_usage("the oak", " lamp is")}
    trial = await ask.trial(replies=replies, llm=Llm(model="m", tokenizer=words_file))
    assert trial.checks == {"four": (1, 1)}
    with pytest.raises(UsageError, match=r"none\.json cannot be read"):
        await ask.trial(replies={}, llm=Llm(model="m", tokenizer="none.json"))


def test_the_package_is_imported_only_with_a_tokenizer() -> None:
    assert importlib.util.find_spec("tokenizers") is not None, "the tests need the extra `llm`"
    assert "tokenizer" in LLM_TAGS["tokens"]
    assert Plan(target="http://127.0.0.1:1", llm=Llm(model="m"), load=users(1).hold("1s"), mix={}).tokenizer is None
