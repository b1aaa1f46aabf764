"""The names in objectives: what is nowhere in the files is a fault, what may be computed a warning."""

from __future__ import annotations

import ast
from pathlib import Path
from textwrap import dedent

import pytest

from loadgen.dsl.loading.loader import load
from loadgen.dsl.loading.objective_name_check import request_names
from loadgen.dsl.loading.source_analysis import Source
from tests.support.scenarios import HEAD, told, write

# -- steps ------------------------------------------------------------------------------------------


def steps_with(folder: Path, body: str, step: str) -> Path:
    return write(
        folder,
        "from loadgen import Plan, User, arrivals, journey, p\n"
        'LOGIN = "login"\n'
        "@journey\n"
        "async def browse(user: User) -> None:\n" + "".join(f"    {line}\n" for line in body.splitlines()) + "\n"
        "async def helper(user: User, i: int) -> None:\n"
        '    async with user.step("inner"):\n'
        "        pass\n"
        f'plan = Plan("http://x", arrivals("1/s").hold("1s"), browse, [p(95, step="{step}") < "1s"])\n',
    )


@pytest.mark.parametrize(
    ("body", "step"),
    [
        ('async with user.step("a"):\n    pass', "a"),
        ('async with user.step("a"):\n    async with user.step("b"):\n        pass', "a/b"),
        ('async with user.step("a"), user.step("b"):\n    pass', "a/b"),
        ('for i in range(3):\n    if i:\n        async with user.step("a"):\n            pass', "a"),
        ("async with user.step(LOGIN):\n    pass", "login"),
        ('async with user.step(f"page {user}"):\n    pass', "page 7"),
        ('async with user.step("a"):\n    await helper(user, 1)', "a/inner"),
        ("await helper(user, 1)", "inner"),
        (
            "from contextlib import AsyncExitStack\nasync with AsyncExitStack() as stack:\n"
            '    await stack.enter_async_context(user.step("a"))',
            "a",
        ),
        ('async with user.step("odd.*name"):\n    pass', "odd.*name"),
    ],
)
def test_an_objective_on_a_step_that_is_there_is_fine(tmp_path: Path, body: str, step: str) -> None:
    assert load(steps_with(tmp_path, body, step)).warnings == ()


@pytest.mark.parametrize(
    ("body", "step"),
    [
        ('async with user.step("a"):\n    pass', "b"),
        ('async with user.step("a"):\n    async with user.step("b"):\n        pass', "b"),
        ('async with user.step("a"):\n    pass\nasync with user.step("b"):\n    pass', "a/b"),
        ('async with user.step("odd.*name"):\n    pass', "odd one name"),
        ("pass", "a"),
    ],
)
def test_an_objective_on_a_literal_step_that_is_nowhere_is_a_fault(tmp_path: Path, body: str, step: str) -> None:
    (line,) = told(steps_with(tmp_path, body, step))
    assert f'journey browse has no step "{step}"' in line


def test_an_objective_on_a_step_whose_name_is_computed_is_a_warning(tmp_path: Path) -> None:
    scenario = load(steps_with(tmp_path, "async with user.step(str(1)):\n    pass", "1"))
    (warning,) = scenario.warnings
    assert 'no step "1" found, but the scenario computes some step names' in warning.message


def test_steps_of_another_journey_do_not_count(tmp_path: Path) -> None:
    text = HEAD + "@journey\nasync def buy(user: User) -> None: ...\n"
    slo = 'p(95, journey="buy", step="list") < "1s"'
    path = write(tmp_path, text + f'plan = Plan("http://x", users(1).hold("1s"), {{browse: 1, buy: 1}}, [{slo}])\n')
    (line,) = told(path)
    assert 'journey buy has no step "list"' in line


# -- requests ---------------------------------------------------------------------------------------


