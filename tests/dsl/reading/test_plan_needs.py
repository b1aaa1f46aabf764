"""Calls that a plan cannot serve, such as `user.browser` without browsers, are found when the scenario is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.dsl.loading.loader import load
from loadgen.errors import ScenarioError

TEXT = """\
from loadgen import Http, Load, Plan, User, arrivals, iterations, journey, lines, p


async def helper(user: User) -> None:
    async with user.browser("/"):
        pass


@journey
async def look(user: User) -> None:
    {line}


@journey
async def other(user: User) -> None:
    await user.think(0)


plan = Plan({plan})
"""
ONE = "load=iterations(1), mix=look"
WEB = 'target="http://127.0.0.1:8080"'
GATE = 'targets={"gate": "tcp://127.0.0.1:7000"}'


def faults(folder: Path, line: str, plan: str) -> list[str]:
    path = folder / "scenario.py"
    path.write_text(TEXT.format(line=line, plan=plan))
    try:
        load(path)
    except ScenarioError as error:
        return [f"{one.line} {one.message} | {one.hint}" for one in error.faults]
    return []


BROWSER = 'async with user.browser("/"): pass'
HEALTH = 'await user.grpc.reflect("grpc.health.v1.Health")'


@pytest.mark.parametrize(
    ("line", "plan", "message", "hint"),
    [
        (BROWSER, WEB, "user.browser: the plan has no browsers", "browsers=2"),
        (BROWSER, f"{WEB}, browsers=0", "user.browser: the plan has no browsers", "browsers=2"),
        (BROWSER, f"{GATE}, browsers=1", "user.browser: the plan has no HTTP target", "targets="),
        (HEALTH, WEB, "user.grpc: gRPC needs HTTP/2", 'Http(http2="prior")'),
        ('user.grpc_channel("cart")', 'targets={"cart": "http://127.0.0.1:1"}', "gRPC needs HTTP/2", "http2=True"),
        ('user.grpc_channel("cart")', f'{WEB}, http=Http(http2="prior")', "has a target 'cart'", "targets="),
        ('await user.http.get("/")', GATE, "user.http: the plan has no HTTP target", "targets="),
        ('async with user.ws("/"): pass', GATE, "user.ws: the plan has no HTTP target", "targets="),
        ('user.udp("gate")', GATE, 'user.udp: the target "gate" is tcp://127.0.0.1:7000', '"udp://127.0.0.1:7000"'),
        (
            'user.tcp("web", frame=lines())',
            'targets={"web": "http://127.0.0.1:80"}',
            "which is not tcp or tcps",
            "tcp:",
        ),
    ],
)
def test_a_call_that_the_plan_cannot_serve_is_one_fault_with_its_line(
    tmp_path: Path, line: str, plan: str, message: str, hint: str
) -> None:
    (found,) = faults(tmp_path, line, f"{plan}, {ONE}")
    assert found.startswith("11 ")
    text, _, remedy = found.partition(" | ")
    assert message in text
    assert hint in remedy


@pytest.mark.parametrize(
    ("line", "plan"),
    [
        (BROWSER, f"{WEB}, browsers=1, {ONE}"),
        (HEALTH, f'{WEB}, http=Http(http2="prior"), {ONE}'),
        (HEALTH, f'target="grpcs://127.0.0.1:1", {ONE}'),
        ('user.grpc_channel("cart")', f'targets={{"web": "http://127.0.0.1:1", "cart": "grpc://127.0.0.1:2"}}, {ONE}'),
        (HEALTH, f"{WEB}, loads=[Load(look, iterations(1), http=Http(http2=True))]"),
        (BROWSER, f"{WEB}, load=iterations(1), mix=other"),
        ("await helper(user)", f"{WEB}, {ONE}"),
    ],
)
def test_a_plan_that_has_what_its_journeys_need_has_no_fault(tmp_path: Path, line: str, plan: str) -> None:
    assert faults(tmp_path, line, plan) == []


def test_a_target_with_an_invalid_url_is_not_also_an_unknown_target(tmp_path: Path) -> None:
    found = faults(tmp_path, 'await user.udp("dns").ask(b"x")', f'targets={{"dns": "udp://127.0.0.1"}}, {ONE}')
    assert found == [
        '19 targets: "dns": \'udp://127.0.0.1\' must have a port and no path | write "udp://127.0.0.1:7000"'
    ]


def test_a_target_with_the_scheme_of_websocket_is_shown_the_scheme_of_http(tmp_path: Path) -> None:
    (found,) = faults(tmp_path, "await user.think(0)", f'target="ws://127.0.0.1:70", {ONE}')
    assert 'write "http://127.0.0.1:70", and user.ws' in found


@pytest.mark.parametrize(
    "line",
    ['async with user.ws("/") as ws: ws.ask("x")', 'async with user.browser("/") as page: page.click("#buy")'],
)
def test_a_message_or_a_click_that_is_not_awaited_is_a_fault(tmp_path: Path, line: str) -> None:
    (found,) = faults(tmp_path, line, f"{WEB}, browsers=1, {ONE}")
    assert "is never awaited" in found


def test_a_name_of_pages_that_is_no_text_and_no_function_is_a_fault(tmp_path: Path) -> None:
    (found,) = faults(tmp_path, 'async with user.browser("/", name=5): pass', f"{WEB}, browsers=1, {ONE}")
    assert "name=5 is not a name" in found


def test_a_page_that_is_awaited_and_not_entered_is_a_fault_that_shows_how_to_enter_it(tmp_path: Path) -> None:
    (found,) = faults(tmp_path, 'page = await user.browser("/")', f"{WEB}, browsers=1, {ONE}")
    assert "`async with user.browser(...) as page:`" in found


def test_an_objective_on_a_method_of_a_stub_needs_no_warning(tmp_path: Path) -> None:
    path = tmp_path / "scenario.py"
    named = 'slos=[p(95, request="shop.v1.Cart/Get") < "1s", p(95, request="Cart") < "1s"]'
    path.write_text(TEXT.format(line="user.grpc", plan=f"{WEB}, http=Http(http2=True), {named}, {ONE}"))
    (warning,) = (one.message for one in load(path).warnings if "no request" in one.message)
    assert '"Cart"' in warning
