"""Secrets: named in the scenario, resolved where it runs, never shown and never sent along with it.

    token = secret("api-token")                              in the file
    headers={"Authorization": "Bearer " + token.reveal()}    in a journey

Looked for when it is first revealed: in the environment variable
LOADGEN_SECRET_API_TOKEN, else in the file `api-token` of the folder that
LOADGEN_SECRETS_DIR names (a mounted secret of Kubernetes is such a folder). So an
agent needs its own; plan, bundle, manifest and log know only the name.
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

__all__ = [
    "SECRETS_DIR",
    "AskedSecrets",
    "Secret",
    "missing_secrets",
    "secret",
    "secret_values",
    "secrets_asked",
    "variable_of",
]

SECRETS_DIR = "LOADGEN_SECRETS_DIR"
"""The variable that names the folder with one file for each secret."""

_HIDDEN = "****"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_values: dict[str, str] = {}


class Secret:
    """A secret by name. Printed, formatted or joined it is ****; JSON, msgspec and pickle refuse it."""

    __slots__ = ("_name", "_origin")

    def __init__(self, name: str, origin: Origin) -> None:
        self._name, self._origin = name, origin

    @property
    def name(self) -> str:
        return self._name

    def reveal(self) -> str:
        """Its value, to be put into a request. The first time it is looked for.

        While a scenario is loaded it is a fault, and the value ****: what a plan holds travels.

        Raises:
            ScenarioError: it was not given on this machine.
        """
        asked = _asked.get()
        if asked is not None:
            message = f'secret "{self._name}" is revealed while the scenario is loaded, and a plan would carry it along'
            asked.faults.append(here().fault(message, "keep the secret itself, and reveal it in a journey"))
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
        raise TypeError(f"secret {self._name} does not travel")


class AskedSecrets:
    """The secrets that a scenario names, with the first place of each, and what is wrong with their names."""

    def __init__(self) -> None:
        self.origins: dict[str, Origin] = {}
        self.faults: list[Fault] = []


_asked: ContextVar[AskedSecrets | None] = ContextVar("loadgen_secrets", default=None)


@contextmanager
def secrets_asked() -> Iterator[AskedSecrets]:
    """Within it, the names that `secret` is called with are collected."""
    asked = AskedSecrets()
    token = _asked.set(asked)
    try:
        yield asked
    finally:
        _asked.reset(token)


def secret(name: str) -> Secret:
    """The secret `name`: letters, digits, -, _ and dots."""
    origin = here()
    asked = _asked.get()
    if asked is not None:
        if name_is_good(name):
            asked.origins.setdefault(name, origin)
        else:
            hint = 'letters, digits, -, _ and dots, as in secret("api-token")'
            asked.faults.append(origin.fault(f"{name!r} is no name of a secret", hint))
    return Secret(str(name), origin)


def name_is_good(name: object) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def variable_of(name: str) -> str:
    """The environment variable that gives a secret: "api-token" -> LOADGEN_SECRET_API_TOKEN."""
    return "LOADGEN_SECRET_" + re.sub(r"[^A-Z0-9]", "_", name.upper())


def secret_values() -> dict[str, str]:
    """Name -> value of those that were resolved in this process: what must not appear in anything written."""
    return dict(_values)


def missing_secrets(names: Iterable[str], origins: dict[str, Origin] | None = None) -> list[Fault]:
    """A fault for each secret that was not given on this machine. Those that were are resolved from now on."""
    places = origins or {}
    return [_missing(name, places.get(name)) for name in names if _find(name) is None]


def _find(name: str) -> str | None:
    """From the variable, or the file; kept, so that what is redacted stays the same while the process lives."""
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
        # Editors end files with a newline, which is no part of a token.
        return (Path(folder) / name).read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError):
        return None


def _missing(name: str, origin: Origin | None) -> Fault:
    where = origin or Origin("secrets", 0)
    hint = f"set {variable_of(name)}, or put it into a file {name} in the folder that {SECRETS_DIR} names"
    return where.fault(f'secret "{name}" was not given', hint)
