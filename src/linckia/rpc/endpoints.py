"""Where a process listens, as text, and how to get there from here. Pure; used by ``rpc/reactor.py`` and whoever makes
addresses.

* ``unix:/path``: a socket of this machine (embedded clusters, and what a process itself listens on).
* ``tcp:host:port``: a node's port (the node itself).
* ``node:<node id, hex>:<host>:<port>:<path>``: a process of a node with a port. Its own node's processes take the
  path; others take the port and name the process in a *route* preamble (`route_frame`). An empty path is the node.
"""

from __future__ import annotations

from typing import NamedTuple

from linckia.base.addresses import join_host_port, parse_host_port

ROUTE_MAGIC = b"LKR1"
HEAD_ROUTE = b"gcs"
"""Names the head behind a node's port, where a process is named by its id."""
ROUTE_HEADER_BYTES = len(ROUTE_MAGIC) + 1
ROUTE_MAX_BYTES = ROUTE_HEADER_BYTES + 255


class Target(NamedTuple):
    """A Unix ``path``, or ``host`` and ``port``, with the ``node`` (hex) whose port that is, where it is known."""

    path: str = ""
    host: str = ""
    port: int = 0
    node: str = ""


def public_prefix(node_id: bytes, host: str, port: int) -> str:
    """What a node puts before the paths of its processes to make them reachable from everywhere."""
    return f"node:{node_id.hex()}:{join_host_port(host, port)}:"


def published(prefix: str, endpoint: str) -> str:
    """The public form of a process's ``unix:`` endpoint; the same without a prefix (embedded clusters)."""
    return prefix + endpoint.removeprefix("unix:") if prefix else endpoint


def resolve(endpoint: str, local_node: str) -> Target:
    """How to reach ``endpoint`` from node ``local_node`` (hex). ValueError for another scheme."""
    scheme, _, rest = endpoint.partition(":")
    if scheme == "unix":
        return Target(path=rest)
    if scheme == "tcp":
        host, port = parse_host_port(rest)
        return Target(host=host, port=port)
    if scheme == "node":
        node, _, rest = rest.partition(":")
        where, slash, path = rest.partition(":/")
        if not slash:
            where = where.removesuffix(":")
        elif node == local_node:
            return Target(path="/" + path)
        host, port = parse_host_port(where)
        return Target(host=host, port=port, node=node)
    raise ValueError(f"endpoint {endpoint!r}: expected unix:/path, tcp:host:port or node:id:host:port:/path")


def route_frame(worker_id: bytes) -> bytes:
    """The preamble of a connection to a node's port: whom it is for (empty: the node)."""
    return ROUTE_MAGIC + bytes([len(worker_id)]) + worker_id


def read_route(peeked: bytes) -> bytes | None:
    """Whom it is for, or None when more bytes are needed. ValueError when it is no preamble."""
    if not ROUTE_MAGIC.startswith(peeked[:4]):
        raise ValueError("the peer does not speak Linckia's protocol")
    if len(peeked) < ROUTE_HEADER_BYTES:
        return None
    end = ROUTE_HEADER_BYTES + peeked[4]
    return peeked[ROUTE_HEADER_BYTES:end] if len(peeked) >= end else None
