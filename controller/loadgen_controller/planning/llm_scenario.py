"""Writes the scenario that `loadgen llm URL` runs, so that the run is like any other run of a scenario."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, get_args

from loadgen.clients.llm.settings import Llm
from loadgen.clients.llm_apis.types import ApiName
from loadgen.dsl.loading.answer_time_check import longest_answer_ns
from loadgen.dsl.prompts.prompt import MOST_TOKENS
from loadgen.dsl.secret import name_is_good
from loadgen.measure.convention_metrics import RECORDABLE
from loadgen.measure.objectives.terms import GOODPUT_LIMITS
from loadgen.profiles.levels import MAX_LEVELS
from loadgen.units import NS_PER_S, parse_duration, parse_rate, parse_ratio, quantity
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.planning.url_scenario import url_parts

__all__ = ["LlmRequest", "scenario_text"]

_PATHS: Final = ("", "/", "/v1", "/v1/")
"""Paths that mean the server itself: the client appends the path of the API."""
_LEAST_DRAIN_NS: Final = 120 * NS_PER_S
"""Longer than the default of plans, 30s, because models answer slowly."""

_SOURCE: Final = '''"""{title}"""

from loadgen import {names}


@journey
async def ask(user: User) -> None:
    await user.llm.chat(prompt(tokens={input}), max_tokens={output}{more})


plan = Plan(
    target={target},
    llm=Llm({llm}),
    load={load},
    mix=ask,
{slos}    drain="{drain}",
)
'''


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmRequest:
    """The options of `loadgen llm` as the user wrote them. None: the option is not given."""

    url: str
    model: str | None = None
    api: str = "chat"
    key: str | None = None
    rate: str | None = None
    users: str | None = None
    is_even: bool = False
    """Whether arrivals have equal distances instead of random ones."""
    duration: str | None = None
    each: str | None = None
    settle: str | None = None
    has_all_levels: bool = False
    """Whether a sweep goes on after a saturated level."""
    input: int = 1024
    output: int = 256
    is_exact: bool = False
    goodput: str | None = None
    goodput_share: str | None = None
    needs_sure: bool = False
    """Whether the verdict of the objective counts only if it is sure (--sure)."""
    convention: str | None = None
    keep_streams: str | None = None
    tokenizer: str | None = None
    """The path of the tokenizer's file as the scenario names it, relative to the scenario's folder."""


def scenario_text(errors: CollectedErrors, asked: LlmRequest) -> str:
    """Return the Python text of a scenario for these options, and add all errors in the options to `errors`.

    The text is valid only if no error was added.
    """
    parts = errors.catch(lambda: url_parts(asked.url))
    if parts is not None and (parts.query or parts.fragment):
        # The URL is not shown: its query may contain a key.
        errors.add("the URL has a query or a fragment", "write the server's URL, such as http://host:8000")
    if asked.api not in get_args(ApiName):
        errors.add(f"--api: unknown API {asked.api!r}", _meant(asked.api, get_args(ApiName)))
    if asked.key is not None and not name_is_good(asked.key):
        # The value is not shown: it may be the API key itself.
        errors.add(
            "--key: the value is not a valid name of a secret",
            "write a name, such as api-token; its value is read from LOADGEN_SECRET_API_TOKEN",
        )
    for option, tokens in (("--input", asked.input), ("--output", asked.output)):
        if not 1 <= tokens <= MOST_TOKENS:
            errors.add(f"{option}: {tokens:,} tokens are out of range", f"write 1 to {MOST_TOKENS:,}")
    load, load_words = _load(errors, asked)
    slo, limits = _goodput(errors, asked)
    conventions = errors.parse("--convention", asked.convention, lambda text: _listed(text, _convention)) or []
    kept = errors.parse("--keep-streams", asked.keep_streams, _kept)
    path = parts.path if parts is not None and parts.path not in _PATHS else ""
    llm = [
        *([f"model={_quoted(asked.model)}"] if asked.model else []),
        *([f"api={_quoted(asked.api)}"] if asked.api != "chat" else []),
        *([f"path={_quoted(path)}"] if path else []),
        *([f"api_key=secret({_quoted(asked.key)})"] if asked.key is not None else []),
        *([f"tokenizer={_quoted(asked.tokenizer)}"] if asked.tokenizer is not None else []),
        *([f"conventions={_tuple(conventions)}"] if conventions else []),
        *([f"keep_streams={kept}"] if kept is not None else []),
    ]
    names = {"Llm", "Plan", "User", "journey", "prompt", load.partition("(")[0]}
    names |= ({"goodput"} if slo else set()) | ({"secret"} if asked.key is not None else set())
    return _SOURCE.format(
        title=f"{asked.input} tokens in, {asked.output} out, {load_words}. Made by loadgen llm.",
        names=", ".join(sorted(names, key=lambda name: (name[0].islower(), name))),
        input=asked.input,
        output=asked.output,
        more=", exactly=True" if asked.is_exact else "",
        target=_quoted("" if parts is None else f"{parts.scheme}://{parts.netloc}"),
        llm=", ".join(llm),
        load=load,
        slos=f"    slos=[{slo}],\n" if slo else "",
        drain=_drain(asked.output, limits),
    )


def _load(errors: CollectedErrors, asked: LlmRequest) -> tuple[str, str]:
    """Return the load of the plan as Python text, and as words for the title."""
    if (asked.rate is None) == (asked.users is None):
        what = "neither --rate nor --users is given" if asked.rate is None else "--rate and --users are both given"
        errors.add(what, "write --rate 4/s, or --users 8; several levels are a sweep: --users 1,2,4,8")
    rates = errors.parse("--rate", asked.rate, lambda text: _listed(text, _rate)) or []
    users = errors.parse("--users", asked.users, lambda text: _listed(text, _users)) or []
    is_sweep = max(len(rates), len(users)) > 1
    if is_sweep and asked.duration is not None:
        errors.add("--duration cannot be used with several levels", "write --each 1m, the duration of each level")
    if not is_sweep and (rates or users):
        options = (("--each", asked.each), ("--settle", asked.settle), ("--all-levels", asked.has_all_levels or None))
        for option, given in options:
            if given is not None:
                hint = "write --duration 1m, or several levels: --users 1,2,4,8"
                errors.add(f"{option} needs several levels", hint)
    if is_sweep and asked.needs_sure and asked.goodput is not None:
        errors.add(
            "--sure cannot be used with several levels: the objective covers all of them, and they differ, so a longer "
            "run does not make its verdict sure",
            'write one level, or keep the scenario with --save FILE and add tags={"level": "8"} to its objective',
        )
    if asked.is_even and asked.users is not None:
        errors.add("--even is for --rate: users have no arrivals", "leave --even out")
    duration = _duration(errors, "--duration", asked.duration, "1m")
    each, settle = _duration(errors, "--each", asked.each, "1m"), _duration(errors, "--settle", asked.settle, "10s")
    if is_sweep and each is not None and settle is not None and parse_duration(settle) >= parse_duration(each):
        errors.add(
            f"--settle {settle} must be shorter than --each {each}",
            f"write --settle {_tenth(each)}, or a longer --each",
        )
    shape = "" if asked.is_even else ".poisson()"
    if is_sweep:
        values = [parse_rate(text.strip('"')) for text in rates] or [float(text) for text in users]
        # Levels that fall, or go up and down, are all run: those after a saturated one may be below it.
        stop = "" if asked.has_all_levels or values != sorted(values) else ", stop_when_saturated=True"
        times = f"each={_quoted(each or '')}, settle={_quoted(settle or '')}"
        of = f"levels([{', '.join(rates or users)}], {times}{stop})"
        words = (
            f"at levels of {', '.join(map(_rate_words, rates))}" if rates else f"at levels of {', '.join(users)} users"
        )
        return (f"arrivals(){shape}.{of}" if rates else f"users().{of}"), words
    held = f"hold({_quoted(duration or '')})"
    if rates:
        return f"arrivals({rates[0]}){shape}.{held}", f"at {_rate_words(rates[0])}"
    return f"users({users[0] if users else 1}).{held}", quantity(int(users[0]) if users else 1, "user")


def _rate_words(quoted: str) -> str:
    """Return a rate for the title: a number without a unit is per second."""
    text = quoted.strip('"').strip()
    return text if "/" in text else f"{text}/s"


def _listed(text: str, read: Callable[[str], str]) -> list[str]:
    """Return the elements of "1,2,4", each read by `read`. Raises ValueError for the first invalid element."""
    found = [read(part.strip()) for part in text.split(",")]
    if twice := next((one for k, one in enumerate(found) if one in found[:k]), None):
        raise ValueError(f"{twice} is given twice; write it once")
    if len(found) > MAX_LEVELS:
        raise ValueError(f"{len(found)} levels are more than {MAX_LEVELS}; write fewer")
    return found


def _rate(text: str) -> str:
    if parse_rate(text) <= 0:
        raise ValueError(f"{text!r} is not a rate above 0; write 4/s")
    return _quoted(text)


def _convention(text: str) -> str:
    if text not in RECORDABLE:
        raise ValueError(f"unknown tool {text!r}; {_meant(text, RECORDABLE)}")
    return _quoted(text)


def _users(text: str) -> str:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise ValueError(f"{text!r} is not a number of users above 0; write 8, or 1,2,4,8")
    return str(int(text))


def _duration(errors: CollectedErrors, option: str, given: str | None, default: str) -> str | None:
    """Return a duration as text. If it is invalid, add an error to `errors` and return None."""

    def read(text: str) -> str:
        if not parse_duration(text) and option != "--settle":
            raise ValueError(f"{text!r} is not a duration above 0; write 1m")
        return text

    return errors.parse(option, default if given is None else given, read)


def _tenth(each: str) -> str:
    return f"{parse_duration(each) / 1e10:g}s"


def _drain(output: int, limits: Mapping[str, str]) -> str:
    """Return a drain that is long enough for an answer of `output` tokens, as text: whole minutes, and at least two."""
    in_ns = {name: parse_duration(limit) for name, limit in limits.items()}
    needed_ns = max(_LEAST_DRAIN_NS, longest_answer_ns(output, in_ns, Llm().timeout_ns))
    return f"{-(-needed_ns // (60 * NS_PER_S))}m"


def _goodput(errors: CollectedErrors, asked: LlmRequest) -> tuple[str, dict[str, str]]:
    """Return the objective of --goodput as Python text, "" if the option is not given, and its limits."""
    share = errors.parse("--goodput-share", asked.goodput_share, _share)
    if asked.goodput is None:
        if asked.goodput_share is not None:
            errors.add("--goodput-share needs --goodput", "write --goodput ttft=500ms,tpot=50ms")
        return "", {}
    limits: dict[str, str] = {}
    for part in asked.goodput.split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name not in GOODPUT_LIMITS:
            errors.add(f"--goodput: unknown metric {name!r}", _meant(name, GOODPUT_LIMITS))
        elif name in limits:
            errors.add(f"--goodput: {name} is given twice", "remove one")
        elif not _is_limit(value):
            errors.add(
                f"--goodput: {name}={value}: {value!r} is not a duration above 0 with a unit",
                f"write the limit with its unit: {name}=500ms",
            )
        else:
            limits[name] = value
    shown = ", ".join(f"{name}={_quoted(value)}" for name, value in limits.items())
    return f"goodput({shown}) > {_quoted(share or '95%')}", limits


def _is_limit(text: str) -> bool:
    try:
        return parse_duration(text) > 0
    except ValueError:
        return False


def _kept(text: str) -> str:
    """Return a share of streams, such as 1%, as a Python number."""
    try:
        return f"{parse_ratio(text):.10g}"
    except ValueError:
        raise ValueError(f"{text!r} is not a share from 0 % to 100 %; write 1%") from None


def _share(text: str) -> str:
    try:
        share = parse_ratio(text)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise ValueError(f"{text!r} is not a share between 0 % and 100 %; write 95%")
    return text.strip()


def _meant(text: str, known: Collection[str]) -> str:
    """Return the hint for an unknown word: the known one that is most like it, or all."""
    near = get_close_matches(text, known, n=1)
    return f"did you mean {near[0]}?" if near else f"write one of {', '.join(known)}"


def _tuple(literals: list[str]) -> str:
    return f"({literals[0]},)" if len(literals) == 1 else f"({', '.join(literals)})"


def _quoted(text: str) -> str:
    """Return a Python string literal in double quotes, as in the examples of the docs."""
    return json.dumps(text)  # a JSON string is a Python string
