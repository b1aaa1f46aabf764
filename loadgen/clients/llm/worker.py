"""The state of one worker's requests to an AI model: its tokenizer, its notes, and which requests are cold.

A cold request takes longer because of a cost that later requests do not have. Its row has the tag `cold`, so that cold
and warm requests do not mix. Values of the tag: "first" for the first request of this worker, "idle" for the first
one after 10 s without requests, and "connection" for a request that opened a connection.
"""

from __future__ import annotations

from typing import Final, Protocol

from loadgen.clients.llm.exact_lengths import ExactLengths
from loadgen.clients.llm.token_comparison import TokenComparison
from loadgen.clients.llm.tokenizer import Tokenizer
from loadgen.units import NS_PER_S

__all__ = ["LlmWorker"]

_IDLE_NS: Final = 10 * NS_PER_S
"""After this time without requests of this worker, the server may have unloaded the model or emptied its caches."""


class Notes(Protocol):
    """Receives remarks for the operator; a `Recorder`."""

    def note(self, text: str) -> None: ...


class LlmWorker:
    """The state of one worker's requests to the plan's model."""

    __slots__ = ("_last_ns", "_noted", "_under_way", "comparison", "lengths", "tokenizer")

    def __init__(self, tokenizer: Tokenizer | None = None) -> None:
        self.tokenizer = tokenizer
        """Counts the tokens of answers without usage; None: each event counts as one token."""
        self.comparison = TokenComparison()
        self.lengths = ExactLengths()
        self._last_ns = 0
        """When a request last began or ended, `perf_counter_ns`; 0: none has begun."""
        self._under_way = 0
        self._noted: set[str] = set()

    def begun(self, now_ns: int) -> str:
        """Register that a request begins, and return why it is cold: "first", "idle", or "" if it is not.

        A request that is not cold yet becomes so when it opens a connection (`LlmReply.opened`).
        """
        last_ns, self._last_ns = self._last_ns, now_ns
        was_idle = not self._under_way
        self._under_way += 1
        if not last_ns:
            return "first"
        return "idle" if was_idle and now_ns - last_ns > _IDLE_NS else ""

    def note_once(self, notes: Notes, text: str) -> None:
        """Add a remark for the operator, unless this worker has added it before."""
        if text not in self._noted:
            self._noted.add(text)
            notes.note(text)

    def ended(self, now_ns: int) -> None:
        """Register that a request has ended, also if it was cancelled."""
        self._last_ns = now_ns
        self._under_way -= 1
