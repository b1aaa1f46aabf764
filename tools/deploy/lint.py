"""Check our own rules for the Terraform files.

`RULES` lists them: each has a name, a purpose, and a function that yields the faults of
one module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tools.deploy.hcl import Block, strings, without_strings
from tools.deploy.module import Fault, Module, named

__all__ = ["RULES", "Rule", "check"]

OPEN = ("0.0.0.0/0", "::/0")
ALLOWED = re.compile(r"# deploy-check: open cidr: \S+")
"""A comment above a block that allows it to name 0.0.0.0/0, with the reason."""
_FIXED = re.compile(r"arn:aws|amazonaws\.com")
_LOOP = re.compile(r"\bfor\s+(\w+)\s*(?:,\s*(\w+)\s*)?in\b")
_TAKEN = {"path", "var", "local", "module", "data", "each", "count", "self", "terraform"}
_MACHINES = ("aws_launch_template", "aws_instance")
_IN_STATE = {"tls_private_key", "random_password", "aws_key_pair", "aws_iam_access_key"}
_INLINE = {"aws_security_group", "aws_default_security_group"}


@dataclass(frozen=True, slots=True)
class Rule:
    name: str
    about: str
    find: Callable[[Module, dict[str, Any]], Iterator[tuple[Block, int, str]]]
    """(module, provider's schema) -> (block, line, fault) for each fault."""


def check(modules: list[Module], known: dict[str, Any]) -> Iterator[Fault]:
    """Yield all faults of the modules. `known` is the provider's schema."""
    for module in modules:
        for rule in RULES:
            for block, line, what in rule.find(module, known):
                yield Fault(block.path, line, rule.name, what)


def _typed(module: Module, _: dict[str, Any]) -> Iterator[tuple[Block, int, str]]:
    for variable in module.all("variable"):
        for wanted in ("type", "description"):
            if wanted not in variable.attributes:
                yield variable, variable.line, f"variable {variable.labels[0]} has no {wanted}"
        if variable.attributes.get("type") and variable.attributes["type"].text in ("any", "map(any)", "list(any)"):
            yield variable, variable.line, f"variable {variable.labels[0]} is of any type"
    for output in module.all("output"):
        if "description" not in output.attributes:
            yield output, output.line, f"output {output.labels[0]} has no description"


def _unused(module: Module, _: dict[str, Any]) -> Iterator[tuple[Block, int, str]]:
    used: dict[str, set[str]] = {"var": set(), "local": set()}
    for block, attribute in module.attributes():
        for parts in named(attribute.text):
            # A variable in its own validation does not count as used.
            if parts[0] in used and not (
                parts[0] == "var" and block.kind == "validation" and _own(module, block) == parts[1]
            ):
                used[parts[0]].add(parts[1])
    for variable in module.all("variable"):
        if variable.labels[0] not in used["var"]:
            yield variable, variable.line, f"variable {variable.labels[0]} is not used"
    for block in module.all("locals"):
        for name, one in block.attributes.items():
            if name not in used["local"]:
                yield block, one.line, f"local {name} is not used"


def _circles(module: Module, _: dict[str, Any]) -> Iterator[tuple[Block, int, str]]:
    """Find circles: a validation must not use values that depend on its variable, which wait for the validation."""
    uses: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for variable in module.all("variable"):
        texts = [one.text for inner in variable.of("validation") for one in inner.attributes.values()]
        me = ("var", variable.labels[0])
        uses[me] = {parts[:2] for text in texts for parts in named(text) if parts[:2] != me}  # type: ignore[misc]
    for name, one in module.locals().items():
        uses[("local", name)] = {parts[:2] for parts in named(one.text)}  # type: ignore[misc]
    for variable in module.all("variable"):
        me, seen = ("var", variable.labels[0]), set[tuple[str, str]]()
        waiting = list(uses[me])
        while waiting:
            next_ = waiting.pop()
            if next_ == me:
                yield (
                    variable,
                    variable.line,
                    f"the validation of {me[1]} uses a value that depends on {me[1]}: a circle",
                )
                break
            if next_ not in seen:
                seen.add(next_)
                waiting += uses.get(next_, ())


def _shadows(module: Module, _: dict[str, Any]) -> Iterator[tuple[Block, int, str]]:
    for block, attribute in module.attributes():
        for found in _LOOP.finditer(without_strings(attribute.text)):
            for name in filter(None, found.groups()):
                if name in _TAKEN:
                    yield block, attribute.line, f"a loop's {name} hides {name}."


def _own(module: Module, validation: Block) -> str | None:
    return next((one.labels[0] for one in module.all("variable") if any(b is validation for b in one.blocks)), None)


def _versions(module: Module, _: dict[str, Any]) -> Iterator[tuple[Block, int, str]]:
    settings = list(module.all("terraform"))
    first = module.blocks[0]
    if not any("required_version" in one.attributes for one in settings):
        yield first, 1, "no required_version"
    uses = any(one.labels[0].startswith("aws_") for one in module.all("resource", "data"))
    if uses and not any("aws" in inner.attributes for one in settings for inner in one.of("required_providers")):
        yield first, 1, "no version of the provider aws"


def _closed(module: Module, _: dict[str, Any]) -> Iterator[tuple[Block, int, str]]:
    for top in module.all("resource", "data", "locals", "module", "provider"):
        excused = any(ALLOWED.match(remark) for remark in top.remarks)
        ingress = top.kind == "resource" and "ingress" in top.labels[0]
        for block in top.walk():
            for one in block.attributes.values():
                if any(cidr in strings(one.text) for cidr in OPEN) and (ingress or not excused):
                    yield top, one.line, f"{top.name} names everything in {one.name}"
    for variable in module.all("variable"):
        default = variable.attributes.get("default")
        if default is not None and any(cidr in default.text for cidr in OPEN):
            yield variable, default.line, f"variable {variable.labels[0]} is open by default"


def _inline(module: Module, _: dict[str, Any]) -> Iterator[tuple[Block, int, str]]:
    for one in module.all("resource"):
        if one.labels[0] in _INLINE:
            for inner in one.blocks:
                if inner.kind in ("ingress", "egress") or inner.labels[:1] in (("ingress",), ("egress",)):
                    yield one, inner.line, f"{one.name} has inline rules; make each rule a resource"
        if one.labels[0] == "aws_vpc_security_group_ingress_rule" and _names(one, "security_group_id", "agents"):
            yield one, one.line, f"{one.name}: no rule may allow connections to agents"


def _names(block: Block, attribute: str, name: str) -> bool:
    text = block.attributes[attribute].text if attribute in block.attributes else ""
    return any(parts[:2] == ("aws_security_group", name) for parts in named(text))


def _target(module: Module, _: dict[str, Any]) -> Iterator[tuple[Block, int, str]]:
    variables = module.declared("variable")
    targets = variables.get("target_cidrs")
    if targets is None:
        return
    if "default" in targets.attributes:
        yield targets, targets.line, "target_cidrs has a default; the user must always name the targets"
    conditions = [_text(inner, "condition") for inner in targets.of("validation")]
    asks = any(("var", "i_own_the_target") in named(condition) for condition in conditions)
    if "i_own_the_target" in variables and not asks:
        yield targets, targets.line, "no validation requires i_own_the_target"


def _by_hand(module: Module, _: dict[str, Any]) -> Iterator[tuple[Block, int, str]]:
    for top in module.blocks:
        for block in top.walk():
            if block.kind in ("provisioner", "connection"):
                yield block, block.line, f"{top.name} has a {block.kind}"


def _no_keys(module: Module, _: dict[str, Any]) -> Iterator[tuple[Block, int, str]]:
    for block, attribute in module.attributes():
        if attribute.name == "key_name":
            yield block, attribute.line, "key_name is set; machines must not allow SSH"
    for one in module.all("resource", "data"):
        if one.labels[0] in _IN_STATE:
            yield one, one.line, f"{one.labels[0]} puts a secret into Terraform's state"
        if one.labels[0] == "aws_ssm_parameter" and "SecureString" in _text(one, "type") and "value" in one.attributes:
            yield one, one.line, f"{one.name} has its secret value in Terraform's state"


def _text(block: Block, attribute: str) -> str:
    return block.attributes[attribute].text if attribute in block.attributes else ""


def _tagged(module: Module, known: dict[str, Any]) -> Iterator[tuple[Block, int, str]]:
    for one in module.all("resource"):
        shape = known["resource"].get(one.labels[0])
        if shape is None:
            continue
        if "tags" in shape["arguments"] and "tags" not in one.attributes:
            yield one, one.line, f"{one.name} has no tags"
        dynamic = any(inner.kind == "tag" or inner.labels[:1] == ("tag",) for inner in one.blocks)
        if "tag" in shape["blocks"] and not dynamic:
            yield one, one.line, f"{one.name} has no tags"
        if one.labels[0] == "aws_launch_template" and not any(
            b.labels[:1] == ("tag_specifications",) for b in one.blocks
        ):
            yield one, one.line, f"{one.name} tags no instance and no volume"


def _regional(module: Module, known: dict[str, Any]) -> Iterator[tuple[Block, int, str]]:
    for one in module.all("resource", "data"):
        shape = known[one.kind].get(one.labels[0])
        if shape is not None and "region" in shape["arguments"] and "region" not in one.attributes:
            yield one, one.line, f"{one.name} is regional and has no region argument"


def _metadata(module: Module, _: dict[str, Any]) -> Iterator[tuple[Block, int, str]]:
    wanted = {"http_tokens": '"required"', "http_put_response_hop_limit": "1"}
    for one in module.all("resource"):
        if one.labels[0] in _MACHINES:
            options = next(one.of("metadata_options"), None)
            for name, value in wanted.items():
                if options is None or _text(options, name) != value:
                    yield one, one.line, f"{one.name}: metadata_options.{name} is not {value}"


def _encrypted(module: Module, _: dict[str, Any]) -> Iterator[tuple[Block, int, str]]:
    for one in module.all("resource"):
        for disk in one.walk() if one.labels[0] in _MACHINES else ():
            if disk.kind in ("ebs", "root_block_device", "ebs_block_device") and _text(disk, "encrypted") != "true":
                yield one, disk.line, f"{one.name} has a disk that is not encrypted"


def _no_public_ip(module: Module, _: dict[str, Any]) -> Iterator[tuple[Block, int, str]]:
    for block, attribute in module.attributes():
        if attribute.name in ("map_public_ip_on_launch", "associate_public_ip_address") and attribute.text != "false":
            yield block, attribute.line, f"{attribute.name} is not false"


def _ends(module: Module, _: dict[str, Any]) -> Iterator[tuple[Block, int, str]]:
    for one in module.all("resource"):
        if one.labels[0] in _MACHINES and "instance_initiated_shutdown_behavior" not in one.attributes:
            yield one, one.line, f"{one.name} has no instance_initiated_shutdown_behavior"
        if one.labels[0] == "aws_autoscaling_group":
            if _text(one, "min_size") != "0" or "desired_capacity" in one.attributes:
                yield one, one.line, f"{one.name} starts machines before anyone asks for agents: set min_size = 0"
            if _text(one, "protect_from_scale_in") == "true":
                yield one, one.line, f"{one.name} protects agents from the stops that end a forgotten fleet"


def _partition(module: Module, _: dict[str, Any]) -> Iterator[tuple[Block, int, str]]:
    for block, attribute in module.attributes():
        if (found := _FIXED.search(strings(attribute.text))) is not None:
            yield block, attribute.line, f"{found[0]} is valid in one AWS partition only"


RULES = (
    Rule("typed", "every variable has a type and a description, every output a description", _typed),
    Rule("unused", "variables and locals are used", _unused),
    Rule("circles", "no validation depends on itself", _circles),
    Rule("shadows", "no loop variable hides another name", _shadows),
    Rule("versions", "Terraform and provider are pinned in each module", _versions),
    Rule("closed", "nothing names 0.0.0.0/0, except egress rules and routes with a reason above them", _closed),
    Rule("no-ingress", "no inline rules in security groups, and no ingress rule for agents", _inline),
    Rule("target", "the targets have no default, and 0.0.0.0/0 requires i_own_the_target", _target),
    Rule("no-provisioner", "no provisioners", _by_hand),
    Rule("no-secret", "no SSH keys, and no secret in the state", _no_keys),
    Rule("tags", "every resource that can have tags has them", _tagged),
    Rule("region", "every regional resource has a region argument", _regional),
    Rule("imdsv2", "the metadata service requires a token and has a hop limit of 1", _metadata),
    Rule("encrypted", "every disk is encrypted", _encrypted),
    Rule("no-public-ip", "no machine gets a public address automatically", _no_public_ip),
    Rule("ends", "groups start at 0, and every guard that ends a fleet works", _ends),
    Rule("partition", "no ARN or host name that is valid in one partition only", _partition),
)
