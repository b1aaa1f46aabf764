"""Nearly every argument is wrong, each in its own line."""

from loadgen import Plan, User, arrivals, error_ratio, journey, p


@journey
async def browse(user: User) -> None:
    async with user.step("list"):
        await user.http.get("/")


@journey
async def buy(user: User) -> None:
    async with user.step("cart"), user.step("add"):
        await user.http.get("/")


plan = Plan(
    target="shop.example",
    load=arrivals().ramp(to="-5/s", over="10s"),
    mix={browse: 1, buy: -1},
    slos=[
        p(95) >= "300ms",
        p(99, step="lisst") < "1s",
        p(99, step="add") < "1s",
        p(99, step="cart/add") < "1s",
        error_ratio(region="eu-west") < "0.1%",
    ],
    regions={"eu-west-1": 0, "us-east-1": 0},
    max_users=0,
)
