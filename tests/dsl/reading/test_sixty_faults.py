"""Sixty faults that people make who come from k6 or Locust, or who are in a hurry: each is found before anything runs.

No target is needed, and no journey runs. A case is the body of a journey, lines of the module, or arguments of
the plan. The message is at the line that ends with `# here`, or else at the first line of the case; it says what
to write. One fault is one message.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import pytest

from loadgen import reply
from loadgen.dsl.loading.loader import load
from loadgen.errors import Fault, ScenarioError

HEAD = """
import asyncio
import random
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import requests

from loadgen import (
    ExpectFailed, Load, Plan, User, any_of, arrivals, counter, error_ratio, feed, file, gauge, gql, iterations, journey,
    lognormal, none_of, p, param, per_load, prompt, rate, secret, shared_prefix, tag, trend, uniform, users, zipf,
)

ORDERS = counter("orders")
FAILED = rate("failed checks")
BASKET = trend("basket", unit="EUR")
STOCK = gauge("stock")
DEPTH = per_load("depth", int, default=3)
TENANT = tag("tenant", "gold", "free")
CACHE = tag("cache", header="x-cache")
BASE = "https://api.shop.example"
ITEMS = [1, 2, 3]


def is_fast() -> bool:
    return True


@dataclass(frozen=True)
class Shopper:
    email: str
    age: int


@journey
async def browse(user: User) -> None:
    async with user.step("list"):
        await user.http.get("/", expect=200)


@journey
async def buy(user: User) -> None:
    await user.http.post("/cart", json={"n": 1}, expect=201)


"""
PLAN = {"target": '"https://shop.example"', "load": 'arrivals("10/s").hold("1m")', "mix": "{browse: 3, buy: 1}"}
HERE = "# here"


@dataclass(frozen=True)
class Case:
    """A fault. body: of a journey; module: lines of the file; plan: an argument of the plan, name and source text."""

    name: str
    advice: str
    body: str = ""
    module: str = ""
    plan: tuple[str, str] | None = None
    data: str = ""
    """Content of rows.csv; the fault is then in its last line."""
    is_warning: bool = False
    """The fault is reported, and the scenario can run."""

    def write(self, folder: Path) -> tuple[Path, int]:
        """Write the scenario, and return the file and line at which the fault is."""
        text = HEAD
        if self.body:
            text += "@journey\nasync def faulty(user: User) -> None:\n"
        first = text.count("\n") + 1
        text += indent(dedent(self.body), "    ") if self.body else dedent(self.module)
        text += "\n\nplan = Plan(\n"
        for name, value in (PLAN | dict([self.plan] if self.plan else [])).items():
            if self.plan is not None and self.plan[0] == name:
                first = text.count("\n") + 1
            text += f"    {name}={value},\n"
        path = folder / "scenario.py"
        path.write_text(text + ")\n")
        marked = [number for number, line in enumerate(text.splitlines(), 1) if line.endswith(HERE)]
        if self.data:
            (folder / "rows.csv").write_text(self.data)
            return folder / "rows.csv", self.data.count("\n")
        return path, marked[0] if marked else first


ROWS = """\
ROWS = feed.csv("rows.csv", Shopper)

@journey(data=ROWS)
async def faulty(user: User, row: Shopper) -> None:
    pass
"""

HELPERS = """\
async def log_in(user: User) -> None:
    await user.http.post("/login", json={"n": 1}, expect=200)


class Shop:
    def __init__(self, user: User) -> None:
        self.user = user

    async def log_in(self) -> None:
        await log_in(self.user)

    async def visit(self) -> None:
        await self.log_in()


