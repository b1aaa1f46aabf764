"""Shows bytes of any protocol as text, for failures and for `loadgen check`. Pure.

UTF-8 stays text, so that secrets in it are found and masked. Other bytes, and control characters, become escapes:
`\\x00`. Line feeds stay line feeds, because secrets such as keys in PEM have them.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["MAX_SHOWN_BYTES", "bytes_as_text"]

MAX_SHOWN_BYTES: Final = 4096
_CONTROL: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Control characters, which a terminal would execute, and those that reverse or break lines."""


def bytes_as_text(data: bytes, size: int | None = None) -> str:
    """Return the beginning of some bytes as text. Nothing is redacted here; callers that store the text do that.

    size: of all bytes, if `data` is only their beginning.
    """
    whole = len(data) if size is None else size
    text = _CONTROL.sub(_escaped, data[:MAX_SHOWN_BYTES].decode("utf-8", "backslashreplace"))
    return text if whole <= MAX_SHOWN_BYTES else f"{text}\n<cut: {MAX_SHOWN_BYTES} of {whole} bytes>"


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
