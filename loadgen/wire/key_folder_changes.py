"""Changes the controller's key folder: makes it, adds agents, revokes keys. `curve_keys.py` describes its files.

The secret key of an agent is only in the folder `copy-to/NAME`. Copy that folder to the agent's host; it can be
deleted here afterwards. Revoked keys are kept in `revoked`, so that they stay revoked even if a copy reappears.
A running controller rereads the folder, so every change here is atomic.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from loadgen.errors import StorageError, UsageError
from loadgen.secret_files import write_new
from loadgen.wire.curve_keys import KeyPair, check_key_name, fingerprint, read_agents, read_key

__all__ = ["KnownKey", "add_agent", "handout", "init_keys", "list_keys", "revoke"]


@dataclass(frozen=True, slots=True, order=True)
class KnownKey:
    """One key of an agent, as shown by `loadgen keys list`."""

    name: str
    fingerprint: str
    made_at: datetime
    """Modification time of its file, UTC."""
    is_revoked: bool = False


def init_keys(folder: Path) -> bool:
    """Make the key folder and the controller's key pair in it. Return False if it has a key pair already.

    Raises:
        UsageError: other users may write to the folder.
        StorageError: the folder cannot be written.
    """
    if (folder / "controller.key").exists():
        return False
    own = KeyPair.new()
    for made in (folder, folder / "agents", folder / "revoked", folder / "copy-to"):
        _make_folder(made)
    read_agents(folder)  # raises if others may write to the folder, before a secret is written
    write_new(folder / "controller.key", own.secret + b"\n", 0o600)
    write_new(folder / "controller.pub", own.public + b"\n", 0o644)
    return True


def add_agent(folder: Path, name: str) -> Path | None:
    """Make a key for the agent or group `name`, valid at once, and return the folder to copy to its host.

    Return None if `name` has a key already.

    Raises:
        UsageError: the name is invalid, or `folder` is not a key folder.
        StorageError: the folder cannot be written.
    """
    check_key_name(name)
    controller = _initialised(folder)
    if _public(folder, name).exists():
        return None
    pair, out = KeyPair.new(), handout(folder, name)
    _delete_handout(folder, name)
    write_new(out / "controller.pub", controller + b"\n", 0o644)
    write_new(out / "agents" / f"{name}.key", pair.secret + b"\n", 0o600)
    write_new(_public(folder, name), pair.public + b"\n", 0o644)  # last, because this makes the key valid
    return out


def revoke(folder: Path, name: str) -> str:
    """Revoke the key of `name` for good, and return the key's fingerprint. The name may then get a new key.

    Raises:
        UsageError: the key does not exist, or `folder` is not a key folder.
        StorageError: the folder cannot be written.
    """
    check_key_name(name)
    _initialised(folder)
    path = _public(folder, name)
    if not path.exists():
        known = ", ".join(one.name for one in list_keys(folder) if not one.is_revoked)
        raise UsageError(
            f"key {name!r} not found in {folder}",
            hint=f"choose one of: {known}" if known else "the folder has no keys that could be revoked",
        )
    mark = fingerprint(read_key(path))
    _make_folder(folder / "revoked")
    try:
        path.replace(folder / "revoked" / f"{name}.{mark}.pub")
    except OSError as exc:
        raise StorageError(
            f"cannot move {path} to the revoked keys: {exc.strerror}", hint="check the permissions of the key folder"
        ) from exc
    _delete_handout(folder, name)
    return mark


def list_keys(folder: Path) -> tuple[KnownKey, ...]:
    """Return all keys of a key folder: the valid ones by name, then the revoked ones.

    Raises:
        UsageError: `folder` is not a key folder, or one of its files is invalid.
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
    """Return the folder that must be copied to the host of the agent `name`."""
    return folder / "copy-to" / name


def _known(path: Path, name: str, *, is_revoked: bool = False) -> KnownKey:
    made_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return KnownKey(name, fingerprint(read_key(path)), made_at, is_revoked)


def _public(folder: Path, name: str) -> Path:
    return folder / "agents" / f"{name}.pub"


def _initialised(folder: Path) -> bytes:
    """Check that `folder` is a key folder, and return the controller's public key.

    Raises:
        UsageError: `folder` is not a key folder.
    """
    path = folder / "controller.pub"
    if not path.is_file():
        raise UsageError(f"{folder} is not a key folder: {path} is missing", hint=f"run loadgen keys init {folder}")
    return read_key(path)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise StorageError(f"cannot write {path}: {exc.strerror}", hint="choose another folder") from exc


def _delete_handout(folder: Path, name: str) -> None:
    """Delete the `copy-to` folder of an earlier key of that name."""
    out = handout(folder, name)
    try:
        for path in (out / "controller.pub", out / "agents" / f"{name}.key"):
            path.unlink(missing_ok=True)
        for inner in (out / "agents", out):
            if inner.is_dir():
                inner.rmdir()
    except OSError as exc:
        raise StorageError(f"cannot delete {out}: {exc.strerror}", hint="move it elsewhere") from exc
