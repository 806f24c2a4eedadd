"""What the spill queue keeps and what it asks for; plain data of ``spilling.py``."""

from __future__ import annotations

from typing import NamedTuple

from linckia.base.limits import GIB, KIB, MIB

ASKED, QUEUED, WRITING, STORED = "asked", "queued", "writing", "stored"
IN_MEMORY = (QUEUED, WRITING, STORED)
"""States in which the node answers for the object, whatever its bytes lie in."""
ALIGNED_FROM_BYTES, ALIGNED_TO_BYTES = 1 * MIB, 4 * KIB
"""An object of so much begins in its file where the disk can be read directly (shm/disk_reads.py)."""


class SpillOptions(NamedTuple):
    """Bounds of spilling on one node."""

    threshold: float = 0.8  # share of the store that primary objects may fill before spilling begins
    batch_bytes: int = 100 * 1000**2  # objects are fused to files of so much
    batch_objects: int = 2000
    least_bytes: int = 100 * 1000**2  # free at least so much at a time: a small store sets less
    max_bytes: int = 0  # of all spill files; 0: no cap
    used_max: float = 0.95  # of the disk, unless free_min_bytes stay free all the same
    free_min_bytes: int = 2 * GIB
    tries: int = 3
    retry_s: float = 0.1
    recheck_s: float = 0.5  # how long a full disk is left alone
    ask_again_s: float = 0.25  # an object in use
    ask_max_s: float = 5.0  # an owner that does not answer by then does not keep others waiting
    writers: int = 2


def options_for(capacity_bytes: int, options: SpillOptions) -> SpillOptions:
    """A small store frees small pieces: a tenth, at most a file."""
    least = min(options.least_bytes, max(capacity_bytes // 10, 1 * MIB))
    return options._replace(least_bytes=least)


class DiskSpace(NamedTuple):
    """The file system of the spill directory; ``files_bytes`` is what our complete files take."""

    total: int
    free: int
    files_bytes: int = 0
    path: str = ""


class Candidate(NamedTuple):
    """A sealed primary of this node."""

    object_id: bytes
    offset: int
    size: int
    owner: bytes


class SpillEntry:
    """One object between memory and disk. ``file`` and ``position`` say where its bytes are once it is STORED."""

    __slots__ = ("file", "freed", "in_memory", "object_id", "offset", "owner", "position", "readers", "size", "state")

    def __init__(self, block: Candidate) -> None:
        self.object_id, self.offset, self.size, self.owner = block
        self.state = ASKED
        self.in_memory = True
        self.readers = 0  # of memory
        self.freed = False
        self.file = 0
        self.position = 0


class Batch:
    """What goes into one file."""

    __slots__ = ("entries", "file", "size")

    def __init__(self, file: int) -> None:
        self.file = file
        self.entries: list[SpillEntry] = []
        self.size = 0

    def position_for(self, size: int) -> int:
        """Where the next object would begin, one of ``size`` bytes."""
        return self.size if size < ALIGNED_FROM_BYTES else self.size + -self.size % ALIGNED_TO_BYTES

    def add(self, entry: SpillEntry) -> None:
        """At the end."""
        entry.file, entry.position = self.file, self.position_for(entry.size)
        self.entries.append(entry)
        self.size = entry.position + entry.size


class Ask(NamedTuple):
    """Send MaySpill; answer with ``answered``."""

    owner: bytes
    rid: int
    object_ids: list[bytes]


class Write(NamedTuple):
    """Write a file; answer with ``written`` or ``failed``."""

    batch: Batch


class FreeMemory(NamedTuple):
    """Give the block's memory back to the holder of its extent."""

    entry: SpillEntry


class DropShare(NamedTuple):
    """One object of this file less; it is deleted with the last one."""

    file: int


class GiveBack(NamedTuple):
    """The object stays in memory and is its owner's again: SpillUndone."""

    entry: SpillEntry


class Say(NamedTuple):
    """A change that the log shall tell, once."""

    text: str


Effect = Ask | Write | FreeMemory | DropShare | GiveBack | Say
