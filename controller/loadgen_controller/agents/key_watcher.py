"""Watches the keys folder while a controller runs, so that new and revoked keys take effect without a restart.

A new or revoked key takes effect within `LOOK_S`. An invalid key file admits no agent.
If the folder cannot be read at all, the admitted keys stay as they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from loadgen.errors import UsageError
from loadgen.wire.curve_keys import ControllerKeys, fingerprint, read_agents

__all__ = ["LOOK_S", "KeyWatcher", "KeysChanged"]

LOOK_S = 3.0
"""The time between two looks at the folder. The documentation promises that a revocation takes effect within 10 s."""


@dataclass(frozen=True, slots=True)
class KeysChanged:
    """The difference between two looks at the keys folder."""

    agents: Mapping[bytes, str]
    """All valid keys: name by public key."""
    came: Mapping[str, str]
    """New keys: name by fingerprint."""
    revoked: Mapping[str, str]
    """Keys that are no longer valid: name by fingerprint."""


class KeyWatcher:
    """Watches the keys of one controller.

    Args:
        on_change: called on the event loop when the set of valid keys has changed.
        on_trouble: called with a text for each problem of the folder or of a key file, at every look.
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
        """Read the folder of keys every `LOOK_S`, and report changes and problems, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Read the folder of keys once.

        Report added and revoked keys, and files that cannot be read, by the two callbacks.
        """
        if self._folder is None:  # throw-away keys are in no folder, and never change
            return
        try:
            agents, wrong = await asyncio.to_thread(read_agents, self._folder)
        except UsageError as error:
            self._on_trouble(f"{error.message}: the admitted keys stay as they are")
            return
        for one in wrong:
            self._on_trouble(f"{one.message}: this file admits no agent")
        before, self._agents = self._agents, agents
        if agents != before:
            self._on_change(KeysChanged(agents, _named(agents, before), _named(before, agents)))


def _named(agents: Mapping[bytes, str], but: Mapping[bytes, str]) -> dict[str, str]:
    return {fingerprint(key): name for key, name in agents.items() if key not in but}
