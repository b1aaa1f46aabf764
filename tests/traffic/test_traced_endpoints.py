"""Endpoints of traces: those that users enter by, with routes in place of the values of users."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadgen.errors import TraceFormatError, UsageError
from loadgen.traces.model import Kind, Span, Trace, Value
from loadgen.traffic.coverage.endpoints import Endpoint
from loadgen.traffic.coverage.traced_endpoints import endpoints_in, read_traced_endpoints

DATA = Path(__file__).parents[1] / "data/traces"


def span(number: int, parent: int = 0, operation: str = "GET", kind: Kind = "server", route: str = "") -> Span:
    attributes: dict[str, Value] = {"http.request.method": "GET", "http.route": route} if route else {}
    above = f"{parent:016x}" if parent else ""
    return Span(f"{number:016x}", above, "shop", operation, 0, 1, kind, attributes=attributes)


def found(*spans: Span) -> dict[str, int]:
    return {str(end): count for end, count in endpoints_in([Trace("1", spans)]).traces.items()}


def test_calls_between_services_are_no_endpoints_of_users() -> None:
    # The demo shop in 40 traces: `POST /reserve` and `POST /pay` are calls of its own services.
    assert read_traced_endpoints(DATA / "traced_shop.jsonl").traces == {
        Endpoint("GET", "/basket"): 8,
        Endpoint("GET", "/browse"): 8,
        Endpoint("POST", "/checkout"): 24,
    }


def test_an_entry_below_a_client_span_of_a_browser_counts() -> None:
    browser = span(1, kind="client", operation="click")
    entry = span(2, 1, "GET /cart", route="/cart")
    inner = span(4, 3, "GET /stock", route="/stock")
    assert found(browser, entry, span(3, 2, kind="client"), inner) == {"GET /cart": 1}


@pytest.mark.parametrize(
    ("route", "shown"),
    [
        ("/orders/:id", "GET /orders/{id}"),
        ("/orders/<int:id>/items", "GET /orders/{id}/items"),
        ("/orders/{id}", "GET /orders/{id}"),
        ("orders", "GET /orders"),
    ],
)
def test_parameters_of_all_frameworks_are_in_braces(route: str, shown: str) -> None:
    assert found(span(1, route=route)) == {shown: 1}


def test_traces_without_a_server_span_are_counted() -> None:
    spans = [span(1, kind="internal", operation="job"), span(1, kind="consumer"), span(1, route="/cart")]

    result = endpoints_in([Trace(str(n), (one,)) for n, one in enumerate(spans)])

    assert (sum(result.traces.values()), result.unnamed, result.without_entry) == (1, 0, 2)


def test_a_path_without_a_route_is_no_endpoint_because_it_has_values_of_users() -> None:
    attributes: dict[str, Value] = {"http.request.method": "GET", "url.path": "/orders/7"}
    one = Span("1", "", "shop", "GET", 0, 1, "server", attributes=attributes)
    result = endpoints_in([Trace("1", (one,)), Trace("2", (span(1, operation="GET /cart"),))])
    assert ({str(end) for end in result.traces}, result.unnamed) == ({"GET /cart"}, 1)


def test_a_circle_of_parents_ends() -> None:
    assert found(span(1, 2, "GET /a"), span(2, 1, kind="internal"), span(3, 3, "GET /b")) == {"GET /a": 1, "GET /b": 1}


def test_a_file_that_is_no_trace_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"cats": 1}')
    with pytest.raises(TraceFormatError):
        read_traced_endpoints(tmp_path / "a.json")
    with pytest.raises(UsageError):
        read_traced_endpoints(tmp_path / "none")
