"""Requests that are not traffic of users: which ones are excluded, counted how, and what the switches change."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from loadgen.errors import UsageError
from loadgen.traffic.filters.agents import CRAWLER, HEALTH, kind_of_agent
from loadgen.traffic.filters.exclusions import KINDS, PATTERN, PREFLIGHT, STATIC, ExclusionRules, Exclusions
from loadgen.traffic.names.naming import NameRules
from loadgen.traffic.read_logs import Traffic, read_logs
from loadgen.traffic.reading.log_options import LogOptions, ModelRules
from loadgen.traffic.sessions.sessions import users_with_many_at_once
from loadgen_controller import cli

DATA = Path(__file__).parents[1] / "data"
ELASTIC = DATA / "logs/apache_logs_elastic.log.gz"
PERSON = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
ALL = LogOptions(names=NameRules(least_users=1, coverage=1.0), model=ModelRules(classes=1, has_actions=False))


def entry(n: int, second: float, path: str = "/", agent: str = PERSON, method: str = "GET", took_s: float = 0.0) -> str:
    whole = int(second)
    clock = f"{10 + whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"
    request = f'"{method} {path} HTTP/1.1"'
    return f'10.0.{n // 250}.{n % 250} - - [17/May/2015:{clock} +0000] {request} 200 5 "-" "{agent}" {took_s}'


def read(folder: Path, lines: Iterable[str], options: LogOptions = ALL, **rules: object) -> Traffic:
    (folder / "a.log").write_text("\n".join(lines) + "\n")
    formats = replace(options.formats, time_after="s")
    rules_of = ExclusionRules(**rules)  # type: ignore[arg-type]
    return read_logs([folder / "a.log"], replace(options, formats=formats, exclusions=rules_of))


def people(count: int = 3, seed: int = 1) -> list[str]:
    rng = random.Random(seed)
    return [entry(n, rng.uniform(0, 3_000), f"/p{rng.randrange(5)}") for n in range(count) for _ in range(4)]


def agents_of_package() -> list[bytes]:
    return gzip.decompress((DATA / "agents/crawler_user_agents.txt.gz").read_bytes()).splitlines()


def test_more_than_half_of_the_elastic_log_are_static_files() -> None:
    """Known answer: 54 %, counted here without loadgen."""
    lines = gzip.decompress(ELASTIC.read_bytes()).decode("latin-1").splitlines()
    suffix = re.compile(r'^[^"]*"[A-Z]+ [^ ?"]*\.(?:css|gif|ico|jpe?g|js|png|svg|swf|ttf|woff)(?:\?[^ "]*)? HTTP')
    known = sum(bool(suffix.match(line)) for line in lines)

    accounting = read_logs([ELASTIC], LogOptions(exclusions=ExclusionRules(frozenset({"bots"})))).accounting

    assert accounting.excluded[STATIC] == known == 5_409
    assert accounting.adds_up


def test_crawlers_of_the_elastic_log_are_those_of_the_package_and_readers_of_feeds() -> None:
    """The package crawler-user-agents 1.67 calls 1,956 lines crawlers (19.6 %); all but 20 of these are found."""
    accounting = read_logs([ELASTIC], LogOptions(exclusions=ExclusionRules(frozenset({"statics"})))).accounting

    # 658 that the package lacks, mostly readers of feeds; 62 requests of /robots.txt; 1 of them is a rejected line.
    assert accounting.excluded[CRAWLER] == 1_936 + 658 + 62 - 1
    assert accounting.taken + accounting.excluded.total() == 9_999


def test_three_of_four_agents_of_a_public_list_of_crawlers_are_recognized() -> None:
    agents = agents_of_package()

    found = [agent for agent in agents if kind_of_agent(agent)]

    assert len(agents) == 2_123
    assert len(found) / len(agents) == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize(
    "agent",
    [
        PERSON,
        "Mozilla/5.0 (Linux; Android 13; CUBOT KINGKONG 9) AppleWebKit/537.36 Chrome/120.0.0.0 Mobile Safari/537.36",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148 Instagram 300.0",
        "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 [FBAN/FB4A;FBAV/450.0;]",
        *("okhttp/4.12.0", "Go-http-client/2.0", "python-requests/2.32.3", "curl/8.5.0", "Dalvik/2.1.0 (Linux; U)"),
        "node-fetch/1.0 (+https://github.com/bitinn/node-fetch)",
        *("Amazon CloudFront", "BuzzFeed/4.1 CFNetwork/1410", "Bottle/2.0", "Checkout/5.1 (iPhone)", "-", ""),
    ],
)
def test_persons_apps_and_http_libraries_are_not_excluded(agent: str) -> None:
    assert kind_of_agent(agent.encode()) == ""


@pytest.mark.parametrize(
    ("agent", "kind"),
    [
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", CRAWLER),
        (
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
            CRAWLER,
        ),
        *(("LinkedInBot/1.0", CRAWLER), ("Scrapy/2.11", CRAWLER), ("Feedly/1.0", CRAWLER)),
        *(("ELB-HealthChecker/2.0", HEALTH), ("kube-probe/1.29", HEALTH), ("GoogleHC/1.0", HEALTH)),
        *(
            ("Prometheus/2.53.0", HEALTH),
            ("Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)", HEALTH),
        ),
        ("Amazon-Route53-Health-Check-Service (ref 1234; report http://amzn.to/1vsZADi)", HEALTH),
    ],
)
def test_crawlers_and_health_checks_are_recognized_by_their_agent(agent: str, kind: str) -> None:
    assert kind_of_agent(agent.encode()) == kind


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        *(("/app.js", STATIC), ("/a/LOGO.PNG?v=7", STATIC), ("/fonts/x.woff2", STATIC), ("/x.css;v=1", STATIC)),
        *(
            ("/home?foo=bar.js", ""),
            ("/a.js/list", ""),
            ("/js", ""),
            ("/css/", ""),
            ("/terms.pdf", ""),
            ("/data.json", ""),
        ),
        *(("http://cdn.example/x.svg", STATIC), ("/robots.txt", CRAWLER)),
    ],
)
def test_a_static_file_is_a_suffix_of_the_path_and_not_of_the_query(target: str, reason: str) -> None:
    assert Exclusions(ExclusionRules()).of_request(b"GET", target.encode()) == reason


@pytest.mark.parametrize(
    ("pattern", "matches", "others"),
    [
        ("/internal/*", ["/internal/a", "/internal/a/b?c"], ["/internal", "/x/internal/a"]),
        ("*.json", ["/a/b.json"], ["/a.json/b", "/a?x=.json"]),
        ("/v[12]/ping", ["/v1/ping"], ["/v3/ping", "/v1/pings"]),
        ("/caf%C3%A9.+(", ["/caf%C3%A9.+("], ["/cafe"]),
    ],
)
def test_a_pattern_excludes_whole_paths(pattern: str, matches: list[str], others: list[str]) -> None:
    exclusions = Exclusions(ExclusionRules(patterns=("/never", pattern)))

    assert {exclusions.of_request(b"GET", path.encode()) for path in matches} == {PATTERN}
    assert {exclusions.of_request(b"GET", path.encode()) for path in others} == {""}


def test_each_kind_is_counted_once_and_can_be_kept(tmp_path: Path) -> None:
    lines = [
        *people(),
        *(entry(9, 60 * n, "/page", "Examplebot/1.0") for n in range(5)),
        entry(9, 7, "/app.js", "Examplebot/1.0"),
        *(entry(8, 60 * n, "/ping", "ELB-HealthChecker/2.0") for n in range(6)),
        *(entry(n, n, "/logo.png") for n in range(7)),
        *(entry(n, n, "/api", method="OPTIONS") for n in range(8)),
    ]
    known = {CRAWLER: 6, HEALTH: 6, STATIC: 7, PREFLIGHT: 8}

    accounting = read(tmp_path, lines).accounting

    assert (accounting.read, accounting.taken, accounting.excluded) == (39, 12, known)
    assert accounting.as_json()["taken_by_format"] == {"combined": 12}
    for kind, reason in KINDS.items():
        kept = read(tmp_path, lines, kept=frozenset({kind})).accounting
        others = {one: count for one, count in known.items() if one != reason}
        if kind == "bots":
            others[STATIC] += 1
        assert kept.excluded == others
        assert kept.adds_up


def test_paths_of_excluded_requests_make_no_names(tmp_path: Path) -> None:
    lines = people() + [entry(9, n, f"/trap/{n}x{n}", "Examplebot/1.0") for n in range(60)] + [entry(1, 5, "/a.css")]

    traffic = read(tmp_path, lines)

    assert {name.name for name in traffic.names.kept} <= {f"GET /p{n}" for n in range(5)}
    assert traffic.names.other_names == 0


def checks(
    period_s: float, jitter: float, count: int = 60, seed: int = 5, agent: str = "x/1", n: int = 77
) -> list[str]:
    rng = random.Random(seed)
    return [entry(n, period_s * (k + rng.uniform(-jitter, jitter)) + 60, "/ready", agent) for k in range(count)]


@pytest.mark.parametrize(("period_s", "jitter"), [(30, 0), (30, 0.05), (10, 0), (60, 0.02)])
def test_equal_intervals_are_health_checks(tmp_path: Path, period_s: float, jitter: float) -> None:
    traffic = read(tmp_path, people() + checks(period_s, jitter))

    assert traffic.accounting.excluded == {HEALTH: 60}
    assert traffic.accounting.taken == 12
    assert traffic.accounting.adds_up
    assert traffic.sessions.users == 3
    assert "GET /ready" not in {name.name for name in traffic.names.kept}


def test_a_pause_of_the_server_does_not_hide_health_checks(tmp_path: Path) -> None:
    lines = checks(30, 0.02)
    del lines[20:40]

    assert read(tmp_path, people() + lines).accounting.excluded == {HEALTH: 40}


@pytest.mark.parametrize(
    "lines",
    [
        checks(30, 0.5),
        checks(30, 0, count=19),
        [*checks(30, 0), entry(77, 50, "/page", "x/1")],
        [line for n in range(40) for line in checks(30, 0, count=2, n=n)],
    ],
    ids=["irregular", "too few", "a page that asks for news", "one each of many"],
)
def test_requests_of_persons_are_no_health_checks(tmp_path: Path, lines: list[str]) -> None:
    assert not read(tmp_path, people() + lines).accounting.excluded


def test_health_checks_are_found_in_temporary_files_and_by_format(tmp_path: Path) -> None:
    record = {"time": "2015-05-17T10:{:02}:{:02}Z", "client": "10.9.9.9", "method": "GET", "url": "/up", "status": 200}
    rows = [json.dumps(record).replace("{:02}:{:02}", f"{n // 2:02}:{n % 2 * 30:02}") for n in range(40)]
    (tmp_path / "b.log").write_text("\n".join(rows) + "\n")
    (tmp_path / "a.log").write_text("\n".join(people() + checks(30, 0)) + "\n")

    accounting = read_logs([tmp_path], replace(ALL, memory_bytes=1)).accounting

    assert accounting.excluded == {HEALTH: 100}
    assert accounting.as_json()["taken_by_format"] == {"combined": 12}
    assert accounting.adds_up


def test_a_shared_user_counts_for_names_but_not_for_sessions(tmp_path: Path) -> None:
    rng = random.Random(3)
    gateway = [entry(200, second, f"/p{rng.randrange(5)}") for second in sorted(rng.choices(range(300), k=700))]
    persons = people(60)

    aside = read(tmp_path, persons + gateway)
    kept = read(tmp_path, persons + gateway, kept=frozenset({"shared"}))

    for traffic in (aside, kept):
        assert sum(name.count for name in traffic.names.kept) == 940
        assert (traffic.sessions.shared_users, traffic.sessions.shared_requests) == (1, 700)
    assert int(aside.sessions.lengths.sum()) == 240
    assert int(kept.sessions.lengths.sum()) == 940
    assert aside.model is not None
    assert kept.model is not None
    assert int(aside.model.requests.requests.sum()) == 940
    moves, without = (int(one.classes[0].walks.moves.sum()) for one in (kept.model, aside.model))
    assert moves - without == 699
    assert sum(aside.sessions.first_names) == aside.sessions.count
    assert set(aside.sessions.counts_by_timeout) == set(kept.sessions.counts_by_timeout)
    assert all(kept.sessions.counts_by_timeout[s] == n + 1 for s, n in aside.sessions.counts_by_timeout.items())


def test_a_user_with_more_than_20_requests_in_flight_is_shared(tmp_path: Path) -> None:
    crowd = [entry(200, 100 + n, took_s=21.5) for n in range(40)]  # 22 at once
    fewer = [entry(201, 100 + n, took_s=19.5) for n in range(40)]  # 20 at once

    traffic = read(tmp_path, people() + crowd + fewer, kept=frozenset({"health"}))

    assert (traffic.sessions.shared_users, traffic.sessions.shared_requests) == (1, 40)


def test_users_with_many_requests_at_once_are_those_of_a_simple_count() -> None:
    rng = np.random.default_rng(7)
    for _ in range(60):
        user = np.sort(rng.integers(0, 6, 200).astype(np.uint64))
        start = rng.integers(0, 400, 200)
        order = np.lexsort((start, user))
        user, start = user[order], start[order]
        end = start + rng.integers(0, 60, 200)
        known = {
            int(one)
            for one in np.unique(user)
            for at in start[user == one]
            if np.count_nonzero((start[user == one] <= at) & (end[user == one] > at)) > 4
        }

        assert set(users_with_many_at_once(user, start, end, 4).tolist()) == known


def test_only_crawlers_are_an_error_that_names_the_switch(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no request of a user: 5 lines; excluded: 5 \(crawler: 5\)") as error:
        read(tmp_path, (entry(n, n, agent="Examplebot/1.0") for n in range(5)))

    assert "--keep bots" in str(error.value.hint)


def test_only_health_checks_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"health check: 60") as error:
        read(tmp_path, checks(30, 0))

    assert "--keep health" in str(error.value.hint)


def test_one_user_with_all_requests_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    rng = random.Random(2)
    with pytest.raises(UsageError, match=r"the logs show no sessions: 1 user sent all of the 2,000 requests") as error:
        read(tmp_path, (entry(1, rng.uniform(0, 600)) for _ in range(2_000)))

    assert "--keep shared" in str(error.value.hint)


def model(*args: str | Path) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, ["model", *map(str, args)], env={"COLUMNS": "200"})
    return done.exit_code, done.output


def test_the_command_shows_shares_and_writes_the_rules(tmp_path: Path) -> None:
    log = tmp_path / "elastic.log"
    log.write_bytes(b"\n".join(gzip.decompress(ELASTIC.read_bytes()).splitlines()[:2_500]) + b"\n")

    code, output = model(log, "--exclude", "/blog/*", "--keep", "preflights", "-o", tmp_path / "shop/shop.py")

    assert code == 0, output
    assert "43.6 %: static file" in output
    facts = json.loads((tmp_path / "shop/traffic.json").read_text())
    assert facts["exclusions"] == {"kept": ["preflights"], "patterns": ["/blog/*"]}
    parts = facts["accounting"]
    assert parts["read"] == parts["taken"] + sum(parts["excluded"].values()) + parts["rejected"] + parts["directives"]
    assert set(parts["excluded"]) == {CRAWLER, STATIC, PATTERN}
    assert facts["sessions"]["shared"] == {"users": 0, "requests": 0, "are_in_sessions": False}


def test_invalid_switches_are_errors_before_a_log_is_read() -> None:
    code, output = model("missing.log", "--keep", "robots", "--exclude", "internal")

    assert code == 2
    assert '--keep: invalid kind "robots"' in output
    assert '--exclude: invalid pattern "internal"' in output
