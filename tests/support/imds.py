"""A small instance metadata service of EC2, version 2, on loopback: a token first, and 404 until a notice is armed.

    with running_imds("i-0123", "eu-west-1") as imds:
        environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = imds.url      # boto3 and our own client look there
        imds.arm_spot()

As a program, where another network namespace needs it: python -m tests.support.imds HOST PORT INSTANCE REGION
What is answered is after AWS's pages "Instance metadata categories" and "Spot Instance interruption notices".
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.in_thread import serving

__all__ = ["ROLE", "Imds", "running_imds"]

ROLE = "loadgen-test-agent"
TOKEN_HEADER, TTL_HEADER = "X-aws-ec2-metadata-token", "X-aws-ec2-metadata-token-ttl-seconds"  # names, no secrets


@dataclass
class Imds:
    """What one instance is told of itself; `meta` may be changed at any time, by path below /latest/meta-data/."""

    instance_id: str = "i-0123456789abcdef0"
    region: str = "eu-west-1"
    url: str = ""
    meta: dict[str, str] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    """That are good. Cleared: the next request is told 401."""
    asked: list[str] = field(default_factory=list)
    """Paths, in order, of the requests with a token that was good."""
    told_at: dict[str, float] = field(default_factory=dict)
    """Unix time of the first answer to each question that had one, by path below /latest/meta-data/."""
    status: int | None = None
    """What every request is answered; None: as it should be."""

    def __post_init__(self) -> None:
        expires = _stamp(6 * 3600)
        keys = {"AccessKeyId": "ASIATEST", "SecretAccessKey": "the/role+key", "Token": "passing"}
        self.meta |= {
            "instance-id": self.instance_id,
            "instance-type": "c7i.xlarge",
            "placement/region": self.region,
            "placement/availability-zone": f"{self.region}a",
            "autoscaling/target-lifecycle-state": "InService",
            "iam/security-credentials": ROLE,
            f"iam/security-credentials/{ROLE}": json.dumps({"Code": "Success", "Expiration": expires, **keys}),
        }

    def arm_spot(self, action: str = "terminate", in_s: float = 120) -> None:
        self.meta["spot/instance-action"] = json.dumps({"action": action, "time": _stamp(in_s)})

    def arm_rebalance(self) -> None:
        self.meta["events/recommendations/rebalance"] = json.dumps({"noticeTime": _stamp(0)})

    def arm_termination(self) -> None:
        """By the Auto Scaling group, whose hook waits."""
        self.meta["autoscaling/target-lifecycle-state"] = "Terminated"


@contextmanager
def running_imds(
    instance_id: str = "i-0123456789abcdef0", region: str = "eu-west-1", host: str = "127.0.0.1", port: int = 0
) -> Iterator[Imds]:
    """One instance's. Port 0: any that is free."""
    state = Imds(instance_id, region)
    server = ThreadingHTTPServer((host, port), type("Handler", (_Handler,), {"state": state}))
    server.daemon_threads = True
    with serving(server) as state.url:
        yield state


class _Handler(BaseHTTPRequestHandler):
    state: Imds

    def log_message(self, *_: object) -> None:
        pass

    def do_PUT(self) -> None:
        ttl = self.headers.get(TTL_HEADER, "")
        if self.path != "/latest/api/token" or "X-Forwarded-For" in self.headers:
            self._say(403)
        elif not ttl.isdecimal() or not 1 <= int(ttl) <= 21600:
            self._say(400)
        else:
            token = f"token-{self.state.instance_id}-{len(self.state.tokens)}"
            self.state.tokens.add(token)
            self._say(200, token, {TTL_HEADER: ttl})

    def do_GET(self) -> None:
        state, path = self.state, self.path
        if self.headers.get(TOKEN_HEADER, "") not in state.tokens:
            self._say(401)
            return
        state.asked.append(path)
        found = state.meta.get(short := path.removeprefix("/latest/meta-data/").rstrip("/"))
        if found is not None:
            state.told_at.setdefault(short, time.time())
        if path == "/latest/dynamic/instance-identity/document":
            found = json.dumps({"instanceId": state.instance_id, "region": state.region})
        self._say(404 if found is None else 200, found or "")

    def _say(self, status: int, text: str = "", headers: dict[str, str] | None = None) -> None:
        self.send_response(self.state.status or status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())


def _stamp(in_s: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=in_s)).strftime("%Y-%m-%dT%H:%M:%SZ")


if __name__ == "__main__":
    with running_imds(sys.argv[3], sys.argv[4], sys.argv[1], int(sys.argv[2])) as running:
        print(running.url, flush=True)
        threading.Event().wait()
