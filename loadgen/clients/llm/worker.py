"""The state of one worker's requests to an AI model: which requests are cold, and how their tokens were counted.

A cold request takes longer because of a cost that later requests do not have. Its row has the tag `cold`, so that cold
and warm requests do not mix. Values of the tag: "first" for the first request of this worker, "idle" for the first
one after 10 s without requests, and "connection" for a request that opened a connection.
"""

from __future__ import annotations

from typing import Final, Protocol

from loadgen.clients.llm.tokenizer import Tokenizer
from loadgen.units import NS_PER_S

__all__ = ["LlmWorker"]

_IDLE_NS: Final = 10 * NS_PER_S
"""After this time without requests of this worker, the server may have unloaded the model or emptied its caches."""
_COMPARED: Final = 100
"""The number of answers whose tokens a tokenizer counts, too. More answers would cost CPU and show nothing new."""
_FEWEST: Final = 20
_CLEAR: Final = 10
_SHARES: Final = (50, 20, 10, 5, 2, 1)
"""Steps of a difference in %, so that the notes of all workers are the same and appear once."""


class Notes(Protocol):
    """Receives remarks for the operator; a `Recorder`."""

    def note(self, text: str) -> None: ...


class LlmWorker:
    """The state of one worker's requests to the plan's model."""

    __slots__ = (
        "_answers",
        "_by_server",
        "_by_tokenizer",
        "_last_ns",
        "_noted",
        "_under_way",
        "compares_tokens",
        "tokenizer",
    )

    def __init__(self, tokenizer: Tokenizer | None = None) -> None:
        self.tokenizer = tokenizer
        """Counts the tokens of answers without usage; None: each event counts as one token."""
        self.compares_tokens = True
        """Whether the counts of further answers are compared (`compared`)."""
        self._answers = self._by_server = self._by_tokenizer = 0
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

    def compared(self, by_server: int, by_tokenizer: int) -> str:
        """Add the tokens of an answer as both counted them, and return a note if they differ by more than 1 %; else "".

        The first 100 answers of a worker are compared, and the note is returned at most once: with the last of them,
        or after 20 answers if the difference is above 10 %.
        """
        self._answers += 1
        self._by_server += by_server
        self._by_tokenizer += by_tokenizer
        difference = (self._by_tokenizer - self._by_server) / max(1, self._by_server)
        share = next((most for most in _SHARES if abs(difference) > most / 100), 0)
        if self._answers < _COMPARED and not (share >= _CLEAR and self._answers >= _FEWEST):
            return ""
        self.compares_tokens = False
        if not share:
            return ""
        more = "more" if difference > 0 else "fewer"
        return (
            f"the tokenizer of the plan counts over {share} % {more} tokens than the server in the same answers: check "
            "that its file belongs to this model"
        )

    def note_once(self, notes: Notes, text: str) -> None:
        """Add a remark for the operator, unless this worker has added it before."""
        if text not in self._noted:
            self._noted.add(text)
            notes.note(text)

    def ended(self, now_ns: int) -> None:
        """Register that a request has ended, also if it was cancelled."""
        self._last_ns = now_ns
        self._under_way -= 1
