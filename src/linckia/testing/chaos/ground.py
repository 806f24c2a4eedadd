"""The cluster that a chaos run hurts: what can be asked of any cluster, and one that the run starts for itself.

Heads have no CPUs; the driver sits on a node that is spared (it would end with it): the first head's, or one on a host
of its own. Workers are found as children of the zygotes of these nodes, what was left behind by a mark in its
environment.
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from linckia.cluster_utils import Cluster, ClusterNode
from linckia.host import process
from linckia.node.launch import NodeStartError
from linckia.protocol import messages as m
from linckia.rpc.ask import AskError, ask
from linckia.testing.chaos.family import is_idle, living_pid, marked, workers_of
from linckia.testing.chaos.places import SPILL_DISK_BYTES, STORE_DISK_BYTES, Places
from linckia.testing.etcd import EtcdCluster, missing
from linckia.testing.namespaces import NetworkError

MARK = "LINCKIA_TESTING_MARK"
HEADS_MAX_S = 30.0
TOLD_MAX_S = 1.0
JOIN_MAX_S = "30"
LOOK_EVERY_S = 0.02
MEMBERS = 3
STORE_BYTES, SMALL_STORE_BYTES = 200 * 2**20, 80 * 2**20
LITTLE_MEMORY_SETTINGS = {"LINCKIA_memory_usage_threshold": "0.8", "LINCKIA_task_oom_retry_delay_base_ms": "100"}


class GroundError(Exception):
    """The cluster that was asked for cannot be started, or is not there; the text says why."""


class Size(NamedTuple):
    """What is started."""

    store: str
    """`session`, `sqlite:/path`, or `etcd`: three members of its own."""
    nodes: int
    heads: int
    cpus: int
    needs: tuple[str, ...] = ()
    """What its faults need of the ground (``schedule.needs``)."""


class Node(Protocol):
    """One that works."""

    node_id: str

    @property
    def pid(self) -> int: ...

    def is_alive(self) -> bool: ...


class Ground:
    """What faults ask of a cluster. ``heads``: how many there are; ``endpoint``: the node that the driver uses."""

    heads = 1
    etcd: EtcdCluster | None = None

    def __init__(self) -> None:
        self.endpoint, self.token_path = "", ""
        self._guard = threading.Lock()
        self._workers: list[Node] = []

    # --- what is there ------------------------------------------------------------------------------------------------

    @property
    def workers(self) -> list[Node]:
        """Nodes that work, in the order in which they came."""
        with self._guard:
            return list(self._workers)

    def told(self, timeout_s: float = TOLD_MAX_S) -> dict[str, Any] | None:
        """What `linckia status` asks, of the driver's node; None when it could not tell."""
        report: dict[str, Any] | None = self._asked("status", timeout_s)
        return report

    def dead_nodes(self) -> int:
        """How many the head has declared dead so far, whatever became of them; -1 when it could not tell."""
        table = self._asked("nodes", HEADS_MAX_S)
        return sum(not row["alive"] for row in table) if table is not None else -1

    def _asked(self, what: str, timeout_s: float) -> Any:
        try:
            token = Path(self.token_path).read_bytes().strip()
            answer = ask(self.endpoint, token, m.ClusterQuery(1, what), timeout_s)
        except (AskError, OSError):
            return None
        return msgspec.msgpack.decode(answer.body)

    def leader(self, timeout_s: float = HEADS_MAX_S) -> dict[str, Any] | None:
        """The head that leads, once one does."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            report = self.told()
            leading = [head for head in report["heads"] if head["leader"]] if report else []
            found[:] = [head for head in leading if living_pid(head["pid"])]
            return bool(found)

        return found[0] if until(look, timeout_s) else None

    def until_heads(self, timeout_s: float = HEADS_MAX_S) -> bool:
        """All heads are there, and each follows the leader."""

        def look() -> bool:
            report = self.told()
            heads = report["heads"] if report else []
            return len(heads) >= self.heads and all(each["lag_revisions"] >= 0 for each in heads)

        return until(look, timeout_s)

    def worker_pids(self) -> list[int]:
        """Those that work; if none does, all."""
        found = [pid for node in self.workers for pid in workers_of(node.pid)]
        return sorted([pid for pid in found if not is_idle(pid)] or found)

    def store_pid(self) -> int:
        """The process that writes the state to the disk: etcd's leader, or the head. 0 when there is none now."""
        if self.etcd is not None:
            member = self.etcd.leader()
            return member.process.pid if member is not None and member.process is not None else 0
        found = self.leader(TOLD_MAX_S)
        return int(found["pid"]) if found else 0

    # --- what can be done ---------------------------------------------------------------------------------------------

    def replace(self, node: Node) -> bool:
        """Another node for one that died. False: the cluster stays smaller."""
        with self._guard:
            if node in self._workers:
                self._workers.remove(node)
        return False

    def driver_place(self) -> AbstractContextManager[None]:
        """Where the driver's process is started."""
        return nullcontext()

    def close(self) -> None:
        """End what was started. Idempotent."""

    def leftovers(self, _grace_s: float = 1.0) -> list[int]:
        """Processes of this run that live although everything has ended; they are told, not killed."""
        return []


