"""Three of four iterations browse, one buys."""

from loadgen import Plan, User, iterations, journey


@journey
async def browse(user: User) -> None:
    await user.http.get("/", expect=200)
    await user.http.get("/products", expect=200)


@journey
async def buy(user: User) -> None:
    login = await user.http.post("/login", json={"email": "a@shop.example", "password": "p"}, expect=200)
    await user.http.post("/checkout", headers={"Authorization": "Bearer " + login.pick("$.token")}, expect=201)


plan = Plan(target="http://127.0.0.1:8080", load=iterations(40, users=4), mix={browse: 3, buy: 1})
