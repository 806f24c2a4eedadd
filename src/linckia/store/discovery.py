"""Where the heads of a cluster are, asked of its store: for whoever starts a node or a program with the store's
address. Blocks; etcd's client is imported here (100 ms), and not in the node that is then started.
"""

from __future__ import annotations

from linckia.base.addresses import join_host_port
from linckia.core.leadership.records import HEADS_PREFIX, LEADER_KEY, decode_facts
from linckia.store.blocking import BlockingStore, at_once
from linckia.store.errors import StoreError
from linckia.store.opening import open_store


class NoHeadError(Exception):
    """The store was asked and knows no head, or did not answer; the text says what to do."""


def head_addresses(store_address: str) -> list[str]:
    """host:port of the cluster's heads, the leader first. NoHeadError."""
    where = store_address.rpartition("@")[2].removeprefix("etcd://")
    try:
        store = BlockingStore(open_store(store_address, at_once))
        try:
            leader = store.range(LEADER_KEY).kvs
            others = store.prefix(HEADS_PREFIX).kvs
        finally:
            store.close()
    except StoreError as error:
        raise NoHeadError(f"the store at {where} was asked where the heads are: {error}") from None
    facts = [decode_facts(kv.value) for kv in (*leader, *others)]
    known = list(dict.fromkeys(join_host_port(each.host, each.port) for each in facts if each is not None))
    if not known:
        raise NoHeadError(
            f"the store at {where} knows no head: start one with `linckia start --head --store etcd://{where}`"
        )
    return known
