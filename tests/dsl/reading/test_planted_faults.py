"""Mistakes that authors of scenarios make, planted one at a time: each message names file and line, and what to do.

The scenario below is right. Each case changes one place of it, and says a piece of
what the message advises. That nothing else is told is part of it: one mistake is one
message, at the first line that was changed, unless the case says why it is another.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from loadgen.dsl.loading.loader import load
from loadgen.errors import Fault, ScenarioError

SCENARIO = '''"""Checkout of the demo shop."""
import asyncio
import os
import time
from dataclasses import dataclass

from loadgen import Http, Plan, User, arrivals, error_ratio, feed, journey, p, param, users
from loadgen.dsl.metric import counter, gauge
from loadgen.dsl.plans.plan_loads import Load
from loadgen.dsl.secret import secret

from helpers import log_in

orders = counter("orders")
POOL = param("pool", int, default=4)


@dataclass(frozen=True)
class Shopper:
    email: str
    age: int


SHOPPERS = feed.csv("shoppers.csv", Shopper).unique()


@journey(data=SHOPPERS)
async def checkout(user: User, shopper: Shopper) -> None:
    async with user.step("login"):
        await log_in(user, shopper.email)
    await user.think(1, 3)
    async with user.step("browse"):
        reply = await user.http.get("/products")
        reply.expect(status=200)
    orders.add()


@journey
async def look(user: User) -> None:
    await user.http.get("/")


async def prepare(user: User) -> None:
    await user.http.post("/reset")


plan = Plan(
    target="https://shop.example",
    load=arrivals().ramp(to="2/s", over="4s").hold("10s"),
    mix={checkout: 1, look: 3},
    slos=[
        p(95) < "300ms",
        error_ratio() < "1%",
    ],
    regions={"eu": 1, "us": 1},
    set_up=prepare,
)
'''
HELPERS = '''"""Helpers of the checkout."""
from loadgen import User


async def log_in(user: User, email: str) -> None:
    await user.http.post("/login", json={"email": email})
'''
SHOPPERS = "email,age\n" + "".join(f"u{i}@example.com,{20 + i}\n" for i in range(10))
LOADS = """loads=[
        Load(look, arrivals("2/s").hold("10s"), name="base"),
        Load(look, arrivals("9/s").hold("5s"), after="2s", name="spike"),
    ],"""
LOAD = """load=arrivals().ramp(to="2/s", over="4s").hold("10s"),
    mix={checkout: 1, look: 3},"""


LOOK = "@journey"
"""A line that is told of a journey is that of its decorator."""


@dataclass(frozen=True)
class Planted:
    """`old` becomes `new` in `file`; the message is where the file differs, or where `at` stands, and has `advice`."""

    name: str
    old: str
    new: str
    advice: str
    file: str = "scenario.py"
    at: str = ""
    is_warning: bool = False
    checks_secrets: bool = False


CASES = [
    # -- Python ------------------------------------------------------------------------------------
    Planted("a bracket that is not closed", 'user.step("login"):', 'user.step("login":', "correct this line"),
    Planted("a comma that is missing", '"https://shop.example",', '"https://shop.example"', "correct this line"),
    Planted(
        "a block without its indentation",
        '    await user.http.get("/")',
        'await user.http.get("/")',
        "correct this line",
    ),
    Planted(
        "await in a function that is not async",
        'async def look(user: User) -> None:\n    await user.http.get("/")',
        'def look(user: User) -> None:\n    await user.http.get("/")',
        "write `async def`",
        at='await user.http.get("/")',
    ),
    Planted("a module that is misspelt", "import asyncio", "import asyncioo", 'did you mean "asyncio"?'),
    Planted(
        "a module beside the scenario that is misspelt",
        "from helpers import log_in",
        "from helpars import log_in",
        'did you mean "helpers"?',
    ),
    Planted(
        "a package that is not there", "import time", "import fakerr", "install its package here and on the agents"
    ),
    Planted(
        "a name of ours that is misspelt",
        "import Http, Plan, User, arrivals, error_ratio, feed, journey, p, param, users",
        "import Http, Plan, User, arrivals, error_ratio, feed, jorney, journey, p, param, users",
        'did you mean "journey"?',
    ),
    Planted(
        "a name of a helper that is misspelt",
        "from helpers import log_in",
        "from helpers import log_on, log_in",
        "log_in",
    ),
    Planted("a name that is misspelt", "mix={checkout: 1,", "mix={chekout: 1,", 'did you mean "checkout"?'),
    Planted("a name that is nowhere", "set_up=prepare", "set_up=warm_caches", "import or define the name above"),
    Planted(
        "an environment variable that agents do not have",
        'POOL = param("pool", int, default=4)',
        'POOL = os.environ["SHOP_POOL"]',
        "write param('SHOP_POOL', str)",
    ),
    Planted(
        "a line that fails", "import time", "import time\nfirst = [][0]", "it runs whenever the scenario is loaded"
    ),
    Planted("a scenario that exits", "import time", "import sys\nsys.exit(3)", "remove the call", at="sys.exit"),
    Planted(
        "a mistake in a helper",
        "    await user.http.post(",
        "    user.http.post(\n        ",
        "write `await user.http.post(...)`",
        file="helpers.py",
    ),
    # -- arguments ---------------------------------------------------------------------------------
    Planted("an argument that is misspelt", "    slos=[", "    slo=[", 'did you mean "slos"?'),
    Planted(
        "an argument of a load that is misspelt", 'to="2/s", over="4s"', 'to="2/s", ovr="4s"', 'did you mean "over"?'
    ),
    Planted("an argument that is missing", 'ramp(to="2/s", over="4s")', 'ramp(to="2/s")', "write ramp(over=...)"),
    Planted("an argument of an objective that is misspelt", "p(95) <", 'p(95, stp="login") <', 'did you mean "step"?'),
    Planted("a load that is text", 'arrivals().ramp(to="2/s", over="4s").hold("10s")', '"2/s"', "write load=arrivals("),
    Planted("a rate of an unknown unit", 'to="2/s"', 'to="2/sec"', 'write "200/s"'),
    Planted("a duration of an unknown unit", 'hold("10s")', 'hold("10 minutes")', 'write "500ms"'),
    Planted(
        "a load without a duration", 'arrivals().ramp(to="2/s", over="4s").hold("10s")', 'arrivals("2/s")', ".hold("
    ),
    Planted("a target without http", '"https://shop.example"', '"shop.example"', 'write "http://shop.example"'),
    Planted("a target with a password", "https://shop", "https://me:pw@shop", "send them in a header"),
    Planted("a warm-up of the whole load", "set_up=prepare", 'warmup="1m"', "a shorter warm-up"),
    Planted("no time for a request", "set_up=prepare", "timeout=0", 'write timeout="60s"'),
    Planted("no users", "set_up=prepare", "max_users=0", "at least 1"),
    Planted(
        "a set-up that is not async",
        "async def prepare(user: User) -> None:\n    await",
        "def prepare(user: User) -> None:\n   ",
        "write `async def prepare",
    ),
    Planted(
        "a set-up with too many arguments",
        "prepare(user: User)",
        "prepare(user: User, row: str)",
        "write `async def prepare(user: User)`",
    ),
    Planted("a certificate that is not there", "set_up=prepare", 'ca="ca.pem"', "put the file into"),
    Planted("a tag that is no header", "set_up=prepare", 'tags=["x-cache"]', 'write "header:x-cache"'),
    Planted("a share of traces that is none", "set_up=prepare", 'trace="some"', 'write trace="1%"'),
    Planted("a proxy with a password", "set_up=prepare", 'http=Http(proxy="http://me:pw@p")', 'secret("proxy-login")'),
    Planted(
        "a private key that would travel", "set_up=prepare", 'http=Http(cert="client.pem")', 'secret("client-key")'
    ),
    Planted("a policy of connections that is none", "set_up=prepare", 'connections="pooled"', '"shared:50"'),
    Planted("a setting without a value", "int, default=4)", "int)", "run with -P pool=..."),
    Planted("a setting of an impossible type", "int, default=4)", "list, default=[])", "use int, float, str or bool"),
    Planted("a default of another type", "default=4", 'default="4"', "write default=4"),
    # -- journeys ----------------------------------------------------------------------------------
    Planted("a request without await", 'await user.http.get("/")', 'user.http.get("/")', "write `await user.http.get"),
    Planted("a pause without await", "await user.think(1, 3)", "user.think(1, 3)", "write `await user.think(...)`"),
    Planted("an answer without await", "reply = await user", "reply = user", "write `reply = await user.http.get"),
    Planted(
        "a check before the await",
        'await user.http.get("/")',
        'await user.http.get("/").expect(status=200)',
        "write `(await user.http.get(...)).expect`",
    ),
    Planted(
        "a step with a plain with", 'async with user.step("login")', 'with user.step("login")', "write `async with"
    ),
    Planted(
        "a step that is not entered",
        "    orders.add()",
        '    user.step("order")\n    orders.add()',
        "write `async with",
    ),
    Planted(
        "a journey that is not async",
        'async def look(user: User) -> None:\n    await user.http.get("/")',
        "def look(user: User) -> None:\n    pass",
        "write `async def look(...)`",
        at=LOOK,
    ),
    Planted(
        "a journey that does not take its row",
        "checkout(user: User, shopper: Shopper)",
        "checkout(user: User)",
        "write `async def checkout(user: User, row: Row)`",
        at="@journey(data",
    ),
    Planted(
        "a journey that takes a row and has no data",
        "look(user: User)",
        "look(user: User, row: Shopper)",
        "write `async def look(user: User)`",
        at=LOOK,
    ),
    Planted(
        "a function that is not a journey",
        "@journey\nasync def look",
        "async def look",
        "write @journey above `async def look`",
        at="mix=",
    ),
    Planted("a journey that is called", "look: 3", "look(): 3", "write the name of the journey without ()"),
    Planted("a journey named by text", "look: 3", '"look": 3', "without quotes"),
    Planted("two journeys of one name", "@journey\n", '@journey(name="checkout")\n', '@journey(name="...")', at="mix="),
    Planted("a state that is a value", "@journey\n", "@journey(state=3)\n", "pass what creates the state"),
    Planted(
        "something that a user has not", 'await user.http.get("/")', 'await user.htp.get("/")', 'did you mean "http"?'
    ),
    Planted(
        "a method that a client has not", 'await user.http.get("/")', 'await user.http.gett("/")', 'did you mean "get"?'
    ),
    Planted(
        "an option that a request has not",
        'await user.http.get("/")',
        'await user.http.get("/", header={})',
        'did you mean "headers"?',
    ),
    Planted("a value kept on the user", 'await user.http.get("/")', "user.token = 3", "@journey(state=Session)"),
    Planted(
        "a target that the plan does not have",
        'await user.http.get("/")',
        'await user.to("api").get("/")',
        "write Plan(targets=",
    ),
    Planted(
        "sleeping instead of thinking",
        "await user.think(1, 3)",
        "time.sleep(1)",
        "write `await user.think",
    ),
    Planted(
        "sleeping that counts as response",
        "await user.think(1, 3)",
        "await asyncio.sleep(1)",
        "write `await user.think",
        is_warning=True,
    ),
    Planted("a metric within a journey", "    orders.add()", '    counter("orders").add()', "at the top of the file"),
    # -- data --------------------------------------------------------------------------------------
    Planted("a column of another name", "email,age", "mail,age", 'did you mean "mail"?', file="shoppers.csv"),
    Planted("a file with semicolons", "email,age", "email;age", "delimiter=';'", file="shoppers.csv"),
    Planted(
        "a cell of another type",
        "u1@example.com,21",
        "u1@example.com,old",
        'expected int, got "old"',
        file="shoppers.csv",
    ),
    Planted(
        "a row with a cell too many",
        "u1@example.com,21",
        "u1@example.com,21,x",
        "the header has 2",
        file="shoppers.csv",
    ),
    Planted("a file without rows", SHOPPERS, "email,age\n", "no rows", file="shoppers.csv"),
    Planted("a file that is not there", '"shoppers.csv"', '"shopers.csv"', 'did you mean "shoppers.csv"?'),
    Planted("a schema that is none", "Shopper).unique()", "dict).unique()", "a dataclass"),
    Planted(
        "rows that are too few",
        'over="4s").hold("10s")',
        'over="4s").hold("1m")',
        "add rows, lower the load",
        at="feed.csv(",
    ),
    Planted("rows that are both unique and random", ".unique()", ".unique().random()", "unique().shuffle()"),
    # -- objectives --------------------------------------------------------------------------------
    Planted("an objective on an unknown step", "p(95) <", 'p(95, step="brwse") <', 'did you mean "browse"?'),
    Planted("an objective on an unknown journey", "p(95) <", 'p(95, journey="chekout") <', 'did you mean "checkout"?'),
    Planted(
        "an objective on an unknown request",
        "p(95) <",
        'p(95, request="GET /product") <',
        'did you mean "GET /products"?',
    ),
    Planted("an objective on an unknown region", "p(95) <", 'p(95, region="ue") <', "eu"),
    Planted("the limit has no unit", '"300ms"', "300", 'write p(95) < "300ms"'),
    Planted("a limit of a percentile in percent", '"300ms"', '"3%"', "300ms"),
    Planted("a negative ratio", '"1%"', '"-1%"', "write error_ratio() <"),
    Planted("a percentile as a share", "p(95)", "p(0.95)", "write p(95)"),
    Planted("an objective with an operator of counts", "p(95) <", "p(95) <=", 'write p(95) < "300ms"'),
    Planted("a window longer than the run", "p(95) <", 'p(95, window="1m") <', "a shorter window"),
    Planted("an objective that is no comparison", 'p(95) < "300ms"', '"p95 < 300ms"', "write p(95) <", at='"p95'),
    # -- weights and loads ---------------------------------------------------------------------------
    Planted("weights that are 0", "checkout: 1, look: 3", "checkout: 0, look: 0", "above 0"),
    Planted("a weight that is text", "look: 3", 'look: "3"', "write a finite number of at least 0"),
    Planted("a region with a negative weight", '"us": 1', '"us": -1', "write 0 for no load, or a number above 0"),
    Planted("two loads of one name", LOAD, LOADS.replace('"spike"', '"base"'), "rename one"),
    Planted(
        "a load that begins before the run",
        LOAD,
        LOADS.replace('"2s"', '"-2s"'),
        "a load cannot start before its run",
        at='"-2s"',
    ),
    Planted(
        "loads beside a load",
        "set_up=prepare",
        'loads=[Load(look, arrivals("1/s").hold("1s"))]',
        "move load and mix into loads",
    ),
    Planted("something in loads that is none", LOAD, "loads=[look],", "write loads=[Load("),
    # -- secrets and metrics -------------------------------------------------------------------------
    Planted(
        "a secret that is not given",
        "orders = counter",
        'TOKEN = secret("planted-token")\norders = counter',
        "LOADGEN_SECRET_PLANTED_TOKEN",
        checks_secrets=True,
    ),
    Planted("a metric that changes its type", "POOL =", 'again = gauge("orders")\nPOOL =', "rename one of them"),
]


def planted_in(folder: Path, case: Planted) -> tuple[Path, int]:
    """The files with the mistake, and the line that has to be told."""
    texts = {"scenario.py": SCENARIO, "helpers.py": HELPERS, "shoppers.csv": SHOPPERS}
    before = texts[case.file]
    assert case.old in before
    after = texts[case.file] = before.replace(case.old, case.new, 1)
    for name, text in texts.items():
        (folder / name).write_text(text)
    lines, old_lines = after.splitlines(), before.splitlines()
    if case.at:
        fits = (lambda line: line == LOOK) if case.at == LOOK else (lambda line: case.at in line)
        return folder / "scenario.py", 1 + next(i for i, line in enumerate(lines) if fits(line))
    changed = (i for i, (a, b) in enumerate(zip(lines, old_lines, strict=False)) if a != b)
    return folder / "scenario.py", 1 + next(changed, len(lines) - 1)


def found_by(path: Path, case: Planted) -> tuple[tuple[Fault, ...], bool]:
    """What is told, and whether the scenario is refused."""
    try:
        return load(path, check_secrets=case.checks_secrets).warnings, False
    except ScenarioError as error:
        return error.faults, True


def test_the_scenario_without_mistakes_is_right(tmp_path: Path) -> None:
    path, _ = planted_in(tmp_path, Planted("none", "Checkout", "Checkout", ""))
    assert load(path).warnings == ()


def test_there_are_enough_mistakes() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 40


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_a_planted_mistake_is_one_message_with_file_line_and_what_to_do(tmp_path: Path, case: Planted) -> None:
    path, line = planted_in(tmp_path, case)
    told, is_refused = found_by(path, case)
    shown = "\n".join(map(str, told))
    assert [(Path(fault.file).name, fault.line) for fault in told] == [(case.file, line)], shown
    assert case.advice in f"{told[0].message} | {told[0].hint}", shown
    assert is_refused is not case.is_warning
