"""Changes the controller's folder of keys: makes it, adds agents, revokes them. What lies in it says `keys.py`.

The secret key of an agent is in one place only, `copy-to/NAME`, which goes to that
agent's host as a whole and can be deleted here afterwards. A revoked key is kept
among the revoked ones, so that it stays out even where a copy of it comes back.
A controller that runs looks at the folder again and again: nothing here is half there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from loadgen.errors import StorageError, UsageError
from loadgen.secret_files import write_new
from loadgen.wire.keys import KeyPair, check_key_name, fingerprint, read_agents, read_key

__all__ = ["KnownKey", "add_agent", "handout", "init_keys", "list_keys", "revoke"]


@dataclass(frozen=True, slots=True, order=True)
class KnownKey:
    """A key of an agent, as a person wants to see it."""

    name: str
    fingerprint: str
    made_at: datetime
    """UTC; of its file."""
    is_revoked: bool = False


def init_keys(folder: Path) -> bool:
    """Make the controller's pair if it is not there. Whether it is new.

    Raises:
        UsageError: others may write in the folder.
        StorageError: it cannot be written.
    """
    if (folder / "controller.key").exists():
        return False
    own = KeyPair.new()
    for made in (folder, folder / "agents", folder / "revoked", folder / "copy-to"):
        _make_folder(made)
    read_agents(folder)  # a folder that others may write in gets no secrets
    write_new(folder / "controller.key", own.secret + b"\n", 0o600)
    write_new(folder / "controller.pub", own.public + b"\n", 0o644)
    return True


def add_agent(folder: Path, name: str) -> Path | None:
    """Make a key for the agent or group `name`; the folder to copy to its host, None where it has a key.

    Raises:
        UsageError: no name for a key, or no folder of keys.
        StorageError: it cannot be written.
    """
    check_key_name(name)
    controller = _initialised(folder)
    if _public(folder, name).exists():
        return None
    pair, out = KeyPair.new(), handout(folder, name)
    _delete_handout(folder, name)
    write_new(out / "controller.pub", controller + b"\n", 0o644)
    write_new(out / "agents" / f"{name}.key", pair.secret + b"\n", 0o600)
    write_new(_public(folder, name), pair.public + b"\n", 0o644)  # last: from now on it is let in
    return out


def revoke(folder: Path, name: str) -> str:
    """Never let the key of `name` in again; its fingerprint. The name is free for a new key.

    Raises:
        UsageError: no such key, or no folder of keys.
        StorageError: it cannot be written.
    """
    check_key_name(name)
    _initialised(folder)
    path = _public(folder, name)
    if not path.exists():
        known = ", ".join(one.name for one in list_keys(folder) if not one.is_revoked)
        raise UsageError(f"there is no key of {name!r}", hint=f"there are {known}" if known else "there are none")
    mark = fingerprint(read_key(path))
    _make_folder(folder / "revoked")
    try:
        path.replace(folder / "revoked" / f"{name}.{mark}.pub")
    except OSError as exc:
        raise StorageError(f"cannot move {path} to the revoked keys: {exc.strerror}") from exc
    _delete_handout(folder, name)
    return mark


def list_keys(folder: Path) -> tuple[KnownKey, ...]:
    """Those that are let in, by name, and then those that are revoked.

    Raises:
        UsageError: no folder of keys, or something in it is wrong.
    """
    _initialised(folder)
    agents, wrong = read_agents(folder)
    if wrong:
        raise wrong[0]
    revoked = sorted((folder / "revoked").glob("*.pub"))
    return (
        *sorted(_known(_public(folder, name), name) for name in agents.values()),
        *(_known(path, path.name.partition(".")[0], is_revoked=True) for path in revoked),
    )


def handout(folder: Path, name: str) -> Path:
    """What goes to the host of the agent `name`."""
    return folder / "copy-to" / name


def _known(path: Path, name: str, *, is_revoked: bool = False) -> KnownKey:
    made_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return KnownKey(name, fingerprint(read_key(path)), made_at, is_revoked)


def _public(folder: Path, name: str) -> Path:
    return folder / "agents" / f"{name}.pub"


def _initialised(folder: Path) -> bytes:
    """The controller's public key."""
    path = folder / "controller.pub"
    if not path.is_file():
        raise UsageError(f"{folder} is no folder of keys: {path} is not there", hint=f"loadgen keys init {folder}")
    return read_key(path)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise StorageError(f"cannot write {path}: {exc.strerror}", hint="choose another folder") from exc


def _delete_handout(folder: Path, name: str) -> None:
    """Of an earlier key of that name."""
    out = handout(folder, name)
    try:
        for path in (out / "controller.pub", out / "agents" / f"{name}.key"):
            path.unlink(missing_ok=True)
        for inner in (out / "agents", out):
            if inner.is_dir():
                inner.rmdir()
    except OSError as exc:
        raise StorageError(f"cannot delete {out}: {exc.strerror}", hint="move it elsewhere") from exc
