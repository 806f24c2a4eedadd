"""Distributed reference counting of one process, as owner and as borrower: events in, effects out (R 3.1-3.8).

The rule: *a process that comes to hold a reference is registered with the owner while something else still keeps the
object alive.* Arguments are kept by the caller until the task's answer, in which the worker reports what it goes on
holding; references in a result are registered for the caller before the answer leaves; references in a value that was
sent for are registered while that value is held. Registrations are *counted*, not collected in a set: a borrower that
lets go gives back as many as it was told of, so that an end and a new registration may cross on the wire.

It is the model of ``worker/borrowing.py``, which leaves the local counts to Python; the simulator runs it. It assumes
that messages between two living processes arrive in order, and that a death is reported after the last of them. It
knows neither values nor memory. Two things it gives up: a worker that dies between introducing its caller to a third
owner and answering leaves one registration, which lasts as long as the caller's process; and references in a cycle (a
result that contains, somewhere, a reference to itself) keep each other as long as their owners live.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

from linckia.base.invariant import invariant
from linckia.core.objects.references import (
    Acknowledge,
    Answer,
    Effect,
    End,
    Entry,
    Frame,
    Free,
    Hold,
    Introduction,
    Ref,
    Register,
    Stage,
    Value,
)

DEAD_REMEMBERED = 10_000


class ReferenceCounter:
    """All references of the process ``me``. Each event method returns the effects to carry out, in order."""

    def __init__(self, me: bytes) -> None:
        self.me = me
        self.entries: dict[bytes, Entry] = {}
        self.frames: dict[bytes, Frame] = {}  # tasks that run here
        self.dead: dict[bytes, None] = {}
        self._pins: dict[bytes, tuple[bytes, ...]] = {}  # tasks submitted from here -> their arguments
        self._open: dict[int, Introduction] = {}
        self._lent_to: dict[bytes, dict[bytes, None]] = {}  # borrower -> our objects it has registrations of
        self._rids = itertools.count(1)
        self._out: list[Effect] = []

    # --- user code ----------------------------------------------------------------------------------------------------

    def create(self, object_id: bytes, contained: Iterable[bytes] = ()) -> list[Effect]:
        """A new object of ours, with one reference in user code: by put, or as the result of a task to come."""
        invariant(object_id not in self.entries, "an object is created once", object_id)
        entry = self.entries[object_id] = Entry(object_id, self.me)
        self._hold(entry, Hold.LOCAL)
        self._contain(entry, tuple(contained))
        return self._done()

    def keep(self, object_id: bytes) -> None:
        """User code has one more reference to an object that this process holds."""
        self._hold(self.entries[object_id], Hold.LOCAL)

    def drop(self, object_id: bytes) -> list[Effect]:
        """User code has one reference less."""
        self._release(object_id, Hold.LOCAL)
        return self._done()

    def holds(self, object_id: bytes) -> bool:
        """This process needs the object."""
        entry = self.entries.get(object_id)
        return entry is not None and entry.held

    # --- the caller of a task -----------------------------------------------------------------------------------------

    def submit(self, task_id: bytes, arguments: Iterable[bytes]) -> tuple[Ref, ...]:
        """A task is sent off: its arguments are held until it is over. Returns what to send with it."""
        ids = self._pins[task_id] = tuple(arguments)
        for object_id in ids:
            self._hold(self.entries[object_id], Hold.TASK)
        return self._refs(ids)

    def answered(
        self, task_id: bytes, worker: bytes, borrowing: Iterable[bytes], result: bytes, contained: Iterable[Ref]
    ) -> list[Effect]:
        """The task's answer: ``worker`` still holds ``borrowing``, the value of ``result`` has ``contained`` inside."""
        for object_id in borrowing:
            self._lend(object_id, worker)
        self._receive(result, contained, registered=lambda _owner: True)
        self._unpin(task_id)
        return self._done()

    def abandoned(self, task_id: bytes) -> list[Effect]:
        """The task is over without an answer."""
        self._unpin(task_id)
        return self._done()

    def _unpin(self, task_id: bytes) -> None:
        for object_id in self._pins.pop(task_id, ()):
            self._release(object_id, Hold.TASK)

    # --- the process that runs a task ---------------------------------------------------------------------------------

    def begin(self, task_id: bytes, caller: bytes, arguments: Iterable[Ref]) -> list[Effect]:
        """A task arrived: it holds its arguments, which the caller keeps alive meanwhile."""
        refs = tuple(arguments)
        for ref in refs:
            self._hold(self._entry(ref), Hold.TASK)
        frame = self.frames[task_id] = Frame(task_id, caller, tuple(ref.object_id for ref in refs))
        if caller in self.dead:
            self._protect(frame)
        return self._done()

    def finish(self, task_id: bytes, contained: Iterable[bytes]) -> list[Effect]:
        """User code returned a value with these references inside. The answer leaves when all owners know."""
        frame = self.frames[task_id]
        frame.stage, frame.contained = Stage.LENDING, tuple(contained)
        for object_id in frame.contained:
            entry = self.entries[object_id]
            self._hold(entry, Hold.ANSWER)
            if frame.caller in self.dead or entry.owner == frame.caller:
                continue
            if entry.owner == self.me:
                self._lend(object_id, frame.caller)
            else:
                self._introduce(entry, frame.caller, task_id=task_id)
        self._go_on(frame)
        return self._done()

    def _go_on(self, frame: Frame) -> None:
        """The next stage, unless an owner has to answer first."""
        if frame.stage is Stage.LENDING and not frame.outstanding:
            frame.stage = Stage.REPORTING
            self._report(frame)
        if frame.stage is Stage.REPORTING and not frame.outstanding:
            del self.frames[frame.task_id]
            if frame.caller not in self.dead:
                contained = self._refs(frame.contained)
                self._out.append(Answer(frame.caller, frame.task_id, tuple(frame.borrowing), contained))
            for object_id in frame.contained:
                self._release(object_id, Hold.ANSWER)

    def _report(self, frame: Frame) -> None:
        """The task lets go of its arguments; what is held by others here becomes a borrow of this process."""
        for object_id in frame.arguments:
            entry = self.entries[object_id]
            entry.holds[Hold.TASK] -= 1
            if not entry.held or entry.owner == self.me or entry.credits or entry.lost:
                self._settle(entry)
            elif entry.owner == frame.caller:
                entry.credits += 1
                frame.borrowing.append(object_id)
            else:
                self._introduce(entry, self.me, task_id=frame.task_id)

    def _protect(self, frame: Frame) -> None:
        """The caller is dead and keeps nothing alive any more: try to borrow what the task still uses."""
        for object_id in frame.arguments:
            entry = self.entries[object_id]
            if entry.owner != self.me and not entry.credits and not entry.lost:
                self._introduce(entry, self.me)

    # --- values that are sent for -------------------------------------------------------------------------------------

    def fetch(self, object_id: bytes) -> None:
        """The value of a borrowed object is sent for: it is held until the answer is there."""
        self._hold(self.entries[object_id], Hold.WAITING)

    def serve(self, object_id: bytes, to: bytes) -> list[Effect]:
        """``to`` asks for the value of an object of ours: what we own inside is lent to it."""
        entry = self.entries.get(object_id)
        if entry is None or to in self.dead:
            return [Value(to, object_id, None)]
        for inner in entry.contains:
            if self.entries[inner].owner == self.me:
                self._lend(inner, to)
        return [Value(to, object_id, self._refs(entry.contains))]

    def fetched(self, object_id: bytes, contained: Iterable[Ref] | None) -> list[Effect]:
        """The value is there; None: the owner does not know it, or is dead."""
        entry = self.entries[object_id]
        if contained is None:
            entry.lost = True
        else:
            self._receive(object_id, contained, registered=lambda owner: owner == entry.owner)
        self._release(object_id, Hold.WAITING)
        return self._done()

    def _receive(self, container: bytes, contained: Iterable[Ref], registered: Callable[[bytes], bool]) -> None:
        """References inside a value. ``registered(owner)``: the sender has seen to it that the owner knows us."""
        outer = self.entries.get(container)
        ids: list[bytes] = []
        for ref in contained:
            if ref.owner == self.me and ref.object_id not in self.entries:
                continue  # ours, and it was freed: its sender held it by mistake, or is a process declared dead
            entry = self._entry(ref)
            ids.append(ref.object_id)
            self._hold(entry, Hold.ANSWER)
            if ref.owner == self.me:
                continue
            if registered(ref.owner):
                entry.credits += 1
            elif not entry.credits and not entry.lost:
                self._introduce(entry, self.me, keep=(container,))
        if outer is not None and not outer.contains:
            self._contain(outer, tuple(ids))
        for object_id in ids:
            self._release(object_id, Hold.ANSWER)

    # --- owner and borrower -------------------------------------------------------------------------------------------

    def add_borrower(self, sender: bytes, rid: int, object_id: bytes, borrower: bytes) -> list[Effect]:
        """AddBorrower came in; a repeated ``rid`` is the shell's to answer (rpc/idempotence.py)."""
        known = object_id in self.entries
        if known:
            self._lend(object_id, borrower)
        self._out.append(Acknowledge(sender, rid, known))
        return self._done()

    def acknowledged(self, rid: int, *, known: bool) -> list[Effect]:
        """The owner's answer to a Register."""
        self._acknowledge(rid, known=known)
        return self._done()

    def ended(self, borrower: bytes, object_ids: Iterable[bytes]) -> list[Effect]:
        """BorrowEnded came in: each id takes one registration back, be it one that is still on its way."""
        for object_id in object_ids:
            entry = self.entries.get(object_id)
            if entry is not None and borrower not in self.dead:
                self._count(entry, borrower, -1)
                self._settle(entry)
        return self._done()

    def died(self, process: bytes) -> list[Effect]:
        """``process`` is gone, and all it sent has arrived. Idempotent."""
        if process in self.dead:
            return []
        self.dead[process] = None
        if len(self.dead) > DEAD_REMEMBERED:
            del self.dead[next(iter(self.dead))]
        for object_id in self._lent_to.pop(process, {}):
            entry = self.entries[object_id]
            entry.borrowers.pop(process, None)
            self._settle(entry)
        for entry in [entry for entry in self.entries.values() if entry.owner == process]:
            entry.lost, entry.credits = True, 0
        for rid in [rid for rid, open_one in self._open.items() if open_one.owner == process]:
            self._acknowledge(rid, known=False)
        for frame in [frame for frame in self.frames.values() if frame.caller == process]:
            if frame.stage is Stage.RUNNING:
                self._protect(frame)
        return self._done()

    def _introduce(self, entry: Entry, borrower: bytes, *, keep: tuple[bytes, ...] = (), task_id: bytes = b"") -> None:
        """Tell the owner that ``borrower`` holds it; it, and ``keep``, stay until the owner has answered."""
        if entry.owner in self.dead:
            entry.lost = True
            return
        rid = next(self._rids)
        keep = (entry.object_id, *(each for each in keep if each in self.entries))
        for object_id in keep:
            self._hold(self.entries[object_id], Hold.WAITING)
        if borrower == self.me:
            entry.credits += 1
        self._open[rid] = Introduction(entry.owner, borrower, entry.object_id, keep, task_id)
        if task_id:
            self.frames[task_id].outstanding[rid] = None
        self._out.append(Register(entry.owner, rid, entry.object_id, borrower))

    def _acknowledge(self, rid: int, *, known: bool) -> None:
        introduction = self._open.pop(rid, None)
        if introduction is None:
            return
        entry = self.entries[introduction.object_id]
        if not known:
            entry.lost = True
            if introduction.borrower == self.me and entry.credits:
                entry.credits -= 1
        frame = self.frames.get(introduction.task_id)
        if frame is not None:
            frame.outstanding.pop(rid, None)
            self._go_on(frame)
        for object_id in introduction.keep:
            self._release(object_id, Hold.WAITING)

    def _lend(self, object_id: bytes, borrower: bytes) -> None:
        entry = self.entries.get(object_id)
        if entry is not None and borrower not in self.dead and borrower != self.me:
            self._count(entry, borrower, 1)

    def _count(self, entry: Entry, borrower: bytes, change: int) -> None:
        count = entry.borrowers.get(borrower, 0) + change
        lent_to = self._lent_to.setdefault(borrower, {})
        if count:
            entry.borrowers[borrower] = count
            lent_to[entry.object_id] = None
        else:
            entry.borrowers.pop(borrower, None)
            lent_to.pop(entry.object_id, None)

    # --- counts -------------------------------------------------------------------------------------------------------

    def _entry(self, ref: Ref) -> Entry:
        entry = self.entries.get(ref.object_id)
        if entry is None:
            entry = self.entries[ref.object_id] = Entry(ref.object_id, ref.owner)
            entry.lost = ref.owner in self.dead or ref.owner == self.me  # ours and unknown: freed long ago
        return entry

    def _refs(self, ids: Iterable[bytes]) -> tuple[Ref, ...]:
        return tuple(Ref(object_id, self.entries[object_id].owner) for object_id in ids)

    def _contain(self, outer: Entry, ids: tuple[bytes, ...]) -> None:
        outer.contains = ids
        for object_id in ids:
            self._hold(self.entries[object_id], Hold.INSIDE)

    def _hold(self, entry: Entry, why: Hold) -> None:
        entry.holds[why] = entry.holds.get(why, 0) + 1

    def _release(self, object_id: bytes, why: Hold) -> None:
        entry = self.entries[object_id]
        invariant(entry.holds.get(why, 0) > 0, "only what is held is released", object_id, why)
        entry.holds[why] -= 1
        self._settle(entry)

    def _settle(self, entry: Entry) -> None:
        """Let go of what nobody needs, and of what it contains."""
        doubtful = [entry]
        while doubtful:
            entry = doubtful.pop()
            if entry.held or entry.lent or self.entries.get(entry.object_id) is not entry:
                continue
            del self.entries[entry.object_id]
            for borrower in entry.borrowers:
                self._lent_to[borrower].pop(entry.object_id, None)
            if entry.owner == self.me and not entry.lost:
                self._out.append(Free(entry.object_id))
            elif entry.credits and entry.owner not in self.dead:
                self._out.append(End(entry.owner, (entry.object_id,) * entry.credits))
            for inner in entry.contains:
                self.entries[inner].holds[Hold.INSIDE] -= 1
                doubtful.append(self.entries[inner])

    def _done(self) -> list[Effect]:
        effects, self._out = self._out, []
        return effects
