"""One request an iteration, as plain as can be; several loads of it."""

from loadgen import Plan, User, arrivals, error_ratio, iterations, journey, p, users


@journey
async def one_get(user: User) -> None:
    await user.http.get("/", expect=200)


REGIONS = {"us-east-1": 0.5, "eu-west-1": 0.3, "ap-south-1": 0.2}
NOWHERE = "http://127.0.0.1:1"

plan = Plan(
    target=NOWHERE,
    load=arrivals("200/s").hold("5s"),
    mix=one_get,
    regions=REGIONS,
    slos=[p(95) < "10s", error_ratio() < "50%"],
)
paced = Plan(target=NOWHERE, load=arrivals("2000/s").hold("20s"), mix=one_get)
closed = Plan(target=NOWHERE, load=users(8).hold("3s"), mix=one_get, regions=REGIONS)
counted = Plan(target=NOWHERE, load=iterations(500, users=7), mix=one_get, regions=REGIONS)
short = Plan(target=NOWHERE, load=arrivals("20/s").hold("1s"), mix=one_get)
impatient = Plan(target=NOWHERE, load=arrivals("20/s").hold("1s"), mix=one_get, timeout="1s")
