"""`Llm`: the settings of a plan's requests to an AI model, and the check of their values.

    Plan(..., llm=Llm(model="qwen3-8b", max_tokens=256))

`Llm` is a value: it opens nothing and raises nothing. `wrongs` returns all its errors. An API key is a
`secret("name")`, so the key itself is never in a bundle, a manifest, a log or a report.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal, get_args

from loadgen.clients.llm.tokenizer import Tokenizer, tokenizer_of
from loadgen.clients.llm_apis.apis import api_of_path
from loadgen.clients.llm_apis.types import Api, ApiName
from loadgen.clients.net.settings import Named
from loadgen.clients.net.settings_check import is_secret
from loadgen.errors import UsageError
from loadgen.measure.convention_metrics import RECORDABLE, RecordedConvention
from loadgen.measure.deltas.kept_stream import KEPT_SHARE
from loadgen.units import parse_duration

__all__ = ["Llm", "UsageWanted", "parse_tokens"]

UsageWanted = Literal["final", "continuous", "none"]
_API_HINT: Final = f"write one of {', '.join(get_args(ApiName))}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Llm:
    """The settings of the requests of `user.llm`. A call can replace `max_tokens`, `temperature` and `stream`."""

    model: str = ""
    """The model's name at the server. Empty: the only model that the server lists at /v1/models."""
    api: ApiName | Api = "chat"
    """The API of the server: "chat" (chat completions), "completions", "responses" or "anthropic" (messages), or an
    `Api` that the scenario makes itself (`loadgen/clients/llm_apis/types.py`)."""
    target: str | None = None
    """The name of the model's target in the plan; None: the main target."""
    path: str | None = None
    """The path of requests; None: the path of the API, such as /v1/chat/completions."""
    api_key: Named | None = None
    """The key as a secret, such as secret("openai-key"); None: no key is sent. The header depends on the API:
    `Authorization: Bearer`, or `x-api-key` for "anthropic"."""
    max_tokens: int | None = None
    """The most output tokens of each request; None: the server decides."""
    temperature: float | None = None
    """The temperature of each request, 0 to 2; None: the server decides."""
    stream: bool = True
    """False: ask for whole answers instead of streams. All tokens of a whole answer arrive at the same time."""
    usage: UsageWanted = "final"
    """Which token counts to ask for: "final" at the end of each stream, "continuous" in each event (vLLM, SGLang), or
    "none"."""
    timeout: str | float = "10m"
    """The longest time of a whole request."""
    first_token: str | float | None = "60s"  # noqa: S105
    """The longest time until the first token; None: no limit."""
    idle: str | float | None = "60s"
    """The longest wait between two reads after the first token; None: no limit."""
    budget: str | int | None = None
    """The run ends when its requests have used this number of prompt and output tokens, such as "2M tokens"; None: no
    limit."""
    calibrate: bool = True
    """True: send two short prompts before the load, and correct the length of all prompts by the tokens that the server
    counts."""
    tokenizer: str | Path | None = None
    """The model's tokenizer.json, in the scenario's folder. It counts the tokens of answers without usage, and makes
    `prompt(tokens=...)` exact. It needs the extra `llm`. None: no file."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further keys of each request's body: {"top_p": 0.9}."""
    conventions: tuple[RecordedConvention, ...] = ()
    """Names of other tools, such as ("vllm", "aiperf"): the times of streams are also recorded by their definitions, as
    custom metrics such as "vllm ttft". `loadgen report --format vllm-bench` needs those of "vllm"."""
    keep_streams: float = KEPT_SHARE
    """The share of all streams whose event lists are kept in the run folder, 0 to 1. The lists have times and numbers
    of tokens, no texts. In addition, the slowest stream of each interval is kept. 0: none.
    `docs/llm-kept-streams.md`."""

    # -- derived values, for settings without errors -----------------------------------------------

    @property
    def budget_tokens(self) -> int | None:
        return None if self.budget is None else parse_tokens(self.budget)

    @property
    def timeout_ns(self) -> int:
        return parse_duration(self.timeout)

    @property
    def first_token_ns(self) -> int | None:
        return None if self.first_token is None else parse_duration(self.first_token)

    @property
    def idle_ns(self) -> int | None:
        return None if self.idle is None else parse_duration(self.idle)

    def settled(self, folder: Path) -> Llm:
        """Return the settings with the tokenizer's path resolved against `folder`, the scenario's folder."""
        return self if self.tokenizer is None else replace(self, tokenizer=folder / self.tokenizer)

    def loaded_tokenizer(self) -> Tokenizer | None:
        """Return the tokenizer of these settings, once `settled`; None if they name none.

        Raises:
            UsageError: the file cannot be used.
        """
        return None if self.tokenizer is None else tokenizer_of(Path(self.tokenizer))

    def wrongs(self, folder: Path = Path()) -> Iterator[tuple[str, str]]:
        """Yield each error of these settings as (message, hint). folder: the scenario's folder."""
        for name in ("model", "path", "target"):
            value: object = getattr(self, name)
            if value is not None and not isinstance(value, str):
                yield f"Llm: {name}={value!r} must be a text", f'write {name}="..."'
        if not isinstance(self.api, Api) and self.api not in get_args(ApiName):
            near = get_close_matches(str(self.api), get_args(ApiName), n=1)
            yield f"Llm: unknown api={self.api!r}", f'write api="{near[0]}"' if near else _API_HINT
        if isinstance(self.path, str) and not self.path.startswith("/"):
            yield f"Llm: path={self.path!r} must begin with /", 'write path="/v1/chat/completions"'
        elif isinstance(self.path, str) and not isinstance(self.api, Api):
            # Each API has its own bodies and events: a server would refuse them, or its stream would not be read.
            other = api_of_path(self.path)
            if other is not None and self.api in get_args(ApiName) and other.name != self.api:
                message = f'Llm: path="{self.path}" belongs to api="{other.name}", not to api="{self.api}"'
                yield message, f'write api="{other.name}", or leave out path='
        if self.api_key is not None and not is_secret(self.api_key):
            yield "Llm: api_key= must be a secret, because plans are stored", 'write api_key=secret("llm-key")'
        if self.max_tokens is not None and not _is_whole(self.max_tokens, 1):
            yield f"Llm: max_tokens={self.max_tokens!r} must be a whole number of at least 1", "write max_tokens=256"
        given: object = self.temperature
        if given is not None and (isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= 2):
            yield f"Llm: temperature={given!r} must be a number from 0 to 2", "write temperature=0"
        if self.usage not in get_args(UsageWanted):
            yield f"Llm: unknown usage={self.usage!r}", f"write one of {', '.join(get_args(UsageWanted))}"
        for name in ("stream", "calibrate"):
            flag: object = getattr(self, name)
            if not isinstance(flag, bool):
                yield f"Llm: {name}={flag!r} must be True or False", f"write {name}=False"
        if self.budget is not None:
            try:
                parse_tokens(self.budget)
            except (ValueError, TypeError):
                message = f"Llm: budget={self.budget!r} must be a number of tokens above 0"
                yield message, 'write budget="2M tokens"'
        for name in ("timeout", "first_token", "idle"):
            yield from _duration_wrong(name, getattr(self, name), may_be_none=name != "timeout")
        yield from self._tokenizer_wrong(folder)
        share: object = self.keep_streams
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            yield f"Llm: keep_streams={share!r} must be a share from 0 to 1", "write keep_streams=0.01"
        extra: object = self.extra
        if not isinstance(extra, Mapping) or not all(isinstance(key, str) for key in extra):
            yield f"Llm: extra={extra!r} must be a dict with texts as keys", 'write extra={"top_p": 0.9}'
        named: object = self.conventions
        known = f"use one of {', '.join(RECORDABLE)}"
        if not isinstance(named, tuple | list):
            yield f"Llm: conventions={named!r} must be a tuple of names", 'write conventions=("vllm",)'
        else:
            for name in named:
                if name not in RECORDABLE:
                    yield f"Llm: unknown convention {name!r}", known

    def _tokenizer_wrong(self, folder: Path) -> Iterator[tuple[str, str]]:
        given: object = self.tokenizer
        if given is None:
            return
        if not isinstance(given, str | Path) or not str(given).strip():
            yield f"Llm: tokenizer={given!r} must be the path of a file", 'write tokenizer="tokenizer.json"'
            return
        try:
            self.settled(folder).loaded_tokenizer()
        except UsageError as error:
            yield f"Llm: tokenizer: {error.message}", error.hint

    def as_json(self) -> dict[str, Any]:
        """Return the settings that differ from the defaults, as a JSON object.

        It contains the name of the API key's secret, not the key, the name of the tokenizer's file, and of `extra` only
        the keys.
        """
        usual = Llm()
        found: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if value != getattr(usual, one.name):
                found[one.name] = value.name if isinstance(value, Api) or one.name == "api_key" else value
        if self.budget is not None:
            found["budget"] = self.budget_tokens
        if self.tokenizer is not None:
            found["tokenizer"] = Path(self.tokenizer).name
        if "extra" in found:
            found["extra"] = sorted(found["extra"])
        return found


_TOKENS: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kM]?)(?: tokens)?")


def parse_tokens(text: str | int) -> int:
    """Return the number of tokens that a text or number stands for: "2M tokens", "500k", 1000.

    Raises:
        ValueError: the text is not a number of tokens, or the number is below 1.
    """
    found = _TOKENS.fullmatch(text.replace("_", "").strip()) if isinstance(text, str) else None
    if isinstance(text, str) and found is not None:
        tokens = int(Fraction(found[1]) * {"": 1, "k": 1_000, "M": 1_000_000}[found[2]])
    elif isinstance(text, int) and not isinstance(text, bool):
        tokens = text
    else:
        raise ValueError(f"{text!r} is not a number of tokens")
    if tokens < 1:
        raise ValueError(f"{text!r} must be at least 1 token")
    return tokens


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _duration_wrong(name: str, value: object, *, may_be_none: bool) -> Iterator[tuple[str, str]]:
    if value is None and may_be_none:
        return
    try:
        is_right = isinstance(value, str | int | float) and not isinstance(value, bool) and parse_duration(value) > 0
    except ValueError:
        is_right = False
    if not is_right:
        yield f"Llm: {name}={value!r} must be a time above 0", f'write {name}="60s"'
