"""Reading objects that are not in this node's memory: on another node, or on disk (R 3.13-3.18).

The own raylet makes a local copy, one for all who ask, and pins it until this process has no view of it any more
(`LocalCopy`). An object that moved meanwhile is asked for again; what cannot be had raises what says why. Used by
``objects.py`` for ``get``, by ``task_run.py`` for arguments, by ``waiting.py`` for ``wait``; what to pull when and from
where is the raylet's (raylet/pull_manager.py).
"""

from __future__ import annotations

import time
import weakref
from typing import TYPE_CHECKING, Any

from linckia.base import errors
from linckia.protocol import messages as m
from linckia.protocol.transfer_messages import ARGUMENT, GET, Wanted
from linckia.worker.refs import BLOCK, LOST, PENDING, ObjectRef

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from linckia.model.wire import Block, Dependency
    from linckia.worker.runtime import Runtime


class LocalCopy:
    """A copy on this node that this process may read; every view of it holds this."""

    __slots__ = ("__weakref__", "object_id", "offset", "runtime", "size")

    def __init__(self, runtime: Runtime, object_id: bytes, offset: int, size: int) -> None:
        self.runtime, self.object_id, self.offset, self.size = runtime, object_id, offset, size

    def __del__(self) -> None:
        self.runtime.release(Unpinned(self.object_id))


class Unpinned:
    """A local copy that nobody here reads any more."""

    __slots__ = ("object_id",)

    def __init__(self, object_id: bytes) -> None:
        self.object_id = object_id


class Fetch:
    """One request under way. ``state`` is true once ``copies`` or ``failure`` is there."""

    __slots__ = ("copies", "failure", "hooks", "items", "rid", "state", "waiting")

    def __init__(self, rid: int, items: list[Wanted]) -> None:
        self.rid, self.items = rid, items
        self.state = 0
        self.copies: list[LocalCopy] = []
        self.failure: m.FetchFailed | None = None
        self.hooks: list[Callable[[Any], None]] | None = None
        self.waiting = 0  # threads that would miss it


