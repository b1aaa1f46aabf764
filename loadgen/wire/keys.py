"""CURVE keys: who may listen, who may speak, and for which agents.

The controller's folder, which `keyfolder.py` makes and changes:

    controller.key   controller.pub      one pair
    agents/NAME.pub                      the public key of an agent, or of a group of agents
    revoked/NAME.FINGERPRINT.pub         keys that are never let in again, wherever else they lie

The folder of an agent:

    controller.pub                       the one controller that it talks to
    agents/NAME.key                      its secret key

The controller takes in whoever holds a key whose public half lies in `agents/`,
and a key speaks only for its own name: the agent `NAME`, or `NAME.` and more
(`eu.web-3` with the key `eu`), so that one key may serve a whole group.

Keys are Z85 text as everywhere with ZeroMQ. Secret files belong to their user
alone (0600), and what says who may come in is written by nobody else; anything
looser is refused, not repaired: it may have been used.
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
"""The name of a throw-away key: it serves every agent of one embedded run."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_AGENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

# Z85 and base85 of RFC 1924 differ only in their alphabets.
_RFC1924 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_Z85 = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_TO_Z85, _FROM_Z85 = bytes.maketrans(_RFC1924, _Z85), bytes.maketrans(_Z85, _RFC1924)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Both halves as Z85, 40 ASCII characters each."""

    public: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def new(cls) -> KeyPair:
        return cls._of(X25519PrivateKey.generate())

    @classmethod
    def of_secret(cls, secret: bytes) -> KeyPair:
        return cls._of(X25519PrivateKey.from_private_bytes(_unz85(secret)))

    @classmethod
    def _of(cls, private: X25519PrivateKey) -> KeyPair:
        return cls(z85(private.public_key().public_bytes_raw()), z85(private.private_bytes_raw()))


@dataclass(frozen=True, slots=True)
class ControllerKeys:
    """What the controller listens with."""

    own: KeyPair
    agents: Mapping[bytes, str]
    """Name by public key (Z85); everyone else is refused at the handshake."""
    folder: Path | None = None
    """Where they were read, and where others may come or be revoked; None: they stay as they are."""


@dataclass(frozen=True, slots=True)
class AgentKeys:
    """What an agent speaks with."""

    own: KeyPair
    controller: bytes
    """The controller's public key (Z85): the agent talks to no one else."""
    name: str = ""
    """Of the key; empty where it was not read from a file."""


def may_speak_for(name: str, agent: str) -> bool:
    """Whether the key `name` may speak for `agent`."""
    return name == ANY_AGENT or agent == name or (name != "" and agent.startswith(name + "."))


def is_agent_id(text: str) -> bool:
    """Letters, digits, `.`, `_` and `-`, at most 128: safe in file names, terminals and reports."""
    return _AGENT_ID.fullmatch(text) is not None


def check_agent_id(agent: str) -> str:
    if not is_agent_id(agent):
        raise UsageError(
            f"{agent!r} is no name for an agent", hint="use letters, digits, '.', '_' and '-', at most 128 of them"
        )
    return agent


def throw_away(into: Path | None = None) -> ControllerKeys:
    """Fresh keys for one embedded run: one agent key that may speak for any agent.

    Args:
        into: a private, empty folder, for the agent processes' `--keys`; holds no controller secret.
    """
    own, agent = KeyPair.new(), KeyPair.new()
    if into is not None:
        write_new(into / "controller.pub", own.public + b"\n", 0o644)
        write_new(into / "agents" / "embedded.key", agent.secret + b"\n", 0o600)
        write_new(into / "agents" / "embedded.pub", agent.public + b"\n", 0o644)
    return ControllerKeys(own, {agent.public: ANY_AGENT})


def check_key_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name for a key", hint="use letters, digits, '_' and '-', at most 64 of them")
    return name


def fingerprint(public: bytes) -> str:
    """16 hexadecimal digits that a person can compare: of the sha256 of the raw key."""
    return hashlib.sha256(_unz85(public)).hexdigest()[:16]


