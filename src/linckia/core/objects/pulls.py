"""Which objects a node pulls now, from where, and who waits: events in, effects out (R 3.16-3.18).

A request is a *bundle*: a task's arguments are admitted together or not at all, so that tasks with many large arguments
cannot block each other half-way. More urgent bundles come first; a ``get`` that does not fit takes the place of
arguments that are still under way. However many ask, an object is pulled once. The shell ``raylet/pull_manager.py``
carries the effects out; time comes as ``now_s``.
"""

from __future__ import annotations

from linckia.core.objects.copies import NOWHERE, Copy, CopyTable
from linckia.core.objects.pull_records import (
    Allocate,
    Announce,
    Answer,
    Bundle,
    Discard,
    Effect,
    Failed,
    Item,
    Locate,
    Pull,
    PullOptions,
    Transfer,
    Warn,
)
from linckia.model.wire import Block

ARGUMENT = 2
PRIORITIES = 4  # the last: replicas


class PullQueue:
    """All fetches of one node, of whose store ``capacity_bytes`` may be filled."""

    def __init__(
        self, node_id: bytes, capacity_bytes: int, copies: CopyTable, options: PullOptions | None = None
    ) -> None:
        self.node_id, self.capacity_bytes, self.copies = node_id, capacity_bytes, copies
        self.options = options or PullOptions()
        self.pulls: dict[bytes, Pull] = {}
        self.bundles: dict[tuple[bytes, int], Bundle] = {}  # without an answer yet
        self._waiting: list[dict[tuple[bytes, int], Bundle]] = [{} for _ in range(PRIORITIES)]
        self._wanting: dict[bytes, dict[tuple[bytes, int], None]] = {}  # object -> admitted bundles that miss it
        self._in_flight_bytes = 0

    # --- readers ------------------------------------------------------------------------------------------------------

    def want(self, client: bytes, rid: int, items: list[Item], priority: int, now_s: float) -> list[Effect]:
        """``client`` wants all of ``items`` here. A repeated request changes nothing: it gets the one answer."""
        if (client, rid) in self.bundles:
            return []
        priority = min(max(priority, 0), PRIORITIES - 1)
        bundle = Bundle(client, rid, items, priority, is_argument=priority == ARGUMENT)
        bundle.since_s = now_s
        self.bundles[bundle.key] = bundle
        if all(self.copies.offset_of(item.object_id) != NOWHERE for item in items):
            return self._start(bundle, now_s)
        self._waiting[priority][bundle.key] = bundle
        return self._admit(now_s)

    def cancel(self, client: bytes, rid: int, now_s: float) -> list[Effect]:
        """Nobody waits for this request any more."""
        bundle = self.bundles.get((client, rid))
        return self._drop(bundle) + self._admit(now_s) if bundle is not None else []

    def unpin(self, client: bytes, object_ids: list[bytes], now_s: float) -> list[Effect]:
        """``client`` no longer reads these."""
        effects: list[Effect] = []
        for object_id in object_ids:
            copy = self.copies.unhold(object_id, client)
            if copy is not None:
                effects += self._let_go(copy)
        return effects + self._admit(now_s)

    def client_gone(self, client: bytes, now_s: float) -> list[Effect]:
        """A process has ended: what it waited for and what it held."""
        effects: list[Effect] = []
        bundles, holds = [b for b in self.bundles.values() if b.client == client], self.copies.holds_of(client)
        if not bundles and not holds:
            return effects
        for bundle in bundles:
            effects += self._drop(bundle)
        for object_id, count in holds.items():
            copy = None
            for _ in range(count):
                copy = self.copies.unhold(object_id, client)
            if copy is not None:
                effects += self._let_go(copy)
        return effects + self._admit(now_s)

    # --- what became of effects ---------------------------------------------------------------------------------------

    def allocated(self, object_id: bytes, offset: int, now_s: float) -> list[Effect] | None:
        """There is memory for it; None when nobody wants it any more (the caller frees the memory)."""
        pull = self.pulls.get(object_id)
        if pull is None or pull.state != "allocating":
            return None
        self.copies.placed(object_id, offset)
        return self._seek(pull, now_s)

    def denied(self, object_id: bytes, reason: str, now_s: float) -> list[Effect]:
        """There is no room. Others' reads may end; when there are none it will not get better."""
        pull = self.pulls.get(object_id)
        if pull is None or pull.state != "allocating":
            return []
        pull.trouble = reason
        if not self._others_may_end(object_id) and now_s - pull.since_s >= self.options.full_grace_s:
            return self._fail(object_id, "store_full", reason) + self._admit(now_s)
        pull.state, pull.retry_s = "full", now_s + 0.1
        return []

    def _others_may_end(self, object_id: bytes) -> bool:
        """Memory is held by more than those who want this object and those who wait for memory as it does."""
        stuck = {item.object_id: item.size for key in self._wanting[object_id] for item in self.bundles[key].items}
        stuck |= {each: pull.item.size for each, pull in self.pulls.items() if pull.state in ("allocating", "full")}
        return self.copies.held_bytes > sum(stuck.values())

    def located(self, object_id: bytes, sources: list[Block], kind: str, reason: str, now_s: float) -> list[Effect]:
        """The owner's answer."""
        pull = self.pulls.get(object_id)
        if pull is None or pull.state != "locating":
            return []
        if sources:
            return [self._transfer(pull, sources[0])]
        if kind in ("unreachable", "owner_unreachable"):
            pull.trouble = pull.trouble if pull.trouble and kind == "unreachable" else reason
            pull.excluded.clear()
            return self._retry(pull, now_s)
        return self._fail(object_id, kind if kind != "unknown" else "lost", reason) + self._admit(now_s)

    def transferred(self, object_id: bytes, now_s: float) -> list[Effect]:
        """All bytes are here."""
        pull = self.pulls.pop(object_id, None)
        if pull is None:
            return []
        self._in_flight_bytes -= pull.item.size
        self.copies.completed(object_id)
        effects: list[Effect] = [Announce(object_id, pull.item.owner)]
        for key in self._wanting.pop(object_id, {}):
            bundle = self.bundles[key]
            bundle.missing.pop(object_id, None)
            if not bundle.missing:
                effects.append(self._answer(bundle))
        return effects + self._admit(now_s)

    def transfer_failed(self, object_id: bytes, node_id: bytes, reason: str, now_s: float) -> list[Effect]:
        """This source does not work; what has arrived is kept."""
        pull = self.pulls.get(object_id)
        if pull is None or pull.state != "transferring" or pull.source != node_id:
            return []
        pull.trouble = reason
        pull.excluded[node_id] = None
        pull.attempts += 1
        return self._retry(pull, now_s) if pull.attempts > 3 else self._seek(pull, now_s)

    def freed(self, object_ids: list[bytes]) -> list[Effect]:
        """The owner says that nobody refers to these any more."""
        effects: list[Effect] = []
        for object_id in object_ids:
            if self.copies.doom(object_id):
                effects.append(Discard(self.copies.remove(object_id), announced=False))
        return effects

    def read_ended(self, copy: Copy) -> list[Effect]:
        """A transfer to another node is over."""
        if self.copies.end_read(copy) and self.copies.get(copy.object_id) is copy:
            return [Discard(self.copies.remove(copy.object_id), announced=False)]
        return []

    def evict(self) -> list[Effect]:
        """Give up the least recently used copy that nobody reads; nothing when there is none."""
        copy = self.copies.next_victim()
        return [Discard(self.copies.remove(copy.object_id), announced=True)] if copy is not None else []

    # --- time ---------------------------------------------------------------------------------------------------------

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do; None when only events matter. Coarse: times out within a second."""
        if not self.bundles:
            return None
        retries = [pull.retry_s for pull in self.pulls.values() if pull.state in ("full", "failing")]
        oldest = (
            min(bundle.since_s for bundle in self.bundles.values() if bundle.warned < 2)
            if any(bundle.warned < 2 for bundle in self.bundles.values())
            else None
        )
        first = min(bundle.since_s for bundle in self.bundles.values()) + self.options.fail_after_s
        times = [first, *retries]
        if oldest is not None:
            waits = [b for b in self.bundles.values() if b.warned == 0]
            times.append(oldest + self.options.warn_after_s)
            times += [bundle.since_s + self.options.trouble_after_s for bundle in waits]
        return min(times)

    def tick(self, now_s: float) -> list[Effect]:
        """Try again what failed, warn of what takes long, give up what takes too long."""
        effects: list[Effect] = []
        told: set[bytes] = set()
        for object_id, pull in list(self.pulls.items()):
            if pull.state == "full" and pull.retry_s <= now_s:
                pull.state = "allocating"
                effects.append(Allocate(object_id, pull.item.size))
            elif pull.state == "failing" and pull.retry_s <= now_s:
                effects += self._seek(pull, now_s)
        for bundle in list(self.bundles.values()):
            age_s = now_s - bundle.since_s
            if age_s >= self.options.fail_after_s:
                failed = next(iter(bundle.missing), bundle.items[0].object_id)
                effects += self._drop(bundle)
                effects.append(Failed(bundle.client, bundle.rid, failed, "timed_out", self.why(bundle, age_s)))
            elif age_s >= self.options.warn_after_s and bundle.warned < 2:
                bundle.warned = 2
                effects += self._look_at(bundle, age_s, always=bundle.client not in told)
                told.add(bundle.client)
            elif age_s >= self.options.trouble_after_s and bundle.warned < 1:
                bundle.warned = 1
                effects += self._look_at(bundle, age_s, always=False)
        return effects + self._admit(now_s)

    def _look_at(self, bundle: Bundle, age_s: float, *, always: bool) -> list[Effect]:
        """It has waited long. What waits for room that only its own process holds is refused; else its user is told."""
        if not bundle.admitted and self.copies.bytes_held_by(bundle.client) == self.copies.held_bytes:
            reason = (
                f"{self.why(bundle, age_s)}, all of it by this very process: read fewer objects at a time, "
                "drop what was read before, or start the node with a larger object_store_memory"
            )
            return [*self._drop(bundle), Failed(*bundle.key, bundle.items[0].object_id, "store_full", reason)]
        if always or any(self.pulls[each].trouble for each in bundle.missing if each in self.pulls):
            return [Warn(bundle.client, self.why(bundle, age_s))]
        return []

    def why(self, bundle: Bundle, age_s: float) -> str:
        """What a bundle waits for, as a sentence."""
        if not bundle.admitted:
            return (
                f"{len(bundle.items)} objects have waited {age_s:.0f} s for room on this node: they need "
                f"{_mib(sum(item.size for item in bundle.items))}, {_mib(self.copies.held_bytes)} of "
                f"{_mib(self.capacity_bytes)} are being read"
            )
        object_id = next(iter(bundle.missing))
        pull = self.pulls.get(object_id)
        what = f"object {object_id.hex()} ({_mib(pull.item.size) if pull is not None else '?'})"
        if pull is None or not pull.trouble:
            state = pull.state if pull is not None else "waiting"
            return f"{what} has been fetched for {age_s:.0f} s and is not here yet ({state})"
        return f"{what} could not be fetched for {age_s:.0f} s: {pull.trouble}"

    # --- admission ----------------------------------------------------------------------------------------------------

    def _admit(self, now_s: float) -> list[Effect]:
        effects: list[Effect] = []
        for waiting in self._waiting:
            for bundle in list(waiting.values()):
                if not self._fits(bundle):
                    effects += self._make_room(bundle)
                    if not self._fits(bundle):
                        return effects  # what is less urgent must not overtake it for ever
                del waiting[bundle.key]
                effects += self._start(bundle, now_s)
        return effects

    def _fits(self, bundle: Bundle) -> bool:
        copies, options = self.copies, self.options
        fresh = pulled = 0
        for item in bundle.items:
            copy = copies.get(item.object_id)
            fresh += item.size if copy is None or not copy.holds else 0
            pulled += item.size if copy is None else 0
        if copies.held_bytes == 0:
            return True  # alone: the store has the last word
        if self.pulls and pulled and self._in_flight_bytes + pulled > options.in_flight_bytes:
            return False
        if pulled and len(self.pulls) >= options.in_flight_objects:
            return False
        if copies.held_bytes + fresh > self.capacity_bytes:
            return False
        limit = options.argument_share * self.capacity_bytes
        return not bundle.is_argument or not copies.argument_bytes or copies.argument_bytes + fresh <= limit

    def _make_room(self, bundle: Bundle) -> list[Effect]:
        """Suspend arguments under way, the youngest first, for something more urgent."""
        effects: list[Effect] = []
        if bundle.is_argument:
            return effects
        for other in [b for b in reversed(self.bundles.values()) if b.admitted and b.priority > bundle.priority]:
            effects += self._withdraw(other)
            self._waiting[other.priority] = {other.key: other, **self._waiting[other.priority]}
            if self._fits(bundle):
                break
        return effects

    def _start(self, bundle: Bundle, now_s: float) -> list[Effect]:
        bundle.admitted = True
        effects: list[Effect] = []
        for item in bundle.items:
            copy = self.copies.hold(item.object_id, item.size, item.owner, bundle.client, argument=bundle.is_argument)
            if copy.complete:
                continue
            bundle.missing[item.object_id] = None
            self._wanting.setdefault(item.object_id, {})[bundle.key] = None
            if item.object_id not in self.pulls:
                self.pulls[item.object_id] = Pull(item, now_s)
                self._in_flight_bytes += item.size
                effects.append(Allocate(item.object_id, item.size))
        if not bundle.missing:
            effects.append(self._answer(bundle))
        return effects

    def _answer(self, bundle: Bundle) -> Answer:
        del self.bundles[bundle.key]
        return Answer(bundle.client, bundle.rid, [self.copies.offset_of(item.object_id) for item in bundle.items])

    def _drop(self, bundle: Bundle) -> list[Effect]:
        """Forget a bundle without an answer."""
        del self.bundles[bundle.key]
        self._waiting[bundle.priority].pop(bundle.key, None)
        return self._withdraw(bundle) if bundle.admitted else []

    def _withdraw(self, bundle: Bundle) -> list[Effect]:
        effects: list[Effect] = []
        bundle.admitted = False
        for object_id in bundle.missing:
            wanting = self._wanting[object_id]
            wanting.pop(bundle.key, None)
            if not wanting:
                del self._wanting[object_id]
        bundle.missing.clear()
        for item in bundle.items:
            copy = self.copies.unhold(item.object_id, bundle.client, argument=bundle.is_argument)
            if copy is not None:
                effects += self._let_go(copy)
        return effects

    def _let_go(self, copy: Copy) -> list[Effect]:
        """Nobody holds this copy any more."""
        if not copy.complete:
            pull = self.pulls.pop(copy.object_id, None)
            if pull is not None:
                self._in_flight_bytes -= pull.item.size
            self.copies.remove(copy.object_id)
            return [Discard(copy, announced=True)]  # the owner has counted on us since Locate
        if copy.doomed and not copy.busy:
            return [Discard(self.copies.remove(copy.object_id), announced=False)]
        return []

    # --- sources ------------------------------------------------------------------------------------------------------

    def _seek(self, pull: Pull, now_s: float) -> list[Effect]:
        item = pull.item
        home = item.block.node_id
        near = home == self.node_id or item.size <= self.options.direct_bytes
        if near and home and home not in pull.excluded:
            return [self._transfer(pull, item.block)]
        pull.state = "locating"
        return [Locate(item.object_id, item.owner, list(pull.excluded))]

    def _transfer(self, pull: Pull, source: Block) -> Transfer:
        pull.state, pull.source = "transferring", source.node_id
        return Transfer(pull.item.object_id, source, self.copies.copies[pull.item.object_id])

    def _retry(self, pull: Pull, now_s: float) -> list[Effect]:
        pull.state = "failing"
        pull.attempts += 1
        pull.retry_s = now_s + min(self.options.retry_max_s, 0.05 * 2 ** min(pull.attempts, 10))
        return []

    def _fail(self, object_id: bytes, kind: str, reason: str) -> list[Effect]:
        effects: list[Effect] = []
        for key in list(self._wanting.get(object_id, {})):
            bundle = self.bundles[key]
            effects += self._drop(bundle)
            effects.append(Failed(bundle.client, bundle.rid, object_id, kind, reason))
        return effects


def _mib(size: int) -> str:
    return f"{size / 1048576:.1f} MiB"
