"""Replays of logs: every request once, in its session's order, at its offset; nothing private; the same bytes."""

from __future__ import annotations

import gzip
import json
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from loadgen import reply
from loadgen.dsl.data.feed import Rows, open_feed
from loadgen.dsl.journey import Journey
from loadgen.dsl.loading.loader import Scenario, load
from loadgen.dsl.plans.plan_loads import lane_of
from loadgen.engine.load.schedule import due_times
from loadgen.engine.load.share import Share
from loadgen.errors import ExitCode
from loadgen.traffic.names.path_table import PathTable
from loadgen.traffic.names.path_tree import PathTree
from loadgen.traffic.reading.log_options import LogOptions
from loadgen.traffic.replays import write_replay as writing
from loadgen.traffic.replays.played_sessions import played
from loadgen.traffic.replays.session_lines import MOST_CALLS, Recorded, seconds_text
from loadgen.traffic.replays.session_spool import SessionSpool
from loadgen.traffic.replays.write_replay import ReplayOptions, write_replay
from loadgen_controller import cli
from tests.support.made_logs import SHOP, Line, lines_of, written_log

LOGS = Path(__file__).parents[1] / "data/logs"
ROOT = Path(__file__).parents[2]
RUFF = Path(sys.executable).parent / "ruff"
BEGIN_S = 1_763_632_800
AGENTS = (1, 2, 3, 7)


def replay_log(*args: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, ["replay-log", *map(str, args)], env={"COLUMNS": "200"})
    return done.exit_code, done.output


def made(folder: Path, log: Path, *options: str) -> Path:
    """The scenario of a log, in a new folder."""
    path = folder / "replay.py"
    code, output = replay_log(log, "-o", path, *options)
    assert code == 0, output
    return path


def rows_of(scenario: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (scenario.parent / "data/sessions.jsonl").read_text().splitlines()]


def urls_of(scenario: Path) -> Counter[str]:
    return Counter(call[2] for row in rows_of(scenario) for _, calls in row["steps"] for call in calls)


def journey_of(scenario: Scenario) -> Journey[Any]:
    (journey,) = scenario.journeys
    return journey


def feed_of(scenario: Scenario) -> Rows[Any]:
    feed = journey_of(scenario).feed
    assert feed is not None
    return open_feed(feed)


def arrivals_of(scenario: Scenario, agents: int) -> Iterator[tuple[int, float]]:
    """The numbers and times, in s, of the arrivals of each agent of a fleet of different machines."""
    schedule = lane_of(scenario.plan.executors[0].lower(1), "", (), ()).schedule()
    weights = [1.0 + k % 3 for k in range(agents)]
    for k in range(agents):
        for block in due_times(schedule, Share.of(k, weights, [1.0])):
            yield from zip(block.n, (ns / 1e9 for ns in block.due_ns), strict=True)


def visits(sessions: int, seed: int = 4, kind: str = "GET") -> list[Line]:
    """Sessions with paths of their own, so that each request can be found again: /s/SESSION/NUMBER."""
    rng = random.Random(seed)
    found = []
    for user in range(sessions):
        at = BEGIN_S + rng.uniform(0, 300)
        for number in range(rng.randint(1, 6)):
            found.append(Line(round(at, 3), user, kind, f"/s/{user}/{number}", 0.02))
            at += rng.choice((0.01, 0.4, 3.0))  # 0.01: before the answer of the request before it
    return sorted(found)


# -- what is sent, and when -----------------------------------------------------------------------


