"""Coverage: which requests of the traffic and operations of a document the source of scenarios sends."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from loadgen.dsl.loading.loader import load
from loadgen.errors import UsageError
from loadgen.traffic.coverage.endpoints import Endpoint, Index, endpoint_of_name
from loadgen.traffic.coverage.measure import Coverage, coverage_of
from loadgen.traffic.coverage.openapi_operations import read_openapi
from loadgen.traffic.coverage.source_calls import SourceCall, calls_of
from loadgen.traffic.coverage.stubs import stub_of
from loadgen.traffic.coverage.traced_endpoints import TracedEndpoints
from loadgen.traffic.coverage.traffic_names import TrafficNames, read_traffic_names
from loadgen_controller import cli
from tests.support.made_logs import SHOP, lines_of, written_log
from tests.support.past_runs import past_run

TRAFFIC = {
    "GET /": {200: 500},
    "GET /search": {200: 280, 500: 20},
    "GET /products/{id}": {200: 90, 404: 8, 304: 2},
    "POST /cart": {201: 60, 401: 30},
    "DELETE /cart/{id}/items/{id2}": {204: 10},
}


def coverage(*args: str | Path, columns: int = 160) -> tuple[int, str]:
    done = CliRunner().invoke(cli.app, ["coverage", *map(str, args)], env={"COLUMNS": str(columns)})
    return done.exit_code, done.output


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def traffic_file(folder: Path, names: dict[str, dict[int, int]] | None = None, **more: Any) -> Path:
    names = TRAFFIC if names is None else names
    facts = {
        "format": 1,
        "names": [{"raw": name, "name": name, "count": sum(codes.values())} for name, codes in names.items()],
        "statuses": [{"name": name, "codes": codes} for name, codes in names.items()],
        **more,
    }
    return written(folder / "traffic.json", json.dumps(facts))


def names_of(folder: Path) -> TrafficNames:
    return read_traffic_names(traffic_file(folder))


def calls_in(folder: Path, body: str, top: str = "") -> list[SourceCall]:
    """The requests of a journey whose body this is."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return calls_of(written(folder / "shop.py", f"{top}\n@journey\nasync def shop(user: User) -> None:\n{lines}"))


def sent(calls: list[SourceCall]) -> list[str]:
    return [" | ".join(map(str, call.endpoints)) for call in calls]


def openapi(folder: Path, paths: dict[str, Any], **more: Any) -> Path:
    return written(folder / "api.json", json.dumps({"openapi": "3.1.0", "paths": paths, **more}))


# -- endpoints -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("GET /products/{sku}", ["GET /products/{id}"]),
        ("GET /products/7", ["GET /products/{id}"]),
        ("GET /products/7/", ["GET /products/{id}"]),
        ("GET /products/new", ["GET /products/new"]),
        ("POST /products/new", []),
        ("GET /products", []),
        ("GET /products/7/reviews", []),
        ("GET /files/a.json", ["GET /files/{name}.json"]),
        ("GET /files/a.xml", []),
        ("GET /", ["GET /"]),
        ("GET /{page}", []),
        ("GET /a/b", ["GET /a/{x}", "GET /{x}/b"]),
    ],
)
def test_an_endpoint_is_found_by_its_fixed_segments_and_the_most_exact_one_wins(wanted: str, found: list[str]) -> None:
    known = ["GET /", "GET /products/{id}", "GET /products/new", "GET /files/{name}.json", "GET /a/{x}", "GET /{x}/b"]
    index = Index(one for name in known if (one := endpoint_of_name(name)))
    endpoint = endpoint_of_name(wanted)
    assert endpoint is not None

    assert [str(one) for one in index.find(endpoint)] == found


def test_a_name_that_is_no_path_has_no_endpoint() -> None:
    assert endpoint_of_name("search") is None
    assert endpoint_of_name("/search", "POST") == Endpoint("POST", "/search")


