"""The inference APIs by name."""

from __future__ import annotations

from typing import Final

from loadgen.clients.llm import anthropic, chat, completions, responses
from loadgen.clients.llm.types import Api, ApiName

__all__ = ["APIS"]

APIS: Final[dict[ApiName, Api]] = {api.name: api for api in (chat.API, completions.API, responses.API, anthropic.API)}
