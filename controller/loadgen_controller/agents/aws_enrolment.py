"""Admits the agents of a fleet on AWS: public keys that instances upload to the bucket become key files.

    enroll/ROLEID:INSTANCE is in the bucket, and EC2 reports the instance     ->  create agents/INSTANCE.pub
    as running with the fleet's tags
    the instance or its object is gone                                        ->  remove the file

Only the keys folder decides which agents are admitted; `key_watcher.py` watches it. So a
key that an operator revokes stays out, even if its instance uploads it again. The key of
an instance that is gone is removed instead of revoked: EC2 never reuses an instance id,
and revoked keys of a long-lived bucket would fill the folder.

Answers of EC2 and S3 may be out of date. So an unknown instance is looked up again, and
an agent is removed only after two lookups in a row. All methods except `serve` block.
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
from loadgen.aws.imds import Imds
from loadgen.aws.publish_agent_key import Enrolled, Enrolments, Found
from loadgen.aws.scale.membership_check import living
from loadgen.errors import LoadgenError, StorageError, UsageError
from loadgen.outside_text import one_line
from loadgen.secret_files import write_new
from loadgen.wire.curve_keys import fingerprint, read_key

__all__ = ["LOOK_S", "RECHECK_S", "Board", "Enroller", "enroller_of"]

LOOK_S: Final = 3.0
"""The time between two looks at the bucket."""
RECHECK_S: Final = 30.0
"""The time between two lookups whether admitted instances are still running."""
REPORT_AGAIN_S: Final = 60.0
"""The time before the same problem is reported again."""
_REPORT_AFTER_S: Final = 60.0
"""How long an instance with an uploaded key may be unknown to EC2 before that is reported."""
_MOST: Final = 200
"""The most characters shown of a text that an instance wrote."""
_INSTANCE: Final = re.compile(r"i-[0-9a-f]{8,17}")


class Board(Protocol):
    """The place to which instances upload their keys; `Enrolments` implements it with a bucket."""

    def marks(self) -> dict[str, str]:
        """Return the version mark of each object by its name; the mark changes when the object changes."""
        ...

    def read(self, name: str) -> Found:
        """Return what an instance uploaded in this object, or what is wrong with it."""
        ...

    def forget(self, name: str) -> None:
        """Delete an object from the place to which instances upload their keys."""
        ...


@dataclass(slots=True)
class _Known:
    """An uploaded object, as it was last read.

    mark: its version. said: its content; None if invalid. since_s: when it was read.
    is_in: its key was admitted. is_told: the operator was informed that it stays out.
    """

    mark: str
    said: Enrolled | None
    since_s: float
    is_in: bool = False
    is_told: bool = False
    missed: int = 0
    """The number of lookups in a row in which EC2 did not report the instance as running."""

    def is_new(self, now_s: float) -> bool:
        """Return whether the instance is not admitted yet, and its object was first read within the last minute.

        Such an instance is looked up at AWS in every pass over the bucket. Older unknown ones are looked up every
        `RECHECK_S` only, so that invented ones cause few requests.
        """
        return self.said is not None and not self.is_in and now_s - self.since_s < _REPORT_AFTER_S


class Enroller:
    """Admits and removes the instances of one controller's fleet.

    Args:
        folder: the keys folder.
        alive: takes (region, instances), and returns those that run with the tags of the fleet.
        on_trouble: called with a text for each problem, in the thread of `look`.
        clock: returns seconds.
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
        """Instances that had a key file and no object in the bucket at the last look."""
        self._rechecked_s = clock()
        self._reported_s: dict[str, float] = {}
        """When each problem of the last minute was reported."""

    async def serve(self) -> None:
        """Read the bucket every `LOOK_S`, and admit or remove keys, until cancelled. A failed pass is only reported."""
        while True:
            try:
                await asyncio.to_thread(self.look)
            except LoadgenError as error:
                self._report(f"{error.message}: the admitted keys stay as they are")
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        """Read the bucket once: admit the keys of new instances.

        Every `RECHECK_S`, also remove the keys of instances that are gone.

        Raises:
            LoadgenError: AWS refuses the request, or the folder cannot be written.
        """
        marks = self._board.marks()
        self._read_new(marks)
        now_s = self._clock()
        is_recheck = now_s - self._rechecked_s >= RECHECK_S
        if is_recheck:
            self._rechecked_s = now_s
        checked = {name: known for name, known in self._known.items() if is_recheck or known.is_new(now_s)}
        by_region: defaultdict[str, set[str]] = defaultdict(set)
        for known in checked.values():
            if known.said is not None:
                by_region[known.said.region].add(known.said.instance_id)
        alive = {region: self._living(region, ids) for region, ids in by_region.items()}
        for name, known in checked.items():
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
                self._on_trouble(f"enroll/{one_line(name, _MOST)} admits no agent: {one_line(found.wrong, _MOST)}")

    def _living(self, region: str, instances: set[str]) -> set[str] | None:
        """Return those of the instances that are running in the region; None if the lookup at AWS fails.

        An invented region, or one that does not answer, must not stop the other regions.
        """
        try:
            return self._alive(region, instances)
        except LoadgenError as error:
            self._report(error.message)
            return None

    def _report(self, text: str) -> None:
        """Report a problem, but the same one at most once a minute, because it recurs in every pass."""
        now_s = self._clock()
        self._reported_s = {old: at_s for old, at_s in self._reported_s.items() if now_s - at_s < REPORT_AGAIN_S}
        if text not in self._reported_s:
            self._reported_s[text] = now_s
            self._on_trouble(text)

    def _judge(self, name: str, known: _Known, said: Enrolled, is_alive: bool) -> None:
        if is_alive:
            known.missed = 0
            if not known.is_in:
                self._let_in(said)
                known.is_in = True
            return
        if not known.is_in:
            if not known.is_told and self._clock() - known.since_s >= _REPORT_AFTER_S:
                known.is_told = True
                self._on_trouble(
                    f"{said.instance_id} in {one_line(said.region, _MOST)} is not a running instance of this fleet:"
                    " its key is not admitted"
                )
            return
        # EC2's answers are only eventually consistent, so one lookup without the instance is no proof that it has
        # ended.
        known.missed += 1
        if known.missed > 1:
            self._put_out(said.instance_id)
            self._board.forget(name)
            del self._known[name]

    def _let_in(self, said: Enrolled) -> None:
        public = said.public_key.encode()
        path = self._path(said.instance_id)
        # A key that the operator has revoked stays out, also if the bucket still has it.
        if (self._folder / "revoked" / f"{said.instance_id}.{fingerprint(public)}.pub").exists():
            return
        if path.exists():
            if read_key(path) == public:
                return
            self._put_out(said.instance_id)  # the instance was started again with a new disk
        write_new(path, public + b"\n", 0o644)

    def _put_out_strays(self) -> None:
        """Remove the key of each instance without an object in the bucket, in this pass and in the one before.

        So keys from before a restart of the controller are removed too.
        """
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
            raise StorageError(
                f"cannot remove {path}: {exc.strerror}", hint="check the permissions of the key folder"
            ) from exc

    def _path(self, instance: str) -> Path:
        return self._folder / "agents" / f"{instance}.pub"


def enroller_of(folder: Path, fleet: str, bucket: str, on_trouble: Callable[[str], None]) -> Enroller:
    """Return an enroller that uses AWS. The region comes from AWS_REGION, the profile, or this instance.

    Raises:
        UsageError: the region is unknown, or boto3 is missing.
        FleetError: the metadata service exists and gives an invalid answer.
    """
    clients = Clients()
    try:
        region = clients.default_region or Imds().instance().region
    except UsageError as error:
        raise UsageError(
            "the region of the fleet's bucket is unknown", hint="set AWS_REGION, for example AWS_REGION=eu-west-1"
        ) from error
    board = Enrolments(clients, bucket, region)
    return Enroller(folder, board, lambda where, ids: living(clients, where, fleet, ids), on_trouble)
