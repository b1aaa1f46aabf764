"""Rendez-vous that can never come about, seen before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.spec import Overrides
from tests.support.scenarios import told, write

SALE = """\
from loadgen import Load, Plan, User, arrivals, hold, iterations, journey, p, param, users

CROWD = 100

@journey
async def sale(user: User) -> None:
    await user.rendezvous("sale opens", users={users})

@journey
async def other(user: User) -> None:
    {other}

plan = Plan(target="http://127.0.0.1:1", {plan})
"""


def sale(
    folder: Path, *, plan: str = "load=users(200).hold('1m'), mix=sale", users: str = "100", other: str = "pass"
) -> Path:
    return write(folder, SALE.format(users=users, other=other, plan=plan))


@pytest.mark.parametrize(
    ("plan", "why"),
    [
        ("load=users(99).hold('1m'), mix=sale", "the load has at most 99 users at a time"),
        ("load=users().ramp(to=99, over='1m'), mix=sale", "the load has at most 99 users at a time"),
        ("load=iterations(1000, users=99), mix=sale", "the load has 99 users for 1,000 iterations"),
        ("load=arrivals('1/s').hold('99s'), mix=sale", "the load has 99 arrivals"),
        ("load=arrivals('10/s').hold('99s'), mix=sale, max_users=99", "the load has max_users=99"),
        ("load=hold(p(99) < '1s', start='1/s', upto='2/s', duration='45s'), mix=sale", "has at most 91 arrivals"),
        ("loads=[Load(other, users(500).hold('1m')), Load(sale, users(99).hold('1m'))]", "has at most 99 users"),
    ],
)
@pytest.mark.parametrize("users", ["100", "CROWD"])
def test_more_than_the_load_can_have_is_a_fault_with_its_line(plan: str, why: str, users: str, tmp_path: Path) -> None:
    (fault,) = told(sale(tmp_path, plan=plan, users=users))
    assert fault.startswith('scenario.py:7 rendez-vous "sale opens" waits for 100 users, but the load')
    assert why in fault


@pytest.mark.parametrize(
    "plan",
    [
        "load=users(100).hold('1m'), mix=sale",
        "load=iterations(1000, users=100), mix=sale",
        "load=arrivals('1/s').hold('100s'), mix=sale, max_users=100",
        "load=users(2).hold('1m'), mix=other",
        "load=hold(p(99) < '1s', start='1/s', upto='2/s', duration='50s'), mix=sale",
        "load=users(100).hold('1m'), mix={sale: 1, other: 9}",
    ],
)
def test_what_can_come_about_is_none(plan: str, tmp_path: Path) -> None:
    assert told(sale(tmp_path, plan=plan)) == []


def test_the_command_line_s_users_count(tmp_path: Path) -> None:
    path = sale(tmp_path)
    assert told(path) == []
    (fault,) = told(path, overrides=Overrides(peak=50))
    assert "the load has at most 50 users at a time" in fault


def test_what_is_computed_is_left_to_the_run(tmp_path: Path) -> None:
    assert told(sale(tmp_path, users='param("crowd", int, default=100_000)')) == []


def test_two_numbers_for_one_name_are_a_fault_that_names_both_lines(tmp_path: Path) -> None:
    (fault,) = told(sale(tmp_path, other='await user.rendezvous("sale opens", users=50)'))
    assert fault.startswith('scenario.py:11 rendez-vous "sale opens" has users=50 here and users=100 in line 7 | ')
    assert told(sale(tmp_path, other='await user.rendezvous("sale ends", users=50)')) == []


@pytest.mark.parametrize("users", ["0", "-5"])
def test_what_is_no_number_of_users_is_a_fault(users: str, tmp_path: Path) -> None:
    (fault,) = told(sale(tmp_path, users=users))
    assert f'rendez-vous "sale opens": users={users}' in fault


def test_one_that_is_not_awaited_is_a_fault(tmp_path: Path) -> None:
    (fault,) = told(sale(tmp_path, other='user.rendezvous("sale ends", users=50)'))
    assert "is never awaited" in fault


def test_a_helper_that_fits_no_load_is_doubtful(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
        from loadgen import Plan, User, journey, users

        async def gate(user: User) -> None:
            await user.rendezvous("gate", users=100)

        @journey
        async def sale(user: User) -> None:
            await gate(user)

        plan = Plan(target="http://127.0.0.1:1", load=users(99).hold("1m"), mix=sale)
        """,
    )
    (warning,) = load(path).warnings
    assert (warning.line, warning.message) == (
        4,
        'rendez-vous "gate" waits for 100 users, but the load has at most 99 users at a time',
    )


def test_nodes_of_a_graph_meet_as_journeys_do(tmp_path: Path) -> None:
    text = """
    from loadgen import Plan, User, graph, leave, node, users

    @node
    async def wait(user: User, count: int) -> int:
        await user.rendezvous("sale opens", users=100)
        return count

    sale = graph({wait: {leave: 1}}, state=int)
    plan = Plan(target="http://127.0.0.1:8080", load=users(99).hold("1m"), mix=sale)
    """
    (fault,) = told(write(tmp_path, text))
    assert fault.startswith('scenario.py:6 rendez-vous "sale opens" waits for 100 users, but the load')
