"""References that cross process boundaries: who holds what, told to owners in time (R 3.1-3.8).

The rule: *a process that comes to hold a reference it did not hold is registed with the owner while something else
still keeps the object alive*. Arguments are kept alive by the caller until the task is answered, so a worker reports
what it still holds in its answer; results are registered by the worker before it answers; values read from an object
are registered while that object is held. Deaths are noticed by closed connections. Everything runs under
``Runtime.mutex`` except the ``__del__`` methods, which only append to ``Runtime.released``.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

from linckia.base.errors import OufOfBandObjectRefSerializationException
from linckia.host import environment
from linckia.model.wire import Address, Block, RefInfo
from linckia.protocol import messages as m
from linckia.serialization import context
from linckia.worker.refs import BLOCK, ORPHANED, ObjectRef, RefExtra

if TYPE_CHECKING:
    from linckia.worker.runtime import Runtime
    from linckia.worker.tasks import Peer


class BorrowToken:
    """This process holds a reference owned elsewhere, or views into its block. ``registered``: the owner knows."""

    __slots__ = ("__weakref__", "adopted", "block", "keep", "object_id", "owner", "registered", "runtime")

    def __init__(self, runtime: Runtime, object_id: bytes, owner: Address) -> None:
        self.runtime, self.object_id, self.owner = runtime, object_id, owner
        self.registered = False
        self.keep: object | None = None  # what must live until the owner has acknowledged
        self.block: Block | None = None  # what views of this process read
        self.adopted = False  # the owner is dead: the store holds the block for us

    def __del__(self) -> None:
        if self.adopted and self.block is not None:
            self.runtime.release(self.block.offset)  # the store decides: others may read it still
        elif self.registered:
            self.runtime.release((self.owner, self.object_id))


def _is_found(token: object) -> bool:
    """Of a ref whose owner was known to have ended before: its value, if it has one, does not depend on it."""
    return token is ORPHANED or (isinstance(token, BorrowToken) and token.adopted)


class FreedBlock:
    """An object of ours that nobody needs any more, and where it was."""

    __slots__ = ("block", "object_id")

    def __init__(self, object_id: bytes, block: Block) -> None:
        self.object_id, self.block = object_id, block


class OwnedBlock:
    """A large object that this process owns, in shared memory or on disk; freed with the last ref and the last view.
    Whoever uses its place holds this: how often it is held says whether the object may move (``spilling.py``).
    """

    __slots__ = ("__weakref__", "block", "object_id", "runtime")

    def __init__(self, runtime: Runtime, object_id: bytes, block: Block) -> None:
        self.runtime, self.object_id, self.block = runtime, object_id, block

    def __del__(self) -> None:
        self.runtime.release(FreedBlock(self.object_id, self.block))


class Unseen:
    """An error that was dropped without a look."""

    __slots__ = ("error",)

    def __init__(self, error: bytes) -> None:
        self.error = error


class UnseenError:
    """Hangs on a ref that holds an error until somebody loads it."""

    __slots__ = ("error", "runtime", "seen")

    def __init__(self, runtime: Runtime, error: bytes) -> None:
        self.runtime, self.error, self.seen = runtime, error, False

    def __del__(self) -> None:
        if not self.seen:
            self.runtime.release(Unseen(self.error))


class ScopeToken:
    """The creator's side of an actor's scope: when it goes, no strong handle is left anywhere."""

    __slots__ = ("actor_id", "runtime")

    def __init__(self, runtime: Runtime, actor_id: bytes) -> None:
        self.runtime, self.actor_id = runtime, actor_id

    def __del__(self) -> None:
        self.runtime.release(self.actor_id)


def new_scope(runtime: Runtime, actor_id: bytes) -> ObjectRef[Any]:
    """The reference whose holders keep the actor; the creator's."""
    scope: ObjectRef[Any] = ObjectRef(actor_id + b"\x00" * 8 + b"\xff\xff\xff\xff")
    extra = scope.extra = RefExtra()
    extra.token = ScopeToken(runtime, actor_id)
    return scope


