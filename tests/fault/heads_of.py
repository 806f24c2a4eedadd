"""Heads of a `Cluster` with a store: who leads, and killing them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

import linckia
from linckia.cluster_utils import Cluster
from linckia.protocol import messages as m
from linckia.rpc.ask import AskError, ask

HEAD_MAX_S = 30.0


@contextmanager
def head_and_node(num_cpus: int) -> Iterator[Cluster]:
    """A head with SQLite and without CPUs, a node with some, and this program connected to them."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "store": "session"})
    try:
        cluster.add_node(num_cpus=num_cpus)
        cluster.connect()
        yield cluster
    finally:
        linckia.shutdown()
        cluster.shutdown()


def told(cluster: Cluster) -> dict[str, Any]:
    """What `linckia status` asks, of any living node."""
    errors = []
    for node in [cluster.head_node, *cluster.worker_nodes]:
        if node is None or not node.is_alive():
            continue
        try:
            token = Path(node.process.token_path).read_bytes().strip()
            answer = ask(node.endpoint, token, m.ClusterQuery(1, "status"), HEAD_MAX_S)
        except AskError as error:
            errors.append(error)
        else:
            report: dict[str, Any] = msgspec.msgpack.decode(answer.body)
            return report
    raise AssertionError(f"no node answers: {errors}")


def leader(cluster: Cluster) -> dict[str, Any]:
    """The head that leads now, once there is one."""
    (found,) = [head for head in told(cluster)["heads"] if head["leader"]]
    return found


def until_others(cluster: Cluster, standbys: int) -> None:
    """So many heads stand by, connected to the leader."""
    deadline_s = time.monotonic() + HEAD_MAX_S
    while True:
        heads = told(cluster)["heads"]
        if sum(not head["leader"] and head["lag_revisions"] >= 0 for head in heads) == standbys:
            return
        assert time.monotonic() < deadline_s, f"{standbys} standbys were expected: {heads}"
        time.sleep(0.05)  # sleep: a head process starts and reports


def kill_leader(cluster: Cluster) -> dict[str, Any]:
    """SIGKILL; the one that was killed."""
    found = leader(cluster)
    os.kill(found["pid"], signal.SIGKILL)
    return found
