"""Is a copy left of a value whose owner has ended, and where: events in, effects out.

All that is looked for of one owner at a time shares a *round*: the head is asked once which nodes keep something of
that owner, then each of these nodes is asked once; a head that is new names them as they come to it. What is wanted
meanwhile waits for the next round. A complete copy
answers at once; one that is still arriving only when all have answered, and never for a node that keeps a copy itself
and lacks its bytes, so that no two nodes wait for each other. A search for all copies is answered when all nodes have
answered. Every search ends within ``max_s``. Called by ``raylet/orphans.py``; time comes as ``now_s``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from linckia.core.tables.index import Index
from linckia.model.wire import Block


class Search(NamedTuple):
    """One question. ``exclude``: nodes that were tried. ``takes_unfinished``: a copy that is arriving will do.
    ``wants_all``: which copies are there, instead of is there one.
    """

    waiter: int
    object_id: bytes
    owner_id: bytes
    exclude: tuple[bytes, ...] = ()
    takes_unfinished: bool = True
    wants_all: bool = False


class Copy(NamedTuple):
    """What a node said of one object; ``size`` -1: it has none, ``why`` if it knows; ``is_coming``: it may soon."""

    size: int
    offset: int = -1
    complete: bool = False
    why: str = ""
    is_coming: bool = False


class AskHead(NamedTuple):
    """Which nodes keep something of this owner? Answer with ``keepers``."""

    rid: int
    owner_id: bytes


class AskNode(NamedTuple):
    """What does the node keep of these? Answer with ``told`` or ``silent``, not before this call has returned."""

    rid: int
    node_id: bytes
    object_ids: list[bytes]


class Found(NamedTuple):
    """Copies, complete ones first; empty when there is none, and ``why``. To who wants all, only complete ones, and
    ``unsure``: nodes where one is coming or that have not answered. ``is_whole``: the head has named all keepers.
    """

    waiter: int
    sources: list[Block]
    why: str
    unsure: tuple[bytes, ...] = ()
    is_whole: bool = True


Effect = AskHead | AskNode | Found


class _Round:
    __slots__ = (
        "asked",
        "coming",
        "dead",
        "is_final",
        "named",
        "object_ids",
        "owner_id",
        "partial",
        "rid",
        "searches",
        "silent",
        "since_s",
        "sources",
        "why",
    )

    def __init__(self, rid: int, owner_id: bytes, searches: list[Search], since_s: float) -> None:
        self.rid, self.owner_id, self.searches, self.since_s = rid, owner_id, searches, since_s
        self.object_ids = list(dict.fromkeys(search.object_id for search in searches))
        self.is_final = False  # the head has named all
        self.named: dict[bytes, None] = {}
        self.dead: Sequence[str] = ()
        self.asked: dict[bytes, None] = {}  # nodes without an answer
        self.silent: list[bytes] = []  # nodes that will not answer
        self.sources: dict[bytes, list[Block]] = {}
        self.partial: dict[bytes, list[Block]] = {}
        self.coming: Index[bytes, bytes] = Index()  # object -> nodes that have nothing of it yet
        self.why: list[tuple[bytes, str]] = []  # (object or empty for all, what was found instead)


class OrphanSearch:
    """All searches of one node, which is ``node_id``."""

    def __init__(self, node_id: bytes, max_s: float, rids: Iterator[int] | None = None) -> None:
        self.node_id, self.max_s = node_id, max_s
        self._rounds: dict[int, _Round] = {}
        self._of_owner: dict[bytes, _Round] = {}
        self._next: dict[bytes, tuple[float, list[Search]]] = {}  # owner -> since when what waits for another round
        self._rids = rids if rids is not None else itertools.count(1)

    def want(self, search: Search, now_s: float) -> list[Effect]:
        """Look for a copy."""
        return self.want_each([search], now_s)

    def want_each(self, searches: list[Search], now_s: float) -> list[Effect]:
        """Look for copies of some objects of one owner."""
        owner_id = searches[0].owner_id
        if owner_id in self._of_owner:
            self._next.setdefault(owner_id, (now_s, []))[1].extend(searches)
            return []
        return self._begin(owner_id, searches, now_s)

    def ask_again(self) -> list[Effect]:
        """There is another head: it does not know what the last one was asked."""
        return [AskHead(each.rid, each.owner_id) for each in self._rounds.values() if not each.is_final]

    def keepers(self, rid: int, nodes: Sequence[bytes], dead: Sequence[str], *, is_final: bool = True) -> list[Effect]:
        """The head's answer: nodes to ask, and names of dead ones that kept something."""
        current = self._rounds.get(rid)
        if current is None or current.is_final:
            return []
        current.is_final, current.dead = is_final, dead
        fresh = [node_id for node_id in nodes if node_id not in current.named]
        current.named.update(dict.fromkeys(fresh))
        current.asked.update(dict.fromkeys(fresh))
        asks: list[Effect] = [AskNode(rid, node_id, current.object_ids) for node_id in fresh]
        return asks or self._settle(current)

    def told(self, rid: int, node_id: bytes, copies: Iterable[Copy]) -> list[Effect]:
        """A node's answer, in the order asked."""
        current = self._take(rid, node_id)
        if current is None:
            return []
        for object_id, copy in zip(current.object_ids, copies, strict=False):
            if copy.is_coming:
                current.coming.add(object_id, node_id)
            if copy.size < 0:
                current.why += [(object_id, copy.why)] if copy.why else []
                continue
            kind = current.sources if copy.complete else current.partial
            kind.setdefault(object_id, []).append(Block(copy.offset, copy.size, node_id))
        return self._settle(current)

    def silent(self, rid: int, node_id: bytes, why: str) -> list[Effect]:
        """A node did not answer."""
        current = self._take(rid, node_id)
        if current is None:
            return []
        current.why.append((b"", why))
        current.silent.append(node_id)
        return self._settle(current)

    def next_deadline(self) -> float | None:
        """When ``tick`` has something to do."""
        first_s = min((each.since_s for each in self._rounds.values()), default=None)
        return first_s + self.max_s if first_s is not None else None

    def tick(self, now_s: float) -> list[Effect]:
        """Give up what takes too long."""
        effects: list[Effect] = []
        for current in [each for each in self._rounds.values() if each.since_s + self.max_s <= now_s]:
            who = "nodes have not answered" if current.is_final else "the head has not said which nodes keep copies"
            current.why.append((b"", f"{who} within {self.max_s:g} s"))
            effects += self._end(current)
        return effects

    # --- inside -------------------------------------------------------------------------------------------------------

    def _begin(self, owner_id: bytes, searches: list[Search], since_s: float) -> list[Effect]:
        current = _Round(next(self._rids), owner_id, searches, since_s)
        self._rounds[current.rid] = self._of_owner[owner_id] = current
        return [AskHead(current.rid, owner_id)]

    def _take(self, rid: int, node_id: bytes) -> _Round | None:
        """The round that waits for this node."""
        current = self._rounds.get(rid)
        if current is None or node_id not in current.asked:
            return None
        del current.asked[node_id]
        return current

    def _settle(self, current: _Round) -> list[Effect]:
        """Answer what can be answered."""
        if current.is_final and not current.asked:
            return self._end(current)
        effects: list[Effect] = []
        left = []
        for search in current.searches:
            found = self._usable(search, current.sources)
            if found and not search.wants_all:
                effects.append(Found(search.waiter, found, ""))
            else:
                left.append(search)
        current.searches = left
        return effects if left else effects + self._end(current)

    def _end(self, current: _Round) -> list[Effect]:
        del self._rounds[current.rid], self._of_owner[current.owner_id]
        effects: list[Effect] = []
        effects += [self._last_answer(current, search) for search in current.searches]
        waiting = self._next.pop(current.owner_id, None)
        if waiting is not None:
            effects += self._begin(current.owner_id, waiting[1], waiting[0])
        return effects

    def _last_answer(self, current: _Round, search: Search) -> Found:
        found = self._usable(search, current.sources)
        arriving = self._usable(search, current.partial)
        if search.wants_all:
            coming = (*(each.node_id for each in arriving), *current.coming.of(search.object_id))
            return Found(search.waiter, found, "", (*coming, *current.silent, *current.asked), current.is_final)
        if search.takes_unfinished:
            found += arriving
        return Found(search.waiter, found, "" if found else _why(current, search))

    @staticmethod
    def _usable(search: Search, copies: dict[bytes, list[Block]]) -> list[Block]:
        return [each for each in copies.get(search.object_id, ()) if each.node_id not in search.exclude]


def _why(current: _Round, search: Search) -> str:
    """What was found instead of a copy."""
    reasons = [f"node {name}, which kept copies of its owner's values, is dead" for name in current.dead]
    if not current.named and not current.dead and current.is_final:
        reasons.append("no other node kept one")
    reasons += [text for object_id, text in current.why if object_id in (b"", search.object_id)]
    tried = sum(each.node_id in search.exclude for each in current.sources.get(search.object_id, ()))
    if tried:
        reasons.append(f"{tried} of its copies could not be read")
    return "no copy of it is left: " + "; ".join(dict.fromkeys(reasons) or ["none was kept"])
