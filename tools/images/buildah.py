"""Runs buildah with a store of its own: builds images, writes archives, starts programs of images.

Containers are started with `buildah run --isolation chroot` because `podman run` does not work on machines with hybrid
cgroups. Such a container has its own files and its own user, but the network and the processes of the machine:
docs/decisions/083-images-buildah-chroot-debian-base.md.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["CREATED", "BuildFailed", "Store", "inspected", "logged", "missing_packages"]

CREATED = 315532800
"""The creation time of all images and their files, in seconds: 1980-01-01, the first day that a wheel can have."""

_HELPERS = "/usr/lib/podman:/usr/libexec/podman"
"""Folders in which buildah finds netavark, beside the PATH."""

_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


class BuildFailed(Exception):
    """A program ended with an error; the message has the end of its output."""


def missing_packages() -> list[str]:
    """Return the Debian packages that must be installed; each has the name of its program."""
    path = f"{os.environ.get('PATH', '')}:{_HELPERS}"
    return [name for name in ("buildah", "mmdebstrap", "netavark", "skopeo") if shutil.which(name, path=path) is None]


def logged(command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> str:
    """Run a command, append its standard error to `log`, and return its standard output.

    Raises:
        BuildFailed: the command ended with an error.
    """
    with log.open("a+", encoding="utf-8") as lines:
        lines.write(f"$ {' '.join(command)}\n")
        lines.flush()
        began = lines.tell()
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=lines, text=True, env={**os.environ, **(environment or {})}
        )
        lines.seek(began)
        last = "".join(lines.readlines()[-15:])
        lines.write(done.stdout)
    if done.returncode:
        raise BuildFailed(
            f"{command[0]} ended with exit code {done.returncode}; all of its output is in {log}:\n{last}"
        )
    return done.stdout


@dataclass(frozen=True, slots=True)
class Store:
    """A folder with images and containers. Delete the folder to remove all of them."""

    folder: Path
    log: Path

    @property
    def _buildah(self) -> list[str]:
        return [
            "buildah",
            f"--root={self.folder}/images",
            f"--runroot={self.folder}/run",
            "--storage-driver=vfs",  # the only driver that needs no mounts: it copies all files of an image
        ]

    def _run(self, *words: str) -> str:
        return logged([*self._buildah, *words], self.log).strip()

    def import_base(self, archive: Path, name: str) -> None:
        """Make an image with this name from an archive of a root file system."""
        container = self._run("from", "scratch")
        self._run("add", container, str(archive), "/")
        self._run("commit", f"--timestamp={CREATED}", container, name)
        self._run("rm", container)

    def build(self, dockerfile: Path, context: Path, name: str) -> None:
        """Build a Dockerfile. Base images are never fetched: `import_base` provides them."""
        certificates = [f"--volume={_CERTIFICATES}:{_CERTIFICATES}:ro"] if _CERTIFICATES.exists() else []
        self._run(
            "build",
            "--isolation=chroot",
            "--pull=never",
            "--no-cache",
            f"--timestamp={CREATED}",
            *_limits(),
            *certificates,  # pip must accept the same certificates as this machine, for example those of a proxy
            f"--file={dockerfile}",
            f"--tag={name}",
            str(context),
        )

    def size_mb(self, name: str) -> float:
        """Return the size of all files of an image, in MB (10^6 bytes)."""
        (image,) = json.loads(self._run("images", "--json", name))
        number, unit = str(image["size"]).split()
        return float(number) * {"KB": 1e-3, "MB": 1.0, "GB": 1e3}[unit]

    def write_archive(self, name: str, archive: Path) -> None:
        """Write an image as an OCI archive with compressed layers."""
        archive.unlink(missing_ok=True)  # buildah would add to it
        self._run("push", name, f"oci-archive:{archive}")

    def container(self, archive: Path) -> str:
        """Make a container from an OCI archive and return its name. It has files of its own; no program runs yet."""
        image = self._run("pull", f"oci-archive:{archive}")
        return self._run("from", "--pull=never", *_limits(), image)

    def started_in(self, container: str, volumes: Mapping[Path, str], command: Sequence[str]) -> list[str]:
        """Return the command line that starts a program in a container, as the user of its image.

        Args:
            volumes: folders of this machine by path, and where the container has them.
            command: the program with its arguments; buildah does not use the entry point of the image.
        """
        mounts = [f"--volume={source}:{target}" for source, target in volumes.items()]
        return [*self._buildah, "run", "--isolation=chroot", *mounts, container, "--", *command]


def _limits() -> list[str]:
    """Return options with the limits of this process. Without them buildah asks for more than some machines allow."""
    kinds = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
    most = {name: resource.getrlimit(kind)[1] for name, kind in kinds.items()}
    return [f"--ulimit={name}={n}:{n}" for name, n in most.items() if n != resource.RLIM_INFINITY]


def inspected(archive: Path, log: Path) -> tuple[str, dict[str, Any]]:
    """Return the digest of an OCI archive and its configuration, as skopeo reads them."""
    source = f"oci-archive:{archive}"
    config: dict[str, Any] = json.loads(logged(["skopeo", "inspect", "--config", source], log))
    return logged(["skopeo", "inspect", "--format", "{{.Digest}}", source], log).strip(), config
