"""One journey for each protocol and each kind of bad peer; tests give the addresses of the peers."""

from typing import Any

from loadgen import Http, Journey, Plan, User, error_ratio, first, iterations, journey, lines

TARGETS = {"tcp_slow": "tcp://127.0.0.1:7001"}
CA: str | None = None
LIMIT = "500ms"


def journeys(*kinds: str) -> dict[Journey[Any], int]:
    return {made(name): 1 for name in sorted(TARGETS) if name.startswith(kinds)}


def made(name: str) -> Journey[Any]:
    @journey(name=name)
    async def grpc(user: User) -> None:
        await user.grpc_channel(name).unary_unary(f"/{name}/Get")(b"7", timeout=LIMIT)

    @journey(name=name)
    async def ws(user: User) -> None:
        async with user.ws("/feed", target=name, name=name, timeout=LIMIT) as socket:
            await socket.ask("hello", timeout=LIMIT)

    @journey(name=name)
    async def tcp(user: User) -> None:
        async with user.tcp(name, frame=lines(), timeout=LIMIT) as link:
            await link.ask(b"PING", name=f"{name} (ask)", expect=b"PONG")

    @journey(name=name)
    async def udp(user: User) -> None:
        await user.udp(name).ask(b"\0\0\0\1who", match=first(4), timeout=LIMIT, name=f"{name} (ask)")

    @journey(name=name)
    async def http3(user: User) -> None:
        await user.to(name).get("/shop", name=f"{name} (get)")

    @journey(name=name)
    async def browser(user: User) -> None:
        async with user.browser(f"{TARGETS[name]}/", name=name):
            pass

    return {"browser": browser, "grpc": grpc, "ws": ws, "tcp": tcp, "udp": udp, "http3": http3}[name.partition("_")[0]]


def of(*kinds: str, http: Http, browsers: int = 0) -> Plan:
    mix = journeys(*kinds)
    return Plan(
        targets={name: url for name, url in TARGETS.items() if name.startswith(kinds)},
        ca=None if browsers else CA,
        mix=mix,
        load=iterations(5 * len(mix), users=15),
        http=http,
        timeout=LIMIT if not browsers else "20s",
        browsers=browsers,
        slos=[error_ratio() < "1%"],
    )


plan = of("grpc", "ws", "tcp", "udp", http=Http(http2="prior"))
if CA is not None:
    http3 = of("http3", http=Http(http3="only"))
if "browser_reset" in TARGETS:
    browser = of("browser", http=Http(), browsers=2)
