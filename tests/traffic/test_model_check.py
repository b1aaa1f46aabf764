"""`loadgen model check`: scenarios as they are now, and logs of tests, against the log of the model."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from loadgen.dsl.loading.loader import load
from loadgen.traffic.fidelity.of_run import RunTraffic, checked_run
from loadgen.traffic.fidelity.plan_sessions import choices_of, nodes_of, sessions_of_plan
from loadgen.traffic.fidelity.plan_times import starts_of
from loadgen.traffic.fidelity.reference import Reference, reference_from
from loadgen_controller import cli
from tests.support.made_logs import SHOP, lines_of, written_log


def model(*args: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, ["model", *map(str, args)], env={"COLUMNS": "80"})
    return done.exit_code, done.output


def check(path: Path, *args: str | Path) -> tuple[int, dict[str, object], set[str]]:
    code, output = model("check", path, "--format", "json", *args)
    found = json.loads(output[output.index("{") :])
    return code, found, {row["property"] for row in found["rows"] if not row["passed"]}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of 2,500 sessions."""
    folder = tmp_path_factory.mktemp("model")
    log = written_log(lines_of(SHOP, 2_500, 8), folder / "access.log", "alb")
    code, output = model(log, "-o", folder / "shop/shop.py")
    assert code == 0, output
    assert "fidelity: faithful" in output
    _, output = model("check", folder / "shop/shop.py")
    table = output[output.index("property  ") : output.index("fidelity: ")]
    assert max(map(len, table.splitlines())) <= 80
    return folder / "shop"


@pytest.fixture
def shop(made: Path, tmp_path: Path) -> Path:
    """A copy of the model, to be edited."""
    return Path(shutil.copytree(made, tmp_path / "shop")) / "shop.py"


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def row_of(text: str, name: str) -> list[str]:
    """The lines of a node's row in the graph."""
    lines = text.splitlines()
    first = lines.index(f"        {name}: {{")
    return lines[first + 1 : lines.index("        },", first)]


def test_a_model_is_faithful_and_its_table_is_in_traffic_json(made: Path) -> None:
    facts = json.loads((made / "traffic.json").read_text())
    assert facts["fidelity"]["verdict"] == "faithful"
    assert (made / "traffic.json").stat().st_size < 200_000

    code, found, failed = check(made / "shop.py")

    assert (code, found["verdict"], failed) == (0, "faithful", set())
    assert found["unknown_nodes"] == []


def test_other_counts_in_the_graph_fail_the_transitions(shop: Path) -> None:
    leaves = next(line for line in row_of(shop.read_text(), "product") if "leave" in line)
    edited(shop, leaves, "            leave: 5_000,")

    code, found, failed = check(shop)

    assert (code, found["verdict"]) == (1, "not faithful")
    assert {"transitions", "edges", "session length"} <= failed
    assert "think" not in failed
    assert any(str(why).startswith("transitions: distance") for why in found["why"])  # type: ignore[attr-defined]


def test_other_pauses_fail_think(shop: Path) -> None:
    text = shop.read_text()
    shop.write_text(text.replace("lognormal(1.", "lognormal(2."))

    code, _, failed = check(shop)

    assert code == 1
    assert {"think", "session duration", "concurrency"} <= failed
    assert not failed & {"request mix", "transitions", "edges", "session length", "status", "total"}


def test_another_rate_fails_the_curve_and_the_total(shop: Path) -> None:
    edited(shop, "counts=True).poisson()", "counts=True, scale=0.5).poisson()")

    code, _, failed = check(shop)

    assert code == 1
    assert {"rate curve", "total", "concurrency"} <= failed
    assert not failed & {"request mix", "transitions", "session length", "think"}


def test_other_values_in_a_data_file_fail_the_skew(shop: Path) -> None:
    (file,) = (path for path in (shop.parent / "data").glob("*.csv") if "hits" in path.read_text())
    rows = [line.split(",")[0] for line in file.read_text().splitlines()]
    file.write_text("\n".join([f"{rows[0]},hits", *(f"{row},1" for row in rows[1:])]) + "\n")

    code, _, failed = check(shop)

    assert (code, failed) == (1, {"data skew", "locality"})


def test_a_node_without_requests_in_traffic_json_is_named(shop: Path) -> None:
    shop.write_text(shop.read_text().replace("post_checkout", "pay"))

    code, output = model("check", shop)

    assert code == 1
    assert "traffic.json does not have the requests of pay" in " ".join(output.split())


def test_a_load_of_users_has_no_times_that_could_be_compared(shop: Path) -> None:
    text = re.sub(r"\breplay\b(?!\()", "users", shop.read_text(), count=1)
    shop.write_text(re.sub(r"replay\(.*?\)\.poisson\(\)", 'users(5).hold("10m")', text, flags=re.DOTALL))

    code, found, failed = check(shop)

    assert (code, found["verdict"]) == (1, "partly")
    assert failed == {"rate curve", "total", "burstiness", "inter-arrival", "concurrency"}
    assert any("is not open" in str(why) for why in found["why"])  # type: ignore[attr-defined]


