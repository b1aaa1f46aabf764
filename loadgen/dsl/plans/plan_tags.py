"""Reads and checks the tags of a plan: declared ones, response headers, "cache", and the constants of its loads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, Final

from loadgen.clients.llm_apis.row_tags import LLM_TAGS
from loadgen.clients.request.cache_result import CACHE, RESULTS
from loadgen.dsl.plans.argument_validation import Wrong
from loadgen.dsl.tag import HEADER, Tag, is_tag_value, tag_name_wrong
from loadgen.engine.recording.tagging import MAX_PARTS, MOST_OF_HEADER, TagSpec
from loadgen.measure.deltas.limits import NAME_BYTES, TAGS_OF_SERIES
from loadgen.measure.deltas.series_key import LEVEL_TAG, Tags
from loadgen.measure.objectives.terms import Objective
from loadgen.profiles.levels import SETTLING, LevelSpan

if TYPE_CHECKING:
    from loadgen.dsl.plans.plan import Plan
    from loadgen.dsl.plans.plan_loads import DrivenLoad

__all__ = [
    "CACHE_TAG",
    "UNBOUNDED_HEADERS",
    "ReadTags",
    "levels_wrong",
    "read_load_tags",
    "read_tags",
    "span_of_level",
    "tag_names",
    "with_level_tag",
    "with_llm_tags",
]

CACHE_TAG: Final = TagSpec(name="cache", values=RESULTS, header=CACHE, most=len(RESULTS))
"""The tag of `tags=["cache"]`, whose value is read from the headers of caches by `cache_result`."""
UNBOUNDED_HEADERS: Final = frozenset({"age", "x-varnish"})
"""Headers of caches whose values have no bound: seconds, and ids of requests."""


@dataclass(frozen=True, slots=True)
class ReadTags:
    """The tags of a plan. headers: names of response headers in lower case, each once."""

    specs: tuple[TagSpec, ...] = ()
    headers: tuple[str, ...] = ()


def tag_names(plan: Plan) -> tuple[str, ...]:
    """Return the names of all tags that rows of this plan may have, each once, without "load" (the load's name).

    These are the declared tags, the response headers, and the constants of its loads.
    """
    names = [spec.name for spec in plan.tag_specs]
    names += [name for load in plan.loads for name, _ in load.tags]
    return tuple(dict.fromkeys(names))


def read_tags(tags: object, wrong: list[Wrong]) -> ReadTags:
    """Return a plan's `tags`: objects of `tag(...)`, texts such as "header:x-cache", and "cache", each once.

    Invalid tags are left out, and each adds an error to `wrong`.
    """
    given = list(tags) if isinstance(tags, Iterable) and not isinstance(tags, str | Mapping) else [tags]
    specs: dict[str, TagSpec] = {}
    for one in given:
        if isinstance(one, Tag):
            wrong += [Wrong("tags", fault.message, fault.hint, one.origin) for fault in one.faults]
            spec = one.spec
        elif isinstance(one, str) and one.strip() == CACHE_TAG.name:
            spec = CACHE_TAG
        elif (header := _header(one)) is None:
            wrong.append(Wrong("tags", f"tags: {one!r} is not a tag", _hint(one)))
            continue
        else:
            spec = TagSpec(name=header, header=header, most=MOST_OF_HEADER)
        if spec.header in UNBOUNDED_HEADERS:
            message = f"tags: the header {spec.header} has another value for nearly each response"
            wrong.append(
                Wrong("tags", message, 'write tags=["cache"], which has the values hit, miss, stale, bypass, none')
            )
            continue
        if specs.get(spec.name, spec) != spec or (isinstance(one, Tag) and spec.name in specs):
            wrong.append(Wrong("tags", f'tags: two tags are named "{spec.name}"', "rename one of them, or remove it"))
        specs.setdefault(spec.name, spec)
    wrong += _number_wrong(tuple(specs.values()), given)
    headers = dict.fromkeys(spec.header for spec in specs.values() if spec.header)
    return ReadTags(tuple(specs.values()), tuple(headers))


def with_llm_tags(specs: tuple[TagSpec, ...]) -> tuple[TagSpec, ...]:
    """Return the declared tags of a plan, and those that `user.llm` gives to its rows.

    A tag of the same name that the plan declares wins.
    """
    names = {spec.name for spec in specs}
    return (*specs, *(TagSpec(name=name, values=values) for name, values in LLM_TAGS.items() if name not in names))


def span_of_level(objective: Objective, lanes: Iterable[DrivenLoad]) -> LevelSpan | None:
    """Return the level of a load that an objective is limited to; None if it covers several, or is not limited."""
    names = next((one.values for one in objective.tags if one.name == LEVEL_TAG and not one.is_excluded), ())
    spans = [span for lane in lanes for span in lane.level_spans if span.text in names]
    return spans[0] if len(spans) == 1 else None


def with_level_tag(specs: tuple[TagSpec, ...], lanes: Iterable[DrivenLoad]) -> tuple[TagSpec, ...]:
    """Return the tags of a plan, and the tag of its levels if one of its loads has levels."""
    texts = [span.text for lane in lanes for span in lane.level_spans]
    return (*specs, TagSpec(name=LEVEL_TAG, values=(*texts, SETTLING))) if texts else specs


def levels_wrong(specs: Iterable[TagSpec], lanes: Sequence[DrivenLoad], *, is_warmup_found: bool) -> Iterator[Wrong]:
    """Yield the errors of a plan whose loads have levels.

    specs: the declared tags. is_warmup_found: the plan has warmup="auto".
    """
    leveled = [lane for lane in lanes if lane.levels]
    if not leveled:
        return
    if len(leveled) > 1:
        message = f"loads: {len(leveled)} loads have levels, so their rows would share the tag {LEVEL_TAG}"
        yield Wrong("loads", message, "keep levels in one load, or make a plan for each")
    names = [spec.name for spec in specs] + [name for lane in lanes for name, _ in lane.tags]
    if LEVEL_TAG in names:
        message = f'tags: the tag "{LEVEL_TAG}" is taken by the levels of the load'
        yield Wrong("tags", message, "rename the tag, for example to stage")
    declared = prod(len(spec.values) or spec.most for spec in specs if spec.name not in LLM_TAGS)
    if (product := declared * (len(leveled[0].levels) + 1)) > MAX_PARTS:
        message = f"tags: levels and declared tags make {product:,} combinations of a row, more than {MAX_PARTS}"
        yield Wrong("tags", message, "write fewer levels, or declare fewer values of tags")
    if is_warmup_found:
        message = 'warmup: "auto" cannot be used with levels, because each level has times of its own'
        yield Wrong("warmup", message, 'leave warmup out, and write levels(..., settle="20s")')


def _header(one: object) -> str | None:
    """Return the header's name in lower case of a text such as "header:x-cache"; None if it is invalid."""
    kind, _, name = one.partition(":") if isinstance(one, str) else ("", "", "")
    if kind.strip() != "header" or not re.fullmatch(HEADER, name.strip(), re.ASCII):
        return None
    return name.strip().lower()


def _hint(one: object) -> str:
    if isinstance(one, str) and ":" not in one and one:
        return f'write "header:{one}" for a response header, or tag("{one}", ...) with its values'
    return 'write tags=["header:x-cache"], with the name of a response header, or tags=[tag("tenant", "gold", "free")]'


def _number_wrong(specs: tuple[TagSpec, ...], given: Iterable[object]) -> Iterator[Wrong]:
    if len(specs) >= TAGS_OF_SERIES or any(len(spec.name) > NAME_BYTES for spec in specs):
        longest = max(len(spec.name) for spec in specs)
        message = f"tags: {len(specs)} names, the longest of {longest:,} bytes, are too many or too long"
        yield Wrong("tags", message, f"write fewer than {TAGS_OF_SERIES} names of at most {NAME_BYTES} bytes")
    declared = {one.name: len(one.values) or one.spec.most for one in given if isinstance(one, Tag)}
    if (product := prod(declared.values())) > MAX_PARTS:
        factors = " x ".join(f"{name} {count:,}" for name, count in declared.items())
        message = f"tags: the declared values make {product:,} combinations of a row ({factors}), more than {MAX_PARTS}"
        yield Wrong("tags", message, "declare fewer values; write user.note(...) for ids, which splits nothing")


def read_load_tags(tags: object, wrong: list[Wrong]) -> Tags:
    """Return the constants of a load's `tags={"phase": "spike"}`, sorted by name; () for None.

    Each invalid name or value adds an error to `wrong`.
    """
    if tags is None:
        return ()
    if not isinstance(tags, Mapping):
        wrong.append(Wrong("tags", f"tags: {tags!r} is not a dictionary", 'write tags={"phase": "spike"}'))
        return ()
    found: dict[str, str] = {}
    for key, value in tags.items():
        name: Any = key.name if isinstance(key, Tag) else key
        if (message := tag_name_wrong(name)) is not None:
            wrong.append(Wrong("tags", f"tags: {message[0]}", message[1]))
        elif not isinstance(value, str):
            wrong.append(Wrong("tags", f"tags: the value {value!r} of {name} is not a text", f'write "{value}"'))
        elif not is_tag_value(value):
            hint = f"write a text of 1 to {NAME_BYTES} bytes"
            wrong.append(Wrong("tags", f"tags: {value[:40]!r} is not a valid value of {name}", hint))
        else:
            found[name] = value
    return tuple(sorted(found.items()))