"""


def with_helpers(body: str) -> str:
    """Return lines of a module: the helpers above, and a journey `faulty` with this body."""
    return HELPERS + "@journey\nasync def faulty(user: User) -> None:\n" + indent(dedent(body), "    ")


CASES = [
    # -- calls in a journey, also in a branch that no trial enters -----------------------------------
    Case("think times the wrong way round", "write think(1, 3)", "await user.think(3, 1)"),
    Case("a think time without unit", 'write "500ms"', 'await user.think("2 secs")'),
    Case("a negative think time", "at least 0", "await user.think(-1)"),
    Case("a think time without a time", "write await user.think(1, 3)", "await user.think()"),
    Case("a distribution the wrong way round", "write uniform(1, 3)", "await user.think(uniform(3, 1))"),
    Case("a status that is none", "write expect=200", 'await user.http.get("/", expect=99)'),
    Case("a status as text", "write expect=200", 'await user.http.get("/", expect="200")'),
    Case("a range of statuses that ends too late", "100 to 599", 'await user.http.get("/", expect=range(200, 700))'),
    Case("one accepted status", "write accept={404}", 'await user.http.get("/", accept=404)'),
    Case(
        "an expectation as text",
        "write status=200",
        """
        reply = await user.http.get("/")
        reply.expect(status="200")  # here
        """.lstrip("\n"),
    ),
    Case(
        "a JSONPath that does not parse",
        'write "$.items[0].id"',
        """
        reply = await user.http.get("/")
        if reply.status_code == 418:
            reply.pick("$.items[")  # here
        """.lstrip("\n"),
    ),
    Case(
        "a selector that does not parse",
        'write "css:input[name=csrf]@value"',
        """
        reply = await user.http.get("/")
        token = reply.expect(status=200).pick("css:input[")  # here
        """.lstrip("\n"),
    ),
    Case("a path without $", 'write "$.token"', 'token = (await user.http.get("/")).pick("token")'),
    Case("a pattern that does not parse", "put \\ before", 'found = re.search("(", "text")'),
    Case("a wait without an end", "until=", 'await user.poll(lambda: user.http.get("/job"), name="job")'),
    Case("a wait without a name", 'name="job"', 'await user.poll(lambda: user.http.get("/job"), until=bool)'),
    Case(
        "a wait without time",
        'write timeout="2m"',
        'await user.poll(lambda: user.http.get("/job"), until=bool, name="job", timeout=0)',
    ),
    Case("a step without a name", 'write async with user.step("login"):', "async with user.step():\n    pass"),
    Case("a step with an empty name", "that is not empty", 'async with user.step(""):\n    pass'),
    Case(
        "a step within the same step",
        "give it another name",
        """
        async with user.step("login"):
            async with user.step("login"):  # here
                await user.http.get("/")
        """.lstrip("\n"),
    ),
    Case("a request without a path", 'write await user.http.get("/path")', "await user.http.get()"),
    Case("a scheme that is none", "begins with http://", 'await user.http.get("htp://shop.example/")'),
    Case("a time-out in other words", 'write "500ms"', 'await user.http.get("/", timeout="5 seconds")'),
    Case("a header that is a number", 'write "3"', 'await user.http.get("/", headers={"X-Version": 3})'),
    Case(
        "an option of requests", 'did you mean "follow_redirects"?', 'await user.http.get("/", allow_redirects=False)'
    ),
    Case("a check without a condition", "user.check(", 'user.check("cart is full")'),
    Case("a query that does not parse", 'gql("query Name', 'await user.http.post("/", json=gql("query {"))'),
    Case("a request without await", "write `await user.http.get", 'user.http.get("/")'),
    Case("a rendez-vous of nobody", "users=100", 'await user.rendezvous("sale", users=0)'),
    Case(
        "a fault in a function within a journey",
        "write expect=200",
        """
        async def part() -> None:
            await user.http.get("/", expect=20)  # here
        await user.gather(part(), part())
        """.lstrip("\n"),
    ),
    Case(
        "an attribute of another library",
        'did you mean "status_code"?',
        'reply = await user.http.get("/")\nprint(reply.status)  # here',
    ),
    Case(
        "a limit as text", "write max_ms=300", 'reply = await user.http.get("/")\nreply.expect(max_ms="300ms")  # here'
    ),
    Case("a method that is not called", "write user.fail(...)", "user.fail"),
    Case("a request as a context", "write `reply = await", 'async with user.http.get("/") as reply:\n    pass'),
    Case("a stream that is not entered", "async with", 'async for piece in user.http.stream("GET", "/"):\n    pass'),
    Case("a call instead of a function", "lambda:", 'await user.poll(user.http.get("/"), until=bool, name="job")'),
    Case("a list of calls", "*calls", 'await user.gather([user.http.get("/"), user.http.get("/a")])'),
    Case("results instead of calls", "remove the `await`", 'await user.gather(await user.http.get("/"))'),
    Case("a URL without a colon", "http:// or https://", 'await user.http.get("http//shop.example/")'),
    Case("a trait that is a number", "fixed(2)", 'user.trait("speed", 3)'),
    Case("a state that is not declared", "@journey(state=Session)", "user.state.sku = 3"),
    Case("a client that is new each time", "module level", "redis = user.client(lambda user: 3)"),
    Case("a secret in a header", ".reveal()", 'await user.http.get("/", headers={"X-Token": secret("token")})'),
    Case("a client of Locust", "write user.http.get(...)", 'await user.client.get("/products")'),
    # -- calls that nothing awaits --------------------------------------------------------------------
    Case("a helper without await", "write `await log_in(...)`", module=with_helpers("log_in(user)  # here")),
    Case(
        "a helper without await in a branch",
        "write `await log_in(...)`",
        module=with_helpers("if user.number == 17:\n    log_in(user)  # here"),
    ),
    Case(
        "a helper whose result is not read", "write `await log_in", module=with_helpers("done = log_in(user)  # here")
    ),
    Case("a helper as a condition", "write `await log_in", module=with_helpers("if log_in(user):  # here\n    return")),
    Case(
        "a method without await",
        "write `await shop.log_in",
        module=with_helpers("shop = Shop(user)\nshop.log_in()  # here"),
    ),
    Case("a method of a new object", "write `await Shop(user)", module=with_helpers("Shop(user).log_in()  # here")),
    Case(
        "a method of a client without await",
        "write `await shop.log_in",
        module=with_helpers("shop = user.client(Shop)\nshop.log_in()  # here"),
    ),
    Case(
        "a method of self without await",
        "write `await self.log_in",
        module=HELPERS.replace("        await self.log_in()", "        self.log_in()  # here"),
    ),
    Case(
        "a helper of a helper without await",
        "write `await log_in",
        module=HELPERS.replace("        await log_in(self.user)", "        log_in(self.user)  # here"),
    ),
    Case(
        "a function within a journey without await",
        "write `await part",
        """
        async def part() -> None:
            await user.http.get("/")
        part()  # here
        """.lstrip("\n"),
    ),
    Case(
        "requests of a comprehension that are only counted",
        "user.gather",
        'replies = [user.http.get(path, name="page") for path in ("/", "/a")]  # here\n'
        'user.check("all", len(replies) == 2)',
    ),
    Case(
        "requests of a comprehension that are read as replies",
        "user.gather",
        """
        replies = [user.http.get("/") for _ in range(3)]  # here
        for reply in replies:
            print(reply.text)
        """.lstrip("\n"),
    ),
    Case("a reply that is not read", "write `await user.http.get", 'reply = user.http.get("/")'),
    Case("asyncio.sleep without await", "write `await asyncio.sleep", "asyncio.sleep(1)"),
    Case(
        "a call of a helper instead of a function",
        "lambda: log_in(user)",
        module=with_helpers('await user.poll(log_in(user), until=bool, name="job")  # here'),
    ),
    Case(
        "a helper with await that is not async",
        "write `async def enter`",
        module=HELPERS + "def enter(user: User) -> None:\n    log_in(user)  # here\n",
    ),
    Case("an async function that the module calls", "set_up=...", module=HELPERS + "log_in(None)  # here\n"),
    # -- values of other tools, and literal misuse ---------------------------------------------------
    Case("a think time as a range in text", "write think(1, 3)", 'await user.think("1s-3s")'),
    Case("a think time as a range in ms", 'write think("200ms", "500ms")', 'await user.think("200-500ms")'),
    Case("a think time as a pair", "write think(1, 3)", "await user.think((1, 3))"),
    Case(
        "an interval of polls in ms",
        'every: 500 s is longer than the time-out, 2m, so there is a single poll | write every="500ms"',
        'await user.poll(lambda: user.http.get("/job"), until=bool, every=500, name="job")',
    ),
    Case(
        "an interval of polls that is longer than the time-out",
        "write a shorter every=, or a longer timeout=",
        'await user.poll(lambda: user.http.get("/job"), until=bool, every="1m", timeout="30s", name="job")',
    ),
    Case(
        "a poll until True",
        "write until=lambda reply:",
        'await user.poll(lambda: user.http.get("/job"), until=True, name="job")',
    ),
    Case("gathered lambdas", "call it: remove lambda:", 'await user.gather(lambda: user.http.get("/"), lambda: 3)'),
    Case("a gathered function", "write user.gather(is_fast(...), ...)", "await user.gather(is_fast)"),
    Case(
        "a check of k6",
        'write user.check("status is 200", reply.status_code == 200), user.check("is fast", reply.elapsed < 1): one',
        """
        reply = await user.http.get("/")
        user.check(reply, {"status is 200": lambda r: r.status == 200, "is fast": lambda r: r.elapsed < 1})  # here
        """.lstrip("\n"),
    ),
    Case("a check of a number", "the name must be a text, got 3", "user.check(3, True)"),
    Case("a check of a lambda", "remove lambda:", 'user.check("is fast", lambda: 1 < 2)'),
    Case("a check of a lambda with a computed name", "remove lambda:", 'user.check(f"is fast {DEPTH}", lambda: 1 < 2)'),
    Case("a check of a function", "write is_fast(...)", 'user.check("is fast", is_fast)'),
    Case(
        "a check of a method",
        "write reply.json(...)",
        'reply = await user.http.get("/")\nuser.check("is there", reply.json)  # here',
    ),
    Case("a setting as text", "write user.setting(depth)", 'user.setting("depth")'),
    Case(
        "a group of JavaScript",
        "write (?P<csrf>...)",
        'reply = await user.http.get("/")\nreply.pick(\'regex:value="(?<csrf>[^"]*)"\')  # here',
    ),
    Case("a group of JavaScript for re", "write (?P<csrf>...)", "found = re.search('(?<csrf>a)', 'text')"),
    Case(
        "an attribute of XPath",
        'write "css:input[name=csrf]@value"',
        'reply = await user.http.get("/")\nreply.pick("css:input[name=csrf]/@value")  # here',
    ),
    Case(
        "a regex with an open bracket",
        "put \\ before",
        'reply = await user.http.get("/")\nreply.pick("regex:id=(")  # here',
    ),
    Case("a path of k6", 'write "$.data.token"', 'reply = await user.http.get("/")\nreply.pick("data.token")  # here'),
    Case("json that is not called", "write reply.json()", 'reply = await user.http.get("/")\nreply.json["a"]  # here'),
    Case(
        "json that is compared", "write reply.json()", 'reply = await user.http.get("/")\nok = reply.json == {}  # here'
    ),
    Case("json that is awaited", "remove `await`", 'reply = await user.http.get("/")\nawait reply.json()  # here'),
    Case(
        "a value recorded as elsewhere", "write BASKET.add(0.5)", "if user.number == 7:\n    BASKET.record(1)  # here"
    ),
    Case("a gauge that is added to", "write STOCK.set(3)", "STOCK.add(1)"),
    Case("a counter that is increased", "write ORDERS.add(1)", "ORDERS.inc()"),
    Case("a body as elsewhere", '"json", "content" or "data"', 'await user.http.post("/", body={"a": 1})'),
    Case(
        "an unknown option in a cut list",
        " more",
        'await user.http.post("/", zzz=1)',
    ),
    Case("a measured call", "indent the code", 'await user.measure("sign", asyncio.to_thread(str.upper, "a"))'),
    Case(
        "two results instead of calls",
        "user.gather(user.http.get('/'), user.http.get('/a'))",
        'await user.gather(await user.http.get("/"), await user.http.get("/a"))',
    ),
    # -- prompts ------------------------------------------------------------------------------------
    Case("a prompt without tokens", "tokens=0 must be 1 to 10,000,000", "user.text_of(prompt(tokens=0))"),
    Case("a prompt of too many tokens", "must be 1 to 10,000,000", "user.text_of(prompt(tokens=10_000_001))"),
    Case("a prompt of a negative length", "tokens=-1 must be", "user.text_of(prompt(-1))"),
    Case("a prompt of a text", "is not a whole number or a distribution", 'user.text_of(prompt("Hello"))'),
    Case("a text instead of a prompt", "write user.text_of(prompt(tokens=1024))", 'user.text_of("Hello")'),
    Case(
        "a prefix without groups",
        "groups=0 must be a whole number from 1",
        'user.text_of(shared_prefix("policy", groups=0, pick=zipf(1.2)))',
    ),
    Case("a rule that picks no group", "must be a number from 0 to 10", 'shared_prefix("policy", pick=zipf(-1))'),
    Case("a prefix without a name", "needs name", "user.text_of(shared_prefix(tokens=2048))"),
    Case("a prompt of the module", "tokens=0 must be", module="LONG = prompt(tokens=0)  # here"),
    # -- code that spoils the measurement -------------------------------------------------------------
    Case("sleep of Locust", "write `await user.think", "time.sleep(1)"),
    Case("requests of Locust", "write `await user.http.get", 'requests.get("https://shop.example/")'),
    Case("a program that blocks", "asyncio.to_thread", 'subprocess.run(["ls"])'),
    Case("a large file", 'file("...")', 'data = open("large.json").read()'),
    Case("a large file by its path", 'file("...")', 'data = Path("large.json").read_text()'),
    Case("an event loop in the event loop", "write `await` instead", 'asyncio.run(user.http.get("/"))'),
    Case("a task that nobody awaits", "user.gather", 'asyncio.create_task(user.http.get("/"))'),
    Case(
        "assert instead of a check",
        "reply.expect(status=200)",
        """
        reply = await user.http.get("/")
        assert reply.status_code == 200  # here
        """.lstrip("\n"),
    ),
    Case("random numbers without a seed", "write user.random.choice", 'sku = random.choice(["a", "b"])'),
    Case("a generator without a seed", "random.Random(user.arrival)", "sku = random.Random().choice(ITEMS)"),
    Case("random numbers of a library", "write user.random.rand", "import numpy as np\nsku = np.random.rand()  # here"),
    Case("a task that nobody reads", "user.gather", 'task = asyncio.create_task(user.http.get("/"))'),
    Case(
        "a body that is asserted",
        "reply.expect",
        """
        reply = await user.http.get("/")
        assert "Welcome" in reply.text  # here
        """.lstrip("\n"),
    ),
    Case(
        "failures that are only printed",
        "remove it",
        """
        try:
            await user.http.get("/")
        except Exception as error:  # here
            print(error)
        """.lstrip("\n"),
    ),
    Case("a counter that all users share", "counter(", "global TOTAL\nTOTAL = 1  # here", is_warning=True),
    Case("a list that all users share", "@journey(state=...)", "ITEMS.append(4)", is_warning=True),
    Case(
        "failures that nobody sees",
        "remove it",
        """
        try:
            await user.http.get("/")
        except Exception:  # here
            pass
        """.lstrip("\n"),
    ),
    Case(
        "a row for each item",
        'add name="/items/{item}"',
        """
        item = user.random.randrange(1_000)
        await user.http.get(f"/items/{item}?q={item}")  # here
        """.lstrip("\n"),
    ),
    Case(
        "a name for each item",
        'write name="/items/{item}", without f',
        """
        item = user.random.randrange(1_000)
        await user.http.get(f"/items/{item}", name=f"/items/{item}")  # here
        """.lstrip("\n"),
    ),
    # -- the module -----------------------------------------------------------------------------------
    Case(
        "two journeys of one function name",
        "rename one",
        module="@journey\nasync def browse(user: User) -> None:  # here\n    await user.http.get('/')\n",
    ),
    Case(
        "two journeys of one given name",
        '@journey(name="...")',
        module='@journey(name="buy")\nasync def order(user: User) -> None:\n    await user.http.get("/")\n',
    ),
    Case(
        "a journey that is not async", "write `async def", module="@journey\ndef visit(user: User) -> None:\n    pass\n"
    ),
    Case("a journey without a user", "(user: User)", module="@journey\nasync def visit() -> None:\n    pass\n"),
    Case(
        "a helper that is not async",
        "write `async def log_in`",
        module='def log_in(user: User) -> None:\n    user.http.get("/")  # here\n',
    ),
    Case(
        "a row without data",
        "@journey(data=feed.csv(",
        module="@journey\nasync def visit(user: User, row: Shopper) -> None:\n    pass\n",
    ),
    Case("a user class of Locust", "docs/coming-from/locust.md", module="from loadgen import HttpUser\n"),
    Case("a wait of Locust", "write `await user.think(1, 3)`", module="from loadgen import between\n"),
    Case("a task of Locust", "write `@journey`", module="from loadgen import task\n"),
    Case("a constant wait of Locust", "user.think", module="from loadgen import constant\n"),
    Case("sleep of k6", "user.think", module="from loadgen import sleep\n"),
    Case("check of k6", "user.check(", module="from loadgen import check\n"),
    Case("group of k6", "docs/coming-from/k6.md", module="from loadgen import group\n"),
    Case("a pause of Gatling", "user.think", module="from loadgen import pause\n"),
    Case("a request outside of a journey", "@journey above it", module='user.http.get("/")'),
    Case(
        "a setting with two defaults",
        "read it once",
        module='SIZE = param("size", int, default=3)\nAGAIN = param("size", int, default=4)  # here\n',
    ),
    Case("a pattern of the module that does not parse", "put \\ before", module='TOKEN = re.compile("(")'),
    Case("a file of data that is missing", "put the file into", module=ROWS.replace("rows.csv", "missing.csv")),
    Case("a column that is missing", 'did you mean "mail"?', module=ROWS, data="mail,age\n"),
    Case(
        "a bad value in line 7",
        'got "old"',
        module=ROWS,
        data="email,age\n" + "".join(f"{n}@shop.example,{n}\n" for n in range(5)) + "x@shop.example,old\n",
    ),
    Case("a secret in a text", ".reveal()", module='TOKEN = secret("token")\nHEADER = f"Bearer {TOKEN}"  # here\n'),
    # -- the plan -------------------------------------------------------------------------------------
    Case("a hold of no time", 'write hold("1m")', plan=("load", 'arrivals("1/s").hold("0s")')),
    Case("no users", "write users(10)", plan=("load", 'users(0).hold("10s")')),
    Case("no arrivals", 'write arrivals("10/s")', plan=("load", 'arrivals("0/s").hold("10s")')),
    Case("a ramp by position", "write ramp(to=..., over=...)", plan=("load", 'arrivals("1/s").ramp("5/s", "1m")')),
    Case("a rate of k6", 'write "200/s"', plan=("load", 'arrivals("10 per second").hold("1m")')),
    Case("a mix as a list", "write mix={browse: 1, buy: 1}", plan=("mix", "[browse, buy]")),
    Case("a metric in the objectives", 'write counter("orders").total()', plan=("slos", "[ORDERS]")),
    Case("a limit on a metric", ".ratio()", plan=("slos", '[FAILED < "1%"]')),
    Case("a percentile of 950", "write p(95)", plan=("slos", '[p(950) < "300ms"]')),
    Case("a limit in an unknown unit", 'write p(95) < "300ms"', plan=("slos", '[p(95) < "300msec"]')),
    Case("an objective on a misspelt step", 'did you mean "list"?', plan=("slos", '[p(95, step="lst") < "300ms"]')),
    Case(
        "objectives with and",
        "write each objective by itself",
        plan=("slos", '[p(95) < "1s" and error_ratio() < "1%"]'),
    ),
    Case("objectives with or", "write each objective by itself", plan=("slos", '[p(95) < "1s" or p(99) < "2s"]')),
    Case("a measure with or", "write each objective by itself", plan=("slos", '[p(95) or p(99) < "2s"]')),
    Case("an objective with not", "write each objective by itself", plan=("slos", '[not p(95) < "1s"]')),
    Case("a chain of comparisons", "write each objective by itself", plan=("slos", '["1ms" < p(95) < "1s"]')),
    Case("objectives that are filtered", "if x is not None", plan=("slos", 'list(filter(None, [p(95) < "1s", None]))')),
    Case("objectives that are tested", "if x is not None", plan=("slos", '[x for x in (p(95) < "1s", None) if x]')),
    Case("a statistic of k6", 'did you mean "total"?', plan=("slos", "[ORDERS.count() > 3]")),
    Case("a load of another word", 'did you mean "hold"?', plan=("load", 'arrivals("5/s").during("1m")')),
    Case("a set-up that is called", "remove the parentheses: set_up=", plan=("set_up", "browse.fn(None)")),
    Case("a region with a space", 'write "eu-west"', plan=("regions", '["eu west"]')),
    Case("a region with a line break", 'write "eu-west"', plan=("regions", '["eu\\nwest"]')),
    Case("a target without a scheme", 'write "http://shop.example"', plan=("target", '"shop.example"')),
    Case("a target of another scheme", "https://shop.example", plan=("target", '"ftp://shop.example"')),
    Case("an argument of k6", "use one of", plan=("vus", "10")),
    Case("an error ratio below 1", 'write error_ratio() < "1%"', plan=("slos", "[error_ratio() < 1]"), is_warning=True),
    Case(
        "a custom ratio below 100 %",
        'write rate("failed checks").ratio() < "1%"',
        plan=("slos", '[FAILED.ratio() < "100%"]'),
        is_warning=True,
    ),
    *(
        Case(
            f"a value that the tag does not have, in {slo}",
            'tag "tenant" has no value "platinum", only "gold", "free" | write one of these, or declare it',
            plan=("tags=[TENANT], slos", f"[{slo}]"),
        )
        for slo in (
            'p(95, tags={"tenant": "platinum"}) < "300ms"',
            'p(95, tags={TENANT: any_of("gold", "platinum")}) < "300ms"',
            'error_ratio(tags={"tenant": none_of("platinum")}) < "1%"',
            'ORDERS.total(tags={"tenant": "platinum"}) > 3',
        )
    ),
    Case("a set-up that is a journey", "without @journey", plan=("set_up", "browse")),
]


def found_in(path: Path) -> list[tuple[str, int, str]]:
    with pytest.raises(ScenarioError) as raised:
        load(path)
    assert raised.value.exit_code == 2
    return shown(raised.value.faults)


def shown(faults: Iterable[Fault]) -> list[tuple[str, int, str]]:
    return [(Path(fault.file).name, fault.line, f"{fault.message} | {fault.hint}") for fault in faults]


def test_there_are_sixty_faults() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 60


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_a_fault_is_one_message_with_file_line_and_what_to_write(tmp_path: Path, case: Case) -> None:
    file, line = case.write(tmp_path)

    path = tmp_path / "scenario.py"
    ((name, at, text),) = shown(load(path).warnings) if case.is_warning else found_in(path)

    assert (name, at) == (file.name, line), text
    assert case.advice in text


def test_a_start_before_the_run_is_found(tmp_path: Path) -> None:
    path = tmp_path / "scenario.py"
    path.write_text(HEAD + 'plan = Plan(BASE, loads=[Load(browse, arrivals("1/s").hold("1s"), after="-5s")])\n')

    ((_, _, text),) = found_in(path)

    assert "a load cannot start before its run" in text


def test_a_secret_that_is_not_given_is_found(tmp_path: Path) -> None:
    path = tmp_path / "scenario.py"
    path.write_text(HEAD + 'TOKEN = secret("sixty-faults")\nplan = Plan(BASE, arrivals("1/s").hold("1s"), browse)\n')

    with pytest.raises(ScenarioError, match="LOADGEN_SECRET_SIXTY_FAULTS"):
        load(path, check_secrets=True)


def test_an_unknown_argument_does_not_hide_the_other_faults(tmp_path: Path) -> None:
    path = tmp_path / "scenario.py"
    path.write_text(
        HEAD
        + dedent("""
        plan = Plan(
            "https://shop.example",
            arrivals("1/s").hold("1m"),
            browse,
            slo=[p(950) < "1s", ORDERS < 3, p(95) < "1x", nothing],
            regions=["eu west"],
            vus=3,
        )
        """)
    )

    texts = [text for _, _, text in found_in(path)]

    for part in ("'slo'", "p(950)", "'<' not supported", '"1x"', "'nothing' is not defined", "'eu west'", "'vus'"):
        assert sum(part in text for text in texts) == 1, (part, texts)
    assert len(texts) == 7


def test_an_argument_that_is_given_twice_is_named(tmp_path: Path) -> None:
    path = tmp_path / "scenario.py"
    path.write_text(HEAD + 'plan = Plan(BASE, arrivals("1/s").hold("1m"), browse, target=BASE)\n')

    ((_, _, text),) = found_in(path)

    assert "got multiple values for argument 'target'" in text


def test_faults_of_objectives_are_found_beside_a_load_that_fails(tmp_path: Path) -> None:
    path = tmp_path / "scenario.py"
    path.write_text(HEAD + 'plan = Plan(BASE, arrivals("1/s").holdd("1m"), browse, [p(95) < 3, error_ratio() < "x"])\n')

    texts = [text for _, _, text in found_in(path)]

    assert len(texts) == 3
    assert any('did you mean "hold"?' in text for text in texts)


# -- no false alarms ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        "await user.think(1, 3)",
        'await user.think("500ms", 2)',
        "await user.think(lognormal(1.4, .8) * user.trait('speed', lognormal(0, .3)))",
        "n = len(ITEMS)\nuser.text_of(shared_prefix('p', tokens=n, pick=zipf(0)) + prompt(tokens=lognormal(5, 1)))",
        'await user.http.get("/", expect={200, 404}, timeout="5s")',
        'await user.http.get("/", expect=range(200, 300), timeout=None, accept=(404,))',
        'await user.http.get(f"/items/{ITEMS[0]}")',
        'for n in range(3):\n    await user.http.get(f"/items/{n}")',
        'for word in ("a", "b"):\n    await user.http.get(f"/{word}", name=f"/{word}")',
        'await user.http.get(f"{BASE}/items")',
        'await user.http.get(f"/items?n={user.random.random()}")',
        'kind = user.random.choice(["a", "b"])\nawait user.http.get("/items", name=f"items {kind}")',
        'await user.http.post("/", files={"f": open("photo.jpg", "rb")})',
        'await user.http.get(url="/", expect=200)',
        'reply = await user.http.get("/")\nprint(reply.asked_ns, reply.events if reply.is_success else reply.links)',
        'reply = await user.http.get("/")\nassert reply.http_version == "HTTP/1.1"',
        'try:\n    await user.http.get("/")\nexcept ExpectFailed:\n    pass',
        'try:\n    await user.http.get("/")\nexcept Exception:\n    ORDERS.add()\n    raise',
        "try:\n    value = int('x')\nexcept Exception:\n    pass",
        "assert len(ITEMS) == 3",
        "numbers = random.Random(7)\nawait user.think(numbers.random())",
        "ITEMS = []\nITEMS.append(3)",
        "seen = {}\nseen['a'] = 1",
        'row = {"pick": str}\nrow["pick"]("$[")',
        'async with user.step("a"), user.step("b"):\n    pass\nasync with user.step("a"):\n    pass',
        'task = asyncio.create_task(user.http.get("/"))\nawait task',
        'calls = []\nfor n in range(3):\n    calls.append(user.http.get("/"))\nawait user.gather(*calls)',
        'calls = [user.http.get("/") for _ in range(3)]\nfor call in calls:\n    await call',
        'first, second = user.http.get("/"), user.http.get("/a")\nawait user.gather(first, second)',
        'call = user.http.get("/")\nreply = (await call).expect(status=200)',
        'call = None\nif user.number:\n    call = user.http.get("/")\nif call is not None:\n    await call',
        'calls = {"a": user.http.get("/")}\nawait calls["a"]',
        'async with asyncio.TaskGroup() as group:\n    group.create_task(user.http.get("/"))',
        'await asyncio.wait_for(user.http.get("/"), 3)',
        'call = user.http.get("/")\ncall.close()',
        "words = random.Random(user.arrival).sample(ITEMS, k=2)",
        'async with user.measure("signal"):\n    await asyncio.sleep(1)',
        "found = re.search(r'\\(', 'text')",
        "await asyncio.to_thread(time.sleep, 1)",
        "await asyncio.sleep(1)  # loadgen: allow",
        "time.sleep(1)  # loadgen: allow",
        "ITEMS.append(4)  # loadgen: allow",
        "global TOTAL\nTOTAL = 1  # loadgen: allow",
        'sku = random.choice(\n    ["a", "b"],\n)  # loadgen: allow',
        'reply = await user.http.get("/")\nreply = {"pick": 3}\nreply["pick"]',
        "options = {'expect': 99}\nawait user.http.get('/', **options)",
        "await user.gather(*(user.http.get('/') for _ in range(3)))",
        'await user.poll(lambda: user.http.get("/job"), until=bool, every=500, timeout="1h", name="job")',
        'await user.poll(lambda: user.http.get("/job"), until=bool, every="2m", name="job")',
        'await user.poll(lambda: user.http.get("/job"), until=is_fast, every=user.setting(DEPTH), name="job")',
        'user.check("is fast", is_fast())\nuser.check("is there", ITEMS)\nuser.check("is given", {"a": 3})',
        'is_fast = user.number\nuser.check("is fast", is_fast)',
        'reply = await user.http.get("/")\nuser.check("named", reply.json()["a"] == 1)\nreply.json().get("b")',
        'reply = await user.http.get("/")\nbody = await asyncio.to_thread(reply.json)\nread = reply.json\nread()["a"]',
        'async with user.http.stream("GET", "/") as reply:\n    await reply.aread()',
        'reply = await user.http.get("/")\nreply.pick("regex:(?P<csrf>a)|b")\nre.search("(?<=a)b|(?<!a)c", reply.text)',
        "BASKET.add(1.5)\nSTOCK.set(3)\nORDERS.add()\nFAILED.add(True)\nprint(ORDERS.name, BASKET.kind, STOCK.spec)",
        "BASKET = ITEMS.copy()\nBASKET.record = 3",
        "async def part() -> int:\n    return 3\nawait user.gather(part(), asyncio.sleep(0))  # loadgen: allow",
        'await user.think("1s", "3s")',
    ],
)
def test_what_is_right_or_cannot_be_known_is_not_reported(tmp_path: Path, body: str) -> None:
    path, _ = Case("", "", body).write(tmp_path)

    assert load(path).warnings == ()


@pytest.mark.parametrize(
    "module",
    [
        with_helpers("await log_in(user)\nawait Shop(user).log_in()"),
        with_helpers("await user.gather(log_in(user), Shop(user).log_in())"),
        with_helpers("task = asyncio.create_task(log_in(user))\nawait task"),
        with_helpers("return await log_in(user)"),
        with_helpers("await user.gather(*(log_in(user) for _ in range(3)))"),
        with_helpers("call = log_in(user)\nawait call"),
        with_helpers("calls = [log_in(user)]\ncalls += [log_in(user)]\nawait user.gather(*calls)"),
        with_helpers("shop = Shop(user)\nawait (shop.log_in() if user.number else log_in(user))"),
        # names that are something else here
        with_helpers("def log_in(user: User) -> None:\n    pass\nlog_in(user)"),
        with_helpers("log_in = print\nlog_in(user)"),
        with_helpers("shop: object = user.client(Shop)\nshop = print\nshop.log_in = print\nshop.log_in()"),
        "def plain(fn: object) -> object:\n    return print\n\n"
        "@plain\nasync def log_in(user: User) -> None:\n    pass\n\n"
        "@journey\nasync def faulty(user: User) -> None:\n    log_in(user)\n",
        "async def pages(user: User):\n    yield 1\n\n"
        "@journey\nasync def faulty(user: User) -> None:\n    found = pages(user)\n",
        HELPERS + "def start(user: User) -> object:\n    return log_in(user)\n",
        HELPERS + "START = lambda user: log_in(user)\n",
    ],
)
def test_helpers_that_are_awaited_somewhere_are_not_reported(tmp_path: Path, module: str) -> None:
    path, _ = Case("", "", module=module).write(tmp_path)

    assert load(path).warnings == ()


@pytest.mark.parametrize(
    "slo",
    [
        'p(95, tags={TENANT: any_of("gold", "free")}) < "300ms"',
        'p(95, tags={"tenant": none_of("(none)", "(other)")}) < "300ms"',
        'p(95, tags={CACHE: "HIT"}) < "300ms"',
        "error_ratio() < 0.99",
        'FAILED.ratio() > "99%"',
    ],
)
def test_right_objectives_are_not_reported(tmp_path: Path, slo: str) -> None:
    path, _ = Case("", "", plan=("tags=[TENANT, CACHE], slos", f"[{slo}]")).write(tmp_path)

    assert load(path).warnings == ()


def test_objectives_that_are_left_out_by_a_condition_are_right(tmp_path: Path) -> None:
    slos = '[x for x in (p(95) < "1s", None if ITEMS else p(99) < "1s") if x is not None]'
    path, _ = Case("", "", plan=("slos", slos)).write(tmp_path)

    assert [slo.objective.text for slo in load(path).plan.slos if slo.objective] == ["p(95) < 1s"]


def test_a_set_up_of_the_plan_may_block(tmp_path: Path) -> None:
    module = "async def prepare(user: User) -> None:\n    subprocess.run(['ls'], check=True)\n    time.sleep(1)\n"
    path, _ = Case("", "", module=module, plan=("set_up", "prepare")).write(tmp_path)

    assert load(path).warnings == ()


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_function_without_a_user_that_a_journey_calls_is_read_too(tmp_path: Path, kind: str) -> None:
    call = "await pause()" if kind == "async def" else "pause()"
    module = (
        f"{kind} pause():\n    time.sleep(1)  # here\n\n@journey\nasync def visit(user: User) -> None:\n    {call}\n"
    )
    path, line = Case("", "", module=module).write(tmp_path)

    ((_, at, text),) = found_in(path)

    assert at == line
    assert "blocks the event loop" in text


def test_a_function_that_no_journey_calls_gets_only_a_warning(tmp_path: Path) -> None:
    path, _ = Case("", "", module="async def pause() -> None:\n    time.sleep(1)\n    open('x')\n").write(tmp_path)

    (warning,) = load(path).warnings

    assert "time.sleep(...) blocks the event loop" in warning.message


def test_a_scenario_that_changes_a_variable_of_its_module_runs_with_a_warning(tmp_path: Path) -> None:
    path, line = Case("", "", 'ITEMS.append(4)  # here\nawait user.http.get("/")').write(tmp_path)

    (warning,) = load(path).warnings

    assert warning.line == line
    assert warning.message == (
        "ITEMS is changed by a journey, but each worker has its own ITEMS: results depend on the fleet"
    )
    assert "# loadgen: allow" in warning.hint


async def test_a_trial_runs_a_journey_that_changes_a_variable_of_its_module(tmp_path: Path) -> None:
    path = tmp_path / "trial_scenario.py"
    path.write_text(
        "from loadgen import User, journey\n\nSEEN = []\n\n@journey\nasync def seeing(user: User) -> None:\n"
        "    SEEN.append((await user.http.get('/')).status_code)\n"
    )
    names: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), names)

    assert (await names["seeing"].trial(replies={"GET /": reply(200)})).outcome == "ok"
    assert names["SEEN"] == [200]


async def test_a_trial_finds_the_faults_of_its_journey_only(tmp_path: Path) -> None:
    body = 'await user.http.get("/")\nif user.random.random() > 2:\n    await user.think(3, 1)  # here\n'
    path = tmp_path / "trial_scenario.py"
    path.write_text(
        "from loadgen import User, journey\n\n@journey\nasync def faulty(user: User) -> None:\n"
        + indent(body, "    ")
        + '\n@journey\nasync def good(user: User) -> None:\n    await user.http.get("/")\n'
    )
    names: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), names)

    assert (await names["good"].trial(replies={"GET /": reply(200)})).outcome == "ok"
    with pytest.raises(ScenarioError, match=r"think\(3, 1\)"):
        await names["faulty"].trial(replies={"GET /": reply(200)})