# -- the source ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "endpoints"),
    [
        ('await user.http.get("/search?q=lamp#top")', ["GET /search"]),
        ('await user.http.post("https://shop.example/cart", json={})', ["POST /cart"]),
        ('await user.http.get(f"/products/{user.arrival}")', ["GET /products/{}"]),
        ('await user.http.get(f"/products/{sku}", name="/products/{sku}")', ["GET /products/{}"]),
        ('await user.http.get("/products/" + str(user.arrival))', ["GET /products/{}"]),
        ('await user.http.get(HOME)\nawait user.http.get(f"{BASE}/cart")', ["GET /home", "GET /api/cart"]),
        ('path = f"/products/{user.number}"\nawait user.http.get(path)', ["GET /products/{}"]),
        ('for path in ("/a", "/b"):\n    await user.http.get(path)', ["GET /a | GET /b"]),
        ('for path in ("a", "b"):\n    await user.http.get(f"/x/{path}")', ["GET /x/a | GET /x/b"]),
        ('await user.http.request("PURGE", "/cache")', ["PURGE /cache"]),
        ('async with user.http.stream("GET", "/events") as reply:\n    pass', ["GET /events"]),
        ('await user.to("api").delete("/cart")', ["DELETE /cart"]),
        ('client = user.to("api")\nawait client.put("/cart")', ["PUT /cart"]),
        ('await user.gather(user.http.get("/a"), user.http.get("/b"))', ["GET /a", "GET /b"]),
        ('await user.poll(lambda: user.http.get("/job"), until=bool, name="job")', ["GET /job"]),
        ('await user.http.get(url(user), name="GET /orders/{id}")', ["GET /orders/{id}"]),
        ('await user.http.get(url(user), name="/orders/{id}")', ["GET /orders/{id}"]),
        ('await user.http.get(url=f"{user.shared}/cart")', ["GET /cart"]),
        ('await user.http.get(url(user), name="orders")', [""]),
        ('await user.http.get(f"{user.shared}")', [""]),
        ('await user.http.request(user.shared, "/a")', [""]),
        ('get("/a")\nthing.http.get("/b")', []),
    ],
)
def test_requests_are_found_in_the_source(tmp_path: Path, body: str, endpoints: list[str]) -> None:
    top = 'HOME = "/home"\nBASE = "/api"'

    assert sent(calls_in(tmp_path, body, top)) == endpoints


def test_requests_in_helpers_and_nodes_count_and_each_once(tmp_path: Path) -> None:
    text = (
        "@node\nasync def home(user: User, visit: Visit) -> Visit:\n    await user.http.get('/')\n    return visit\n"
        "async def helper(user: User) -> None:\n    async def inner() -> None:\n        await user.http.get('/inner')\n"
        "    await inner()\n    page = await user.http.get('/page')\n    await page.form('#login').submit({})\n"
    )

    assert sent(calls_of(written(tmp_path / "shop.py", text))) == ["GET /", "GET /inner", "GET /page"]


HELPERS = """
async def open_page(user: User, path: str, name: str = "", *, expect: int = 200) -> None:
    await user.http.get(f"{path}?x=1", name=name, expect=expect)

class Shop:
    def __init__(self, user: User) -> None:
        self.user = user

    async def get(self, user: User, sku: str) -> None:
        await user.http.get(f"/products/{sku}")

async def unused(user: User, path: str) -> None:
    await user.http.get(path)

async def spread(user: User, path: str) -> None:
    await user.http.get(path)

@journey
async def shop(user: User, row: Row) -> None:
    await open_page(user, "/cart", "cart")
    await open_page(user, name="rows", path=f"/rows/{row.id}")
    await open_page(user, row.url)
    for path in ("/a", "/b"):
        await open_page(user, path)
    shop = Shop(user)
    await shop.get(user, "7")
    await shop.get(user, row.sku)
    await spread(*row)
"""


