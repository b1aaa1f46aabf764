"""Files with faults in them: every fault is told at once, with file, line and what to do."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from loadgen.dsl.loading.loader import load
from loadgen.errors import ExitCode, ScenarioError
from tests.support.scenarios import FAULTY, faults_of, told, write


def test_a_file_that_is_not_there_is_told_with_its_neighbour() -> None:
    assert told(FAULTY / "two_fault.py") == ['two_fault.py:0 no such file | did you mean "two_faults.py"?']


def test_a_folder_is_no_scenario(tmp_path: Path) -> None:
    write(tmp_path, "", "one.py")
    assert told(tmp_path) == [f'{tmp_path.name}:0 is a folder, not a scenario file | use one of "one.py"']


def test_a_file_of_another_kind_is_no_scenario(tmp_path: Path) -> None:
    assert told(write(tmp_path, "a,b", "rows.csv")) == [
        "rows.csv:0 is not a Python file | give a scenario file whose name ends in .py"
    ]


def test_a_syntax_error_names_its_line() -> None:
    (fault,) = faults_of(FAULTY / "syntax_error.py")
    assert (Path(fault.file).name, fault.line) == ("syntax_error.py", 5)
    assert fault.message.startswith("syntax error")


def test_the_folder_of_a_run_leads_to_the_command_that_repeats_it(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    (fault,) = faults_of(tmp_path)
    assert fault.message == "is the folder of a run, not a scenario file"
    assert f"`loadgen runs rerun {tmp_path}` repeats this run" in fault.hint


@pytest.mark.parametrize("content", [b"\x00", b"\xff\xfe", b"# coding: nonsense\n", b"x = '\xe4'", b"(" * 5000])
def test_a_file_that_is_no_python_is_a_fault(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scenario.py"
    path.write_bytes(content)
    assert len(faults_of(path)) == 1


def test_an_import_that_fails_names_the_module_and_its_sibling() -> None:
    assert told(FAULTY / "missing_import.py") == [
        'missing_import.py:2 no module named helpars | did you mean "helpers"?',
        'missing_import.py:3 loadgen has no jorney | did you mean "journey"?',
    ]


def test_two_faults_in_one_file_are_both_told() -> None:
    assert told(FAULTY / "two_faults.py") == [
        'no_password.csv:1 no column "password" for Shopper, only "email", "passwort" | did you mean "passwort"?',
        "two_faults.py:14 journey browse is not async | write `async def browse(...)`",
    ]


def test_every_wrong_argument_of_a_plan_is_told_at_its_own_line() -> None:
    assert [line.partition(" | ")[0] for line in told(FAULTY / "wrong_plan.py")] == [
        "wrong_plan.py:19 target: 'shop.example' is not an http or https URL",
        "wrong_plan.py:20 a rate must not be negative, got -5/s; write 0 or more",
        "wrong_plan.py:21 mix: the weight of buy is negative: -1",
        "wrong_plan.py:23 p(95) >= '300ms': an objective must use < or >",
        'wrong_plan.py:24 p(99, step="lisst") < 1s: no journey of the plan has a step "lisst"',
        'wrong_plan.py:25 p(99, step="add") < 1s: no journey of the plan has a step "add"',
        'wrong_plan.py:27 error_ratio(region="eu-west") < 0.1%: the plan has no region "eu-west"',
        "wrong_plan.py:29 regions: all weights are 0",
        "wrong_plan.py:30 max_users: 0 is not a whole number of at least 1",
    ]


def test_every_objective_that_cannot_be_judged_is_told_at_its_own_line() -> None:
    assert [line.partition("objectives.py:")[2] for line in told(FAULTY / "objectives.py")] == OBJECTIVES


OBJECTIVES = [
    '18 slos: p(95) has no limit | write p(95) < "300ms"',
    '19 slos: rate "cache hits" is a metric without a limit | write rate("cache hits").ratio() > "90%"',
    '20 slos: \'p(95) =< 300ms\' is a text, not an objective | write p(95) < "300ms" or error_ratio() < "0.1%", without quotes around the comparison, and "<=" instead of "=<"',  # noqa: E501
    "21 p(95) < '=< 300ms': the limit begins with an operator, which stands outside of the text | write p(95) < \"300ms\"",  # noqa: E501
    '22 trend("basket").p(95) < \'300ms\': the limit has the unit of another metric: it must be a number, without quotes | write trend("basket").p(95) < 300',  # noqa: E501
    '23 throughput("requests") > \'300ms\': invalid rate "300ms"; write "200/s", "30/m" or "1000/h" | write throughput("requests") > "20/s"',  # noqa: E501
    '24 counter("orders").p(...): a counter has no percentile | write .total(), or declare a trend, which keeps a distribution',  # noqa: E501
    '25 checks("has resluts") > 99%: no check "has resluts" | did you mean "has results"?',
    "26 total(window='500ms'): the shortest window is 1.00 s, the interval of measurements | write window=\"1m\"",
    '27 error_ratio(load="spike") < 1%: the plan has no load "spike" | use one of "day"',
    '28 p(95, tags={"tenant": "gold"}) < 1s: the plan has no tag "tenant" | add it to the plan\'s tags, or leave out tags=',  # noqa: E501
    '29 throughput("requests", request="GET /serach") > 3/s: no request "GET /serach" | did you mean "GET /search"?',
    '30 an objective is neither true nor false: `and`, `or`, `not`, `if` and chains such as 1 < x < 2 would lose objectives | write each objective by itself, as in slos=[p(95) < "1s", error_ratio() < "1%"]; to leave out None, write `if x is not None`, and not `if x` or filter(None, ...)',  # noqa: E501
]


def test_hints_of_steps_name_the_nested_one() -> None:
    by_line = {fault.line: fault.hint for fault in faults_of(FAULTY / "wrong_plan.py")}
    assert by_line[24] == 'did you mean "list"?'
    assert by_line[25] == 'did you mean "cart/add"?'


def test_a_module_that_exits_or_raises_is_a_fault_and_the_rest_is_still_looked_at() -> None:
    lines = [line.partition(" | ")[0] for line in told(FAULTY / "not_loaded.py")]
    assert lines == [
        "not_loaded.py:8 sys.exit('set SHOP first') is called while the scenario is loaded",
        "not_loaded.py:17 target: 'ftp://shop.example' is not an http or https URL",
        "raises.py:5 IndexError: list index out of range",  # the innermost line of the user's own
    ]


def test_what_only_fails_in_a_run_loads() -> None:
    assert load(FAULTY / "set_up_raises.py").warnings == ()


def test_what_blocks_the_loop_loads_only_where_a_comment_allows_it(tmp_path: Path) -> None:
    allowed = (FAULTY / "blocks_the_loop.py").read_text()
    assert load(FAULTY / "blocks_the_loop.py").warnings == ()
    (fault,) = faults_of(write(tmp_path, allowed.replace("  # loadgen: allow", "")))
    assert (fault.line, fault.message.partition(":")[0]) == (11, "time.sleep(...) blocks the event loop")


def test_a_scenario_error_ends_with_the_exit_code_of_usage() -> None:
    with pytest.raises(ScenarioError) as raised:
        load(FAULTY / "two_faults.py")
    assert raised.value.exit_code is ExitCode.USAGE
    assert "two_faults.py:14: journey browse is not async" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("script.js", "docs/coming-from/k6.md"),
        ("plan.jmx", "write the JMeter plan as a scenario"),
        ("Shop.scala", "write the Gatling simulation as a scenario"),
    ],
)
def test_a_script_of_another_tool_is_no_scenario_and_the_hint_says_that_nothing_converts_it(
    tmp_path: Path, name: str, hint: str
) -> None:
    (text,) = told(write(tmp_path, "", name))
    assert text.startswith(f"{name}:0 is not a Python file | ")
    assert hint in text
    assert "there is no converter" in text


def test_a_locustfile_is_recognized_also_beside_files_with_similar_names(tmp_path: Path) -> None:
    write(tmp_path, "", "my_locust.py")
    (text,) = told(write(tmp_path, "from locust import HttpUser, task\n", "locustfile.py"))
    assert text.startswith("locustfile.py:1 no module named locust | translate a locustfile by hand")
    assert "docs/coming-from/locust.md" in text


BODIES = """
from loadgen import Plan, User, iterations, journey

