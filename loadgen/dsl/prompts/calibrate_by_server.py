"""Asks the server for two prompts, and returns how many tokens it counts for a word."""

from __future__ import annotations

from typing import Final

from loadgen.clients.llm.client import LlmClient
from loadgen.dsl.prompts.calibration import Calibration
from loadgen.dsl.prompts.prompt import prompt
from loadgen.errors import RequestFailed, UsageError

__all__ = ["NO_USAGE", "calibrate"]

_WORDS: Final = (50, 200)
NO_USAGE: Final = (
    "the server sends no usage, so tokens are counted as one for each event of a stream, and prompts are not calibrated"
)


async def calibrate(client: LlmClient) -> tuple[float, str]:
    """Return (tokens for each word, a warning for the report or "").

    Raises:
        UsageError: the server refuses the request, as with a wrong key or an API that it does not have.
        RequestFailed: the model did not answer.
    """
    counts: list[tuple[int, int]] = []
    for words in _WORDS:
        try:
            reply = await client.chat(prompt(tokens=words), max_tokens=1, name="calibration")
        except RequestFailed as failure:
            if failure.outcome.startswith("http 4"):
                raise UsageError(
                    f"the model's server refuses a first request: {failure.detail}",
                    hint="correct Llm(model=..., api=..., path=..., api_key=...), or write calibrate=False; with "
                    "loadgen llm: --model, --api, --key or the URL",
                ) from failure
            raise
        if reply.usage.prompt < 1:
            return 1.0, NO_USAGE
        counts.append((words, reply.usage.prompt))
    try:
        found = Calibration.measured(counts)
    except ValueError as error:
        return 1.0, f"prompts are not calibrated: {error}"
    return found.tokens_per_word, found.warning
