"""What heads write about themselves into the metadata store, and what everybody may conclude from it.

The key ``leader`` is there while somebody leads: its value are the leader's facts, its lease is the leader's, and its
``create_revision`` is the *epoch* of the term, which goes into every command. Every write of that leader compares its
``mod_revision``, which is the epoch until the leader claims its key anew. Each head also keeps ``heads/<head_id>``
under the same lease, so that all heads can be listed.
"""

from __future__ import annotations

from typing import Final

import msgspec

from linckia.core.mvcc.records import Compare, KeyValue, Put, Txn

LEADER_KEY: Final = b"leader"
HEADS_PREFIX: Final = b"heads/"


class HeadFacts(msgspec.Struct, frozen=True):
    """One run of a head's process. ``machine`` and ``start_time`` let processes of that machine see whether it lives.

    Encoded as a map, so that a later version may know more.
    """

    head_id: bytes
    host: str
    port: int
    pid: int = 0
    start_time: int = 0
    machine: str = ""
    version: str = ""


class Leader(msgspec.Struct, frozen=True):
    """Who has the leader key. ``gone``: its process is known to have ended, only its lease has not."""

    epoch: int
    lease: int
    head_id: bytes
    gone: bool = False


class HeadsView(msgspec.Struct, frozen=True):
    """The heads of the cluster in order of their ids. ``leader`` is None and ``epoch`` 0 while nobody leads.

    ``leader`` is also None when the leader's facts cannot be read (a newer version); ``epoch`` tells.
    """

    leader: HeadFacts | None = None
    epoch: int = 0
    heads: tuple[HeadFacts, ...] = ()


_decode = msgspec.msgpack.Decoder(HeadFacts).decode


def encode_facts(facts: HeadFacts) -> bytes:
    """The value of the leader key and of a head's own key."""
    return msgspec.msgpack.encode(facts)


def decode_facts(value: bytes) -> HeadFacts | None:
    """None when it is not readable as a head's facts."""
    try:
        return _decode(value)
    except msgspec.MsgspecError:
        return None


def head_key(head_id: bytes) -> bytes:
    """Where a head keeps its facts."""
    return HEADS_PREFIX + head_id


def fence(revision: int) -> Compare:
    """What every write of a leader compares: its last claim of the leader key, at first the epoch itself, is in force.

    For 0 it never holds.
    """
    return Compare(LEADER_KEY, "mod_revision", "=", revision or -1)


def claim(epoch: int, value: bytes, lease: int) -> Txn:
    """The leader of that term writes its key again. Where it succeeds, its revision is the new fence, and what was
    sent behind an earlier one, and may still be on its way, is never done.
    """
    still_leads = Compare(LEADER_KEY, "create_revision", "=", epoch or -1)
    return Txn((still_leads,), (Put(LEADER_KEY, value, lease),))


VACANT: Final = Compare(LEADER_KEY, "create_revision", "=", 0)
"""Nobody leads: an absent key has the revision 0."""


def leader_of(kv: KeyValue, *, gone: bool = False) -> Leader:
    """Who leads by this version of the leader key."""
    facts = decode_facts(kv.value)
    return Leader(kv.create_revision, kv.lease, facts.head_id if facts else b"", gone)