def test_arguments_are_followed_into_helpers_of_the_file(tmp_path: Path) -> None:
    calls = calls_of(written(tmp_path / "shop.py", HELPERS))

    assert sorted(sent(calls)) == [
        "", "", "", "GET /a | GET /b", "GET /cart", "GET /products/7", "GET /products/{}", "GET /rows/{}",
    ]  # fmt: skip
    (cart,) = (call for call in calls if call.row == "cart")
    assert HELPERS.splitlines()[cart.line - 1].strip() == 'await open_page(user, "/cart", "cart")'


def test_paths_that_are_drawn_from_a_file_are_read_from_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/other.csv").write_text("path,hits\n/about,3\n/help?x=1,2\n")
    top = (
        'OTHER = choices("data/other.csv", value="path", weight="hits")\nGONE = choices("data/gone.csv", value="path")'
    )

    calls = calls_in(
        tmp_path, 'await user.http.get(user.draw(OTHER), name="other")\nawait user.http.get(user.draw(GONE))', top
    )

    assert sent(calls) == ["GET /about | GET /help", ""]


def test_the_statuses_that_a_request_expects_are_read(tmp_path: Path) -> None:
    body = (
        'await user.http.get("/a")\nawait user.http.get("/b", expect=200)\n'
        'await user.http.get("/c", expect={200, 304})\n'
        'await user.http.get("/d", accept={404})\nawait user.http.get("/e", expect=WANTED)\n'
    )
    calls = calls_in(tmp_path, body, "WANTED = 201")

    assert [[status for status in (200, 201, 304, 404, 500) if call.expects(status)] for call in calls] == [
        [200, 201, 304], [200], [200, 304], [200, 201, 304, 404], [201],
    ]  # fmt: skip


# -- OpenAPI -----------------------------------------------------------------------------------------


def operations(path: Path) -> list[str]:
    return [str(one.endpoint) for one in read_openapi(path).operations]


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ({}, "GET /pets/{id}"),
        ({"servers": [{"url": "https://shop.example/api/v1/"}]}, "GET /api/v1/pets/{id}"),
        ({"servers": [{"url": "/api"}, {"url": "/other"}]}, "GET /api/pets/{id}"),
        ({"servers": [{"url": "/{v}/x", "variables": {"v": {"default": "v2"}}}]}, "GET /v2/x/pets/{id}"),
        ({"servers": "wrong"}, "GET /pets/{id}"),
        ({"openapi": None, "swagger": "2.0", "basePath": "/base"}, "GET /base/pets/{id}"),
    ],
)
def test_operations_have_the_paths_of_their_servers(tmp_path: Path, more: dict[str, Any], found: str) -> None:
    path = openapi(tmp_path, {"/pets/{id}": {"get": {}, "parameters": [], "x-get": {}}, "x-more": {"get": {}}}, **more)

    assert operations(path) == [found]


def test_a_document_without_its_servers_path_in_the_log_fits_as_well(tmp_path: Path) -> None:
    document = read_openapi(openapi(tmp_path, {"/search": {"get": {}}}, servers=[{"url": "https://a.example/v1"}]))

    found = coverage_of([], names_of(tmp_path), document)

    assert found.dead == ()
    assert "GET /search" not in {str(one.endpoint) for one in found.shadow}


def test_yaml_is_read_without_making_objects_or_dates(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    text = (
        "openapi: 3.0.3\ninfo: {version: 2024-13-45}\n"
        "paths:\n  /a: &a\n    get: {x: !!python/object:os.system 1}\n  /b: *a\n"
    )

    assert operations(written(tmp_path / "api.yaml", text)) == ["GET /a", "GET /b"]


def test_yaml_without_its_package_is_an_error_with_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)

    with pytest.raises(UsageError, match="YAML needs PyYAML, which is not installed") as raised:
        read_openapi(written(tmp_path / "api.yaml", "openapi: 3.0.3"))

    assert "`traffic`" in raised.value.hint


