"""What an EC2 instance is told of itself: who it is, and whether it is about to be taken away.

Version 2 of the metadata service only: a token first, then questions. Spoken with the standard
library, so that no proxy of the environment is ever asked for what is between an instance and its host.
The address is a link-local one, or what AWS_EC2_METADATA_SERVICE_ENDPOINT says, as for boto3.

Everything blocks, for at most `TRIES` * `TIMEOUT_S`; an object belongs to one thread.

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
"""AWS: "we recommend that you check for these interruption notices every 5 seconds"; there are two minutes."""
ENDPOINT: Final = "http://169.254.169.254"
VARIABLE: Final = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
TIMEOUT_S: Final = 1.0
TRIES: Final = 3
_TTL_S: Final = 6 * 3600
_MOST_BYTES: Final = 64 << 10
_META: Final = "/latest/meta-data/"


@dataclass(frozen=True, slots=True)
class Instance:
    """Who this machine is."""

    id: str
    """i-0123456789abcdef0"""
    region: str
    fleet: str = ""
    """Of its tag, where the launch template lets an instance see its tags."""
    type: str = ""
    """c7i.xlarge"""


@dataclass(frozen=True, slots=True)
class Notice:
    """That this instance is about to be taken away.

    kind: `spot`: it is interrupted within two minutes. `group`: its Auto Scaling group ends it, and waits for the
        lifecycle hook. `rebalance`: it is more likely than before to be interrupted, which may never come.
    at: when, as far as it is said.
    """

    kind: Literal["spot", "group", "rebalance"]
    at: datetime | None = None

    @property
    def reason(self) -> str:
        """To stand in a report: "AWS takes the spot instance back at 14:03:20 UTC"."""
        when = f" at {self.at:%H:%M:%S} UTC" if self.at is not None else ""
        match self.kind:
            case "spot":
                return f"AWS takes the spot instance back{when}"
            case "group":
                return "the Auto Scaling group ends the instance"
            case "rebalance":
                return f"AWS recommends to leave the spot instance, said{when}" if when else "AWS recommends to leave"


class _Action(msgspec.Struct):
    """spot/instance-action"""

    action: str
    time: datetime


class _Rebalance(msgspec.Struct, rename="camel"):
    notice_time: datetime


class Imds:
    """The metadata service of this instance."""

    def __init__(self, endpoint: str | None = None) -> None:
        """
        Raises:
            UsageError: no address of http.
        """
        url = endpoint or os.environ.get(VARIABLE) or ENDPOINT
        parts = urlsplit(url)
        try:
            host, port = of_url(parts)
        except ValueError:
            host, port = "", None
        if parts.scheme != "http" or not host:
            raise UsageError(f"{VARIABLE} is no address: {url}", hint=f"as in {ENDPOINT}")
        self._host, self._port, self._token = host, port or 80, ""

    def instance(self) -> Instance:
        """
        Raises:
            UsageError: nobody answers, so this is no EC2 instance.
            FleetError: what answers does not say it.
        """
        try:
            found = self.get("instance-id"), self.get("placement/region")
        except FleetError as error:
            raise UsageError(
                f"this is no EC2 instance: {error.message}",
                hint="--aws is for agents on EC2, with version 2 of the metadata service switched on",
            ) from error
        if not found[0] or not found[1]:
            raise FleetError("the metadata service does not say which instance this is")
        return Instance(
            found[0], found[1], self.get("tags/instance/loadgen:fleet") or "", self.get("instance-type") or ""
        )

    def notices(self) -> tuple[Notice, ...]:
        """What is said of the end of this instance, the most urgent first; empty: nothing.

        Raises:
            FleetError: the service cannot be asked.
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
        """What stands below /latest/meta-data/; None where there is nothing (404).

        Raises:
            FleetError: nobody answers, or otherwise than the service should.
        """
        for is_last in (False, True):
            self._token = self._token or self._new_token()
            status, text = self._ask("GET", _META + path, {"X-aws-ec2-metadata-token": self._token})
            if status == 200:
                return text.strip()
            if status == 404:
                return None
            if status != 401 or is_last:  # 401: the token is too old
                break
            self._token = ""
        raise FleetError(f"the metadata service answers {status} for {path}")

    def _new_token(self) -> str:
        status, text = self._ask("PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(_TTL_S)})
        if status != 200 or not text.isascii() or not text.isprintable():
            raise FleetError(f"the metadata service gives no token: it answers {status}")
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
                    raise FleetError(f"nobody answers at {where} ({type(exc).__name__})") from exc
            else:
                if status < 500 or turn == TRIES - 1:
                    return status, data.decode("utf-8", "replace")
            finally:
                connection.close()
        raise AssertionError("the last turn returns or raises")


def _time(text: str, kind: type[_Action] | type[_Rebalance]) -> datetime | None:
    """None where it cannot be read: the notice stands all the same."""
    try:
        found = msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found.time if isinstance(found, _Action) else found.notice_time
