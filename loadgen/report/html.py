"""One HTML file that shows a run, or a run beside its baseline, anywhere: no network, no server, nothing beside it.

It carries the page's own style and scripts (`loadgen/report/page/`), its chart
library, and the history document compressed. The page's security policy lets
only these very scripts and styles run, named by their hashes, and nothing be
fetched; names out of the document are data to it and never markup. How the run
stands in its history is drawn before, and stands in a template.
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
    "heatmap.js",
    "spectrum.js",
    "table.js",
    "verdict.js",
    "lists.js",
    "render.js",
    "report.js",
)
"""Each after those that it imports. They become one script, so no two of them have a top-level name in common."""
IMPORT = re.compile(r"^import \{[^}]*\} from \"\./[a-z]+\.js\";\n", re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?function |const |class )", re.MULTILINE)
CLOSING = re.compile(rb"</(?=script|style)", re.IGNORECASE)


def write_html(document: Mapping[str, object], path: Path, *, baseline: Mapping[str, object] | None = None) -> None:
    """Write the report of `document` (docs/live-page.md has its shape), over `baseline` where there is one.

    An hour of 20 names is about 400 kB. What was at `path` is there until the new file is whole.

    Raises:
        StorageError: it cannot be written.
    """
    whole = html(document, baseline=baseline)
    try:
        atomic_write(path, whole, UMASK_ONLY)
    except OSError as exc:
        raise StorageError(f"cannot write {path}: {exc.strerror or exc}", hint="name another file with -o") from exc


def html(document: Mapping[str, object], *, baseline: Mapping[str, object] | None = None, standing: str = "") -> bytes:
    """The file as bytes, UTF-8; the same for the same documents.

    standing: the comparison with its history (`loadgen.history.run_vs_history.page`): markup with escaped names.
    """
    library, ours, style = _parts()
    policy = (
        "default-src 'none'; "
        f"script-src {_hash(library)} {_hash(ours)}; style-src {_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    held = [_held("history", document)] + ([_held("baseline", baseline)] if baseline is not None else [])
    return b"\n".join(
        [
            b'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            b'<meta http-equiv="Content-Security-Policy" content="%s">' % policy.encode(),
            b'<meta name="viewport" content="width=device-width, initial-scale=1">',
            b'<meta name="referrer" content="no-referrer">',
            b'<link rel="icon" href="data:,">',
            b"<title>%s</title>" % in_html(_title(document)).encode("utf-8", "replace"),
            b"<style>%s</style>" % style,
            b'</head>\n<body>\n<div id="page"><noscript>This report needs JavaScript to be shown.</noscript></div>',
            *held,
            *([b'<template id="in-history">%s</template>' % standing.encode("utf-8", "replace")] if standing else []),
            b"<script>%s</script>" % library,
            b"<script>%s</script>" % ours,
            b"</body>\n</html>\n",
        ]
    )


@cache
def _parts() -> tuple[bytes, bytes, bytes]:
    """Library, our script, style."""
    library = (PAGE / "vendor" / "uPlot.iife.min.js").read_bytes().strip()
    style = (PAGE / "vendor" / "uPlot.min.css").read_bytes().strip() + b"\n" + (PAGE / "style.css").read_bytes()
    return _closed(library), _closed(script().encode()), _closed(style)


def script() -> str:
    """The page's modules as one script: their lines of import are left out, and `export` before what they export."""
    modules = ((PAGE / name).read_text(encoding="utf-8") for name in MODULES)
    joined = "\n".join(EXPORT.sub("", IMPORT.sub("", text)) for text in modules)
    return f'(() => {{\n"use strict";\n{joined}}})();\n'


def _held(name: str, document: Mapping[str, object]) -> bytes:
    """Base64 has no `<`, so nothing in it can end the element."""
    data = base64.b64encode(zlib.compress(msgspec.json.encode(document), 9))
    return b'<script type="application/octet-stream" id="%s">%s</script>' % (name.encode(), data)


def _title(document: Mapping[str, object]) -> str:
    run = document.get("run")
    return f"loadgen {run.get('id', '')}" if isinstance(run, Mapping) else "loadgen"


def _hash(text: bytes) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'"


def _closed(text: bytes) -> bytes:
    """Of ours and the library's own text: nothing in it may end its element. It holds no such tag today."""
    assert not CLOSING.search(text)
    return text
