"""The scripts of docs/coming-from: k6's, Locust's and ours send the same requests, and the pages name all of them.

The quick tests load each scenario of ours and run its journeys once. The slow one runs all three programs against the
demo shop and compares their counts by name, and what the shop counted.
"""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from bench.peers import known
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.spec import Overrides
from loadgen_controller.planning.rehearsal import rehearse
from tests.support.run import loadgen
from tests.support.target import RunningTarget, running_target

FOLDER: Final = Path(__file__).parents[2] / "docs" / "coming-from"
TOPICS: Final = tuple(sorted(path.stem for path in (FOLDER / "scenarios").glob("*.py")))
METHOD: Final = re.compile(r"(GET|HEAD|POST|PUT|PATCH|DELETE|gql) ")
OUTSIDE_OF_JOURNEYS: Final = ("set_up",)
"""Topics whose set-up and tear-down send requests. The programs count these by different rules, the shop counts all."""


@dataclass(frozen=True)
class Sent:
    """The requests of one run by name, the groups or steps by name, and what the shop counted by route and status."""

    requests: Counter[str]
    groups: Counter[str] = field(default_factory=Counter)
    by_route: dict[str, int] = field(default_factory=dict)
    by_status: dict[str, int] = field(default_factory=dict)


@pytest.fixture(scope="module")
def shop() -> Iterator[RunningTarget]:
    with running_target() as target:
        yield target


@pytest.fixture(scope="module")
def overloaded_shop() -> Iterator[RunningTarget]:
    """A shop that answers one of five requests with 503; the order of the failures is the same after each reset."""
    with running_target("--error-ratio", "20%") as target:
        yield target


def program(name: str) -> str:
    found = known(name)
    if found is None:
        pytest.skip(f"{name} is not installed: it comes with `python -m bench`, or pip install {name}")
    return found


def named(method: str, name: str, url: str) -> str:
    """The name of a row as all three programs can write it: the path is without the shop's address, after a method."""
    path = name.removeprefix(url)
    return path if METHOD.match(path) else f"{method} {path}"


def k6(topic: str, url: str, folder: Path) -> Sent:
    segments: tuple[tuple[str, ...], ...] = ((),)
    if topic == "distributed":
        parts = ("--execution-segment-sequence", "0,1/2,1", "--execution-segment")
        segments = ((*parts, "0:1/2"), (*parts, "1/2:1"))
    requests, groups = Counter[str](), Counter[str]()
    for number, segment in enumerate(segments):
        out = folder / f"k6-{number}.csv"
        command = [program("k6"), "run", "--quiet", *segment, "--out", f"csv={out}", f"{FOLDER}/k6/{topic}.js"]
        env = {**os.environ, "BASE_URL": url, "K6_NO_USAGE_REPORT": "true"}
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, env=env)
        with out.open() as file:
            for row in csv.DictReader(file):
                group = row["group"].rpartition("::")[2]
                if row["metric_name"] == "http_reqs" and group not in ("setup", "teardown"):
                    requests[named(row["method"], row["name"], url)] += 1
                elif row["metric_name"] == "group_duration" and group not in ("", "setup", "teardown"):
                    groups[group] += 1
    return Sent(requests, groups)


def locust(topic: str, url: str, folder: Path) -> Sent:
    processes = ("--processes", "2") if topic == "distributed" else ()
    users = {"arrival_rate": "10", "retry": "1"}.get(topic, "4")
    script = str(FOLDER / "locust" / f"{topic}.py")
    command = [program("locust"), "--locustfile", script, "--host", url, "--headless", *processes]
    command += [
        "--users",
        users,
        "--spawn-rate",
        users,
        "--json-file",
        str(folder / "locust"),
        "--exit-code-on-error",
        "0",
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120, cwd=folder)
    assert done.returncode == 0, done.stderr
    requests, groups = Counter[str](), Counter[str]()
    for row in json.loads((folder / "locust.json").read_text()):
        if row["method"] == "group":
            groups[row["name"]] = row["num_requests"]
        else:
            requests[named(row["method"], row["name"], url)] += row["num_requests"]
    return Sent(requests, groups)


def ours(topic: str, url: str, folder: Path, plan: str = "plan") -> Sent:
    done = loadgen(
        "run", f"{FOLDER}/scenarios/{topic}.py:{plan}", "--target", url, "--quiet", runs_dir=folder / f"runs-{plan}"
    )
    assert done.exit_code in (0, 4), done.err  # 4: the machine was too busy for times; counts hold
    requests, groups = Counter[str](), Counter[str]()
    for row in done.summary["series"]:
        if row["region"] == row["outcome"] == "*":
            if row["kind"] == "request":
                requests[named("GET", row["request"], url)] += row["count"]
            elif row["kind"] == "step":
                groups[row["step"]] += row["count"]
    return Sent(requests, groups)


# -- quick ----------------------------------------------------------------------------------------


def test_there_are_fifteen_topics_and_each_has_a_script_for_each_program() -> None:
    assert len(TOPICS) == 15
    assert sorted(path.stem for path in (FOLDER / "k6").glob("*.js")) == list(TOPICS)
    assert sorted(path.stem for path in (FOLDER / "locust").glob("*.py") if path.stem != "counted") == list(TOPICS)


@pytest.mark.parametrize("page", ["k6", "locust"])
def test_the_page_links_each_script_and_the_scenario_of_ours(page: str) -> None:
    text = (FOLDER / f"{page}.md").read_text()
    ending = "js" if page == "k6" else "py"

    assert not [topic for topic in TOPICS if f"({page}/{topic}.{ending})" not in text]
    assert not [topic for topic in TOPICS if f"(scenarios/{topic}.py)" not in text]


@pytest.mark.parametrize("topic", TOPICS)
async def test_each_scenario_loads_and_its_journeys_end_well(topic: str, shop: RunningTarget) -> None:
    scenario = load(FOLDER / "scenarios" / f"{topic}.py", "plan", Overrides(target=shop.url))

    outcomes = [(one.title, one.outcome, one.detail) async for one in rehearse(scenario)]

    assert outcomes
    assert all(outcome == "ok" for _, outcome, _ in outcomes), outcomes
    assert not scenario.warnings


# -- slow -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("topic", TOPICS)
def test_all_three_send_the_same_requests(
    topic: str, shop: RunningTarget, overloaded_shop: RunningTarget, tmp_path: Path
) -> None:
    program("k6"), program("locust")
    target = overloaded_shop if topic == "retry" else shop

    def counted(sent: Sent) -> Sent:
        stats = target.stats()
        return Sent(sent.requests, sent.groups, stats["by_route"], stats["by_status"])

    target.reset()
    of_k6 = counted(k6(topic, target.url, tmp_path))
    target.reset()
    of_locust = counted(locust(topic, target.url, tmp_path))
    target.reset()
    of_ours = counted(ours(topic, target.url, tmp_path))

    if topic == "arrival_rate":  # k6 may start one more at the very end
        assert of_ours.requests == {"GET /": 30}
        assert of_k6.requests["GET /"] in (30, 31)
        target.reset()
        of_ours = counted(ours(topic, target.url, tmp_path, "paced"))
        assert of_locust == of_ours
        return
    assert of_ours.requests
    assert of_k6.requests == of_ours.requests
    assert of_locust.requests == of_ours.requests
    assert of_k6.by_route == of_locust.by_route == of_ours.by_route
    assert of_k6.by_status == of_locust.by_status == of_ours.by_status
    assert of_k6.groups == of_ours.groups == of_locust.groups
    if topic not in OUTSIDE_OF_JOURNEYS:
        assert of_ours.requests.total() == sum(of_ours.by_route.values())
