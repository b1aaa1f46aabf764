"""What a fleet keeps in the Parameter Store of the Systems Manager: where its controller is, the kill flag, secrets.

The names are those of `names.py`. An agent's role may read the parameters below `agent/` and
`secrets/` of its own fleet, and nothing else.

Everything blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from loadgen.aws.account.boto_clients import Clients, told
from loadgen.aws.account.names import CONTROLLER_ENDPOINT, CONTROLLER_PUBLIC_KEY, FLEET_NAME, KILL, SECRET, parameter
from loadgen.errors import FleetError, UsageError
from loadgen.outside_text import one_line

__all__ = ["Controller", "Hidden", "Parameters"]

_MOST_REASON: Final = 200


@dataclass(frozen=True, slots=True)
class Controller:
    """Where agents go, and by which key they know that they are there."""

    endpoint: str
    public_key: bytes
    """Z85."""


class Hidden:
    """A text that is shown as ****, wherever it gets into a log or a message."""

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

    __hash__ = None  # type: ignore[assignment]  # it is no key of anything


class Parameters:
    """Of one fleet, in one region."""

    def __init__(self, clients: Clients, region: str, fleet: str) -> None:
        """
        Raises:
            UsageError: no name of a fleet, or no such region.
        """
        if not FLEET_NAME.fullmatch(fleet):
            raise UsageError(f"{fleet!r} is no name of a fleet", hint="3 to 32 of a-z, 0-9 and -; a letter first")
        self._client, self._region, self._fleet = clients.client("ssm", region), region, fleet

    def controller(self) -> Controller:
        """
        Raises:
            FleetError: there is none yet, or AWS refuses.
        """
        endpoint, key = (parameter(name, self._fleet) for name in (CONTROLLER_ENDPOINT, CONTROLLER_PUBLIC_KEY))
        found = {name: self._get(name) for name in (endpoint, key)}
        missing = [name for name, value in found.items() if not value]
        if missing:
            raise FleetError(
                f"the fleet {self._fleet} has no controller yet: {' and '.join(missing)} missing in {self._region}",
                hint="is the controller up, and this its fleet?",
            )
        return Controller(found[endpoint] or "", (found[key] or "").encode())

    def kill_reason(self) -> str:
        """Why every agent of the fleet has to stop at once; empty: it has not, or there is no such flag.

        Raises:
            FleetError: AWS refuses, or is not there.
        """
        value = (self._get(parameter(KILL, self._fleet)) or "no").strip()
        word, _, reason = value.partition(" ")
        if word.lower() != "yes":
            return ""
        told = one_line(reason.strip())
        return f"the kill flag of the fleet says yes: {told[:_MOST_REASON] or 'no reason given'}"

    def secrets(self) -> dict[str, Hidden]:
        """The scenarios' secrets by name.

        Raises:
            FleetError: AWS refuses, or is not there.
        """
        path = parameter(SECRET, self._fleet)
        found: dict[str, Hidden] = {}
        with told(f"read the secrets in {self._region}"):
            pages = self._client.get_paginator("get_parameters_by_path").paginate(
                Path=path.rstrip("/"), WithDecryption=True, Recursive=False
            )
            for page in pages:
                for one in page["Parameters"]:
                    found[str(one["Name"]).removeprefix(path)] = Hidden(str(one["Value"]))
        return found

    def _get(self, name: str) -> str | None:
        """None where there is none."""
        with told(f"read {name} in {self._region}"):
            try:
                found: Any = self._client.get_parameter(Name=name)
            except self._client.exceptions.ParameterNotFound:
                return None
            return str(found["Parameter"]["Value"])
