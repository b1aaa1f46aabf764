"""Secrets: named in the scenario, resolved where it runs, never shown, and never sent with the scenario.

    token = secret("api-token")                              at the top of the file
    headers={"Authorization": "Bearer " + token.reveal()}    in a journey

The value is read when it is first revealed: from the environment variable
LOADGEN_SECRET_API_TOKEN, or else from the file `api-token` in the folder named by
LOADGEN_SECRETS_DIR (a mounted Kubernetes secret is such a folder). So each agent needs its
own copy; plan, bundle, manifest and log contain only the name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Never

from loadgen.dsl.source_location import Origin, here
from loadgen.errors import Fault, ScenarioError
from loadgen.secret_variable import variable_of

__all__ = [
    "SECRETS_DIR",
    "AskedSecrets",
    "Secret",
    "missing_secrets",
    "secret",
    "secret_value",
    "secret_values",
    "secrets_asked",
    "variable_of",
]

SECRETS_DIR = "LOADGEN_SECRETS_DIR"
"""Environment variable that names the folder with one file per secret."""

_HIDDEN = "****"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_values: dict[str, str] = {}


class Secret:
    """A secret by name, created by `secret`. As text it is always ****; JSON, msgspec and pickle raise an error."""

    __slots__ = ("_name", "_origin")

    def __init__(self, name: str, origin: Origin) -> None:
        self._name, self._origin = name, origin

    @property
    def name(self) -> str:
        return self._name

    def reveal(self) -> str:
        """Return the secret's value, for use in a request within a journey.

        While the scenario is loaded, this is an error and returns ****, because the plan would carry the value to
        agents.

        Raises:
            ScenarioError: the secret is not set on this machine.
        """
        asked = _asked.get()
        if asked is not None:
            message = (
                f'secret "{self._name}" is revealed while the scenario is loaded, so the plan would contain its value'
            )
            asked.faults.append(here().fault(message, "call reveal() within a journey"))
            return _HIDDEN
        found = _find(self._name)
        if found is None:
            raise ScenarioError([_missing(self._name, self._origin)])
        return found

    def __repr__(self) -> str:
        return f"secret({self._name!r})={_HIDDEN}"

    def __str__(self) -> str:
        return _HIDDEN

    def __format__(self, spec: str) -> str:
        return _HIDDEN

    def __reduce__(self) -> Never:
        raise TypeError(f"secret {self._name} cannot be serialized; reveal it in a journey")


class AskedSecrets:
    """The secrets that a scenario names, each with its first place, and the errors in their names."""

    def __init__(self) -> None:
        self.origins: dict[str, Origin] = {}
        self.faults: list[Fault] = []


_asked: ContextVar[AskedSecrets | None] = ContextVar("loadgen_secrets", default=None)


@contextmanager
def secrets_asked() -> Iterator[AskedSecrets]:
    """Collect the names given to `secret(...)` within this `with` block, and the errors in them."""
    asked = AskedSecrets()
    token = _asked.set(asked)
    try:
        yield asked
    finally:
        _asked.reset(token)


def secret(name: str) -> Secret:
    """Return a secret by name, whose value only `reveal()` in a journey returns: `TOKEN = secret("api-token")`.

    name: 1 to 100 letters, digits, -, _ and dots. "api-token" is read from the environment variable
        LOADGEN_SECRET_API_TOKEN, or from the file `api-token` in the folder named by LOADGEN_SECRETS_DIR.
    """
    origin = here()
    asked = _asked.get()
    if asked is not None:
        if name_is_good(name):
            asked.origins.setdefault(name, origin)
        else:
            hint = 'use letters, digits, -, _ and dots, as in secret("api-token")'
            asked.faults.append(origin.fault(f"{name!r} is not a valid name of a secret", hint))
    return Secret(str(name), origin)


def name_is_good(name: object) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def secret_values() -> dict[str, str]:
    """Return the values of the secrets that this process has read so far, by name.

    They must be masked in all output.
    """
    return dict(_values)


def secret_value(name: str) -> str | None:
    """Return the value of a secret on this machine, for the controller's own requests; None if it is not set."""
    return _find(name)


def missing_secrets(names: Iterable[str], origins: dict[str, Origin] | None = None) -> list[Fault]:
    """Return an error for each secret that is not set on this machine. The values of the others are read and kept.

    origins: the place to report for each name; a name without a place is reported at "secrets".
    """
    places = origins or {}
    return [_missing(name, places.get(name)) for name in names if _find(name) is None]


def _find(name: str) -> str | None:
    """Return a secret's value from its environment variable or file; None if it is missing.

    A value that was found is kept, so that it stays masked even if the variable changes.
    """
    found = _values.get(name)
    if found is None and name_is_good(name):
        found = os.environ.get(variable_of(name)) or _from_folder(name)
        if found:
            _values[name] = found
    return found or None


def _from_folder(name: str) -> str | None:
    folder = os.environ.get(SECRETS_DIR)
    if not folder:
        return None
    try:
        # Editors end files with a newline, which does not belong to the token.
        return (Path(folder) / name).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError):
        return None


def _missing(name: str, origin: Origin | None) -> Fault:
    where = origin or Origin("secrets", 0)
    hint = f"set {variable_of(name)}, or put its value into a file {name} in the folder named by {SECRETS_DIR}"
    return where.fault(f'secret "{name}" is not set', hint)
