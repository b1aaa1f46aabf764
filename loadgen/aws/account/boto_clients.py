"""Makes the clients of AWS, and turns what they raise into our errors. The only importer of boto3.

Credentials come from where boto3 looks for them (environment, profile, role of the machine);
they are neither read nor kept nor said here. What AWS says is not passed on word by word: some
of its texts have parts of the request. Errors carry its code, and what was being done.

Everything blocks: never call it in an event loop's thread.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
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

__all__ = ["Clients", "error_of_code", "told"]

CONNECT_S: Final = 5
READ_S: Final = 30
TRIES: Final = 6
"""Of a call that is throttled or not answered. Adaptive: boto3 slows down by itself, too."""

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
        "403",  # a HEAD has no body that could say more
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
    "NoSuchBucket": "is that its name?",
    "ConditionalRequestConflict": "another one is sending it just now; try again",
}
_CODE: Final = re.compile(r"[A-Za-z0-9._-]{1,80}")


class Clients:
    """Clients by service and region, each made once. Threads may share it.

    Cost: a client takes some 20 to 100 ms to make, of which nothing goes over the network.
    """

    def __init__(self, endpoint_url: str | None = None, session: Any = None) -> None:
        """
        Args:
            endpoint_url: where all services are; else AWS, or what AWS_ENDPOINT_URL says.
            session: of boto3, where it is not to be the usual one.

        Raises:
            UsageError: boto3 is not installed, or AWS_PROFILE names no profile.
        """
        boto3, self._botocore = _boto()
        self._endpoint_url, self._lock = endpoint_url, Lock()
        self._is_elsewhere = any((endpoint_url, environ.get("AWS_ENDPOINT_URL"), environ.get("AWS_ENDPOINT_URL_S3")))
        self._made: dict[tuple[str, str], Any] = {}
        with told("find the credentials"):
            self._session: Any = boto3.session.Session() if session is None else session

    def client(self, service: str, region: str) -> Any:
        """
        Raises:
            UsageError: there is no such region.
        """
        with self._lock:  # making a client is not safe in several threads, using it is
            found = self._made.get((service, region))
            if found is None:
                with told(f"reach {service} in {region}"):
                    found = self._session.client(
                        service, region_name=region, endpoint_url=self._endpoint_url, config=self._config(service)
                    )
                self._made[service, region] = found
            return found

    @property
    def default_region(self) -> str:
        """As AWS_REGION or the profile says it; empty where neither does. boto3 itself asks AWS_DEFAULT_REGION only."""
        return os.environ.get("AWS_REGION") or str(self._session.region_name or "")

    @property
    def has_passing_credentials(self) -> bool:
        """Those of a role or a session: what they sign ends with them."""
        with told("look for credentials"):
            found = self._session.get_credentials()
            return found is not None and bool(found.get_frozen_credentials().token)

    def _config(self, service: str) -> Any:
        # An address that is signed the older way holds in some regions only.
        of_s3: dict[str, Any] = {"signature_version": "s3v4"} if service == "s3" else {}
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
def told(doing: str) -> Iterator[None]:
    """What boto3 raises within, as an error of ours.

    Args:
        doing: what is done, to stand after "cannot": "list the agents in eu-west-1".

    Raises:
        Throttled, NoCapacity, QuotaReached, CloudDenied, CloudGone, CloudError: what AWS says or does.
        CredentialsError, UsageError: there are none, they are over or wrong; or no such region.
    """
    _, botocore = _boto()
    try:
        yield
    except botocore.exceptions.ClientError as exc:
        raise error_of_code(doing, _code_of(exc)) from exc
    except botocore.exceptions.BotoCoreError as exc:
        raise _of_here(doing, type(exc)) from exc


def error_of_code(doing: str, code: str) -> LoadgenError:
    """The error for a code of AWS, as its calls and the activities of its groups have it."""
    what = f"cannot {doing}: AWS says {code}"
    if code in _THROTTLING:
        return Throttled(what, hint=f"asked {TRIES} times; wait a minute, or have the limit of its API raised")
    if code in _CAPACITY:
        return NoCapacity(what, hint="allow more instance types or zones, another region, or go on with --min")
    if code in _QUOTA:
        return QuotaReached(what, hint="have the quota of this account raised in this region, or ask for fewer agents")
    if code in _DENIED:
        return CloudDenied(
            what,
            hint="who you are (aws sts get-caller-identity) may not do this; see docs/fleet.md and docs/runs.md",
        )
    if code in _EXPIRED:
        return CredentialsError(
            what, hint="get new credentials and do it again: what is there already is left as it is"
        )
    if code in _CREDENTIALS:
        return CredentialsError(what, hint="which credentials does boto3 find? AWS_PROFILE chooses")
    return CloudError(what, hint=_HINTS.get(code, ""))


def _of_here(doing: str, kind: type[Exception]) -> LoadgenError:
    """What boto3 itself says, before or instead of AWS."""
    names = {one.__name__ for one in kind.__mro__}
    what = f"cannot {doing}: {kind.__name__}"
    if names & {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"}:
        return CredentialsError(what, hint="set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if names & {"NoAuthTokenError", "TokenRetrievalError", "SSOError", "LoginError", "UnauthorizedSSOTokenError"}:
        return CredentialsError(what, hint="log in again (aws sso login)")
    if names & {"NoRegionError", "InvalidRegionError", "UnknownRegionError"}:
        return UsageError(what, hint="which region? as in eu-west-1")
    if names & {"ConnectionError", "HTTPClientError"}:
        return CloudGone(what, hint="is the network there, the region right, and AWS_ENDPOINT_URL?")
    return CloudError(what)


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
        raise UsageError("AWS needs boto3, which is not installed", hint="pip install loadgen[aws]") from exc
    return boto3, botocore
