"""TCP and UDP: two requests over a connection, and a question in a datagram, in each iteration."""

from loadgen import Plan, User, arrivals, error_ratio, first, journey, length_prefix, lines, p


@journey
async def talk(user: User) -> None:
    async with user.tcp("gate", frame=lines()) as link:
        await link.ask(b"PING", name="ping", expect=b"PONG")
        await link.ask(b"QUIT", name="quit", expect=b"BYE")
    async with user.tcp("store", frame=length_prefix(4)) as store:
        await store.ask(b"x" * 100_000, name="put", expect=b"x" * 100_000)
    number = user.arrival.to_bytes(2, "big")
    await user.udp("dns").ask(number + b"who", match=first(2), timeout="5s", name="lookup")


plan = Plan(
    # The test writes the ports of its servers here.
    targets={"gate": "tcp://127.0.0.1:7001", "store": "tcp://127.0.0.1:7002", "dns": "udp://127.0.0.1:7003"},
    mix={talk: 1},
    load=arrivals("10/s").hold("2s"),
    slos=[p(95, request="ping") < "10s", error_ratio() < "1%"],
)
