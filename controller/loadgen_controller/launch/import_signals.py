"""Ctrl-C while the program is imported ends it at once, as it ends any program: no traceback, and no exit code of ours.

Importing this module begins that; `importing.end()` restores what was. Where SIGINT is ignored (a job in the
background), or is handled by who imports us (a test), nothing changes.
"""

from __future__ import annotations

import signal
import threading

__all__ = ["importing"]


class _Importing:
    def __init__(self) -> None:
        is_pythons = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        self._is_ours = is_pythons and threading.current_thread() is threading.main_thread()
        if self._is_ours:
            signal.signal(signal.SIGINT, signal.SIG_DFL)

    def end(self) -> None:
        if self._is_ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._is_ours = False


importing = _Importing()
