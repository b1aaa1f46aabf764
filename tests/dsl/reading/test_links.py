"""What is wrong with `user.tcp`, `user.udp` and targets that are not HTTP is found when the scenario is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.dsl.loading.loader import load
from loadgen.errors import ScenarioError

TEXT = """\
from loadgen import Http, Plan, User, arrivals, first, fixed_size, journey, length_prefix, lines, p, until


@journey
async def ping(user: User) -> None:
    async with user.tcp("gate", frame=lines()) as link:
        await link.ask(b"PING", name="ping")
    await user.udp("dns").ask(b"who", match=first(2), timeout="1s")
    {line}


plan = Plan(
    targets={targets},
    mix={{ping: 1}},
    load=arrivals("5/s").hold("1s"),
    {more}
)
"""
TARGETS = '{"gate": "tcp://127.0.0.1:7000", "dns": "udp://127.0.0.1:53", "cache": "redis://127.0.0.1"}'


def faults(folder: Path, line: str = "pass", targets: str = TARGETS, more: str = "") -> list[str]:
    path = folder / "scenario.py"
    path.write_text(TEXT.format(line=line, targets=targets, more=more))
    try:
        load(path)
    except ScenarioError as error:
        return [f"{one.line} {one.message} | {one.hint}" for one in error.faults]
    return []


def test_a_plan_without_an_http_target_is_valid(tmp_path: Path) -> None:
    rows = ("ping", "TCP gate (connect)", "UDP dns")
    limits = ", ".join(f"p(95, request={row!r}) < '1s'" for row in rows)
    slos = f"slos=[{limits}],"
    assert faults(tmp_path, more=slos) == []


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ('async with user.tcp("gat", frame=lines()): pass', "has a target 'gat'", 'did you mean "gate"?'),
        ('user.udp("dsn").close()', "has a target 'dsn'", 'did you mean "dns"?'),
        ('user.target("cash")', "has a target 'cash'", 'did you mean "cache"?'),
        ('async with user.tcp("gate"): pass', "needs frame=", "frame=lines()"),
        ('async with user.tcp("gate", frame="lines"): pass', "'lines' is not a frame", "frame=lines()"),
        ('async with user.tcp("gate", frame=lines(), timeout="soon"): pass', "invalid duration", '"500ms"'),
        ('async with user.tcp("gate", frame=lines): pass', "lines without () is not a frame", "frame=lines()"),
        ('await user.udp("dns").ask(b"x", match="id")', "match='id' is not a function", "match=first(2)"),
        (
            'async with user.measure("x", outcomes={"ValueError": "x"}): pass',
            "'ValueError' is not a class",
            "outcomes={",
        ),
        ("lines(max_bytes=0)", "max_bytes=0 must be", "write bytes"),
        ("length_prefix(9)", "size=9 must be 1 to 8", "length_prefix(4)"),
        ("fixed_size(0)", "size=0 must be", "write bytes"),
        ('until("end")', "must be bytes", "until(b"),
        ("first(0)", "size=0 must be", "first(2)"),
        ('user.udp("dns").ask(b"x")', "is never awaited", "write `await"),
        ('await user.udp("dns").ask("x")', "must be bytes, not str", "write b'x'"),
        ('await user.udp("dns").ask(b"x", timeout=0)', "must be above 0", '"500ms"'),
        ('await user.udp("dns").ask(b"x", expect="y")', "must be bytes or a function", "expect="),
        ('await user.udp("dns").ask(b"x", expects=b"y")', "has no argument expects", 'did you mean "expect"?'),
        ('await user.udp("dns").asks(b"x")', "has no asks", 'did you mean "ask"?'),
    ],
)
def test_a_wrong_call_is_one_fault_with_its_line_and_a_remedy(
    tmp_path: Path, line: str, message: str, hint: str
) -> None:
    (found,) = faults(tmp_path, line)
    assert found.startswith("9 ")
    text, _, remedy = found.partition(" | ")
    assert message in text
    assert hint in remedy


def test_a_connection_that_is_not_awaited_is_found_by_its_name(tmp_path: Path) -> None:
    line = 'async with user.tcp("gate", frame=lines()) as other: other.ask(b"PING")'
    (found,) = faults(tmp_path, line)
    assert "other.ask(...) is never awaited" in found


@pytest.mark.parametrize(
    ("url", "message", "hint"),
    [
        ("tcp://127.0.0.1", "must have a port and no path", "tcp://127.0.0.1:7000"),
        ("udp://[::1]", "must have a port and no path", "udp://[::1]:7000"),
        ("tcp://gate:7000/x", "must have a port and no path", "tcp://gate:7000"),
        ("tcps://gate:0", "no valid host and port", "write"),
        ("redis://:pw@cache", "contains credentials", "secret("),
        ("rediss2://cache", "is not an http or https URL", 'did you mean "rediss://"?'),
    ],
)
def test_a_target_that_is_no_place_is_a_fault_of_the_plan(tmp_path: Path, url: str, message: str, hint: str) -> None:
    targets = TARGETS.replace("}", f', "odd": "{url}"}}')
    (found,) = faults(tmp_path, targets=targets)
    assert message in found
    assert hint in found


@pytest.mark.parametrize(
    ("http", "message"),
    [
        ('Http(proxy="http://127.0.0.1:3128")', '"dns": udp://127.0.0.1:53 cannot be reached: the plan has a proxy'),
        ('Http(uds="/run/x.sock")', '"gate": tcp://127.0.0.1:7000 cannot be reached: Http(uds=...)'),
    ],
)
def test_settings_that_rule_out_a_target_are_a_fault_of_the_plan(tmp_path: Path, http: str, message: str) -> None:
    found = faults(tmp_path, more=f"http={http},")
    assert any(message in one for one in found)


def test_the_first_http_target_is_that_of_user_http(tmp_path: Path) -> None:
    path = tmp_path / "scenario.py"
    targets = TARGETS.replace("}", ', "api": "http://x"}')
    path.write_text(TEXT.format(line='await user.http.get("/")', targets=targets, more=""))
    plan = load(path).plan
    assert (plan.target, plan.ways().url) == ("http://x", "http://x")
