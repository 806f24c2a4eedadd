"""Which objects a node moves from memory to disk, when, how many to a file, and when to give up (R 3.14-3.16, P 19-21).

Events in, effects out; the shell ``raylet/spilling.py`` carries them out and supplies the time as ``now_s`` and the
state of the disk. An object is *asked* for (its owner answers for all readers), *queued* (its memory is the node's
now), *writing*, and *stored*. It never chooses an object that is in use, never lets more be written than the caps
allow, and says why when it can do nothing.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from linckia.base.invariant import invariant
from linckia.core.objects.spill_records import (
    IN_MEMORY,
    QUEUED,
    STORED,
    WRITING,
    Ask,
    Batch,
    Candidate,
    DiskSpace,
    DropShare,
    Effect,
    FreeMemory,
    GiveBack,
    Say,
    SpillEntry,
    SpillOptions,
    Write,
)


class SpillQueue:
    """All spilled objects of one node and those on their way."""

    def __init__(self, options: SpillOptions | None = None) -> None:
        self.options = options or SpillOptions()
        self.entries: dict[bytes, SpillEntry] = {}
        self.stored_bytes = 0  # on disk, freed shares of living files not included
        self.reserved_bytes = 0  # of files being written
        self.trouble = ""  # why nothing can be written now, empty when it can
        self.is_disk_full = False  # the trouble is lack of room
        self._trouble_until_s = 0.0
        self._asks: dict[int, tuple[bytes, dict[bytes, None], float]] = {}  # rid -> owner, objects, when
        self._asked_bytes = 0
        self._queue: dict[bytes, SpillEntry] = {}
        self._queued_bytes = 0
        self._writing: dict[int, Batch] = {}
        self._writing_bytes = 0
        self._failures = 0
        self._retry_s = 0.0
        self._refused: dict[bytes, float] = {}  # object -> when to ask again
        self._rids, self._files = itertools.count(1), itertools.count(1)

    # --- pressure -----------------------------------------------------------------------------------------------------

    def pressed(
        self, wanted_bytes: int, candidates: Iterable[Candidate], disk: DiskSpace, now_s: float
    ) -> list[Effect]:
        """So much memory is to be freed. ``candidates``: what could go, oldest first, without what was freed since."""
        need = wanted_bytes - self._asked_bytes - self._queued_bytes - self._writing_bytes
        if need <= 0 or (self.trouble and now_s < self._trouble_until_s):
            return self._start(disk, now_s)
        room = self._room(disk) - self._asked_bytes - self._queued_bytes
        need = max(need, min(self.options.batch_bytes, self.options.least_bytes))
        self._forget_refusals(now_s)
        by_owner: dict[bytes, list[SpillEntry]] = {}
        picked = 0
        for each in candidates:
            if each.object_id in self.entries or each.object_id in self._refused:
                continue
            if picked + each.size > room:
                return self._ask(by_owner, now_s) + (self._full(disk, each.size, now_s) if not picked else [])
            entry = SpillEntry(each)
            by_owner.setdefault(each.owner, []).append(entry)
            picked += each.size
            if picked >= need:
                break
        return self._ask(by_owner, now_s) + self._start(disk, now_s)

    def asked(self, owner: bytes, rid: int, object_ids: Iterable[bytes]) -> list[SpillEntry]:
        """Those of ``object_ids`` that this owner was asked for under ``rid``."""
        ask = self._asks.get(rid)
        if ask is None or ask[0] != owner:
            return []
        return [self.entries[each] for each in object_ids if each in ask[1]]

    def answered(self, owner: bytes, rid: int, allowed: Iterable[bytes], disk: DiskSpace, now_s: float) -> list[Effect]:
        """The owner's answer: the node has taken over ``allowed``. The rest is in use, or gone."""
        ask = self._asks.get(rid)
        if ask is None or ask[0] != owner:
            return []
        del self._asks[rid]
        granted = set(allowed)
        for object_id in ask[1]:
            entry = self.entries[object_id]
            self._asked_bytes -= entry.size
            if object_id not in granted:
                del self.entries[object_id]
                self._refused[object_id] = now_s + self.options.ask_again_s
                continue
            entry.state = QUEUED
            self._queue[object_id] = entry
            self._queued_bytes += entry.size
        return self._sweep_freed() + self._start(disk, now_s)

    # --- writing ------------------------------------------------------------------------------------------------------

    def written(self, file: int, disk: DiskSpace, now_s: float) -> list[Effect]:
        """A file is complete: memory goes back."""
        batch = self._end_write(file)
        self._failures = 0
        effects = self._well()
        for entry in batch.entries:
            entry.state = STORED
            self.stored_bytes += entry.size
            if not entry.readers:
                effects.append(FreeMemory(entry))
                entry.in_memory = False
        return effects + self._sweep_freed(batch.entries) + self._start(disk, now_s)

    def failed(self, file: int, reason: str, disk: DiskSpace, now_s: float, *, is_full: bool) -> list[Effect]:
        """It could not be written: try again a few times, then give up and say so (P 20)."""
        batch = self._end_write(file)
        self._failures += 1
        for entry in reversed(batch.entries):
            entry.state, entry.file = QUEUED, 0
            self._queue = {entry.object_id: entry, **self._queue}
            self._queued_bytes += entry.size
        if self._failures < self.options.tries:
            self._retry_s = now_s + self.options.retry_s * 2 ** (self._failures - 1)
            return self._sweep_freed()
        self._failures = 0
        return self._give_up(reason, now_s, is_full=is_full)

    def tick(self, disk: DiskSpace, now_s: float) -> list[Effect]:
        """Go on with what waited for its time."""
        return self._start(disk, now_s)

    # --- readers and ends ---------------------------------------------------------------------------------------------

    def begin_read(self, object_id: bytes) -> SpillEntry | None:
        """Somebody reads this object; from memory while ``in_memory``. None when it is not here."""
        entry = self.entries.get(object_id)
        if entry is None or entry.state not in IN_MEMORY:
            return None
        if entry.in_memory:
            entry.readers += 1
        return entry

    def end_read(self, entry: SpillEntry) -> list[Effect]:
        """Once per reader of memory."""
        entry.readers -= 1
        if entry.readers or not entry.in_memory or entry.state == WRITING:
            return []
        if entry.state == STORED or entry.freed:
            entry.in_memory = False
            return [FreeMemory(entry)]
        return []

    def freed(self, object_ids: Iterable[bytes]) -> tuple[list[Effect], list[bytes]]:
        """Their owner needs these no more. Also returns the ids that are not known here."""
        effects: list[Effect] = []
        unknown = []
        for object_id in object_ids:
            entry = self.entries.get(object_id)
            if entry is None:
                unknown.append(object_id)
                continue
            entry.freed = True
            effects += self._sweep_freed([entry])
        return effects, unknown

    def inherit(self, object_id: bytes, heir: bytes) -> bool:
        """Its owner has ended, and ``heir`` takes its place. False when the node does not answer for it yet."""
        entry = self.entries.get(object_id)
        if entry is None or entry.state not in IN_MEMORY or entry.freed:
            return False
        entry.owner = heir
        return True

    def owner_gone(self, owner: bytes) -> list[Effect]:
        """All its objects are garbage; it will not answer."""
        for rid in [rid for rid, ask in self._asks.items() if ask[0] == owner]:
            for object_id in self._asks.pop(rid)[1]:
                self._asked_bytes -= self.entries.pop(object_id).size
        return self.freed([each.object_id for each in self.entries.values() if each.owner == owner])[0]

    # --- figures ------------------------------------------------------------------------------------------------------

    def is_busy(self, now_s: float) -> bool:
        """Memory is on its way back: who waits for it shall go on waiting."""
        young = any(now_s - asked_s < self.options.ask_max_s for _, _, asked_s in self._asks.values())
        return bool(self._writing) or young or (bool(self._queue) and not self.trouble)

    def next_deadline(self, now_s: float) -> float | None:
        """When ``tick`` has something to do."""
        return max(self._retry_s, now_s) if self._queue and not self._writing else None

    # --- inside -------------------------------------------------------------------------------------------------------

    def _ask(self, by_owner: dict[bytes, list[SpillEntry]], now_s: float) -> list[Effect]:
        effects: list[Effect] = []
        for owner, entries in by_owner.items():
            rid = next(self._rids)
            for entry in entries:
                self.entries[entry.object_id] = entry
                self._asked_bytes += entry.size
            self._asks[rid] = (owner, {entry.object_id: None for entry in entries}, now_s)
            effects.append(Ask(owner, rid, [entry.object_id for entry in entries]))
        return effects

    def _start(self, disk: DiskSpace, now_s: float) -> list[Effect]:
        """Write the next files: full ones at once, a smaller one when no answer is due that would fill it."""
        effects: list[Effect] = []
        while self._queue and len(self._writing) < self.options.writers and now_s >= self._retry_s:
            if self._asks and self._queued_bytes < self.options.batch_bytes and self._writing:
                break
            batch = Batch(next(self._files))
            room = self._room(disk)
            for entry in list(self._queue.values()):
                full = batch.size >= self.options.batch_bytes or len(batch.entries) >= self.options.batch_objects
                if full or batch.position_for(entry.size) + entry.size > room:
                    break
                self._unqueue(entry)
                entry.state = WRITING
                batch.add(entry)
            if not batch.entries:
                return effects + self._full(disk, next(iter(self._queue.values())).size, now_s)
            self.reserved_bytes += batch.size
            self._writing[batch.file] = batch
            self._writing_bytes += batch.size
            effects.append(Write(batch))
        return effects

    def _end_write(self, file: int) -> Batch:
        batch = self._writing.pop(file)
        self._writing_bytes -= batch.size
        self.reserved_bytes -= batch.size
        return batch

    def _unqueue(self, entry: SpillEntry) -> None:
        if self._queue.pop(entry.object_id, None) is not None:
            self._queued_bytes -= entry.size

    def _sweep_freed(self, entries: Iterable[SpillEntry] | None = None) -> list[Effect]:
        """Forget freed objects that nothing touches any more."""
        effects: list[Effect] = []
        for entry in list(self._queue.values()) if entries is None else entries:
            if not entry.freed or entry.state not in (QUEUED, STORED):
                continue
            invariant(self.entries.pop(entry.object_id, None) is entry, "a spilled object was freed twice", entry)
            self._unqueue(entry)
            if entry.in_memory and not entry.readers:
                entry.in_memory = False
                effects.append(FreeMemory(entry))
            if entry.state == STORED:
                self.stored_bytes -= entry.size
                effects.append(DropShare(entry.file))
        return effects

    # --- trouble ------------------------------------------------------------------------------------------------------

    def _room(self, disk: DiskSpace) -> int:
        """Bytes that may still be begun to be written."""
        options = self.options
        by_share = int(disk.total * options.used_max) - (disk.total - disk.free)
        room = min(disk.free, max(by_share, disk.free - options.free_min_bytes)) - self.reserved_bytes
        if options.max_bytes:
            room = min(room, options.max_bytes - disk.files_bytes - self.reserved_bytes)
        return room

    def _full(self, disk: DiskSpace, size: int, now_s: float) -> list[Effect]:
        if self._writing:
            return []  # what is being written now tells
        options = self.options
        if options.max_bytes and options.max_bytes - disk.files_bytes < size:
            text = f"spill_max_bytes of {options.max_bytes} is reached: {disk.files_bytes} bytes are in spill files"
        else:
            used = 100 * (1 - disk.free / disk.total) if disk.total else 100.0
            text = (
                f"the disk of {disk.path} is {used:.1f} % used, {disk.free} of {disk.total} bytes are free; spilling "
                f"stops above {100 * options.used_max:g} % unless {options.free_min_bytes} bytes stay free"
            )
        return self._give_up(text, now_s, is_full=True)

    def _give_up(self, reason: str, now_s: float, *, is_full: bool) -> list[Effect]:
        effects = self._sweep_freed()
        news = not self.trouble
        self.trouble, self.is_disk_full = reason, is_full
        self._trouble_until_s = now_s + self.options.recheck_s
        entries = [entry for entry in self._queue.values() if not entry.readers]
        for entry in entries:
            self._unqueue(entry)
            del self.entries[entry.object_id]
            effects.append(GiveBack(entry))
        if news:
            effects.append(Say(f"spilling is suspended: {reason}"))
        return effects

    def _well(self) -> list[Effect]:
        if not self.trouble:
            return []
        self.trouble, self.is_disk_full = "", False
        return [Say("spilling goes on")]

    def _forget_refusals(self, now_s: float) -> None:
        for object_id in [each for each, until_s in self._refused.items() if until_s <= now_s]:
            del self._refused[object_id]
