"""TLS contexts: trusted roots, and the client's certificate.

A client's private key is read where it is used and written nowhere. If the key is given as text, OpenSSL reads it
from memory (a memfd on Linux; elsewhere from a temporary file that only we can read).
"""

from __future__ import annotations

import os
import ssl
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from operator import attrgetter
from pathlib import Path
from weakref import WeakKeyDictionary

import httpx

from loadgen.clients.net.settings import Http, Place
from loadgen.clients.net.settings_check import TLS_VERSIONS
from loadgen.errors import UsageError

__all__ = ["http1_context", "pem_of", "tls_context"]

_PEM = "-----BEGIN "


def tls_context(
    ca_file: str | Path | None = None,
    http: Http = Http(),  # noqa: B008  # frozen
    *,
    is_http: bool = True,
) -> ssl.SSLContext:
    """Return the TLS context for the connections of a plan. Costs about 20 ms: make only one.

    Args:
        ca_file: PEM; these certificates are trusted in addition to the usual roots.
        http: certificates are verified unless it has `verify=False`. It also sets the client certificate and whether
            HTTP/2 is offered (ALPN).
        is_http: the connections are HTTP; without it no protocol is offered (ALPN).
    Raises:
        UsageError: a file is missing, or contains no certificate or key; or the key is encrypted, or does not belong to
            the certificate.
        ScenarioError: a secret is missing.
    """
    context = httpx.create_ssl_context(verify=http.verify)
    context.sslobject_class = _DirectObject
    if http.http2 and is_http:
        _with_http2[context] = partial(tls_context, ca_file, replace(http, http2=False))
    if is_http:
        context.set_alpn_protocols(["h2", "http/1.1"] if http.http2 else ["http/1.1"])
    _limit(context, http)
    if ca_file is not None:
        try:
            context.load_verify_locations(cafile=str(ca_file))
        except (OSError, ssl.SSLError) as error:
            raise UsageError(
                f"cannot read certificates from {ca_file}: {error}",
                hint="check the path; a CA file must be PEM: -----BEGIN CERTIFICATE-----",
            ) from error
    if http.cert is not None:
        own, *key = http.cert if isinstance(http.cert, tuple) else (http.cert,)
        _load(context, own, key[0] if key else None)
    return context


class _DirectObject(ssl.SSLObject):
    """The TLS state of a connection, whose `read`, `write` and `pending` are the methods of OpenSSL's object.

    uvloop stores the three methods when a connection opens, and calls each of them for each request. In `ssl.SSLObject`
    they are Python functions that only pass the call on, for 2,500 CPU instructions a request (decision 163).
    """

    read = property(attrgetter("_sslobj.read"))
    write = property(attrgetter("_sslobj.write"))
    pending = property(attrgetter("_sslobj.pending"))


_with_http2: WeakKeyDictionary[ssl.SSLContext, Callable[[], ssl.SSLContext]] = WeakKeyDictionary()
"""For each context that offers HTTP/2, a function that makes or returns the same one without it."""


def http1_context(context: ssl.SSLContext) -> ssl.SSLContext:
    """Return a context like this one that does not offer HTTP/2, for WebSocket. The first call makes the context."""
    make = _with_http2.get(context)
    if make is None:
        return context
    made = make()
    _with_http2[context] = lambda: made
    return made


def _limit(context: ssl.SSLContext, http: Http) -> None:
    """Set the versions and ciphers that a context offers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of 1.0 and 1.1, which a scenario may ask for
        if http.tls_min is not None:
            context.minimum_version = TLS_VERSIONS[http.tls_min]
        if http.tls_max is not None:
            context.maximum_version = TLS_VERSIONS[http.tls_max]
            if http.tls_min is None and context.maximum_version < context.minimum_version:
                context.minimum_version = context.maximum_version
    if http.ciphers is not None:
        context.set_ciphers(http.ciphers)


def pem_of(place: Place) -> bytes:
    """Return the PEM text of a certificate or key."""
    with _file_of(place) as path:
        return Path(path).read_bytes()


class _Encrypted(Exception):
    """OpenSSL asks for a pass phrase. Raising this keeps OpenSSL from prompting on the terminal."""


def _load(context: ssl.SSLContext, own: Place, key: Place | None) -> None:
    what = _named(own) if key is None else f"{_named(own)} and {_named(key)}"
    with ExitStack() as stack:
        own_file = stack.enter_context(_file_of(own))
        key_file = None if key is None else stack.enter_context(_file_of(key))
        try:
            context.load_cert_chain(own_file, key_file, password=_no_pass_phrase)
        except _Encrypted as error:
            raise UsageError(
                f"cert: the private key of {what} is encrypted",
                hint="remove the pass phrase and pass the key as a secret: openssl pkey -in client.key",
            ) from error
        except ssl.SSLError as error:
            raise UsageError(f"cert: {what}: {_why(error)}", hint=_hint(error)) from error
        except OSError as error:
            raise UsageError(
                f"cert: cannot read {what}: {error.strerror or error}", hint="check the path and its permissions"
            ) from error


def _no_pass_phrase() -> bytes:
    raise _Encrypted


def _why(error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the private key does not belong to the certificate"
    return "not a certificate and private key in PEM form"


def _hint(error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return "use the certificate's own key; in a chain, the client's certificate must be first"
    return "write PEM: -----BEGIN CERTIFICATE----- and -----BEGIN PRIVATE KEY-----"


def _named(place: Place) -> str:
    """Return how messages name a certificate or key: its path, or the name of the secret that contains it. The secret's
    value is never returned.
    """
    return str(place) if isinstance(place, str | Path) else f'secret("{place.name}")'


@contextmanager
def _file_of(place: Place) -> Iterator[str]:
    """Yield the path of a file that contains a certificate or key. The path is valid within the `with` block; a
    secret's value gets a temporary file.
    """
    if isinstance(place, str | Path):
        yield _readable(Path(place), str(place))
        return
    value = place.reveal()
    if _PEM not in value:
        yield _readable(Path(value.strip()), _named(place))
        return
    text = value.encode()
    if sys.platform == "linux":
        descriptor = os.memfd_create("pem")
        try:
            os.write(descriptor, text)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(text)
            file.flush()
            yield file.name


def _readable(path: Path, shown: str) -> str:
    try:
        with path.open("rb"):
            return str(path)
    except (OSError, ValueError) as error:
        if reason := getattr(error, "strerror", None):
            raise UsageError(
                f"cert: cannot read {shown}: {reason}", hint="put the file at this path on each agent"
            ) from error
        raise UsageError(
            f"cert: cannot read {shown}: neither the path of a file nor PEM text",
            hint="pass PEM text, or a path that exists on each agent",
        ) from error
