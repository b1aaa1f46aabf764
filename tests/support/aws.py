"""moto's server as an AWS on loopback, with all regions in one, and credentials that only it knows."""

from __future__ import annotations

import json
import logging
import os
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.imds import ROLE, Imds

__all__ = ["BUCKET", "FLEET", "REGION", "client", "emptied", "isolated", "made_fleet", "role_of", "running_aws"]

FLEET, BUCKET, REGION = "shop", "loadgen-shop-123456789012", "eu-west-1"
_NAMES = ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL")


@contextmanager
def running_aws() -> Iterator[str]:
    """Its address. What is in it is gone when the block is left."""
    os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")  # which takes 12 s
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    try:
        yield url
    finally:
        emptied(url)
        server.stop()


def emptied(url: str) -> str:
    """The same one, with nothing in it."""
    urllib.request.urlopen(urllib.request.Request(f"{url}/moto-api/reset", method="POST")).close()
    return url


def isolated(monkeypatch: pytest.MonkeyPatch, folder: Path, url: str = "", *, keys: bool = True) -> None:
    """No credentials, profile or metadata of this machine; all services at `url`, with keys or those of an instance."""
    for name in (*_NAMES, "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(folder / "none"))
    if url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    if keys:
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")


def client(url: str, service: str, region: str = REGION) -> Any:
    """Whoever made the fleet: another one than who is tested."""
    import boto3

    return boto3.client(
        service, region_name=region, endpoint_url=url, aws_access_key_id="testing", aws_secret_access_key="testing"
    )


def made_fleet(url: str, endpoint: str, public_key: bytes, **secrets: str) -> None:
    """The bucket and the parameters that Terraform would have made."""
    client(url, "s3").create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    ssm = client(url, "ssm")
    values = {"controller-endpoint": endpoint, "controller-public-key": public_key.decode(), "kill": "no"}
    for name, value in values.items():
        ssm.put_parameter(Name=f"/loadgen/{FLEET}/agent/{name}", Value=value, Type="String")
    for name, value in secrets.items():
        ssm.put_parameter(Name=f"/loadgen/{FLEET}/secrets/{name}", Value=value, Type="SecureString")


def role_of(url: str, imds: Imds) -> None:
    """Give the instance credentials of a role, as EC2 does: a session by the instance's name."""
    found = client(url, "sts").assume_role(
        RoleArn=f"arn:aws:iam::123456789012:role/{ROLE}", RoleSessionName=imds.instance_id
    )
    keys = found["Credentials"]
    imds.meta[f"iam/security-credentials/{ROLE}"] = json.dumps(
        {
            "Code": "Success",
            "AccessKeyId": keys["AccessKeyId"],
            "SecretAccessKey": keys["SecretAccessKey"],
            "Token": keys["SessionToken"],
            "Expiration": keys["Expiration"].strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
    )
