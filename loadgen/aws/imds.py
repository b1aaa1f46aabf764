"""A client of the EC2 instance metadata service: the instance's identity and its interruption notices.

Only version 2 of the service is supported: the client fetches a token first and sends it with each request. It uses
the standard library's HTTP client, which ignores proxy variables: these requests must not leave the host.
The address is the usual link-local one, unless AWS_EC2_METADATA_SERVICE_ENDPOINT (also read by boto3) is set.

Each request blocks for at most `TRIES` * `TIMEOUT_S`. Use an object in one thread only.

Source: AWS, "Use the Instance Metadata Service to access instance metadata" and "Spot Instance interruption notices".
"""

from __future__ import annotations

import http.client
import os
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from urllib.parse import urlsplit

import msgspec

from loadgen.errors import FleetError, UsageError
from loadgen.hostport import of_url

__all__ = ["LOOK_S", "Imds", "Instance", "Notice"]

LOOK_S: Final = 5.0
"""Seconds between two checks for notices. AWS recommends 5 s; a spot instance ends 2 minutes after its notice."""
ENDPOINT: Final = "http://169.254.169.254"
VARIABLE: Final = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
TIMEOUT_S: Final = 1.0
TRIES: Final = 3
_TTL_S: Final = 6 * 3600
_MOST_BYTES: Final = 64 << 10
_META: Final = "/latest/meta-data/"
_HINT: Final = "enable version 2 of the instance metadata service (IMDSv2) on this instance, and try again"


@dataclass(frozen=True, slots=True)
class Instance:
    """The identity of the EC2 instance on which this process runs."""

    id: str
    """For example i-0123456789abcdef0."""
    region: str
    fleet: str = ""
    """The value of the tag loadgen:fleet; empty if the launch template does not expose tags to the instance."""
    type: str = ""
    """For example c7i.xlarge."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A notice of AWS that this instance will or may end.

    kind: `spot`: AWS interrupts the instance within two minutes. `group`: the Auto Scaling group ends the instance and
        waits for the lifecycle hook. `rebalance`: the risk of an interruption is higher; it may never happen.
    at: the time of the interruption (`spot`) or of the recommendation (`rebalance`), if known.
    """

    kind: Literal["spot", "group", "rebalance"]
    at: datetime | None = None

    @property
    def reason(self) -> str:
        """The notice as text for logs and reports: "AWS takes the spot instance back at 14:03:20 UTC"."""
        when = f" at {self.at:%H:%M:%S} UTC" if self.at is not None else ""
        match self.kind:
            case "spot":
                return f"AWS takes the spot instance back{when}"
            case "group":
                return "the Auto Scaling group ends the instance"
            case "rebalance":
                return f"AWS recommended{when} to leave the spot instance"


class _Action(msgspec.Struct):
    """The JSON body of spot/instance-action."""

    action: str
    time: datetime


class _Rebalance(msgspec.Struct, rename="camel"):
    notice_time: datetime


class Imds:
    """A client of this instance's metadata service."""

    def __init__(self, endpoint: str | None = None) -> None:
        """Choose the address: `endpoint`, else AWS_EC2_METADATA_SERVICE_ENDPOINT, else the link-local one.

        Raises:
            UsageError: the address is not an http:// URL.
        """
        url = endpoint or os.environ.get(VARIABLE) or ENDPOINT
        parts = urlsplit(url)
        try:
            host, port = of_url(parts)
        except ValueError:
            host, port = "", None
        if parts.scheme != "http" or not host:
            raise UsageError(f"invalid {VARIABLE}: {url}", hint=f"use an http:// URL such as {ENDPOINT}, or unset it")
        self._host, self._port, self._token = host, port or 80, ""

    def instance(self) -> Instance:
        """Read the instance's id, region, type and fleet tag.

        Raises:
            UsageError: the service does not answer, so this machine is probably not an EC2 instance.
            FleetError: the answers contain no instance id or no region.
        """
        try:
            found = self.get("instance-id"), self.get("placement/region")
        except FleetError as error:
            raise UsageError(
                f"this machine is not an EC2 instance: {error.message}",
                hint="use --aws only on EC2 instances, and enable version 2 of their metadata service (IMDSv2)",
            ) from error
        if not found[0] or not found[1]:
            raise FleetError(
                "the metadata service returned no instance id or no region",
                hint="check http://169.254.169.254/latest/meta-data/ on this instance; see docs/fleet.md",
            )
        return Instance(
            found[0], found[1], self.get("tags/instance/loadgen:fleet") or "", self.get("instance-type") or ""
        )

    def notices(self) -> tuple[Notice, ...]:
        """Return the current notices, most urgent first. Empty: the instance is not about to end.

        Raises:
            FleetError: the metadata service does not answer as expected.
        """
        found: list[Notice] = []
        if (text := self.get("spot/instance-action")) is not None:
            found.append(Notice("spot", _time(text, _Action)))
        if self.get("autoscaling/target-lifecycle-state") == "Terminated":
            found.append(Notice("group"))
        if (text := self.get("events/recommendations/rebalance")) is not None:
            found.append(Notice("rebalance", _time(text, _Rebalance)))
        return tuple(found)

    def get(self, path: str) -> str | None:
        """Return the text at `path` below /latest/meta-data/, or None if it does not exist (404).

        Raises:
            FleetError: no answer, or an unexpected status.
        """
        for is_last in (False, True):
            self._token = self._token or self._new_token()
            status, text = self._ask("GET", _META + path, {"X-aws-ec2-metadata-token": self._token})
            if status == 200:
                return text.strip()
            if status == 404:
                return None
            if status != 401 or is_last:  # 401: the token has expired; fetch a new one and try once more
                break
            self._token = ""
        raise FleetError(f"the metadata service answered {status} for {path}", hint=_HINT)

    def _new_token(self) -> str:
        status, text = self._ask("PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(_TTL_S)})
        if status != 200 or not text.isascii() or not text.isprintable():
            raise FleetError(f"the metadata service returned no token: it answered {status}", hint=_HINT)
        return text

    def _ask(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str]:
        for turn in range(TRIES):
            connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
            try:
                connection.request(method, path, headers=headers)
                answer = connection.getresponse()
                status, data = answer.status, answer.read(_MOST_BYTES)
            except (OSError, http.client.HTTPException) as exc:
                if turn == TRIES - 1:
                    where = f"http://{self._host}:{self._port}"
                    raise FleetError(f"no answer from {where} ({type(exc).__name__})", hint=_HINT) from exc
            else:
                if status < 500 or turn == TRIES - 1:
                    return status, data.decode("utf-8", "replace")
            finally:
                connection.close()
        raise AssertionError("the last turn returns or raises")


def _time(text: str, kind: type[_Action] | type[_Rebalance]) -> datetime | None:
    """Return the time in a notice, or None if the text is unreadable: the notice is valid without a time."""
    try:
        found = msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found.time if isinstance(found, _Action) else found.notice_time