def test_the_log_of_a_test_is_faithful_if_it_has_the_same_traffic(made: Path, tmp_path: Path) -> None:
    same = written_log(lines_of(SHOP, 2_500, 31), tmp_path / "same.log", "alb")
    slower = written_log(lines_of(SHOP, 2_500, 31, products=2), tmp_path / "keys.log", "alb")

    code, found, failed = check(made / "shop.py", "--log", same)
    assert (code, found["against"], failed) == (0, "log", set())

    code, _, failed = check(made / "shop.py", "--log", slower)
    assert (code, failed) == (1, {"data skew", "locality"})


def test_a_test_of_another_length_is_not_compared_in_time_without_its_run(made: Path, tmp_path: Path) -> None:
    short = written_log(lines_of(SHOP, 2_500, 5, over_s=3_600), tmp_path / "short.log", "alb")

    code, found, failed = check(made / "shop.py", "--log", short)

    assert (code, found["verdict"]) == (1, "partly")
    assert failed == {"rate curve", "total", "burstiness", "inter-arrival", "concurrency"}
    assert any("the test lasted 1h" in str(why) and "--run RUN" in str(why) for why in found["why"])  # type: ignore[attr-defined]


def test_few_sessions_show_nothing(made: Path, tmp_path: Path) -> None:
    few = written_log(lines_of(SHOP, 20, 5), tmp_path / "few.log", "alb")

    code, found, _ = check(made / "shop.py", "--log", few)

    assert (code, found["verdict"]) == (1, "not measured")


def reference_and_lanes(made: Path) -> tuple[dict[str, object], Reference, tuple[object, ...]]:
    facts = json.loads((made / "traffic.json").read_text())
    return facts, reference_from(facts, "traffic.json"), load(made / "shop.py").plan.lanes


def test_simulated_sessions_take_the_ways_of_the_graph_and_draw_its_values(made: Path) -> None:
    facts, reference, lanes = reference_and_lanes(made)
    nodes = nodes_of(facts, reference.states)
    (lane,) = lanes

    pools = sessions_of_plan([lane], nodes, reference.answers, [40], seed=9)  # type: ignore[list-item]

    table, graph = pools.by_load[0], lane.journeys[0]  # type: ignore[attr-defined]
    for n in range(40):
        own = slice(table.bounds[n], table.bounds[n + 1])
        assert tuple(nodes[node].state for node in graph.path(n, seed=9)) == tuple(table.state[own])
        assert table.start[own][0] == 0
        assert (np.diff(table.start[own]) >= 0).all()
    product = next(node for node in graph.nodes if node.name == "product")
    (values,) = choices_of(product.fn)
    drawn = np.unique(table.path[table.state == nodes["product"].state])
    assert 1 < len(drawn) <= len(values)


def test_a_run_is_compared_with_its_plan_and_with_the_mix_of_the_log(made: Path) -> None:
    facts, reference, lanes = reference_and_lanes(made)
    mix = dict(zip(reference.states, reference.summary.requests.tolist(), strict=True))
    starts = starts_of(lanes[0])  # type: ignore[arg-type]
    pools = sessions_of_plan(lanes, nodes_of(facts, reference.states), reference.answers, [len(starts)], seed=3)  # type: ignore[arg-type]
    times_us = pools.by_load[0].start + starts[pools.by_load[0].session]
    run = RunTraffic(3, 1.0, mix, np.bincount(times_us // 1_000_000), len(starts))

    verdict = checked_run(run, lanes, facts, reference)  # type: ignore[arg-type]
    assert verdict.word == "faithful", verdict.reasons
    assert len(verdict.rows) == 9

    half = RunTraffic(3, 1.0, {**mix, "GET /": 3 * mix["GET /"]}, run.by_second // 2, len(starts))
    assert {"request mix", "rate curve", "total"} <= set(checked_run(half, lanes, facts, reference).failed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("no reference", "has no 'reference'"),
        ("no file", "traffic.json"),
        ("format", 'unknown format "xml"'),
        ("log", "no-such.log"),
        ("run", "no run last"),
    ],
)
def test_bad_input_is_a_sentence_and_exit_code_2(shop: Path, change: str, message: str) -> None:
    args: list[str | Path] = ["check", shop]
    facts = shop.parent / "traffic.json"
    if change == "no reference":
        document = json.loads(facts.read_text())
        del document["reference"]
        facts.write_text(json.dumps(document))
    elif change == "no file":
        facts.unlink()
    elif change == "format":
        args += ["--format", "xml"]
    elif change == "log":
        args += ["--log", "no-such.log"]
    else:
        args += ["--run", "last", "--runs-dir", shop.parent / "runs"]

    code, output = model(*args)

    assert code == 2
    assert message in " ".join(output.split())