def test_references_are_followed_in_the_folder_and_never_in_the_network_or_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "api").mkdir()
    (tmp_path / "secret.json").write_text('{"get": {}}')
    (tmp_path / "api/parts").mkdir()
    (tmp_path / "api/parts/pets.json").write_text(
        '{"items": [{"get": {}}], "again": {"$ref": "../api.json#/paths/~1ok"}}'
    )
    paths = {
        "/ok": {"post": {}},
        "/same": {"$ref": "#/paths/~1ok"},
        "/file": {"$ref": "parts/pets.json#/items/0"},
        "/back": {"$ref": "parts/pets.json#/again"},
        "/loop": {"$ref": "#/paths/~1loop"},
        "/loop2": {"$ref": "#/paths/~1loop3"},
        "/loop3": {"$ref": "#/paths/~1loop2"},
        "/net": {"$ref": "https://evil.example/x.json"},
        "/net2": {"$ref": "//evil.example/x.json"},
        "/out": {"$ref": "../secret.json"},
        "/gone": {"$ref": "#/paths/~1gone2"},
        "/text": "get",
    }

    found = read_openapi(openapi(tmp_path / "api", paths))

    assert [str(one.endpoint) for one in found.operations] == ["GET /file", "POST /back", "POST /ok", "POST /same"]
    assert {one.partition(":")[0]: one.partition(": ")[2] for one in found.left_out} == {
        "/loop": "its references form a circle",
        "/loop2": "its references form a circle",
        "/loop3": "its references form a circle",
        "/net": "its $ref is a URL, and loadgen reads local files only",
        "/net2": "its $ref is a URL, and loadgen reads local files only",
        "/out": "its $ref points outside of the folder of the document",
        "/gone": "its $ref points to a missing part of the document",
        "/text": "it must be an object",
    }


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.json", None, "cannot be read: No such file or directory"),
        ("api.json", b"{", "api.json:1: invalid JSON"),
        ("api.json", b"[1]", "it must be an object"),
        ("api.json", b"{}", "neither openapi nor swagger"),
        ("api.json", b'{"openapi": "4.0", "paths": {}}', "version '4.0'"),
        ("api.json", b'{"openapi": "3.0.1", "paths": []}', "paths must be an object"),
        ("api.json", b'{"openapi": "3.0.1"}', "has no operations"),
        ("api.json", b'{"openapi": "\xff"}', "is not UTF-8"),
        ("api.json", b"[" * 100_000, "invalid JSON"),
        ("api.yaml", b"a: b: c", "api.yaml:1: invalid YAML"),
        ("api.yaml", b"- 1", "it must be an object"),
        ("api.yaml", b"", "it must be an object"),
        ("api.yaml", b"a: &a [*a]", "invalid YAML"),
    ],
)
def test_a_bad_document_is_an_error(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)

    code, output = coverage(tmp_path, "--openapi", tmp_path / name)

    assert code == 2
    assert message in output


# -- what is measured --------------------------------------------------------------------------------


def measured(folder: Path, body: str, document: dict[str, Any] | None = None, run: set[str] | None = None) -> Coverage:
    found = None if document is None else read_openapi(openapi(folder, document))
    return coverage_of(calls_in(folder, body), names_of(folder), found, run)


def test_shares_are_weighted_by_requests_errors_and_writes(tmp_path: Path) -> None:
    found = measured(tmp_path, 'await user.http.get("/search")\nawait user.http.delete("/cart/1/items/2")')

    shares = {name: (share.exercised, share.total) for name, share in found.shares.items() if not share.missing}
    assert shares == {"requests": (310, 1_000), "errors": (20, 58), "writes": (10, 100), "operations": (2, 5)}
    assert found.shares["time"].missing == "traffic.json has no server times: a log without durations has none"
    assert [str(one.endpoint) for one in found.not_exercised] == ["GET /", "GET /products/{id}", "POST /cart"]


