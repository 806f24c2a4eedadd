"""The versions of all keys: what a key was at which revision, what changed since, and what may be forgotten.

Called by ``state.py``, which decides whether a change may be made; here it is only recorded. Versions are shared with
the log, so a value is in memory once however often it is referred to.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

from linckia.base.invariant import invariant
from linckia.core.mvcc.records import FIRST_REVISION, KEYSPACE_END, Event, EventKind, KeyValue

EVENT_OVERHEAD_BYTES = 128


class KeySpace:
    """``revision`` is the last one made; history after ``compacted`` is complete."""

    def __init__(self) -> None:
        self.revision = FIRST_REVISION
        self.compacted = 0
        self.live_bytes = 0
        self.history_bytes = 0
        self.log: list[Event] = []
        self._versions: dict[bytes, list[KeyValue]] = {}
        self._keys: list[bytes] = []

    # --- reading ------------------------------------------------------------------------------------------------------

    def now(self, key: bytes) -> KeyValue | None:
        """The key's present version."""
        versions = self._versions.get(key)
        return versions[-1] if versions and versions[-1].version else None

    def at(self, key: bytes, revision: int) -> KeyValue | None:
        """What the key was at ``revision``, which must not be compacted."""
        versions = self._versions.get(key)
        if not versions:
            return None
        place = bisect_right(versions, revision, key=_mod_revision)
        return versions[place - 1] if place and versions[place - 1].version else None

    def span(self, start: bytes, end: bytes | None, revision: int | None, most: int | None) -> list[KeyValue]:
        """The keys of a span in byte order, now or at ``revision``; at most ``most``."""
        found: list[KeyValue] = []
        for key in self._keys_in(start, end):
            if most is not None and len(found) >= most:
                break
            kv = self.now(key) if revision is None else self.at(key, revision)
            if kv is not None:
                found.append(kv)
        return found

    def log_from(self, revision: int) -> list[Event]:
        """All changes of ``revision`` and later."""
        return self.log[bisect_left(self.log, revision, key=_event_revision) :]

    def _keys_in(self, start: bytes, end: bytes | None) -> list[bytes]:
        if end is None:
            return [start]
        first = bisect_left(self._keys, start)
        last = len(self._keys) if end == KEYSPACE_END else bisect_left(self._keys, end)
        return self._keys[first:last]

    # --- writing ------------------------------------------------------------------------------------------------------

    def put(self, key: bytes, value: bytes, lease: int, revision: int) -> Event:
        """A new version of the key at ``revision``, which the caller then makes the store's."""
        prev = self.now(key)
        created = prev.create_revision if prev else revision
        kv = KeyValue(key, value, created, revision, prev.version + 1 if prev else 1, lease)
        return self._record(EventKind.PUT, kv, prev)

    def delete(self, key: bytes, revision: int) -> Event:
        """The key ends at ``revision``."""
        prev = self.now(key)
        invariant(prev is not None, "only what exists is deleted", key)
        return self._record(EventKind.DELETE, KeyValue(key, b"", 0, revision, 0), prev)

    def restore(self, kv: KeyValue) -> None:
        """A version as it was written once, in the order of revisions."""
        prev = self.now(kv.key)
        invariant(prev is None or kv.mod_revision > prev.mod_revision, "versions come in order", kv)
        kind = EventKind.PUT if kv.version else EventKind.DELETE
        if kv.mod_revision > self.compacted:
            self._record(kind, kv, prev)
        else:
            self._append(kv, prev)
        self.revision = max(self.revision, kv.mod_revision)

    def _record(self, kind: EventKind, kv: KeyValue, prev: KeyValue | None) -> Event:
        self._append(kv, prev)
        event = Event(kind, kv, prev)
        self.log.append(event)
        self.history_bytes += _cost(event)
        return event

    def _append(self, kv: KeyValue, prev: KeyValue | None) -> None:
        versions = self._versions.get(kv.key)
        if versions is None:
            self._versions[kv.key] = [kv]
            insort(self._keys, kv.key)
        else:
            versions.append(kv)
        self.live_bytes += _size(kv) - (_size(prev) if prev else 0)

    def revision_of_half(self) -> int:
        """Compacting here would halve the bytes of the history, or more."""
        spare = self.history_bytes // 2
        for event in self.log:
            spare -= _cost(event)
            if spare <= 0:
                return event.kv.mod_revision
        return self.compacted

    # --- forgetting ---------------------------------------------------------------------------------------------------

    def compact(self, revision: int) -> list[KeyValue]:
        """Forget what ended at or before ``revision``; reads at ``revision`` and later stay exact. What was dropped."""
        cut = bisect_right(self.log, revision, key=_event_revision)
        gone, self.log = self.log[:cut], self.log[cut:]
        self.history_bytes -= sum(_cost(event) for event in gone)
        self.compacted = revision
        dropped: list[KeyValue] = []
        removed = False
        for key in dict.fromkeys(event.kv.key for event in gone):
            versions = self._versions[key]
            keep = bisect_right(versions, revision, key=_mod_revision) - 1
            if keep >= 0 and not versions[keep].version:
                keep += 1
            if keep > 0:
                dropped += versions[:keep]
                del versions[:keep]
            if not versions:
                del self._versions[key]
                removed = True
        if removed:
            self._keys = [key for key in self._keys if key in self._versions]
        return dropped


def _mod_revision(kv: KeyValue) -> int:
    return kv.mod_revision


def _event_revision(event: Event) -> int:
    return event.kv.mod_revision


def _size(kv: KeyValue) -> int:
    return len(kv.key) + len(kv.value) if kv.version else 0


def _cost(event: Event) -> int:
    return EVENT_OVERHEAD_BYTES + len(event.kv.key) + (len(event.prev.value) if event.prev else 0)
