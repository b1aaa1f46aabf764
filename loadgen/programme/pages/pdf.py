"""Prints a page as PDF by a headless Chromium, if this machine has one.

Chromium gets a copy of the page, an empty profile, no host name that resolves, and none of our environment variables,
which may have secrets. All its processes end with the call.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Final

from loadgen.atomic_files import atomic_write
from loadgen.find_chromium import INSTALL_CHROMIUM, find_chromium, why_none
from loadgen.measure.run_folder.rundir import storage_error
from loadgen.outside_text import one_line
from loadgen.secret_files import UMASK_ONLY

__all__ = ["print_pdf"]

_LIMIT_S: Final = 60.0
"""A page takes 1 to 3 s on two busy cores."""
_MOST_BYTES: Final = 50_000_000
_KEPT: Final = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "FONTCONFIG_FILE", "FONTCONFIG_PATH")
_LONGEST_FOLDER: Final = 40
"""Chromium puts a socket into a folder of its own below TMPDIR, and aborts if the path has more than 107 bytes."""
_BY_HAND: Final = "Open the page in a browser and print it there: A4, landscape"
_OPTIONS: Final = (
    "--headless",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--no-pdf-header-footer",
)


def print_pdf(html: bytes, to: Path, *, limit_s: float = _LIMIT_S) -> str:
    """Write a page as PDF to the file `to`, completely or not at all.

    Returns:
        "" if the file was written. If Chromium printed nothing, a sentence with the reason and with what to do instead.
    Raises:
        StorageError: Chromium printed the page, and `to` cannot be written.
    Cost: 1 to 3 s, and some 200 MB of memory while Chromium runs.
    """
    chromium = find_chromium()
    if not chromium:
        return f"No PDF: {why_none()}. {INSTALL_CHROMIUM}. {_BY_HAND}."
    try:
        short = None if len(os.fsencode(gettempdir())) <= _LONGEST_FOLDER else "/tmp"  # noqa: S108  # mkdtemp is safe there
        with TemporaryDirectory(prefix="loadgen-pdf-", dir=short, ignore_cleanup_errors=True) as folder:
            data, why = _printed(chromium, html, Path(folder), limit_s)
    except OSError as error:
        where = f" ({one_line(str(error.filename), 200)})" if error.filename else ""
        why = f"Chromium could not be started in a temporary folder: {error.strerror or error}{where}"
    if why:
        return f"No PDF: {why}. {_BY_HAND}."
    try:
        atomic_write(to, data, UMASK_ONLY)
    except OSError as error:
        raise storage_error(to, error, elsewhere="name another file with --pdf") from error
    return ""


def _printed(chromium: str, html: bytes, folder: Path, limit_s: float) -> tuple[bytes, str]:
    """Return the PDF, or b"" and the reason."""
    page, pdf, log = folder / "page.html", folder / "page.pdf", folder / "log.txt"
    page.write_bytes(html)
    options = [*_OPTIONS, f"--user-data-dir={folder / 'profile'}", f"--print-to-pdf={pdf}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--no-sandbox")  # Chromium refuses to start as root with its sandbox.
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | {
        "HOME": str(folder),
        "TMPDIR": str(folder),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [chromium, *options, page.as_uri()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            return b"", f"Chromium did not finish within {limit_s:g} s"
        finally:
            # Its helper processes, also those that outlive it, are in the group.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if code != 0:
        return b"", f"Chromium ended with code {code}: {_last_line(log)}"
    if not pdf.is_file() or not 0 < pdf.stat().st_size <= _MOST_BYTES:
        return b"", f"Chromium wrote no PDF: {_last_line(log)}"
    data = pdf.read_bytes()
    if not data.startswith(b"%PDF-") or b"%%EOF" not in data[-1024:]:
        return b"", "Chromium wrote a file that is not a complete PDF"
    return data, ""


def _last_line(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").strip().splitlines()
    fatal = [line for line in lines if "FATAL" in line]
    return one_line((fatal or lines)[-1], 200) if lines else "it wrote no message"
