"""Faults of a scenario: each message names file and line, says what happened and what to do about it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from loadgen.dsl.users.exception_to_outcome import cause_of, fault_text, outcome_of, traceback_of, where_of
from loadgen.dsl.users.user import User
from loadgen.errors import ExpectFailed, RequestFailed, UsageError
from loadgen.measure.deltas.exemplar import Failure
from tests.support.lives import Bench, bound

pytestmark = pytest.mark.filterwarnings("ignore:coroutine")

Journey = Callable[[Any], Coroutine[Any, Any, None]]


async def no_await(user: Any) -> None:
    user.http.get("/").expect(status=200)


async def no_await_of_think(user: Any) -> None:
    _a, _b = user.think(1)


async def awaits_a_value(user: Any) -> None:
    await (await user.http.get("/")).expect(status=200)


async def plain_with(user: Any) -> None:
    with user.step("login"):
        await user.http.get("/")


async def missing_key(user: Any) -> None:
    (await user.http.get("/json")).json()["token"]


async def missing_item(user: Any) -> None:
    [][0]


async def no_json(user: Any) -> None:
    (await user.http.get("/")).json()


async def asserts(user: Any) -> None:
    assert (await user.http.get("/missing")).status_code == 200


async def times_out_by_hand(user: Any) -> None:
    async with asyncio.timeout(0):
        await asyncio.sleep(1)


async def no_file(user: Any) -> None:
    Path("nowhere.csv").read_text()


async def no_module(user: Any) -> None:
    import nowhere_at_all  # type: ignore[import-not-found]  # noqa: F401


async def runs_a_loop(user: Any) -> None:
    coroutine = asyncio.sleep(0)
    try:
        asyncio.run(coroutine)
    finally:
        coroutine.close()


async def recurses(user: Any) -> None:
    def f() -> None:
        f()

    f()


async def exits(user: Any) -> None:
    raise SystemExit(1)


async def misspells_a_word(user: Any) -> None:
    await user.thnik(1)


async def forgets_http(user: Any) -> None:
    await user.get("/")


async def misspells_a_name(user: Any) -> None:
    answer = await user.http.get("/")
    print(anwser, answer)  # type: ignore[name-defined]  # noqa: F821


async def misspells_of_a_reply(user: Any) -> None:
    (await user.http.get("/")).expct(status=200)


async def unknown_argument(user: Any) -> None:
    await user.think(seconds=1)


async def no_duration(user: Any) -> None:
    await user.think("soon")


async def negative_think(user: Any) -> None:
    await user.think(-1)


async def no_state(user: Any) -> None:
    user.state.token = "x"


async def unknown_target(user: Any) -> None:
    await user.to("login").get("/")


async def gathers_an_answer(user: Any) -> None:
    await user.gather(await user.http.get("/"))


async def polls_an_answer(user: Any) -> None:
    await user.poll(lambda: 3, until=bool, name="x")


async def gathers_a_list(user: Any) -> None:
    await user.gather([user.random.random(), user.random.random()])


async def gathers_functions(user: Any) -> None:
    await user.gather(lambda: user.http.get("/"))


async def polls_until_true(user: Any) -> None:
    await user.poll(lambda: user.http.get("/"), until=True, name="x")


async def polls_too_rarely(user: Any) -> None:
    await user.poll(lambda: user.http.get("/"), until=bool, every=500, name="x")


async def checks_a_function(user: Any) -> None:
    user.check("is fast", checks_a_function)


async def checks_a_reply(user: Any) -> None:
    user.check(await user.http.get("/"), True)


async def in_a_group(user: Any) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(missing_item(user))


@pytest.mark.parametrize(
    ("planted", "line", "what", "hint"),
    [
        (no_await, 1, "AttributeError: 'coroutine' object has no attribute 'expect'", "write `await` before the call"),
        (no_await_of_think, 1, "TypeError: cannot unpack non-iterable coroutine", "write `await` before the call"),
        (awaits_a_value, 1, "can't be used in 'await' expression", "remove the `await`"),
        (plain_with, 1, "context manager protocol", "write `async with`, not `with`"),
        (missing_key, 1, "KeyError: 'token'", 'reply.pick("$.key", str)'),
        (missing_item, 1, "IndexError", 'reply.pick("$.a[0]", str)'),
        (no_json, 1, "JSONDecodeError", "reply.expect(status=200)"),
        (asserts, 1, "AssertionError", 'user.check("name", ok)'),
        (times_out_by_hand, 1, "TimeoutError", "timeout=2"),
        (
            no_file,
            1,
            "FileNotFoundError: [Errno 2] No such file or directory: 'nowhere.csv'",
            "into the scenario's folder",
        ),
        (
            no_module,
            1,
            "ModuleNotFoundError: No module named 'nowhere_at_all'",
            "put the module into the scenario's folder",
        ),
        (runs_a_loop, 3, "RuntimeError: asyncio.run() cannot be called", "use `await`"),
        (recurses, 2, "RecursionError", "end the recursion"),
        (exits, 1, "SystemExit: 1", "end a journey with `return`"),
        (misspells_a_word, 1, "has no attribute 'thnik'", 'did you mean "think"?'),
        (forgets_http, 1, "has no attribute 'get'", 'did you mean "user.http.get"?'),
        (misspells_a_name, 2, "NameError: name 'anwser' is not defined", 'did you mean "answer"?'),
        (misspells_of_a_reply, 1, "'Reply' object has no attribute 'expct'", 'did you mean "expect"?'),
        (unknown_argument, 1, "unexpected keyword argument 'seconds'", "the signature is think(low, high=None)"),
        (no_duration, 1, 'ValueError: invalid duration "soon"', 'write "500ms", "10s"'),
        (negative_think, 1, "ValueError: invalid duration -1: must be finite and at least 0", "write 0 or more"),
        (no_state, 1, "this journey has no state", "declare it: @journey(state=Session)"),
        (unknown_target, 1, 'the plan has no target "login"', "targets={"),
        (gathers_an_answer, 1, "cannot be awaited", "remove the `await` within the parentheses"),
        (gathers_a_list, 1, "gather takes calls, not a list of them", "user.gather(*calls)"),
        (gathers_functions, 1, "a lambda is a function, not a call", "remove lambda:"),
        (polls_until_true, 1, "until=True is not a function", "until=lambda reply:"),
        (polls_too_rarely, 1, "every: 500 s is longer than the time-out, 2m", 'write every="500ms"'),
        (checks_a_function, 1, "is a function, so it is always true", "write checks_a_function(...)"),
        (checks_a_reply, 1, "the name must be a text, got <Reply", 'user.check("status is 200"'),
        (polls_an_answer, 1, "the result of call() is 3", "lambda: user.http.get(...)"),
        (in_a_group, 1, "IndexError", "reply.pick"),
    ],
)
async def test_a_planted_fault_is_told_with_file_line_and_what_to_do(
    planted: Journey, line: int, what: str, hint: str
) -> None:
    bench = Bench(bound(planted))
    life = await bench.run()
    assert life.outcome.startswith("script ")
    said = bench.said[-1]
    at = (missing_item if planted is in_a_group else planted).__code__.co_firstlineno + line
    assert said.startswith(f"test_outcome.py:{at} in ")
    assert what in said
    assert hint in said


def test_a_fault_within_json_or_asyncio_is_at_the_scenarios_line() -> None:
    def parse() -> None:
        json.loads("no")

    with pytest.raises(ValueError) as caught:
        parse()
    line = parse.__code__.co_firstlineno + 1
    assert where_of(caught.value) == f"test_outcome.py:{line} in parse"
    text = traceback_of(caught.value)
    assert f'File "test_outcome.py", line {line}, in parse\n    json.loads("no")\n' in text
    assert text.endswith("JSONDecodeError: Expecting value: line 1 column 1 (char 0)")
    assert "decoder.py" not in text


def test_an_error_from_nowhere_has_no_place_and_is_told_all_the_same() -> None:
    error = UsageError("no target", hint="give one")
    assert (where_of(error), traceback_of(error)) == ("", "UsageError: no target")
    assert fault_text(error) == "no target; give one", "the text of an error of ours is a sentence without its class"


def test_an_error_that_passed_a_worker_has_neither_its_place_nor_its_class() -> None:
    source = "def _set_up(error):\n    raise error\n"
    spec = ModuleSpec("loadgen_agent.worker.worker", None)
    frame: dict[str, Any] = {"__name__": "__main__", "__spec__": spec}
    exec(compile(source, "/elsewhere/worker.py", "exec"), frame)

    def text() -> str:
        with pytest.raises(UsageError) as caught:
            frame["_set_up"](UsageError("the server has no model", hint="correct it"))
        assert caught.value.__traceback__ is not None
        return fault_text(caught.value.with_traceback(caught.value.__traceback__.tb_next))

    assert text() == "the server has no model; correct it"
    frame["__spec__"] = None
    assert text().startswith("worker.py:2 in _set_up: "), "a scenario that is a program has its place"


def test_a_recursion_has_a_traceback_of_its_innermost_frames_only() -> None:
    def f() -> None:
        f()

    with pytest.raises(RecursionError) as caught:
        f()
    assert traceback_of(caught.value).count("more times") == 1
    assert len(traceback_of(caught.value)) < 1_000


def test_of_a_group_a_fault_of_the_scenario_counts_before_a_failure_of_the_target() -> None:
    refused, fault = RequestFailed("refused"), KeyError("sku")
    assert outcome_of(ExceptionGroup("x", [refused, ExpectFailed("expect status")])) == "refused"
    group = ExceptionGroup("x", [refused, ExceptionGroup("y", [fault])])
    assert (outcome_of(group), cause_of(group)) == ("script KeyError", fault)


async def test_what_a_person_needs_to_see_why_goes_to_the_meter() -> None:
    told: list[Failure] = []

    async def j(user: User, row: object) -> None:
        (await user.http.get("/missing")).expect(status=200)

    async def unlooked(user: User, row: object) -> None:
        await user.http.get("/broken")

    async def skips(user: User, row: object) -> None:
        user.skip()

    for fn in (j, unlooked, skips):
        bench = Bench(bound(fn, row=lambda n: {"n": n}))
        recorder = bench.recorder
        await bench.run()
        recorder.failures.finish()
        told += recorder.flip(0, 1).failures
    first, second = told
    line = j.__code__.co_firstlineno + 1
    assert (first.outcome, first.where) == ("expect status", f"test_outcome.py:{line} in j")
    assert "got 404, expected 200" in first.detail
    assert first.traceback.endswith("got 404, expected 200")
    assert json.loads(first.row) == {"n": 0}
    assert (second.outcome, second.where, second.traceback) == ("http 503", "", "")
