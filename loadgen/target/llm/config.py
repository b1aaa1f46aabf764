"""Configuration of the AI inference server: its times, its limits, and its scripts.

Times are integer ns. `OPTIONS` has the help of each option once, for `loadgen target llm` and for
`python -m loadgen.target llm`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar

from loadgen.errors import UsageError
from loadgen.target.llm.scripts.ready_made import ready_made
from loadgen.target.llm.scripts.script import Script, read_scripts
from loadgen.units import NS_PER_MS, parse_duration, parse_ratio

__all__ = ["OPTIONS", "LlmConfig"]

_ENGINES: Final = ("vllm", "sglang")

OPTIONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "host": "Address to listen on.",
        "port": "Port to listen on; 0: any free port.",
        "seed": "Seed of the jitter: the same seed gives the same times.",
        "model": "Name of a model that the server has. Repeatable.",
        "engine": "Names of the metrics: vllm or sglang.",
        "ttft": "Time from the start of a request to its first token.",
        "itl": "Time between two events of tokens.",
        "per_token": "Additional time to first token for each prompt token that is not cached.",
        "slots": "Requests served at the same time; others wait in a queue. 0: no limit.",
        "service": "Time from the start of a request to its last token, instead of --itl.",
        "warmup_requests": "This many first requests are slower by --warmup-penalty.",
        "warmup_penalty": "Additional time to first token of the first requests.",
        "jitter": "Multiply each interval by a random factor: 10% draws it from 0.9 to 1.1.",
        "tokens_per_event": "Tokens in each event, as with speculative decoding.",
        "output": "Tokens of an answer, unless the request sets a lower or an exact number.",
        "context": "Longest prompt and answer together, in tokens.",
        "tokens_per_word": "Prompt tokens for each word of a prompt.",
        "api_key": "Key that requests must have.",
        "no_ignore_eos": "Reject ignore_eos and min_tokens with status 400.",
        "no_prefix_cache": "Compute all of each prompt, without cached prefixes.",
        "synchronous": "Send the tokens of all streams at the same steps of --itl, as a batch engine does.",
        "script": "Send the streams of this file, or a ready-made script such as golden.",
        "log": "Write a row for each send to this file when the server ends.",
        "core": "Run on this CPU core only.",
    }
)

_TTFT_NS: Final = 200 * NS_PER_MS
_ITL_NS: Final = 20 * NS_PER_MS

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class LlmConfig:
    """All settings of the server. `of_options` checks them."""

    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 1
    models: tuple[str, ...] = ("loadgen-llm",)
    engine: str = "vllm"
    ttft_ns: int = _TTFT_NS
    itl_ns: int = _ITL_NS
    per_token_ns: int = 0
    slots: int = 0
    service_ns: int = 0
    """Time to the last token; 0: `ttft_ns` and `itl_ns` decide."""
    warmup_requests: int = 0
    warmup_penalty_ns: int = 0
    jitter: float = 0.0
    tokens_per_event: int = 1
    output_tokens: int = 64
    context: int = 32_768
    tokens_per_word: float = 1.0
    api_key: str = ""
    allows_ignore_eos: bool = True
    caches_prefixes: bool = True
    is_synchronous: bool = False
    scripts: tuple[Script, ...] = ()
    """Requests get these in turn; empty: the times above decide."""
    log: Path | None = None
    core: int | None = None

    @classmethod
    def of_options(
        cls,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 1,
        model: Sequence[str] = (),
        engine: str = "vllm",
        ttft: str | None = None,
        itl: str | None = None,
        per_token: str | None = None,
        slots: int = 0,
        service: str | None = None,
        warmup_requests: int = 0,
        warmup_penalty: str = "500ms",
        jitter: str = "0%",
        tokens_per_event: int = 1,
        output: int = 64,
        context: int = 32_768,
        tokens_per_word: float = 1.0,
        api_key: str | None = None,
        no_ignore_eos: bool = False,
        no_prefix_cache: bool = False,
        synchronous: bool = False,
        script: str | None = None,
        log: Path | None = None,
        core: int | None = None,
    ) -> LlmConfig:
        """Return the configuration for the values of the command-line options.

        Raises:
            UsageError: with all invalid values, one a line.
        """
        wrong: list[str] = []

        def read(option: str, text: str | None, parser: Callable[[str], T], otherwise: T) -> T:
            try:
                return otherwise if text is None else parser(text)
            except ValueError as error:
                wrong.append(f"{option}: {error}")
                return otherwise

        def at_least(option: str, value: float, least: float) -> None:
            if not value >= least:
                wrong.append(f"{option} must be at least {least:g}, got {value:g}")

        service_ns = read("--service", service, parse_duration, 0)
        ttft_ns = read("--ttft", ttft, parse_duration, min(_TTFT_NS, service_ns // 2) if service_ns else _TTFT_NS)
        itl_ns = read("--itl", itl, parse_duration, _ITL_NS)
        per_token_ns = read("--per-token", per_token, parse_duration, 0)
        penalty_ns = read("--warmup-penalty", warmup_penalty, parse_duration, 0)
        share = read("--jitter", jitter, parse_ratio, 0.0)
        none: tuple[Script, ...] = ()
        scripts = read("--script", script, _scripts, none)
        if service is not None:
            if itl is not None:
                wrong.append("--service and --itl exclude each other: use one of them")
            if service_ns and ttft_ns > service_ns:
                wrong.append("--service must be at least --ttft: its end is the last token")
        if synchronous and (not itl_ns or service is not None):
            wrong.append("--synchronous needs an --itl above 0, and no --service")
        if engine not in _ENGINES:
            wrong.append(f'--engine must be {" or ".join(_ENGINES)}, got "{engine}"')
        if not 0 <= port <= 65535:
            wrong.append(f"--port must be from 0 to 65535, got {port}")
        if not all(model):
            wrong.append("--model must not be empty")
        for option, value, least in (
            ("--slots", slots, 0),
            ("--warmup-requests", warmup_requests, 0),
            ("--tokens-per-event", tokens_per_event, 1),
            ("--output", output, 1),
            ("--context", context, 2),
            ("--tokens-per-word", tokens_per_word, 0.01),
        ):
            at_least(option, value, least)
        _check_log(log, wrong)
        _check_core(core, wrong)
        if wrong:
            raise UsageError("\n".join(wrong), hint="loadgen target llm --help describes these options")
        return cls(
            host=host,
            port=port,
            seed=seed,
            models=tuple(model) or ("loadgen-llm",),
            engine=engine,
            ttft_ns=ttft_ns,
            itl_ns=itl_ns,
            per_token_ns=per_token_ns,
            slots=slots,
            service_ns=service_ns,
            warmup_requests=warmup_requests,
            warmup_penalty_ns=penalty_ns,
            jitter=share,
            tokens_per_event=tokens_per_event,
            output_tokens=output,
            context=context,
            tokens_per_word=tokens_per_word,
            api_key=api_key or "",
            allows_ignore_eos=not no_ignore_eos,
            caches_prefixes=not no_prefix_cache,
            is_synchronous=synchronous,
            scripts=scripts,
            log=log,
            core=core,
        )


def _scripts(name: str) -> tuple[Script, ...]:
    """Return the ready-made script of that name, or the scripts of that file. Raises ValueError with all faults."""
    made = ready_made(name)
    return (made,) if made is not None else read_scripts(Path(name))


def _check_log(log: Path | None, wrong: list[str]) -> None:
    if log is None:
        return
    if log.is_dir():
        wrong.append(f"--log: {log} is a folder; name a file in it")
    elif not log.parent.is_dir():
        wrong.append(f"--log: there is no folder {log.parent}; create it first")
    elif not os.access(log if log.exists() else log.parent, os.W_OK):
        wrong.append(f"--log: {log} cannot be written: no permission")


def _check_core(core: int | None, wrong: list[str]) -> None:
    if core is None:
        return
    if not hasattr(os, "sched_getaffinity"):
        wrong.append("--core: this system cannot bind a process to a core; leave the option out")
    elif core not in os.sched_getaffinity(0):
        wrong.append(f"--core: no core {core}; use one of {', '.join(map(str, sorted(os.sched_getaffinity(0))))}")
