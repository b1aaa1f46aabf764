"""Loading: which plan, what travels with it, what the whole has to be checked for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from loadgen.dsl.loading.loader import load, split_plan
from loadgen.dsl.plans.spec import Overrides
from tests.support.scenarios import HEAD, browse_with, told, write

# -- plans ------------------------------------------------------------------------------------------


def test_the_only_plan_is_taken_whatever_its_name(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + 'soak = Plan("http://x", arrivals("1/s").hold("1s"), browse)\n')
    assert load(path).plan.name == "soak"


def test_of_several_plans_the_one_named_plan_is_taken_and_another_by_its_name(tmp_path: Path) -> None:
    one = 'Plan("http://x", arrivals("1/s").hold("1s"), browse)\n'
    path = write(tmp_path, f"{HEAD}spike = {one}plan = {one}")
    assert load(path).plan.name == "plan"
    assert load(path, "spike").plan.name == "spike"
    assert list(load(path).plans) == ["spike", "plan"]


def test_several_plans_and_none_named_is_a_fault(tmp_path: Path) -> None:
    one = 'Plan("http://x", arrivals("1/s").hold("1s"), browse)\n'
    assert told(write(tmp_path, f"{HEAD}spike = {one}soak = {one}")) == [
        "scenario.py:0 the file has several plans, and none was chosen: spike, soak | choose one: scenario.py:spike"
    ]


def test_no_plan_is_a_fault(tmp_path: Path) -> None:
    assert told(write(tmp_path, HEAD)) == [
        "scenario.py:0 the file has no plan | define one: plan = Plan(target=..., load=..., mix=...)"
    ]


def test_a_plan_that_is_not_there_is_told_with_its_neighbour(tmp_path: Path) -> None:
    assert told(browse_with(tmp_path), "plam") == ['scenario.py:0 no plan named "plam" | did you mean "plan"?']


def test_an_unknown_argument_of_a_plan_is_told_with_its_neighbour(tmp_path: Path) -> None:
    assert told(browse_with(tmp_path, slo="[]")) == [
        "scenario.py:13 TypeError: Plan.__init__() got an unexpected keyword argument 'slo' | did you mean \"slos\"?"
    ]


@pytest.mark.parametrize(
    ("text", "file", "plan"),
    [("a/b.py", "a/b.py", None), ("a/b.py:spike", "a/b.py", "spike"), ("C:/b.py", "C:/b.py", None)],
)
def test_a_plan_is_named_after_a_colon(text: str, file: str, plan: str | None) -> None:
    assert split_plan(text) == (Path(file), plan)


def test_a_text_under_a_variable_does_not_replace_the_docstring_of_the_module(tmp_path: Path) -> None:
    path = browse_with(tmp_path)
    path.write_text(f'"""A day of the shop."""\nSPEED = 2\n"""Twice as fast."""\n{path.read_text()}')

    assert load(path).plan.doc == "A day of the shop."


def test_overrides_change_the_chosen_plan_and_not_what_was_written(tmp_path: Path) -> None:
    path = browse_with(tmp_path, regions='{"a": 1, "b": 3}')
    overrides = Overrides(target="http://127.0.0.1:9", peak=20, duration_s=5, regions={"b": None})
    scenario = load(path, None, overrides)
    spec = scenario.plan.spec()
    assert (spec.target, spec.peak, spec.total_arrivals, spec.regions) == ("http://127.0.0.1:9", 20, 100, {"b": 3})
    assert scenario.plans["plan"].spec().total_arrivals == 100
    assert scenario.plans["plan"].target == "http://127.0.0.1:8080"


def test_an_override_that_does_not_fit_is_a_fault_of_the_option(tmp_path: Path) -> None:
    overrides = Overrides(target="shop", peak=3, peak_of="users", regions={"eu": None})
    assert [line.partition(" | ")[0] for line in told(browse_with(tmp_path), None, overrides)] == [
        '--regions:0 the plan has no region "eu"',
        "--target:0 target: 'shop' is not an http or https URL",
        "--users:0 the load has arrivals, which have a rate",
    ]


def test_an_override_of_a_wrong_target_mends_it(tmp_path: Path) -> None:
    path = browse_with(tmp_path, target='"shop"')
    assert load(path, None, Overrides(target="http://x")).plan.target == "http://x"


def test_an_objective_of_a_region_left_out_is_left_out_and_told(tmp_path: Path) -> None:
    path = browse_with(tmp_path, regions='{"a": 1, "b": 3}', slos='[p(95, region="a") < "1s"]')
    scenario = load(path, None, Overrides(regions={"b": None}))
    assert scenario.plan.slos == ()
    assert [w.message for w in scenario.warnings] == [
        'p(95, region="a") < 1s is left out: its region takes no part in this run'
    ]


# -- settings ---------------------------------------------------------------------------------------


def test_params_shape_the_scenario(tmp_path: Path) -> None:
    path = browse_with(tmp_path, load='arrivals(param("rate", int, default=4)).hold("10s")')
    assert load(path).plan.spec().total_arrivals == 40
    spec = load(path, None, Overrides(params={"rate": "8"})).plan.spec()
    assert (spec.total_arrivals, spec.params) == (80, {"rate": 8})


def test_params_that_do_not_convert_or_are_not_asked_for_are_faults(tmp_path: Path) -> None:
    path = browse_with(tmp_path, load='arrivals(param("rate", int, default=4)).hold("10s")')
    lines = told(path, None, Overrides(params={"rate": "many", "rat": "1"}))
    assert lines[0] == '-P rat=1:0 no param "rat" | did you mean "rate"?'
    assert lines[1].startswith("-P rate=many:0 'many' is not a valid int | declared at ")


def test_a_param_without_a_default_has_to_be_given(tmp_path: Path) -> None:
    path = browse_with(tmp_path, load='arrivals(param("rate", int) or 1).hold("1s")')
    assert told(path)[0].startswith('scenario.py:11 param("rate") has no default and no value was given')


# -- rows ---------------------------------------------------------------------------------------------


def rows_with(folder: Path, feed: str, load: str, mix: str = "{buy: 1}") -> Path:
    write(folder, "sku\n" + "".join(f"s{i}\n" for i in range(5)), "rows.csv")
    return write(
        folder,
        HEAD + "@dataclass\nclass Row:\n    sku: str\n\n"
        f'@journey(data=feed.csv("rows.csv", Row){feed})\nasync def buy(user: User, row: Row) -> None: ...\n'
        f'plan = Plan("http://x", {load}, {mix})\n',
    )


@pytest.mark.parametrize(
    ("feed", "load_text", "mix"),
    [
        ("", 'arrivals("10/s").hold("10s")', "{buy: 1}"),
        (".unique()", 'arrivals("1/s").hold("5s")', "{buy: 1}"),
        (".unique()", 'arrivals("1/s").hold("10s")', "{buy: 1, browse: 1}"),
        ('.unique(when_out="cycle")', 'arrivals("10/s").hold("10s")', "{buy: 1}"),
        (".unique()", 'users(5).hold("10m")', "{buy: 1}"),
        (".unique()", "iterations(5, users=2)", "{buy: 1}"),
    ],
)
def test_rows_that_are_enough_are_fine(tmp_path: Path, feed: str, load_text: str, mix: str) -> None:
    assert told(rows_with(tmp_path, feed, load_text, mix)) == []


@pytest.mark.parametrize(
    ("load_text", "mix", "needed"),
    [
        ('arrivals("1/s").hold("6s")', "{buy: 1}", 6),
        ('arrivals("1/s").hold("12s")', "{buy: 1, browse: 1}", 6),
        ('users(6).hold("1s")', "{buy: 1}", 6),
        ("iterations(1000, users=2)", "{buy: 1}", 1000),
    ],
)
def test_unique_rows_that_are_too_few_are_a_fault_before_the_run(
    tmp_path: Path, load_text: str, mix: str, needed: int
) -> None:
    (line,) = told(rows_with(tmp_path, ".unique()", load_text, mix))
    assert f"rows.csv has 5 rows, but buy needs {needed:,}, since each row is used only once" in line


def test_rows_are_counted_with_the_overrides(tmp_path: Path) -> None:
    path = rows_with(tmp_path, ".unique()", 'arrivals("1/s").hold("5s")')
    assert len(told(path, None, Overrides(duration_s=6))) == 1


# -- what travels --------------------------------------------------------------------------------------


def test_files_are_the_scenario_its_siblings_and_its_data(tmp_path: Path) -> None:
    path = rows_with(tmp_path, "", 'arrivals("1/s").hold("5s")')
    write(tmp_path, "import lib.deep.words\nfrom lib import more\n", "helpers.py")
    write(tmp_path, "", "lib/__init__.py")
    write(tmp_path, "from . import words\n", "lib/deep/__init__.py")
    write(tmp_path, "", "lib/deep/words.py")
    write(tmp_path, "from .deep.words import __name__ as n\n", "lib/more.py")
    write(tmp_path, "", "lib/unused.py")
    write(tmp_path, "", "late.py")
    write(tmp_path, "", "unused.py")
    write(tmp_path, "", "dynamic.py")
    path.write_text(
        "import helpers\nimport importlib\nimportlib.import_module('dynamic')\n"
        + path.read_text()
        + "\nasync def f() -> None:\n    import late\n"
    )
    names = {str(f.relative_to(tmp_path)) for f in load(path).files}
    assert names == {
        "scenario.py",
        "rows.csv",
        "helpers.py",
        "dynamic.py",
        "late.py",
        "lib/__init__.py",
        "lib/deep/__init__.py",
        "lib/deep/words.py",
        "lib/more.py",
    }


def test_data_outside_of_the_folder_is_a_fault(tmp_path: Path) -> None:
    path = rows_with(tmp_path / "inside", "", 'arrivals("1/s").hold("5s")')
    (tmp_path / "inside" / "rows.csv").rename(tmp_path / "rows.csv")
    path.write_text(path.read_text().replace('"rows.csv"', '"../rows.csv"'))
    (line,) = told(path)
    assert "rows.csv is not in the scenario's folder, so agents do not get it" in line


def test_a_sibling_with_the_name_of_a_standard_module_is_a_fault(tmp_path: Path) -> None:
    write(tmp_path, "", "json.py")
    write(tmp_path, "", "numpy.py")
    path = browse_with(tmp_path)
    path.write_text("import json\nimport numpy\n" + path.read_text())
    assert [line.partition(" | ")[0] for line in told(path)] == [
        "scenario.py:1 json in the scenario's folder has the same name as a module of the standard library",
        "scenario.py:2 numpy in the scenario's folder has the same name as an installed package",
    ]


def test_a_file_beside_it_that_nobody_imports_hides_nothing(tmp_path: Path) -> None:
    write(tmp_path, "raise SystemExit", "queue.py")
    load(browse_with(tmp_path))
    sys.modules.pop("queue", None)
    import queue

    assert "Queue" in vars(queue)


def test_a_relative_import_says_how_to_write_it(tmp_path: Path) -> None:
    path = browse_with(tmp_path)
    path.write_text("from .helpers import x\n" + path.read_text())
    (line,) = told(path)
    assert line.startswith(
        "scenario.py:1 relative import: a scenario is not part of a package | write `import helpers`"
    )


def test_a_fault_in_a_sibling_is_told_there(tmp_path: Path) -> None:
    write(tmp_path, "import nonsuch\n", "helpers.py")
    path = browse_with(tmp_path)
    path.write_text("import helpers\n" + path.read_text())
    assert [line.partition(" | ")[0] for line in told(path)] == ["helpers.py:1 no module named nonsuch"]


def test_an_import_that_may_fail_is_no_fault(tmp_path: Path) -> None:
    path = browse_with(tmp_path)
    path.write_text("try:\n    import nonsuch\nexcept ImportError:\n    nonsuch = None\n" + path.read_text())
    assert told(path) == []


# -- again and again -------------------------------------------------------------------------------------


def test_a_scenario_that_was_changed_is_loaded_anew_with_its_siblings(tmp_path: Path) -> None:
    path = browse_with(tmp_path, load='arrivals(RATE).hold("1s")')
    path.write_text("from rates import RATE\n" + path.read_text())
    totals = []
    for rate in (3, 5):
        write(tmp_path, f"RATE = {rate}\n", "rates.py")
        totals.append(load(path).plan.spec().total_arrivals)
    assert totals == [3, 5]


def test_siblings_of_one_name_in_two_folders_do_not_meet(tmp_path: Path) -> None:
    rates = []
    for rate in (3, 5):
        folder = tmp_path / str(rate)
        write(folder, f"RATE = {rate}\n", "rates.py")
        path = browse_with(folder, load='arrivals(RATE).hold("1s")')
        path.write_text("from rates import RATE\n" + path.read_text())
        rates.append(load(path).plan.spec().peak)
    assert rates == [3, 5]
    before = list(sys.path)
    load(browse_with(tmp_path))
    assert "rates" not in sys.modules
    assert sys.path == before


def test_loading_leaves_no_bytecode_behind(tmp_path: Path) -> None:
    write(tmp_path, "", "helpers.py")
    path = browse_with(tmp_path)
    path.write_text("import helpers\n" + path.read_text())
    load(path)
    assert not list(tmp_path.rglob("__pycache__"))


async def test_a_journey_may_import_a_sibling_when_it_runs(tmp_path: Path) -> None:
    write(tmp_path, 'PATH = "/late"\n', "late.py")
    path = write(
        tmp_path,
        HEAD.replace("        await", '        import late\n        assert late.PATH == "/late"\n        await')
        + 'plan = Plan("http://x", users(1).hold("1s"), browse)\n',
    )
    (browse,) = load(path).journeys
    assert (await browse.trial(None, replies={"GET /": 200})).outcome == "ok"


def test_annotations_that_are_evaluated_late_find_their_module(tmp_path: Path) -> None:
    path = rows_with(tmp_path, "", 'arrivals("1/s").hold("5s")')
    path.write_text("from __future__ import annotations\n" + path.read_text())
    assert told(path) == []


def test_errors_that_only_follow_from_another_are_left_out(tmp_path: Path) -> None:
    path = browse_with(tmp_path)
    path.write_text(path.read_text().replace("plan =", "rate = {}['x']\nhalf = rate / 2\nplan ="))
    (line,) = told(path)
    assert line.startswith("scenario.py:9 KeyError: 'x' | correct this line: it runs whenever the scenario is loaded")


def test_weights_that_have_to_be_rounded_are_a_warning(tmp_path: Path) -> None:
    scenario = load(browse_with(tmp_path, regions='{"a": 0.123456, "b": 1}'))
    assert [w.line for w in scenario.warnings] == [13]


# -- bodies and distributions ---------------------------------------------------------------------


def test_files_that_requests_send_have_to_be_there_and_travel(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"jpeg")
    text = HEAD + 'from loadgen import blob, file\nPHOTOS = [file("photo.jpg")]\nDATA = blob("5MB", seed=1)\n'
    plan = 'plan = Plan(target="http://127.0.0.1:1", load=arrivals("1/s").hold("1s"), mix=browse)\n'
    scenario = load(write(tmp_path, text + plan))
    assert tmp_path / "photo.jpg" in scenario.files

    wrong = text.replace("photo.jpg", "foto.jpg").replace("5MB", "much") + plan
    told_ = told(write(tmp_path, wrong))
    assert [line.partition(" ")[0] for line in told_] == ["scenario.py:10", "scenario.py:11"]
    assert "foto.jpg" in told_[0]
    assert "much" in told_[1]


def test_a_distribution_that_is_none_is_told_before_anything_starts(tmp_path: Path) -> None:
    text = HEAD + "from loadgen import lognormal\nPAUSE = lognormal(1, -2)\n"
    plan = 'plan = Plan(target="http://127.0.0.1:1", load=arrivals("1/s").hold("1s"), mix=browse)\n'
    (line,) = told(write(tmp_path, text + plan))
    assert line.startswith("scenario.py:10 ")
    assert "lognormal" in line


FOLLOWED = """\
from loadgen import Load, Plan, User, hold, journey, p

@journey
async def browse(user: User) -> None:
    async with user.step("home"):
        await user.http.get("/")

@journey
async def buy(user: User) -> None:
    async with user.step("pay"):
        await user.http.get("/pay")

def rate(**of: str) -> object:
    return hold(p(99, **of) < "1s", upto="9/s", duration="1m")

plan = Plan("http://127.0.0.1:1", loads=[Load(browse, rate({of})), Load(buy, rate())])
"""


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ('step="pay"', 'journey browse has no step "pay"'),
        ('journey="buy"', 'the load has no journey "buy"'),
        ('request="GET /nowhere"', 'no request "GET /nowhere"'),
    ],
)
def test_what_a_load_follows_has_to_be_in_its_own_journeys(of: str, message: str, tmp_path: Path) -> None:
    (line,) = told(write(tmp_path, FOLLOWED.format(of=of)))
    assert message in line


@pytest.mark.parametrize("of", ['step="home"', 'journey="browse"', 'request="GET /"', ""])
def test_what_a_load_follows_and_is_there_is_fine(of: str, tmp_path: Path) -> None:
    assert load(write(tmp_path, FOLLOWED.format(of=of))).warnings == ()