def test_server_time_is_a_measure_where_the_file_has_it(tmp_path: Path) -> None:
    path = traffic_file(tmp_path, server_time=[{"name": "GET /", "s": 1.5}, {"name": "GET /search", "s": 4.5}])

    found = coverage_of(calls_in(tmp_path, 'await user.http.get("/search")'), read_traffic_names(path), None)

    assert found.shares["time"].ratio == 0.75


def test_typos_dead_and_shadow_endpoints_are_listed(tmp_path: Path) -> None:
    document: dict[str, Any] = {"/products/{sku}": {"get": {}, "put": {}}, "/cart": {"post": {}}, "/": {"get": {}}}

    found = measured(tmp_path, 'await user.http.get("/serch")\nawait user.http.put("/products/7")', document)

    assert [call.text for call in found.nowhere_known] == ["user.http.get('/serch')"]
    assert [str(one) for one in found.dead] == ["PUT /products/{sku}"]
    assert [str(one.endpoint) for one in found.shadow] == ["GET /search", "DELETE /cart/{id}/items/{id2}"]
    assert [str(one.endpoint) for one in found.known if one.is_exercised] == ["PUT /products/{sku}"]


def test_statuses_that_no_request_expects_are_listed_by_class(tmp_path: Path) -> None:
    body = (
        'await user.http.get("/search", expect=200)\nawait user.http.post("/cart", expect=201)\n'
        'await user.http.get("/products/7", expect=200)\nawait user.http.get("/products/9", accept={404})\n'
    )

    found = measured(tmp_path, body)

    assert {str(one.endpoint): one.classes for one in found.unexpected} == {
        "GET /search": {5: 20},
        "POST /cart": {4: 30},
    }


def test_only_what_a_run_has_sent_is_exercised_if_a_run_is_given(tmp_path: Path) -> None:
    body = (
        'await user.http.get("/")\nawait user.http.get("/search", name="search")\n'
        'await user.http.get(f"/products/{user.arrival}")\nawait user.http.post("/cart")\n'
    )

    def exercised(run: set[str]) -> list[str]:
        return [str(one.endpoint) for one in measured(tmp_path, body, run=run).known if one.is_exercised]

    assert exercised({"GET /"}) == ["GET /"]
    assert exercised({"search", "(other)"}) == ["GET /search"]
    assert exercised({"GET /products/7"}) == ["GET /products/{id}"]
    assert exercised({"DELETE /cart/1/items/2"}) == ["DELETE /cart/{id}/items/{id2}"], (
        "no call shows it, but the run does"
    )
    assert exercised(set()) == []


def test_a_stub_is_a_journey_that_loads(tmp_path: Path) -> None:
    found = measured(tmp_path, "pass")
    stubs = "\n\n".join(stub_of(one) for one in found.not_exercised)
    names = ["home", "search", "product", "post_cart", "delete_item"]
    mix = "{" + ", ".join(f"{name}: 1" for name in names) + "}"
    plan = f'plan = Plan(target="http://127.0.0.1:1", load=arrivals("1/s").hold("1s"), mix={mix})\n'

    path = written(tmp_path / "stubs.py", f"from loadgen import Plan, User, arrivals, journey\n\n{stubs}\n\n{plan}")

    assert [one.name for one in load(path).journeys] == names
    again = coverage_of(calls_of(path), names_of(tmp_path), None)
    assert again.shares["requests"].ratio == 1


def test_any_parameter_and_path_of_a_document_makes_a_stub_that_loads(tmp_path: Path) -> None:
    paths = ["/a/{for}/{user}/{2nd}", "/stra\u00dfe/{stra\u00dfe}/\u03bb", "/odd}/{id}", "/plain/\u03bb"]
    found = measured(tmp_path, "pass", {path: {"get": {}} for path in paths})
    stubs = [stub_of(one) for one in found.known if one.operation is not None]
    assert len(stubs) == len(paths)

    for stub in stubs:
        name = stub.partition("async def ")[2].partition("(")[0]
        plan = f'plan = Plan(target="http://127.0.0.1:1", load=arrivals("1/s").hold("1s"), mix={name})\n'
        path = written(tmp_path / "stub.py", f"from loadgen import Plan, User, arrivals, journey\n\n{stub}\n\n{plan}")
        assert [one.name for one in load(path).journeys] == [name]
        document = read_openapi(openapi(tmp_path, {path: {"get": {}} for path in paths}))
        assert sum(one.is_exercised for one in coverage_of(calls_of(path), None, document).known) == 1


