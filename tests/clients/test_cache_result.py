"""What headers of caches say: the examples of RFC 9211, the words that vendors document, and arbitrary bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadgen.clients.request.cache_result import BYPASS, HIT, MISS, NONE, RESULTS, STALE, cache_result


def result_of(*headers: str) -> str:
    """Of headers such as "X-Cache: HIT"."""
    pairs = (header.partition(":") for header in headers)
    return cache_result([(name.encode(), value.strip().encode("latin-1")) for name, _, value in pairs])


# RFC 9211, sections 2 and 3. The comments are the RFC's own words.
RFC_9211 = [
    (["ExampleCache; hit"], HIT),  # a minimal cache hit
    (["ExampleCache; hit; ttl=376"], HIT),
    (["ExampleCache; hit; ttl=-412"], STALE),  # a stale hit just has negative freshness
    (["ExampleCache; fwd=uri-miss"], MISS),  # a complete miss
    (["ExampleCache; fwd=stale; fwd-status=304"], MISS),  # a miss that successfully validated
    (["ExampleCache; fwd=uri-miss; collapsed"], MISS),  # a miss that was collapsed with another request
    (["ExampleCache; fwd=uri-miss; collapsed=?0"], MISS),
    (['OriginCache; hit; ttl=1100, "CDN Company Here"; hit; ttl=545'], HIT),  # two separate layers of caching
    (
        ["ReverseProxyCache; hit", "ForwardProxyCache; fwd=uri-miss; collapsed; stored", "BrowserCache; fwd=uri-miss"],
        MISS,
    ),
    (["C; fwd=vary-miss"], MISS),
    (["C; fwd=miss"], MISS),
    (["C; fwd=partial"], MISS),
    (["C; fwd=bypass"], BYPASS),  # configured to not handle this request
    (["C; fwd=method"], BYPASS),  # the request method's semantics require the request to be forwarded
    (["C; fwd=request"], BYPASS),  # the request's semantics did not allow its use
    (["C; hit=?1"], HIT),
    (["C; hit=?0"], NONE),
    (["C; detail=hit"], NONE),
    (['C; fwd=miss, "a, b; hit; \\"hit"; fwd=bypass; key="x, y; hit"'], BYPASS),
    (['"unclosed; hit, C; hit'], NONE),
    ([""], NONE),
    (["Netlify Edge; hit"], HIT),  # not a token by RFC 8941, and easy to understand
]


@pytest.mark.parametrize(("values", "expected"), RFC_9211)
def test_cache_status_of_the_nearest_cache_decides(values: list[str], expected: str) -> None:
    assert result_of(*(f"Cache-Status: {value}" for value in values)) == expected


VENDORS = [
    # https://developers.cloudflare.com/cache/concepts/cache-responses
    *(
        (f"CF-Cache-Status: {word}", expected)
        for word, expected in (
            ("HIT", HIT),
            ("MISS", MISS),
            ("EXPIRED", MISS),
            ("REVALIDATED", MISS),
            ("STALE", STALE),
            ("UPDATING", STALE),
            ("BYPASS", BYPASS),
            ("DYNAMIC", BYPASS),
            ("NONE/UNKNOWN", NONE),
        )
    ),
    # nginx, $upstream_cache_status
    *(
        (f"X-Cache-Status: {word}", expected)
        for word, expected in (
            ("MISS", MISS),
            ("BYPASS", BYPASS),
            ("EXPIRED", MISS),
            ("STALE", STALE),
            ("UPDATING", STALE),
            ("REVALIDATED", MISS),
            ("HIT", HIT),
            ("-", NONE),
        )
    ),
    # CloudFront, x-edge-result-type
    ("X-Cache: Hit from cloudfront", HIT),
    ("X-Cache: Miss from cloudfront", MISS),
    ("X-Cache: RefreshHit from cloudfront", MISS),
    ("X-Cache: OriginShieldHit from cloudfront", MISS),
    ("X-Cache: Error from cloudfront", NONE),
    ("X-Cache: LambdaGeneratedResponse from cloudfront", NONE),
    # Fastly: shield first, the edge last
    ("X-Cache: MISS, HIT", HIT),
    ("X-Cache: HIT, MISS", MISS),
    ("X-Cache: HIT-CLUSTER", HIT),
    ("X-Cache: HIT-STALE", STALE),
    ("X-Cache: PASS", BYPASS),
    # Akamai, Return Cache Status, and the header that Pragma debug directives ask for
    ("X-Cache: Hit from child", HIT),
    ("X-Cache: Miss from child, Hit from parent", MISS),
    ("X-Cache: Hit from child, Miss from parent", HIT),
    ("X-Cache: RefreshHit from child", MISS),
    ("X-Cache: HitStale from child", STALE),
    ("X-Cache: NotCacheable from child", BYPASS),
    ("X-Cache: Constructed from child", NONE),
    ("X-Cache: TCP_HIT from a23-1-2-3.deploy.akamaitechnologies.com (AkamaiGHost/9.6.1-1) (-)", HIT),
    ("X-Cache: TCP_MEM_HIT from a23 (AkamaiGHost/9.6) (-)", HIT),
    ("X-Cache: TCP_REFRESH_HIT from a23 (AkamaiGHost/9.6) (-)", MISS),
    ("X-Cache: TCP_REFRESH_MISS from a23 (AkamaiGHost/9.6) (-)", MISS),
    ("X-Cache: TCP_REFRESH_FAIL_HIT from a23 (AkamaiGHost/9.6) (-)", STALE),
    ("X-Cache: TCP_MISS from a23 (AkamaiGHost/9.6) (-)", MISS),
    # Squid
    ("X-Cache: HIT from proxy.example", HIT),
    ("X-Cache: MISS from proxy.example", MISS),
    ("X-Cache: TCP_CLIENT_REFRESH_MISS", BYPASS),
    # Azure Front Door
    ("X-Cache: TCP_HIT", HIT),
    ("X-Cache: TCP_REMOTE_HIT", MISS),
    ("X-Cache: PRIVATE_NOSTORE", BYPASS),
    ("X-Cache: CONFIG_NOCACHE", BYPASS),
    ("X-Cache: N/A", NONE),
    # Varnish: the id of the request, and that of the request that stored the answer
    ("X-Varnish: 32773 3", HIT),
    ("X-Varnish: 32773", MISS),
    ("X-Varnish: abc", NONE),
    # RFC 9111, section 5.1
    ("Age: 12", HIT),
    ("Age: 0", NONE),
    ("Age: 00", NONE),
    ("Age: -1", NONE),
    ("Age: ١٢".encode().decode("latin-1"), NONE),
    # words of servers and frameworks
    ("x-cache: hit", HIT),
    ("x-cache:   Miss  ", MISS),
    ("X-Cache: on", NONE),
    ("X-Cache:", NONE),
]


@pytest.mark.parametrize(("header", "expected"), VENDORS)
def test_documented_words_of_vendors_are_understood(header: str, expected: str) -> None:
    assert result_of(header) == expected


def test_without_such_a_header_there_is_no_result() -> None:
    assert result_of() == result_of("Content-Type: text/html", "Cache-Control: max-age=60") == NONE


def test_the_first_header_with_a_result_decides() -> None:
    assert result_of("Age: 7", "X-Varnish: 4", "X-Cache: HIT") == HIT
    assert result_of("X-Cache: HIT", "CF-Cache-Status: DYNAMIC") == BYPASS
    assert result_of("X-Cache: HIT", "Cache-Status: C; fwd=miss") == MISS
    assert result_of("X-Cache: on", "X-Varnish: 4", "Age: 0") == MISS
    # Varnish with its builtin rules, as Varnish 7.7 writes them
    assert result_of("X-Varnish: 7 5", "Age: 0", "Via: 1.1 vm (Varnish/7.7)") == HIT
    assert result_of("X-Varnish: 4", "Age: 0", "Via: 1.1 vm (Varnish/7.7)") == MISS


def test_several_lines_of_a_header_are_one_list() -> None:
    assert result_of("X-Cache: MISS", "X-Cache: HIT") == HIT
    assert result_of("X-Cache: HIT", "X-Cache: MISS") == MISS


NAMES = st.sampled_from(
    [b"Cache-Status", b"cf-cache-status", b"X-CACHE", b"x-cache-status", b"x-varnish", b"age", b"x"]
)
VALUES = st.one_of(
    st.binary(max_size=60),
    st.text(alphabet='hitfwd=;,"\\ ?01-MISSTCP_', max_size=60).map(str.encode),
)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6))
def test_any_bytes_have_one_of_the_results(headers: list[tuple[bytes, bytes]]) -> None:
    assert cache_result(headers) in RESULTS


@given(
    st.lists(
        st.sampled_from(["A; hit", 'B; key="x, y; \\" z"; fwd=miss', "C; fwd=bypass", "D; hit; ttl=-1"]), min_size=1
    )
)
def test_only_the_last_member_of_cache_status_counts(members: list[str]) -> None:
    assert result_of(f"Cache-Status: {', '.join(members)}") == result_of(f"Cache-Status: {members[-1]}")


def test_a_value_that_is_too_long_is_not_read() -> None:
    assert result_of(f"X-Cache: {'x' * 20_000},HIT", "Age: 3") == HIT
    assert result_of(f"X-Cache: {'x' * 20_000},HIT") == NONE
    assert result_of('Cache-Status: "' + "\\" * 8_001 + '"; hit') == NONE
    assert result_of('Cache-Status: "' + "\\" * 8_000 + '"; hit') == HIT
