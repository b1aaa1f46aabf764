"""Tags of a scenario: what is declared, and every wrong one with its line before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.plan_tags import tag_names
from loadgen.engine.recording.tagging import TagSpec
from tests.support.scenarios import faults_of, write

HEAD = """\
from loadgen import Load, Plan, User, arrivals, journey, tag

tenant = tag("tenant", "gold", "free")
zone = tag("zone", header="X-Zone", most=5)
BODY
LOAD = arrivals("10/s").hold("10s")
PLAN
"""
PLAN = 'plan = Plan(target="http://127.0.0.1:1", load=LOAD, mix=shop, tags=[tenant, zone, "header:X-Cache"])'
CACHED = PLAN.replace('"header:X-Cache"', '"cache"')


def scenario(folder: Path, line: str = "user.tag(tenant, 'gold')", plan: str = PLAN, top: str = "") -> Path:
    body = f"{top}\n@journey\nasync def shop(user: User) -> None:\n    if False:\n        {line}\n"
    return write(folder, HEAD.replace("BODY", body).replace("PLAN", plan))


def test_a_plan_lists_declared_tags_and_headers(tmp_path: Path) -> None:
    plan = load(scenario(tmp_path)).plan
    assert plan.spec().declared_tags == (
        TagSpec(name="tenant", values=("gold", "free")),
        TagSpec(name="zone", header="x-zone", most=5),
        TagSpec(name="x-cache", header="x-cache", most=20),
    )
    assert plan.tags == ("x-zone", "x-cache")
    assert tag_names(plan) == ("tenant", "zone", "x-cache")


def test_the_tag_cache_has_its_values_and_is_read_by_the_clients(tmp_path: Path) -> None:
    plan = load(scenario(tmp_path, plan=PLAN.replace('"header:X-Cache"', '"cache", " cache ", "header:x-cache"'))).plan

    results = ("hit", "miss", "stale", "bypass", "none")
    assert plan.spec().declared_tags[2:] == (
        TagSpec(name="cache", values=results, header=":cache", most=5),
        TagSpec(name="x-cache", header="x-cache", most=20),
    )
    assert plan.tags == ("x-zone", ":cache", "x-cache")


@pytest.mark.parametrize(
    "tags", ['["header:age"]', '["header: AGE "]', '[tag("a", header="Age")]', '["header:X-Varnish"]']
)
def test_headers_without_a_bound_on_their_values_are_refused(tags: str, tmp_path: Path) -> None:
    plan = f'plan = Plan(target="http://127.0.0.1:1", load=LOAD, mix=shop, tags=[tenant, {tags[1:]})'
    (fault,) = faults_of(scenario(tmp_path, plan=plan))

    assert "has another value for nearly each response" in fault.message
    assert 'tags=["cache"]' in fault.hint


def test_an_objective_on_an_unknown_result_of_caches_is_an_error(tmp_path: Path) -> None:
    slos = 'slos=[p(95, tags={"cache": "hits"}) < "1s"]'
    plan = f'plan = Plan(target="http://127.0.0.1:1", load=LOAD, mix=shop, tags=[tenant, "cache"], {slos})'
    (fault,) = faults_of(scenario(tmp_path, plan=plan, top="from loadgen import p"))

    assert '"hits"' in fault.message
    assert "hit" in fault.hint


def test_constants_of_a_load_need_no_declaration(tmp_path: Path) -> None:
    loads = 'loads=[Load(shop, LOAD, name="spike", tags={"phase": "spike", tenant: "gold"})], tags=[tenant]'
    plan = load(scenario(tmp_path, plan=f'plan = Plan(target="http://127.0.0.1:1", {loads})')).plan
    assert plan.lanes[0].series_tags == (("load", "spike"), ("phase", "spike"), ("tenant", "gold"))
    assert tag_names(plan) == ("tenant", "phase")


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("user.tag(tenant, 'golden')", 'tag "tenant" has no value "golden"', 'did you mean "gold"?'),
        ("user.tag('tenant', 'golden')", 'tag "tenant" has no value "golden"', 'did you mean "gold"?'),
        ("user.tag('tenant', value='golden')", 'tag "tenant" has no value "golden"', 'did you mean "gold"?'),
        ("user.tag(tenant, 3)", 'tag "tenant": 3 is not a text', "write a text"),
        ("user.tag('tennant', 'gold')", 'no plan in this file has a tag "tennant"', 'did you mean "tenant"?'),
        ("user.tag(zone, 'eu')", 'tag "zone" is read from the response header x-zone', "declare a tag with values"),
        (
            "user.tag('cache', 'hit')",
            'tag "cache" is read from response headers of caches',
            "declare a tag with values",
        ),
        ("await user.http.get('/', tags={tenant: 'gilt'})", 'tag "tenant" has no value "gilt"', "use one of"),
        ("async with user.step('a', tags={'tenant': None}): ...", 'tag "tenant": None is not a text', "write a text"),
        ("await user.http.post('/', tags={'a': 'b'})", 'no plan in this file has a tag "a"', 'declare it: tag("a"'),
    ],
)
def test_a_wrong_literal_is_an_error_with_its_line_even_in_a_dead_branch(
    line: str, message: str, hint: str, tmp_path: Path
) -> None:
    path = scenario(tmp_path, line, CACHED)
    (fault,) = faults_of(path)
    assert fault.message.startswith(message)
    assert hint in fault.hint
    assert path.read_text().splitlines()[fault.line - 1].strip() == line


def test_a_wrong_literal_is_found_with_any_name_of_the_user(tmp_path: Path) -> None:
    helper = "async def pay(shopper: User) -> None:\n    shopper.tag('tenant', 'golden')\n"

    (fault,) = faults_of(scenario(tmp_path, top=helper))

    assert fault.message == 'tag "tenant" has no value "golden"'


def test_tags_of_a_library_are_not_those_of_the_plan(tmp_path: Path) -> None:
    path = scenario(tmp_path, "await STORE.put('/', tags={'owner': 'me', 'cost': 3})", top="STORE = object()")

    assert load(path).warnings == ()


def test_a_declared_tag_is_checked_also_in_calls_of_an_unknown_client(tmp_path: Path) -> None:
    (fault,) = faults_of(scenario(tmp_path, "await API.put('/', tags={tenant: 'golden'})", top="API = object()"))

    assert fault.message == 'tag "tenant" has no value "golden"'


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ('tag("journey", "a")', 'a tag cannot be called "journey"'),
        ('tag("load", "a")', 'a tag cannot be called "load"'),
        ('tag("two words", "a")', "'two words' is not a valid name of a tag"),
        ('tag("a", 3)', 'tag "a": the value 3 is not a text'),
        ('tag("a", "")', "tag \"a\": '' is not a valid value"),
        ('tag("a", "x", "x")', 'tag "a" has the value "x" twice'),
        ('tag("a")', 'tag "a" has no values'),
        ('tag("a", "b", header="x-a")', 'tag "a" has values and a header'),
        ('tag("a", header="x a")', "tag \"a\": 'x a' is not the name of a header"),
        ('tag("a", header="x-a", most=0)', 'tag "a": most=0 must be a whole number from 1 to 100'),
        ('tag("a", "b", most=3)', 'tag "a": most= is only for a tag with header='),
    ],
)
def test_a_wrong_declaration_is_an_error_at_its_line(declared: str, message: str, tmp_path: Path) -> None:
    path = scenario(tmp_path, top=f"wrong = {declared}", plan=PLAN.replace("zone,", "zone, wrong,"))
    (fault,) = faults_of(path)
    assert fault.message.startswith(message)
    assert path.read_text().splitlines()[fault.line - 1] == f"wrong = {declared}"


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ("[tenant, tag('tenant', 'x')]", 'tags: two tags are named "tenant"'),
        ("[tag('a', *map(str, range(10_000)))]", "tags: the declared values make 10,000 combinations"),
        ("[tag('a', *map(str, range(101)))]", "tags: the declared values make 101 combinations of a row (a 101)"),
        ("[tenant, zone, tag('a', *map(str, range(11)))]", "tags: the declared values make 110 combinations"),
        ("[3]", "tags: 3 is not a tag"),
        ("[tenant, 'cache', tag('cache', header='x-cache')]", 'tags: two tags are named "cache"'),
    ],
)
def test_a_plan_with_wrong_tags_is_an_error(tags: str, message: str, tmp_path: Path) -> None:
    path = scenario(tmp_path, plan=f'plan = Plan(target="http://127.0.0.1:1", load=LOAD, mix=shop, tags={tags})')
    faults = [one.message for one in faults_of(path)]
    assert any(one.startswith(message) for one in faults), faults


def test_a_tag_that_no_plan_lists_is_an_error_where_it_is_set(tmp_path: Path) -> None:
    path = scenario(tmp_path, plan=PLAN.replace("tenant, ", ""))
    (fault,) = faults_of(path)
    assert (fault.message, fault.hint) == ('no plan in this file has a tag "tenant"', "add it: Plan(tags=[tenant])")


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ("{'journey': 'a'}", 'tags: a tag cannot be called "journey"'),
        ("{'phase': 3}", "tags: the value 3 of phase is not a text"),
        ("'spike'", "tags: 'spike' is not a dictionary"),
    ],
)
def test_wrong_constants_of_a_load_are_errors(tags: str, message: str, tmp_path: Path) -> None:
    plan = f'plan = Plan(target="http://127.0.0.1:1", loads=[Load(shop, LOAD, tags={tags})], tags=[tenant])'
    (fault,) = faults_of(scenario(tmp_path, plan=plan))
    assert fault.message.startswith(message)


def test_a_declared_value_that_looks_like_an_id_is_a_warning(tmp_path: Path) -> None:
    path = scenario(tmp_path, top='order = tag("order", "4711000", "b")')
    (warning,) = load(path).warnings
    assert warning.message.startswith('tag "order": the value "4711000" looks like an id')
