"""A small share of real browsers beside protocol users."""

from loadgen import Plan, User, iterations, journey, p


@journey
async def look(user: User) -> None:
    async with user.browser("/") as page:
        await page.wait_for_function("performance.getEntriesByType('paint').length > 0")
        await page.goto("/products")


@journey
async def products(user: User) -> None:
    await user.http.get("/products", expect=200)


plan = Plan(
    mix={products: 2, look: 1},
    load=iterations(3, users=2),
    browsers=1,
    slos=[
        p(75, request="page /", metric="fcp") < "30s",
        p(95, request="page /", metric="ttfb") < "30s",
        p(75, request="page /", metric="cls") < 0.5,
    ],
)
