"""Ask up to three times when the target is overloaded.

`retries=` is for requests without an answer. A 503 is an answer, so the journey decides.
"""

from loadgen import Plan, User, iterations, journey


@journey
async def look(user: User) -> None:
    for attempt in range(3):
        reply = await user.http.get("/products", accept={503})
        if reply.status_code != 503:
            break
        await user.think(0.01 * (attempt + 1))


plan = Plan(target="http://127.0.0.1:8080", load=iterations(20, users=1), mix=look)