class Fetching:
    """One per runtime. What is said to be under the mutex is."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.copies: weakref.WeakValueDictionary[bytes, LocalCopy] = weakref.WeakValueDictionary()
        self._open: dict[int, Fetch] = {}
        self._by_id: dict[bytes, Fetch] = {}  # of one object, under way

    @property
    def needed(self) -> bool:
        """There are other nodes, or something of ours is on disk: values may be away."""
        return bool(self.runtime.raylets.nodes) or self.runtime.spilling.has_moved

    def is_away(self, block: Block) -> bool:
        """It has to be fetched before it can be read."""
        return block.offset < 0 or block.node_id != self.runtime.node_id

    # --- asking the raylet (under the mutex) ------------------------------------------------------------------------

    def start(self, items: list[Wanted], priority: int) -> Fetch:
        """Ask for all of ``items`` or none."""
        runtime = self.runtime
        fetch = Fetch(runtime.next_rid(), items)
        if runtime.raylet.closed:
            reason = "the node process of this machine is gone"
            self._fail(fetch, m.FetchFailed(fetch.rid, items[0].object_id, "lost", reason))
            return fetch
        self._open[fetch.rid] = fetch
        runtime.raylet.send(m.FetchObject(fetch.rid, items, priority))
        return fetch

    def begin(self, ref: ObjectRef[Any], priority: int = GET) -> Fetch | None:
        """See that the value of a ref comes here; None when it need not, or is no large value (any more)."""
        if ref.state != BLOCK or not self.is_away(ref.value) or ref._id in self.copies:
            return None
        fetch = self._by_id.get(ref._id)
        if fetch is None:
            block, owner = ref.value, self.runtime.borrowing.info(ref).owner
            fetch = self.start([Wanted(ref._id, block.size, owner, block)], priority)
            if not fetch.state:
                self._by_id[ref._id] = fetch
        return fetch

    def begin_hook(self, ref: Any) -> None:
        """As a hook of a pending ref: fetch it as soon as there is something to fetch."""
        self.begin(ref)

    def ahead(self, refs: Iterable[Any]) -> list[Fetch]:
        """``get`` of several: let all come at once, those that are not ready yet when they are."""
        started = []
        others = bool(self.runtime.raylets.nodes)
        with self.runtime.mutex:
            for ref in refs:
                if ref.state == BLOCK:
                    fetch = self.begin(ref)
                    if fetch is not None:
                        started.append(fetch)
                elif not ref.state and others and self.begin_hook not in (ref.hooks or ()):
                    ref.hooks = [*(ref.hooks or []), self.begin_hook]
        return started

    def _cancel(self, fetch: Fetch) -> None:
        """The last thread that waited has given up."""
        if not fetch.state and not fetch.hooks and self._open.pop(fetch.rid, None) is not None:
            for item in fetch.items:
                if self._by_id.get(item.object_id) is fetch:
                    del self._by_id[item.object_id]
            if not self.runtime.raylet.closed:
                self.runtime.raylet.post(m.CancelFetch(fetch.rid))

    # --- answers (under the mutex) ----------------------------------------------------------------------------------

    def on_fetched(self, _peer: Any, message: m.ObjectFetched) -> None:
        """They are here, pinned for us."""
        fetch = self._open.pop(message.rid, None)
        if fetch is None:
            return
        for item, offset in zip(fetch.items, message.offsets, strict=True):
            copy = LocalCopy(self.runtime, item.object_id, offset, item.size)
            fetch.copies.append(copy)
            self.copies[item.object_id] = copy
        self._finish(fetch)

    def on_failed(self, _peer: Any, message: m.FetchFailed) -> None:
        """One of them cannot be had."""
        fetch = self._open.pop(message.rid, None)
        if fetch is not None:
            self._fail(fetch, message)

    def _fail(self, fetch: Fetch, failure: m.FetchFailed) -> None:
        fetch.failure = failure
        self._finish(fetch)

    def _finish(self, fetch: Fetch) -> None:
        fetch.state = 1
        for item in fetch.items:
            if self._by_id.get(item.object_id) is fetch:
                del self._by_id[item.object_id]
        hooks, fetch.hooks = fetch.hooks, None
        for hook in hooks or ():
            hook(fetch)

    def unpin(self, object_ids: list[bytes]) -> None:
        """No view of these copies is left, one pin each."""
        if not self.runtime.raylet.closed:
            self.runtime.raylet.post(m.UnpinObject(object_ids))

    def fail_all(self, reason: str) -> None:
        """The node process is gone."""
        for rid, fetch in list(self._open.items()):
            del self._open[rid]
            self._fail(fetch, m.FetchFailed(rid, fetch.items[0].object_id, "lost", reason))

    # --- values of refs ---------------------------------------------------------------------------------------------

    def load(self, ref: ObjectRef[Any], until: tuple[float | None, float | None] = (None, None)) -> Any:
        """The value of a ref whose place was away a moment ago; waits. ``until``: deadline, and the timeout to name."""
        while ref.state == BLOCK and self.is_away(ref.value):
            copy = self.copies.get(ref._id)
            if copy is not None:
                return self._read(ref, copy)
            with self.runtime.mutex:
                fetch = self.begin(ref)
                if fetch is None:
                    continue
                fetch.waiting += 1
            self._wait(ref, fetch, until)
            if fetch.failure is None:
                return self._read(ref, fetch.copies[0])
            self.failed(ref, fetch.failure)
        if not ref.state:
            return self.runtime.objects.get([ref], _left(until))[0]
        return self.runtime.objects.load(ref)

    def value_of(self, ref: ObjectRef[Any], fetch: Fetch) -> Any:
        """The value a finished fetch brought; raises what went wrong."""
        if fetch.failure is None:
            return self._read(ref, fetch.copies[0])
        self.failed(ref, fetch.failure)
        return self.load(ref)

    def _read(self, ref: ObjectRef[Any], copy: LocalCopy) -> Any:
        return self.runtime.objects.load_bytes(self.view(copy), ref)

    def view(self, copy: LocalCopy) -> memoryview:
        """Read-only bytes; the copy lives as long as any view of them."""
        return self.runtime.objects.segment_now().read_view(copy.offset, copy.size, copy)

    def _wait(self, ref: ObjectRef[Any], fetch: Fetch, until: tuple[float | None, float | None]) -> None:
        deadline_s, timeout_s = until
        left_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
        try:
            came = self.runtime.wait_target(fetch, left_s)
        finally:
            with self.runtime.mutex:
                fetch.waiting -= 1
                if not fetch.waiting:
                    self._cancel(fetch)
        if not came and not fetch.state:
            size = ref.value.size if ref.state == BLOCK else "?"
            raise errors.GetTimeoutError(
                f"get: the value of {ref!r} exists ({size} bytes) but did not reach "
                f"this node within {timeout_s} s; linckia.util.why_pending(ref) tells what it waits for"
            )

    def failed(self, ref: ObjectRef[Any], failure: m.FetchFailed) -> None:
        """A fetch failed: raise why, or ask the owner where the object is now."""
        if failure.kind == "moved":
            with self.runtime.mutex:
                self._ask_again(ref)
            return
        if failure.kind == "owner_died":
            with self.runtime.mutex:
                if ref.state == BLOCK:
                    ref.value, ref.state = failure.reason, LOST
        raise _error_of(ref, failure)

    def _ask_again(self, ref: ObjectRef[Any]) -> None:
        extra = ref.extra  # our own objects are made again, or promoted elsewhere, without a question
        if ref.state == BLOCK and extra is not None and extra.owner is not None and self.is_away(ref.value):
            ref.value, ref.state = None, PENDING
            extra.fetching = False
            self.runtime.objects.fetch(ref)

    # --- arguments --------------------------------------------------------------------------------------------------

    def begin_arguments(self, dependencies: list[Dependency]) -> Fetch | None:
        """Ask for the arguments of one task that are away, all or none; None when all can be read now."""
        items = [
            Wanted(each.ref.object_id, each.block.size, each.ref.owner, each.block)
            for each in dependencies
            if each.block is not None and self.is_away(each.block) and each.ref.object_id not in self.copies
        ]
        if not items:
            return None
        with self.runtime.mutex:
            return self.start(items, ARGUMENT)

    def bring_arguments(self, dependencies: list[Dependency]) -> dict[bytes, LocalCopy]:
        """Local copies of the arguments that are away; waits. Those that moved are brought up to date in place."""
        brought: dict[bytes, LocalCopy] = {}
        while True:
            missing = []
            for each in dependencies:
                if each.block is not None and self.is_away(each.block) and each.ref.object_id not in brought:
                    copy = self.copies.get(each.ref.object_id)
                    if copy is not None:
                        brought[each.ref.object_id] = copy
                    else:
                        missing.append(each)
            if not missing:
                return brought
            fetch = self.begin_arguments(missing)
            if fetch is None:
                continue
            self.runtime.wait_target(fetch, None)
            if fetch.failure is not None:
                failure = fetch.failure
                for each in [each for each in missing if each.ref.object_id == failure.object_id]:
                    self._argument_again(each, failure)
            for copy in fetch.copies:
                brought[copy.object_id] = copy

    def _argument_again(self, dependency: Dependency, failure: m.FetchFailed) -> None:
        runtime = self.runtime
        with runtime.mutex:
            ref = runtime.borrowing.by_id.get(dependency.ref.object_id)
            if ref is None and dependency.ref.owner.worker_id != runtime.address.worker_id:
                ref = runtime.borrowing.borrowed_ref(dependency.ref)
                runtime.objects.fetch(ref)
            if ref is None:
                ref = ObjectRef(dependency.ref.object_id)
                ref.value = dependency.block
        if failure.kind != "moved":
            raise _error_of(ref, failure)
        self.failed(ref, failure)
        runtime.wait_target(ref, None)
        if ref.state == BLOCK:
            dependency.block = ref.value
        elif ref.state == 1:
            dependency.inline, dependency.block = ref.value, None
        else:
            runtime.objects.load(ref)  # raises


def _left(until: tuple[float | None, float | None]) -> float | None:
    return None if until[0] is None else max(0.0, until[0] - time.monotonic())


def _error_of(ref: ObjectRef[Any], failure: m.FetchFailed) -> errors.RayError:
    """What a failed fetch raises."""
    if failure.kind == "store_full":
        return errors.ObjectStoreFullError(failure.reason)
    if failure.kind == "disk_full":
        return errors.OutOfDiskError(failure.reason)
    kinds = {"timed_out": errors.ObjectFetchTimedOutError, "owner_died": errors.OwnerDiedError}
    error = kinds.get(failure.kind, errors.ObjectLostError)(ref.hex(), ref.owner_address(), ref.call_site())
    error.detail = failure.reason
    return error
