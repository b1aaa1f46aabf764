"""Facts about the AI model that the set-up of a run finds out, once for the whole fleet, before the load.

The set-up lists the server's models, so that a wrong name is an error before the load, and not an error of each
request. It sends two prompts, and reads from the server's usage how many tokens the server counts for a word. All
workers then use the same factor, so prompts are the same on any number of agents.
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
    """The model's settings, with the facts that the set-up found out.

    settings: with the model's name, also if the plan has none. tokens_per_word: the tokens that the server counts for a
    word of a prompt. warning: a sentence for the report; "" for none.
    """

    settings: Llm
    tokens_per_word: float = 1.0
    warning: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the facts that the other workers need, as a JSON object."""
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
    """A function that measures how many tokens the server counts for a word of a prompt."""

    async def __call__(self, client: LlmClient) -> tuple[float, str]:
        """Return (tokens per word, a warning for the report or "")."""


async def found_out(facts: ModelFacts, client: LlmClient, http: HttpClient, calibrate: Calibrate) -> ModelFacts:
    """Ask the server for its models, measure its tokens per word, and return the facts.

    Args:
        facts: of the plan, before the set-up.
        client: asks the model that `facts` names.
        http: the client of the same target.
        calibrate: called only if the plan's `Llm` has `calibrate=True`.

    Raises:
        UsageError: the server returned no answer, or rejected the key or a prompt; it lists models, but not the
            plan's; or the plan names no model, and the server does not list exactly one.
        RequestFailed: a prompt of the calibration failed otherwise.
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
    """Return the names of the server's models; [] if the server does not list them."""
    try:
        reply = await http.get(_MODELS, headers=client.header_fields(), name="models", timeout="10s")
    except RequestFailed as failure:
        raise UsageError(
            f"the model's server returned no answer: {failure}",
            hint="check that the server runs, and check the plan's target; with loadgen llm: the URL",
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
