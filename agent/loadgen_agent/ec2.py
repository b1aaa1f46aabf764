"""An agent on an EC2 instance: who it is and where its controller is, and what it is told from beside the controller.

`arrive` finds the instance's id and region, the controller's address and key, and says
by which key this agent is known. `Sentry` then asks every 5 s whether the instance is
about to be taken away and whether the fleet's kill flag is up: the first is a planned leave, the
second ends the load at once, whatever the controller says or does not say. Both go by other ways
than the line to the controller, and each by one of its own, so that one that hangs holds up no other.

Questions block and are asked in threads; what follows from them is done on the loop.
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
from loadgen.aws.enrolment import enrol, own_pair
from loadgen.aws.imds import LOOK_S, Imds, Instance, Notice
from loadgen.aws.scale.group import let_go
from loadgen.dsl.secret import variable_of
from loadgen.errors import CredentialsError, FleetError, LoadgenError, UsageError
from loadgen.wire.keys import AgentKeys

__all__ = ["Arrived", "Leaving", "Sentry", "Wanted", "arrive", "give_secrets"]

log = logging.getLogger(__name__)

T = TypeVar("T")

SECRETS_S: Final = 60.0
"""A secret that is changed is that of workers that are started later than this."""
SAY_AGAIN_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line says; what it leaves open is found out."""

    bucket: str
    """Of the fleet, where the agent's key is put."""
    keys: Path
    """Folder in which the pair of this instance is kept."""
    fleet: str = ""
    """Else its instance's tag."""
    controller: str = ""
    region: str = ""
    """Its label in runs, else the region of AWS."""
    parameters_region: str = ""
    """Where the fleet's parameters are, else in the instance's own region."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """All that an agent needs to join."""

    instance: Instance
    fleet: str
    region: str
    controller: str
    keys: AgentKeys
    imds: Imds = field(repr=False)
    parameters: Parameters = field(repr=False)
    clients: Clients = field(repr=False)


def arrive(wanted: Wanted) -> Arrived:
    """Find out who we are, and enrol. Blocking: up to some seconds.

    Raises:
        UsageError: no instance, no name of its fleet, no credentials of its role, or the folder of keys is wrong.
        FleetError: AWS refuses, or the fleet has no controller yet.
    """
    imds = Imds()
    instance = imds.instance()
    fleet = wanted.fleet or instance.fleet
    if not fleet:
        raise UsageError(
            "which fleet? The instance's tags do not say",
            hint="--fleet NAME, or switch on tags in the metadata of its launch template",
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
    """Put the fleet's secrets where workers find theirs; what the machine itself was given goes before them.

    given: names of variables that were set here before; changed. One that is gone from the fleet is taken back.
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
    """The agent, as far as it is told to go."""

    def terminate(self, reason: str) -> None:
        """Planned: others have its share, nothing is lost."""

    def cut_off(self, reason: str) -> None:
        """At once."""


class Sentry:
    """Asks for an agent what only AWS knows.

    Args:
        leaves_early: to leave also where it is only recommended (rebalance).
        sleep: `asyncio.sleep`; a test has its own.
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
        """By kind."""
        self._is_leaving = False

    async def until_wanted(self) -> None:
        """Do not join while the kill flag is up, nor on an instance that is being taken away."""
        while True:
            why = await self._asked(self._reason_to_stay_away)
            if not why:
                break
            self._say(why, f"not joining: {why}")
            await self._sleep(LOOK_S)
        await self._asked(self._fetch_secrets)

    async def watch(self, agent: Leaving) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_instance(agent))
            group.create_task(self._watch_flag(agent))
            group.create_task(self._watch_secrets())

    def let_go(self) -> None:
        """Everything is handed over: the group need not wait for us any longer. Blocking."""
        if "group" not in self._seen:
            return
        try:
            let_go(self._arrived.clients, self._arrived.fleet, self._arrived.instance)
        except LoadgenError as error:  # it ends by itself when its time is over
            log.warning("the group waits until its hook's time is over: %s", error.message)

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
            log.warning("%s; we stay until it is certain", notice.reason)
        elif not self._is_leaving:
            self._is_leaving = True
            log.warning("leaving: %s", notice.reason)
            agent.terminate(notice.reason)

    async def _watch_flag(self, agent: Leaving) -> None:
        await self._sleep(LOOK_S * random())  # noqa: S311  # a fleet that starts at once does not ask at once
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
        """None where there is no answer: an agent that cannot ask goes on, and says so once a minute."""
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
