"""Finds copies of values whose owners have ended, for this node's processes and its pull queue; tells other nodes what
is kept here.

The decisions are core/objects/orphan_search.py's, what is kept is ``replicas.py``'s. What is here answers at once,
without the head. Who repairs (``orphan_repair.py``) surveys all copies, in rounds of its own: no reader waits for
those. Built by raylet/object_host.py.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from linckia.base.limits import ORPHAN_SEARCH_MAX_S
from linckia.core.objects import orphan_search as o
from linckia.core.objects.kept import COMING
from linckia.model.wire import Address, Block
from linckia.protocol import messages as m
from linckia.raylet.replicas import ReplicaHost
from linckia.raylet.transfer.links import NodeLinks
from linckia.rpc.reactor import Reactor, Timer

Located = Callable[[list[Block], str], None]
"""(copies in order of preference, "") or ([], why there is none)."""


class OrphanFinder:
    """One per raylet."""

    def __init__(self, reactor: Reactor, node_id: bytes, links: NodeLinks, replicas: ReplicaHost) -> None:
        self.reactor, self.node_id, self.links, self.replicas = reactor, node_id, links, replicas
        rids = itertools.count(1)
        self.search = o.OrphanSearch(node_id, ORPHAN_SEARCH_MAX_S, rids)
        self.surveys = o.OrphanSearch(node_id, ORPHAN_SEARCH_MAX_S, rids)
        self._waiting: dict[int, Callable[[o.Found], None]] = {}
        self._numbers = itertools.count(1)
        self._timer: Timer | None = None

    def handlers(self) -> dict[type[m.Message], Callable[[Any, Any], None]]:
        """Message type -> handler(peer, message)."""
        return {m.FindOrphan: self.on_find, m.Keepers: self.on_keepers, m.AskKept: self.on_ask_kept}

    # --- who looks ----------------------------------------------------------------------------------------------------

    def find(self, object_id: bytes, owner: Address, exclude: Iterable[bytes], located: Located) -> None:
        """``located`` is called once, within ORPHAN_SEARCH_MAX_S."""
        tried = tuple(exclude)
        here = self.replicas.kept_here(object_id)
        if here.complete and self.node_id not in tried:
            located([Block(here.offset, here.size, self.node_id)], "")
            return
        number = next(self._numbers)
        self._waiting[number] = lambda found: located(found.sources, found.why)
        kept = self.replicas.table.objects.get(object_id)
        comes_here = kept is not None and kept.state == COMING
        search = o.Search(number, object_id, owner.worker_id, (*tried, self.node_id), not comes_here)
        self._carry_out(self.search, self.search.want(search, time.monotonic()))

    def survey(self, owner_id: bytes, object_ids: Sequence[bytes], surveyed: Callable[[bytes, o.Found], None]) -> None:
        """Which other nodes have copies of these objects of one owner? ``surveyed`` is called once for each."""
        searches = []
        for object_id in object_ids:
            number = next(self._numbers)
            self._waiting[number] = lambda found, object_id=object_id: surveyed(object_id, found)  # type: ignore[misc]
            searches.append(o.Search(number, object_id, owner_id, (self.node_id,), wants_all=True))
        self._carry_out(self.surveys, self.surveys.want_each(searches, time.monotonic()))

    def on_find(self, peer: Any, message: m.FindOrphan) -> None:
        """A process of this node was about to say that the owner has died."""

        def located(sources: list[Block], why: str) -> None:
            peer.post(m.OrphanFound(message.rid, sources[0] if sources else None, why))

        self.find(message.object_id, message.owner, (), located)

    def head_is_new(self) -> None:
        """It does not know what is kept here, nor what its predecessor was asked."""
        told = self.replicas.keeps_for()
        if told.owners:
            self.replicas.tell_head(told)
        for of in (self.search, self.surveys):
            self._carry_out(of, of.ask_again())

    # --- who answers --------------------------------------------------------------------------------------------------

    def on_keepers(self, _peer: Any, message: m.Keepers) -> None:
        """The head's answer."""
        dead = [node_id.hex()[:8] for node_id in message.dead]
        for of in (self.search, self.surveys):  # it knows its rids
            self._carry_out(of, of.keepers(message.rid, message.nodes, dead, is_final=message.is_final))

    def on_ask_kept(self, peer: Any, message: m.AskKept) -> None:
        """Another node looks for copies."""
        peer.post(m.KeptHere(message.rid, [self.replicas.kept_here(object_id) for object_id in message.object_ids]))

    # --- effects ------------------------------------------------------------------------------------------------------

    def _carry_out(self, of: o.OrphanSearch, effects: Iterable[o.Effect]) -> None:
        for effect in effects:
            match effect:
                case o.AskHead():
                    self.replicas.tell_head(m.FindKeepers(effect.rid, effect.owner_id))
                case o.AskNode():
                    self._ask(of, effect)
                case o.Found():
                    self._waiting.pop(effect.waiter)(effect)
        self._schedule()

    def _ask(self, of: o.OrphanSearch, effect: o.AskNode) -> None:
        rid, node_id = effect.rid, effect.node_id
        if node_id == self.node_id:
            kept = [self.replicas.kept_here(object_id) for object_id in effect.object_ids]
            self.reactor.call_soon(lambda: self._told(of, rid, node_id, kept))
            return

        def answered(answer: Any, reason: str) -> None:
            if isinstance(answer, m.KeptHere):
                self._told(of, rid, node_id, answer.copies)
            else:
                self._carry_out(of, of.silent(rid, node_id, reason or str(answer)))

        self.links.request(node_id, lambda number: m.AskKept(number, effect.object_ids), answered)

    def _told(self, of: o.OrphanSearch, rid: int, node_id: bytes, kept: list[m.KeptCopy]) -> None:
        name = node_id.hex()[:8]
        copies = [
            o.Copy(
                each.size, each.offset, each.complete, f"node {name}: {each.why}" if each.why else "", each.is_coming
            )
            for each in kept
        ]
        self._carry_out(of, of.told(rid, node_id, copies))

    def _schedule(self) -> None:
        times = [due_s for of in (self.search, self.surveys) if (due_s := of.next_deadline()) is not None]
        if times and self._timer is None:
            self._timer = self.reactor.call_later(max(0.0, min(times) - time.monotonic()), self._tick)

    def _tick(self) -> None:
        self._timer = None
        for of in (self.search, self.surveys):
            self._carry_out(of, of.tick(time.monotonic()))
