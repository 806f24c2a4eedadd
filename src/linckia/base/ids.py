"""One class per kind of identity, with Ray's sizes and layout, so that a node's id is never taken for a worker's.

Users, the API and records use these; hot paths carry the plain `binary()` bytes. Ids embed where they come from:

    JobID (4)                       a counter, little endian
    ActorID (16)                    12 unique + JobID
    TaskID (24)                      8 unique + ActorID (a normal task has the job's nil actor)
    ObjectID (28)                   TaskID + 4 bytes index, little endian
    PlacementGroupID (18)           14 unique + JobID

so `task_id().actor_id().job_id()` needs no table. This module mints nothing: random bytes come from the caller or from
`linckia.host.entropy`, which registers itself as the source of `from_random()`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

JOB_ID_BYTES = 4
ACTOR_ID_BYTES = 16
TASK_ID_BYTES = 24
OBJECT_ID_BYTES = 28
PLACEMENT_GROUP_ID_BYTES = 18
UNIQUE_ID_BYTES = 28

ACTOR_UNIQUE_BYTES = ACTOR_ID_BYTES - JOB_ID_BYTES
TASK_UNIQUE_BYTES = TASK_ID_BYTES - ACTOR_ID_BYTES
PLACEMENT_GROUP_UNIQUE_BYTES = PLACEMENT_GROUP_ID_BYTES - JOB_ID_BYTES
MAX_OBJECT_INDEX = 2**32 - 1

EntropySource = Callable[[int], bytes]


class BaseID:
    """Immutable bytes of a fixed size, equal only to the same bytes of the same kind."""

    __slots__ = ("_binary",)
    SIZE: ClassVar[int] = 0
    _binary: bytes

    def __init__(self, binary: bytes) -> None:
        """`binary` is the whole id. TypeError when it is not bytes, ValueError for another length."""
        if type(binary) is not bytes:
            raise TypeError(f"{type(self).__name__} needs bytes, got {type(binary).__name__}")
        if len(binary) != self.SIZE:
            raise ValueError(f"{type(self).__name__} needs {self.SIZE} bytes, got {len(binary)}")
        object.__setattr__(self, "_binary", binary)

    @classmethod
    def size(cls) -> int:
        """Number of bytes in an id of this kind."""
        return cls.SIZE

    @classmethod
    def nil(cls) -> Self:
        """The id of nothing: every byte 0xff."""
        return cls(b"\xff" * cls.SIZE)

    @classmethod
    def from_binary(cls, binary: bytes) -> Self:
        """Inverse of `binary()`."""
        return cls(binary)

    @classmethod
    def from_hex(cls, hex_id: str) -> Self:
        """Inverse of `hex()`. ValueError names the text when it is not hexadecimal or has another length."""
        try:
            binary = bytes.fromhex(hex_id)
        except ValueError:
            raise ValueError(f"{cls.__name__} needs {2 * cls.SIZE} hexadecimal digits, got {hex_id!r}") from None
        return cls(binary)

    def binary(self) -> bytes:
        """The bytes themselves."""
        return self._binary

    def hex(self) -> str:
        """The bytes as lower-case hexadecimal digits."""
        return self._binary.hex()

    def is_nil(self) -> bool:
        """True for `nil()`."""
        return self._binary == b"\xff" * self.SIZE

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: cannot set {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: cannot delete {name!r}")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._binary == other._binary

    def __lt__(self, other: Self) -> bool:
        return self._binary < other._binary if type(other) is type(self) else NotImplemented

    def __le__(self, other: Self) -> bool:
        return self._binary <= other._binary if type(other) is type(self) else NotImplemented

    def __gt__(self, other: Self) -> bool:
        return self._binary > other._binary if type(other) is type(self) else NotImplemented

    def __ge__(self, other: Self) -> bool:
        return self._binary >= other._binary if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._binary)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._binary.hex()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self._binary,))

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self


class RandomID(BaseID):
    """A kind that may be minted at random; the others are derived or counted."""

    __slots__ = ()
    entropy: ClassVar[EntropySource | None] = None

    @classmethod
    def from_random(cls, entropy: EntropySource | None = None) -> Self:
        """A new id of bytes from `entropy(size)`; by default from `linckia.host.entropy`, once that is imported."""
        source = RandomID.entropy if entropy is None else entropy
        if source is None:
            raise RuntimeError(f"{cls.__name__}.from_random() has no entropy: pass a source, or import host.entropy")
        return cls(source(cls.SIZE))


class JobID(BaseID):
    """One driver's run: a counter kept by the GCS."""

    __slots__ = ()
    SIZE = JOB_ID_BYTES

    @classmethod
    def from_int(cls, number: int) -> JobID:
        """The id of job `number`."""
        return cls(number.to_bytes(JOB_ID_BYTES, "little"))

    def int(self) -> int:
        """The counter in the id."""
        return int.from_bytes(self._binary, "little")


