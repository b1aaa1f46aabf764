"""`user.browser` with the Chromium of this machine: what servers, pages and web vitals known in advance must give."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
import pytest_asyncio

from loadgen.clients.browser.browsers import BLOCKED, WAITED, Browsers
from loadgen.clients.net.network import TcpNetwork
from loadgen.clients.protocol.timeouts import Timeouts
from loadgen.clients.request.tracing import Trace
from loadgen.dsl.users.user_factory import UserFactory, Ways
from loadgen.engine.recording.recorded_series import RequestSeries
from loadgen.engine.recording.recorder import Recorder
from loadgen.errors import RequestFailed, UsageError
from loadgen.find_chromium import find_chromium
from loadgen.measure.deltas.series_key import CLS_NS, Metric
from loadgen.units import NS_PER_MS, NS_PER_S
from tests.support.in_thread import serving

pytestmark = [
    pytest.mark.process,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(not find_chromium(), reason="this machine has no Chromium"),
]

TTFB_MS, PAINT_MS, BUSY_MS = 150, 250, 200
STYLE = "<style>body{margin:0}div{width:100vw}</style>"
PAGES = {
    # Everything that is large comes after PAINT_MS, so this is the least that LCP can be.
    "/": f"""{STYLE}<p>.</p><button id=busy onclick="const t=performance.now();while(performance.now()-t<{BUSY_MS});
this.textContent='x'">b</button><a href="/moves">on</a><img src="http://127.0.0.1:18999/no.png">
<script>setTimeout(()=>{{const h=document.createElement('h1');h.style.fontSize='90px';h.textContent='Large words here';
document.body.append(h)}},{PAINT_MS})</script>""",
    # 180 px are put above a block of 360 px, on a page of 1280 x 720: of 720 rows, 540 see the block before or after,
    # and it moves by 180 of the 1280 pixels of the longer side.
    "/moves": f"""{STYLE}<div id=gap style="height:0"></div><div style="height:360px;background:red">block</div>
