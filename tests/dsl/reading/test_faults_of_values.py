"""Faults in the use of values that the loader knows: rows, states, metrics, replies, forms, and names of other files.

Each scenario is loaded, and no journey of it runs. `# here` marks the line of the message.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import indent

import pytest

from loadgen.dsl.loading.loader import load
from loadgen.errors import Fault, ScenarioError
from tests.support.scenarios import write

HERE = "# here"
HEAD = """\
from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from loadgen import (
    Load, Plan, User, UserWith, arrivals, counter, feed, gauge, iterations, journey, p, rate, trend, users,
)

"""
PLAN = '\nplan = Plan(target="https://shop.example", load=arrivals("5/s").hold("1m"), mix=shop)\n'
METRICS = 'orders, stock = counter("orders"), gauge("stock")\nbasket, hits = trend("basket"), rate("hits")\n\n'


def shop(body: str, *, before: str = "", decorator: str = "@journey", arguments: str = "user: User") -> str:
    """Return the text of a scenario with a journey `shop` of this body."""
    return f"{HEAD}{before}\n{decorator}\nasync def shop({arguments}) -> None:\n{indent(body, '    ')}\n{PLAN}"


def faults_in(folder: Path, text: str, files: Mapping[str, str] | None = None) -> list[Fault]:
    """Return the errors of a scenario. files: further files of its folder, by name."""
    for name, content in (files or {}).items():
        write(folder, content, name)
    try:
        load(write(folder, text))
    except ScenarioError as error:
        return list(error.faults)
    return []


def assert_found(folder: Path, text: str, message: str, hint: str, files: Mapping[str, str] | None = None) -> None:
    (fault,) = faults_in(folder, text, files)
    lines = [number for number, line in enumerate(text.splitlines(), 1) if line.endswith(HERE)]
    assert (Path(fault.file).name, [fault.line]) == ("scenario.py", lines), fault
    assert message in fault.message
    assert hint in fault.hint


def assert_right(folder: Path, text: str) -> None:
    assert faults_in(folder, text) == []
    assert load(folder / "scenario.py").warnings == ()


# -- rows and states ----------------------------------------------------------------------------------

SHOPPER = '@dataclass(frozen=True)\nclass Shopper:\n    email: str\n    password: str = ""\n\n'
ORDER = "class Order(msgspec.Struct):\n    sku: str\n    count: int = 1\n\n"
CART = "@dataclass\nclass Cart:\n    items: list[str] = field(default_factory=list)\n    total: int = 0\n\n"
OF_SHOPPERS = "@journey(data=feed.rows([Shopper('a'), Shopper('b')]))"
OF_ORDERS = "@journey(data=feed.jsonl('orders.jsonl', Order))"
IN_A_BRANCH = "if user.number > 99:\n    "


@pytest.mark.parametrize(
    ("before", "decorator", "use", "message", "hint"),
    [
        (SHOPPER, OF_SHOPPERS, "row.emial", "row.emial: Shopper has no attribute emial", 'did you mean "email"?'),
        (SHOPPER, OF_SHOPPERS, 'row["email"]', "row[...]: Shopper has attributes, and no keys", "write row.email"),
        (
            ORDER,
            OF_ORDERS,
            "row.quantity",
            "row.quantity: Order has no attribute quantity",
            'use one of "count", "sku"',
        ),
        (
            "",
            "@journey(data=feed.rows([{'q': 'oak'}]))",
            "row.q",
            "row.q: dict has no attribute q",
            'write row["q"]',
        ),
        ("", "@journey(data=feed.rows(['oak']))", "row.text", "row.text: str has no attribute text", ""),
    ],
)
def test_a_read_of_what_a_row_does_not_have_is_found_in_a_branch(
    tmp_path: Path, before: str, decorator: str, use: str, message: str, hint: str
) -> None:
    write(tmp_path, '{"sku": "a"}\n', "orders.jsonl")
    body = f"{IN_A_BRANCH}user.note(x={use})  {HERE}"
    text = shop(body, before=before, decorator=decorator, arguments="user: User, row: object")

    assert_found(tmp_path, text, message, hint)


@pytest.mark.parametrize(
    ("use", "message", "hint"),
    [
        ("user.state.totl", "user.state.totl: Cart has no attribute totl", 'did you mean "total"?'),
        ('user.state["total"]', "user.state[...]: Cart has attributes, and no keys", "write user.state.total"),
        ("cart.itms", "cart.itms: Cart has no attribute itms", 'did you mean "items"?'),
    ],
)
def test_a_read_of_what_a_state_does_not_have_is_found_in_a_branch(
    tmp_path: Path, use: str, message: str, hint: str
) -> None:
    body = f"cart = user.state\n{IN_A_BRANCH}user.note(x={use})  {HERE}\nuser.note(n=cart.total)"
    text = shop(body, before=CART, decorator="@journey(state=Cart)", arguments="user: UserWith[Cart]")

    assert_found(tmp_path, text, message, hint)


def test_a_misspelt_attribute_in_a_set_up_is_found(tmp_path: Path) -> None:
    set_up = (
        f"\n@shop.set_up\nasync def fill(user: UserWith[Cart]) -> None:\n    user.note(n=user.state.item)  {HERE}\n"
    )
    text = shop("pass", before=CART, decorator="@journey(state=Cart)", arguments="user: UserWith[Cart]") + set_up

    assert_found(tmp_path, text, "user.state.item: Cart has no attribute item", 'did you mean "items"?')


@pytest.mark.parametrize(
    ("before", "rows", "body"),
    [
        (
            "@dataclass\nclass Row:\n    a: int\n\n    def __post_init__(self) -> None:\n        self.b = self.a\n\n"
            "    @property\n    def c(self) -> int:\n        return 3\n\n",
            "[Row(1)]",
            "user.note(n=row.a + row.b + row.c)",
        ),
        (
            "@dataclass\nclass Row:\n    a: int = 1\n\n@dataclass\nclass More(Row):\n    b: int = 2\n\n",
            "[Row(), More()]",
            "if user.number:\n    user.note(n=row.b)",
        ),
        (
            "@dataclass\nclass Row:\n    a: int = 1\n\n@dataclass\nclass More(Row):\n    b: int = 2\n\n",
            "[Row()]",
            "if isinstance(row, More):\n    user.note(n=row.b)",
        ),
        ("class Point(NamedTuple):\n    x: int = 0\n\n", "[Point()]", "user.note(n=row.x, m=row[0], k=row._asdict())"),
        (
            "class Any:\n    def __getattr__(self, name: str) -> int:\n        return 1\n\n",
            "[Any()]",
            "user.note(n=row.z)",
        ),
        ("class Row:\n    pass\n\nROW = Row()\nROW.q = 3\n", "[ROW]", "user.note(n=row.q)"),
        ("class Row:\n    pass\n\nROW = Row()\nsetattr(ROW, 'q', 3)\n", "[ROW]", "user.note(n=row.q)"),
        ("", "[{'q': 1}]", "row = json.loads(json.dumps(row))\nuser.note(n=row['q'], m=row.copy())"),
        ("", "[re.compile('a')]", "user.note(n=row.pattern)"),
        (SHOPPER, "[Shopper('a')]", "names = [row.upper() for row in ('a', 'b')]\nuser.note(n=len(names))"),
        (SHOPPER, "[Shopper('a')]", "row = row.email\nuser.note(n=row.upper())"),
        (SHOPPER, "[Shopper('a')]", "def first(row):\n    return row[0]\nuser.note(n=first([1]))"),
    ],
)
def test_reads_of_rows_that_may_be_right_are_not_reported(tmp_path: Path, before: str, rows: str, body: str) -> None:
    decorator = f"@journey(data=feed.rows({rows}))"

    assert_right(tmp_path, shop(body, before=before, decorator=decorator, arguments="user: User, row: object"))


@pytest.mark.parametrize(
    ("before", "state", "body"),
    [
        (
            "class Bag:\n    def __init__(self) -> None:\n        self._reset()\n\n"
            "    def _reset(self) -> None:\n        self.n = 0\n\n",
            "Bag",
            "user.note(n=user.state.n)",
        ),
        (CART, "Cart", "user.state.note = 'x'\nuser.note(n=user.state.note)"),
        (CART, "lambda: Cart()", "user.note(n=user.state.unknown)"),
        ("", "dict", "user.state['n'] = 1\nuser.note(n=user.state['n'], m=user.state.get('k'))"),
        ("", "list[str]", "user.state.append('x')\nuser.note(n=user.state[0])"),
        (
            "class Counts(defaultdict):\n    label = 'x'\n\n",
            "Counts",
            "user.note(n=user.state['n'], m=user.state.label)",
        ),
        (CART, "Cart", "state = user.state\nstate = {'n': state.total}\nuser.note(n=state['n'])"),
    ],
)
def test_reads_of_states_that_may_be_right_are_not_reported(tmp_path: Path, before: str, state: str, body: str) -> None:
    assert_right(tmp_path, shop(body, before=before, decorator=f"@journey(state={state})", arguments="user"))


def test_a_function_that_is_a_journey_of_several_feeds_may_read_what_one_of_them_has(tmp_path: Path) -> None:
    module = (
        SHOPPER
        + "def visit(name, rows):\n    @journey(name=name, data=feed.rows(rows))\n"
        + "    async def go(user: User, row) -> None:\n"
        + "        user.note(x=row.email if name == 'a' else row['email'])\n    return go\n\n"
        + "both = visit('a', [Shopper('x')]), visit('b', [{'email': 'y'}])\n"
    )
    text = shop("pass", before=module).replace("mix=shop", "mix=dict.fromkeys((shop, *both), 1)")

    assert_right(tmp_path, text)


# -- other files --------------------------------------------------------------------------------------

HELPERS = """\
from loadgen import User, counter, gauge, secret

