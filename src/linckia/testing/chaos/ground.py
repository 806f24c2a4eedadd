"""The cluster of a chaos run: processes of this machine that the run started itself, and none that it did not.

Heads have no CPUs; the driver sits on the first head's node, whose node process is spared (the driver would end with
it). Workers are found as children of the zygotes of these nodes, what was left behind by a mark in its environment.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from linckia.cluster_utils import Cluster, ClusterNode
from linckia.host import process
from linckia.node.launch import NodeStartError
from linckia.protocol import messages as m
from linckia.rpc.ask import AskError, ask
from linckia.testing.etcd import EtcdCluster, missing

MARK = "LINCKIA_TESTING_MARK"
ZYGOTE = "linckia-zyg"
IDLE = b"linckia::IDLE"
HEADS_MAX_S = 30.0
JOIN_MAX_S = "30"
LOOK_EVERY_S = 0.02


class GroundError(Exception):
    """The cluster that was asked for cannot be started here; the text says why."""


class Size(NamedTuple):
    """What is started."""

    store: str
    """`session`, `sqlite:/path`, or `etcd`: three members of its own."""
    nodes: int
    heads: int
    cpus: int


class Ground:
    """``close`` ends everything."""

    def __init__(self, folder: Path, size: Size) -> None:
        if size.store != "etcd" and size.heads > 1:
            raise GroundError(f"{size.heads} heads need --store etcd: a store of SQLite is for one head")
        self.folder, self.size = folder, size
        self.mark = uuid.uuid4().hex
        os.environ[MARK], os.environ["LINCKIA_TMPDIR"] = self.mark, str(folder)
        os.environ["LINCKIA_JOIN_TIMEOUT_S"] = JOIN_MAX_S
        self.etcd: EtcdCluster | None = None
        self.cluster = Cluster()
        self.workers: list[ClusterNode] = []
        self.homes: list[ClusterNode] = []
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
            if why := missing():
                raise GroundError(why)
            self.etcd = EtcdCluster(self.folder / "etcd", 3)
            store = f"etcd://{','.join(self.etcd.endpoints)}/chaos"
        for _ in range(self.size.heads):
            self.homes.append(self.cluster.add_node(num_cpus=0, store=store))
        for _ in range(self.size.nodes):
            self.add_worker()
        self.until_heads()

    def add_worker(self) -> None:
        """One more node for work."""
        self.workers.append(self.cluster.add_node(num_cpus=self.size.cpus, object_store_memory=200 * 2**20))

    def forget(self, node: ClusterNode) -> None:
        """A node that died: its session is removed."""
        node.kill()
        self.cluster.worker_nodes.discard(node)
        self.workers.remove(node)

    # --- what is there ------------------------------------------------------------------------------------------------

    def told(self, timeout_s: float = 5.0) -> dict[str, Any] | None:
        """What `linckia status` asks, of the driver's node; None when it could not tell."""
        home = self.homes[0]
        try:
            token = Path(home.process.token_path).read_bytes().strip()
            answer = ask(home.endpoint, token, m.ClusterQuery(1, "status"), timeout_s)
        except (AskError, OSError):
            return None
        report: dict[str, Any] = msgspec.msgpack.decode(answer.body)
        return report

    def leader(self, timeout_s: float = HEADS_MAX_S) -> dict[str, Any] | None:
        """The head that leads, once one does."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            report = self.told()
            leading = [head for head in report["heads"] if head["leader"]] if report else []
            if leading and process.parent_and_state(leading[0]["pid"])[1] not in ("", "Z"):
                found: dict[str, Any] = leading[0]
                return found
            time.sleep(LOOK_EVERY_S)
        return None

    def until_heads(self, timeout_s: float = HEADS_MAX_S) -> bool:
        """All heads are there, and each follows the leader."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            report = self.told()
            heads = report["heads"] if report else []
            if len(heads) == self.size.heads and all(each["lag_revisions"] >= 0 for each in heads):
                return True
            time.sleep(LOOK_EVERY_S)
        return False

    def worker_pids(self) -> list[int]:
        """Those that work; if none does, all."""
        found = [pid for node in self.workers for pid in workers_of(node.pid)]
        busy = [pid for pid in found if not _command(pid).startswith(IDLE)]
        return sorted(busy or found)

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Idempotent."""
        self.cluster.shutdown()
        if self.etcd is not None:
            self.etcd.close()

    def leftovers(self, grace_s: float = 1.0) -> list[int]:
        """Processes of this run that live although everything has ended; they are told, not killed."""
        deadline_s = time.monotonic() + grace_s
        while (found := marked(self.mark)) and time.monotonic() < deadline_s:
            time.sleep(LOOK_EVERY_S)
        return found


def workers_of(node_pid: int) -> list[int]:
    """Children of a node's zygote that are alive."""
    zygotes = [pid for pid in process.children_of(node_pid) if _name(pid).startswith(ZYGOTE)]
    found = [pid for zygote in zygotes for pid in process.children_of(zygote)]
    return [pid for pid in found if process.parent_and_state(pid)[1] not in ("", "Z")]


def below(pid: int) -> list[tuple[int, int]]:
    """(pid, start time) of all processes below one."""
    found, waiting = [], [pid]
    while waiting:
        for child in process.children_of(waiting.pop()):
            waiting.append(child)
            found.append((child, process.process_start_time(child)))
    return found


def living(processes: list[tuple[int, int]]) -> list[int]:
    """Those that have not ended."""
    return [pid for pid, start in processes if process.is_alive(pid, start) and process.parent_and_state(pid)[1] != "Z"]


def marked(mark: str) -> list[int]:
    """Living processes that were started with the mark, without this one."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            environment = Path(f"/proc/{name}/environ").read_bytes()
            mine = int(name) == os.getpid()
            if not mine and wanted in environment.split(b"\0") and process.parent_and_state(int(name))[1] != "Z":
                found.append(int(name))
    return found


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