@pytest.mark.parametrize("agents", AGENTS)
@pytest.mark.parametrize("timing", ["think", "clock"])
def test_each_request_of_the_log_is_sent_once_on_any_number_of_agents(tmp_path: Path, timing: str, agents: int) -> None:
    lines = visits(200)
    log = written_log(lines, tmp_path / "a.log", "alb")
    scenario = load(made(tmp_path / "x", log, "--least-users", "1", "--timing", timing))
    feed = feed_of(scenario)

    arrivals = dict(arrivals_of(scenario, agents))

    assert sorted(arrivals) == list(range(200)), "each arrival belongs to one agent"
    begin_s = min(line.start_s for line in lines)
    wanted = {line.path: line.start_s - begin_s for line in lines}
    seen: Counter[str] = Counter()
    for n, due_s in arrivals.items():
        row = feed.row(n)
        assert row is not None
        calls = [call for step in row.steps for call in step.calls]
        assert [call.url for call in calls] == [f"/s/{calls[0].url.split('/')[2]}/{k}" for k in range(len(calls))]
        assert due_s == pytest.approx(wanted[calls[0].url], abs=0.002)
        seen.update(call.url for call in calls)
        if timing == "clock":
            offsets = [wanted[call.url] - wanted[calls[0].url] for call in calls]
            assert [call.at_s for call in calls] == pytest.approx(offsets, abs=0.002)
    assert seen == Counter(wanted.keys())


@pytest.mark.parametrize(
    ("timing", "speed", "steps", "thought_s"),
    [
        ("think", "1", [(0.0, [0.0, 0.005]), (2.98, [0.0])], 2.985),
        ("clock", "1", [(0.0, [0.0, 0.005, 3.005])], 0.0),
        ("think", "2", [(0.0, [0.0, 0.005]), (2.98, [0.0])], 1.4925),
    ],
)
async def test_requests_that_overlap_in_the_log_are_sent_together_and_others_after_their_pause(
    tmp_path: Path, timing: str, speed: str, steps: list[tuple[float, list[float]]], thought_s: float
) -> None:
    lines = [Line(BEGIN_S + at, 1, "GET", path, 0.02) for at, path in ((0, "/"), (0.005, "/a.css"), (3.005, "/next"))]
    log = written_log([*lines, Line(BEGIN_S + 60, 2, "GET", "/", 0.02)], tmp_path / "a.log", "alb")
    scenario = load(made(tmp_path / "x", log, "--least-users", "1", "--timing", timing, "--speed", speed))
    row = feed_of(scenario).row(0)

    trial = await journey_of(scenario).trial(
        row, replies={"GET /": reply(200), "GET /a.css": reply(200), "GET /next": reply(200)}
    )

    assert row is not None
    assert [(step.pause_s, [call.at_s for call in step.calls]) for step in row.steps] == steps
    assert trial.outcome == "ok"
    assert [request.target for request in trial.sent] == ["/", "/a.css", "/next"]
    if timing == "think":  # a trial has no concurrent pauses
        assert trial.thought_s == pytest.approx(thought_s)


async def test_a_request_that_fails_does_not_end_its_session_and_a_404_of_the_log_is_no_failure(tmp_path: Path) -> None:
    lines = [
        Line(BEGIN_S + 9 * k, 1, "GET", path, 0.02, status)
        for k, (path, status) in enumerate((("/a", 200), ("/gone", 404), ("/b", 200)))
    ]
    log = written_log([*lines, Line(BEGIN_S + 60, 2, "GET", "/a", 0.02)], tmp_path / "a.log", "alb")
    scenario = load(made(tmp_path / "x", log, "--least-users", "1"))
    journey = journey_of(scenario)
    row = feed_of(scenario).row(0)

    good = await journey.trial(row, replies={"GET /a": reply(200), "GET /gone": reply(404), "GET /b": reply(200)})
    bad = await journey.trial(row, replies={"GET /a": reply(500), "GET /gone": reply(404), "GET /b": reply(200)})

    assert good.outcome == "ok"
    assert bad.outcome == "http 500"
    assert len(bad.sent) == 3


# -- scale, and stamps of whole seconds -----------------------------------------------------------


def recorded(count: int, seed: int = 1) -> list[Recorded]:
    rng = random.Random(seed)
    starts = sorted(BEGIN_S * 10**6 + rng.randrange(0, 3_600_000_000) for _ in range(count))
    return [Recorded(start, b"%d" % (start % 7), 0, 1) for start in starts]


