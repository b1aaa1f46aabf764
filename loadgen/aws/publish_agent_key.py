"""Publishes an agent's public key in the fleet's bucket, so that the controller admits it.

    enroll/<aws:userid>     {"format": 1, "agent", "public_key", "instance_id", "region"}

The agent creates its key pair on its instance; the private key never leaves it. The user id of an instance's role
session is ROLEID:INSTANCE, and the agents' IAM policy lets each instance write only the object of its own user id.
So IAM proves which instance wrote an object. The reader (`loadgen_controller.agents.aws_enrolment`) then asks EC2
whether that instance belongs to the fleet.

Everything blocks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from loadgen.aws.account.boto_clients import Clients, aws_errors
from loadgen.aws.account.names import ENROLL
from loadgen.aws.imds import Instance
from loadgen.errors import UsageError
from loadgen.secret_files import check_private, write_new
from loadgen.wire.curve_keys import KeyPair, fingerprint, read_key

__all__ = ["Enrolled", "Enrolments", "Found", "enrol", "own_pair"]

FORMAT: Final = 1
_MOST_BYTES: Final = 4096
_REGION: Final = re.compile(r"[a-z]{2}(-[a-z]{1,20}){1,3}-[0-9]{1,2}")
_SUFFIX: Final = re.compile(r"[A-Z0-9]{16,128}:(i-[0-9a-f]{8,17})")


class Enrolled(msgspec.Struct, frozen=True):
    """The content of an enrolment object, written by an instance."""

    agent: str
    public_key: str
    """Z85."""
    instance_id: str
    region: str
    format: int = FORMAT


@dataclass(frozen=True, slots=True)
class Found:
    """An object below enroll/, as the controller read it."""

    name: str
    """The AWS user id of its writer."""
    mark: str
    """The object's ETag, which changes when the object is written again."""
    said: Enrolled | None
    """The content; None if it is invalid."""
    wrong: str = ""
    """Why the content is invalid."""


def own_pair(folder: Path, name: str) -> KeyPair:
    """Read the key pair of the agent `name` from a folder, or create it there.

    Raises:
        UsageError: other users can read the file, or it does not contain a key.
        StorageError: the new key cannot be written.
    """
    path = folder / "agents" / f"{name}.key"
    if not path.exists():
        write_new(path, KeyPair.new().secret + b"\n", 0o600)
    check_private(path)
    return KeyPair.of_secret(read_key(path))


def enrol(clients: Clients, bucket: str, instance: Instance, public_key: bytes) -> str:
    """Publish this instance's public key for the fleet's controller. Return the name of the object.

    public_key: Z85.

    Raises:
        FleetError: a call to AWS fails.
        UsageError: the credentials are not those of this instance's role.
    """
    said = Enrolled(instance.id, public_key.decode(), instance.id, instance.region)
    with aws_errors("find out whose credentials these are"):
        user_id = str(clients.client("sts", instance.region).get_caller_identity()["UserId"])
    if not user_id.endswith(f":{instance.id}"):
        raise UsageError(
            f"the credentials are not those of the role of {instance.id}",
            hint="attach the instance profile, and unset AWS_ACCESS_KEY_ID and AWS_PROFILE when you use --aws",
        )
    with aws_errors(f"write s3://{bucket}/{ENROLL}{user_id}"):
        clients.client("s3", instance.region).put_object(
            Bucket=bucket, Key=ENROLL + user_id, Body=msgspec.json.encode(said), ContentType="application/json"
        )
    return ENROLL + user_id


class Enrolments:
    """The enrolment objects in a fleet's bucket, as the controller reads them."""

    def __init__(self, clients: Clients, bucket: str, region: str) -> None:
        self._client, self._bucket = clients.client("s3", region), bucket

    def marks(self) -> dict[str, str]:
        """List all enrolment objects: name to ETag.

        Raises:
            FleetError: a call to AWS fails.
        """
        found: dict[str, str] = {}
        with aws_errors(f"list s3://{self._bucket}/{ENROLL}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=ENROLL)
            for page in pages:
                for one in page.get("Contents", ()):
                    found[str(one["Key"]).removeprefix(ENROLL)] = str(one["ETag"])
        return found

    def read(self, name: str) -> Found:
        """Read and check one enrolment object.

        Invalid content is returned in `Found.wrong` and not raised: any instance of the fleet can write such an
        object, and it must not stop the controller.

        Raises:
            FleetError: a call to AWS fails.
        """
        with aws_errors(f"read s3://{self._bucket}/{ENROLL}{name}"):
            answer = self._client.get_object(Bucket=self._bucket, Key=ENROLL + name)
            data, mark = bytes(answer["Body"].read(_MOST_BYTES + 1)), str(answer["ETag"])
        try:
            return Found(name, mark, _checked(name, data))
        except (msgspec.DecodeError, ValueError) as exc:
            return Found(name, mark, None, str(exc))

    def forget(self, name: str) -> None:
        """Delete one enrolment object.

        Raises:
            FleetError: a call to AWS fails.
        """
        with aws_errors(f"delete s3://{self._bucket}/{ENROLL}{name}"):
            self._client.delete_object(Bucket=self._bucket, Key=ENROLL + name)


def _checked(name: str, data: bytes) -> Enrolled:
    """Decode and check an enrolment object.

    Raises:
        msgspec.DecodeError, ValueError: the content is invalid; the text says why.
    """
    if len(data) > _MOST_BYTES:
        raise ValueError(f"it has more than {_MOST_BYTES} bytes")
    said = msgspec.json.decode(data, type=Enrolled)
    if said.format != FORMAT:
        raise ValueError(f"it has format {said.format}")
    match = _SUFFIX.fullmatch(name)
    if match is None or match[1] != said.instance_id or said.agent != said.instance_id:
        raise ValueError("its instance id differs from the instance that wrote it")
    if not _REGION.fullmatch(said.region):
        raise ValueError(f"it has the invalid region {said.region!r}")
    fingerprint(said.public_key.encode())  # raises if this is not a key
    return said
