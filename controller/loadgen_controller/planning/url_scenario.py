"""Writes a scenario file for one URL, for `loadgen run URL`, so that such a run is like any other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from loadgen.errors import UsageError
from loadgen.hostport import of_url

__all__ = ["hint_of_url", "is_url", "url_parts", "write_scenario"]

_HOST_AND_PORT: Final = re.compile(r"[\w.-]+:\d+(?:/|$)", re.ASCII)
_HOST: Final = re.compile(r"(localhost|\d+(\.\d+){3})(?:/|$)", re.ASCII)
_SOURCE = '''"""GET {url}"""

from loadgen import Plan, User, arrivals, journey, users


@journey
async def get(user: User) -> None:
    await user.http.get({path!r})


plan = Plan(target={target!r}, load={load}, mix=get)
'''


def is_url(text: str) -> bool:
    """Return whether a command-line argument is a URL rather than a file. `write_scenario` checks it."""
    return "://" in text


def hint_of_url(text: str) -> str:
    """Return a hint with the whole URL if a command-line argument is one without http://; "" for another argument."""
    return f"for a URL, write http://{text}" if _HOST_AND_PORT.match(text) or _HOST.match(text) else ""


def url_parts(url: str) -> SplitResult:
    """Return the parts of a URL that a written scenario may contain.

    Raises:
        UsageError: the URL is invalid, or contains credentials, which would be stored with the results.
    """
    try:
        parts = urlsplit(url)
        host = of_url(parts).host if parts.netloc else ""
    except ValueError as error:
        raise UsageError(f"invalid URL {url}: {error}", hint="write http://127.0.0.1:8080/") from None
    if parts.scheme not in ("http", "https"):
        hint = f"write http://{url}" if _HOST_AND_PORT.match(url) else "write http://127.0.0.1:8080/"
        raise UsageError(f"unsupported URL {url}: must begin with http:// or https://", hint=hint)
    if not host:
        raise UsageError(f"invalid URL {url}: the host is missing", hint="write http://127.0.0.1:8080/")
    if parts.username is not None or parts.password is not None:
        raise UsageError(
            "the URL contains credentials, which would be stored with the results",
            hint="write a scenario that reads them from the environment",
        )
    return parts


def write_scenario(url: str, folder: Path, *, has_users: bool) -> Path:
    """Write a scenario into `folder` with one journey that requests `url`, and return its path.

    Its load is 1/s for 30 s, or one user with `has_users`; options of the command change it.

    Raises:
        UsageError: the URL is invalid, or contains credentials, which would be stored with the results.
    """
    parts = url_parts(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    target = f"{parts.scheme}://{parts.netloc}"
    load = 'users(1).hold("30s")' if has_users else 'arrivals("1/s").hold("30s")'
    file = folder / "url.py"
    shown = f"{target}{parts.path or '/'}".replace("\\", "").replace('"', "")
    source = _SOURCE.format(url=shown, path=path, target=target, load=load)
    file.write_text(source, encoding="utf-8")
    return file
