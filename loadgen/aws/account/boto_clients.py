"""Creates boto3 clients and translates their exceptions into our errors. Only this module imports boto3.

boto3 finds the credentials (environment, profile, role of the machine); this module never stores or logs them.
Our errors contain the error code of AWS and the operation, but not the message of AWS: some of these messages
contain parts of the request.

Everything blocks: never call it in an event loop's thread.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from os import environ
from threading import Lock
from typing import Any, Final

from loadgen.errors import (
    CloudDenied,
    CloudError,
    CloudGone,
    CredentialsError,
    LoadgenError,
    NoCapacity,
    QuotaReached,
    Throttled,
    UsageError,
)
from loadgen.extras import missing_package

__all__ = ["Clients", "aws_errors", "error_of_code"]

CONNECT_S: Final = 5
READ_S: Final = 30
TRIES: Final = 6
"""Attempts of a call that is throttled or not answered. boto3's adaptive mode also slows down between them."""

_THROTTLING: Final = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestLimitExceeded",
        "TooManyRequestsException",
        "BandwidthLimitExceeded",
        "SlowDown",
        "PriorRequestNotComplete",
        "ResourceContention",
    }
)
_CAPACITY: Final = frozenset(
    {
        "InsufficientCapacity",
        "InsufficientHostCapacity",
        "InsufficientInstanceCapacity",
        "SpotMaxPriceTooLow",
        "UnfulfillableCapacity",
    }
)
_QUOTA: Final = frozenset(
    {
        "LimitExceeded",
        "LimitExceededException",
        "ServiceQuotaExceededException",
        "VcpuLimitExceeded",
        "InstanceLimitExceeded",
        "MaxSpotInstanceCountExceeded",
    }
)
_DENIED: Final = frozenset(
    {
        "403",  # the answer to a HEAD request has no body, so there is no error code
        "AccessDenied",
        "AccessDeniedException",
        "AllAccessDisabled",
        "AuthorizationError",
        "UnauthorizedOperation",
    }
)
_EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_CREDENTIALS: Final = frozenset(
    {
        "AuthFailure",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "MissingAuthenticationToken",
        "OptInRequired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_HINTS: Final = {
    "NoSuchBucket": "check the bucket's name and region",
    "ConditionalRequestConflict": "another process is sending the same object; try again",
}
_CODE: Final = re.compile(r"[A-Za-z0-9._-]{1,80}")


class Clients:
    """A cache of boto3 clients by service and region. Threads may share it.

    Cost: creating a client takes 20 to 100 ms and sends nothing over the network.
    """

    def __init__(self, endpoint_url: str | None = None, session: Any = None) -> None:
        """Open a boto3 session.

        Args:
            endpoint_url: the address of all services. Default: AWS_ENDPOINT_URL, else AWS itself.
            session: a boto3 session. Default: a new one with the usual credentials.

        Raises:
            UsageError: boto3 is not installed, or AWS_PROFILE names a profile that does not exist.
        """
        boto3, self._botocore = _boto()
        self._endpoint_url, self._lock = endpoint_url, Lock()
        self._is_elsewhere = any((endpoint_url, environ.get("AWS_ENDPOINT_URL"), environ.get("AWS_ENDPOINT_URL_S3")))
        self._made: dict[tuple[str, str], Any] = {}
        with aws_errors("find the credentials"):
            self._session: Any = boto3.session.Session() if session is None else session

    def client(self, service: str, region: str) -> Any:
        """Return the client of a service in a region, and create it on first use.

        Raises:
            UsageError: the region does not exist.
        """
        with self._lock:  # boto3 clients are safe to use in several threads, but not to create
            found = self._made.get((service, region))
            if found is None:
                with aws_errors(f"reach {service} in {region}"):
                    found = self._session.client(
                        service, region_name=region, endpoint_url=self._endpoint_url, config=self._config(service)
                    )
                self._made[service, region] = found
            return found

    @property
    def default_region(self) -> str:
        """The region of AWS_REGION or the profile; empty if neither names one.

        boto3 itself reads AWS_DEFAULT_REGION only, not AWS_REGION.
        """
        return os.environ.get("AWS_REGION") or str(self._session.region_name or "")

    @property
    def has_temporary_credentials(self) -> bool:
        """Whether the credentials are temporary (of a role or session): links that they sign end with them."""
        with aws_errors("look for credentials"):
            found = self._session.get_credentials()
            return found is not None and bool(found.get_frozen_credentials().token)

    def _config(self, service: str) -> Any:
        from importlib.metadata import version  # slow to import

        # Links with the older signature version 2 are valid in some regions only.
        of_s3: dict[str, Any] = {"signature_version": "s3v4"} if service == "s3" else {}
        # Servers other than AWS usually have no host name for each bucket.
        if service == "s3" and self._is_elsewhere:
            of_s3["s3"] = {"addressing_style": "path"}
        return self._botocore.config.Config(
            connect_timeout=CONNECT_S,
            read_timeout=READ_S,
            retries={"total_max_attempts": TRIES, "mode": "adaptive"},
            user_agent_extra=f"loadgen/{version('loadgen')}",
            **of_s3,
        )


@contextmanager
def aws_errors(doing: str) -> Iterator[None]:
    """Translate boto3's exceptions in the body into our errors.

    Args:
        doing: the operation, as the verb after "cannot": "list the agents in eu-west-1".

    Raises:
        Throttled, NoCapacity, QuotaReached, CloudDenied, CloudError: AWS returned an error.
        CloudGone: AWS did not answer.
        CredentialsError: the credentials are missing, wrong or expired.
        UsageError: the region does not exist.
    """
    _, botocore = _boto()
    try:
        yield
    except botocore.exceptions.ClientError as exc:
        raise error_of_code(doing, _code_of(exc)) from exc
    except botocore.exceptions.BotoCoreError as exc:
        raise _of_here(doing, type(exc)) from exc


def error_of_code(doing: str, code: str) -> LoadgenError:
    """Return our error for an error code of AWS.

    doing: the operation, as the verb after "cannot".
    """
    what = f"cannot {doing}: AWS returned {code}"
    if code in _THROTTLING:
        return Throttled(what, hint=f"tried {TRIES} times; wait a minute, or ask AWS for a higher API limit")
    if code in _CAPACITY:
        return NoCapacity(what, hint="allow more instance types, zones or regions, or accept fewer agents with --min")
    if code in _QUOTA:
        return QuotaReached(what, hint="ask AWS for a higher quota in this region, or request fewer agents")
    if code in _DENIED:
        return CloudDenied(
            what,
            hint="your identity (aws sts get-caller-identity) lacks a permission; see docs/fleet.md and docs/runs.md",
        )
    if code in _EXPIRED:
        return CredentialsError(what, hint="get new credentials and repeat the command; it continues where it stopped")
    if code in _CREDENTIALS:
        return CredentialsError(what, hint="set AWS_PROFILE, and check it with aws sts get-caller-identity")
    return CloudError(what, hint=_HINTS.get(code, "look this code up in the AWS documentation, then try again"))


def _of_here(doing: str, kind: type[Exception]) -> LoadgenError:
    """Return our error for an exception that boto3 raised without an answer of AWS."""
    names = {one.__name__ for one in kind.__mro__}
    what = f"cannot {doing}: {kind.__name__}"
    if names & {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"}:
        return CredentialsError(what, hint="set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if names & {"NoAuthTokenError", "TokenRetrievalError", "SSOError", "LoginError", "UnauthorizedSSOTokenError"}:
        return CredentialsError(what, hint="log in again (aws sso login)")
    if names & {"NoRegionError", "InvalidRegionError", "UnknownRegionError"}:
        return UsageError(what, hint="set AWS_REGION to a region such as eu-west-1")
    if names & {"ConnectionError", "HTTPClientError", "IncompleteReadError"}:
        return CloudGone(what, hint="check the network, the region and AWS_ENDPOINT_URL")
    return CloudError(what, hint="check the AWS settings (AWS_* variables, ~/.aws/config), then try again")


def _code_of(error: Any) -> str:
    code = str(error.response.get("Error", {}).get("Code", ""))
    return code if _CODE.fullmatch(code) else "an error without a code"


def _boto() -> tuple[Any, Any]:
    try:
        import boto3
        import botocore
        import botocore.config
        import botocore.exceptions
    except ImportError as exc:
        raise missing_package("AWS", "boto3", "aws") from exc
    return boto3, botocore
