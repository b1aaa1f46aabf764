"""Mistakes that are seen by reading: what is certain is a fault, what is doubtful a warning, the rest is neither."""

from __future__ import annotations

import ast
from pathlib import Path
from textwrap import indent

import pytest

from loadgen.dsl.loading.source_analysis import Source
from loadgen.dsl.loading.static_checks import mistakes

HEAD = """import asyncio
import time
import urllib.request
from time import sleep as nap

import requests
from loadgen import User, journey
from loadgen.dsl.metric import counter

@journey
async def browse(user: User, row: dict) -> None:
"""


def source_of(body: str, head: str = HEAD) -> Source:
    text = head + indent(body, "    ")
    return Source(Path("scenario.py"), text, ast.parse(text))


def found(body: str, head: str = HEAD) -> list[str]:
    faults, warnings = mistakes(source_of(body, head))
    return [f"{one.line} {one.message} | {one.hint}" for one in (*faults, *warnings)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            'user.http.get("/")',
            "12 user.http.get(...) is never awaited, so it does nothing | write `await user.http.get(...)`",
        ),
        ("user.think(1, 3)", "12 user.think(...) is never awaited, so it does nothing | write `await user.think(...)`"),
        ('user.pace("1s")', "12 user.pace(...) is never awaited, so it does nothing | write `await user.pace(...)`"),
        (
            'user.to("api").post("/x")',
            "12 user.to('api').post(...) is never awaited, so it does nothing | write `await user.to('api').post(...)`",
        ),
        (
            'api = user.to("api")\napi.post("/x")',
            "13 api.post(...) is never awaited, so it does nothing | write `await api.post(...)`",
        ),
        (
            'await user.http.get("/").expect(status=200)',
            "12 user.http.get(...) has no .expect before it is awaited | write `(await user.http.get(...)).expect`",
        ),
        (
            'page = user.http.get("/")\nprint(page.text)',
            "12 user.http.get(...) is never awaited, so page is not a reply and has no .text | "
            "write `page = await user.http.get(...)`",
        ),
        (
            'if user.http.get("/"): pass',
            "12 user.http.get(...) is used before it is awaited | write `await user.http.get(...)`",
        ),
        (
            'with user.step("a"): pass',
            "12 user.step(...) is entered with `with` | write `async with user.step(...):`",
        ),
        (
            'user.step("a")',
            "12 user.step(...) is not entered, so it times nothing | "
            "write `async with user.step(...):` and indent the code to time below it",
        ),
        (
            'with user.http.stream("GET", "/") as reply: pass',
            "12 user.http.stream(...) is entered with `with` | write `async with user.http.stream(...):`",
        ),
        (
            'counter("orders").add()',
            "12 counter(...) within browse: a metric created during the run is not recorded | "
            "write `orders = counter(...)` at the top of the file, and use it in browse",
        ),
        (
            "time.sleep(1)",
            "12 time.sleep(...) blocks the event loop: all users of the worker wait meanwhile | "
            "write `await user.think(...)`: think time does not count as response time",
        ),
        (
            "nap(1)",
            "12 time.sleep(...) blocks the event loop: all users of the worker wait meanwhile | "
            "write `await user.think(...)`: think time does not count as response time",
        ),
        (
            'requests.get("http://x")',
            "12 requests.get(...) blocks the event loop: all users of the worker wait meanwhile | "
            "write `await user.http.get(...)`: it is measured and does not block",
        ),
        (
            'urllib.request.urlopen("http://x")',
            "12 urllib.request.urlopen(...) blocks the event loop: all users of the worker wait meanwhile | "
            "write `await user.http.get(...)`: it is measured and does not block",
        ),
        (
            "await asyncio.sleep(1)",
            "12 asyncio.sleep(...) counts as response time of the step and the journey | "
            "write `await user.think(...)`: think time does not count as response time",
        ),
    ],
)
def test_a_mistake_is_told_with_what_to_write(body: str, expected: str) -> None:
    assert found(body) == [expected]


@pytest.mark.parametrize(
    "body",
    [
        'await user.http.get("/")',
        'page = user.http.get("/")\nprint((await page).text)',
        'page = user.http.get("/")\npage = await page\nprint(page.text)',
        'await user.gather(user.http.get("/a"), user.http.get("/b"))',
        'task = asyncio.create_task(user.http.get("/"))\nawait task',
        'calls = [user.http.get(f"/{i}") for i in range(3)]\nawait user.gather(*calls)',
        'await user.poll(lambda: user.http.get("/job"), until=bool, name="job")',
        'async with user.step("a"), user.step("b"): pass',
        'step = user.step("a")\nasync with step: pass',
        'row.get("x")\nrow.options("y")',
        'def later(): return user.http.get("/")\nawait later()',
        "await asyncio.to_thread(time.sleep, 1)",
        'async with user.http.stream("GET", "/") as reply: pass',
    ],
)
def test_what_is_right_is_not_told(body: str) -> None:
    assert found(body) == []


def test_helpers_are_read_as_journeys_are() -> None:
    head = "from loadgen import User\nasync def login(who: 'User'):\n"
    assert found("who.think(1)", head) == [
        "3 who.think(...) is never awaited, so it does nothing | write `await who.think(...)`"
    ]
    assert found("who.think(1)", "async def login(who):\n") == []
