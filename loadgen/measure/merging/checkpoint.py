"""The checkpoint of a running run: the state of its merge in one file, from which a restarted controller continues.

Without a checkpoint each delta of the log is merged again, 0.3 ms each. A checkpoint is derived from the log, as
`stored_interval.py` is: if it is missing, damaged, of another version, or covers more than the log holds, the whole
log is merged. `Merge.freeze` decides what is stored; this module only has the format of the file.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec

from loadgen.measure.merging.merge import Merge, MergeState
from loadgen.measure.run_folder.crc_record_file import framed, pack, read_framed, unpack
from loadgen.measure.run_folder.rundir import replace_file

__all__ = ["Checkpoint", "freeze", "read_checkpoint", "thaw", "write_checkpoint"]

_MAGIC: Final = b"lgcheck3"


class Checkpoint(msgspec.Struct, frozen=True):
    """The contents of a checkpoint file.

    deltas_end, merged_end: offsets in deltas.log and merged.log up to which everything is included.
    state: from `freeze`. extra: the controller's own state.
    """

    deltas_end: int
    merged_end: int
    state: bytes
    extra: bytes = b""
    version: str = version("loadgen")


_decoder: Final = msgspec.msgpack.Decoder(MergeState)


def freeze(merge: Merge) -> bytes:
    """Return the contents of a merge as bytes, from which `thaw` builds an equal merge.

    It runs on the event loop: 20 to 60 ms for 1,000 agents with 46 series, by the speed of the machine, however long
    the run is.
    """
    return msgspec.msgpack.encode(merge.freeze())


def thaw(data: bytes) -> Merge:
    """Return a new merge with the contents that `freeze` encoded.

    Raises:
        msgspec.MsgspecError: the data was not made by `freeze`.
    """
    return Merge.thaw(_decoder.decode(data))


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint to the file, and replace an older one.

    The file is not made durable: if it is lost or damaged (its CRC shows that), it can be computed again from the log.

    Raises:
        StorageError: the file could not be written.
    """
    data = pack(msgspec.msgpack.encode(checkpoint))
    replace_file(path, _MAGIC + framed(data), is_durable=False)


def read_checkpoint(path: Path) -> Checkpoint | None:
    """Return the checkpoint in the file; None if it is missing, damaged or of another version."""
    try:
        data = next(read_framed(path, _MAGIC), b"")
        found = msgspec.msgpack.decode(unpack(data), type=Checkpoint)
    except (OSError, ValueError, msgspec.MsgspecError):
        return None
    # The state has the fields of the merge as they are in this version, without names.
    return found if found.version == version("loadgen") else None
