"""The raylet's end of the relay: what drivers and workers of this node say to the head, and the answers.

What must outlive a head is remembered here: requests that have no answer yet, and who listens to which actor or group.
A new head hears all of it again (`again`); it knows a request that the last one carried out by what the request is
about (an actor's id, a driver's, ...). The other end is gcs/relay.py. Used by node/rooms.py.
"""

from __future__ import annotations

from typing import Any

from linckia.protocol import messages as m
from linckia.protocol.batch import decode_batch, encode_batch

UNANSWERED = (m.KillActor,)
"""They have a number and get no answer."""


class Client:
    """A driver or worker that talks to the GCS."""

    def __init__(self, peer: Any) -> None:
        self.peer = peer
        self.asked: dict[int, m.Relayed] = {}  # without an answer, by rid
        self.actors: dict[bytes, None] = {}  # that it listens to
        self.groups: dict[bytes, None] = {}


class Relaying:
    """Who of this node talks to the GCS, by worker id. ``gcs`` is the link to the head."""

    def __init__(self, gcs: Any) -> None:
        self.gcs = gcs
        self.clients: dict[bytes, Client] = {}

    def to_head(self, peer: Any, message: m.Message) -> None:
        """Pass a message on, and remember where answers go."""
        client = self.clients.get(peer.peer_id)
        if client is None or client.peer is not peer:
            client = self.clients[peer.peer_id] = Client(peer)
        rid = getattr(message, "rid", None)
        if rid in client.asked:
            return  # the link to the head loses nothing: it is on its way, or being answered
        relayed = m.Relayed(peer.peer_id, peer.peer_role, encode_batch([message]))
        if rid is not None and not isinstance(message, UNANSWERED):
            client.asked[rid] = relayed
        if isinstance(message, m.SubscribeActor):
            client.actors[message.actor_id] = None
        elif isinstance(message, m.SubscribeGroup):
            client.groups[message.group_id] = None
        elif isinstance(message, m.CreateGroup):
            client.groups[message.spec.group_id] = None
        self.gcs.post(relayed)

    def from_head(self, message: m.RelayedBack) -> None:
        """To the process that it is for, if it is still there."""
        client = self.clients.get(message.worker_id)
        if client is not None:
            for inner in decode_batch(message.batch):
                self._note(client, inner)
                client.peer.post(inner)

    @staticmethod
    def _note(client: Client, message: m.Message) -> None:
        """An answer, or news of what it listens to: who made an actor or group gets news without asking."""
        if isinstance(message, m.ActorUpdate):
            if message.state == "DEAD":
                client.actors.pop(message.actor_id, None)
            else:
                client.actors[message.actor_id] = None
        elif isinstance(message, m.GroupUpdate):
            if message.state == "REMOVED":
                client.groups.pop(message.group_id, None)
            else:
                client.groups[message.group_id] = None
        else:
            client.asked.pop(getattr(message, "rid", -1), None)
            if isinstance(message, m.ActorRegistered) and message.actor_id:
                client.actors[message.actor_id] = None

    def again(self, unacked: list[m.Message]) -> None:
        """Another head: ask again what the last one has taken and not answered, before ``unacked``, which follow it."""
        on_the_way = {id(message) for message in unacked}
        for client in self.clients.values():
            for relayed in client.asked.values():
                if id(relayed) not in on_the_way:
                    self.gcs.post(relayed)

    def is_answered(self, message: m.Message) -> bool:
        """A request whose answer has come, though the last head did not acknowledge the request itself: it is in the
        store, or was refused, and another head must not be asked.
        """
        client = self.clients.get(message.worker_id) if isinstance(message, m.Relayed) else None
        if client is None or not isinstance(message, m.Relayed):
            return False
        inner = decode_batch(message.batch)[0]
        rid = getattr(inner, "rid", None)
        if rid is None or isinstance(inner, UNANSWERED):
            return False
        return client.asked.get(rid) is not message

    def listen_again(self) -> None:
        """Another head: it does not know who listens. Each gets the present state, once more or for the first time."""
        for worker_id, client in self.clients.items():
            wanted: list[m.Message] = [m.SubscribeActor(actor_id) for actor_id in client.actors]
            wanted += [m.SubscribeGroup(group_id) for group_id in client.groups]
            if wanted:
                self.gcs.post(m.Relayed(worker_id, client.peer.peer_role, encode_batch(wanted)))

    def ended(self, peer: Any) -> None:
        """A connection of this node is closed."""
        known = self.clients.get(peer.peer_id)
        if known is not None and known.peer is peer:
            del self.clients[peer.peer_id]
            self.gcs.post(m.RelayEnded(peer.peer_id))
