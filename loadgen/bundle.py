"""Packs a scenario with all its files into one archive, with reproducible bytes, and unpacks it safely.

A bundle is a plain tar of regular files: sorted by name, no owner, no times, one mode. So
its sha256 identifies its content, and equal scenarios have equal bundles. The agent trusts
nothing in an archive, neither sizes nor names. It writes the files to a new temporary
folder and moves that into place only when all files are good.

A bundle never contains links, files outside the scenario's folder, or files whose name or
content looks like a secret (private keys, cloud keys, tokens of code hosts and chats). A
certificate authority or a client's certificate that a plan names (`Plan(ca=...)`,
`Http(cert=...)`) may be in it if it contains no private key.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from loadgen.errors import BundleError
from loadgen.units import format_count

if TYPE_CHECKING:
    from loadgen.dsl.loading.loader import Scenario

__all__ = ["MAX_BYTES", "MAX_FILES", "Bundle", "is_plain", "pack", "pack_files", "place_in", "unpack", "verify"]

MAX_BYTES = 256 * 1024 * 1024
"""Size limit of the archive and its content: a feed of 10,000,000 rows of 25 bytes. Packing takes twice the memory."""
MAX_FILES = 10_000
_MAX_NAME_BYTES = 1_024
_MODE = 0o644
_SECRET_NAMES = (
    ".env",
    ".env.*",
    "*.env",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.jks",
    "*.keystore",
    "*.kdbx",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
    ".netrc",
    ".pgpass",
    ".git-credentials",
    ".pypirc",
    ".npmrc",
    "credentials",
    "credentials.*",
)
_SECRET_TEXTS = (
    ("a private key", re.compile(rb"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s+[A-Za-z0-9+/]{40}")),
    ("an AWS access key", re.compile(rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    ("a token of a code host", re.compile(rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|glpat-[A-Za-z0-9_-]{20})\b")),
    ("a token of a chat", re.compile(rb"\bxox[abprs]-[0-9A-Za-z-]{20,}")),
)
_HINT_FOR_SECRETS = 'install it on the agents by other means, and use it in the scenario by secret("...")'
_HINT_FOR_UNSAFE = "reject this bundle: it was not packed by loadgen, or was changed on its way"
_SECRET_FOLDERS = (".aws", ".ssh", ".gnupg", ".kube", ".docker", ".azure", ".git")


@dataclass(frozen=True, slots=True)
class Bundle:
    """data: the tar. files: the names in it, sorted. scenario: the name of the scenario file in it."""

    data: bytes
    sha256: str
    files: tuple[str, ...]
    scenario: str

    def __repr__(self) -> str:
        size = f"{len(self.files)} files, {format_count(len(self.data))} bytes"
        return f"<Bundle of {self.scenario}, {size}, {self.sha256[:12]}>"


# -- packing --------------------------------------------------------------------------------------


def pack(scenario: Scenario) -> Bundle:
    """Pack a scenario file and all files that it uses into a bundle for agents, and return the bundle.

    Raises:
        BundleError: a file that must not be in a bundle, too many files, or too many bytes.
    """
    certificates = {path for plan in scenario.plans.values() for path in plan.certificates}
    return pack_files(scenario.path, scenario.files, certificates=certificates, replaced=scenario.replaced)


def pack_files(
    scenario: Path,
    files: Iterable[Path],
    *,
    certificates: Iterable[Path] = (),
    replaced: Mapping[Path, bytes] | None = None,
) -> Bundle:
    """Pack the scenario file and `files` of the same folder into a bundle, and return it.

    certificates: files that may be packed although their names look like those of secrets. replaced: other contents for
    some of the files.
    """
    root = scenario.parent
    contents = {_inside(root, path): content for path, content in (replaced or {}).items()}
    allowed = {_inside(root, path) for path in certificates}
    by_name = {_inside(root, path): path for path in (scenario, *files)}
    if len(by_name) > MAX_FILES:
        raise BundleError(
            f"the bundle has {format_count(len(by_name))} files; the limit is {format_count(MAX_FILES)}",
            hint="remove files from the scenario's folder, or move the scenario to a folder of its own",
        )
    archive = BytesIO()
    size = 0
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, path in sorted(by_name.items()):
            content = _content(root, name, path, is_certificate=name in allowed, most=MAX_BYTES - size)
            content = contents.get(name, content)
            size += len(content)
            entry = tarfile.TarInfo(name)  # all other fields are 0 or empty by default
            entry.size, entry.mode = len(content), _MODE
            tar.addfile(entry, BytesIO(content))
    data = archive.getvalue()
    if len(data) > MAX_BYTES:
        raise _too_large(len(data))
    return Bundle(data, hashlib.sha256(data).hexdigest(), tuple(sorted(by_name)), _inside(root, scenario))


def _inside(root: Path, path: Path) -> str:
    """Return the name of a file in the bundle: its path relative to the scenario's folder. Raise if it is not
    inside.
    """
    # Links are not resolved here, so that `_refuse_links` finds and names them.
    absolute = Path(os.path.normpath(root.absolute() / path))
    try:
        return absolute.relative_to(os.path.normpath(root.absolute())).as_posix()
    except ValueError:
        raise BundleError(
            f"{path} is not in the scenario's folder", hint=f"move it into {root} or a folder below"
        ) from None


def _content(root: Path, name: str, path: Path, *, is_certificate: bool, most: int) -> bytes:
    """Return the bytes of a file, or raise if it must not be in a bundle. most: the size limit in bytes."""
    if not is_plain(name):
        raise BundleError(f"the file name {name!a} cannot be in a bundle", hint="rename the file")
    if not is_certificate and (why := _is_secret(name)):
        raise BundleError(f"{name} may contain secrets ({why}), so it is not sent to agents", hint=_HINT_FOR_SECRETS)
    _refuse_links(root, name)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BundleError(f"{name} is not a regular file", hint="replace it by a regular file")
        if status.st_size > most:
            raise _too_large(MAX_BYTES - most + status.st_size)
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{name} cannot be read: {error.strerror or error}", hint="check the file's permissions"
        ) from error
    if len(content) > most:  # the file grew after stat()
        raise _too_large(MAX_BYTES - most + len(content))
    if not is_certificate and (what := next((what for what, form in _SECRET_TEXTS if form.search(content)), "")):
        raise BundleError(f"{name} contains {what}, so it is not sent to agents", hint=_HINT_FOR_SECRETS)
    if is_certificate and b"PRIVATE KEY" in content:
        raise BundleError(
            f"{name} contains a private key, so it is not sent to agents",
            hint="keep only certificates in it, and pass the key by secret()",
        )
    return content


def _refuse_links(root: Path, name: str) -> None:
    place = root
    for part in PurePosixPath(name).parts:
        place = place / part
        if place.is_symlink():
            raise BundleError(
                f"{place.relative_to(root)} is a symbolic link, which cannot be in a bundle",
                hint="put the file itself into the scenario's folder",
            )


def _is_secret(name: str) -> str:
    """Return the pattern that marks a file name as that of a secret, such as "*.pem"; "" if no pattern matches."""
    *folders, last = PurePosixPath(name.lower()).parts
    for folder in folders:
        if folder in _SECRET_FOLDERS:
            return folder + "/"
    return next((pattern for pattern in _SECRET_NAMES if fnmatch(last, pattern)), "")


def _too_large(size: int) -> BundleError:
    return BundleError(
        f"the bundle has {format_count(size)} bytes or more; the limit is {format_count(MAX_BYTES)}",
        hint="keep large data out of the scenario's folder, or use fewer rows",
    )


# -- unpacking ------------------------------------------------------------------------------------


def verify(data: bytes, sha256: str) -> None:
    """Raise if the bytes of a bundle are too many, or if their hash is not `sha256` (hex).

    Raises:
        BundleError: see above.
    """
    if len(data) > MAX_BYTES:
        raise _too_large(len(data))
    found = hashlib.sha256(data).hexdigest()
    if found != sha256.lower():
        raise BundleError(
            f"the bundle's sha256 is {found[:12]}…, expected {sha256[:12]}…",
            hint="the archive is damaged: start the run again",
        )


def unpack(data: bytes, sha256: str, into: Path) -> tuple[Path, ...]:
    """Verify a bundle and write its files to the folder `into`, completely or not at all, and return their paths.

    An existing `into` is replaced.

    Returns:
        The files.
    Raises:
        BundleError: the archive does not verify, exceeds the limits, or contains anything except regular files with
            plain relative names, each once; or the folder cannot be written.
    """
    verify(data, sha256)
    try:
        into.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{into.name}-", dir=into.parent))
    except OSError as error:
        raise BundleError(
            f"{into} cannot be written: {error.strerror or error}",
            hint="check that the folder is writable and the disk has space",
        ) from error
    try:
        names = [_write(staging, name, content) for name, content in _members(data)]
        if into.exists():
            shutil.rmtree(into)
        staging.rename(into)
    except OSError as error:
        raise BundleError(
            f"{into} cannot be written: {error.strerror or error}",
            hint="check that the folder is writable and the disk has space",
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return tuple(into / name for name in names)


def _write(folder: Path, name: PurePosixPath, content: bytes) -> PurePosixPath:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:  # x: never write through an existing file or link
        file.write(content)
    return name


def _members(data: bytes) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Yield (name, content) of every file in the bytes of a bundle. Raise at the first unsafe entry.

    Compressed archives are not opened, so no file can be larger than the archive itself.
    """
    seen: set[PurePosixPath] = set()
    size = 0
    try:
        with tarfile.open(fileobj=BytesIO(data), mode="r:") as tar:
            while (entry := tar.next()) is not None:
                name = _safe_name(entry)
                if name in seen:
                    raise BundleError(
                        f"unsafe bundle: {name} is in it twice",
                        hint=_HINT_FOR_UNSAFE,
                    )
                seen.add(name)
                size += entry.size
                if len(seen) > MAX_FILES:
                    raise BundleError(
                        f"unsafe bundle: more than {format_count(MAX_FILES)} files",
                        hint=_HINT_FOR_UNSAFE,
                    )
                if size > MAX_BYTES or not 0 <= entry.size <= len(data):
                    raise BundleError(
                        f"unsafe bundle: {name} claims to have {format_count(entry.size)} bytes",
                        hint=_HINT_FOR_UNSAFE,
                    )
                file = tar.extractfile(entry)
                content = b"" if file is None else file.read()
                if len(content) != entry.size:
                    raise BundleError(
                        f"unsafe bundle: {name} is truncated",
                        hint=_HINT_FOR_UNSAFE,
                    )
                yield name, content
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError) as error:
        raise BundleError(
            f"unsafe bundle: not an archive of loadgen: {error}",
            hint=_HINT_FOR_UNSAFE,
        ) from error


