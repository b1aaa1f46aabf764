"""DNS is asked once for all who want a name; its answers are kept a while and used in turn, its failures are not."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from random import Random
from socket import AF_INET, AF_INET6, AF_UNSPEC, EAI_AGAIN, EAI_NONAME, AddressFamily, gaierror

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.clients.net.dns import FAILED_FOR_S, SHUNNED_FOR_S, Resolver
from loadgen.clients.net.settings import Http
from loadgen.errors import RequestFailed

Answer = Sequence[str] | OSError | UnicodeError


class Names:
    """A resolver of the system that says what a test says; the last answer for ever."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, AddressFamily]] = []
        self.holds: asyncio.Event | None = None
        self.now_s = 100.0

    async def look_up(self, host: str, family: AddressFamily) -> Sequence[str]:
        self.asked.append((host, family))
        if self.holds is not None:
            await self.holds.wait()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def resolver(self, http: Http = Http()) -> Resolver:  # noqa: B008  # frozen
        return Resolver(http, lookup=self.look_up, clock=lambda: self.now_s, random=Random(0))


async def failure_of(resolver: Resolver, host: str = "shop.example") -> RequestFailed:
    with pytest.raises(RequestFailed) as raised:
        await resolver.addresses(host, 80)
    return raised.value


async def test_a_thousand_users_who_start_at_once_are_one_question() -> None:
    names = Names(["10.0.0.1", "10.0.0.2"])
    names.holds = asyncio.Event()
    resolver = names.resolver()
    asking = [asyncio.create_task(resolver.addresses("shop.example", 80)) for _ in range(1_000)]
    await asyncio.sleep(0)
    names.holds.set()

    first = Counter(order[0] for order in await asyncio.gather(*asking))

    assert len(names.asked) == resolver.asked == 1
    assert first == {"10.0.0.1": 500, "10.0.0.2": 500}


async def test_who_gives_up_does_not_end_the_question_of_the_others() -> None:
    names = Names(["10.0.0.1"])
    names.holds = asyncio.Event()
    resolver = names.resolver()
    asking = [asyncio.create_task(resolver.addresses("shop.example", 80)) for _ in range(2)]
    await asyncio.sleep(0)
    asking[0].cancel()
    await asyncio.sleep(0)
    names.holds.set()

    assert await asking[1] == ("10.0.0.1",)
    assert asking[0].cancelled()
    assert len(names.asked) == 1


async def test_an_answer_is_kept_for_its_time_and_then_asked_for_again() -> None:
    names = Names(["10.0.0.1"], ["10.0.0.9"])
    resolver = names.resolver(Http(dns_ttl="5s"))

    for _ in range(3):
        assert await resolver.addresses("shop.example", 80) == ("10.0.0.1",)
    names.now_s += 4.9
    assert await resolver.addresses("shop.example", 443) == ("10.0.0.1",)
    names.now_s += 0.2
    assert await resolver.addresses("shop.example", 80) == ("10.0.0.9",)
    assert len(names.asked) == 2


async def test_without_a_time_to_live_each_connection_asks() -> None:
    names = Names(["10.0.0.1"], gaierror(EAI_AGAIN, "try again"), ["10.0.0.2"])
    resolver = names.resolver(Http(dns_ttl=0))

    assert await resolver.addresses("shop.example", 80) == ("10.0.0.1",)
    assert (await failure_of(resolver)).outcome == "dns"
    assert await resolver.addresses("shop.example", 80) == ("10.0.0.2",)


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (gaierror(EAI_NONAME, "Name or service not known"), "shop.example: Name or service not known"),
        (gaierror(EAI_AGAIN, "Temporary failure"), "shop.example: Temporary failure"),
        (OSError(5, "Input/output error"), "shop.example: Input/output error"),
        (UnicodeError("label too long"), "shop.example: label too long"),
        ([], "shop.example: no address; check the name in DNS"),
    ],
)
async def test_dns_that_fails_or_has_nothing_is_an_outcome_and_not_asked_by_each(error: Answer, detail: str) -> None:
    names = Names(error, ["10.0.0.1"])
    resolver = names.resolver()

    for _ in range(100):
        failure = await failure_of(resolver)
        assert (failure.outcome, failure.detail) == ("dns", detail)
    assert len(names.asked) == 1
    names.now_s += FAILED_FOR_S
    assert await resolver.addresses("shop.example", 80) == ("10.0.0.1",)  # it flapped


async def test_a_failure_when_an_answer_has_grown_old_is_told_and_not_covered_up() -> None:
    names = Names(["10.0.0.1"], gaierror(EAI_AGAIN, "try again"), ["10.0.0.1"])
    resolver = names.resolver(Http(dns_ttl="5s"))

    assert await resolver.addresses("shop.example", 80) == ("10.0.0.1",)
    names.now_s += 5
    assert (await failure_of(resolver)).outcome == "dns"
    names.now_s += FAILED_FOR_S
    assert await resolver.addresses("shop.example", 80) == ("10.0.0.1",)


