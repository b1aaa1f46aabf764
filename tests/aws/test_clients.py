"""What AWS refuses, as errors of ours."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from loadgen.aws.account import boto_clients
from loadgen.aws.account.boto_clients import Clients, aws_errors, error_of_code
from loadgen.errors import (
    CloudDenied,
    CloudError,
    CloudGone,
    CredentialsError,
    ExitCode,
    LoadgenError,
    NoCapacity,
    QuotaReached,
    Throttled,
    UsageError,
)

KEY = "AKIAIOSFODNN7EXAMPLE"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-this-test")


@pytest.mark.parametrize(
    ("code", "kind", "exit_code"),
    [
        ("Throttling", Throttled, ExitCode.FLEET),
        ("RequestLimitExceeded", Throttled, ExitCode.FLEET),
        ("InsufficientInstanceCapacity", NoCapacity, ExitCode.FLEET),
        ("VcpuLimitExceeded", QuotaReached, ExitCode.FLEET),
        ("UnauthorizedOperation", CloudDenied, ExitCode.FLEET),
        ("AccessDenied", CloudDenied, ExitCode.FLEET),
        ("ExpiredToken", CredentialsError, ExitCode.USAGE),
        ("InvalidClientTokenId", CredentialsError, ExitCode.USAGE),
        ("ValidationError", CloudError, ExitCode.FLEET),
    ],
)
def test_code_of_aws_becomes_an_error_with_its_exit_code(
    code: str, kind: type[LoadgenError], exit_code: ExitCode
) -> None:
    error = error_of_code("list the agents in eu-west-1", code)

    assert (type(error), error.exit_code) == (kind, exit_code)
    assert str(error) == f"cannot list the agents in eu-west-1: AWS returned {code}"
    assert error.hint or kind is CloudError


def test_what_aws_says_besides_its_code_is_not_told() -> None:
    """An InvalidClientTokenId of the real one has the access key; a signature that is wrong has the whole request."""
    from botocore.exceptions import ClientError

    with pytest.raises(CredentialsError) as caught, aws_errors("look"):
        raise ClientError({"Error": {"Code": "InvalidAccessKeyId", "Message": f"{KEY} is not known"}}, "DescribeTags")

    assert KEY not in str(caught.value) + caught.value.hint


def test_code_that_could_be_anything_is_not_told_either() -> None:
    from botocore.exceptions import ClientError

    with pytest.raises(CloudError, match="an error without a code"), aws_errors("look"):
        raise ClientError({"Error": {"Code": f"<p>{KEY}</p>"}}, "DescribeTags")


def test_without_credentials_it_says_where_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    ec2 = Clients("http://127.0.0.1:9").client("ec2", "eu-west-1")

    with pytest.raises(CredentialsError, match="cannot look: NoCredentialsError") as caught, aws_errors("look"):
        ec2.describe_instances()

    assert "AWS_PROFILE" in caught.value.hint


def test_profile_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")

    with pytest.raises(CredentialsError, match="ProfileNotFound"):
        Clients()


def test_endpoint_that_is_gone_is_told_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boto_clients, "TRIES", 1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    sts = Clients(f"http://127.0.0.1:{port}").client("sts", "eu-west-1")

    with (
        pytest.raises(CloudGone, match="cannot say who this is: EndpointConnectionError"),
        aws_errors("say who this is"),
    ):
        sts.get_caller_identity()


def test_what_is_no_region_is_a_fault_of_the_command() -> None:
    with pytest.raises(UsageError, match="cannot reach ec2 in eu west"):
        Clients().client("ec2", "eu west")


def test_client_is_made_once_for_a_region() -> None:
    made = Clients()

    assert made.client("sts", "eu-west-1") is made.client("sts", "eu-west-1")
    assert made.client("sts", "eu-west-1") is not made.client("sts", "us-east-1")


def test_region_is_that_of_aws_region_before_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.delenv("AWS_REGION", raising=False)
    assert Clients().default_region == "us-east-1"

    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert Clients().default_region == "eu-west-1"
