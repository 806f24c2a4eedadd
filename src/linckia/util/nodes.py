"""Small questions about the machine and the cluster: this node's address, the names of actors.

User programs call it through `linckia.util`. It asks the cluster and the operating system; it keeps nothing.
"""

from __future__ import annotations

import socket
from typing import Literal, overload

import linckia
from linckia.api.remote_function import connected
from linckia.host.environment import setting
from linckia.model.specs import decode_actor_info
from linckia.protocol import messages

# A documentation address (RFC 5737): nothing is sent to it, the kernel only chooses the interface it would use.
_ELSEWHERE = ("192.0.2.1", 9)


def get_node_ip_address(address: str | None = None) -> str:
    """The address by which other nodes reach this one; 127.0.0.1 when the machine has no network.

    `address` ("host:port") chooses the interface that leads to that host, for machines with several. Inside a running
    cluster without `address`, the answer is the one that the cluster knows this node by.
    """
    if address is None and linckia.is_initialized():
        here = linckia.get_runtime_context().get_node_id()
        for node in linckia.nodes():
            if node["NodeID"] == here:
                return str(node["NodeManagerAddress"])
    target = _ELSEWHERE if address is None else _host_and_port(address)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(target)
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"get_node_ip_address: address must be 'host:port', not {address!r}")
    return host.strip("[]"), int(port)


def get_node_instance_id() -> str:
    """The cloud's id of this machine, from the variable `LINCKIA_CLOUD_INSTANCE_ID`; empty when unknown."""
    return setting("LINCKIA_CLOUD_INSTANCE_ID")


@overload
def list_named_actors(all_namespaces: Literal[False] = False) -> list[str]: ...
@overload
def list_named_actors(all_namespaces: Literal[True]) -> list[dict[str, str]]: ...
def list_named_actors(all_namespaces: bool = False) -> list[str] | list[dict[str, str]]:
    """Names of the actors that live or are being created in this job's namespace.

    With `all_namespaces`, a list of `{"name": ..., "namespace": ...}` over the whole cluster.
    """
    runtime = connected()
    question = messages.ListActors(runtime.next_rid(), all_namespaces, runtime.job_config.namespace)
    actors = [decode_actor_info(encoded) for encoded in runtime.call(runtime.raylet, question).actors]
    if all_namespaces:
        return [{"name": actor.name, "namespace": actor.namespace} for actor in actors]
    return [actor.name for actor in actors]
