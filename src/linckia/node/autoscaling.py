"""The autoscaler of a head: its loop, and the local provider that starts node processes of this machine.

Built by node/main.py when the head was given a configuration file.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from linckia.core.autoscaling.records import NodeType
from linckia.node.launch import NodeProcess, start_node
from linckia.node.options import NodeOptions
from linckia.scaling import config
from linckia.scaling.monitor import Monitor, Observation
from linckia.scaling.providers.local import LocalProvider

if TYPE_CHECKING:
    from linckia.node.main import Node


def build(node: Node, path: str) -> Monitor:
    """Ready to start. ConfigError or OSError when the file is wrong."""
    head = node.rooms.head
    assert head is not None, "the autoscaler runs on heads"
    limits = config.read(path)
    demand, nodes = head.demand, head.nodes

    def observe() -> Observation:
        return Observation(demand.nodes(), demand.demand(), demand.braked)

    def start(node_type: NodeType, labels: dict[str, str]) -> NodeProcess:
        return start_node(_options(node, node_type, labels))

    monitor = Monitor(
        limits,
        LocalProvider(start, node.node_id.hex()[:8]),
        observe,
        lambda node_id: nodes.drain(node_id, "IDLE_TERMINATION"),
        node.reactor.call_later,
        time.monotonic,
        lambda text: print(text, file=sys.stderr),  # noqa: T201 - the head's log
    )
    head.gcs.queries["autoscaler"] = monitor.status
    return monitor


def _options(node: Node, node_type: NodeType, labels: dict[str, str]) -> NodeOptions:
    amounts: dict[str, Any] = dict(node_type.resources)
    cpus, gpus, memory = amounts.pop("CPU", 0), amounts.pop("GPU", None), amounts.pop("memory", None)
    store = amounts.pop("object_store_memory", None)
    tls = node.tls_files or ("", "", "")
    return NodeOptions(
        num_cpus=cpus,
        num_gpus=gpus,
        resources=amounts,
        memory=None if memory is None else int(memory),
        object_store_memory=node.options.object_store_memory if store is None else int(store),
        labels=labels,
        temp_dir=node.options.temp_dir,
        token=node.token,
        address=node.rooms.tcp_address,
        node_ip=node.rooms.node_ip,
        port=0,
        rejoin=False,
        tls_cert=tls[0],
        tls_key=tls[1],
        tls_ca=tls[2],
        fate_share_with_driver=True,
        driver_pid=os.getpid(),
    )
