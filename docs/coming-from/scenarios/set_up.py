"""Log in once before the load, use the token everywhere, clean up after it."""

from loadgen import Plan, User, iterations, journey


async def log_in(user: User) -> dict[str, str]:
    login = await user.http.post("/login", json={"email": "a@shop.example", "password": "p"}, expect=200)
    return {"token": login.pick("$.token")}


async def clean_up(user: User) -> None:
    await user.http.get("/products", expect=200)


@journey
async def pay(user: User) -> None:
    await user.http.post("/checkout", headers={"Authorization": f"Bearer {user.shared['token']}"}, expect=201)


plan = Plan(target="http://127.0.0.1:8080", load=iterations(20, users=4), mix=pay, set_up=log_in, tear_down=clean_up)
