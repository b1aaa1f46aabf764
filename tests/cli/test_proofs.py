"""A public host of an allow-list has to show its entry's word before anything is sent to it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import msgspec
import pytest

from loadgen import Http
from loadgen.allowlist import AllowList, Entry
from loadgen.dsl.loading.loader import load
from loadgen.dsl.plans.spec import PlanSpec
from loadgen.errors import UsageError
from loadgen_controller.planning.target_permission import check_proofs

WORD = "9f2c61d05be8a743"
PUBLIC, PRIVATE = "93.184.215.14", "10.2.0.7"


@pytest.fixture
def spec(tmp_path: Path) -> PlanSpec:
    path = tmp_path / "visit.py"
    path.write_text(
        "from loadgen import Plan, User, arrivals, journey\n\n"
        "@journey\nasync def visit(user: User) -> None:\n    await user.http.get('/')\n\n"
        "plan = Plan(target='https://shop.example:8443/x', targets={'own': 'http://shop.internal'},\n"
        "            load=arrivals('1/s').hold('1s'), mix=visit)\n"
    )
    return load(path, None).plan.spec()


def entry(host: str, proof: str | None = None) -> Entry:
    return Entry(host=host, owner="shop team", expires=date(2099, 1, 1), proof=proof)


def listed(proof: str | None) -> AllowList:
    return AllowList(allow=(entry("shop.example", proof), entry("10.0.0.0/8")))


def resolve(host: str) -> tuple[str, ...]:
    return (PUBLIC,) if host == "shop.example" else (PRIVATE,)


class Asked:
    """Answers `why`, and notes what it was asked."""

    def __init__(self, why: str = "") -> None:
        self.why = why
        self.times: list[tuple[str, str, str | None]] = []

    def __call__(self, origin: str, word: str, address: str | None) -> str:
        self.times.append((origin, word, address))
        return self.why


def test_each_public_host_is_asked_once_and_private_ones_are_not(spec: PlanSpec) -> None:
    asked = Asked()
    check_proofs(spec, Http(), listed(WORD), resolve=lambda h: (*resolve(h), *resolve(h)), prove=asked)
    assert asked.times == [("https://shop.example:8443", WORD, None)]


def test_who_leads_a_name_to_an_address_asks_there(spec: PlanSpec) -> None:
    asked = Asked()
    http = Http(resolve={"shop.example:8443": PUBLIC})
    by_address = AllowList(allow=(entry(f"{PUBLIC}/32", WORD),))
    check_proofs(spec, http, by_address, resolve=resolve, prove=asked)
    assert asked.times == [("https://shop.example:8443", WORD, PUBLIC)]


@pytest.mark.parametrize(
    ("proof", "why", "message"),
    [(None, "", "has no proof"), (WORD, "it answered 404", "does not serve the proof of its entry: it answered 404")],
)
def test_who_shows_nothing_is_refused_and_the_hint_says_what_to_do(
    spec: PlanSpec, proof: str | None, why: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        check_proofs(spec, Http(), listed(proof), resolve=resolve, prove=Asked(why))
    assert "/.well-known/loadgen-proof" in raised.value.hint


def test_a_host_that_the_list_does_not_admit_is_not_asked(spec: PlanSpec) -> None:
    asked = Asked()
    other = msgspec.structs.replace(spec, target="https://other.example", targets={})
    check_proofs(other, Http(), listed(WORD), resolve=lambda host: (PUBLIC,), prove=asked)
    assert asked.times == []