orders = counter("orders")
KEY = secret("api-key")
LATE = "poll late"
STATUS = 99


async def log_in(user: User) -> str:
    return (await user.http.post("/login", expect=200)).pick("$.token")


async def pages(user: User):
    yield await user.http.get("/")


class Page:
    def __init__(self, user: User) -> None:
        self.user = user

    async def open(self) -> None:
        await self.user.http.get("/")


class Product(Page):
    def name(self) -> str:
        return "product"
"""
FILES = {"helpers.py": HELPERS}
HELPERS_TOO = "from helpers import KEY, LATE, STATUS, Page, log_in, orders\n"


@pytest.mark.parametrize(
    ("imports", "call", "hint"),
    [
        ("from helpers import log_in", "log_in(user)", "write `await log_in(...)`"),
        ("from helpers import log_in as enter", "enter(user)", "write `await enter(...)`"),
        ("import helpers", "helpers.log_in(user)", "write `await helpers.log_in(...)`"),
        ("import helpers as h", "token = h.log_in(user)", "write `await h.log_in(...)`"),
        ("from package import log_in", "log_in(user)", "write `await log_in(...)`"),
        ("import package.deep", "package.deep.log_in(user)", "write `await package.deep.log_in(...)`"),
        ("from package import deep", "deep.log_in(user)", "write `await deep.log_in(...)`"),
        ("from helpers import Page", "Page(user).open()", "write `await Page(user).open(...)`"),
        ("from helpers import Product", "page = Product(user); page.open()", "write `await page.open(...)`"),
        ("import helpers", "page = helpers.Product(user); page.open()", "write `await page.open(...)`"),
    ],
)
def test_an_async_helper_of_another_file_that_nothing_awaits_is_found(
    tmp_path: Path, imports: str, call: str, hint: str
) -> None:
    package = "from .deep import log_in\n"
    deep = "from helpers import log_in, Page\n"
    text = shop(f"{IN_A_BRANCH}{call}  {HERE}", before=imports + "\n")

    assert_found(
        tmp_path, text, "is never awaited", hint, {**FILES, "package/__init__.py": package, "package/deep.py": deep}
    )


@pytest.mark.parametrize(
    ("imports", "body"),
    [
        ("from helpers import log_in", "await log_in(user)"),
        ("from helpers import log_in", "calls = [log_in(user) for _ in range(3)]\nawait user.gather(*calls)"),
        ("from helpers import log_in\nlog_in = print\n", "log_in(user)"),
        ("from helpers import log_in", "def log_in(user):\n    return 3\nlog_in(user)"),
        ("from helpers import pages", "found = pages(user)\nprint(found)"),
        ("try:\n    from helpers import nothing as log_in\nexcept ImportError:\n    log_in = print\n", "log_in(user)"),
        ("import helpers\nhelpers.log_in = print\n", "helpers.log_in(user)"),
        ("from helpers import Page", "Page.open = print\npage = Page(user)\npage.open()"),
        ("from helpers import Product", "Product(user).name()"),
        ("from decorated import log_in", "log_in(user)"),
    ],
)
def test_helpers_of_another_file_that_are_awaited_or_not_async_are_not_reported(
    tmp_path: Path, imports: str, body: str
) -> None:
    decorated = "def plain(fn):\n    return print\n\n\n@plain\nasync def log_in(user):\n    pass\n"

    assert faults_in(tmp_path, shop(body, before=imports + "\n"), {**FILES, "decorated.py": decorated}) == []


@pytest.mark.parametrize(
    ("imports", "body", "message", "hint"),
    [
        (HELPERS_TOO, "orders.increment()", "orders is a counter, and has no increment", "write orders.add(1)"),
        ("import helpers\n", "helpers.orders.set(1)", "helpers.orders is a counter, and has no set", "orders.add(1)"),
        (HELPERS_TOO, "user.note(x=f'Bearer {KEY}')", "{KEY} in a text gives ****", "write {KEY.reveal()}"),
        (HELPERS_TOO, "await user.http.get('/', expect=STATUS)", "must be from 100 to 599, got 99", "expect=200"),
        ("import helpers\n", "await user.http.get('/', expect=helpers.STATUS)", "from 100 to 599, got 99", "200"),
    ],
)
def test_metrics_secrets_and_constants_of_another_file_are_checked(
    tmp_path: Path, imports: str, body: str, message: str, hint: str
) -> None:
    assert_found(tmp_path, shop(f"{IN_A_BRANCH}{body}  {HERE}", before=imports), message, hint, FILES)


def test_an_objective_finds_the_step_whose_name_is_a_constant_of_another_file(tmp_path: Path) -> None:
    text = shop("async with user.step(LATE):\n    pass", before=HELPERS_TOO)
    text = text.replace("mix=shop)", "mix=shop, slos=[p(95, step='poll late') < '1s'])")

    assert faults_in(tmp_path, text, FILES) == []
    assert not any("step" in one.message for one in load(tmp_path / "scenario.py").warnings)


def test_names_of_another_file_that_mean_something_else_here_are_not_checked(tmp_path: Path) -> None:
    body = "def use(orders):\n    orders.record(1)\nuse(None)\nSTATUS = 200\nawait user.http.get('/', expect=STATUS)"

    assert faults_in(tmp_path, shop(body, before=HELPERS_TOO), FILES) == []


# -- names of the scenario's own files ----------------------------------------------------------------

PLAIN = """\
def total(a: int, *, b: int = 2) -> int:
    return a + b


