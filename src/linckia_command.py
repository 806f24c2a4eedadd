"""The `linckia` command. One part of it is in a hurry: `linckia health-check` is run every few seconds by whoever
supervises nodes, so it speaks to the node's port with nothing but a socket (20 ms instead of 400).
"""

from __future__ import annotations

import os
import sys

HEALTH_QUESTION = b"LKR1\x07?health"  # rpc/endpoints.route_frame(rpc/front_door.HEALTH_ROUTE)
HEALTH_ANSWER = b"ok\n"
SECURE_ONLY = b"tls"  # rpc/front_door.SECURE_ONLY
USE_TLS = ("LINCKIA_USE_TLS", "RAY_USE_TLS")
TIMEOUT_S = 5.0


def main() -> None:
    """Entry point of the script."""
    words = sys.argv[1:]
    if words[:1] == ["health-check"]:
        address = _address(words[1:]) or _local_address()
        if address:
            sys.exit(_health_check(address))
    from linckia.cli.main import app  # noqa: PLC0415 - start-up time

    app()


def _address(words: list[str]) -> str:
    """What `--address` says; empty for anything else: the full command line will see to it."""
    text = " ".join(words).replace("=", " ").split()
    return text[1] if len(text) == 2 and text[0] == "--address" else ""


def _local_address() -> str:
    """The port of the newest session of this user, if it has one."""
    if len(sys.argv) > 2:
        return ""
    get = os.environ.get  # noqa: TID251 - host/environment.py would cost half of the time we have
    base = os.path.join(get("LINCKIA_TMPDIR") or get("TMPDIR") or "/tmp", f"linckia-{os.getuid()}")
    try:
        newest = max(name for name in os.listdir(base) if name.startswith("session_"))
        with open(os.path.join(base, newest, "session.json"), encoding="utf-8") as file:
            facts = file.read()
    except (OSError, ValueError):
        return ""
    return facts.partition('"tcp_address":"')[2].partition('"')[0]


def _health_check(address: str) -> int:
    """0 when the node at host:port answers."""
    if any(os.environ.get(name) for name in USE_TLS):  # noqa: TID251 - as above
        return _ask_securely(address)
    import socket  # noqa: PLC0415 - only here

    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), TIMEOUT_S) as connection:
            connection.sendall(HEALTH_QUESTION)
            answer = connection.recv(len(HEALTH_ANSWER))
        if answer == HEALTH_ANSWER:
            return 0
        if answer == SECURE_ONLY:
            return _ask_securely(address)
        why = "it is not a node of Linckia"
    except (OSError, ValueError) as error:
        why = str(error)
    sys.stderr.write(f"linckia: no healthy node at {address}: {why}\n")
    return 1


def _ask_securely(address: str) -> int:
    """The same over TLS, with the certificate that the environment or this machine's node has."""
    from linckia.cli import probing  # noqa: PLC0415 - not needed without TLS

    return probing.health_check(address)
