"""Build one HTML file that shows a run, or a run beside its baseline, without network, server or other files.

The file contains the style and scripts of `loadgen/report/page/`, the chart library
and the compressed report document. Its content security policy allows only these
scripts and styles, by their hashes, and forbids any request. Names in the document are
data and never markup. The comparison with the run's history, and why requests were
slow, are ready-made HTML in template elements.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec

from loadgen.atomic_files import atomic_write
from loadgen.errors import StorageError
from loadgen.outside_text import in_html
from loadgen.secret_files import UMASK_ONLY

__all__ = ["html", "script", "write_html"]

PAGE = Path(__file__).parent / "page"
MODULES = (
    "dom.js",
    "format.js",
    "document.js",
    "theme.js",
    "board.js",
    "charts.js",
    "lines.js",
    "heatmap.js",
    "spectrum.js",
    "lanes.js",
    "databases.js",
    "table.js",
    "badges.js",
    "objectives.js",
    "tiles.js",
    "verdict.js",
    "lists.js",
    "waterfall.js",
    "messages.js",
    "vitals.js",
    "streams.js",
    "render.js",
    "report.js",
)
"""The page's modules, each after its imports. They become one script, so no two may share a top-level name."""
IMPORT = re.compile(r"^import \{[^}]*\} from \"\./[a-z]+\.js\";\n", re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?function |const |class )", re.MULTILINE)
CLOSING = re.compile(rb"</(?=script|style)", re.IGNORECASE)


def write_html(document: Mapping[str, object], path: Path, *, baseline: Mapping[str, object] | None = None) -> None:
    """Write the HTML report of `document` (its form: docs/live-page.md) to `path`, with `baseline` behind it if given.

    A run of an hour with 20 names is about 400 kB. An old file at `path` stays until the new one is complete.

    Raises:
        StorageError: the file cannot be written.
    """
    whole = html(document, baseline=baseline)
    try:
        atomic_write(path, whole, UMASK_ONLY)
    except OSError as exc:
        raise StorageError(f"cannot write {path}: {exc.strerror or exc}", hint="name another file with -o") from exc


def html(
    document: Mapping[str, object],
    *,
    baseline: Mapping[str, object] | None = None,
    standing: str = "",
    why_slow: str = "",
) -> bytes:
    """Return the HTML file as UTF-8 bytes; equal documents give equal bytes.

    `standing` is the comparison with the run's history from `loadgen.history.run_vs_history.page`, and `why_slow` the
    section of `loadgen.report.why_slow.section`: HTML with escaped names.
    """
    library, ours, style = _parts()
    policy = (
        "default-src 'none'; "
        f"script-src {_hash(library)} {_hash(ours)}; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    data = [_embedded("history", document)] + ([_embedded("baseline", baseline)] if baseline is not None else [])
    return b"\n".join(
        [
            b'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            b'<meta http-equiv="Content-Security-Policy" content="%s">' % policy.encode(),
            b'<meta name="viewport" content="width=device-width, initial-scale=1">',
            b'<meta name="referrer" content="no-referrer">',
            b'<link rel="icon" href="data:,">',
            b"<title>%s</title>" % in_html(_title(document)).encode("utf-8", "replace"),
            b"<style>%s</style>" % style,
            b'</head>\n<body>\n<div id="page"><noscript>This report needs JavaScript: enable it.</noscript></div>',
            *data,
            *_ready_made("in-history", standing),
            *_ready_made("why-slow", why_slow),
            b"<script>%s</script>" % library,
            b"<script>%s</script>" % ours,
            b"</body>\n</html>\n",
        ]
    )


def _ready_made(name: str, inside: str) -> list[bytes]:
    """Return a template element with ready-made HTML, which the page's script moves to its place; none without HTML."""
    return [b'<template id="%s">%s</template>' % (name.encode(), inside.encode("utf-8", "replace"))] if inside else []


@cache
def _parts() -> tuple[bytes, bytes, bytes]:
    """Return the chart library, our script and the style."""
    library = (PAGE / "vendor" / "uPlot.iife.min.js").read_bytes().strip()
    style = (PAGE / "vendor" / "uPlot.min.css").read_bytes().strip() + b"\n" + (PAGE / "style.css").read_bytes()
    return _closed(library), _closed(script().encode()), _closed(style)


def script() -> str:
    """Return the page's modules as one script, without their import lines and `export` keywords."""
    modules = ((PAGE / name).read_text(encoding="utf-8") for name in MODULES)
    joined = "\n".join(EXPORT.sub("", IMPORT.sub("", text)) for text in modules)
    return f'(() => {{\n"use strict";\n{joined}}})();\n'


def _embedded(name: str, document: Mapping[str, object]) -> bytes:
    """Return a script element with the compressed document. Base64 has no `<`, so the data cannot end the element."""
    data = base64.b64encode(zlib.compress(msgspec.json.encode(document), 9))
    return b'<script type="application/octet-stream" id="%s">%s</script>' % (name.encode(), data)


def _title(document: Mapping[str, object]) -> str:
    run = document.get("run")
    if not isinstance(run, Mapping):
        return "loadgen"
    title = run.get("title")
    return f"{title} · {run.get('id', '')}" if title else f"loadgen {run.get('id', '')}"


def _hash(text: bytes) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"


def _closed(text: bytes) -> bytes:
    """Return `text`, our or the library's code, after a check that it cannot end its script or style element."""
    assert not CLOSING.search(text)
    return text