# -- the command ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "code"),
    [((), 0), (("--min", "31%"), 0), (("--min", "31.1%"), 1), (("--by", "operations", "--min", "0.5"), 1)],
)
def test_the_exit_code_is_1_below_the_minimum(tmp_path: Path, options: tuple[str, ...], code: int) -> None:
    calls_in(tmp_path, 'await user.http.get("/search")\nawait user.http.delete("/cart/1/items/2")')

    done, output = coverage(tmp_path / "shop.py", "--traffic", traffic_file(tmp_path), *options)

    assert done == code, output
    assert "GET /products/{id}" in output
    assert "@journey" in output


def test_json_has_all_lists_and_the_stubs(tmp_path: Path) -> None:
    calls_in(tmp_path, 'await user.http.get("/serch")\nawait user.http.get(user.shared)')
    document = openapi(tmp_path, {"/old": {"get": {}}})

    code, output = coverage(
        tmp_path / "shop.py", "--traffic", traffic_file(tmp_path, accounting={"taken": 1_200}), "--openapi", document,
        "--format", "json", "--min", "10%", "--top", "1",
    )  # fmt: skip

    facts = json.loads(output)
    assert code == 1
    assert (facts["passed"], facts["by"], facts["min"]) == (False, "requests", 0.1)
    assert facts["shares"]["requests"] == {"exercised": 0, "total": 1_000, "ratio": 0.0, "missing": ""}
    assert len(facts["not_exercised"]) == 5
    assert facts["not_exercised"][1]["stub"].startswith("@journey\nasync def search(user: User) -> None:\n")
    assert facts["nowhere_known"][0]["place"].endswith("shop.py:4")
    assert len(facts["unreadable_calls"]) == 1
    assert facts["dead"] == ["GET /old"]
    assert len(facts["shadow"]) == 5
    assert facts["unnamed_requests"] == 200


def test_a_document_alone_counts_operations(tmp_path: Path) -> None:
    calls_in(tmp_path, 'await user.http.get("/a")')
    document = openapi(tmp_path, {"/a": {"get": {}}, "/b": {"get": {}}})

    code, output = coverage(tmp_path / "shop.py", "--openapi", document, "--min", "50%")

    assert code == 0, output
    assert "The scenarios exercise 50.0 % of the endpoints" in output
    assert "GET /b" in output


TRACES = Path(__file__).parents[1] / "data/traces/traced_shop.jsonl"
"""40 traces that enter by GET /basket (8), GET /browse (8) and POST /checkout (24)."""


def test_traces_alone_show_which_endpoints_no_scenario_sends_and_their_numbers_are_no_weights(tmp_path: Path) -> None:
    calls_in(tmp_path, 'await user.http.get("/browse")')

    code, output = coverage(tmp_path / "shop.py", "--traces", TRACES, "--format", "json")

    facts = json.loads(output)
    assert code == 0
    assert facts["shares"]["operations"] == {"exercised": 1, "total": 3, "ratio": 1 / 3, "missing": ""}
    assert facts["shares"]["requests"]["missing"] == "it needs --traffic"
    missing = [(one["method"], one["path"], one["requests"], one["traces"]) for one in facts["not_exercised"]]
    assert missing == [("POST", "/checkout", 0, 24), ("GET", "/basket", 0, 8)]
    code, output = coverage(tmp_path / "shop.py", "--traces", TRACES, "--by", "requests")
    assert code == 2
    assert "--by requests cannot be computed: it needs --traffic" in output