class OwnGround(Ground):
    """A cluster of this machine that ends with ``close``."""

    def __init__(self, folder: Path, size: Size) -> None:
        super().__init__()
        if size.store != "etcd" and size.heads > 1:
            raise GroundError(f"{size.heads} heads need --store etcd: a store of SQLite is for one head")
        self.folder, self.size, self.heads = folder, size, size.heads
        self.mark = uuid.uuid4().hex
        self._environment = dict(os.environ)
        os.environ.update({MARK: self.mark, "LINCKIA_TMPDIR": str(folder), "LINCKIA_JOIN_TIMEOUT_S": JOIN_MAX_S})
        self.cluster = _HeadsCluster()
        self.names: dict[str, str] = {}
        """Node id -> name of its host."""
        self.disks: dict[str, Path] = {}
        """`store` or a member's name, and `spill`: small disks."""
        places = [*(f"head{n}" for n in range(size.heads)), *(f"node{n}" for n in range(size.nodes)), "driver"]
        try:
            self.places: Places = Places(folder, size.needs, [*places, *(f"etcd{n}" for n in range(MEMBERS))])
        except NetworkError as error:
            self._restore_environment()
            raise GroundError(str(error)) from error
        if self.places.has_little_memory:
            os.environ.update(LITTLE_MEMORY_SETTINGS)
        try:
            self._start()
        except NodeStartError as error:
            self.close()
            raise GroundError(str(error)) from error
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        store = self.size.store
        if store == "etcd":
            store = self._start_etcd()
        elif self.places.has_disks:
            self.disks["store"] = self.places.disk("store", STORE_DISK_BYTES)
            store = f"sqlite:{self.disks['store']}/state.db"
        self.store = store
        for number in range(self.size.heads):
            self._add(f"head{number}", num_cpus=0, store=store, rejoin=True)
        seat = next(iter(self.names))
        if self.places.network is not None or self.places.has_disks:
            seat = self._add_driver_node().node_id
        home = next(node for node in self.cluster.list_all_nodes() if node.node_id == seat)
        self.endpoint, self.token_path = home.endpoint, home.process.token_path
        self.seat_pid = home.pid
        for number in range(self.size.nodes):
            self._add_worker(f"node{number}")
        self.until_heads()

    def _start_etcd(self) -> str:
        if why := missing():
            raise GroundError(why)
        for number in range(MEMBERS):
            self.disks[f"m{number}"] = self.places.disk(f"etcd/m{number}", STORE_DISK_BYTES)
        hosts = [self.places.host(f"etcd{number}") for number in range(MEMBERS)]
        self.etcd = EtcdCluster(self.folder / "etcd", MEMBERS, hosts=hosts)
        return f"etcd://{','.join(self.etcd.endpoints)}/chaos"

    def _add_driver_node(self) -> ClusterNode:
        more: dict[str, Any] = {}
        if self.places.has_disks:
            self.disks["spill"] = self.places.disk("spill", SPILL_DISK_BYTES)
            more = {"object_store_memory": SMALL_STORE_BYTES, "object_spilling_directory": str(self.disks["spill"])}
        return self._add("driver", num_cpus=0, **more)

    def _add_worker(self, name: str) -> None:
        store_bytes = SMALL_STORE_BYTES if self.places.has_little_memory else STORE_BYTES
        with self.places.with_memory(name):
            node = self._add(name, num_cpus=self.size.cpus, object_store_memory=store_bytes)
        with self._guard:
            self._workers.append(node)

    def _add(self, name: str, **arguments: Any) -> ClusterNode:
        with self.places.at(name), self.places.with_clock(name):
            node = self.cluster.add_node(node_ip_address=self.places.address(name), **arguments)
        self.names[node.node_id] = name
        if "store" in arguments:
            self.cluster.homes.append(node.address)
        return node

    def place_of(self, pid: int) -> str:
        """The name of the host of a node's process, or of one that a node started."""
        parent = process.parent_and_state(pid)[0]
        nodes = {node.pid: node.node_id for node in self.cluster.list_all_nodes()}
        found = nodes.get(pid) or nodes.get(parent)
        return self.names[found] if found else ""

    def replace(self, node: Node) -> bool:
        """On the same host. NodeStartError when it does not start now, because no head leads; ask again then."""
        assert isinstance(node, ClusterNode)
        node.kill()
        self.cluster.worker_nodes.discard(node)
        super().replace(node)
        self._add_worker(self.names[node.node_id])
        return True

    def driver_place(self) -> AbstractContextManager[None]:
        """The host of its node."""
        return self.places.at("driver")

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Idempotent."""
        self.cluster.shutdown()
        if self.etcd is not None:
            self.etcd.close()
        self.places.close()
        self._restore_environment()

    def _restore_environment(self) -> None:
        os.environ.clear()
        os.environ.update(self._environment)

    def leftovers(self, grace_s: float = 1.0) -> list[int]:
        """Found by the mark in their environment."""
        until(lambda: not marked(MARK, self.mark), grace_s)
        return marked(MARK, self.mark)


class _HeadsCluster(Cluster):
    """Whoever joins is told of all heads: the first may be away."""

    def __init__(self) -> None:
        self.homes: list[str] = []
        super().__init__()

    @property
    def address(self) -> str:
        """A comma list."""
        return ",".join(self.homes) or super().address


def until(look: Callable[[], object], timeout_s: float) -> bool:
    """Whether it came true in time."""
    deadline_s = time.monotonic() + timeout_s
    while not look():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(LOOK_EVERY_S)
    return True


def chosen(candidates: Sequence[Any], draw: float) -> Any:
    """One of them; None when there is none. ``draw`` in [0, 1)."""
    return candidates[int(draw * len(candidates))] if candidates else None
