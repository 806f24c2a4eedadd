"""ObjectRef: the future-like name of an object, and this process's record of it in one object.

Local reference counting is Python's own: the ObjectRef *is* the entry of the in-process store, so that dropping the
last ref drops the value, and a task costs no table. At most one ObjectRef per id lives in a process once the id has
crossed a process boundary (``Runtime.by_id``). What must happen at a remote place when the last local ref goes (free
a shared-memory block, end a borrow, end an actor's scope) hangs on ``extra.token``, whose ``__del__`` only queues
work. Decisions about borrowers are in ``worker/borrowing.py``; nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from linckia.host import entropy
from linckia.worker import current

if TYPE_CHECKING:
    import asyncio
    import concurrent.futures

    from linckia.model.wire import Address

T_co = TypeVar("T_co", covariant=True)

PENDING, INLINE, BLOCK, ERROR, LOST = 0, 1, 2, 3, 4
"""States: no value yet; ``value`` is bytes; a model.wire.Block; encoded error bytes; the owner is gone (``value``:
error).
"""

ORPHANED = object()
"""The token of a borrowed ref whose owner has ended: a copy is looked for when the value is used (orphans.py)."""

ID_BYTES = 28


class RefExtra:
    """What only some refs have."""

    __slots__ = ("call_site", "contained", "fetching", "lineage", "owner", "token")

    def __init__(self) -> None:
        self.owner: Address | None = None  # None: this process
        self.token: object | None = None
        self.contained: list[Any] | None = None
        self.fetching = False
        self.lineage: Any = None  # how to make it again, or why that cannot be (lineage.py)
        self.call_site = ""


class ObjectRef(msgspec.Struct, Generic[T_co], weakref=True, eq=False):
    """A reference to an object that some process owns. Hashable, picklable, awaitable; equal when the ids are equal.

    Not tracked by the garbage collector (msgspec sees to it) before it has hooks or an ``extra``: it would visit a
    million pending refs again and again, half of what a task cost among so many.
    """

    _id: bytes
    state: int = PENDING
    value: Any = None  # the TaskRecord while pending
    hooks: list[Callable[[Any], None]] | None = None
    extra: RefExtra | None = None

    def __post_init__(self) -> None:
        if len(self._id) != ID_BYTES:
            raise ValueError(f"ObjectRef needs {ID_BYTES} bytes, got {len(self._id)}")

    # --- identity ---------------------------------------------------------------------------------------------------

    @classmethod
    def nil(cls) -> ObjectRef[Any]:
        """The reference to nothing."""
        return cls(b"\xff" * ID_BYTES)

    @classmethod
    def from_binary(cls, binary: bytes) -> ObjectRef[Any]:
        """A ref of these 28 bytes. ValueError for another length."""
        if len(binary) != ID_BYTES:
            raise ValueError(f"ObjectRef needs {ID_BYTES} bytes, got {len(binary)}")
        return cls(binary)

    @classmethod
    def from_hex(cls, hex_id: str) -> ObjectRef[Any]:
        """Inverse of :meth:`hex`."""
        return cls.from_binary(bytes.fromhex(hex_id))

    @classmethod
    def from_random(cls) -> ObjectRef[Any]:
        """A ref with a random id, owned by nobody."""
        return cls(entropy.random_bytes(ID_BYTES))

    @classmethod
    def size(cls) -> int:
        """28."""
        return ID_BYTES

    def binary(self) -> bytes:
        """The 28 bytes: TaskID (24) and index (4, little endian)."""
        return self._id

    def hex(self) -> str:
        """The id as 56 hexadecimal digits."""
        return self._id.hex()

    def is_nil(self) -> bool:
        """True for :meth:`nil`."""
        return self._id == b"\xff" * ID_BYTES

    def task_id(self) -> Any:
        """TaskID of the task that makes the object."""
        from linckia.base.ids import TaskID  # noqa: PLC0415  (start-up time)

        return TaskID(self._id[:24])

    def job_id(self) -> Any:
        """JobID of the job the object belongs to."""
        from linckia.base.ids import JobID  # noqa: PLC0415  (start-up time)

        return JobID(self._id[20:24])

    def owner_address(self) -> str:
        """Endpoint of the owner; empty when it is unknown."""
        extra = self.extra
        if extra is not None and extra.owner is not None:
            return extra.owner.endpoint
        runtime = current.runtime
        return runtime.address.endpoint if runtime is not None else ""

    def call_site(self) -> str:
        """Where the ref was created, when recorded."""
        return self.extra.call_site if self.extra is not None else ""

    def redis_shard_hash(self) -> int:
        """Kept for programs that use it as a number per object."""
        return hash(self._id)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._id == other._id

    def __hash__(self) -> int:
        return hash(self._id)

    def __repr__(self) -> str:
        return f"ObjectRef({self._id.hex()})"

    def __copy__(self) -> ObjectRef[T_co]:
        return self

    def __deepcopy__(self, _memo: object) -> ObjectRef[T_co]:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        runtime = current.runtime
        if runtime is None:
            return (ObjectRef.from_binary, (self._id,))
        owner = runtime.borrowing.export(self)
        return (_rebuild, (self._id, owner.worker_id, owner.endpoint))

    def __class_getitem__(cls, _item: Any) -> Any:
        return cls

    # --- waiting ----------------------------------------------------------------------------------------------------

    def future(self) -> concurrent.futures.Future[T_co]:
        """A concurrent future of the value. Cancelling it does not cancel the task; ``running()`` is always False."""
        future: concurrent.futures.Future[T_co] = _connected().futures.as_concurrent(self)
        return future

    def as_future(self) -> asyncio.Future[T_co]:
        """An asyncio future in the running loop."""
        future: asyncio.Future[T_co] = _connected().futures.as_asyncio(self)
        return future

    def __await__(self) -> Generator[Any, None, T_co]:
        waiting: Generator[Any, None, T_co] = _connected().futures.as_asyncio(self).__await__()
        return waiting

    def _on_completed(self, callback: Callable[[Any], None]) -> None:
        """Call ``callback(value or exception)`` when the object is there."""
        future = self.future()
        future.add_done_callback(lambda f: callback(f.exception() or f.result()))


def _connected() -> Any:
    if current.runtime is None:
        from linckia.base.errors import RaySystemError  # noqa: PLC0415  (start-up time)

        raise RaySystemError("not connected to a cluster: call linckia.init() first")
    return current.runtime


def _rebuild(object_id: bytes, owner_id: bytes, owner_endpoint: str) -> ObjectRef[Any]:
    """Unpickle a reference: the canonical one of this process, registered as borrowed when somebody else owns it."""
    runtime = current.runtime
    if runtime is None:
        return ObjectRef(object_id)
    ref: ObjectRef[Any] = runtime.borrowing.import_ref(object_id, owner_id, owner_endpoint)
    return ref
