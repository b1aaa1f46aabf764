"""`--out KIND=WHERE[,OPTION=VALUE...]` into outputs. All that is wrong is told at once; reading opens nothing.

A header's value is a secret, so it is never written there: `header=Authorization:PROM_AUTH` sends what the environment
variable PROM_AUTH holds. For the same reason a URL has no user, password or token in it. What is shown of an
output, in notices, summary and logs, is its URL without the query.
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
from loadgen.hostport import HostPort, host_port, of_url
from loadgen.sinks.feed import Feed, Sink
from loadgen.sinks.outputs import Outputs
from loadgen.units import parse_duration

__all__ = ["KINDS", "Wanted", "open_outputs", "read_outputs"]

Add = Callable[[str, str], None]
"""Takes what is wrong, and what to do."""

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
    """One output that is asked for."""

    kind: str
    where: str
    """URL, HOST:PORT or path."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """By name, the environment variable that holds the value."""
    ca: Path | None = None
    every_ns: int = 0
    temporality: str = "cumulative"

    @property
    def shown(self) -> str:
        return urlunsplit((*urlsplit(self.where)[:3], "", "")) if self.kind in _URLS else self.where


def read_outputs(
    texts: Iterable[str], add: Add, environ: Mapping[str, str] = os.environ, *, folder: Path = Path()
) -> tuple[Wanted, ...]:
    """Those that are right; what is wrong with the others goes to `add`, all of it.

    folder: from which paths count.
    """
    found: list[Wanted] = []
    for text in texts:
        wanted = _Reading(text, add, environ, folder).wanted()
        if wanted is None:
            continue
        if any((one.kind, one.where) == (wanted.kind, wanted.where) for one in found):
            add(f"--out: {wanted.kind}={wanted.shown} is there twice", "once is enough")
            continue
        found.append(wanted)
    if len(found) > _MOST:
        add(f"--out: {len(found)} outputs; {_MOST} are the most", "a collector passes them on to many")
    return tuple(found)


def open_outputs(wanted: Iterable[Wanted], add: Add, environ: Mapping[str, str] = os.environ) -> Outputs:
    """Opens what can fail early, as a port to listen at; whoever gets figures is connected to with the first of them.

    What cannot be opened goes to `add`.
    """
    feeds: list[Feed] = []
    for one in wanted:
        try:
            feeds.append(Feed(_sink(one, environ), one.every_ns))
        except OSError as error:
            add(
                f"--out: {one.kind}={one.shown}: {error.strerror or error}",
                "choose another address, or stop who has it",
            )
        except LoadgenError as error:
            add(error.message, error.hint)
    return Outputs(feeds)


class _Reading:
    """One `--out` while it is read."""

    def __init__(self, text: str, add: Add, environ: Mapping[str, str], folder: Path) -> None:
        self._text, self._add_to, self._environ, self._folder = text, add, environ, folder
        self._is_wrong = False
        self.kind = text.partition("=")[0].strip()

    def wanted(self) -> Wanted | None:
        if self.kind not in KINDS:
            kinds = f"one of {', '.join(KINDS)}; e.g. --out {_EXAMPLES['prometheus']}"
            self._add(f'"{self.kind[:40]}" is no kind of output', kinds)
            return None
        where, options = self._split(self._text.partition("=")[2])
        if (needed := _NEEDS.get(self.kind)) and not _is_there(needed):
            self._add(f"{self.kind} needs the package {needed.split('.')[0]}", 'pip install "loadgen[outputs]"')
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
                    self._add(f'"{value}" is no temporality', "cumulative or delta")
        return None if self._is_wrong else Wanted(self.kind, where, headers, ca, every_ns, temporality)

    def _add(self, message: str, hint: str) -> None:
        self._is_wrong = True
        self._add_to(f"--out {self.kind}: {message}" if self.kind in KINDS else f"--out: {message}", hint)

    def _split(self, text: str) -> tuple[str, list[tuple[str, str]]]:
        """What stands before the first ",name=", and the names with their values."""
        where, *rest = re.split(r",([a-z]+)=", text)
        return where.strip(), list(zip(rest[::2], (value.strip() for value in rest[1::2]), strict=True))

    def _may_have(self, name: str) -> bool:
        of = {"header": _URLS, "ca": _URLS, "temporality": ("otlp",), "every": KINDS}
        if name not in of:
            self._add(f'"{name}" is no option of an output', f"one of {', '.join(_OPTIONS)}; a comma in a URL is %2C")
            return False
        if self.kind not in of[name]:
            self._add(f"{name} is not for this kind", f"only for {', '.join(of[name])}")
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
            self._add("where to?", f"--out {_EXAMPLES[self.kind]}, or - for stdout")
        if text in ("", "-"):
            return text
        path = self._folder / text
        folder = path.absolute().parent
        if not folder.is_dir():
            self._add(f"there is no folder {folder}", "make it first")
        elif path.is_dir():
            self._add(f"{path} is a folder", "name a file in it")
        elif not os.access(path if path.exists() else folder, os.W_OK):
            self._add(f"{path} may not be written", "choose another file")
        return str(path)

    def _url(self, text: str) -> str:
        hint = f"e.g. --out {_EXAMPLES[self.kind]}"
        try:
            url = urlsplit(text)
            host, port = of_url(url) if url.netloc else HostPort("", None)
        except ValueError as error:
            self._add(f"no URL: {error}", hint)
            return text
        if url.scheme not in ("http", "https") or not host or port == 0:
            self._add("no URL of http or https", hint)
            return text
        if url.username is not None or url.password is not None:
            self._add("a user or password in the URL would be seen by others", _HEADER_HINT)
        for name, _ in parse_qsl(url.query, keep_blank_values=True):
            if _SECRET.search(name):
                self._add(f'"{name}" in the URL is a secret that others would see', _HEADER_HINT)
        if url.fragment:
            self._add("a # has no meaning here", hint)
        if self.kind == "otlp" and url.path in ("", "/"):
            url = url._replace(path="/v1/metrics")
        return urlunsplit(url)

    def _place(self, text: str) -> str:
        """HOST:PORT; a port alone is one of this machine."""
        text = f"127.0.0.1:{text.removeprefix(':')}" if re.fullmatch(r":?\d+", text) else text
        lowest = 0 if self.kind == "prometheus" else 1
        try:
            _, port = host_port(text)
        except ValueError:
            port = -1
        if port < lowest:
            self._add(f'"{text[:80]}" is no address', f"HOST:PORT, e.g. --out {_EXAMPLES[self.kind]}")
        return text

    def _header(self, text: str) -> dict[str, str]:
        name, colon, variable = (part.strip() for part in text.partition(":"))
        if not colon or not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
            self._add("a header without a name", _HEADER_HINT)
        elif not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
            # What stands there may be the secret itself.
            self._add(f"the header {name} does not name an environment variable", _HEADER_HINT)
        elif not self._environ.get(variable):
            self._add(f"the header {name} is in the variable {variable}, which is not set", f"export {variable}=...")
        elif not self._environ[variable].isprintable() or not self._environ[variable].isascii():
            self._add(f"the variable {variable} holds what no header may", "printable ASCII on one line")
        else:
            return {name: variable}
        return {}

    def _ca(self, text: str) -> Path | None:
        path = self._folder / text
        if not path.is_file():
            self._add(f"there is no certificate {path}", "a PEM file")
        elif "BEGIN CERTIFICATE" not in path.read_text(encoding="utf-8", errors="replace"):
            self._add(f"{path} holds no certificate", "a PEM file")
        return path

    def _every(self, text: str) -> int:
        try:
            return parse_duration(text)
        except ValueError as error:
            self._add(f"every: {error}", "every=15s")
            return 0


_HEADER_HINT: Final = "put the value into an environment variable and write header=Authorization:NAME_OF_VARIABLE"


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _sink(wanted: Wanted, environ: Mapping[str, str]) -> Sink:
    """Imports what the kind needs, and nothing else.

    Raises:
        OSError, UsageError: it cannot be opened.
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
    raise UsageError(f"{wanted.kind} is no kind of output")
