"""The user's side of the client of AI models: the texts of prompts, and the time that the iteration has waited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loadgen.dsl.prompts.prompt import Prompt
from loadgen.engine.load.user_iterations import Arrival
from loadgen.errors import UsageError

if TYPE_CHECKING:
    from loadgen.dsl.users.user import User

__all__ = ["LlmPlace"]


class LlmPlace:
    """One user, as its client of AI models sees it. tokens_per_word: how many tokens the server counts for a word."""

    __slots__ = ("_user", "tokens_per_word")

    def __init__(self, user: User, tokens_per_word: float = 1.0) -> None:
        self._user, self.tokens_per_word = user, tokens_per_word

    def prompt_text(self, prompt: Any) -> str:
        """Return the text of a prompt for this request.

        Raises:
            UsageError: it is no prompt.
        """
        if not isinstance(prompt, Prompt):
            raise UsageError(
                f"a model cannot be asked with {prompt!r}",
                hint='write a text, prompt(tokens=1024) or Message("user", "...")',
            )
        user = self._user
        return prompt.text(*user._next_prompt(), tokens_per_word=self.tokens_per_word, words=user._words)

    def waited_ns(self, now_ns: int) -> int | None:
        """Return the time since the iteration was due, without think time; None: it has no due time."""
        owner = self._user._owner
        arrival: Arrival | None = None if owner is None else owner.arrival
        if arrival is None or arrival.due_ns is None:
            return None
        return max(0, now_ns - arrival.due_ns - self._user._idle_until(now_ns))
