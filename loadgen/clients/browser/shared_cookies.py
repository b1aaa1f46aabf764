"""Cookies of a user in both of its clients: those of `user.http` for a browser, and those of a browser for `user.http`.

`http.cookiejar` appends ".local" to the domain of a host without a dot, such as "localhost"; browsers do not. A cookie
of the scenario without a domain (`user.http.cookies.set("a", "1")`) is for all targets of the plan.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http.cookiejar import Cookie, CookieJar
from typing import Any, Final

__all__ = ["for_browser", "store"]

_LOCAL: Final = ".local"
_SAME_SITE: Final = {"lax": "Lax", "strict": "Strict", "none": "None"}
_Key = tuple[str, str, str]


def for_browser(jar: CookieJar, hosts: Iterable[str]) -> list[dict[str, Any]]:
    """Return the cookies of a jar as a browser context takes them (`add_cookies`).

    hosts: of the plan's targets, for cookies without a domain.
    """
    hosts = tuple(hosts)
    return [
        _as_dict(cookie, domain)
        for cookie in jar
        for domain in ([_domain(cookie)] if cookie.domain else hosts)
        if cookie.value is not None
    ]


def store(jar: CookieJar, given: Iterable[Mapping[str, Any]], found: Iterable[Mapping[str, Any]]) -> None:
    """Make a jar have the cookies of a browser.

    given: what the browser began with: those that it no longer has were deleted by a page. found: its cookies now.
    """
    before = {_key(one): one for one in given}
    for one in found:
        had = before.pop(_key(one), None)
        if had is None or had["value"] != one["value"]:
            jar.set_cookie(_as_cookie(one))
    for domain, path, name in before:
        for cookie in tuple(jar):
            if (cookie.name, cookie.path) == (name, path) and _domain(cookie) == domain:
                jar.clear(cookie.domain, cookie.path, cookie.name)


def _key(one: Mapping[str, Any]) -> _Key:
    return one["domain"], one["path"], one["name"]


def _domain(cookie: Cookie) -> str:
    """Return the domain as browsers write it: with a dot in front if the cookie is for subdomains, too."""
    domain = cookie.domain.removeprefix(".")
    if domain.endswith(_LOCAL) and "." not in domain.removesuffix(_LOCAL):
        domain = domain.removesuffix(_LOCAL)
    return f".{domain}" if cookie.domain.startswith(".") else domain


def _as_dict(cookie: Cookie, domain: str) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": cookie.name,
        "value": cookie.value,
        "domain": domain,
        "path": cookie.path,
        "secure": cookie.secure,
        "httpOnly": cookie.has_nonstandard_attr("HttpOnly"),
    }
    if cookie.expires is not None:
        made["expires"] = float(cookie.expires)
    same_site = _SAME_SITE.get(str(cookie.get_nonstandard_attr("SameSite", "")).lower())
    return made | ({"sameSite": same_site} if same_site else {})


def _as_cookie(one: Mapping[str, Any]) -> Cookie:
    domain: str = one["domain"]
    is_for_subdomains = domain.startswith(".")
    if "." not in domain and ":" not in domain:
        domain += _LOCAL
    expires = one.get("expires", -1)
    rest: dict[str, str] = {"HttpOnly": ""} if one.get("httpOnly") else {}
    return Cookie(
        version=0,
        name=one["name"],
        value=one["value"],
        port=None,
        port_specified=False,
        domain=domain,
        domain_specified=is_for_subdomains,
        domain_initial_dot=is_for_subdomains,
        path=one["path"],
        path_specified=True,
        secure=bool(one.get("secure")),
        expires=None if expires < 0 else int(expires),
        discard=expires < 0,
        comment=None,
        comment_url=None,
        rest=rest | ({"SameSite": one["sameSite"]} if one.get("sameSite") else {}),
    )