async def test_no_descriptor_left_for_asking_is_our_own_fault_and_forgotten_at_once() -> None:
    names = Names(OSError(24, "Too many open files"), ["10.0.0.1"])
    resolver = names.resolver()

    assert (await failure_of(resolver)).outcome == "no file descriptors"
    assert await resolver.addresses("shop.example", 80) == ("10.0.0.1",)


async def test_an_address_that_failed_is_tried_last_for_a_while() -> None:
    names = Names(["10.0.0.1", "10.0.0.2", "10.0.0.3"])
    resolver = names.resolver(Http(dns_ttl="1h"))
    resolver.failed("10.0.0.2", 80)

    orders = [await resolver.addresses("shop.example", 80) for _ in range(6)]
    assert [order[-1] for order in orders] == ["10.0.0.2"] * 6
    assert {order[0] for order in orders} == {"10.0.0.1", "10.0.0.3"}
    assert {(await resolver.addresses("shop.example", 443))[0] for _ in range(6)} >= {"10.0.0.2"}  # another port
    names.now_s += SHUNNED_FOR_S
    assert {(await resolver.addresses("shop.example", 80))[0] for _ in range(6)} >= {"10.0.0.2"}


async def test_when_all_addresses_have_failed_all_are_tried() -> None:
    names = Names(["10.0.0.1", "10.0.0.2"])
    resolver = names.resolver()
    for address in ("10.0.0.1", "10.0.0.2"):
        resolver.failed(address, 80)

    assert sorted(await resolver.addresses("shop.example", 80)) == ["10.0.0.1", "10.0.0.2"]


@given(st.integers(1, 7), st.integers(1, 60))
def test_connections_are_spread_evenly_over_the_addresses(addresses: int, connections: int) -> None:
    async def spread() -> Counter[str]:
        resolver = Names([f"10.0.0.{n}" for n in range(addresses)]).resolver()
        return Counter([(await resolver.addresses("shop.example", 80))[0] for _ in range(connections)])

    counts = asyncio.run(spread())
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len(counts) == min(addresses, connections)


async def test_workers_begin_at_different_addresses() -> None:
    found = [f"10.0.0.{n}" for n in range(8)]
    first = set()
    for seed in range(40):
        resolver = Resolver(lookup=Names(found).look_up, random=Random(seed))
        first.add((await resolver.addresses("shop.example", 80))[0])
    assert len(first) > 4


@pytest.mark.parametrize(("ip", "family"), [(None, AF_UNSPEC), ("4", AF_INET), ("6", AF_INET6)])
async def test_only_one_family_is_asked_for_and_used(ip: object, family: AddressFamily) -> None:
    names = Names(["fd00::1", "10.0.0.1"])
    resolver = names.resolver(Http(ip=ip))  # type: ignore[arg-type]

    found = set(await resolver.addresses("shop.example", 80))

    assert names.asked == [("shop.example", family)]
    assert found == {None: {"fd00::1", "10.0.0.1"}, "4": {"10.0.0.1"}, "6": {"fd00::1"}}[ip]  # type: ignore[index]


async def test_a_host_without_an_address_of_the_family_is_dns() -> None:
    failure = await failure_of(Names(["10.0.0.1"]).resolver(Http(ip="6")))
    assert (failure.outcome, failure.detail) == ("dns", "shop.example: no IPv6 address; check the name in DNS")
    failure = await failure_of(Names([]).resolver(Http(ip="6")), "10.0.0.1")
    assert failure.outcome == "dns"
    assert 'ip="6"' in failure.detail


async def test_addresses_are_never_asked_for() -> None:
    names = Names([])
    resolver = names.resolver()

    assert await resolver.addresses("10.0.0.1", 80) == ("10.0.0.1",)
    assert await resolver.addresses("fd00::1", 80) == ("fd00::1",)
    assert names.asked == []


async def test_what_the_plan_says_comes_before_dns() -> None:
    names = Names(["10.0.0.9"])
    http = Http(resolve={"shop.example": ("10.0.0.1", "10.0.0.2"), "shop.example:443": ("10.0.0.3",)})
    resolver = names.resolver(http)

    assert {(await resolver.addresses("shop.example", 80))[0] for _ in range(4)} == {"10.0.0.1", "10.0.0.2"}
    assert await resolver.addresses("shop.example", 443) == ("10.0.0.3",)
    assert names.asked == []
    assert await resolver.addresses("api.example", 80) == ("10.0.0.9",)


async def test_hosts_without_end_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loadgen.clients.net.dns.MOST_NAMES", 10)
    resolver = Names(["10.0.0.1"]).resolver()
    for n in range(100):
        await resolver.addresses(f"{n}.shop.example", 80)

    assert len(resolver._answers) <= 10


async def test_the_system_s_own_resolver_knows_localhost() -> None:
    assert set(await Resolver().addresses("localhost", 80)) <= {"127.0.0.1", "::1"}
