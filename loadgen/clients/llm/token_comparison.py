"""Compares the counts of tokens of the server and of the plan's tokenizer: does its file belong to the model?"""

from __future__ import annotations

from typing import Final

__all__ = ["TokenComparison"]

_COMPARED: Final = 100
"""Answers whose tokens are counted by the server and by a tokenizer. More would cost CPU, and show nothing new."""
_FEWEST: Final = 20
_CLEAR: Final = 10
_SHARES: Final = (50, 20, 10, 5, 2, 1)
"""Steps of a difference in %, so that the notes of all workers are the same and appear once."""


class TokenComparison:
    """The first answers of one worker with both counts."""

    __slots__ = ("_answers", "_by_server", "_by_tokenizer", "is_over")

    def __init__(self) -> None:
        self._answers = self._by_server = self._by_tokenizer = 0
        self.is_over = False
        """Whether there are enough answers, so that `add` need not be called any more."""

    def add(self, by_server: int, by_tokenizer: int) -> str:
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
        self.is_over = True
        if not share:
            return ""
        more = "more" if difference > 0 else "fewer"
        return (
            f"the tokenizer of the plan counts over {share} % {more} tokens than the server in the same answers: check "
            "that its file belongs to this model"
        )
