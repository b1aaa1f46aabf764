"""Reads a fleet's parameters from the Systems Manager: the controller's address, the kill flag and the secrets.

`names.py` defines the parameter names. An agent's role may read only the parameters below `agent/` and
`secrets/` of its own fleet.

Everything blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from loadgen.aws.account.boto_clients import Clients, aws_errors
from loadgen.aws.account.names import CONTROLLER_ENDPOINT, CONTROLLER_PUBLIC_KEY, FLEET_NAME, KILL, SECRET, parameter
from loadgen.errors import FleetError, UsageError
from loadgen.outside_text import one_line

__all__ = ["Controller", "Hidden", "Parameters"]

_MOST_REASON: Final = 200


@dataclass(frozen=True, slots=True)
class Controller:
    """The address to which agents connect, and the public key by which they verify the controller."""

    endpoint: str
    public_key: bytes
    """Z85."""


class Hidden:
    """A secret text that is printed as **** in logs and messages. `reveal` returns the real text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return "****"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "****"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hidden) and other._text == self._text

    __hash__ = None  # type: ignore[assignment]  # never used as a dictionary key


class Parameters:
    """The parameters of one fleet in one region."""

    def __init__(self, clients: Clients, region: str, fleet: str) -> None:
        """Make a reader of the fleet's parameters. Sends no request.

        Raises:
            UsageError: `fleet` is not a valid name, or the region does not exist.
        """
        if not FLEET_NAME.fullmatch(fleet):
            raise UsageError(
                f"invalid fleet name {fleet!r}", hint="use 3 to 32 characters of a-z, 0-9 and -, with a letter first"
            )
        self._client, self._region, self._fleet = clients.client("ssm", region), region, fleet

    def controller(self) -> Controller:
        """Read the controller's address and public key.

        Raises:
            FleetError: the controller has not published them yet, or a call to AWS fails.
        """
        endpoint, key = (parameter(name, self._fleet) for name in (CONTROLLER_ENDPOINT, CONTROLLER_PUBLIC_KEY))
        found = {name: self._get(name) for name in (endpoint, key)}
        missing = [name for name, value in found.items() if not value]
        if missing:
            raise FleetError(
                f"the fleet {self._fleet} has no controller yet: {' and '.join(missing)} missing in {self._region}",
                hint="start the fleet's controller first, and check the fleet's name and region",
            )
        return Controller(found[endpoint] or "", (found[key] or "").encode())

    def kill_reason(self) -> str:
        """Return the reason for which all agents must stop now. Empty: the kill flag is "no" or does not exist.

        Raises:
            FleetError: a call to AWS fails.
        """
        value = (self._get(parameter(KILL, self._fleet)) or "no").strip()
        word, _, reason = value.partition(" ")
        if word.lower() != "yes":
            return ""
        text = one_line(reason.strip())
        return f"the fleet's kill flag is set: {text[:_MOST_REASON] or 'no reason given'}"

    def secrets(self) -> dict[str, Hidden]:
        """Read all secrets of the fleet's scenarios, by name.

        Raises:
            FleetError: a call to AWS fails.
        """
        path = parameter(SECRET, self._fleet)
        found: dict[str, Hidden] = {}
        with aws_errors(f"read the secrets in {self._region}"):
            pages = self._client.get_paginator("get_parameters_by_path").paginate(
                Path=path.rstrip("/"), WithDecryption=True, Recursive=False
            )
            for page in pages:
                for one in page["Parameters"]:
                    found[str(one["Name"]).removeprefix(path)] = Hidden(str(one["Value"]))
        return found

    def _get(self, name: str) -> str | None:
        """Read one parameter, or return None if it does not exist."""
        with aws_errors(f"read {name} in {self._region}"):
            try:
                found: Any = self._client.get_parameter(Name=name)
            except self._client.exceptions.ParameterNotFound:
                return None
            return str(found["Parameter"]["Value"])
