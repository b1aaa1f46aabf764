"""Looks at the folder of keys again and again while a controller runs: who may come in, and who no longer.

A key that is revoked or new is seen within `LOOK_S`. A file that is wrong lets in
nobody; a folder that cannot be read at all says nothing about anybody, so then all stays as it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from loadgen.errors import UsageError
from loadgen.wire.keys import ControllerKeys, fingerprint, read_agents

__all__ = ["LOOK_S", "Doorkeeper", "KeysChanged"]

LOOK_S = 3.0
"""Revocation is promised within 10 s."""


@dataclass(frozen=True, slots=True)
class KeysChanged:
    """What another look at the folder showed."""

    agents: Mapping[bytes, str]
    """All that are good now: name by public key."""
    came: Mapping[str, str]
    """Name by fingerprint, of keys that are new."""
    revoked: Mapping[str, str]
    """Name by fingerprint, of keys that are of no more use."""


class Doorkeeper:
    """Watches over the keys of one controller.

    Args:
        on_change: called on the loop when other keys are good than before.
        on_trouble: gets what is wrong with the folder, at each look.
    """

    def __init__(
        self,
        keys: ControllerKeys,
        on_change: Callable[[KeysChanged], None],
        on_trouble: Callable[[str], None],
    ) -> None:
        self._folder, self._agents = keys.folder, keys.agents
        self._on_change, self._on_trouble = on_change, on_trouble

    async def serve(self) -> None:
        """Until cancelled; keys that are in no folder never change."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        if self._folder is None:
            return
        try:
            agents, wrong = await asyncio.to_thread(read_agents, self._folder)
        except UsageError as error:
            self._on_trouble(f"{error.message}: the keys stay as they were")
            return
        for one in wrong:
            self._on_trouble(f"{one.message}: it lets in nobody")
        before, self._agents = self._agents, agents
        if agents != before:
            self._on_change(KeysChanged(agents, _named(agents, before), _named(before, agents)))


def _named(agents: Mapping[bytes, str], but: Mapping[bytes, str]) -> dict[str, str]:
    return {fingerprint(key): name for key, name in agents.items() if key not in but}
