"""A cluster that runs already: its nodes on this machine, proved by what they and the head say, not by names.

A node belongs to it when its session here is alive (lock, boot, pid and start time: host/session.py) and the cluster's
own table has its id. A head belongs to it when the cluster names its pid and it is a child of such a node. Nothing is
started, and nothing that was killed is replaced: at least one node that works is left.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from linckia.host import environment, process, session
from linckia.protocol import messages as m
from linckia.rpc.ask import AskError, ask
from linckia.testing.chaos.family import is_idle, workers_of
from linckia.testing.chaos.ground import TOLD_MAX_S, Ground, GroundError, Node, until

ASK_MAX_S = 10.0


class FoundNode:
    """One node process of this machine."""

    def __init__(self, facts: dict[str, Any], cpus: float) -> None:
        self.node_id, self.cpus = str(facts["node_id"]), cpus
        self.endpoint = str(facts["endpoint"])
        self.pid, self._start_time = int(facts["pid"]), int(facts["start_time"])

    def is_alive(self) -> bool:
        """That very process."""
        return process.is_alive(self.pid, self._start_time) and process.parent_and_state(self.pid)[1] != "Z"


class FoundGround(Ground):
    """``address``: host:port of the cluster, a session's name, or `auto`: the newest that outlives programs."""

    def __init__(self, address: str) -> None:
        super().__init__()
        path, seat = _session_of(address)
        self.endpoint, self.token_path = str(seat["endpoint"]), str(Path(path, "token"))
        table = self._ask("nodes")
        living = {row["node_id"].hex(): row for row in table if row["alive"]}
        self.local = [
            FoundNode(facts, float(living[facts["node_id"]]["resources"].get("CPU", 0)))
            for _, facts in session.live_sessions(environment.temporary_directory())
            if facts.get("node_id") in living
        ]
        self._seat_id = str(seat["node_id"])
        self._workers: list[Node] = [each for each in self.local if each.cpus and each.node_id != self._seat_id]
        self.heads = len(self._ask("status")["heads"])

    def _ask(self, what: str) -> Any:
        try:
            answer = ask(self.endpoint, Path(self.token_path).read_bytes().strip(), m.ClusterQuery(1, what), ASK_MAX_S)
        except (AskError, OSError) as error:
            raise GroundError(f"the cluster does not answer: {error}") from error
        return msgspec.msgpack.decode(answer.body)

    @property
    def workers(self) -> list[Node]:
        """Nodes that may be hurt: not the driver's, and not the last one."""
        found = [node for node in super().workers if node.is_alive()]
        return found if len(found) > 1 or self._seat_works() else []

    def _seat_works(self) -> bool:
        return any(node.cpus for node in self.local if node.node_id == self._seat_id)

    def worker_pids(self) -> list[int]:
        """Those that work, on all nodes of this machine, whoever's work it is; if none does, all."""
        found = [pid for node in self.local if node.is_alive() for pid in workers_of(node.pid)]
        return sorted([pid for pid in found if not is_idle(pid)] or found)

    def leader(self, timeout_s: float = TOLD_MAX_S) -> dict[str, Any] | None:
        """None also when it runs on another machine."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            head = super(FoundGround, self).leader(TOLD_MAX_S)
            found[:] = [head] if head is not None and self._is_ours(head["pid"]) else []
            return bool(found)

        return found[0] if until(look, timeout_s) else None

    def _is_ours(self, pid: int) -> bool:
        parent = process.parent_and_state(pid)[0]
        return any(node.pid == parent and node.is_alive() for node in self.local)


def _session_of(address: str) -> tuple[str, dict[str, Any]]:
    living = session.live_sessions(environment.temporary_directory())
    if address == "auto":
        fitting = [each for each in living if not each[1].get("fate_share_with_driver")]
    else:
        fitting = [each for each in living if address in _names(*each)]
    if not fitting:
        known = ", ".join(sorted({str(facts.get("cluster_address") or path) for path, facts in living})) or "none"
        raise GroundError(
            f"no node of the cluster {address!r} runs on this machine as this user; clusters here: {known}"
        )
    return next((each for each in fitting if each[1].get("is_head")), fitting[-1])


def _names(path: str, facts: dict[str, Any]) -> set[str]:
    told = {str(facts.get(key, "")) for key in ("tcp_address", "cluster_address", "endpoint")}
    heads = set(str(facts.get("cluster_address", "")).split(","))
    loopback = {each.replace("127.0.0.1:", "localhost:") for each in told | heads}
    return {path, Path(path).name} | told | heads | loopback