def load_controller(folder: Path, *, agents_come_later: bool = False) -> ControllerKeys:
    """The controller's pair, and the public keys of all agents.

    Args:
        agents_come_later: keys are put there while the controller runs, so none need be there yet.

    Raises:
        UsageError: a file that is missing, open to others, or no key; or no agent at all.
    """
    own = _read_pair(_there(folder / "controller.key", f"loadgen keys init {folder}"))
    agents, wrong = read_agents(folder)
    if wrong:
        raise wrong[0]
    if not agents and not agents_come_later:
        raise UsageError(f"no agent key in {folder / 'agents'}", hint=f"loadgen keys agent {folder} NAME")
    return ControllerKeys(own, agents, folder)


def read_agents(folder: Path) -> tuple[Mapping[bytes, str], tuple[UsageError, ...]]:
    """Whose keys may come in: name by public key; and what is wrong with the files that let in nobody.

    Raises:
        UsageError: the folder itself cannot be read, or others may write in it.
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
                raise UsageError(f"{path} has no name for a key", hint="rename it: letters, digits, '_' and '-'")
            if public in agents:
                raise UsageError(f"{path} is the same key as that of {agents[public]}", hint="one key, one name")
        except UsageError as error:
            wrong.append(error)
            continue
        if public not in revoked:
            agents[public] = path.stem
    return agents, tuple(wrong)


def load_agent(folder: Path, agent: str | None = None) -> AgentKeys:
    """The key of `agent`: its own, its group's, or the only one there is.

    Raises:
        UsageError: a file that is missing, open to others, or no key; or several keys and none for `agent`.
    """
    pinned = _there(folder / "controller.pub", "copy what `loadgen keys agent` makes for this agent")
    _only_ours_to_write(pinned)
    controller = read_key(pinned)
    found = {path.stem: path for path in sorted((folder / "agents").glob("*.key"))}
    path = found.get((agent or "").split(".")[0])
    if path is None:
        if not found:
            hint = "copy here what `loadgen keys agent` makes for this agent, in copy-to/NAME"
            raise UsageError(f"no agent key in {folder / 'agents'}", hint=hint)
        if len(found) > 1:
            whose = f"for agent {agent!r}" if agent else "unless you say --id"
            raise UsageError(f"which key {whose}? There are {', '.join(found)}", hint=f"--id {next(iter(found))}")
        (path,) = found.values()
    return AgentKeys(_read_pair(path), controller, path.stem)


def z85(raw: bytes) -> bytes:
    """A raw key as text."""
    return base64.b85encode(raw).translate(_TO_Z85)


def _unz85(text: bytes) -> bytes:
    if len(text) != 40 or text.translate(None, _Z85):
        raise ValueError("no Z85 key of 40 characters")
    raw = base64.b85decode(text.translate(_FROM_Z85))
    if len(raw) != 32:
        raise ValueError("no key of 32 bytes")
    return raw


def _there(path: Path, hint: str) -> Path:
    if not path.is_file():
        raise UsageError(f"{path} is not there", hint=hint)
    return path


def _public_files(folder: Path) -> list[Path]:
    """Sorted; none where the folder is not there."""
    if not folder.exists():
        return []
    _only_ours_to_write(folder)
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".pub")
    except OSError as exc:
        raise UsageError(f"cannot read {folder}: {exc.strerror}") from exc


def _only_ours_to_write(path: Path) -> None:
    """Who may write here may let anybody in."""
    try:
        mode = path.stat().st_mode
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}") from exc
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UsageError(
            f"others may write {path}, and so decide whose keys are good (mode {stat.S_IMODE(mode):04o})",
            hint=f"look whether it is as you left it, then chmod go-w {path}",
        )


def _read_pair(path: Path) -> KeyPair:
    """The pair of a secret file that only its user can read."""
    check_private(path)
    return KeyPair.of_secret(read_key(path))


def read_key(path: Path) -> bytes:
    """The key in a file, as Z85.

    Raises:
        UsageError: it cannot be read, or holds none.
    """
    try:
        text = path.read_bytes()[:100].strip()
        _unz85(text)
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise UsageError(f"{path} is no key: {exc}", hint="revoke it, and make a new one") from None
    return text