def test_names_of_requests_are_read() -> None:
    text = dedent("""
        user.http.get("/a?b=1")
        user.http.post(f"/items/{row}", name="/items/{id}")
        user.http.put(f"/items/{row}/x")
        user.http.request("DELETE", "/items")
        user.http.stream("GET", "/events")
        user.poll(call, until=bool, name="job")
        user.measure("sign")
        user.http.post("/graphql", json=gql("query Cart { a }"))
        row.get("x")
        """)
    source = Source(Path("scenario.py"), text, ast.parse(text))
    assert [(one.text, one.is_computed) for one in request_names(source)] == [
        ("GET /a", False),
        ("/items/{id}", False),
        ("PUT /items/{...}/x", True),
        ("DELETE /items", False),
        ("GET /events", False),
        ("job", False),
        ("job (poll)", False),
        ("sign", False),
        ("{...}", True),
    ]


def with_request(folder: Path, call: str, request: str, more: str = "") -> Path:
    return write(
        folder,
        f"""
        from loadgen import Plan, User, arrivals, journey, p
        PATH = "/b"
        PAGES = ("/d", "/e")

        @journey
        async def browse(user: User) -> None:
            sku = 1
            await {call}

        plan = Plan("http://x", arrivals("1/s").hold("1s"), browse, [
            p(95, request="{request}") < "1s",
        ]{more})
        """,
    )


@pytest.mark.parametrize(
    ("call", "request_name", "expected"),
    [
        ('user.http.get("/a")', "GET /a", None),
        ('user.http.get("a")', "GET /a", None),
        ('user.http.get("/a?x=1")', "GET /a", None),
        ('user.http.get("/a")', "GET /api/a", None),  # the target's own path goes before
        ('user.http.get("https://y/a")', "GET https://y/a", None),
        ('user.http.get("/a")', "GET /a (hop 2)", None),
        ("user.http.get(PATH)", "GET /b", None),
        ('user.http.get(f"/a/{sku}", name="/a/{sku}")', "/a/{sku}", None),
        ("user.http.get(str(sku))", "GET /b", None),  # any path is possible
        ('user.http.get(f"/a/{sku}")', "GET /a/1", None),
        ('user.gather(*[user.http.get(path) for path in ("/a", "/c")])', "GET /c", None),
        ('user.gather(*[user.http.get(f"{path}/x") for path in ("/a", "/c")])', "GET /c/x", None),
        ('user.gather(*[user.http.get(p, name=n) for p, n in (("/a", "one"), ("/c", "two"))])', "two", None),
        ("user.gather(*[user.http.get(p) for p in PAGES])", "GET /e", None),
        (
            'user.gather(*[user.http.get(path) for path in ("/a", "/c")])',
            "GET /zzzzzz",
            'no request "GET /zzzzzz" | use one of "GET /a", "GET /c"',
        ),
        ('user.http.get("/a")', "GET /", 'no request "GET /" | did you mean "GET /a"?'),
        ('user.http.get("/a")', "POST /b", 'no request "POST /b" | use one of "GET /a"'),
        (
            'user.http.get(f"/a/{sku}")',
            "GET /a/{sku}",
            'no request "GET /a/{sku}": requests without name= are named by their exact path | '
            'set the name in the request call: name="GET /a/{sku}"',
        ),
    ],
)
def test_a_request_that_an_objective_names_is_looked_for(
    tmp_path: Path, call: str, request_name: str, expected: str | None
) -> None:
    path = with_request(tmp_path, call, request_name)
    lines = [] if expected is None else [f'scenario.py:12 p(95, request="{request_name}") < 1s: {expected}']
    assert told(path) == lines
    if expected is None:
        assert load(path).warnings == ()


def test_a_request_that_may_be_sent_is_a_warning(tmp_path: Path) -> None:
    (warning,) = load(with_request(tmp_path, 'user.http.get(f"/a/{sku}")', "GET /b")).warnings
    assert warning.message.endswith('no request "GET /b" found, but the scenario computes some request names')


def test_a_request_in_a_loop_over_literal_texts_is_followed(tmp_path: Path) -> None:
    loop = 'user.think(0)\n            for path in ("/a", "/c"):\n                await user.http.get(path)'
    assert load(with_request(tmp_path, loop, "GET /c")).warnings == ()
    assert [
        'no request "GET /zzzzzz" | use one of "GET /a", "GET /c"' in one
        for one in told(with_request(tmp_path, loop, "GET /zzzzzz"))
    ] == [True]


