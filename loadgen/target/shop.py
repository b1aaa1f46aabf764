"""The pages and handlers of the demo shop. No I/O, no clock: takes a request, returns an answer.

It keeps no state except two counters and a cache of searches. A token contains a proof that
this shop issued it, and a csrf value a proof that it was read from the product's page. So
memory does not grow with the load, and there may be any number of users.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from hashlib import blake2b
from time import monotonic
from typing import Final, NamedTuple
from urllib.parse import parse_qs, unquote

import msgspec

from loadgen.target.request_response import HTML, Answer, Request, answer, json_answer, wrong
from loadgen.target.shop_partner_api import Api

__all__ = ["OTHER_ROUTE", "PRODUCTS", "Shop"]

PRODUCTS: Final = 200
"""The number of products: sku-0001 to sku-0200."""
WRONG_PASSWORD: Final = "wrong"  # noqa: S105
"""Any password is valid, except this one and the empty one."""
OTHER_ROUTE: Final = "(other)"
"""The route of all unknown paths."""

_WORDS = (
    ("red", "blue", "green", "black", "white", "striped", "plain", "folding"),
    ("cotton", "wool", "steel", "oak", "paper"),
    ("shirt", "lamp", "chair", "bag", "mug"),
)


class _Login(msgspec.Struct):
    email: str
    password: str


class _CartLine(msgspec.Struct):
    sku: str
    csrf: str = ""
    quantity: int = 1


class Product(msgspec.Struct, frozen=True):
    sku: str
    name: str
    price_cents: int


def _catalogue() -> tuple[Product, ...]:
    first, second, third = _WORDS
    names = [f"{a} {b} {c}" for b in second for c in third for a in first]
    return tuple(Product(f"sku-{n:04}", names[n - 1], 500 + n * 37 % 9500) for n in range(1, PRODUCTS + 1))


_PATTERNS: Final = {"products": "/products/{sku}", "uploads": "/uploads/{id}", "jobs": "/jobs/{id}"}

Handler = Callable[[Request], Answer]


class CacheInfo(NamedTuple):
    hits: int
    misses: int


class Shop:
    """The routes of the shop. seed: makes the tokens and csrf values of one shop differ from those of another."""

    def __init__(self, seed: int = 1, now_s: Callable[[], float] = monotonic) -> None:
        self._key = seed.to_bytes(16, "little", signed=True)
        self._logins = 0
        self._orders = 0
        self.products = _catalogue()
        self._csrf = {p.sku: self._proof("csrf", p.sku) for p in self.products}
        self._pages = {p.sku: self._page(p) for p in self.products}
        self._home = answer(200, self._home_html(), HTML)
        self._list = json_answer(200, self.products)
        self._search = lru_cache(maxsize=4096)(self._hits)
        self._no_product = wrong(404, "no such product")
        self._unauthorised = wrong(401, "log in first", b"WWW-Authenticate: Bearer\r\n")
        self._routes: dict[str, Mapping[str, Handler]] = {
            **Api(self._proof, now_s).routes,
            "/": {"GET": lambda _: self._home},
            "/login": {"POST": self._login},
            "/products": {"GET": lambda _: self._list},
            "/products/{sku}": {"GET": self._product},
            "/cart": {"POST": self._cart},
            "/checkout": {"POST": self._checkout},
            "/search": {"GET": self._searched},
        }
        self._not_found = wrong(404, "no such page")
        self._not_allowed = {
            route: wrong(405, "no such method here", f"Allow: {', '.join(self._methods(route))}\r\n".encode())
            for route in self._routes
        }

    def route(self, path: str) -> str:
        """Return the pattern that a path belongs to, for example `/products/{sku}`; `(other)` for an unknown path."""
        if path in self._routes:
            return path if "{" not in path else OTHER_ROUTE
        return _PATTERNS.get(path[1:].partition("/")[0], OTHER_ROUTE) if path.count("/") == 2 else OTHER_ROUTE

    def handle(self, route: str, request: Request) -> Answer:
        """Process a request of the demo shop and return the answer. A HEAD request gets the answer of GET, whose body
        the server leaves out.
        """
        methods = self._routes.get(route)
        if methods is None:
            return self._not_found
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        return self._not_allowed[route] if handler is None else handler(request)

    def search_cache(self) -> CacheInfo:
        """Return the hits and misses of the cache of searches since the start."""
        return CacheInfo(*self._search.cache_info()[:2])

    def _methods(self, route: str) -> tuple[str, ...]:
        return tuple(m for method in self._routes[route] for m in ((method, "HEAD") if method == "GET" else (method,)))

    # -- handlers ------------------------------------------------------------------------------

    def _login(self, request: Request) -> Answer:
        try:
            login = _read_login(request.body)
        except msgspec.MsgspecError as error:
            return wrong(400, str(error))
        if not login.email or login.password in ("", WRONG_PASSWORD):
            return wrong(401, "wrong e-mail or password")
        self._logins += 1
        number = str(self._logins)
        return json_answer(200, {"token": f"{number}.{self._proof('token', number)}"})

    def _product(self, request: Request) -> Answer:
        return self._pages.get(unquote(request.path[len("/products/") :]), self._no_product)

    def _cart(self, request: Request) -> Answer:
        if not self._is_ours(request.token):
            return self._unauthorised
        try:
            line = _read_cart_line(request.body)
        except msgspec.MsgspecError as error:
            return wrong(400, str(error))
        csrf = self._csrf.get(line.sku)
        if csrf is None:
            return self._no_product
        if line.csrf != csrf:
            return wrong(403, "the csrf value does not match the product's page")
        return json_answer(201, {"sku": line.sku, "quantity": line.quantity})

    def _checkout(self, request: Request) -> Answer:
        if not self._is_ours(request.token):
            return self._unauthorised
        self._orders += 1
        return json_answer(201, {"order": self._orders})

    def _searched(self, request: Request) -> Answer:
        asked = parse_qs(request.query).get("q", [""])[0]
        known = self._search.cache_info().hits
        found = self._search(asked.lower()[:200])
        is_hit = self._search.cache_info().hits > known
        return Answer(found.status, found.head + (_HIT if is_hit else _MISS), found.body)

    def _hits(self, asked: str) -> Answer:
        return json_answer(200, {"q": asked, "hits": [p for p in self.products if asked in p.name] if asked else []})

    # -- proofs and pages ------------------------------------------------------------------------

    def _proof(self, what: str, text: str) -> str:
        return blake2b(f"{what}:{text}".encode(), digest_size=12, key=self._key).hexdigest()

    def _is_ours(self, token: str) -> bool:
        number, _, proof = token.partition(".")
        return bool(number) and proof == self._proof("token", number)

    def _page(self, product: Product) -> Answer:
        html = (
            f"<!doctype html><html><head><title>{product.name}</title></head><body>"
            f'<h1>{product.name}</h1><p class="price">{product.price_cents / 100:.2f}</p>'
            f'<form action="/cart" method="post"><input type="hidden" name="sku" value="{product.sku}">'
            f'<input type="hidden" name="csrf" value="{self._csrf[product.sku]}">'
            "<button>Add to cart</button></form></body></html>"
        )
        return answer(200, html.encode(), HTML)

    def _home_html(self) -> bytes:
        links = "".join(f'<li><a href="/products/{p.sku}">{p.name}</a></li>' for p in self.products[:20])
        return (
            "<!doctype html><html><head><title>Demo shop</title></head><body><h1>Demo shop</h1>"
            '<form action="/search"><input name="q"></form>'
            f"<ul>{links}</ul></body></html>"
        ).encode()


_HIT: Final = b"X-Cache: hit\r\n"
_MISS: Final = b"X-Cache: miss\r\n"
_read_login = msgspec.json.Decoder(_Login).decode
_read_cart_line = msgspec.json.Decoder(_CartLine).decode
