"""What the set-up of a run finds out about the AI model, once for the whole fleet, before the load.

It lists the server's models, so that a wrong name is an error before the load and not a load of errors. It sends two
prompts, and reads from the server's usage how many tokens it counts for a word. All workers then use the same factor,
so prompts are the same on any number of agents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import msgspec

from loadgen.clients.http import HttpClient
from loadgen.clients.llm.client import LlmClient
from loadgen.clients.llm.settings import Llm
from loadgen.clients.llm_apis.openai_wire import UNREADABLE
from loadgen.errors import RequestFailed, UsageError

__all__ = ["ModelFacts", "found_out"]

_MODELS: str = "/v1/models"
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The model's settings with what the set-up found out.

    tokens_per_word: how many tokens the server counts for a word of a prompt. warning: what the report has to say.
    """

    settings: Llm
    tokens_per_word: float = 1.0
    warning: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return what the other workers need to know."""
        return {"model": self.settings.model, "tokens_per_word": self.tokens_per_word, "warning": self.warning}

    def updated(self, found: Mapping[str, Any]) -> ModelFacts:
        """Return these facts with those that another worker's set-up found (`as_json`).

        Raises:
            ValueError, KeyError, TypeError: `found` is not what `as_json` returns.
        """
        factor = float(found["tokens_per_word"])
        if not 0.01 < factor < 100:
            raise ValueError(f"tokens_per_word={factor}")
        return ModelFacts(replace(self.settings, model=str(found["model"])), factor, str(found["warning"])[:500])


class Calibrate(Protocol):
    """Measures how many tokens the server counts for a word of a prompt."""

    async def __call__(self, client: LlmClient) -> tuple[float, str]:
        """Return (tokens for each word, a warning for the report or "")."""


async def found_out(facts: ModelFacts, client: LlmClient, http: HttpClient, calibrate: Calibrate) -> ModelFacts:
    """Return the facts of a model, after asking the server.

    Args:
        client: asks the model that `facts` names.
        http: the client of the same target.

    Raises:
        UsageError: the server has no such model, several while the plan names none, or it rejects the key.
        RequestFailed: the model did not answer.
    """
    settings = facts.settings
    models = await _models(http, client)
    if not settings.model:
        if len(models) != 1:
            raise UsageError(
                f"the plan names no model, and the server lists {_listed(models)}",
                hint='add Llm(model="...") to the plan; with loadgen llm: --model NAME',
            )
        settings = replace(settings, model=models[0])
        client.settings = settings
    elif models and settings.model not in models:
        raise UsageError(
            f'the server has no model "{settings.model}"; it lists {_listed(models)}',
            hint="correct Llm(model=...); with loadgen llm: --model",
        )
    if not settings.calibrate:
        return replace(facts, settings=settings)
    factor, warning = await calibrate(client)
    return ModelFacts(settings, factor, warning)


async def _models(http: HttpClient, client: LlmClient) -> list[str]:
    """Return the names of the server's models; none if it does not list them."""
    try:
        reply = await http.get(_MODELS, headers=client.header_fields(), name="models", timeout="10s")
    except RequestFailed as failure:
        raise UsageError(
            f"the model's server does not answer: {failure}",
            hint="start the server, or correct target=; with loadgen llm: the URL",
        ) from failure
    if reply.status_code in (401, 403):
        key = client.settings.api_key
        raise UsageError(
            f"the model's server rejects the key with status {reply.status_code}",
            hint='write Llm(api_key=secret("llm-key")), and store the key as that secret (loadgen llm: --key llm-key)'
            if key is None
            else f'correct the value of the secret "{key.name}"',
        )
    try:
        found = msgspec.json.decode(reply.content) if reply.status_code == 200 else {}
    except (*UNREADABLE, RequestFailed):
        return []
    rows = found.get("data") if isinstance(found, dict) else None
    if not isinstance(rows, list):
        return []
    return [row["id"] for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]


def _listed(models: list[str]) -> str:
    if not models:
        return "none"
    more = f" and {len(models) - _SHOWN} more" if len(models) > _SHOWN else ""
    return ", ".join(f'"{name[:100]}"' for name in models[:_SHOWN]) + more