@pytest.mark.parametrize("scale", [0.1, 0.5, 1.5, 2, 3.3])
def test_a_scale_plays_whole_sessions_that_many_times_on_average_and_keeps_the_curve(scale: float) -> None:
    rows = recorded(20_000)

    found = list(played(rows, scale, whole_seconds=False))

    assert found == sorted(found)
    assert len(found) == pytest.approx(20_000 * scale, abs=5 * sqrt(20_000))
    assert found == list(played(rows, scale, whole_seconds=False)), "the same each time"
    minutes, was = (np.bincount([(r.start_us // 10**6 - BEGIN_S) // 60 for r in some]) for some in (found, rows))
    assert np.abs(minutes - was * scale).max() < 5 * sqrt(was.max() * max(scale, 1))
    if scale >= 1:
        assert {row.start_us for row in rows} <= {row.start_us for row in found}, "the first copy keeps its start"


def test_a_scale_of_a_half_leaves_out_sessions_that_look_alike_one_by_one() -> None:
    rows = [Recorded(BEGIN_S * 10**6, b"x", 0, 1)] * 1_000

    assert 400 < len(list(played(rows, 0.5, whole_seconds=False))) < 600


def test_stamps_of_whole_seconds_do_not_become_bursts() -> None:
    rows = [replace(row, start_us=row.start_us // 10**6 * 10**6) for row in recorded(5_000)]

    found = list(played(rows, 1, whole_seconds=True))

    assert [row.start_us // 10**6 for row in found] == [row.start_us // 10**6 for row in rows]
    fractions = np.array([row.start_us % 10**6 for row in found]) / 1e6
    assert np.bincount((fractions * 10).astype(int)) == pytest.approx(np.full(10, 500), abs=110)


def test_seconds_have_at_most_three_decimals() -> None:
    assert [seconds_text(us) for us in (0, 499, 500, 1_500_000, 2_000_000, 2_010_400)] == [
        "0", "0", "0.001", "1.5", "2", "2.01",
    ]  # fmt: skip


# -- files -----------------------------------------------------------------------------------------


MONTH = re.compile(rb"(\[\d\d/\w{3}/)\d{4}")
"""The year of a combined log: these examples span 7 years, and a load lasts at most one."""
FIXTURES: list[tuple[str, tuple[str, ...]]] = [
    ("apache_logs_elastic.log.gz", ()),
    ("apache_logs_elastic.log.gz", ("--timing", "clock", "--scale", "0.5", "--queries", "--speed", "3.5")),
    ("alb_examples_vrl.log", ("--least-users", "1", "--max-rejects", "50%", "--writes")),
    ("webreadr_combined_log.clf", ("--least-users", "1", "--target", f"https://{'a' * 90}.b")),
    ("webreadr_log.aws", ("--least-users", "1", "--queries")),
    ("webreadr_s3.log", ("--least-users", "1", "--writes", "--scale", "2")),
]


def test_what_is_written_loads_is_typed_and_keeps_its_form(tmp_path: Path) -> None:
    paths = []
    for number, (fixture, options) in enumerate(FIXTURES):
        log = tmp_path / f"{number}-{fixture}"
        log.write_bytes(MONTH.sub(rb"\g<1>2018", (LOGS / fixture).read_bytes().replace(b"2021-03-1", b"2018-07-0")))
        path = made(tmp_path / str(number), log, *options)
        scenario = load(path)
        assert len(feed_of(scenario)) == len(rows_of(path))
        assert scenario.plan.executors[0].lower(1)
        paths.append(str(path.rename(path.with_name(f"replay{number}.py"))))

    for length in ("88", "120"):
        command = [str(RUFF), "format", "--isolated", "--check", "--line-length", length, *paths]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
    typed = subprocess.run(
        [sys.executable, "-m", "mypy", *paths], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert typed.returncode == 0, typed.stdout


def test_any_order_of_the_lines_gives_the_same_bytes(tmp_path: Path) -> None:
    lines = written_log(lines_of(SHOP, 400, 2), tmp_path / "a.log", "combined").read_text().splitlines(keepends=True)
    random.Random(1).shuffle(lines)
    (tmp_path / "b.log").write_text("".join(lines))

    one, other = (
        made(tmp_path / name, tmp_path / f"{name}.log", "--scale", "1.5", "--queries", "--writes") for name in "ab"
    )

    sessions = "data/sessions.jsonl"
    assert (one.parent / sessions).read_bytes() == (other.parent / sessions).read_bytes()
    assert one.read_text() == other.read_text().replace("b.log", "a.log")


def test_rows_in_temporary_files_give_the_same_sessions(tmp_path: Path) -> None:
    log = written_log(lines_of(SHOP, 400, 2), tmp_path / "a.log", "alb")
    texts = []
    for number, memory_bytes in enumerate((10_000, 1 << 30)):
        path = tmp_path / str(number) / "replay.py"
        options = LogOptions(memory_bytes=memory_bytes)
        found = write_replay([log], options, ReplayOptions(), output=path, target="http://a", command="x")
        assert bool(found.traffic.spooled_bytes) == (memory_bytes == 10_000)
        texts.append((path.parent / "data/sessions.jsonl").read_bytes())
    assert texts[0] == texts[1]


def test_sessions_that_are_too_large_for_a_bundle_are_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = written_log(visits(100), tmp_path / "a.log", "alb")
    monkeypatch.setattr(writing, "MAX_BYTES", 8_000)

    path = made(tmp_path / "x", log, "--least-users", "1")

    assert len(feed_of(load(path))) == 100
    assert len(gzip.decompress((path.parent / "data/sessions.jsonl.gz").read_bytes()).splitlines()) == 100
    assert not (path.parent / "data/sessions.jsonl").exists()
    monkeypatch.setattr(writing, "MAX_BYTES", 800)
    code, output = replay_log(log, "-o", tmp_path / "y/replay.py", "--least-users", "1")
    assert code == 2
    assert "use a shorter log, or a smaller --scale" in output
    assert not (tmp_path / "y").exists()


def test_a_session_of_very_many_requests_is_split_into_rows(tmp_path: Path) -> None:
    lines = [Line(BEGIN_S + n / 10, 1, "GET", "/", 0.02) for n in range(2 * MOST_CALLS + 1)]
    log = written_log(lines, tmp_path / "a.log", "alb")

    path = made(tmp_path / "x", log, "--least-users", "1", "--timing", "clock")

    rows = rows_of(path)
    assert [sum(len(calls) for _, calls in row["steps"]) for row in rows] == [MOST_CALLS, MOST_CALLS, 1]
    assert [row["start"] for row in rows] == [0, 100, 200]


def test_a_log_of_one_session_is_one_iteration(tmp_path: Path) -> None:
    log = written_log([Line(BEGIN_S, 1, "GET", "/", 0.02)], tmp_path / "a.log", "alb")

    scenario = load(made(tmp_path / "x", log, "--least-users", "1"))

    assert scenario.plan.executors[0].lower(1).profile.describe() == "iterations: 1 by 1 user"


# -- what is left out and what is replaced ---------------------------------------------------------


def test_only_reads_are_sent_unless_writes_are_wanted(tmp_path: Path) -> None:
    log = written_log(lines_of(SHOP, 300, 2), tmp_path / "a.log", "alb")
    posts = sum(line.method == "POST" for line in lines_of(SHOP, 300, 2))

    path = made(tmp_path / "x", log)
    code, output = replay_log(log, "-o", tmp_path / "y/replay.py", "--writes")

    assert {call[1] for row in rows_of(path) for _, calls in row["steps"] for call in calls} == {"GET"}
    assert f"Left out: {posts} POST." in path.read_text()
    assert code == 0, output
    assert "they change its data" in output
    text = (tmp_path / "y/replay.py").read_text()
    assert "TODO(body): the log has no bodies" in text
    assert urls_of(tmp_path / "y/replay.py")["/cart"] > 0


def test_the_pause_around_a_request_that_is_left_out_contains_its_time(tmp_path: Path) -> None:
    lines = [Line(BEGIN_S + at, 1, method, "/", 0.5) for at, method in ((0, "GET"), (3, "POST"), (7, "GET"))]
    log = written_log(lines, tmp_path / "a.log", "alb")

    (row,) = rows_of(made(tmp_path / "x", log, "--least-users", "1"))

    assert [pause for pause, _ in row["steps"]] == [0, 6.5]


def test_ids_of_the_target_replace_those_of_the_log_by_rank(tmp_path: Path) -> None:
    hits = {"8017": 5, "8001": 9, "8044": 2, "8002": 1}
    paths = [
        (user, f"/products/{sku}{more}")
        for sku, count in hits.items()
        for user in range(count)
        for more in ("", "/reviews")
    ]
    lines = [Line(BEGIN_S + n, 100 * n + user, "GET", path, 0.02) for n, (user, path) in enumerate(paths)]
    log = written_log(sorted(lines), tmp_path / "a.log", "alb")
    (tmp_path / "catalogue.csv").write_text("name,sku\nlamp,A 1\nmug,B\noak,C\n")

    options = (
        "--name",
        "/products/{sku}",
        "--name",
        "/products/{sku}/reviews",
        "--map",
        f"sku={tmp_path / 'catalogue.csv'}",
    )
    path = made(tmp_path / "x", log, *options)

    found = urls_of(path)
    assert found == {
        f"/products/{sku}{more}": count
        for sku, count in (("A%201", 9), ("B", 5), ("C", 2))
        for more in ("", "/reviews")
    } | {"/products/A%201": 10, "/products/A%201/reviews": 10}, "the fourth value has no row, so it begins again"
    assert "80" not in "".join(urls_of(path))


def test_values_that_few_users_sent_become_ranks_that_keep_their_order(tmp_path: Path) -> None:
    orders = [("7001", 9), ("7002", 3), ("7003", 2), ("7004", 1)]
    lines = [
        Line(BEGIN_S + 40 * n + k, user, "GET", f"/orders/{order}", 0.02)
        for n, (order, count) in enumerate(orders)
        for k, user in enumerate([n] * count if n else range(count))
    ]
    log = written_log(sorted(lines), tmp_path / "a.log", "alb")

    assert urls_of(made(tmp_path / "x", log)) == {"/orders/7001": 9, "/orders/2": 3, "/orders/3": 2, "/orders/4": 1}
    assert urls_of(made(tmp_path / "y", log, "--least-users", "1")) == {f"/orders/{order}": n for order, n in orders}


def test_queries_are_left_out_or_kept_field_by_field(tmp_path: Path) -> None:
    lines = [
        Line(BEGIN_S + user, user, "GET", f"/search?q=lamp&page=2&sid=x{user}&user=jane{user}%40a.de", 0.02)
        for user in range(9)
    ]
    lines += [
        Line(BEGIN_S + 60 + user, user, "GET", f"/search?q=rare{user}&odd{user}=1&q=lamp", 0.02) for user in range(2)
    ]
    log = written_log(sorted(lines), tmp_path / "a.log", "alb")

    without, kept = made(tmp_path / "x", log), made(tmp_path / "y", log, "--queries")

    assert urls_of(without) == {"/search": 11}
    assert "11 requests had a query, which is left out" in without.read_text()
    assert set(urls_of(kept)) == {
        *(f"/search?q=lamp&page=2&sid=sid-{n}&user=user-{n}" for n in range(1, 10)),
        "/search?q=q-2&q=lamp", "/search?q=q-3&q=lamp",
    }  # fmt: skip


@pytest.mark.parametrize(
    "options", [(), ("--queries",), ("--queries", "--timing", "clock", "--scale", "2", "--writes")]
)
def test_planted_secrets_are_in_none_of_the_files(tmp_path: Path, options: tuple[str, ...]) -> None:
    secrets = [f"s3cr3t{n:03}Zq" for n in range(200)]
    log = written_log(lines_of(SHOP, 300, 1), tmp_path / "access.log", "combined")
    entry = '10.0.{}.{} - jane{}@shop.example [20/Nov/2025:11:{:02}:09 +0000] "{} {} HTTP/1.1" 200 5 "-" "{}"\n'
    jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
    with log.open("a") as file:
        for n, secret in enumerate(secrets):
            for path in (
                f"/reset/{secret}", f"/login?token={secret}&card=4111111111111111", f"/a;sid={secret}/x",
                f"/search?q={secret}", f"/search?{secret}=1", f"/x/{secret}/{secret}.json?a=b#{secret}",
                f"http://{secret}.example/y?u=https://a:{secret}@b",
            ):  # fmt: skip
                for method in ("GET", "POST"):
                    file.write(entry.format(n // 200, n, n, n % 60, method, path, f"agent-{secret}"))
            for other in range(6):  # links and tokens that several people used are no reason to publish them
                for path in (
                    f"/unsubscribe/jane{n}@shop.example", f"/u?mail=jane{n}%40shop.example&password={secret}",
                    f"/s/{jwt}", f"/s?t={jwt}", f"/s?api_key=AKIA{secret.upper()}ABCDEF",
                ):  # fmt: skip
                    file.write(entry.format(9, other, n, n % 60, "GET", path, "x"))

    scenario = made(tmp_path / "x", log, *options)

    texts = "".join(p.read_text() for p in scenario.parent.rglob("*.*") if p.is_file())
    assert not [secret for secret in secrets if secret in texts or secret.upper() in texts]
    assert not [
        text for text in ("4111111111111111", "@shop", "%40shop", "jane", "agent-", "10.0.", jwt[:20]) if text in texts
    ]


@pytest.mark.parametrize(
    ("users", "sent"),
    [
        (2, {"/hidden/1": 4, "/hidden/2": 2, "/hidden/3": 2}),
        (9, {"/search": 9, "/search?q=lamp": 9, "/products/0/slug-0": 9, "/slug-1": 9}),
    ],
)
def test_long_paths_and_queries_are_never_sent(tmp_path: Path, users: int, sent: dict[str, int]) -> None:
    long = "a" * 300
    paths = ("/search?q=" + long, f"/products/7/{long}", f"/{long}", "/search?q=lamp")
    lines = [
        Line(BEGIN_S + n + 60 * user, user, "GET", path, 0.02) for user in range(users) for n, path in enumerate(paths)
    ]
    log = written_log(sorted(lines), tmp_path / "a.log", "alb")

    assert urls_of(made(tmp_path / "x", log, "--queries")) == sent


def test_queries_that_do_not_fit_into_the_table_are_lost_and_paths_are_kept() -> None:
    table = PathTable(PathTree(), most=6, keeps_queries=True)

    numbers = [table.number(b"/search?q=%d" % n) for n in range(5)] + [table.number(b"/p/%d" % n) for n in range(2)]

    assert numbers == [0, 1, 2, 3, 3, 4, 5]
    assert set(table.numbers) == {b"/search?q=0", b"/search?q=1", b"/search?q=2", b"/search", b"/p/0", b"/p/1"}
    assert not table.is_complete
    places = table.places()
    assert len({int(place) for place in places[:4]}) == 1
    assert table.number(b"/p/2#x") == table.number(b"/p/3") == 6


# -- errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-o", "shop.txt"), "is not the name of a Python file"),
        (("-o", "there.py"), "there.py already exists"),
        (("--timing", "fast"), '--timing: invalid value "fast"'),
        (("--scale", "0"), "--scale: 0 must be above 0, and at most 1,000"),
        (("--scale", "nan"), "--scale: nan must be above 0"),
        (("--scale", "1001"), "--scale: 1001 must be above 0, and at most 1,000"),
        (("--speed", "-1"), "--speed: -1 must be above 0"),
        (("--target", "shop.example"), "--target: invalid URL"),
        (("--target", "http://me:secret@a.example"), "--target: invalid URL: the URL contains credentials"),
        (("--map", "sku"), '--map: invalid value "sku"'),
        (("--map", "sku=missing.csv"), "--map: missing.csv cannot be read: No such file or directory"),
        (("--map", "sku=empty.csv"), "--map: empty.csv has no ids"),
        (("--map", "sku=ids.csv", "--map", "sku=ids.csv"), "--map: sku is given twice"),
        (("--map", "sku=hole.csv"), "--map: hole.csv:3: the row has no id"),
        (("--map", "sku=latin.csv"), "--map: latin.csv is not UTF-8"),
        (("--map", "sku=quote.csv"), "--map: quote.csv:2: invalid CSV"),
        (("--map", "colour=ids.csv"), '--map: no path has a parameter "colour"'),
        (("--field", "x=y"), "--field: "),
        (("--speed", "0.000001"), "days, but a load lasts at most 366 days"),
        (("--scale", "0.0001"), "--scale 0.0001 leaves none of the 20 sessions"),
    ],
)
def test_wrong_options_are_errors_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    written_log(visits(20), tmp_path / "a.log", "alb")
    files = {"there.py": b"mine", "empty.csv": b"sku\n", "ids.csv": b"sku\nA\n", "hole.csv": b"a,sku\n1,2\n3\n"}
    files |= {"latin.csv": b"sku\n\xe9\n", "quote.csv": b'sku\n"a"b\n'}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    there = {path.name for path in tmp_path.iterdir()}

    code, output = replay_log("a.log", *(() if "-o" in options else ("-o", "x/replay.py")), *options)

    assert code == 2, output
    assert message in output
    assert {path.name for path in tmp_path.iterdir()} == there


@pytest.mark.parametrize("name", ["replay.py", "data/sessions.jsonl"])
def test_a_file_that_is_in_the_way_is_kept_and_nothing_else_is_written(tmp_path: Path, name: str) -> None:
    log = written_log(visits(20), tmp_path / "a.log", "alb")
    (tmp_path / "x/data").mkdir(parents=True)
    (tmp_path / "x" / name).write_text("mine")

    code, output = replay_log(log, "-o", tmp_path / "x/replay.py")

    assert code == 2
    assert "already exists" in output
    assert {p.name for p in (tmp_path / "x").rglob("*.*")} == {Path(name).name}
    assert (tmp_path / "x" / name).read_text() == "mine"


def test_a_log_of_writes_only_is_an_error_with_the_option_that_sends_them(tmp_path: Path) -> None:
    log = written_log(visits(20, kind="POST"), tmp_path / "a.log", "alb")

    code, output = replay_log(log, "-o", tmp_path / "x/replay.py")

    assert code == 2
    assert "no request is left" in output
    assert "--writes" in output


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the logs have no request"),
        (b"hello\n", "unknown log format"),
        (b"\x1f\x8b\x08\0", "the archive ends too early"),
        (b"\x7fELF\0\x01\0\n" * 50, "unknown log format"),
        (None, "file not found"),
    ],
)
def test_a_bad_log_is_an_error_and_nothing_is_written(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "a.log").write_bytes(content)

    code, output = replay_log(tmp_path / "a.log", "-o", tmp_path / "x/replay.py")

    assert code == 2, output
    assert message in output
    assert not (tmp_path / "x").exists()


def test_a_full_disk_is_an_error_and_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = written_log(visits(20), tmp_path / "a.log", "alb")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SessionSpool, "add", full)
    code, output = replay_log(log, "-o", tmp_path / "x/replay.py")

    assert code == ExitCode.FLEET  # of StorageError
    assert "No space left on device" in output
    assert "set TMPDIR to a folder with more space" in output
    assert not (tmp_path / "x").exists()


async def test_a_path_that_begins_with_two_slashes_is_sent_to_the_target(tmp_path: Path) -> None:
    lines = [Line(BEGIN_S + user, user, "GET", "//evil.example/x", 0.02) for user in range(6)]
    scenario = load(made(tmp_path / "x", written_log(lines, tmp_path / "a.log", "combined")))
    row = feed_of(scenario).row(0)

    trial = await journey_of(scenario).trial(row, replies={"GET //evil.example/x": reply(200)})

    assert [request.target for request in trial.sent] == ["//evil.example/x"]


def test_the_first_line_of_the_docstring_describes_the_plan(tmp_path: Path) -> None:
    log = written_log(visits(20), tmp_path / "a.log", "alb")

    assert load(made(tmp_path / "x", log)).plan.doc.startswith("Replays access logs, 2025-11-20 10:0")
