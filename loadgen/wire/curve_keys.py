"""CURVE keys: which keys a controller and its agents use, and for which agents a key is valid.

The controller's folder, which `key_folder_changes.py` makes and changes:

    controller.key   controller.pub      the controller's key pair
    agents/NAME.pub                      the public key of an agent, or of a group of agents
    revoked/NAME.FINGERPRINT.pub         revoked keys, which are refused even if they are also in agents/

The folder of an agent:

    controller.pub                       the public key of its controller
    agents/NAME.key                      its secret key

The controller accepts every key whose public half is in `agents/`. A key is valid only for its own name: for the
agent `NAME`, and for agents whose name begins with `NAME.` (`eu.web-3` with the key `eu`). So one key may serve a
whole group.

Keys are Z85 text, as usual with ZeroMQ. Only their user may read secret files (0600), and no other user may write to
files that decide which keys are valid. Looser permissions are an error and are not repaired, because somebody may
already have used them.
"""

from __future__ import annotations

import base64
import hashlib
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from loadgen.errors import UsageError
from loadgen.secret_files import check_private, write_new

__all__ = [
    "ANY_AGENT",
    "AgentKeys",
    "ControllerKeys",
    "KeyPair",
    "check_agent_id",
    "check_key_name",
    "fingerprint",
    "is_agent_id",
    "load_agent",
    "load_controller",
    "may_speak_for",
    "read_agents",
    "read_key",
    "throw_away",
    "z85",
]

ANY_AGENT = "*"
"""Name of a temporary key that is valid for every agent of one embedded run."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_AGENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

# Z85 and base85 of RFC 1924 differ only in their alphabets.
_RFC1924 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_Z85 = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_TO_Z85, _FROM_Z85 = bytes.maketrans(_RFC1924, _Z85), bytes.maketrans(_Z85, _RFC1924)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A CURVE key pair; both halves are Z85 text of 40 ASCII characters."""

    public: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def new(cls) -> KeyPair:
        """Generate a new random key pair."""
        return cls._of(X25519PrivateKey.generate())

    @classmethod
    def of_secret(cls, secret: bytes) -> KeyPair:
        """Return the key pair that belongs to a secret key, which is Z85 text.

        Raises:
            ValueError: the text is not a key.
        """
        return cls._of(X25519PrivateKey.from_private_bytes(_unz85(secret)))

    @classmethod
    def _of(cls, private: X25519PrivateKey) -> KeyPair:
        return cls(z85(private.public_key().public_bytes_raw()), z85(private.private_bytes_raw()))


@dataclass(frozen=True, slots=True)
class ControllerKeys:
    """The controller's key pair and the keys that it accepts."""

    own: KeyPair
    agents: Mapping[bytes, str]
    """Names by public key (Z85). Other keys are refused at the handshake."""
    folder: Path | None = None
    """The key folder, which the controller rereads for new and revoked keys; None: the keys never change."""


@dataclass(frozen=True, slots=True)
class AgentKeys:
    """An agent's key pair and the public key of its controller."""

    own: KeyPair
    controller: bytes
    """The controller's public key (Z85). The agent connects to no other controller."""
    name: str = ""
    """Name of the key; empty if it was not read from a file."""


def may_speak_for(name: str, agent: str) -> bool:
    """Whether an agent named `agent` may use the key named `name`: its own key, or that of its group.

    The group of agent "eu.host-1" is "eu". A key named `ANY_AGENT` is valid for every agent.
    """
    return name == ANY_AGENT or agent == name or (name != "" and agent.startswith(name + "."))


def is_agent_id(text: str) -> bool:
    """Whether a text is a valid agent name: 1 to 128 letters, digits, `.`, `_` and `-`, with a letter or digit first.

    Such names are safe in file names, terminals and reports.
    """
    return _AGENT_ID.fullmatch(text) is not None


def check_agent_id(agent: str) -> str:
    """Check that the text is a valid agent name, and return it unchanged.

    Raises:
        UsageError: the name is invalid.
    """
    if not is_agent_id(agent):
        raise UsageError(
            f"invalid agent name {agent!r}",
            hint="use at most 128 letters, digits, '.', '_' and '-', with a letter or digit first",
        )
    return agent


def throw_away(into: Path | None = None) -> ControllerKeys:
    """Make temporary keys for one embedded run, with one agent key that is valid for any agent.

    Args:
        into: a private, empty folder to write for the agents' `--keys`; it gets no secret of the controller.
    """
    own, agent = KeyPair.new(), KeyPair.new()
    if into is not None:
        write_new(into / "controller.pub", own.public + b"\n", 0o644)
        write_new(into / "agents" / "embedded.key", agent.secret + b"\n", 0o600)
        write_new(into / "agents" / "embedded.pub", agent.public + b"\n", 0o644)
    return ControllerKeys(own, {agent.public: ANY_AGENT})


def check_key_name(name: str) -> str:
    """Check that the text is a valid name of a key, and return it unchanged.

    Raises:
        UsageError: the name is invalid.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"invalid key name {name!r}",
            hint="use at most 64 letters, digits, '_' and '-', with a letter or digit first",
        )
    return name


def fingerprint(public: bytes) -> str:
    """Return a short text by which people can compare public keys: 16 hexadecimal digits of the key's sha256."""
    return hashlib.sha256(_unz85(public)).hexdigest()[:16]


