"""The GCS's part of the state API: answers `StateQuery` from its own tables, or from what all raylets tell.

A collection goes to all living raylets at once and ends when the last has answered, or at its deadline: then whoever
has not answered is named. Parts are merged as they come, so that memory grows with the limit, not with the cluster.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from linckia.base.limits import STATE_ROWS_MAX
from linckia.core.listing.merging import merge
from linckia.gcs import state_rows
from linckia.model.listing import Part, Row, decode_part, encode_part
from linckia.protocol import messages as m

if TYPE_CHECKING:
    from linckia.gcs.actors import ActorService
    from linckia.gcs.placement_groups import GroupService
    from linckia.gcs.service import Gcs

COLLECTED = ("tasks", "objects", "workers", "runtime_envs", "logs", "log")
OF_ONE_NODE = ("log", "logs", "workers")
"""Told by the node that their column `node_id` names; of tasks and objects others know too."""
RAYLETS_SHARE = 0.8  # of the deadline: what they have by then still has to come here


class Collection:
    """One question that raylets are answering, for ``peer``."""

    def __init__(self, peer: Any, query: m.StateQuery, asked: dict[bytes, str], part: Part) -> None:
        self.peer, self.query, self.asked, self.part = peer, query, asked, part


class StateService:
    """Built by node/head.py."""

    def __init__(
        self,
        gcs: Gcs,
        actors: ActorService,
        groups: GroupService,
        call_later: Callable[[float, Callable[[], None]], Any],
    ) -> None:
        self._nodes, self._actors, self._call_later = gcs.nodes, actors, call_later
        self._numbers = itertools.count(1)
        self._open: dict[int, Collection] = {}
        self._tables: dict[str, Callable[[], list[Row]]] = {
            "actors": lambda: state_rows.actor_rows(actors),
            "jobs": lambda: state_rows.job_rows(gcs),
            "nodes": lambda: state_rows.node_rows(gcs.nodes),
            "placement_groups": lambda: state_rows.group_rows(groups),
            "cluster_events": lambda: state_rows.event_rows(gcs.nodes),
        }
        gcs.nodes.on_dead.append(lambda node, _text: self._node_dead(node.info.node_id))

    def handlers(self) -> dict[type, Callable[[Any, Any], None]]:
        """Message type -> handler(peer, message)."""
        return {m.StateQuery: self._on_query, m.StatePart: self._on_part}

    def _on_query(self, peer: Any, query: m.StateQuery) -> None:
        table = self._tables.get(query.what)
        if table is not None:
            rows = table()
            self._answer(peer, query, merge([Part(rows, [], len(rows))], _limit(query), query.filters))
        elif query.what in COLLECTED:
            self._collect(peer, query)
        else:
            text = f"the state API has no {query.what!r}; it has {sorted([*self._tables, *COLLECTED])}"
            peer.post(m.Failure(query.rid, "ValueError", text))

    def _answer(self, peer: Any, query: m.StateQuery, part: Part) -> None:
        # Not Gcs.reply: that would keep the whole list in memory for a repetition that nobody asks for.
        if not peer.closed:
            peer.post(m.StateAnswer(query.rid, encode_part(part)))

    # --- collections --------------------------------------------------------------------------------------------------

    def _collect(self, peer: Any, query: m.StateQuery) -> None:
        number = next(self._numbers)
        living = _asked_nodes(self._nodes.living(), query)
        asked = {node.info.node_id: f"node {node.info.node_id.hex()[:12]} ({node.info.node_ip})" for node in living}
        own = Part()
        if query.what == "tasks":
            rows = state_rows.creation_rows(self._actors)
            own = Part(rows, [], len(rows))
        self._open[number] = Collection(peer, query, asked, own)
        wait_s = query.timeout_s * RAYLETS_SHARE
        question = m.StateCollect(number, query.what, query.filters, _limit(query), wait_s)
        for node in living:
            self._nodes.send(node.info.node_id, question)
        self._call_later(query.timeout_s, lambda: self._finish(number))
        self._finish_if_done(number)

    def _on_part(self, peer: Any, message: m.StatePart) -> None:
        collection = self._open.get(message.number)
        if collection is None or collection.asked.pop(peer.peer_id, None) is None:
            return
        told = decode_part(message.body)
        if collection.query.what == "log":
            collection.part = told if told.rows or told.missing else collection.part
        else:
            # Filters come last: a row that one node would leave out may belong to one that another node tells.
            is_tasks = collection.query.what == "tasks"
            collection.part = merge([collection.part, told], STATE_ROWS_MAX, tasks=is_tasks)
        self._finish_if_done(message.number)

    def _node_dead(self, node_id: bytes) -> None:
        for number, collection in list(self._open.items()):
            if collection.asked.pop(node_id, None) is not None:
                self._finish_if_done(number)

    def _finish_if_done(self, number: int) -> None:
        if not self._open[number].asked:
            self._finish(number)

    def _finish(self, number: int) -> None:
        collection = self._open.pop(number, None)
        if collection is None:
            return
        part, query = collection.part, collection.query
        part.missing += collection.asked.values()
        if query.what != "log":
            part = merge([part], _limit(query), query.filters, tasks=query.what == "tasks")
        self._answer(collection.peer, query, part)


def _asked_nodes(living: list[Any], query: m.StateQuery) -> list[Any]:
    """All, unless it is about files or processes of one node: who follows a log asks often."""
    if query.what not in OF_ONE_NODE:
        return living
    wanted = next((value for column, how, value in query.filters if column == "node_id" and how == "="), None)
    return living if wanted is None else [node for node in living if node.info.node_id.hex() == str(wanted).lower()]


def _limit(query: m.StateQuery) -> int:
    return max(0, min(query.limit, STATE_ROWS_MAX))
