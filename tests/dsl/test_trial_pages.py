"""`user.browser` in a trial: a real Chromium, whose pages get the replies of the trial."""

from __future__ import annotations

from typing import Any

import pytest

from loadgen import User, journey, reply
from loadgen.errors import UsageError
from loadgen.find_chromium import find_chromium

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not find_chromium(), reason="this machine has no Chromium"),
]

START = reply(
    html="""<title>Shop</title><a href="/cart?id=7">cart</a><form action="/search"><input name=q></form>
<script>fetch('/stock', {method: 'POST', body: '{"sku":7}'}).then(r => r.json()).then(s => document.title = s.left)
</script>""",
    headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")],
)


@journey
async def shops(user: User) -> None:
    await user.http.get("/api", expect=200)
    async with user.browser("/") as page:
        await page.wait_for_function("document.title == '3 left'")
        user.check("has both cookies", len(await page.context.cookies()) == 2)
        await page.click("a")
        user.check("is the cart", await page.inner_text("h1") == "Cart")


REPLIES: dict[str, Any] = {
    "GET /api": 200,
    "GET /": START,
    "POST /stock": lambda request: {"left": f"{request.json()['sku'] - 4} left"},
    "GET /cart": reply(html="<h1>Cart</h1>"),
}


async def test_pages_scripts_and_links_of_a_trial_get_its_replies() -> None:
    trial = await shops.trial(replies=REPLIES)
    assert trial.outcome == "ok", trial.detail
    assert [str(one) for one in trial.sent] == ["GET /api", "GET /", "POST /stock", "GET /cart?id=7"]
    assert trial.sent[2].json() == {"sku": 7}
    assert [(one.name, one.outcome) for one in trial.requests] == [
        ("GET /api", "ok"),
        ("page /", "ok"),
        ("page /cart", "ok"),
    ]
    assert trial.checks == {"has both cookies": (1, 1), "is the cart": (1, 1)}


@pytest.mark.parametrize(
    ("given", "outcome"),
    [(503, "http 503"), (reply(404, html="no"), "http 404"), (b"no HTTP", "reset")],
    ids=["status", "page", "no response"],
)
async def test_a_page_that_fails_has_its_outcome(given: Any, outcome: str) -> None:
    @journey
    async def looks(user: User) -> None:
        async with user.browser("/down"):
            pass

    trial = await looks.trial(replies={"GET /down": given})
    assert [(one.name, one.outcome) for one in trial.requests] == [("page /down", outcome)]
    assert trial.outcome == outcome


async def test_requests_to_other_servers_fail_as_in_a_run() -> None:
    @journey
    async def strays(user: User) -> None:
        async with user.browser("/") as page:
            await page.goto("http://elsewhere.example/")

    trial = await strays.trial(replies={"GET /": "hello"})
    assert trial.outcome == "not allowed: no entry"
    assert [str(one) for one in trial.sent] == ["GET /"]


@pytest.mark.parametrize("missing", ["GET /", "POST /stock", "GET /cart"])
async def test_a_request_without_a_reply_is_an_error_that_names_it(missing: str) -> None:
    replies = {name: given for name, given in REPLIES.items() if name != missing}
    replies["GET /stock"] = {"left": 0}

    @journey
    async def looks(user: User) -> None:
        async with user.browser("/") as page:
            await page.wait_for_load_state("networkidle")
            await page.click("a")

    with pytest.raises(UsageError, match=f"no canned reply for {missing}"):
        await looks.trial(replies=replies)
