"""Documents of others, with the answers that they or their makers give."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from loadgen.traces.convert.jaeger_json import traces_of_jaeger
from loadgen.traces.convert.otlp_json import traces_of_otlp_json
from loadgen.traces.model import Span, Trace

DATA = Path(__file__).resolve().parents[2] / "data/traces"


def test_jaegers_own_conversion_of_an_otlp_document_gives_the_same_spans() -> None:
    [otlp] = traces_of_otlp_json((DATA / "jaeger_otlp2jaeger-in.json").read_bytes())
    [jaeger] = traces_of_jaeger((DATA / "jaeger_otlp2jaeger-out.json").read_bytes())
    expected = Span(
        id="e127af99e3b3e074",
        parent="909541b92cf05311",
        service="telemetrygen",
        operation="okey-dokey-0",
        start_ns=1_706_678_909_209_712_000,
        end_ns=1_706_678_909_209_835_000,
        kind="server",
        attributes={"network.peer.address": "1.2.3.4", "peer.service": "telemetrygen-client"},
    )
    whole_us = msgspec.structs.replace(expected, resolution_ns=1_000)
    assert otlp == Trace("83a9efd15c1c98a977e0711cc93ee28b", (expected, expected))
    assert jaeger == Trace("83a9efd15c1c98a977e0711cc93ee28b", (whole_us, whole_us))


def test_the_official_example_of_otlp_json_is_read_with_ids_in_lower_case() -> None:
    data = (DATA / "otlp_example_trace.json").read_bytes()
    [trace] = traces_of_otlp_json(data)
    assert trace == Trace(
        "5b8efff798038103d269b633813fc60c",
        (
            Span(
                id="eee19b7ec3c1b174",
                parent="eee19b7ec3c1b173",
                service="my.service",
                operation="I'm a server span",
                start_ns=1_544_712_660_000_000_000,
                end_ns=1_544_712_661_000_000_000,
                kind="server",
            ),
        ),
    )
    [kept] = traces_of_otlp_json(data, keep=["my.*"])
    assert kept.spans[0].attributes == {"my.span.attr": "some value"}


@pytest.mark.parametrize("number", range(1, 13))
def test_fixtures_of_crisp_are_read_with_their_names_times_and_parents(number: int) -> None:
    data = (DATA / f"crisp/{number}.json").read_bytes()
    [trace] = traces_of_jaeger(data)
    [theirs] = json.loads(data)["data"]
    names = {key: process["serviceName"] for key, process in theirs["processes"].items()}
    expected = [
        (
            span["spanID"].lower().zfill(16),
            span["references"][0]["spanID"].lower().zfill(16) if span["references"] else "",
            names[span["processID"]],
            span["operationName"],
            span["startTime"] * 1_000,
            (span["startTime"] + span["duration"]) * 1_000,
        )
        for span in theirs["spans"]
    ]
    assert [(s.id, s.parent, s.service, s.operation, s.start_ns, s.end_ns) for s in trace.spans] == expected
