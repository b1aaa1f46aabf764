"""Makes Ctrl-C end the program at once, without a traceback, while its modules are being imported.

Importing this module starts that; `importing.end()` restores Python's handler. If SIGINT is ignored (a background
job) or the importing program has its own handler (a test), nothing changes.
"""

from __future__ import annotations

import signal
import threading

__all__ = ["importing"]


class _Importing:
    """The time from the import of this module to `end`, during which SIGINT has the system's default action."""

    def __init__(self) -> None:
        is_pythons = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        self._is_ours = is_pythons and threading.current_thread() is threading.main_thread()
        if self._is_ours:
            signal.signal(signal.SIGINT, signal.SIG_DFL)

    def end(self) -> None:
        """Restore Python's own handler of Ctrl-C, which raises KeyboardInterrupt."""
        if self._is_ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._is_ours = False


importing = _Importing()