def test_a_loop_whose_name_is_assigned_again_is_not_followed(tmp_path: Path) -> None:
    loop = (
        'user.think(0)\n            for path in ("/a", "/c"):\n'
        "                path = path.upper()\n                await user.http.get(path)"
    )
    assert load(with_request(tmp_path, loop, "GET /zzzzzz")).warnings == ()


def test_a_step_in_a_loop_over_literal_texts_is_followed(tmp_path: Path) -> None:
    body = 'for name in ("a", "b"):\n    async with user.step(name):\n        pass'
    assert load(steps_with(tmp_path, body, "b")).warnings == ()
    (line,) = told(steps_with(tmp_path, body, "c"))
    assert 'has no step "c"' in line


def test_a_page_may_lead_to_any_other_so_an_objective_can_name_any_page(tmp_path: Path) -> None:
    visit = 'user.think(0)\n            async with user.browser("/"):\n                pass'
    assert load(with_request(tmp_path, visit, "page /cart", ", browsers=1")).warnings == ()
    (warning,) = load(with_request(tmp_path, visit, "GET /cart", ", browsers=1")).warnings
    assert warning.message.endswith('no request "GET /cart" found, but the scenario computes some request names')


# -- WebSockets -------------------------------------------------------------------------------------


def websocket_with(folder: Path, call: str, request: str) -> Path:
    return write(
        folder,
        "from loadgen import Plan, User, arrivals, journey, p\n"
        'ROOM = "7"\n'
        "@journey\n"
        "async def chat(user: User) -> None:\n"
        f"    async with {call} as ws:\n"
        '        await ws.ask({"id": 1}, reply_to="$.id", name="join")\n'
        f'plan = Plan("http://x", arrivals("1/s").hold("1s"), chat, [p(95, request="{request}") < "1s"], '
        'targets={"gate": "http://y"})\n',
    )


@pytest.mark.parametrize(
    ("call", "request_name"),
    [
        ('user.ws("/feed")', "WS /feed (connect)"),
        ('user.ws("/feed?since=1")', "WS /feed (close)"),
        ('user.ws("/feed", name="chat")', "chat (ping)"),
        ('user.ws("/feed", target="gate")', "WS gate:/feed (ask)"),
        ('user.ws(f"/rooms/{ROOM}")', "WS /rooms/7 (connect)"),
        ('user.ws("wss://other.example/feed")', "WS https://other.example:443/feed (connect)"),
        ('user.ws("/feed")', "join"),
    ],
)
def test_an_objective_on_a_row_of_a_websocket_is_fine(tmp_path: Path, call: str, request_name: str) -> None:
    assert load(websocket_with(tmp_path, call, request_name)).warnings == ()


@pytest.mark.parametrize("request_name", ["WS /feed", "WS /fed (connect)", "WS /feed (open)"])
def test_an_objective_on_no_row_of_a_websocket_is_a_fault(tmp_path: Path, request_name: str) -> None:
    (line,) = told(websocket_with(tmp_path, 'user.ws("/feed")', request_name))
    assert f'no request "{request_name}"' in line


@pytest.mark.parametrize("statement", ['user.ws("/feed")', 'await user.ws("/feed")', 'with user.ws("/feed"): pass'])
def test_a_websocket_that_is_not_entered_is_a_fault(tmp_path: Path, statement: str) -> None:
    path = write(
        tmp_path,
        "from loadgen import Plan, User, arrivals, journey\n"
        "@journey\n"
        f"async def chat(user: User) -> None:\n    {statement}\n    await user.http.get('/')\n"
        'plan = Plan("http://x", arrivals("1/s").hold("1s"), chat)\n',
    )
    (line,) = told(path)
    assert "async with user.ws(" in line


def test_a_websocket_may_be_entered_later(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "from loadgen import Plan, User, arrivals, journey\n"
        "@journey\n"
        'async def chat(user: User) -> None:\n    feed = user.ws("/feed")\n    async with feed as ws:\n'
        '        await ws.send("hello")\n'
        'plan = Plan("http://x", arrivals("1/s").hold("1s"), chat)\n',
    )
    assert load(path).warnings == ()