@journey
async def send(user: User) -> None:
    await user.http.post("/a", {first})

plan = Plan(target="http://127.0.0.1:1", load=iterations(1), mix=send)
"""


@pytest.mark.parametrize(
    ("given", "dropped"),
    [
        ('data={"a": "1"}, json={"b": 1}', "json"),
        ('content=b"x", json={"b": 1}', "json"),
        ('content=b"x", data={"a": "1"}', "data"),
        ('files={"f": b"x"}, json={"b": 1}', "json"),
        ('files={"f": b"x"}, data={"a": "1"}, json={"b": 1}', "json"),
    ],
)
def test_a_request_with_two_bodies_is_a_fault_that_names_the_one_that_httpx_does_not_send(
    tmp_path: Path, given: str, dropped: str
) -> None:
    (text,) = told(write(tmp_path, BODIES.format(first=given), "two.py"))
    assert f": {dropped}= has no effect" in text
    sent = httpx.Request("POST", "http://127.0.0.1:1", **eval(f"dict({given})")).read()
    assert b'"b"' not in sent
    assert dropped == "json" or b"a=1" not in sent


@pytest.mark.parametrize("given", ['files={"f": b"x"}, data={"a": "1"}', 'json={"b": 1}, data=None'])
def test_a_form_with_files_is_one_body(tmp_path: Path, given: str) -> None:
    assert load(write(tmp_path, BODIES.format(first=given), "one.py")) is not None