<script>onload=()=>setTimeout(()=>{{document.getElementById('gap').style.height='180px';
setTimeout(()=>document.title='moved',300)}},600)</script>""",
    "/missing": "<h1>no such page</h1>",
    "/kept": "<p>.</p>",
}
CLS = (540 / 720) * (180 / 1280)


class Shop(BaseHTTPRequestHandler):
    seen: ClassVar[list[tuple[str, str]]] = []

    def do_GET(self) -> None:
        Shop.seen.append((self.path, self.headers.get("traceparent") or ""))
        if self.path == "/":
            time.sleep(TTFB_MS / 1_000)
        if self.path == "/slow":
            time.sleep(8)
        body = PAGES.get(self.path, "").encode()
        self.send_response(200 if self.path in PAGES and self.path != "/missing" else 404)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):  # the browser may have given up
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Shop)) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def factory(url: str) -> AsyncIterator[UserFactory]:
    made = UserFactory(
        Ways({"": url}, browsers=1, trace=Trace(sample=1.0), timeouts=Timeouts(total_ns=20 * NS_PER_S)),
        TcpNetwork(),
        None,
        seed=1,
    )
    yield made
    await made.worker_clients.close()


class Visit:
    """One user, and the values of its rows: (row, outcome, metric) -> values in ns."""

    def __init__(self, factory: UserFactory) -> None:
        self.recorder = Recorder()
        self.user = factory.user(self.recorder)
        self.user._meter.begin("j", warmup=False, pool_limited=False)

    def values(self) -> dict[tuple[str, str, Metric], list[int]]:
        series = [one for one in self.recorder._series.values() if isinstance(one, RequestSeries)]
        return {
            (key.request or "", key.outcome, key.metric): list(values) for one in series for key, values in one.swap()
        }


async def test_vitals_of_pages_are_those_of_the_page_and_each_navigation_is_a_row(factory: UserFactory) -> None:
    visit = Visit(factory)
    Shop.seen.clear()
    async with visit.user.browser("/") as page:
        await page.wait_for_selector("h1")
        await page.click("#busy")
        await page.wait_for_function("document.querySelector('#busy').textContent == 'x'")
        await page.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done, 100)))")
        await page.click("a")
        await page.wait_for_function("document.title == 'moved'")
    found = visit.values()
    least_ms = {"response": TTFB_MS, "ttfb": TTFB_MS, "fcp": TTFB_MS, "lcp": PAINT_MS, "inp": BUSY_MS}
    for metric, ms in least_ms.items():
        (value,) = found["page /", "ok", metric]  # type: ignore[index]
        assert value >= ms * NS_PER_MS, metric
    assert found["page /", "ok", "fcp"] <= found["page /", "ok", "lcp"]
    assert found["page /moves", "ok", "cls"] == [pytest.approx(CLS * CLS_NS, rel=0.001)]
    assert len(found["page /moves", "ok", "lcp"]) == 1
    counted = {one.name: one.total for source in visit.recorder.customs if (one := source.take()) is not None}
    assert counted[BLOCKED] == 1  # the picture of another server
    pages = {path: trace for path, trace in Shop.seen if path in PAGES}
    assert set(pages) == {"/", "/moves"}
    assert all(trace.startswith("00-") and trace.endswith("-01") for trace in pages.values())


async def test_a_block_starts_with_the_cookies_and_the_storage_that_the_journey_passes_on(
    factory: UserFactory,
) -> None:
    visit = Visit(factory)
    seen = "[document.cookie, localStorage.cart ?? null]"
    async with visit.user.browser("/kept") as page:
        await page.evaluate("document.cookie = 'session=7; path=/'; localStorage.cart = 'lamp'")
        state = await page.context.storage_state()
    async with visit.user.browser("/kept", storage_state=state) as page:
        assert await page.evaluate(seen) == ["session=7", "lamp"]
    async with visit.user.browser("/kept") as page:
        assert await page.evaluate(seen) == ["", None]
    with pytest.raises(UsageError, match=r"storage_state must be a dict, not a str"):
        visit.user.browser("/kept", storage_state="state.json")  # type: ignore[arg-type]
    ended = {(row, outcome): len(of) for (row, outcome, metric), of in visit.values().items() if metric == "response"}
    assert ended == {("page /kept", "ok"): 3}  # restoring the storage has no row


@pytest.mark.parametrize("named", [lambda url: url.split("?")[7], lambda url: 5, lambda url: ""])
async def test_an_error_in_the_function_that_names_rows_is_raised_by_the_block(
    factory: UserFactory, named: Callable[[str], str]
) -> None:
    visit = Visit(factory)
    with pytest.raises((IndexError, UsageError)):
        async with visit.user.browser("/moves", name=named):
            raise AssertionError("not reached")
    assert ("page /moves", "ok", "response") in visit.values()


async def test_failed_pages_have_the_outcomes_of_http_and_the_journey_ends_with_them(
    factory: UserFactory, url: str
) -> None:
    visit = Visit(factory)
    async with visit.user.browser("/missing", name="page (missing)"):
        pass  # as with HTTP, a status is an outcome and no exception
    with pytest.raises(RequestFailed, match="not allowed: no entry"):
        async with visit.user.browser("http://127.0.0.1:18999/elsewhere"):
            raise AssertionError("not reached")
    with pytest.raises(RequestFailed, match="timeout: "):
        async with visit.user.browser("/moves") as page:
            await page.goto("/slow", timeout=2_000)  # a busy machine needs a while to begin it
    with pytest.raises(RequestFailed, match="timeout: "):
        async with visit.user.browser("/moves") as page:
            await page.click("#no-such-button", timeout=100)
    with pytest.raises(Exception, match="Unexpected token"):  # an error of the script stays one
        async with visit.user.browser("/moves") as page:
            await page.click("css=][", timeout=100)
    ended = {(row, outcome): len(of) for (row, outcome, metric), of in visit.values().items() if metric == "response"}
    assert ended == {
        ("page (missing)", "http 404"): 1,
        ("page /elsewhere", "not allowed: no entry"): 1,
        ("page /slow", "timeout"): 1,
        ("page /moves", "ok"): 3,
    }


async def test_a_page_that_crashes_ends_its_iteration_and_the_browser_serves_the_next_user(
    factory: UserFactory,
) -> None:
    visit = Visit(factory)

    async def crash() -> None:
        async with visit.user.browser("/moves") as page:
            session = await page.context.new_cdp_session(page)
            with suppress(Exception):
                await asyncio.wait_for(session.send("Page.crash"), 2)
            await page.click("div", timeout=5_000)

    with pytest.raises(RequestFailed, match="page crashed"):
        await crash()
    async with visit.user.browser("/moves") as page:
        assert await page.evaluate("1 + 1") == 2


async def test_users_wait_for_a_free_browser_and_a_cut_off_user_gives_its_own_back(factory: UserFactory) -> None:
    first, second = Visit(factory), Visit(factory)
    has_page = asyncio.Event()

    async def keeps() -> None:
        async with first.user.browser("/moves"):
            has_page.set()
            await asyncio.Event().wait()

    keeping = asyncio.create_task(keeps())
    await has_page.wait()

    async def waits() -> str:
        async with second.user.browser("/moves") as page:
            return page.url

    waiting = asyncio.create_task(waits())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    keeping.cancel()
    assert (await waiting).endswith("/moves")
    counted: dict[str, Any] = {
        one.name: one.total for source in second.recorder.customs if (one := source.take()) is not None
    }
    assert counted[WAITED] == 1
    assert {metric for _, _, metric in first.values()} == {"response", "service"}  # its page was never left
    browsers = factory.worker_clients.browsers
    assert isinstance(browsers, Browsers)


async def test_a_chromium_that_ended_is_replaced_for_the_next_user(factory: UserFactory) -> None:
    visit = Visit(factory)
    browsers = factory.worker_clients.browsers
    assert browsers is not None

    async def end() -> None:
        async with visit.user.browser("/moves") as page:
            assert browsers._chromium is not None
            await browsers._chromium._browser.close()
            await page.click("div")

    with pytest.raises(RequestFailed, match="browser ended"):
        await end()
    async with visit.user.browser("/moves") as page:
        assert await page.evaluate("1 + 1") == 2