class Borrowing:
    """Both sides of borrowing for one runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.by_id: weakref.WeakValueDictionary[bytes, ObjectRef[Any]] = weakref.WeakValueDictionary()
        self.tokens: weakref.WeakValueDictionary[bytes, BorrowToken] = weakref.WeakValueDictionary()
        self.lent: dict[bytes, tuple[ObjectRef[Any], set[bytes]]] = {}  # our objects -> who borrows them
        self.borrows_of: dict[bytes, set[bytes]] = {}  # worker_id -> what it borrows from us
        self.pinned: list[ObjectRef[Any]] = []  # pickled outside of Linckia: alive as long as the process (R 1.47)
        self.arguments = threading.local()  # .ids: tokens made while arguments are unpickled in this thread
        self._adding: dict[int, object] = {}  # rid -> what must live until the owner has answered

    # --- pickling ---------------------------------------------------------------------------------------------------

    def export(self, ref: ObjectRef[Any]) -> Address:
        """A reference is being pickled: make it findable; pin it if this is not Linckia's own pickling."""
        self.by_id[ref._id] = ref
        if self.runtime.replicas.table.objects:
            self.runtime.replicas.share(ref._id)
        if not context.note_reference(ref):
            if not environment.option_on("allow_out_of_band_object_ref_serialization", default=True):
                raise OufOfBandObjectRefSerializationException(
                    f"{ref!r} was pickled outside of Linckia, "
                    "and LINCKIA_allow_out_of_band_object_ref_serialization=0 forbids that; "
                    "pass it as an argument, or put it into an object with linckia.put()"
                )
            self.pinned.append(ref)
        extra = ref.extra
        return extra.owner if extra is not None and extra.owner is not None else self.runtime.address

    def import_ref(self, object_id: bytes, owner_id: bytes, endpoint: str) -> ObjectRef[Any]:
        """A reference was unpickled in this process."""
        ref = self.by_id.get(object_id)
        if ref is not None:
            if ref.extra is not None and ref.extra.owner is not None:
                ids = getattr(self.arguments, "ids", None)
                if ids is not None:
                    ids.add(object_id)
            return ref
        if owner_id == self.runtime.address.worker_id:
            return self._unknown_own(object_id)
        with self.runtime.mutex:
            ref = self.borrowed_ref(RefInfo(object_id, Address(owner_id, endpoint)))
            token = ref.extra.token  # type: ignore[union-attr]
            ids = getattr(self.arguments, "ids", None)
            if ids is not None:
                ids.add(object_id)
            elif isinstance(token, BorrowToken) and not token.registered:
                self._register(token, keep=context.current_container())
            return ref

    def borrowed_ref(self, info: RefInfo) -> ObjectRef[Any]:
        """The canonical ref of an object owned elsewhere."""
        object_id = info.object_id
        ref = self.by_id.get(object_id)
        if ref is None:
            ref = ObjectRef(object_id)
            extra = ref.extra = RefExtra()
            extra.owner = info.owner
            extra.token = self.token(info)
            self.by_id[object_id] = ref
        return ref

    def token(self, info: RefInfo) -> BorrowToken:
        """The one token of this process for a borrowed object."""
        token = self.tokens.get(info.object_id)
        if token is None:
            token = BorrowToken(self.runtime, info.object_id, info.owner)
            self.tokens[info.object_id] = token
        return token

    def _unknown_own(self, object_id: bytes) -> ObjectRef[Any]:
        """Our own id, but the object is gone (it was pickled out of band and freed): reading it says so."""
        ref: ObjectRef[Any] = ObjectRef(object_id)
        self.runtime.complete_lost(ref, "the object was freed by its owner")
        return ref

    def _register(self, token: BorrowToken, keep: object | None) -> None:
        token.registered = True
        rid = self.runtime.next_rid()
        self._adding[rid] = (token, keep)
        self.runtime.peer(token.owner).conn.post(m.AddBorrower(rid, token.object_id, self.runtime.address))

    def on_added(self, message: m.BorrowerAdded) -> None:
        """The owner knows us now."""
        self._adding.pop(message.rid, None)

    def received(self, infos: list[RefInfo], sender: bytes) -> list[ObjectRef[Any]]:
        """References inside a value we were sent: registered for us already by a sender that answers tasks; for
        values sent on request only what the sender owns is.
        """
        refs = []
        for info in infos:
            if info.owner.worker_id == self.runtime.address.worker_id:
                ref = self.by_id.get(info.object_id)
                if ref is not None:
                    refs.append(ref)
                continue
            ref = self.borrowed_ref(info)
            token = ref.extra.token if ref.extra is not None else None
            if isinstance(token, BorrowToken) and not token.registered:
                if sender == info.owner.worker_id or sender == b"":
                    token.registered = True
                else:
                    self._register(token, keep=None)
            refs.append(ref)
        return refs

    # --- the worker that executes: what do the arguments leave behind? ----------------------------------------------

    def still_held(self, ids: set[bytes], caller: bytes) -> tuple[list[bytes], list[BorrowToken]]:
        """After a task: borrowed arguments that live on. First those the caller owns (reported in the answer), then
        tokens whose owner is a third process (registered with it before the answer).
        """
        mine, others = [], []
        for object_id in ids:
            token = self.tokens.get(object_id)
            if token is None or token.registered:
                continue
            if token.owner.worker_id == caller:
                token.registered = True
                mine.append(object_id)
            else:
                others.append(token)
        return mine, others

    def lend_results(self, refs: list[Any], caller: Address) -> tuple[list[RefInfo], list[tuple[Address, bytes]]]:
        """References inside a result for ``caller``: ours are lent at once; for a third owner's, (owner, id) to tell
        it.
        """
        infos: list[RefInfo] = []
        foreign: list[tuple[Address, bytes]] = []
        for ref in refs:
            info = self.info(ref)
            infos.append(info)
            if info.owner.worker_id == self.runtime.address.worker_id:
                self.lend(ref, caller.worker_id)
            elif info.owner.worker_id != caller.worker_id:
                foreign.append((info.owner, info.object_id))
        return infos, foreign

    def info(self, ref: ObjectRef[Any]) -> RefInfo:
        """Wire form of a ref."""
        extra = ref.extra
        return RefInfo(ref._id, extra.owner if extra is not None and extra.owner is not None else self.runtime.address)

    # --- the owner --------------------------------------------------------------------------------------------------

    def own(self, ref: ObjectRef[Any], block: Block) -> None:
        """Our object has its value in shared memory."""
        extra = ref.extra = ref.extra or RefExtra()
        extra.token = OwnedBlock(self.runtime, ref._id, block)
        ref.value, ref.state = block, BLOCK
        self.by_id[ref._id] = ref
        if block.node_id != self.runtime.node_id:
            self.runtime.lineage.placed(ref, block.node_id)

    def lend(self, ref: ObjectRef[Any], worker_id: bytes) -> None:
        """``worker_id`` holds our object from now on."""
        entry = self.lent.get(ref._id)
        if entry is None:
            entry = self.lent[ref._id] = (ref, set())
            self.by_id[ref._id] = ref
        entry[1].add(worker_id)
        self.borrows_of.setdefault(worker_id, set()).add(ref._id)

    def on_add_borrower(self, peer: Peer, message: m.AddBorrower) -> None:
        """Somebody else registers a borrower with us."""
        ref = self.by_id.get(message.object_id)
        if ref is not None and message.borrower.worker_id != self.runtime.address.worker_id:
            self.lend(ref, message.borrower.worker_id)
        peer.conn.post(m.BorrowerAdded(message.rid, ref is not None))

    def on_ended(self, worker_id: bytes, object_ids: list[bytes]) -> None:
        """The borrower let go."""
        mine = self.borrows_of.get(worker_id)
        for object_id in object_ids:
            entry = self.lent.get(object_id)
            if entry is not None:
                entry[1].discard(worker_id)
                if not entry[1]:
                    del self.lent[object_id]
            if mine is not None:
                mine.discard(object_id)

    def owner_gone(self, worker_id: bytes) -> None:
        """An owner is dead: its large objects are lost, unless a copy is left; memory that views of this process still
        read is adopted. Said again (a connection that was tried once more), it means nothing to a copy found meanwhile:
        who waits for it has been told of it, and would be told no more.

        Scans what this process borrows, once per death of a process it borrowed from or talked to.
        """
        for ref in list(self.by_id.values()):
            extra = ref.extra
            if extra is None or extra.owner is None or extra.owner.worker_id != worker_id:
                continue
            if not _is_found(extra.token):
                extra.token = None
                if ref.state == BLOCK:
                    self.runtime.orphans.bereft(ref)
        adopt = []
        for token in list(self.tokens.values()):
            if token.owner.worker_id == worker_id and token.block is not None and not token.adopted:
                token.adopted = True
                adopt.append((token.block.offset, token.block.size, token.object_id, self.runtime.address.worker_id))
        if adopt and not self.runtime.raylet.closed:
            self.runtime.raylet.send(m.Sealed(adopt))

    def introduce(self, owner: Address, object_id: bytes, borrower: Address) -> None:
        """Tell a third process that ``borrower`` holds its object, and wait until it knows (something keeps it alive
        so long). Not under the mutex.
        """
        runtime = self.runtime
        with runtime.mutex:
            peer = runtime.peer(owner)
        if not peer.closed:
            runtime.call(peer.conn, m.AddBorrower(runtime.next_rid(), object_id, borrower), 10.0)

    def forget(self, worker_id: bytes) -> None:
        """The borrower is dead."""
        self.on_ended(worker_id, list(self.borrows_of.pop(worker_id, ())))
