"""Builds both images from one tree and writes them as OCI archives with a list, images.json."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tools.images import debian_base
from tools.images.buildah import BuildFailed, Store, inspected

__all__ = ["IMAGES", "ROOT", "Image", "build", "built_from_this_tree", "sources", "write_list"]

ROOT = Path(__file__).resolve().parent.parent.parent
IMAGES = ("agent", "controller")
LIST = "images.json"
_BASE = "base.tar"


@dataclass(frozen=True, slots=True)
class Image:
    """One written image. `archive` is a file name; `entrypoint` is the program that the image starts."""

    name: str
    archive: str
    archive_mb: float
    size_mb: float
    digest: str
    architecture: str
    entrypoint: list[str]


def build(into: Path, show: Callable[[str], object]) -> list[Image]:
    """Build the base and both images, and write the archives and images.json into a folder.

    Args:
        show: receives a line at the start and end of each step.

    Raises:
        BuildFailed: a step failed, or an image would run as root.
    """
    into.mkdir(parents=True, exist_ok=True)
    store = Store(into / "store", into / "build.log")
    store.log.unlink(missing_ok=True)
    (into / LIST).unlink(missing_ok=True)
    shutil.rmtree(store.folder, ignore_errors=True)
    built_from = sources()
    try:
        with _step("base: Debian packages", show):
            debian_base.make_archive(into / _BASE, store.log)
            store.import_base(into / _BASE, debian_base.NAME)
        images = [_image(name, store, into, show) for name in IMAGES]
    finally:
        shutil.rmtree(store.folder, ignore_errors=True)
        (into / _BASE).unlink(missing_ok=True)
    write_list(into, images, built_from)
    return images


def write_list(folder: Path, images: list[Image], built_from: str) -> None:
    """Write images.json: the images, and the hash of the sources that they were built from."""
    listed = {"sources": built_from, "images": [asdict(image) for image in images]}
    (folder / LIST).write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")


def built_from_this_tree(folder: Path) -> list[Image] | None:
    """Return the images in a folder, or None if there are none or a source has changed since they were built."""
    try:
        listed: dict[str, Any] = json.loads((folder / LIST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    images = [Image(**image) for image in listed["images"]]
    fits = listed["sources"] == sources() and all((folder / image.archive).exists() for image in images)
    return images if fits else None


def _image(name: str, store: Store, into: Path, show: Callable[[str], object]) -> Image:
    tag = f"loadgen-{name}"
    archive = into / f"{tag}.oci.tar"
    with _step(f"{name}: building", show):
        store.build(ROOT / f"deploy/docker/{name}.Dockerfile", ROOT, tag)
    with _step(f"{name}: writing {archive.name}", show):
        store.write_archive(tag, archive)
        digest, config = inspected(archive, store.log)
    settings = config["config"]
    if settings.get("User", "0").partition(":")[0] in ("", "0", "root"):
        raise BuildFailed(f"{tag} would run as root. Set USER to a number other than 0 in its Dockerfile.")
    return Image(
        name,
        archive.name,
        round(archive.stat().st_size / 1e6, 1),
        store.size_mb(tag),
        digest,
        config["architecture"],
        settings["Entrypoint"],
    )


def sources() -> str:
    """Return the SHA-256 over the Dockerfiles and all files that they may copy."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    tops = [ROOT / line[1:] for line in lines if line.startswith("!")]
    tops += [ROOT / "deploy/docker", ROOT / "tools/images"]
    files = {file for top in tops for file in ([top] if top.is_file() else top.rglob("*"))}
    found = hashlib.sha256()
    for file in sorted(files):
        if file.is_file() and "__pycache__" not in file.parts:
            found.update(f"{file.relative_to(ROOT)} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


@contextmanager
def _step(title: str, show: Callable[[str], object]) -> Iterator[None]:
    show(f"{title} ...")
    began = time.monotonic()
    yield
    show(f"{title}: {time.monotonic() - began:.0f} s")
