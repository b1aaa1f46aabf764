"""The tokens of the API, each with a name and one of three roles.

A token is 256 random bits as text, and it is shown once, when it is created. The file stores its SHA-256; slow hashes
are needed only for passwords that people choose. Only the file's owner may read it. It is read again whenever it
changes, so a revoked token is rejected from the next call on. Tokens are compared in constant time and never logged.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Final

import msgspec

from loadgen.errors import StorageError, UsageError
from loadgen.measure.run_folder.rundir import replace_file, utc_text
from loadgen.secret_files import check_private

__all__ = ["MAX_TOKEN_CHARS", "Role", "Token", "Tokens", "read_token"]

_FORMAT: Final = 1
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_BYTES: Final = 32
_PREFIX: Final = "lg_"
MAX_TOKEN_CHARS: Final = 200


class Role(IntEnum):
    """The rights of a token. Each role includes the rights of the roles before it."""

    VIEW = 1
    RUN = 2
    ADMIN = 3

    @classmethod
    def of(cls, text: str) -> Role:
        """Return the role with this name.

        Raises:
            UsageError: there is no such role.
        """
        try:
            return cls[text.upper()]
        except KeyError:
            raise UsageError(f"unknown role {text!r}", hint="use view, run or admin") from None

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Token:
    """A valid token, without its secret."""

    name: str
    role: Role
    sha256: str
    created_at: str


class _Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    role: str
    sha256: str
    created_at: str = ""


class _File(msgspec.Struct, frozen=True):
    format: int
    tokens: tuple[_Row, ...] = ()


class Tokens:
    """The tokens in a file, which may change at any time. Without a file there are no tokens.

    Raises:
        UsageError: other users may read the file, or its content is invalid.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, ...] | None = None
        self._tokens: tuple[Token, ...] = ()
        self._look()

    def __iter__(self) -> Iterator[Token]:
        self._look()
        return iter(self._tokens)

    def __len__(self) -> int:
        self._look()
        return len(self._tokens)

    def who(self, secret: str) -> Token | None:
        """Return the token to which this secret belongs; None if the secret is unknown.

        The time does not depend on the secret.

        Raises:
            UsageError: the file cannot be read any more; then reject every caller.
        """
        self._look()
        presented = _sha256(secret) if len(secret) <= MAX_TOKEN_CHARS else ""
        found = None
        for token in self._tokens:
            if hmac.compare_digest(token.sha256, presented):
                # No `break`, so that the time is the same for every token.
                found = token
        return found

    def add(self, name: str, role: Role, now: datetime | None = None) -> str:
        """Create a token, and return its secret, which is not stored anywhere.

        Raises:
            UsageError: the name is invalid or taken.
            StorageError: the file cannot be written.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"invalid token name {name!r}", hint="use letters, digits, '.', '_', '@' and '-', at most 64"
            )
        if any(token.name == name for token in self):
            raise UsageError(
                f"token {name} exists already",
                hint=f"choose another name, or revoke it first with: loadgen api revoke DIR {name}",
            )
        secret = f"{_PREFIX}{role}_{secrets.token_urlsafe(_BYTES)}"
        made = Token(name, role, _sha256(secret), utc_text(now or datetime.now(UTC)))
        self._write((*self._tokens, made))
        return secret

    def revoke(self, name: str) -> None:
        """Remove a token. Calls with it are rejected from now on.

        Raises:
            UsageError: there is no such token.
            StorageError: the file cannot be written.
        """
        left = tuple(token for token in self if token.name != name)
        if len(left) == len(self._tokens):
            raise UsageError(
                f"there is no token {name} in {self.path}", hint="choose one that is listed by: loadgen api list DIR"
            )
        self._write(left)

    def _write(self, tokens: tuple[Token, ...]) -> None:
        rows = tuple(_Row(token.name, str(token.role), token.sha256, token.created_at) for token in tokens)
        data = msgspec.json.format(msgspec.json.encode(_File(_FORMAT, rows))) + b"\n"
        before = os.umask(0o077)  # the temporary file must never be readable by others
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(self.path, data, 0o600)
        except OSError as error:
            raise StorageError(
                f"cannot write {self.path}: {error.strerror}",
                hint="check that the folder is writable and the disk has space",
            ) from error
        finally:
            os.umask(before)
        self._look()

    def _look(self) -> None:
        """Read the file of tokens again if it has changed since it was last read.

        Without a file there are no tokens.
        """
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._stamp, self._tokens = None, ()
            return
        except OSError as error:
            raise UsageError(
                f"cannot read {self.path}: {error.strerror}", hint="check the path and its permissions"
            ) from error
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode, found.st_uid)
        if stamp == self._stamp:
            return
        check_private(self.path)
        try:
            file = msgspec.json.decode(self.path.read_bytes(), type=_File)
            if file.format != _FORMAT:
                raise ValueError(f"its format is {file.format}, but this loadgen reads {_FORMAT}")
            tokens = tuple(Token(row.name, Role.of(row.role), row.sha256, row.created_at) for row in file.tokens)
        except (OSError, ValueError, msgspec.DecodeError) as error:
            raise UsageError(
                f"{self.path} holds no tokens: {error}",
                hint="move the file away, and create new tokens with: loadgen api token DIR NAME",
            ) from error
        self._stamp, self._tokens = stamp, tokens


def read_token(path: Path) -> str:
    """Read the secret of a token from a file, for a client.

    Raises:
        UsageError: the file cannot be read, other users may read it, or it holds no token.
    """
    try:
        check_private(path)
        text = path.read_text(encoding="ascii")[: MAX_TOKEN_CHARS + 1].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}", hint="check the path and its permissions") from error
    if not text or len(text) > MAX_TOKEN_CHARS or not text.isprintable():
        raise UsageError(f"{path} holds no token", hint="create one at the controller with: loadgen api token DIR NAME")
    return text


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
