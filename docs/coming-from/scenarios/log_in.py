"""Log in, read a value from a page, send it back."""

from loadgen import Plan, User, iterations, journey


@journey
async def buy(user: User) -> None:
    login = await user.http.post("/login", json={"email": "a@shop.example", "password": "p"}, expect=200)
    user.http.headers["Authorization"] = "Bearer " + login.pick("$.token")

    page = await user.http.get("/products/sku-0001", name="GET /products/{sku}", expect=200)
    csrf = page.pick("css:input[name=csrf]@value")

    await user.http.post("/cart", json={"sku": "sku-0001", "csrf": csrf}, expect=201)


plan = Plan(target="http://127.0.0.1:8080", load=iterations(20, users=4), mix=buy)