def load_controller(folder: Path, *, agents_come_later: bool = False) -> ControllerKeys:
    """Read the controller's key pair and the public keys of all agents from a key folder.

    Args:
        agents_come_later: accept a folder without agent keys, because they are added while the controller runs.

    Raises:
        UsageError: a file is missing, writable by others, or not a key; or there is no agent key.
    """
    own = _read_pair(_there(folder / "controller.key", f"run loadgen keys init {folder}"))
    agents, wrong = read_agents(folder)
    if wrong:
        raise wrong[0]
    if not agents and not agents_come_later:
        raise UsageError(f"no agent key in {folder / 'agents'}", hint=f"run loadgen keys agent {folder} NAME")
    return ControllerKeys(own, agents, folder)


def read_agents(folder: Path) -> tuple[Mapping[bytes, str], tuple[UsageError, ...]]:
    """Read the valid agent keys of a key folder.

    Return the agents' names by public key, and the errors of the files that were left out.

    Raises:
        UsageError: the folder cannot be read, or others may write to it.
    """
    agents: dict[bytes, str] = {}
    wrong: list[UsageError] = []
    revoked: set[bytes] = set()
    _only_ours_to_write(folder)
    for path in _public_files(folder / "revoked"):
        try:
            revoked.add(read_key(path))
        except UsageError as error:
            wrong.append(error)
    for path in _public_files(folder / "agents"):
        try:
            public = read_key(path)
            _only_ours_to_write(path)
            if not _NAME.fullmatch(path.stem):
                raise UsageError(
                    f"{path}: the file name is not a valid key name", hint="rename it: use letters, digits, '_' and '-'"
                )
            if public in agents:
                raise UsageError(
                    f"{path} has the same key as {agents[public]}",
                    hint="remove one of the two files, since each key must have one name",
                )
        except UsageError as error:
            wrong.append(error)
            continue
        # Compared by key: after a revocation its name is free for a new key, so the file's name decides nothing.
        if public not in revoked:
            agents[public] = path.stem
    return agents, tuple(wrong)


def load_agent(folder: Path, agent: str | None = None) -> AgentKeys:
    """Read an agent's key pair and its controller's public key from the folder that was copied to its host.

    The key pair is that of `agent` or of its group. If there is none, it is the only one in the folder.

    Raises:
        UsageError: a file is missing, open to others, or not a key; or there are several keys and none for `agent`.
    """
    pinned = _there(folder / "controller.pub", "copy the folder that `loadgen keys agent` makes for this agent")
    _only_ours_to_write(pinned)
    controller = read_key(pinned)
    found = {path.stem: path for path in sorted((folder / "agents").glob("*.key"))}
    # The key may be that of the agent's group, see `may_speak_for`: agent "eu.host-1" uses the key "eu".
    path = found.get((agent or "").split(".")[0])
    if path is None:
        if not found:
            hint = "copy the folder copy-to/NAME that `loadgen keys agent` makes for this agent"
            raise UsageError(f"no agent key in {folder / 'agents'}", hint=hint)
        if len(found) > 1:
            whose = f"none of them is valid for agent {agent!r}" if agent else "--id is missing"
            raise UsageError(
                f"{folder / 'agents'} has several keys ({', '.join(found)}), and {whose}",
                hint=f"choose one, e.g. --id {next(iter(found))}",
            )
        (path,) = found.values()
    return AgentKeys(_read_pair(path), controller, path.stem)


def z85(raw: bytes) -> bytes:
    """Return a raw key of 32 bytes as Z85 text."""
    return base64.b85encode(raw).translate(_TO_Z85)


def _unz85(text: bytes) -> bytes:
    if len(text) != 40 or text.translate(None, _Z85):
        raise ValueError("it must have 40 characters of Z85")
    raw = base64.b85decode(text.translate(_FROM_Z85))
    if len(raw) != 32:
        raise ValueError("it must encode 32 bytes")
    return raw


def _there(path: Path, hint: str) -> Path:
    if not path.is_file():
        raise UsageError(f"{path} is missing", hint=hint)
    return path


def _public_files(folder: Path) -> list[Path]:
    """Return the sorted public key files of a folder; an empty list if the folder does not exist."""
    if not folder.exists():
        return []
    _only_ours_to_write(folder)
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".pub")
    except OSError as exc:
        raise UsageError(f"cannot read {folder}: {exc.strerror}", hint="check the path and its permissions") from exc


def _only_ours_to_write(path: Path) -> None:
    """Check that no other user may write to `path`, because that user could add keys.

    Raises:
        UsageError: others may write to it, or it cannot be read.
    """
    try:
        mode = path.stat().st_mode
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}", hint="check the path and its permissions") from exc
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(
            f"other users may write to {path}, and so decide which keys are valid (mode {stat.S_IMODE(mode):04o})",
            hint=f"check that the files are unchanged, then run chmod go-w {path}",
        )


def _read_pair(path: Path) -> KeyPair:
    """Read the key pair in a secret file. It raises UsageError if other users may read the file."""
    check_private(path)
    return KeyPair.of_secret(read_key(path))


def read_key(path: Path) -> bytes:
    """Return the key in a file, as Z85 text.

    Raises:
        UsageError: the file cannot be read, or does not contain a key.
    """
    try:
        text = path.read_bytes()[:100].strip()
        _unz85(text)
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}", hint="check the path and its permissions") from exc
    except ValueError as exc:
        raise UsageError(f"{path} is not a valid key: {exc}", hint="revoke it, and make a new one") from None
    return text