@pytest.mark.parametrize("least", [(), ("--min", "90%")])
def test_without_any_endpoint_there_is_no_share_and_no_minimum_is_reached(
    tmp_path: Path, least: tuple[str, ...]
) -> None:
    calls_in(tmp_path, 'await user.http.get("/browse")')
    job = {"traceId": "1" * 32, "spanId": "1" * 16, "name": "job", "kind": 1, "startTimeUnixNano": "1"}
    traces = tmp_path / "jobs.json"
    traces.write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [job]}]}]}))

    code, output = coverage(tmp_path / "shop.py", "--traces", traces, *least)

    assert code == 2, output
    assert "no endpoint is known from the inputs" in output
    assert "1 trace without a server span with a route" in output
    assert coverage(tmp_path / "shop.py", "--openapi", openapi(tmp_path, {}), *least)[0] == 2


def test_entries_of_traces_are_endpoints_of_the_log_and_of_the_document_if_their_paths_fit(tmp_path: Path) -> None:
    calls_in(tmp_path, 'await user.http.get("/search")')
    names = read_traffic_names(traffic_file(tmp_path, {"GET /products/{id}": {200: 9}, "GET /search": {200: 1}}))
    document = read_openapi(openapi(tmp_path, {"/cart": {"get": {}}, "/old": {"get": {}}}, servers=[{"url": "/api"}]))
    entries = {"GET /products/{sku}": 3, "GET /api/cart": 2, "GET /login": 1}
    traced = TracedEndpoints({one: n for name, n in entries.items() if (one := endpoint_of_name(name))}, 4)

    found = coverage_of(calls_of(tmp_path / "shop.py"), names, document, None, traced)

    assert [(str(one.endpoint), one.count, one.traces) for one in found.not_exercised] == [
        ("GET /products/{id}", 9, 3),
        ("GET /api/cart", 0, 2),
        ("GET /login", 0, 1),
    ]
    assert [str(one) for one in found.dead] == ["GET /api/old"]
    assert [str(one.endpoint) for one in found.shadow] == ["GET /products/{id}", "GET /search", "GET /login"]
    assert (found.shares["requests"].exercised, found.shares["requests"].total) == (1, 10)
    assert (found.shares["operations"].exercised, found.shares["operations"].total) == (1, 5)
    assert found.unnamed_traces == 4


def test_at_80_columns_names_of_shares_and_requests_are_one_line_and_code_is_not_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    calls_in(tmp_path, 'await user.http.get("/presentations/of/the/year/2012/slides", expect={200, 304, 404})')
    long = "GET /catalogue/{catalogue}/products/{product}/reviews/{review}"
    names = traffic_file(tmp_path, {long: {200: 10}})

    _, output = coverage("shop.py", "--traffic", names, columns=80)
    _, alone = coverage("shop.py", "--openapi", openapi(tmp_path, {"/a": {"get": {}}}), columns=80)

    lines = output.splitlines()
    assert any(line.startswith("requests with status 400 or above ") for line in lines)
    assert any(line.startswith("GET /presentations/of/the/year/2012/slides ") for line in lines)
    assert any(line.endswith(f'name="{long}", expect=200)') for line in lines)
    assert any(line.startswith("requests with status 400 or above ") for line in alone.splitlines())
    assert "Unknown shares: it needs --traffic." in alone


