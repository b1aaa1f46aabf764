"""The inference APIs by name."""

from __future__ import annotations

from typing import Final

from loadgen.clients.llm_apis import anthropic, chat, completions, responses
from loadgen.clients.llm_apis.types import Api, ApiName

__all__ = ["APIS", "api_of_path"]

APIS: Final[dict[ApiName, Api]] = {api.name: api for api in (chat.API, completions.API, responses.API, anthropic.API)}


def api_of_path(path: str) -> Api | None:
    """Return the API to which a request path belongs, such as that of an SDK; None if it is none of them.

    A gateway may have a prefix before the path: "/openai/v1/chat/completions".
    """
    path = path.partition("?")[0]
    return next((api for api in APIS.values() if path.endswith(api.path)), None)