def _safe_name(entry: tarfile.TarInfo) -> PurePosixPath:
    """Return the name of an archive's entry. Raise BundleError unless the entry is a regular file with a plain relative
    name.
    """
    shown = ascii(entry.name[:100])
    if not entry.isreg() or entry.issparse():
        kind = "a link" if entry.issym() or entry.islnk() else "a folder" if entry.isdir() else "not a regular file"
        raise BundleError(
            f"unsafe bundle: {shown} is {kind}",
            hint=_HINT_FOR_UNSAFE,
        )
    if not is_plain(entry.name):
        raise BundleError(
            f"unsafe bundle: the name {shown} is not a plain relative path",
            hint=_HINT_FOR_UNSAFE,
        )
    return PurePosixPath(entry.name)


def place_in(folder: Path, name: str) -> Path:
    """Return the path of a regular file in the folder of an unpacked bundle, given its name.

    Raises:
        BundleError: the name is not a plain relative path, there is no such file, or links lead out of the folder.
    """
    shown = ascii(name[:100])
    if not is_plain(name):
        raise BundleError(
            f"the scenario's path {shown} is invalid: it must be a plain relative path within the bundle",
            hint="give the path of a file in the scenario's folder",
        )
    path = folder / name
    try:
        is_inside = path.resolve(strict=True).is_relative_to(folder.resolve(strict=True))
    except (OSError, RuntimeError):  # RuntimeError: a loop of links
        raise BundleError(
            f"the scenario {shown} is not in the bundle", hint="give the path of a file in the scenario's folder"
        ) from None
    if not is_inside or not path.is_file():
        raise BundleError(
            f"the scenario {shown} is not a file within the bundle",
            hint="give the path of a file in the scenario's folder",
        )
    return path


def is_plain(name: str) -> bool:
    """Return True if `name` is a usual relative path: no `..`, no doubled or trailing slash, no backslash, all
    characters printable.
    """
    path = PurePosixPath(name)
    return (
        bool(path.parts)
        and not path.is_absolute()
        and ".." not in path.parts
        and "\\" not in name
        and str(path) == name
        and name.isprintable()
        and len(name.encode("utf-8", "surrogatepass")) <= _MAX_NAME_BYTES
    )
