"""Scenarios made from logs: known chains are found again, and what is written loads, is typed and keeps its form."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from loadgen.dsl.loading.loader import load
from loadgen.profiles.profile import ArrivalProfile
from loadgen.traffic.model.gap_bins import BINS, bin_of, fitted
from loadgen.traffic.names.node_names import node_names
from loadgen.traffic.read_logs import Traffic, read_logs
from loadgen.traffic.reading.log_options import LogOptions, ModelRules
from loadgen.traffic.scenario.draft_edges import thinks_of
from loadgen.traffic.scenario.draft_of_logs import draft_of
from loadgen.traffic.scenario.write_scenario import scenario_text
from loadgen.traffic.sessions.session_arrivals import session_arrivals
from loadgen_controller import cli
from tests.support.made_logs import LEAVE, SHOP, lines_of, written_log
from tests.support.typed import check_types

LOGS = Path(__file__).parents[1] / "data/logs"
RUFF = Path(sys.executable).parent / "ruff"


def traffic_of(path: Path, **options: object) -> Traffic:
    return read_logs([path], LogOptions(model=ModelRules(classes=1), **options))  # type: ignore[arg-type]


def model(*args: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, ["model", *map(str, args)], env={"COLUMNS": "110"})
    return done.exit_code, done.output


def edges_off(traffic: Traffic, least: float) -> tuple[int, list[str]]:
    """The number of edges of the known chain, and those that are not within their bound."""
    counts = traffic.model
    assert counts is not None
    at = {name.replace("{id}", "{}"): n for n, name in enumerate(counts.states)}
    assert set(at) == set(SHOP.rows)
    walks = counts.classes[0].walks
    off, seen = [], 0
    for name, row in SHOP.rows.items():
        moves = walks.moves[at[name]]
        total = int(moves.sum() + walks.leaves[at[name]])
        for to, share in row.items():
            found = (walks.leaves[at[name]] if to == LEAVE else moves[at[to]]) / total
            seen += 1
            if abs(found - share) > max(least, 3.5 * sqrt(share * (1 - share) / total)):
                off.append(f"{name} to {to}: {found:.3f} instead of {share}")
    return seen, off


def recovered(folder: Path, kind: str, seeds: range, least: float) -> tuple[int, list[str]]:
    seen, off = 0, list[str]()
    for seed in seeds:
        path = written_log(lines_of(SHOP, 3_000, seed), folder / f"{kind}{seed}.log", kind)
        one, wrong = edges_off(traffic_of(path), least)
        seen, off = seen + one, off + wrong
    return seen, off


@pytest.mark.parametrize(("kind", "least"), [("alb", 0.01), ("json", 0.01), ("combined", 0.02)])
def test_the_chain_of_a_log_is_found_again(tmp_path: Path, kind: str, least: float) -> None:
    """Stamps of whole seconds hide the order of requests within a second: 0.02 for combined logs."""
    seen, off = recovered(tmp_path, kind, range(2), least)

    assert len(off) <= 0.05 * seen, off


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "least"), [("alb", 0.01), ("json", 0.01), ("combined", 0.02)])
def test_chains_of_200_seeds_are_found_again_in_95_percent(tmp_path: Path, kind: str, least: float) -> None:
    seen, off = recovered(tmp_path, kind, range(200), least)

    assert len(off) <= 0.05 * seen, off[:20]


def test_pauses_are_found_again_and_whole_seconds_are_spread(tmp_path: Path) -> None:
    lines = lines_of(SHOP, 4_000, 3)
    for kind, within in (("alb", 0.06), ("combined", 0.12)):
        traffic = traffic_of(written_log(lines, tmp_path / f"{kind}.log", kind))
        counts = traffic.model
        assert counts is not None
        assert traffic.has_fractions == (kind == "alb")
        thinks = thinks_of(counts.classes[0].walks, whole_seconds=not traffic.has_fractions)
        at = {name: n for n, name in enumerate(counts.states)}
        product, cart, home = at["GET /products/{id}"], at["POST /cart"], at["GET /"]
        for place, mu, sigma in (((product, cart), 1.8, 0.7), ((home, product), 1.2, 0.5)):
            think, _ = thinks[place]
            assert think.mu == pytest.approx(mu, abs=within)
            assert think.sigma == pytest.approx(sigma, abs=within)
            assert think.distance < 0.05
            assert think.median == pytest.approx(np.exp(mu), rel=within)


def test_times_in_bins_have_the_quantiles_of_the_times() -> None:
    rng = np.random.default_rng(5)
    for times_s in (rng.lognormal(1, 0.8, 20_000), rng.uniform(0.5, 30, 20_000), rng.exponential(4, 20_000) + 0.01):
        think = fitted(np.bincount(bin_of((times_s * 1e6).astype(np.int64)), minlength=BINS))
        assert think is not None
        expected = np.quantile(times_s, np.linspace(0, 1, 41))
        assert np.array(think.quantiles) == pytest.approx(expected, rel=0.023)
        assert list(think.quantiles) == sorted(think.quantiles)
    assert fitted(np.zeros(BINS, np.int64)) is None


def test_starts_at_random_are_told_from_bursts() -> None:
    rng = np.random.default_rng(2)
    for rate, step_s in ((5.0, 1), (0.1, 10)):
        count = int(rate * 36_000)
        at_random = session_arrivals(np.sort(rng.uniform(0, 36_000, count) * 1e6).astype(np.int64))
        assert (at_random.step_s, at_random.cv) == (step_s, None)
        assert at_random.dispersion == pytest.approx(1, abs=0.06)
        assert sum(at_random.counts) == count
    in_bursts = session_arrivals(np.sort(np.repeat(rng.uniform(0, 36_000, 40_000), 4) * 1e6).astype(np.int64))
    assert in_bursts.cv == pytest.approx(2, abs=0.05)
    by_a_clock = session_arrivals(np.arange(36_000) * 1_000_000)
    assert by_a_clock.cv == 0.05


@pytest.mark.parametrize(
    ("fixture", "options"),
    [
        ("apache_logs_elastic.log.gz", ()),
        ("alb_examples_vrl.log", ("--least-users", "1", "--max-rejects", "50%")),
        ("webreadr_combined_log.clf", ("--least-users", "1")),
        ("webreadr_log.aws", ("--least-users", "1")),
        ("webreadr_s3.log", ("--least-users", "1")),
    ],
)
def test_what_is_written_loads_is_typed_and_keeps_its_form(
    tmp_path: Path, fixture: str, options: tuple[str, ...]
) -> None:
    path = tmp_path / "shop/shop.py"

    code, output = model(LOGS / fixture, "-o", path, *options)

    assert code == 0, output
    scenario = load(path)
    assert {one.relative_to(path.parent).as_posix() for one in scenario.files} == {
        one.relative_to(path.parent).as_posix()
        for one in path.parent.rglob("*.*")
        if one.name not in ("traffic.json", "rejects.jsonl", "report.html")
    }
    for length in ("88", "120"):
        command = [str(RUFF), "format", "--isolated", "--check", "--line-length", length, str(path)]
        assert subprocess.run(command, check=False, capture_output=True).returncode == 0
    check_types(tmp_path, path.read_text())


async def test_sessions_of_the_scenario_walk_the_chain_of_the_log(tmp_path: Path) -> None:
    log = written_log(lines_of(SHOP, 3_000, 8), tmp_path / "access.log", "alb")
    code, output = model(log, "-o", tmp_path / "shop/shop.py")
    assert code == 0, output
    scenario = load(tmp_path / "shop/shop.py")
    (shop,) = scenario.journeys
    assert shop.is_graph

    steps: Counter[tuple[str, str]] = Counter()
    for n in range(3_000):
        way = shop.path(n, seed=4)  # type: ignore[attr-defined]
        steps.update(zip(way, (*way[1:], LEAVE), strict=True))

    names = {
        "home": "GET /",
        "search": "GET /search",
        "product": "GET /products/{}",
        "post_cart": "POST /cart",
        "post_checkout": "POST /checkout",
        LEAVE: LEAVE,
    }
    for name, row in ((node, SHOP.rows[names[node]]) for node in list(names)[:-1]):
        total = sum(count for (at, _), count in steps.items() if at == name)
        for (at, to), count in steps.items():
            if at == name:
                share = row.get(names[to], 0.0)
                assert count / total == pytest.approx(share, abs=max(0.02, 5 * sqrt(share * (1 - share) / total)))
    profile = scenario.plan.executors[0].lower(1).profile
    assert isinstance(profile, ArrivalProfile)
    assert profile.total() == pytest.approx(3_000, abs=5 * sqrt(3_000))


def test_any_order_of_the_lines_gives_the_same_bytes(tmp_path: Path) -> None:
    lines = written_log(lines_of(SHOP, 400, 2), tmp_path / "a.log", "alb").read_text().splitlines(keepends=True)
    random.Random(1).shuffle(lines)
    (tmp_path / "b1.log").write_text("".join(lines[:700]))
    (tmp_path / "b2.log").write_text("".join(lines[700:]))

    written = []
    for number, names in enumerate((["a.log"], ["b1.log", "b2.log"])):
        folder = tmp_path / str(number)
        code, output = model(*(tmp_path / name for name in names), "-o", folder / "shop.py")
        assert code == 0, output
        files = {p.relative_to(folder).as_posix(): p.read_text() for p in sorted(folder.rglob("*.*")) if p.is_file()}
        made_by = next(text for text in files["shop.py"].splitlines() if text.startswith("Made by"))
        files["shop.py"] = files["shop.py"].replace(made_by, "")
        facts = json.loads(files["traffic.json"])
        del facts["inputs"]
        page = files["report.html"]
        assert page.count(names[0]) == 1  # in the list of logs
        files["report.html"] = page[: page.index('<section id="reproduce">')].replace("2 files", "1 file")
        files["traffic.json"] = json.dumps(facts)
        written.append(files)

    assert written[0] == written[1]


def test_traffic_json_has_the_keys_that_others_rely_on(tmp_path: Path) -> None:
    log = written_log(lines_of(SHOP, 500, 8), tmp_path / "access.log", "alb")
    assert model(log, "-o", tmp_path / "shop/shop.py")[0] == 0

    facts = json.loads((tmp_path / "shop/traffic.json").read_text())

    accounting = facts["accounting"]
    assert accounting["read"] == accounting["taken"] + accounting["rejected"] + accounting["directives"] + sum(
        accounting["excluded"].values()
    )
    assert facts["sessions"]["count"] == 500
    assert facts["sessions"]["timeout_s"] == 1_800
    (one,) = facts["classes"]
    assert {"from", "to", "count", "share"} == set(one["edges"][0])
    for node in {edge["from"] for edge in one["edges"]}:
        assert sum(edge["share"] for edge in one["edges"] if edge["from"] == node) == pytest.approx(1)
    assert facts["arrivals"]["bin_s"] == 60
    assert sum(facts["arrivals"]["counts"]) == 500
    assert {"raw", "name", "count"} == set(facts["names"][0])
    fidelity = facts["fidelity"]
    assert fidelity["verdict"] in ("faithful", "partly", "not faithful", "not measured")
    for row in fidelity["rows"]:
        assert {"property", "distance", "floor", "limit", "passed"} <= set(row)
    assert f">{fidelity['verdict']}</span>" in (tmp_path / "shop/report.html").read_text()


def test_planted_secrets_are_in_none_of_the_files(tmp_path: Path) -> None:
    secrets = [f"s3cr3t{n:03}Zq" for n in range(200)]
    lines = lines_of(SHOP, 300, 1)
    log = written_log(lines, tmp_path / "access.log", "combined")
    entry = '10.0.{}.{} - jane{}@shop.example [20/Nov/2025:11:{:02}:09 +0000] "GET {} HTTP/1.1" 200 5 "-" "{}"\n'
    with log.open("a") as file:
        for n, secret in enumerate(secrets):
            for path in (f"/reset/{secret}", f"/login?token={secret}&card=4111111111111111", f"/a;sid={secret}/x"):
                file.write(entry.format(n // 200, n, n, n % 60, path, f"agent-{secret}"))
            for other in range(6):  # a link that several people used is no reason to publish an address
                file.write(entry.format(9, other, n, n % 60, f"/unsubscribe/jane{n}@shop.example", "x"))

    assert model(log, "-o", tmp_path / "shop/shop.py")[0] == 0

    texts = "".join(p.read_text() for p in (tmp_path / "shop").rglob("*.*") if p.is_file())
    assert not [secret for secret in secrets if secret in texts]
    assert not [text for text in ("4111111111111111", "@shop", "jane", "agent-", "10.0.") if text in texts]


def test_a_log_with_edited_stamps_gets_a_mean_rate_and_says_so(tmp_path: Path) -> None:
    traffic = traffic_of(LOGS / "apache_logs_elastic.log.gz")

    assert traffic.no_arrivals
    text = scenario_text(draft_of(traffic, None, target="http://127.0.0.1:1", command="loadgen model"))
    assert "TODO(load): the log has rounded or missing times, so this is the mean rate of sessions" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-o", "shop.txt"), "is not the name of a Python file"),
        (("-o", "x/random.py"), "would hide the Python module random"),
        (("-o", "there.py"), "there.py already exists"),
        (("-o", "x/shop.py", "--target", "shop.example"), "--target: invalid URL"),
        (("-o", "x/shop.py", "--target", "http://me:secret@a.example"), "invalid URL: the URL contains credentials"),
    ],
)
def test_a_wrong_output_is_an_error_before_a_log_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.py").write_text("mine")

    code, output = model("missing.log", *options)

    assert code == 2
    assert message in output
    assert [p.name for p in tmp_path.iterdir()] == ["there.py"]
    assert (tmp_path / "there.py").read_text() == "mine"


def test_a_data_file_that_is_in_the_way_leaves_nothing_behind(tmp_path: Path) -> None:
    log = written_log(lines_of(SHOP, 100, 1), tmp_path / "access.log", "alb")
    (tmp_path / "shop/data").mkdir(parents=True)
    (tmp_path / "shop/data/arrivals.csv").write_text("mine")

    code, output = model(log, "-o", tmp_path / "shop/shop.py")

    assert code == 2
    assert "arrivals.csvalreadyexists" in "".join(output.split())
    assert {p.name for p in (tmp_path / "shop").rglob("*.*")} == {"arrivals.csv"}
    assert (tmp_path / "shop/data/arrivals.csv").read_text() == "mine"


def test_no_node_hides_the_range_with_which_a_request_is_repeated(tmp_path: Path) -> None:
    at = datetime(2026, 11, 20, 8)
    lines = []
    for user in range(60):
        for second, page in enumerate(("/range", "/cart", "/img", "/img", "/range")):
            stamp = f"{at + timedelta(seconds=7 * user + 10 * (second // 4)):%d/%b/%Y:%H:%M:%S} +0000"
            lines.append(f'10.0.0.{user} - - [{stamp}] "GET {page} HTTP/1.1" 200 12 "-" "Mozilla/5.0"')
    log = tmp_path / "access.log"
    log.write_text("\n".join(lines) + "\n")

    code, output = model(log, "-o", tmp_path / "shop/shop.py")

    assert code == 0, output
    text = (tmp_path / "shop/shop.py").read_text()
    assert "async def range_2(" in text
    assert "in range(2):" in text


def test_names_of_functions_are_python_names_that_differ() -> None:
    paths = ["/", "/a/b", "/c/b", "/class", "/user", "/products/{id}", "/products", "/é/x", "/7", "/{id}", "/p/{a}/{b}"]
    names = node_names([f"GET {path}" for path in paths] + ["POST /cart", "DELETE /cart", "PROPFIND /"])

    assert len(set(names.values())) == len(names)
    assert all(name.isidentifier() for name in names.values())
    assert names["GET /products/{id}"] == "product"
    assert names["POST /cart"] == "post_cart"
    assert names["GET /"] == "home"