class ActorID(RandomID):
    """One actor, through all its restarts."""

    __slots__ = ()
    SIZE = ACTOR_ID_BYTES

    @classmethod
    def of(cls, job_id: JobID, unique: bytes) -> ActorID:
        """The actor of `job_id` with these 12 `unique` bytes."""
        return cls(unique + job_id.binary())

    @classmethod
    def nil_from_job(cls, job_id: JobID) -> ActorID:
        """Stands for "no actor" inside the ids of the job's normal tasks."""
        return cls(b"\xff" * ACTOR_UNIQUE_BYTES + job_id.binary())

    def job_id(self) -> JobID:
        """The job that created the actor."""
        return JobID(self._binary[ACTOR_UNIQUE_BYTES:])


class TaskID(BaseID):
    """One submitted task or actor call, through all its attempts."""

    __slots__ = ()
    SIZE = TASK_ID_BYTES

    @classmethod
    def of(cls, actor_id: ActorID, unique: bytes) -> TaskID:
        """The call of `actor_id` with these 8 `unique` bytes."""
        return cls(unique + actor_id.binary())

    @classmethod
    def for_normal_task(cls, job_id: JobID, unique: bytes) -> TaskID:
        """A task of `job_id` outside any actor."""
        return cls(unique + ActorID.nil_from_job(job_id).binary())

    @classmethod
    def for_driver(cls, job_id: JobID) -> TaskID:
        """The task that stands for the job's driver itself: owner of what the main script puts and submits."""
        return cls(b"\xff" * TASK_UNIQUE_BYTES + ActorID.nil_from_job(job_id).binary())

    @classmethod
    def for_actor_creation(cls, actor_id: ActorID) -> TaskID:
        """The task that constructs `actor_id`; one per actor, so it needs no unique bytes."""
        return cls(b"\xff" * TASK_UNIQUE_BYTES + actor_id.binary())

    def actor_id(self) -> ActorID:
        """The actor called, or the job's nil actor for a normal task."""
        return ActorID(self._binary[TASK_UNIQUE_BYTES:])

    def job_id(self) -> JobID:
        """The job the task belongs to."""
        return JobID(self._binary[TASK_ID_BYTES - JOB_ID_BYTES :])


class ObjectID(RandomID):
    """One object: the task that makes it, and which of its results (1, 2, ...) or puts it is."""

    __slots__ = ()
    SIZE = OBJECT_ID_BYTES

    @classmethod
    def of(cls, task_id: TaskID, index: int) -> ObjectID:
        """Object `index` of `task_id`; ValueError outside 0 to 2**32 - 1."""
        if not 0 <= index <= MAX_OBJECT_INDEX:
            raise ValueError(f"object index of {task_id!r} must be 0 to {MAX_OBJECT_INDEX}, got {index}")
        return cls(task_id.binary() + index.to_bytes(4, "little"))

    def task_id(self) -> TaskID:
        """The task that makes the object."""
        return TaskID(self._binary[:TASK_ID_BYTES])

    def index(self) -> int:
        """Which object of the task it is."""
        return int.from_bytes(self._binary[TASK_ID_BYTES:], "little")

    def job_id(self) -> JobID:
        """The job the object belongs to."""
        return JobID(self._binary[TASK_ID_BYTES - JOB_ID_BYTES : TASK_ID_BYTES])


class PlacementGroupID(RandomID):
    """One placement group."""

    __slots__ = ()
    SIZE = PLACEMENT_GROUP_ID_BYTES

    @classmethod
    def of(cls, job_id: JobID, unique: bytes) -> PlacementGroupID:
        """The group of `job_id` with these 14 `unique` bytes."""
        return cls(unique + job_id.binary())

    def job_id(self) -> JobID:
        """The job that created the group."""
        return JobID(self._binary[PLACEMENT_GROUP_UNIQUE_BYTES:])


class UniqueID(RandomID):
    """Random bytes that derive from nothing; the base of the kinds below."""

    __slots__ = ()
    SIZE = UNIQUE_ID_BYTES


class NodeID(UniqueID):
    """One run of one node: a restarted raylet has a new one."""

    __slots__ = ()


class WorkerID(UniqueID):
    """One worker or driver process."""

    __slots__ = ()


class FunctionID(UniqueID):
    """One exported function or class, by the hash of its pickle."""

    __slots__ = ()


class ClusterID(UniqueID):
    """One cluster, kept through restarts of its head."""

    __slots__ = ()


class ActorClassID(UniqueID):
    """One exported actor class, by the hash of its pickle."""

    __slots__ = ()
