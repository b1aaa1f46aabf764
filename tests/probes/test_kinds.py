"""The kinds of probes in loadgen.toml: keys of each kind, all errors at once, and no password in a DSN."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.dsl.plans.loadgen_toml import read_settings
from loadgen.errors import ScenarioError
from loadgen.probes.dsn import dsn_places, dsn_values, dsn_wrongs
from loadgen.probes.kinds import KINDS, place_text, places_of, secrets_of
from loadgen.probes.settings import probe_of, wrongs_of
from loadgen.probes.spec import ProbeSpec

SHOPDB = """
[probes.shopdb]
kind = "postgres"
dsn = "host=db.staging.example dbname=shop user=perf"
password = { secret = "shopdb-password" }
at = "apart"
"""


def settings_of(folder: Path, text: str) -> tuple[ProbeSpec, ...]:
    path = folder / "loadgen.toml"
    path.write_text(text)
    return read_settings(path).probes


def faults_of(folder: Path, text: str) -> list[tuple[int, str]]:
    with pytest.raises(ScenarioError) as caught:
        settings_of(folder, text)
    assert all(fault.hint for fault in caught.value.faults)
    return [(fault.line, fault.message) for fault in caught.value.faults]


def test_a_database_is_read_from_the_settings(tmp_path: Path) -> None:
    (probe,) = settings_of(tmp_path, SHOPDB)

    assert (probe.kind, probe.at, probe.every_ns) == ("postgres", "apart", 1_000_000_000)
    assert places_of(probe) == (("db.staging.example", 5432),)
    assert secrets_of(probe) == ("shopdb-password",)
    assert place_text(probe) == "db.staging.example:5432"
    assert not list(wrongs_of(probe))


def test_all_errors_of_all_kinds_are_reported_at_once_at_their_lines(tmp_path: Path) -> None:
    told = faults_of(
        tmp_path,
        '[probes.a]\nkind = "postgres"\ndsn = "host=h password=canary"\npasword = { secret = "x" }\nat = "moon"\n'
        '[probes.b]\nkind = "postgre"\n[probes.c]\nkind = "pgbouncer"\nurl = "http://h/m"\npassword = "canary"\n',
    )

    assert "canary" not in str(told)
    assert (3, "probes.a: dsn: it has password, which is not allowed, because results contain the dsn") in told
    assert (4, 'unknown key "probes.a.pasword"') in told
    assert (5, "probes.a: at: unknown place 'moon'") in told
    assert (7, "probes.b: kind: unknown kind 'postgre'") in told
    assert (10, 'unknown key "probes.c.url"') in told
    assert any(line == 11 and message.startswith("password: ") for line, message in told)
    assert (8, "probes.c: dsn: the connection string is missing") in told


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_checked_settings_and_a_reader(kind: str) -> None:
    probe, wrong = probe_of("x", {"kind": kind})

    assert probe is None
    assert wrong
    assert all(message and hint for _, message, hint in wrong)


# -- DSN -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dsn", "places"),
    [
        ("host=db user=perf", (("db", 5432),)),
        ("host='db' port = 5433 dbname='my \\'shop'", (("db", 5433),)),
        ("host=a,b port=1,2", (("a", 1), ("b", 2))),
        ("host=a,b port=7", (("a", 7), ("b", 7))),
        ("hostaddr=10.0.0.7 host=db", (("10.0.0.7", 5432),)),
        ("host=/var/run/postgresql dbname=shop", ()),
        ("dbname=shop", ()),
        ("postgresql://perf@db:5433/shop", (("db", 5433),)),
        ("postgresql://db/shop?user=perf", (("db", 5432),)),
        ("postgresql://db/shop?host=10.0.0.7&port=6000", (("10.0.0.7", 6000),)),
        ("host=db.postgres.example user=perf@db require_auth=scram-sha-256", (("db.postgres.example", 5432),)),
        ("postgres://a:1,[::1]:2/x", (("a", 1), ("::1", 2))),
    ],
)
def test_hosts_and_ports_of_a_dsn_are_those_of_libpq(dsn: str, places: object) -> None:
    assert not list(dsn_wrongs(dsn))
    assert dsn_places(dsn, 5432) == places


@pytest.mark.parametrize(
    "dsn",
    [
        "host=db password=canary",
        "host=db PASSWORD=canary",
        "postgresql://perf:canary@db/shop",
        "postgresql://db/shop?password=canary",
        "host=db passfile=/canary",
        "service=canary",
        "host=db application_name=canary",
        "host=db options='-c canary'",
        "host=db port=canary",
        "host=db port=70000 user=canary",
        "host=db pasword=canary",
        "host=db scram_client_key=canary",
        "host=db user=perf:canary",
        "host=db dbname='password=canary'",
        "host=db dbname='postgresql://perf:canary@db'",
        "host=perf:canary@db",
        "postgresql://perf%3Acanary@db/shop",
        "postgresql://perf:1/canary@db/shop",
        "postgresql://perf:1?canary@db/shop",
        "postgresql://perf:1#canary@db/shop",
        "postgresql://perf@canary@db/shop",
        "postgresql://db/shop?pass%77ord=canary",
        "postgresql://db/shop?dbname=postgresql://perf:canary@db",
        "just canary words",
        "host='canary",
        "",
        7,
    ],
)
def test_a_dsn_with_a_secret_or_an_invalid_one_is_rejected_and_never_shown(dsn: object) -> None:
    wrong = list(dsn_wrongs(dsn))

    assert wrong
    assert "canary" not in str(wrong)


@given(st.dictionaries(st.sampled_from(["host", "dbname", "user", "sslmode"]), st.text(min_size=1), min_size=1))
def test_quoted_values_of_a_dsn_are_read_back(values: dict[str, str]) -> None:
    def quoted(text: str) -> str:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"

    assert dsn_values(" ".join(f"{key}={quoted(value)}" for key, value in values.items())) == values


# -- from another process ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "own",
    [{}, {"dsn": 7}, {"dsn": "host=h password=x"}, {"dsn": "host=h", "url": "http://h"}, {"dsn": "host=h", "more": 1},
     {"dsn": "host=h", "password": "x"}, {"dsn": "host=h", "every": 1}],
)  # fmt: skip
def test_settings_that_another_process_sent_are_checked_again(own: dict[str, object]) -> None:
    assert list(wrongs_of(ProbeSpec(name="x", kind="postgres", own=own)))


def test_an_unknown_kind_or_place_from_another_process_is_an_error() -> None:
    assert list(wrongs_of(ProbeSpec(name="x", kind="oracle")))
    assert list(wrongs_of(ProbeSpec(name="x", kind="postgres", own={"dsn": "host=h"}, at="moon")))  # type: ignore[arg-type]
