"""``host:port`` and back."""

from __future__ import annotations


def parse_host_port(text: str) -> tuple[str, int]:
    """``host:port`` or ``[v6]:port``. ValueError says what is wrong."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"address {text!r}: expected host:port with a port from 1 to 65535")
    return host, int(port)


def join_host_port(host: str, port: int) -> str:
    """Inverse of `parse_host_port`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def node_of(endpoint: str) -> bytes:
    """The id of the node of a ``node:`` endpoint; empty for others."""
    scheme, _, rest = endpoint.partition(":")
    return bytes.fromhex(rest.partition(":")[0]) if scheme == "node" else b""
