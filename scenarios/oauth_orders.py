"""A partner's program reads all its orders from the demo shop's API: OAuth, token refresh on expiry, paging.

A token is valid for 2 s, and three pages with think times take longer. Then the API returns 401, and the program
refreshes its token and requests the same page again. Each user keeps its tokens for its whole life.
"""

import msgspec

from loadgen import Plan, UserWith, error_ratio, journey, p, users


class Tokens(msgspec.Struct):
    access_token: str = ""
    refresh_token: str = ""


async def authorise(user: UserWith[Tokens], **grant: str) -> None:
    reply = await user.http.post("/oauth/token", data=grant, expect=200)
    user.state = reply.pick("$", Tokens)
    user.http.headers["Authorization"] = f"Bearer {user.state.access_token}"


@journey(state=Tokens)
async def read_orders(user: UserWith[Tokens]) -> None:
    if not user.state.access_token:
        await authorise(user, grant_type="password", username="partner", password="partner")
    cursor = "0"
    while cursor:
        page = await user.http.get("/api/orders", params={"cursor": cursor}, accept={401})
        if page.status_code == 401:
            await authorise(user, grant_type="refresh_token", refresh_token=user.state.refresh_token)
            page = await user.http.get("/api/orders", params={"cursor": cursor}, expect=200)
        cursor = page.json()["next"]
        await user.think("500ms", "1500ms")


plan = Plan(
    target="http://127.0.0.1:8080",
    load=users(20).hold("30s"),
    mix=read_orders,
    slos=[p(95) < "300ms", p(99, request="POST /oauth/token") < "500ms", error_ratio() < "0.1%"],
)
