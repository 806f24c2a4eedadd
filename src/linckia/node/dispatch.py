"""Run a handler per message: one bad request must not end a cluster. Used by node/rooms.py and node/head_process.py."""

from __future__ import annotations

from typing import Any

from linckia.host.own_log import say
from linckia.protocol import messages as m


def each(peer: Any, batch: list[m.Message], handle: Any) -> None:
    """A handler that fails is logged and, when the message was a request, answered."""
    for message in batch:
        try:
            handle(peer, message)
        except Exception as error:  # noqa: BLE001 - one bad request must not end the cluster; it is logged and answered
            what = f"{type(message).__name__} from {peer.peer_role} {peer.peer_id.hex()}"
            say(f"{what}: {error!r}")
            print_traceback()
            rid = getattr(message, "rid", None)
            if rid is not None:
                peer.post(m.Failure(rid, type(error).__name__, str(error)))


def print_traceback() -> None:
    """Of the exception at hand, on the log."""
    try:
        import traceback  # noqa: PLC0415 - 4 ms that only a failure needs
    except OSError:
        return  # no descriptor left to read the module with: what was said must do
    traceback.print_exc()


def log_failure(error: Exception) -> None:
    """A deferred call failed: one bad request, or a mistake of ours, must not end everything else."""
    say(f"a deferred call failed: {error!r}")
    print_traceback()
