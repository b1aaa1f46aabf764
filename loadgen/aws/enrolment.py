"""An agent's key on AWS: made on its instance, and its public half put where only this instance can write.

    enroll/<aws:userid>     {"format": 1, "agent", "public_key", "instance_id", "region"}

The user id of an instance's role session is ROLEID:INSTANCE, and the agents' policy lets each write the
object of its own id only. So whoever wrote an object is that instance, as far as IAM is right; who
reads it asks EC2 whether that instance is one of the fleet (`loadgen_controller.agents.aws_enrolment`).

Everything blocks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from loadgen.aws.account.boto_clients import Clients, told
from loadgen.aws.account.names import ENROLL
from loadgen.aws.imds import Instance
from loadgen.errors import UsageError
from loadgen.secret_files import check_private, write_new
from loadgen.wire.keys import KeyPair, fingerprint, read_key

__all__ = ["Enrolled", "Enrolments", "Found", "enrol", "own_pair"]

FORMAT: Final = 1
_MOST_BYTES: Final = 4096
_REGION: Final = re.compile(r"[a-z]{2}(-[a-z]{1,20}){1,3}-[0-9]{1,2}")
_SUFFIX: Final = re.compile(r"[A-Z0-9]{16,128}:(i-[0-9a-f]{8,17})")


class Enrolled(msgspec.Struct, frozen=True):
    """What an instance says of itself."""

    agent: str
    public_key: str
    """Z85."""
    instance_id: str
    region: str
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Found:
    """An object below enroll/, as it was read."""

    name: str
    """Its user id."""
    mark: str
    """Another one when it was written again."""
    said: Enrolled | None
    wrong: str = ""
    """Why `said` is None."""


def own_pair(folder: Path, name: str) -> KeyPair:
    """The pair of the agent `name` that is kept in a folder; made when there is none.

    Raises:
        UsageError: others may read it, or it is no key.
        StorageError: it cannot be written.
    """
    path = folder / "agents" / f"{name}.key"
    if not path.exists():
        write_new(path, KeyPair.new().secret + b"\n", 0o600)
    check_private(path)
    return KeyPair.of_secret(read_key(path))


def enrol(clients: Clients, bucket: str, instance: Instance, public_key: bytes) -> str:
    """Say to the fleet's controller by which key this instance is known. Returns the object's name.

    Raises:
        FleetError: AWS refuses, or is not there.
        UsageError: these are not the credentials of an instance's role.
    """
    said = Enrolled(instance.id, public_key.decode(), instance.id, instance.region)
    with told("ask who this is"):
        user_id = str(clients.client("sts", instance.region).get_caller_identity()["UserId"])
    if not user_id.endswith(f":{instance.id}"):
        raise UsageError(
            f"these are not the credentials of {instance.id}'s role",
            hint="is its instance profile attached? No AWS_ACCESS_KEY_ID and AWS_PROFILE may be set beside --aws",
        )
    with told(f"write s3://{bucket}/{ENROLL}{user_id}"):
        clients.client("s3", instance.region).put_object(
            Bucket=bucket, Key=ENROLL + user_id, Body=msgspec.json.encode(said), ContentType="application/json"
        )
    return ENROLL + user_id


class Enrolments:
    """What is below enroll/ in a bucket: the controller's side."""

    def __init__(self, clients: Clients, bucket: str, region: str) -> None:
        self._client, self._bucket = clients.client("s3", region), bucket

    def marks(self) -> dict[str, str]:
        """Of each object the mark of what is in it.

        Raises:
            FleetError: AWS refuses, or is not there.
        """
        found: dict[str, str] = {}
        with told(f"list s3://{self._bucket}/{ENROLL}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=ENROLL)
            for page in pages:
                for one in page.get("Contents", ()):
                    found[str(one["Key"]).removeprefix(ENROLL)] = str(one["ETag"])
        return found

    def read(self, name: str) -> Found:
        """What an object says; what is wrong with it is no error: anybody of the fleet may have written it.

        Raises:
            FleetError: AWS refuses, or is not there.
        """
        with told(f"read s3://{self._bucket}/{ENROLL}{name}"):
            answer = self._client.get_object(Bucket=self._bucket, Key=ENROLL + name)
            data, mark = bytes(answer["Body"].read(_MOST_BYTES + 1)), str(answer["ETag"])
        try:
            return Found(name, mark, _checked(name, data))
        except (msgspec.DecodeError, ValueError) as exc:
            return Found(name, mark, None, str(exc))

    def forget(self, name: str) -> None:
        """
        Raises:
            FleetError: AWS refuses, or is not there.
        """
        with told(f"delete s3://{self._bucket}/{ENROLL}{name}"):
            self._client.delete_object(Bucket=self._bucket, Key=ENROLL + name)


def _checked(name: str, data: bytes) -> Enrolled:
    """
    Raises:
        msgspec.DecodeError, ValueError: and why.
    """
    if len(data) > _MOST_BYTES:
        raise ValueError(f"it has more than {_MOST_BYTES} bytes")
    said = msgspec.json.decode(data, type=Enrolled)
    if said.format != FORMAT:
        raise ValueError(f"it has format {said.format}")
    match = _SUFFIX.fullmatch(name)
    if match is None or match[1] != said.instance_id or said.agent != said.instance_id:
        raise ValueError("it does not speak for the instance that wrote it")
    if not _REGION.fullmatch(said.region):
        raise ValueError("it names no region")
    fingerprint(said.public_key.encode())  # a key at all
    return said
