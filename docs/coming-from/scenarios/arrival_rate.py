"""10 iterations start per second: `plan` however slow the target is, `paced` by 10 users that wait for answers."""

from loadgen import Plan, User, arrivals, journey, users


@journey
async def home(user: User) -> None:
    await user.http.get("/", expect=200)


plan = Plan(target="http://127.0.0.1:8080", load=arrivals("10/s").hold("3s"), mix=home, max_users=50)
paced = Plan(target="http://127.0.0.1:8080", load=users(10).hold("3s").pace("1s"), mix=home)
