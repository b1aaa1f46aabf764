"""Half of the load on each of two agents: processes on this machine, or `loadgen-agent` on machines."""

from loadgen import Plan, User, iterations, journey


@journey
async def visit(user: User) -> None:
    await user.http.get("/", expect=200)
    await user.http.get("/products", expect=200)


plan = Plan(
    target="http://127.0.0.1:8080",
    load=iterations(40, users=4),
    mix=visit,
    regions={"eu-west-1": 0.5, "us-east-1": 0.5},
)
