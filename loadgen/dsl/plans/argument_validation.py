"""Read and check the arguments of plans and loads.

Nothing here raises. Each function returns the valid values and reports each invalid
one as a `Wrong`; the caller adds the line of the scenario that the argument is on.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from loadgen.clients.browser.ignored_settings import ignored_settings
from loadgen.clients.libraries.connects_in_c import LIBRARIES
from loadgen.clients.llm.settings import Llm
from loadgen.clients.net.proxy_requests import Excepted
from loadgen.clients.net.settings import Http
from loadgen.clients.pool.connection_policy import Connections
from loadgen.clients.request.tracing import Trace
from loadgen.dsl.source_location import Origin
from loadgen.hostport import HostPort, of_url
from loadgen.measure.deltas.limits import NAME_BYTES
from loadgen.similar_names import did_you_mean
from loadgen.target_url import GRPC_SCHEMES, LINK_SCHEMES, PORTS, TargetUrl, is_http
from loadgen.units import NS_PER_S, parse_duration

__all__ = [
    "Wrong",
    "browsers_wrong",
    "by_name",
    "client_wrong",
    "http3_wrong",
    "is_url",
    "links_wrong",
    "max_users_wrong",
    "once_wrong",
    "read_browsers",
    "read_connections",
    "read_duration",
    "read_http",
    "read_labels",
    "read_llm",
    "read_text",
    "read_time_limit",
    "read_trace",
    "read_unchecked",
    "read_weights",
    "region_names_wrong",
    "url_wrong",
]


MOST_BROWSERS: Final = 100
"""A machine that could carry more pages at the same time in one Chromium would be unusual."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """One error in an argument of a plan or load. `argument` may name an element: "slos[1]" is the second objective."""

    argument: str
    message: str
    hint: str = ""
    origin: Origin | None = None
    """The line to report, if it is not the line of the argument."""


def max_users_wrong(max_users: object) -> Iterable[Wrong]:
    if max_users is not None and (isinstance(max_users, bool) or not isinstance(max_users, int) or max_users < 1):
        yield Wrong(
            "max_users", f"max_users: {max_users!r} is not a whole number of at least 1", "leave it out to set no limit"
        )


def read_browsers(browsers: object, wrong: list[Wrong]) -> int:
    """Return the number of browsers; append an error to `wrong` and return 0 if it is invalid."""
    if isinstance(browsers, bool) or not isinstance(browsers, int) or not 0 <= browsers <= MOST_BROWSERS:
        message = f"browsers: {browsers!r} is not a whole number from 0 to {MOST_BROWSERS}"
        wrong.append(Wrong("browsers", message, "write browsers=2: at most 2 open pages at a time on each worker"))
        return 0
    return browsers


def browsers_wrong(browsers: int, settings: Iterable[Http], *, has_ca: bool) -> Iterator[Wrong]:
    """Yield the error of a plan with browsers that has settings which Chromium ignores.

    settings: of the plan and its loads. has_ca: the plan has a certificate file.
    """
    names = dict.fromkeys(name for http in settings for name in ignored_settings(http, has_ca=has_ca))
    if browsers and names:
        message = f"browsers: Chromium ignores these settings of the plan: {', '.join(names)}"
        yield Wrong("browsers", message, "write a plan for the browsers alone, without these settings")


def read_weights(argument: str, what: str, pairs: Iterable[tuple[Any, Any]], wrong: list[Wrong]) -> dict[str, float]:
    """Return the valid weights by name; append an error to `wrong` for each invalid name or weight.

    what: the word for one name in messages, such as "journey" or "region".
    """
    good: dict[str, float] = {}
    before = len(wrong)
    for name, weight in pairs:
        if not isinstance(name, str) or not name.strip():
            wrong.append(Wrong(argument, f"{argument}: {name!r} is not the name of a {what}", f'write {{"{what}": 1}}'))
        elif len(name.encode("utf-8", "replace")) > NAME_BYTES:
            message = f"{argument}: the name of {what} {name[:40]}... is too long"
            wrong.append(Wrong(argument, message, f"write at most {NAME_BYTES} bytes of UTF-8"))
        elif isinstance(weight, bool) or not isinstance(weight, int | float) or not isfinite(weight):
            wrong.append(
                Wrong(
                    argument, f"{argument}: the weight of {name} is {weight!r}", "write a finite number of at least 0"
                )
            )
        elif weight < 0:
            wrong.append(
                Wrong(
                    argument,
                    f"{argument}: the weight of {name} is negative: {weight:g}",
                    "write 0 for no load, or a number above 0",
                )
            )
        else:
            good[name] = float(weight)
    if len(wrong) == before and not any(good.values()):
        message = f"{argument}: all weights are 0" if good else f"{argument}: no {what} is given"
        wrong.append(Wrong(argument, message, "write at least one weight above 0"))
    return good


def region_names_wrong(regions: Iterable[str]) -> Iterator[Wrong]:
    """Yield an error for each name of a region that contains spaces, line breaks or other invisible characters."""
    for name in regions:
        if not name.isprintable() or any(letter.isspace() for letter in name):
            good = re.sub(r"[^\w.]+", "-", name).strip("-") or "eu-west-1"
            message = f"regions: {name!r} is not a valid name of a region: it contains a space or a control character"
            yield Wrong("regions", message, f'write "{good}", and start agents with --region {good}')


def read_trace(trace: object, wrong: list[Wrong]) -> Trace | None:
    """Return the trace settings from "1%", "20/s" or a `Trace`; None if `trace` is None.

    Each invalid setting adds an error to `wrong`; then the result is None, too.
    """
    if trace is None:
        return None
    if not isinstance(trace, Trace | str):
        hint = 'write trace="1%", or trace=Trace(sample="20/s")'
        wrong.append(Wrong("trace", f"trace: {trace!r} is not a trace setting", hint))
        return None
    if isinstance(trace, str):
        try:
            return Trace.parse(trace)
        except ValueError:
            message = f'trace: invalid share or rate of iterations to trace "{trace[:40]}"'
            wrong.append(Wrong("trace", message, 'write trace="1%" or trace="20/s"'))
            return None
    errors = [Wrong("trace", f"trace: {message}", hint) for message, hint in trace.wrongs()]
    wrong += errors
    return None if errors else trace


def read_unchecked(names: object, wrong: list[Wrong]) -> tuple[str, ...]:
    """Return the names of libraries whose connections an allow-list cannot check; append an error to `wrong` for each
    that loadgen does not know.
    """
    hint = 'write the names of modules: unchecked_libraries=["confluent_kafka"]'
    if isinstance(names, str) or not isinstance(names, Iterable):
        wrong.append(Wrong("unchecked_libraries", f"unchecked_libraries: {names!r} is not a list of names", hint))
        return ()
    found = tuple(names)
    for one in found:
        if one not in LIBRARIES:
            message = f"unchecked_libraries: {one!r} is not a library that loadgen refuses, so leave it out"
            near = did_you_mean(one.replace("-", "_"), sorted(LIBRARIES)) if isinstance(one, str) else ""
            wrong.append(Wrong("unchecked_libraries", message, near or hint))
    return found


def read_connections(connections: object, wrong: list[Wrong]) -> Connections:
    """Return the connection policy from "kept", "shared:50" or a `Connections`.

    An invalid value adds an error to `wrong` and gives "kept".
    """
    try:
        if isinstance(connections, Connections):
            return connections
        if isinstance(connections, str):
            return Connections.parse(connections)
        raise ValueError(f"{connections!r} is not a connection policy")
    except ValueError as error:
        hint = 'write "kept", "fresh" or "shared:50"'
        wrong.append(Wrong("connections", f"connections: {error}", hint))
        return Connections("kept")


def read_http(http: object, folder: Path, wrong: list[Wrong]) -> Http:
    """Return the HTTP settings, with relative paths resolved against `folder`, the scenario's folder.

    None or any error gives the default settings; each error is appended to `wrong`.
    """
    if http is None:
        return Http()
    if not isinstance(http, Http):
        wrong.append(
            Wrong("http", f"http: {http!r} is not an Http", 'write http=Http(proxy="http://proxy.example:3128")')
        )
        return Http()
    faults = [Wrong("http", f"http: {message}", hint) for message, hint in http.wrongs(folder)]
    wrong += faults
    return Http() if faults else http.settled(folder)


def http3_wrong(settings: Iterable[Http], targets: Mapping[str, str]) -> Iterator[Wrong]:
    """Yield an error for each http:// target of a plan that speaks only HTTP/3, which needs TLS.

    settings: of the plan and its loads. targets: the URLs by name.
    """
    if not any(http.http3 == "only" for http in settings):
        return
    for name, url in targets.items():
        if url.lower().startswith("http://"):
            which = f'the target "{name}"' if name else "the target"
            message = f'http: http3="only" needs https://, but {which} is http://'
            yield Wrong("http", message, "write the https:// URL, or http3=True")


def read_llm(llm: object, targets: Collection[str], folder: Path, wrong: list[Wrong]) -> Llm | None:
    """Return how AI models are asked; None without a model, or with errors, which are appended to `wrong`.

    targets: the names of the plan's targets. folder: the scenario's, against which paths are resolved.
    """
    if llm is None:
        return None
    if not isinstance(llm, Llm):
        wrong.append(Wrong("llm", f"llm: {llm!r} is not an Llm", 'write llm=Llm(model="qwen3-8b")'))
        return None
    faults = [Wrong("llm", message, hint) for message, hint in llm.wrongs(folder)]
    if isinstance(llm.target, str) and llm.target not in targets:
        names = ", ".join(f'"{name}"' for name in targets if name) or "none"
        faults.append(Wrong("llm", f'Llm: unknown target="{llm.target}"', f"the plan's targets: {names}"))
    wrong += faults
    return None if faults else llm.settled(folder)


_CLIENTS: Final = ("loadgen", "httpx")
_STOCK_TAKES: Final = frozenset({"cert", "verify", "tls_min", "tls_max", "ciphers"})
"""The fields of `Http` that the stock httpx client supports: they are part of the TLS context."""


def client_wrong(client: object, connections: Connections, http: Http) -> Iterator[Wrong]:
    """Yield an error if `client` is unknown, and for each setting that `client="httpx"` does not support."""
    if client not in _CLIENTS:
        hint = did_you_mean(client, _CLIENTS) if isinstance(client, str) else ""
        yield Wrong("client", f"client={client!r}: unknown client", hint or 'write "loadgen" or "httpx"')
    if client != "httpx":
        return
    if connections.policy == "fresh":
        message = 'client="httpx" does not support connections="fresh"'
        yield Wrong("client", message, 'write connections="kept" or "shared:50", or leave out client=')
    default = Http()
    for one in fields(Http):
        if one.name not in _STOCK_TAKES and getattr(http, one.name) != getattr(default, one.name):
            message = f'client="httpx" does not support {one.name}= of Http(...)'
            yield Wrong("client", message, f"leave out {one.name}=, or client=")


def links_wrong(targets: Mapping[str, str], http: Http) -> Iterator[Wrong]:
    """Yield an error for each target of TCP or UDP that the settings of the connections rule out."""
    for name, url in targets.items():
        scheme = url.partition("://")[0]
        if scheme in LINK_SCHEMES and http.uds is not None:
            message = f'targets: "{name}": {url} cannot be reached: Http(uds=...) sends everything to a UNIX socket'
            yield Wrong("targets", message, "leave out uds=, or the target")
        if scheme == "udp" and http.proxy is not None and TargetUrl(url).host not in Excepted(tuple(http.no_proxy)):
            message = f'targets: "{name}": {url} cannot be reached: the plan has a proxy, and UDP cannot go through it'
            yield Wrong("targets", message, f'write Http(no_proxy=["{TargetUrl(url).host}"])')


def read_labels(labels: object, wrong: list[Wrong]) -> dict[str, str]:
    """Return the labels of a plan, name -> value; {} for None.

    Names and values that are not text add errors to `wrong`.
    """
    if labels is None:
        return {}
    pairs = list(labels.items()) if isinstance(labels, Mapping) else [(labels, None)]
    for name, value in pairs:
        if not isinstance(name, str) or not isinstance(value, str):
            hint = 'write texts, as in labels={"service": "checkout"}'
            wrong.append(Wrong("labels", f"labels: {name!r}: {value!r} is not a label", hint))
    return {name: value for name, value in pairs if isinstance(name, str) and isinstance(value, str)}


def read_text(argument: str, value: object, wrong: list[Wrong]) -> str:
    """Return a text argument without surrounding spaces. Another type adds an error to `wrong` and gives ""."""
    if isinstance(value, str):
        return value.strip()
    wrong.append(Wrong(argument, f"{argument}: {value!r} is not a text", f'write {argument}="..."'))
    return ""


def read_duration(argument: str, value: object, wrong: list[Wrong]) -> int | None:
    """Return a duration in ns from a text ("30s") or a number of seconds; None if `value` is None.

    An invalid value adds an error to `wrong` and gives None, too.
    """
    if value is None:
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(f"{value!r} is not a duration")
        return parse_duration(value)
    except (ValueError, OverflowError) as error:
        wrong.append(Wrong(argument, f"{argument}: {error}", f'write {argument}="30s"'))
        return None


def read_time_limit(argument: str, value: object, default_s: int, wrong: list[Wrong]) -> int:
    """Return a time limit in ns; `default_s` seconds if `value` is None.

    A value that is invalid or 0 adds an error to `wrong` and gives the default, too.
    """
    limit_ns = read_duration(argument, value, wrong)
    if limit_ns == 0:
        wrong.append(Wrong(argument, f"{argument}: must be above 0", f'write {argument}="{default_s}s"'))
    return limit_ns or default_s * NS_PER_S


def by_name(regions: object) -> list[tuple[Any, Any]]:
    """Return the plan's `regions` as pairs (name, weight); a list of names, or one name, gives equal weights.

    The names and weights are not checked.
    """
    if isinstance(regions, Mapping):
        return list(regions.items())
    if isinstance(regions, str):
        return [(regions, 1.0)]
    if isinstance(regions, Iterable):
        return [(name, 1.0) for name in regions]
    return [(regions, 1.0)]


def once_wrong(argument: str, fn: object) -> Iterator[Wrong]:
    """Yield an error unless `fn` is an async function that takes only the user, as set_up and tear_down of a plan."""
    name = getattr(fn, "__name__", "") or getattr(fn, "name", repr(fn))
    hint = f"write `async def {name}(user: User)`, without @journey"
    code = getattr(fn, "__code__", None)
    origin = None if code is None else Origin(code.co_filename, code.co_firstlineno)
    if inspect.iscoroutine(fn):
        fn.close()  # otherwise Python warns that it was never awaited
        message = f"{argument}: {name}(...) is a call, but the plan needs the function itself"
        yield Wrong(argument, message, f"remove the parentheses: {argument}={name}")
        return
    if not inspect.iscoroutinefunction(fn):
        yield Wrong(argument, f"{argument}: {name} is not an async function", hint, origin)
        return
    try:
        inspect.signature(fn).bind(None)
    except TypeError:
        yield Wrong(argument, f"{argument}: {name} must take exactly one argument, the user", hint, origin)


def is_url(target: object) -> bool:
    return not url_wrong(target)[0]


_MEANT_SCHEMES: Final = {
    "ws": ("http", 'user.ws("/path")'),
    "wss": ("https", 'user.ws("/path")'),
}
"""By scheme of protocols over HTTP: the scheme of a target, and the word of a journey."""


def url_wrong(target: object) -> tuple[str, str]:
    """Return the error message for an invalid URL of a target, and a hint; ("", "") if the URL is valid.

    `loadgen/target_url.py` has the schemes.
    """
    hint = 'write "https://shop.example" or "http://127.0.0.1:8080"'
    if not isinstance(target, str):
        return f"target: {target!r} is not a URL", hint
    try:
        url = urlsplit(target)
        if url.scheme in GRPC_SCHEMES:
            hint = f'write "{url.scheme}://127.0.0.1:50051"'
        elif url.scheme in LINK_SCHEMES:
            hint = f'write "{url.scheme}://127.0.0.1:7000"'
        host, port = of_url(url) if url.netloc else HostPort("", None)
    except ValueError as error:
        return f"target: {target!r} is not a URL: {error}", hint
    if url.scheme not in PORTS:
        if url.scheme in _MEANT_SCHEMES and host:
            scheme, word = _MEANT_SCHEMES[url.scheme]
            hint = f'write "{scheme}://{url.netloc}", and {word} in the journey'
        elif near := get_close_matches(url.scheme, PORTS, n=1, cutoff=0.8):
            hint = f'did you mean "{near[0]}://"?'
        elif "://" not in target and target:
            hint = f'write "http://{target}"'
        return f"target: {target!r} is not an http or https URL", hint
    if not host or any(c.isspace() for c in target) or port == 0:
        return f"target: {target!r} is not a URL: it has no valid host and port", hint
    if url.username is not None or url.password is not None:
        where = "send them in a header" if is_http(target) else 'pass them to the library: secret("password").reveal()'
        return "target: the URL contains credentials, which would be stored with the results", where
    if url.query or url.fragment:
        return f"target: {target!r} has a query or fragment, but must be the base of all paths", hint
    if url.scheme in GRPC_SCHEMES and (url.path not in ("", "/") or (port is None and PORTS[url.scheme] is None)):
        example = f'write "{url.scheme}://{HostPort(host, port).bracketed}:{port or 50051}"'
        return f"target: {target!r} must have {'no path' if port else 'a port and no path'}", example
    if url.scheme in LINK_SCHEMES and (port is None or url.path not in ("", "/")):
        example = f'write "{url.scheme}://{HostPort(host, port).bracketed}:{port or 7000}"'
        return f"target: {target!r} must have a port and no path", example
    return "", ""
