"""A drain that is shorter than an answer of the model may take: a warning before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.dsl.loading.answer_time_check import longest_answer_ns
from loadgen.dsl.loading.loader import load
from tests.support.scenarios import write

S, MS = 1_000_000_000, 1_000_000
ASK = """\
from loadgen import Llm, Load, Plan, User, arrivals, goodput, journey, prompt

LONG = 4096

@journey
async def ask(user: User) -> None:
    await user.llm.chat(prompt(tokens=10){call})

plan = Plan(target="http://127.0.0.1:1", llm=Llm({llm}), {plan})
"""
LOAD = 'load=arrivals("1/s").hold("1m"), mix=ask'


def warnings_of(folder: Path, *, call: str = "", llm: str = "", plan: str = LOAD) -> list[str]:
    found = load(write(folder, ASK.format(call=call, llm=llm, plan=plan)), "plan").warnings
    return [f"{one.message} | {one.hint}" for one in found if one.message.startswith("drain:")]


def test_a_drain_that_cuts_long_answers_off_is_a_warning_with_the_drain_to_write(tmp_path: Path) -> None:
    (found,) = warnings_of(tmp_path, call=", max_tokens=LONG")
    assert found == (
        "drain: 30.0 s is too short: an answer of 4,096 tokens may take 3m26s (1 s to the first token and 50 ms a token"
        ' are assumed), so the end of the drain cuts it off | write drain="206s", or a lower max_tokens='
    )
    assert not warnings_of(tmp_path, call=", max_tokens=LONG", plan=LOAD + ', drain="206s"')


@pytest.mark.parametrize(
    ("call", "llm", "plan", "part"),
    [
        (", max_tokens=581", "", LOAD, ""),  # 1 s + 580 * 50 ms = 30 s
        (", max_tokens=582", "", LOAD, "an answer of 582 tokens may take 31.0 s"),
        ("", "max_tokens=2000", LOAD, "an answer of 2,000 tokens"),
        ("", "", LOAD, ""),  # the server decides
        (", max_tokens=2000", 'timeout="20s"', LOAD, ""),
        (", max_tokens=9000", 'timeout="1m"', LOAD, "may take 1m (the time limit of Llm)"),
        (
            ", max_tokens=256",
            "",
            LOAD + ', slos=[goodput(ttft="5s", tpot="200ms") > "95%"]',
            "56.0 s (as long as the obj",
        ),
        (", max_tokens=9000", "", LOAD + ', slos=[goodput(e2e="25s") > "95%"]', ""),
        (
            ", max_tokens=1000",
            "",
            'drain="5m", loads=[Load(ask, arrivals("1/s").hold("1m"), drain="5s")]',
            "5.00 s is too short",
        ),
    ],
)
def test_the_time_of_an_answer_follows_from_tokens_limits_and_time_limits(
    tmp_path: Path, call: str, llm: str, plan: str, part: str
) -> None:
    found = warnings_of(tmp_path, call=call, llm=llm, plan=plan)
    assert [part in one for one in found] == ([True] if part else [])


def test_a_plan_without_a_model_has_no_answers(tmp_path: Path) -> None:
    text = ASK.format(call=", max_tokens=9000", llm="", plan=LOAD).replace("llm=Llm(), ", "").replace("Llm, ", "")
    text = text.replace("user.llm.chat(prompt(tokens=10), max_tokens=9000)", 'user.http.get("/")')
    assert not load(write(tmp_path, text.replace(", prompt", "")), "plan").warnings


def test_an_answer_is_as_slow_as_its_limits_permit_and_never_slower_than_its_time_limit() -> None:
    assert longest_answer_ns(1, {}, 600 * S) == S
    assert longest_answer_ns(11, {"ttft": 2 * S, "tpot": 100 * MS}, 600 * S) == 3 * S
    assert longest_answer_ns(11, {"ttft_due": 4 * S, "ttft": 2 * S, "itl": 100 * MS}, 600 * S) == 5 * S
    assert longest_answer_ns(10**6, {}, 600 * S) == 600 * S
