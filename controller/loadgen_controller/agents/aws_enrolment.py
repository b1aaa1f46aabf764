"""Lets in the agents of a fleet on AWS: keys that instances have put into the bucket become files of the keys' folder.

    enroll/ROLEID:INSTANCE in the bucket, and EC2: it runs, with the fleet's tags   ->  agents/INSTANCE.pub
    the instance is gone, or its object                                             ->  the file is removed

The folder is the one truth of who may come in; `doorkeeper.py` sees what changes there. So a key that a
person revokes stays out, whatever its instance goes on saying. One that is gone is removed and not
revoked: its name is never given again, and a bucket that is used for long would fill the folder.

What EC2 and S3 say may lag behind: one that cannot be found is asked for again, and nobody is put out
for a single look. Everything but `serve` blocks.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final, Protocol

from loadgen.aws.account.boto_clients import Clients
from loadgen.aws.enrolment import Enrolled, Enrolments, Found
from loadgen.aws.imds import Imds
from loadgen.aws.scale.members import living
from loadgen.errors import LoadgenError, StorageError, UsageError
from loadgen.outside_text import one_line
from loadgen.secret_files import write_new
from loadgen.wire.keys import fingerprint, read_key

__all__ = ["LOOK_S", "RECHECK_S", "Board", "Enroller", "enroller_of"]

LOOK_S: Final = 3.0
RECHECK_S: Final = 30.0
"""Between two questions whether those who are in are still alive."""
SAY_AGAIN_S: Final = 60.0
_SAY_AFTER_S: Final = 60.0
"""So long may an instance that says its key be unknown to EC2 before it is said."""
_MOST: Final = 200
"""Characters of a text that a machine of the fleet wrote."""
_INSTANCE: Final = re.compile(r"i-[0-9a-f]{8,17}")


class Board(Protocol):
    """Where instances say their keys: `Enrolments`."""

    def marks(self) -> dict[str, str]: ...

    def read(self, name: str) -> Found: ...

    def forget(self, name: str) -> None: ...


@dataclass(slots=True)
class _Known:
    """An object, as it was read last."""

    mark: str
    said: Enrolled | None
    since_s: float
    is_in: bool = False
    is_told: bool = False
    missed: int = 0
    """Looks in a row in which EC2 did not have it among the living."""

    def is_new(self, now_s: float) -> bool:
        """Asked for at each look; later only with all others, since what is made up would be asked for without end."""
        return self.said is not None and not self.is_in and now_s - self.since_s < _SAY_AFTER_S


class Enroller:
    """Of one controller.

    Args:
        folder: of keys.
        alive: (region, instances) -> those that run with the tags of the fleet.
        on_trouble: gets what is wrong, once each; called in the thread of `look`.
        clock: seconds.
    """

    def __init__(
        self,
        folder: Path,
        board: Board,
        alive: Callable[[str, set[str]], set[str]],
        on_trouble: Callable[[str], None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._folder, self._board, self._alive = folder, board, alive
        self._on_trouble, self._clock = on_trouble, clock
        self._known: dict[str, _Known] = {}
        self._strays: set[str] = set()
        """Instances with a key and without an object, at the last look."""
        self._rechecked_s = clock()
        self._said: dict[str, float] = {}

    async def serve(self) -> None:
        """Until cancelled. A look that fails is said, and the next one is taken."""
        while True:
            try:
                await asyncio.to_thread(self.look)
            except LoadgenError as error:
                self._say(f"{error.message}: the keys stay as they were")
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        """Once: who has come, and now and then who is gone.

        Raises:
            LoadgenError: AWS refuses, or the folder cannot be written.
        """
        marks = self._board.marks()
        self._read_new(marks)
        now_s = self._clock()
        is_recheck = now_s - self._rechecked_s >= RECHECK_S
        if is_recheck:
            self._rechecked_s = now_s
        asked = {name: known for name, known in self._known.items() if is_recheck or known.is_new(now_s)}
        by_region: defaultdict[str, set[str]] = defaultdict(set)
        for known in asked.values():
            if known.said is not None:
                by_region[known.said.region].add(known.said.instance_id)
        alive = {region: self._living(region, ids) for region, ids in by_region.items()}
        for name, known in asked.items():
            if known.said is not None and (there := alive[known.said.region]) is not None:
                self._judge(name, known, known.said, known.said.instance_id in there)
        self._put_out_strays()

    def _read_new(self, marks: dict[str, str]) -> None:
        self._known = {name: known for name, known in self._known.items() if name in marks}
        for name, mark in marks.items():
            known = self._known.get(name)
            if known is not None and known.mark == mark:
                continue
            found = self._board.read(name)
            self._known[name] = _Known(found.mark, found.said, self._clock())
            if found.said is None:
                self._on_trouble(f"enroll/{one_line(name, _MOST)} lets in nobody: {one_line(found.wrong, _MOST)}")

    def _living(self, region: str, instances: set[str]) -> set[str] | None:
        """None where it cannot be asked: a region that somebody made up, or that does not answer, stops no other."""
        try:
            return self._alive(region, instances)
        except LoadgenError as error:
            self._say(error.message)
            return None

    def _say(self, text: str) -> None:
        """Once a minute: it is asked again every few seconds."""
        now_s = self._clock()
        self._said = {told: at_s for told, at_s in self._said.items() if now_s - at_s < SAY_AGAIN_S}
        if text not in self._said:
            self._said[text] = now_s
            self._on_trouble(text)

    def _judge(self, name: str, known: _Known, said: Enrolled, is_alive: bool) -> None:
        if is_alive:
            known.missed = 0
            if not known.is_in:
                self._let_in(said)
                known.is_in = True
            return
        if not known.is_in:
            if not known.is_told and self._clock() - known.since_s >= _SAY_AFTER_S:
                known.is_told = True
                self._on_trouble(
                    f"{said.instance_id} in {one_line(said.region, _MOST)} is no agent of this fleet: it stays out"
                )
            return
        known.missed += 1
        if known.missed > 1:
            self._put_out(said.instance_id)
            self._board.forget(name)
            del self._known[name]

    def _let_in(self, said: Enrolled) -> None:
        public = said.public_key.encode()
        path = self._path(said.instance_id)
        if (self._folder / "revoked" / f"{said.instance_id}.{fingerprint(public)}.pub").exists():
            return
        if path.exists():
            if read_key(path) == public:
                return
            self._put_out(said.instance_id)  # the instance was started again, and its disk is another one
        write_new(path, public + b"\n", 0o644)

    def _put_out_strays(self) -> None:
        """Keys of instances of whom the bucket has nothing, twice in a row: of those before this controller, too."""
        here = {known.said.instance_id for known in self._known.values() if known.said is not None}
        files = (self._folder / "agents").glob("i-*.pub")
        strays = {path.stem for path in files if _INSTANCE.fullmatch(path.stem)} - here
        for instance in strays & self._strays:
            self._put_out(instance)
        self._strays = strays

    def _put_out(self, instance: str) -> None:
        path = self._path(instance)
        try:
            path.unlink(missing_ok=True)
        except OSError as exc:
            raise StorageError(f"cannot remove {path}: {exc.strerror}") from exc

    def _path(self, instance: str) -> Path:
        return self._folder / "agents" / f"{instance}.pub"


def enroller_of(folder: Path, fleet: str, bucket: str, on_trouble: Callable[[str], None]) -> Enroller:
    """With AWS as it is: the region of AWS_REGION, the profile, or this instance.

    Raises:
        UsageError: no region, no boto3.
        FleetError: the metadata service is there, and does not answer as it should.
    """
    clients = Clients()
    try:
        region = clients.default_region or Imds().instance().region
    except UsageError as error:
        raise UsageError("in which region is the fleet's bucket?", hint="set AWS_REGION") from error
    board = Enrolments(clients, bucket, region)
    return Enroller(folder, board, lambda where, ids: living(clients, where, fleet, ids), on_trouble)