async def enter(user, email):
    await user.http.get("/")


class Page:
    def __init__(self, user) -> None:
        self.user = user

    async def open(self) -> None:
        await self.user.http.get("/")


@journey
async def browse(user: User) -> None:
    await user.http.get("/")

"""


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("user.note(x=anwser)", "the name anwser is not defined", 'did you mean "answer"?'),
        ("user.note(x=__ENV['A'])", "the name __ENV is not defined", "write a setting, stage = param("),
        ("user.note(x=__VU)", "the name __VU is not defined", "write user.number"),
        ("await sleep(1)", "the name sleep is not defined", "write `await user.think(1, 3)`"),
        ("user.note(x=[unknown_thing for _ in 'ab'])", "the name unknown_thing is not defined", "define or import it"),
        ("user.note(x=json.dump_s({}))", "the module json has no dump_s", 'did you mean "dumps"?'),
        ("await helpers.log_inn(user)", "the module helpers has no log_inn", 'did you mean "log_in"?'),
        ("await browse(user)", "browse is a journey, and cannot be called", "`async def` without decorator"),
        ("total()", "total(...): missing a required argument: 'a'", "its arguments are total(a, *, b=2)"),
        ("total(1, c=3)", "total(...): got an unexpected keyword argument 'c'", "its arguments are total(a, *, b=2)"),
        ("await enter(user)", "enter(...): missing a required argument: 'email'", "enter(user, email)"),
        ("await helpers.log_in(user, 1)", "helpers.log_in(...): too many positional", "log_in(user)"),
        ("page = Page(user); await page.opn()", "page.opn: Page has no attribute opn", 'did you mean "open"?'),
    ],
)
def test_a_name_that_python_would_not_find_is_found_in_a_branch(
    tmp_path: Path, line: str, message: str, hint: str
) -> None:
    text = shop(f"answer = 3\n{IN_A_BRANCH}{line}  {HERE}\nuser.note(a=answer)", before=f"import helpers\n\n{PLAIN}")

    assert_found(tmp_path, text, message, hint, FILES)


@pytest.mark.parametrize(
    ("before", "body"),
    [
        ("", "import html\nuser.note(x=html.escape('a'))"),
        (
            "try:\n    import nothing_there\nexcept ImportError:\n    FAST = False\n",
            "if FAST:\n    nothing_there.dumps(1)",
        ),
        ("if False:\n    LATER = 3\n", "if user.number > 99:\n    user.note(x=LATER)"),
        ("globals()['made'] = 3\n", "user.note(x=made)"),
        ("", "try:\n    user.note(x=unknown)\nexcept NameError:\n    pass"),
        ("def later() -> int:\n    return AFTER\n", "user.note(x=later())"),
        ("import sys\n", "if sys.version_info >= (3, 99):\n    json.new_function()"),
        ("", "if hasattr(json, 'quick'):\n    json.quick()"),
        ("import importlib\n", "importlib.util.find_spec('a')"),
        ("import helpers\nhelpers.extra = print\n", "helpers.extra(1)"),
        ("def total(a):\n    return a\n\ntotal = print\n", "total(1, 2, 3)"),
        ("def total(a):\n    return a\n", "def total(*a):\n    return a\ntotal(1, 2)"),
        ("def total(a):\n    return a\n", "arguments = [1]\ntotal(*arguments)\ntotal(**{'a': 1})"),
        (PLAIN, "page = Page(user)\npage.note = 3\nuser.note(x=page.note)"),
        (PLAIN, "page = Page(user) if user.number else json\nuser.note(x=page.dumps({}))"),
        ("class Made:\n    def __new__(cls):\n        return json\n", "made = Made()\nmade.dumps({})"),
        ("class Any:\n    def __getattr__(self, name):\n        return name\n", "one = Any()\none.other"),
        ("", "x: Unknown = 3\nuser.note(x=x)"),
        ("", "user.note(x=[one for one in 'ab'], y=(lambda z: z)(1), w=__name__, f=__file__)"),
        (
            "class Counted:\n    n = 0\n\n    def up(self):\n        Counted.n += 1\n        return __class__\n",
            "Counted().up()",
        ),
    ],
)
def test_names_that_python_finds_are_not_reported(tmp_path: Path, before: str, body: str) -> None:
    text = shop(body, before=before).replace("\nplan = ", "\nAFTER = 3\nplan = ")

    assert faults_in(tmp_path, text, FILES) == []


def test_a_helper_of_another_file_that_blocks_is_found_in_its_file(tmp_path: Path) -> None:
    slow = "import time\n\n\ndef settle() -> None:\n    time.sleep(1)\n"

    (fault,) = faults_in(tmp_path, shop("settle()", before="from slow import settle\n"), {"slow.py": slow})

    assert (Path(fault.file).name, fault.line) == ("slow.py", 5)
    assert "blocks the event loop" in fault.message


@pytest.mark.parametrize(
    ("before", "decorator", "line", "message"),
    [
        (SHOPPER, OF_SHOPPERS, "row.email = 'x'", "row.email cannot be changed: Shopper is frozen"),
        (CART.replace("@dataclass", "@dataclass(frozen=True)"), "@journey(state=Cart)", "user.state.total += 1",
         "user.state.total cannot be changed: Cart is frozen"),
    ],
)  # fmt: skip
def test_a_change_of_a_frozen_row_or_state_is_found(
    tmp_path: Path, before: str, decorator: str, line: str, message: str
) -> None:
    arguments = "user: User, row: object" if "data" in decorator else "user: UserWith[Cart]"
    text = shop(f"{IN_A_BRANCH}{line}  {HERE}", before=before, decorator=decorator, arguments=arguments)

    assert_found(tmp_path, text, message, "remove frozen=True")


# -- calls --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ('user.check(page.is_success, "is there")', "is always true", "user.check('is there', page.is_success)"),
        ('user.check("is there", f"{page.text}")', "the condition is a text", "write user.check(name, condition)"),
        ("user.check(page.status_code == 200, page)", "got a condition", 'user.check("what is checked", page.'),
        ('await user.check("is there", page.text)', "user.check(...) cannot be awaited", "remove `await`"),
        ("user.note(x=page[0])", "page is a reply, and not the data in its body", "write page.json()[0]"),
        ("for one in page: print(one)", "page is a reply, and not the data in its body", "write page.json()"),
        ("user.note(x=page.status_code())", "page.status_code is a value", "write page.status_code without ()"),
        ("user.note(x=page.ok)", "page has no ok", 'did you mean "is_success"?'),
        ("await user.http.get('/', catch_response=True)", "no argument catch_response", '"expect" or "accept"'),
        ("user.note(x=page.text())", "page.text is a value, and cannot be called", "write page.text without ()"),
        ("user.note(x=user.number())", "user.number is a value, and cannot be called", "write user.number without ()"),
        ("user.note(x=user.random.chioce([1]))", "user.random has no chioce", 'did you mean "choice"?'),
        ('price = page.pick("$.price", "int")', "pick: 'int' is not a type", 'write pick("$.price", int)'),
        ('page.expect(text=["a"])', "text must be a text, got a list", 'write text="lamp"'),
        ('page.expect(header="etag")', "header must be a dictionary, got a text", "write header={"),
        ('page.expect(header={"x-n": 3})', 'header "x-n": 3 is not a text', 'write "3"'),
        ("images = [user.http.get('/a')]; await user.gather(images)", "takes calls, not a list", "gather(*images)"),
        ('await user.http.get("/", auth="ann:pw")', "auth= must be (user, password)", 'auth=("user", "password")'),
        ('await user.http.get("/", auth=("a", "b", "c"))', "got 3 values", 'auth=("user", "password")'),
        ('await user.http.get("/", headers="Accept: a/b")', "headers must be a dictionary", "write headers={"),
        ('await user.http.get("/", headers={"X-A": page.text, "X-B": 4})', "a header must be a text, got 4", '"4"'),
        ('await user.http.get("/", params=3)', "params must be a dictionary, got a number", "write params={"),
        ('await user.http.get("/", cookies="a=b")', "cookies must be a dictionary, got a text", "write cookies={"),
        ('await user.http.post("/", files="a.jpg")', "files must be a dictionary, got a text", "write files={"),
        ('await user.http.post("/", content={"a": page.text})', "content must be a text", "json= for a dictionary"),
        ('await user.http.get("/", follow_redirects="yes")', "follow_redirects must be True or False", "=True"),
        ('await user.http.get("/", max_redirects="3")', "invalid max_redirects='3'", "write an integer"),
        ("status = 99; await user.http.get('/', expect=status)", "must be from 100 to 599, got 99", "expect=200"),
        ("shown = page.expect(status=200); print(shown.status)", "shown has no status", 'mean "status_code"'),
    ],
)
def test_a_call_that_always_fails_is_found(tmp_path: Path, line: str, message: str, hint: str) -> None:
    text = shop(f'page = await user.http.get("/")\nif page.status_code == 418:\n    {line}  {HERE}')

    assert_found(tmp_path, text, message, hint)


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("form.submit({})", "form.submit(...) is never awaited", "write `await form.submit(...)`"),
        ('await form.submit(email="a", age=3)', "has no argument email", """submit({"email": 'a', "age": 3})"""),
        ('await form.submit("a")', "values must be a dictionary, got a text", 'write submit({"email": "a@b.c"})'),
        ("await form.submit({}, expect=99)", "must be from 100 to 599, got 99", "expect=200"),
        ("form.fill({})", "form has no fill", 'did you mean "submit"?'),
        ('page.form("form[")', "invalid CSS selector", 'write form("#login")'),
        ('page.form("")', "empty CSS selector", "form() for the first form"),
        ("sent = await form.submit({}); print(sent.status)", "sent has no status", 'did you mean "status_code"?'),
    ],
)
def test_a_wrong_use_of_a_form_is_found(tmp_path: Path, line: str, message: str, hint: str) -> None:
    text = shop(f'page = await user.http.get("/")\nform = page.form("#login")\n{IN_A_BRANCH}{line}  {HERE}')

    assert_found(tmp_path, text, message, hint)


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ('orders.add("1")', "a counter adds whole numbers of at least 0, got '1'", "write orders.add()"),
        ("orders.add(1.5)", "a counter adds whole numbers of at least 0, got 1.5", "write orders.add()"),
        ("basket.add(-1)", "a trend adds numbers of at least 0, got -1", "write basket.add(41.9)"),
        ("stock.set()", "stock.set(...) needs value", "write stock.set(3)"),
        ("hits.add()", "hits.add(...) needs is_hit", "write hits.add(True)"),
        ("orders.add(1, tag='a')", "orders.add(...) has no argument tag", 'did you mean "tags"?'),
        ("await orders.add()", "orders.add(...) cannot be awaited", "remove `await`"),
        ("basket.observe(3)", "basket is a trend, and has no observe", "write basket.add(0.5)"),
    ],
)
def test_a_value_that_a_metric_cannot_record_is_found(tmp_path: Path, line: str, message: str, hint: str) -> None:
    assert_found(tmp_path, shop(f"{IN_A_BRANCH}{line}  {HERE}", before=METRICS), message, hint)


@pytest.mark.parametrize(
    "body",
    [
        'user.check("a", page.text)\nuser.check("b" if user.number else "c", True)\nuser.check(f"d {user.number}", [])',
        'arguments = ("a", page.text)\nuser.check(*arguments)',
        "names = [user['name'] for user in page.json()]\nbest = max(page.json(), key=lambda user: user['a'])",
        "skus = [page['sku'] for page in page.json()]\nshown = list(map(lambda page: page.sku, skus))",
        "page = page.json()\nprint(page['a'], page.sku)",
        "for page in page.json():\n    print(page['a'])",
        "found = None\nif user.number:\n    found = await user.http.get('/')\nif found:\n    found.expect(200)",
        'await user.http.get("/", auth=("a", page.text), params="a=1", cookies=[("a", "b")], headers=[("a", "b")])',
        'await user.http.get("/", auth=None, params=None, follow_redirects=1, max_redirects=0, headers=None)',
        'await user.http.post("/", data=b"a", files=[("a", b"b")])\nawait user.http.post("/", content=[b"a"])',
        'page.pick("$.a", list[int])\npage.pick("$.b", int | None)\npage.expect(header={"a": re.compile("b")})',
        'await page.form().submit()\nawait page.form("a").submit({"b": 1}, name="c", expect=302, add={}, button="d")',
        "class Robot:\n    def submit(self, email):\n        return email\nform = Robot()\nform.submit(email='a')",
        "calls = [user.http.get('/')]\nawait user.gather(*calls)",
        "status = 99 if user.number else 200\nawait user.http.get('/', expect=status)",
        "status = 99\nstatus += 101\nawait user.http.get('/', expect=status)",
        "orders.add(True)\norders.add(n=2)\nstock.set(-3.5)\nhits.add(1)\nbasket.add(0)\norders.add(len(page.text))",
        "dice = user.random\ndice.shuffle([1])\nuser.note(x=user.random.gauss(1, 2))",
        "body = json.dumps({})\nawait user.http.post('/', content=body)",
        "body = json.dumps({})\nawait user.http.post('/', data=body, headers={'Content-Type': 'application/json'})",
        "*rest, status = 99, 99, 200\nawait user.http.get('/', expect=status)",
        "user.http.headers['content-type'] = 'a/b'\nawait user.http.post('/', data=json.dumps({}))",
        "await user.http.post('/', data=json.dumps({}), headers=dict(user.http.headers))",
        "await user.http.post('/', data=json.dumps({}), headers={'x': 'y', **user.http.headers})",
        "again = User.current()\nawait again.http.get('/')",
    ],
)
def test_calls_that_are_right_or_cannot_be_known_are_not_reported(tmp_path: Path, body: str) -> None:
    assert_right(tmp_path, shop('page = await user.http.get("/")\n' + body, before=METRICS))


# -- what fits the load --------------------------------------------------------------------------------


def warned(folder: Path, text: str) -> list[str]:
    return [f"{one.line} {one.message} | {one.hint}" for one in load(write(folder, text)).warnings]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("await user.think(1000, 3000)", 'write think("1000ms", "3000ms") for milliseconds'),
        ("await user.think('2m')", "think('2m') is longer than the whole run, which takes 1m30s with its drain"),
        ("await user.http.get('/', timeout=5000)", 'write timeout="5000ms" for milliseconds: numbers are seconds'),
        ("await user.pace('10s')", "in an open load, arrivals start the iterations | remove it"),
        ("await user.http.post('/', json=json.dumps({}))", "json= encodes its value"),
        ("await user.http.post('/', data=json.dumps({'a': 1}))", "write json={'a': 1}, without json.dumps"),
        ("await user.http.post('/', data=json.dumps({}), headers={'x': 'y'})", "data= of a text sends no Content-Type"),
    ],
)
def test_what_is_most_likely_a_mistake_is_a_warning(tmp_path: Path, line: str, message: str) -> None:
    text = shop(f"{IN_A_BRANCH}{line}")

    (warning,) = warned(tmp_path, text)

    assert warning.startswith(f"{text.splitlines().index('        ' + line) + 1} ")
    assert message in warning


@pytest.mark.parametrize(
    ("line", "load"),
    [
        ("await user.think(80)", 'arrivals("5/s").hold("1m")'),
        ("await user.think(3600)", 'users(5).hold("2h")'),
        ("await user.think(3600)", "iterations(10)"),
        ("await user.think(1000)  # loadgen: allow", 'arrivals("5/s").hold("1m")'),
        ("await user.http.get('/', timeout='10m')", 'arrivals("5/s").hold("1m")'),
        ("await user.pace('10s')", 'users(5).hold("1m")'),
        ("await user.pace('10s')  # loadgen: allow", 'arrivals("5/s").hold("1m")'),
    ],
)
def test_waits_that_fit_the_load_or_are_allowed_are_not_reported(tmp_path: Path, line: str, load: str) -> None:
    assert warned(tmp_path, shop(line).replace('arrivals("5/s").hold("1m")', load)) == []


def test_a_plan_that_only_a_main_block_creates_is_found_with_its_line(tmp_path: Path) -> None:
    text = shop("pass").replace("\nplan = ", f'\nif __name__ == "__main__":  {HERE}\n    plan = ')

    assert_found(tmp_path, text, "the file has no plan", "write the plan outside of this block")


def test_a_pace_that_one_load_of_the_plan_keeps_is_right(tmp_path: Path) -> None:
    loads = 'loads=[Load(shop, arrivals("5/s").hold("1m")), Load(shop, users(5).hold("1m"))]'
    text = shop("await user.pace('10s')").replace('load=arrivals("5/s").hold("1m"), mix=shop', loads)

    assert warned(tmp_path, text) == []


# -- methods of loads and metrics ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "hint"),
    [
        ('load=iterations(9).hold("1m")', 'write users(10).hold("1m")'),
        ('load=arrivals("5/s").hold("1m").pace("2s")', 'write users(50).hold("10m").pace("10s")'),
        ('load=users(5).poisson().hold("1m")', 'write arrivals("10/s").poisson(...)'),
        ('load=arrivals("5/s").xyz("1m")', 'use one of "hold", "ramp"'),
        ('load=arrivals("5/s").hold("1m"), slos=[basket.p95() < 3]', "write p(95)"),
        ('load=arrivals("5/s").hold("1m"), slos=[basket.p99_9() < 3]', "write p(99.9)"),
    ],
)
def test_a_method_that_a_load_or_metric_does_not_have_gets_what_to_write(tmp_path: Path, plan: str, hint: str) -> None:
    text = shop("pass", before=METRICS).replace('load=arrivals("5/s").hold("1m")', plan)

    (fault,) = faults_in(tmp_path, text)

    assert "has no attribute" in fault.message
    assert hint in fault.hint
