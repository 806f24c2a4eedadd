"""Heads on the command line: where they are, where they keep their state, and asking one to step down.

Used by cli/starting.py and cli/main.py.
"""

from __future__ import annotations

import os

IN_SESSION, NOWHERE = "session", "none"


def store_address(text: str) -> str:
    """``--store`` as a node takes it: checked, with a file's path made absolute. ValueError for nonsense."""
    if text in (IN_SESSION, ""):
        return IN_SESSION
    if text == NOWHERE:
        return ""
    from linckia.store.address import SqliteAddress, parse_address  # noqa: PLC0415 - not for most starts
    from linckia.store.errors import StoreOpenError  # noqa: PLC0415 - likewise

    try:
        address = parse_address(text)
    except StoreOpenError as error:
        raise ValueError(f"--store: {error}") from None
    if isinstance(address, SqliteAddress):
        return f"sqlite:{os.path.abspath(address.path)}"
    if text.startswith("memory:"):
        raise ValueError("--store memory: is for the simulator; --store none keeps nothing")
    return text


def addresses(text: str) -> str:
    """``--address``: host:port of heads, separated by commas; of a store: the heads that it knows, the leader first.

    ValueError when there is none, or the store does not answer.
    """
    if not text.startswith("etcd://"):
        return ",".join(part.strip() for part in text.split(",") if part.strip())
    from linckia.store.discovery import NoHeadError, head_addresses  # noqa: PLC0415 - it takes 100 ms

    try:
        return ",".join(head_addresses(text))
    except NoHeadError as error:
        raise ValueError(f"--address: {error}") from None


def step_down(address: str, reason: str) -> int:
    """Ask the head that leads. Returns the exit code."""
    import msgspec  # noqa: PLC0415 - start-up time

    from linckia.cli.looking import find_cluster  # noqa: PLC0415 - it takes rich, which most commands here do not
    from linckia.cli.starting import refuse  # noqa: PLC0415
    from linckia.host.tokens import TokenError  # noqa: PLC0415
    from linckia.protocol import messages as m  # noqa: PLC0415
    from linckia.rpc.ask import AskError, ask  # noqa: PLC0415

    try:
        endpoint, token = find_cluster(address)
        told = msgspec.msgpack.decode(ask(endpoint, token, m.ClusterQuery(1, "status")).body)
        epochs = [head["epoch"] for head in told.get("heads", []) if head["leader"]]
        if not epochs:
            return refuse("this cluster has one head, inside its node: start heads with a --store to have several")
        answer = ask(endpoint, token, m.StepDown(2, epochs[0], reason))
    except (AskError, LookupError, ValueError, OSError, TokenError) as error:
        return refuse(str(error))
    if not getattr(answer, "accepted", False):
        return refuse(str(getattr(answer, "text", "the head does not know how")))
    print(answer.text)
    return 0
