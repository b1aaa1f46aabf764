"""An agent on an EC2 instance: finds its identity and controller, and watches AWS notices and the kill flag.

`arrive` finds the instance's id and region and the controller's address and key. It also stores this agent's public
key in the fleet's bucket. `Sentry` then polls every 5 s. When AWS is about to stop the instance, the agent leaves
as planned. When the fleet's kill flag is set, the load ends at once, whatever the controller sends. Neither poll
uses the connection to the controller, and each has its own task, so that a blocked one does not delay the other.

Requests block and run in threads; their results are handled on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from random import random
from typing import Any, Final, Protocol, TypeVar

from loadgen.aws.account.boto_clients import Clients
from loadgen.aws.account.parameters import Hidden, Parameters
from loadgen.aws.imds import LOOK_S, Imds, Instance, Notice
from loadgen.aws.publish_agent_key import enrol, own_pair
from loadgen.aws.scale.leave_hook import complete_leave_hook
from loadgen.dsl.secret import variable_of
from loadgen.errors import CredentialsError, FleetError, LoadgenError, UsageError
from loadgen.wire.curve_keys import AgentKeys

__all__ = ["Arrived", "Leaving", "Sentry", "Wanted", "arrive", "give_secrets"]

log = logging.getLogger(__name__)

T = TypeVar("T")

SECRETS_S: Final = 60.0
"""Poll interval of secrets: workers that start later than this after a change get the new value."""
SAY_AGAIN_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """The command line's options for EC2. `arrive` finds the values of empty ones."""

    bucket: str
    """Bucket of the fleet, which stores the agents' public keys."""
    keys: Path
    """Folder in which this instance stores its key pair."""
    fleet: str = ""
    """Empty: the instance's tag `loadgen:fleet`."""
    controller: str = ""
    """HOST:PORT. Empty: the address in the fleet's parameters."""
    region: str = ""
    """Region label in runs. Empty: the AWS region of the instance."""
    parameters_region: str = ""
    """AWS region of the fleet's parameters. Empty: the instance's region."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """Everything that an agent on EC2 needs to join its controller."""

    instance: Instance
    fleet: str
    region: str
    controller: str
    keys: AgentKeys
    imds: Imds = field(repr=False)
    parameters: Parameters = field(repr=False)
    clients: Clients = field(repr=False)


def arrive(wanted: Wanted) -> Arrived:
    """Find this EC2 instance's identity, fleet, keys and controller, and publish its public key to the fleet.

    Blocking: it takes up to some seconds.

    Raises:
        UsageError: this is not an EC2 instance, its fleet is unknown, its role has no credentials, or the key folder
            is invalid.
        FleetError: AWS refuses a request, or the fleet has no controller yet.
    """
    imds = Imds()
    instance = imds.instance()
    fleet = wanted.fleet or instance.fleet
    if not fleet:
        raise UsageError(
            "the fleet of this instance is unknown: its metadata have no tag loadgen:fleet",
            hint="pass --fleet NAME, or enable instance tags in the metadata options of the launch template",
        )
    clients = Clients()
    parameters = Parameters(clients, wanted.parameters_region or instance.region, fleet)
    found = parameters.controller()
    own = own_pair(wanted.keys, instance.id)
    where = enrol(clients, wanted.bucket, instance, own.public)
    log.info("enrolled as s3://%s/%s", wanted.bucket, where)
    keys = AgentKeys(own, found.public_key, instance.id)
    controller, region = wanted.controller or found.endpoint, wanted.region or instance.region
    return Arrived(instance, fleet, region, controller, keys, imds, parameters, clients)


def give_secrets(secrets: Mapping[str, Hidden], environ: MutableMapping[str, str], given: set[str]) -> None:
    """Set the fleet's secrets as environment variables for the workers. A variable that the machine itself has is kept.

    Args:
        environ: changed in place.
        given: names of the variables that earlier calls have set; changed in place. A variable whose secret is gone
            from the fleet is removed.
    """
    wanted = {variable_of(name): value for name, value in secrets.items()}
    for variable in given - wanted.keys():
        environ.pop(variable, None)
    for variable, value in wanted.items():
        if variable in given or variable not in environ:
            environ[variable] = value.reveal()
            given.add(variable)
    given &= wanted.keys()


class Leaving(Protocol):
    """The two ways in which `Sentry` ends an agent."""

    def terminate(self, reason: str) -> None:
        """Let the agent leave as planned: other agents take over its share, and nothing is lost."""

    def cut_off(self, reason: str) -> None:
        """Let the agent end its load at once and leave."""


class Sentry:
    """Polls AWS for one agent: notices about its instance, the fleet's kill flag, and secrets.

    Args:
        leaves_early: whether the agent leaves already on a rebalance recommendation.
        sleep: `asyncio.sleep`; tests pass their own.
    """

    def __init__(
        self,
        arrived: Arrived,
        *,
        leaves_early: bool = False,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        environ: MutableMapping[str, str] = os.environ,
    ) -> None:
        self._arrived, self._leaves_early, self._environ = arrived, leaves_early, environ
        self._sleep = sleep
        self._given: set[str] = set()
        self._said: dict[str, float] = {}
        self._told = ""
        self._seen: dict[str, Notice] = {}
        """The first notice of each kind."""
        self._is_leaving = False

    async def until_wanted(self) -> None:
        """Wait until the agent may join the fleet: no kill flag is set and AWS is not about to stop the instance.

        Then fetch the fleet's secrets into the environment.
        """
        while True:
            why = await self._asked(self._reason_to_stay_away)
            if not why:
                break
            self._say(why, f"not joining: {why}")
            await self._sleep(LOOK_S)
        await self._asked(self._fetch_secrets)

    async def watch(self, agent: Leaving) -> None:
        """Poll AWS until cancelled; end `agent` when AWS announces the instance's stop or the kill flag is set."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_instance(agent))
            group.create_task(self._watch_flag(agent))
            group.create_task(self._watch_secrets())

    def let_go(self) -> None:
        """Allow the auto scaling group to stop this instance now, because all measurements are delivered. Blocking.

        It does nothing if the group has not announced to stop the instance.
        """
        if "group" not in self._seen:
            return
        try:
            complete_leave_hook(self._arrived.clients, self._arrived.fleet, self._arrived.instance)
        except LoadgenError as error:  # harmless: the hook has a time limit
            log.warning("the auto scaling group waits until its lifecycle hook times out: %s", error.message)

    async def _watch_instance(self, agent: Leaving) -> None:
        while True:
            notices = await self._asked(self._arrived.imds.notices) or ()
            for notice in notices:
                if notice.kind not in self._seen:
                    self._seen[notice.kind] = notice
                    self._obey(notice, agent)
            await self._sleep(LOOK_S)

    def _obey(self, notice: Notice, agent: Leaving) -> None:
        if notice.kind == "rebalance" and not self._leaves_early:
            log.warning("%s; the agent stays until AWS announces the stop", notice.reason)
        elif not self._is_leaving:
            self._is_leaving = True
            log.warning("leaving: %s", notice.reason)
            agent.terminate(notice.reason)

    async def _watch_flag(self, agent: Leaving) -> None:
        await self._sleep(LOOK_S * random())  # noqa: S311  # spreads the polls of a fleet that starts together
        while True:
            if (reason := await self._asked(self._arrived.parameters.kill_reason)) and not self._told:
                self._told = reason
                log.warning("stopping at once: %s", reason)
                agent.cut_off(reason)
            await self._sleep(LOOK_S)

    async def _watch_secrets(self) -> None:
        while True:
            await self._sleep(SECRETS_S)
            await self._asked(self._fetch_secrets)

    def _reason_to_stay_away(self) -> str:
        if reason := self._arrived.parameters.kill_reason():
            return reason
        certain = [notice for notice in self._arrived.imds.notices() if notice.kind != "rebalance"]
        return certain[0].reason if certain else ""

    def _fetch_secrets(self) -> None:
        secrets = self._arrived.parameters.secrets()
        give_secrets(secrets, self._environ, self._given)

    async def _asked(self, question: Callable[[], T]) -> T | None:
        """Run a blocking AWS request in a thread, and return its result. If AWS refuses, log it and return None.

        The same refusal is logged at most once a minute.
        """
        try:
            return await asyncio.to_thread(question)
        except (FleetError, CredentialsError) as error:  # the next credentials may be good
            self._say(error.message, f"{error.message}; asking again")
        return None

    def _say(self, what: str, text: str) -> None:
        now_s = time.monotonic()
        if now_s - self._said.get(what, -SAY_AGAIN_S) >= SAY_AGAIN_S:
            self._said = {what: now_s} if len(self._said) > 20 else {**self._said, what: now_s}
            log.warning("%s", text)
