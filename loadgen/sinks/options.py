"""Parses `--out KIND=WHERE[,OPTION=VALUE...]` and opens the outputs. All errors are reported at once.

The value of a header is a secret, so the option names an environment variable instead:
`header=Authorization:PROM_AUTH` sends the value of PROM_AUTH. For the same reason a URL must
not contain a user, password or token. Notices, summary and logs show a URL without its query.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from loadgen.errors import LoadgenError, UsageError
from loadgen.extras import how_to_install
from loadgen.hostport import HostPort, host_port, of_url
from loadgen.sinks.live_outputs import Outputs
from loadgen.sinks.output_queue import Feed, Sink
from loadgen.units import parse_duration

__all__ = ["KINDS", "Wanted", "open_outputs", "read_outputs"]

Add = Callable[[str, str], None]
"""Called with an error message and a hint what to do."""

_URLS: Final = {
    "remote-write": "remote-write=http://127.0.0.1:9090/api/v1/write",
    "otlp": "otlp=http://127.0.0.1:4318",
    "influx": "influx=http://127.0.0.1:8086/write?db=loadgen",
}
_PLACES: Final = {
    "prometheus": "prometheus=127.0.0.1:9464",
    "statsd": "statsd=127.0.0.1:8125",
    "dogstatsd": "dogstatsd=127.0.0.1:8125",
}
_EXAMPLES: Final = _PLACES | _URLS | {"ndjson": "ndjson=figures.ndjson"}
KINDS: Final = tuple(_EXAMPLES)
_NEEDS: Final = {
    "prometheus": "prometheus_client",
    "remote-write": "cramjam",
    "otlp": "opentelemetry.proto",
}
_OPTIONS: Final = ("header", "ca", "every", "temporality")
_MOST: Final = 8
_SECRET: Final = re.compile(r"token|passw|secret|api_?key|^[pu]$|^auth", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One requested output, as parsed from `--out`."""

    kind: str
    where: str
    """URL, HOST:PORT or path."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """For each header: the environment variable that holds its value."""
    ca: Path | None = None
    """A PEM file with the certificate to trust; None for those of the system."""
    every_ns: int = 0
    """The minimum time between two snapshots; 0 for every interval."""
    temporality: str = "cumulative"

    @property
    def shown(self) -> str:
        """Return the destination as messages show it: a URL without its query, which may contain secrets."""
        return urlunsplit((*urlsplit(self.where)[:3], "", "")) if self.kind in _URLS else self.where


def read_outputs(
    texts: Iterable[str], add: Add, environ: Mapping[str, str] = os.environ, *, folder: Path = Path()
) -> tuple[Wanted, ...]:
    """Parse the texts of `--out` options and return the valid outputs. For each error call `add` with a message and a
    hint. No output is opened.

    folder: the base of relative paths.
    """
    found: list[Wanted] = []
    for text in texts:
        wanted = _Reading(text, add, environ, folder).wanted()
        if wanted is None:
            continue
        if any((one.kind, one.where) == (wanted.kind, wanted.where) for one in found):
            add(f"--out: {wanted.kind}={wanted.shown} is given twice", "remove one of them")
            continue
        found.append(wanted)
    if len(found) > _MOST:
        add(f"--out: {len(found)} outputs; at most {_MOST} are possible", "let one collector distribute the figures")
    return tuple(found)


def open_outputs(wanted: Iterable[Wanted], add: Add, environ: Mapping[str, str] = os.environ) -> Outputs:
    """Return the outputs, ready for use. For each that cannot be opened call `add` with a message and a hint.

    Only a port to listen at is opened now. Receivers are connected to when the first figures are sent.
    """
    feeds: list[Feed] = []
    for one in wanted:
        try:
            feeds.append(Feed(_sink(one, environ), one.every_ns))
        except OSError as error:
            add(
                f"--out: {one.kind}={one.shown}: {error.strerror or error}",
                "choose another address, or stop the program that uses it",
            )
        except LoadgenError as error:
            add(error.message, error.hint)
    return Outputs(feeds)


class _Reading:
    """The parser of one `--out` option."""

    def __init__(self, text: str, add: Add, environ: Mapping[str, str], folder: Path) -> None:
        self._text, self._add_to, self._environ, self._folder = text, add, environ, folder
        self._is_wrong = False
        self.kind = text.partition("=")[0].strip()

    def wanted(self) -> Wanted | None:
        """Parse the `--out` text and return the output that it describes. If it has errors, report them and return
        None.
        """
        if self.kind not in KINDS:
            kinds = f"use one of {', '.join(KINDS)}; for example --out {_EXAMPLES['prometheus']}"
            self._add(f'unknown kind of output "{self.kind[:40]}"', kinds)
            return None
        where, options = self._split(self._text.partition("=")[2])
        if (needed := _NEEDS.get(self.kind)) and not _is_there(needed):
            self._add(f"the package {needed.split('.')[0]} is missing", how_to_install("outputs"))
        where = self._where(where)
        headers: dict[str, str] = {}
        ca: Path | None = None
        every_ns, temporality = 0, "cumulative"
        for name, value in options:
            if not self._may_have(name):
                continue
            if name == "header":
                headers |= self._header(value)
            elif name == "ca":
                ca = self._ca(value)
            elif name == "every":
                every_ns = self._every(value)
            else:
                temporality = value
                if value not in ("cumulative", "delta"):
                    self._add(f'unknown temporality "{value}"', "use cumulative or delta")
        return None if self._is_wrong else Wanted(self.kind, where, headers, ca, every_ns, temporality)

    def _add(self, message: str, hint: str) -> None:
        self._is_wrong = True
        self._add_to(f"--out {self.kind}: {message}" if self.kind in KINDS else f"--out: {message}", hint)

    def _split(self, text: str) -> tuple[str, list[tuple[str, str]]]:
        """Split a text such as "URL,header=...,every=10s" at each ",name=". Return (the text before the first one, a
        list of (name, value)).
        """
        where, *rest = re.split(r",([a-z]+)=", text)
        return where.strip(), list(zip(rest[::2], (value.strip() for value in rest[1::2]), strict=True))

    def _may_have(self, name: str) -> bool:
        of = {"header": _URLS, "ca": _URLS, "temporality": ("otlp",), "every": KINDS}
        if name not in of:
            self._add(f'unknown option "{name}"', f"use one of {', '.join(_OPTIONS)}; write %2C for a comma in a URL")
            return False
        if self.kind not in of[name]:
            self._add(f"this kind has no option {name}", f"use {name} only for {', '.join(of[name])}")
            return False
        return True

    def _where(self, text: str) -> str:
        if self.kind in _URLS:
            return self._url(text)
        if self.kind in _PLACES:
            return self._place(text)
        return self._file(text)

    def _file(self, text: str) -> str:
        if not text:
            self._add("the file name is missing", f"write --out {_EXAMPLES[self.kind]}, or - for stdout")
        if text in ("", "-"):
            return text
        path = self._folder / text
        folder = path.absolute().parent
        if not folder.is_dir():
            self._add(f"the folder {folder} does not exist", "create it first")
        elif path.is_dir():
            self._add(f"{path} is a folder", "give the name of a file in it")
        elif not os.access(path if path.exists() else folder, os.W_OK):
            self._add(f"{path} cannot be written", "choose another file, or change its permissions")
        return str(path)

    def _url(self, text: str) -> str:
        hint = f"for example --out {_EXAMPLES[self.kind]}"
        try:
            url = urlsplit(text)
            host, port = of_url(url) if url.netloc else HostPort("", None)
        except ValueError as error:
            self._add(f"invalid URL: {error}", hint)
            return text
        if url.scheme not in ("http", "https") or not host or port == 0:
            self._add("a URL with http or https is required", hint)
            return text
        if url.username is not None or url.password is not None:
            self._add("the URL contains a user or password, which others could see", _HEADER_HINT)
        for name, _ in parse_qsl(url.query, keep_blank_values=True):
            if _SECRET.search(name):
                self._add(f'"{name}" in the URL is a secret that others would see', _HEADER_HINT)
        if url.fragment:
            self._add("a # has no meaning here", hint)
        if self.kind == "otlp" and url.path in ("", "/"):
            url = url._replace(path="/v1/metrics")
        return urlunsplit(url)

    def _place(self, text: str) -> str:
        """Return the address as HOST:PORT; a port alone becomes one of this machine. An invalid address is reported and
        returned.
        """
        text = f"127.0.0.1:{text.removeprefix(':')}" if re.fullmatch(r":?\d+", text) else text
        lowest = 0 if self.kind == "prometheus" else 1
        try:
            _, port = host_port(text)
        except ValueError:
            port = -1
        if port < lowest:
            self._add(f'invalid address "{text[:80]}"', f"write HOST:PORT, e.g. --out {_EXAMPLES[self.kind]}")
        return text

    def _header(self, text: str) -> dict[str, str]:
        name, colon, variable = (part.strip() for part in text.partition(":"))
        if not colon or not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
            self._add("the name of a header is missing or invalid", _HEADER_HINT)
        elif not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
            # Do not show the text: it may be the secret itself.
            self._add(f"the header {name} does not name an environment variable", _HEADER_HINT)
        elif not self._environ.get(variable):
            self._add(f"the variable {variable} for the header {name} is not set", f"set it: export {variable}=...")
        elif not self._environ[variable].isprintable() or not self._environ[variable].isascii():
            self._add(f"the value of {variable} is invalid in a header", "use one line of printable ASCII")
        else:
            return {name: variable}
        return {}

    def _ca(self, text: str) -> Path | None:
        path = self._folder / text
        if not path.is_file():
            self._add(f"the certificate {path} does not exist", "give the path of a PEM file")
        elif "BEGIN CERTIFICATE" not in path.read_text(encoding="utf-8", errors="replace"):
            self._add(f"{path} contains no certificate", "give the path of a PEM file")
        return path

    def _every(self, text: str) -> int:
        try:
            return parse_duration(text)
        except ValueError as error:
            self._add(f"every: {error}", "write for example every=15s")
            return 0


_HEADER_HINT: Final = "put the value into an environment variable and write header=Authorization:NAME_OF_VARIABLE"


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    # For a submodule, `find_spec` imports the package, which may be missing itself.
    except ModuleNotFoundError:
        return False


def _sink(wanted: Wanted, environ: Mapping[str, str]) -> Sink:
    """Return the opened sink for an output. Only the packages that this kind of output needs are imported.

    Raises:
        OSError, UsageError: the sink cannot be opened.
    """
    headers = {name: environ[variable] for name, variable in wanted.headers.items()}
    match wanted.kind:
        case "prometheus":
            from loadgen.sinks.prometheus import ScrapeSink

            return ScrapeSink(*host_port(wanted.where))
        case "remote-write":
            from loadgen.sinks.remote_write import RemoteWriteSink

            return RemoteWriteSink(wanted.where, wanted.shown, headers, wanted.ca)
        case "otlp":
            from loadgen.sinks.otlp import OtlpSink

            is_delta = wanted.temporality == "delta"
            return OtlpSink(wanted.where, wanted.shown, headers, wanted.ca, is_delta=is_delta)
        case "influx":
            from loadgen.sinks.influx import InfluxSink

            return InfluxSink(wanted.where, wanted.shown, headers, wanted.ca)
        case "statsd" | "dogstatsd":
            from loadgen.sinks.statsd import StatsdSink

            return StatsdSink(*host_port(wanted.where), is_dog=wanted.kind == "dogstatsd")
        case "ndjson":
            from loadgen.sinks.ndjson import NdjsonSink

            return NdjsonSink(None if wanted.where == "-" else Path(wanted.where))
    raise UsageError(f"unknown kind of output: {wanted.kind}", hint=f"use one of {', '.join(KINDS)}")
