"""Asks the server for two prompts, and returns how many tokens it counts for a word.

With a tokenizer's file whose words are one token each, prompts need no correction. The server's counts then show
whether the file is that of the model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from loadgen.clients.llm.client import LlmClient
from loadgen.clients.llm.reply import LlmReply
from loadgen.clients.llm_apis.answers import NO_TOKENS
from loadgen.clients.protocol.outcomes import RESET
from loadgen.dsl.prompts.calibration import Calibration
from loadgen.dsl.prompts.prompt import prompt
from loadgen.dsl.prompts.tokenizer_words import exact_words
from loadgen.errors import RequestFailed, UsageError

__all__ = ["NO_USAGE", "calibrate"]

_WORDS: Final = (50, 200)
_ANSWER: Final = 8
"""Most tokens of each answer. A single token may have no text: it may be a part of a character, or the end."""
NO_USAGE: Final = (
    "the server sends no usage, so tokens are counted as one for each event of a stream, and prompts are not calibrated"
)
NO_USAGE_BUT_TOKENIZER: Final = "the server sends no usage, so the tokens of answers are counted by {name}"
NO_TEXT: Final = "prompts are not calibrated: the server's answer to a first request had no token"
NOT_EXACT: Final = (
    "prompts are not exact: {name} has fewer than 64 words that are always one token each. The number of words is "
    "corrected by the tokens that the server counts. "
)
_MOST_OFF: Final = 0.01
"""A larger difference between the server and the tokenizer is reported."""


async def _answer(client: LlmClient, words: int) -> LlmReply:
    """Return the answer to a prompt of so many words.

    A second try is for servers such as llama.cpp's, which close each connection after a stream without announcing it.
    """
    try:
        return await client.chat(prompt(tokens=words), max_tokens=_ANSWER, name="calibration")
    except RequestFailed as failure:
        if failure.outcome != RESET:
            raise
    return await client.chat(prompt(tokens=words), max_tokens=_ANSWER, name="calibration")


async def calibrate(client: LlmClient) -> tuple[float, str]:
    """Return (tokens for each word, a warning for the report or "").

    Raises:
        UsageError: the server refuses the request, as with a wrong key or an API that it does not have.
        RequestFailed: the model did not answer.
    """
    tokenizer = client.settings.loaded_tokenizer()
    name = Path(client.settings.tokenizer or "").name
    is_exact = tokenizer is not None and exact_words(tokenizer) is not None
    inexact = NOT_EXACT.format(name=name) if tokenizer is not None and not is_exact else ""
    counts: list[tuple[int, int]] = []
    for words in _WORDS:
        try:
            reply = await _answer(client, words)
        except RequestFailed as failure:
            if failure.outcome.startswith("http 4"):
                raise UsageError(
                    f"the model's server refuses a first request: {failure.detail}",
                    hint="correct Llm(model=..., api=..., path=..., api_key=...), or write calibrate=False; with "
                    "loadgen llm: --model, --api, --key or the URL",
                ) from failure
            if failure.outcome == NO_TOKENS:  # a note is enough, because the server answered as it should
                return 1.0, inexact + NO_TEXT
            raise
        if reply.usage.prompt < 1:
            return 1.0, NO_USAGE if tokenizer is None else inexact + NO_USAGE_BUT_TOKENIZER.format(name=name)
        counts.append((words, reply.usage.prompt))
    try:
        found = Calibration.measured(counts)
    except ValueError as error:
        return 1.0, f"{inexact}prompts are not calibrated: {error}"
    if not is_exact:
        return found.tokens_per_word, (inexact + found.warning).strip()
    if round(abs(found.off), 9) <= _MOST_OFF:
        return 1.0, ""
    return 1.0, (
        f"the server counts {found.tokens_per_word:.3f} tokens for each token of {name}: check that the file belongs "
        "to this model. The lengths of prompts are numbers of tokens of the file"
    )
