"""The requests and checks of bench/four_requests.py for Locust's FastHttpUser. It writes its figures to $FIGURES.

Locust runs this file in its own virtual environment, so it imports no loadgen module.
Locust itself counts a status of 400 or more as a failure.
"""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path
from typing import Any

from locust import FastHttpUser, events, task

_began: dict[str, float] = {}


class Visitor(FastHttpUser):
    @task
    def four(self) -> None:
        self.client.get("/")
        assert self.client.get("/json").json()["ok"] is True
        self.client.post("/json", json={"sku": "sku-0001", "quantity": 2})
        assert len(self.client.get("/1k").content) == 1024


def _now(environment: Any) -> dict[str, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    total = environment.stats.total
    return {
        "cpu_s": used.ru_utime + used.ru_stime,
        "took_s": time.monotonic(),
        "requests": total.num_requests,
        "requests_errors": total.num_failures + len(environment.runner.exceptions if environment.runner else ()),
    }


@events.test_start.add_listener
def begin(environment: Any, **_: Any) -> None:
    _began.update(_now(environment))


@events.test_stopping.add_listener
def end(environment: Any, **_: Any) -> None:
    figures = {name: value - _began[name] for name, value in _now(environment).items()}
    Path(os.environ["FIGURES"]).write_text(json.dumps(figures))
