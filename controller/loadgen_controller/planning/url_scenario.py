"""A scenario for one URL: what `loadgen run URL` runs. Written as a file, so that such a run is like any other."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from loadgen.errors import UsageError
from loadgen.hostport import of_url

__all__ = ["is_url", "write_scenario"]

_SOURCE = '''"""GET {url}"""

from loadgen import Plan, User, arrivals, journey, users


@journey
async def get(user: User) -> None:
    await user.http.get({path!r})


plan = Plan(target={target!r}, load={load}, mix=get)
'''


def is_url(text: str) -> bool:
    """Whether it is meant as one: `write_scenario` says which it takes."""
    return "://" in text


def write_scenario(url: str, folder: Path, *, has_users: bool) -> Path:
    """A file in `folder` with one journey that gets `url`, and a load of 1/s, or of one user, for 30 s.

    Raises:
        UsageError: no URL, or one with credentials, which would be kept with the results.
    """
    try:
        parts = urlsplit(url)
        host = of_url(parts).host if parts.netloc else ""
    except ValueError as error:
        raise UsageError(f"{url} is no URL: {error}", hint="write http://127.0.0.1:8080/") from None
    if parts.scheme not in ("http", "https"):
        raise UsageError(f"{url} is no URL of http or https", hint="write http://127.0.0.1:8080/")
    if not host:
        raise UsageError(f"{url} is no URL: no host", hint="write http://127.0.0.1:8080/")
    if parts.username is not None or parts.password is not None:
        raise UsageError("the URL holds credentials, which would be kept with the results", hint="write a scenario")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    target = f"{parts.scheme}://{parts.netloc}"
    load = 'users(1).hold("30s")' if has_users else 'arrivals("1/s").hold("30s")'
    file = folder / "url.py"
    shown = f"{target}{parts.path or '/'}".replace("\\", "").replace('"', "")
    source = _SOURCE.format(url=shown, path=path, target=target, load=load)
    file.write_text(source, encoding="utf-8")
    return file