def test_the_scenario_of_a_log_covers_all_its_names_and_a_replay_needs_a_run(tmp_path: Path) -> None:
    log = written_log(lines_of(SHOP, 300, 3), tmp_path / "a.log", "alb")
    for command in (["model"], ["replay-log"]):
        made = CliRunner().invoke(cli.app, [*command, str(log), "-o", str(tmp_path / command[0] / "shop.py")])
        assert made.exit_code == 0, made.output
    traffic = tmp_path / "model/traffic.json"

    assert coverage(tmp_path / "model", "--traffic", traffic, "--min", "100%")[0] == 0
    assert coverage(tmp_path / "model", "--traffic", traffic, "--min", "100%", "--by", "time")[0] == 0
    times = {one["name"]: one["s"] for one in json.loads(traffic.read_text())["server_time"]}
    wanted = sum(line.took_s for line in lines_of(SHOP, 300, 3) if line.path == "/search")
    assert times["GET /search"] == pytest.approx(wanted)
    code, output = coverage(tmp_path / "replay-log", "--traffic", traffic, "--min", "1%")
    assert code == 1
    assert "The scenarios compute the path of 1 call at run time. To count these calls, add --run RUN." in output


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("shop.py",), "nothing to compare the scenarios with"),
        (("shop.py", "--traces", "gone"), "gone"),
        (("gone.py", "--traffic", "traffic.json"), "gone.py: file not found"),
        (("empty", "--traffic", "traffic.json"), "empty: the folder has no Python files"),
        (("shop.py", "--traffic", "gone.json"), "gone.json: cannot be read"),
        (("shop.py", "--traffic", "broken.json"), "broken.json: invalid JSON"),
        (("shop.py", "--traffic", "list.json"), "is not a traffic.json"),
        (("shop.py", "--traffic", "future.json"), "has the format 9; this version reads format 1"),
        (("shop.py", "--traffic", "nameless.json"), "names[0] must be an object with a name"),
        (("shop.py", "--traffic", "countless.json"), "the count of names[0] must be a whole number of at least 0"),
        (("shop.py", "--traffic", "none.json"), "has no names of requests"),
        (("shop.py", "--traffic", "codes.json"), "the codes of GET / must be counts of requests by status"),
        (("shop.py", "--traffic", "traffic.json", "--min", "lots"), "--min: "),
        (("shop.py", "--traffic", "traffic.json", "--by", "size"), '--by: unknown measure "size"'),
        (
            ("shop.py", "--traffic", "traffic.json", "--by", "time"),
            "--by time cannot be computed: traffic.json has no server times: a log without durations has none",
        ),
        (("shop.py", "--traffic", "traffic.json", "--format", "xml"), '--format: unknown format "xml"'),
        (("shop.py", "--traffic", "traffic.json", "--run", "x", "--runs-dir", "empty"), "run"),
        (("wrong.py", "--traffic", "traffic.json"), "wrong.py:1"),
    ],
)
def test_wrong_inputs_are_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    traffic_file(tmp_path)
    (tmp_path / "empty").mkdir()
    for name, text in {
        "shop.py": "", "wrong.py": "def f(:", "broken.json": "{", "list.json": "[]",
        "future.json": '{"format": 9, "names": []}',
        "nameless.json": '{"format": 1, "names": [7]}', "countless.json": '{"format": 1, "names": [{"name": "GET /"}]}',
        "none.json": '{"format": 1, "names": [{"name": "other", "count": 1}]}',
        "codes.json": '{"format": 1, "names": [], "statuses": [{"name": "GET /", "codes": {"ok": 1}}]}',
    }.items():  # fmt: skip
        (tmp_path / name).write_text(text)

    code, output = coverage(*args)

    assert code == 2, output
    assert message in output


def test_the_rows_of_a_run_prove_what_was_sent(tmp_path: Path) -> None:
    calls_in(tmp_path, 'await user.http.get("/search")\nawait user.http.post("/cart")')
    past_run(tmp_path / "runs", "20261124-170312-shop-a1b2")
    args = (tmp_path / "shop.py", "--traffic", traffic_file(tmp_path), "--format", "json")

    without = json.loads(coverage(*args)[1])
    proved = json.loads(coverage(*args, "--run", "last", "--runs-dir", tmp_path / "runs")[1])

    assert without["shares"]["requests"]["exercised"] == 390
    assert proved["shares"]["requests"]["exercised"] == 90, "the run has rows of POST /cart only"


def test_a_traffic_json_without_end_is_refused() -> None:
    with pytest.raises(UsageError, match="larger than 64 MiB"):
        read_traffic_names(Path("/dev/zero"))
