"""Writes traces of the shop as OTLP JSON, one trace a line: how tests/data/traces/traced_shop.jsonl was made.

python -m tests.support.traced_shop tests/data/traces/traced_shop.jsonl

24 checkouts, of which those are slow that version 2 of stock makes slow; 8 baskets, of which the large ones call stock
once for each item; 8 pages that only catalog serves. Each request is sent alone. Its trace header has the flag of a
sampled trace and the span id that `span_of` returns, so that a reader can tell the root from an orphan.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from pathlib import Path
from typing import Final

import httpx

from tests.support.otlp_file_collector import otlp_file_collector
from tests.support.traced_shop.faults import Faults
from tests.support.traced_shop.request_ids import span_of
from tests.support.traced_shop.running import traced_shop

_REQUESTS: Final = [*[("POST", "/checkout")] * 3, ("GET", "/basket"), ("GET", "/browse")] * 8


def _write(path: Path, seed: int) -> None:
    faults = Faults(slow_version_ms=120, is_many_calls=True, large_share=0.25)
    with otlp_file_collector() as collector, traced_shop(collector.url, faults, seed) as shop:
        with httpx.Client(trust_env=False) as client:
            for number, (method, place) in enumerate(_REQUESTS):
                trace = f"{int(time.time()):08x}" + hashlib.sha256(f"{seed} {number}".encode()).hexdigest()[:24]
                header = {"traceparent": f"00-{trace}-{span_of(trace)}-01"}
                client.request(method, shop.url + place, headers=header).raise_for_status()
        collector.settled()
        print(f"{collector.write(path)} traces in {path}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("path", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    _write(options.path, options.seed)
