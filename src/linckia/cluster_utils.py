"""Several real nodes on this machine, for tests and for trying things out: Ray's ``cluster_utils`` (R 1.53).

Each node is a node process of its own, with its own session, workers and object store, reached over TCP on loopback.
All of them end with the process that made them, whatever ends that.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import tempfile
import threading
import time
from typing import Any

import msgspec

import linckia
from linckia.api import session_options
from linckia.node.launch import NodeProcess, start_node
from linckia.protocol import messages as m
from linckia.rpc.ask import AskError, ask

GRACE_S = 2.0
_never = threading.Event()
FIRST_LOOK_S = 0.01
NODE_ARGUMENTS = {
    "memory": "_memory",
    "node_name": "_node_name",
    "temp_dir": "_temp_dir",
}
"""Ray's names of node arguments that ``init`` calls otherwise."""
IGNORED = {"_system_config", "env_vars", "redis_password"}


class ClusterNode:
    """One node of a :class:`Cluster`."""

    def __init__(self, process: NodeProcess) -> None:
        self.process = process
        facts = process.facts
        self.node_id = str(facts["node_id"])
        self.unique_id = self.node_id
        self.node_ip_address = self.raylet_ip_address = str(facts["node_ip"])
        self.address = str(facts["tcp_address"])
        self.address_info = {"node_id": self.node_id, "address": self.address, "session_dir": process.session_dir}
        self.raylet_socket_name = self.endpoint = process.endpoint

    @property
    def pid(self) -> int:
        """Of the node process."""
        return self.process.pid

    def is_alive(self) -> bool:
        """False once the process has ended."""
        return self.process.is_alive()

    def kill(self) -> None:
        """SIGKILL, as a crash of the machine would; idempotent."""
        self.process.stop(grace_s=0.0, ask_first=False)

    def __repr__(self) -> str:
        return f"ClusterNode({self.node_id[:12]}, {self.address})"


class Cluster:
    """``initialize_head`` starts the first node with ``head_node_args``; ``connect`` then calls ``linckia.init`` with
    its address. Use it as a context manager, or call :meth:`shutdown`.
    """

    def __init__(
        self,
        initialize_head: bool = False,
        connect: bool = False,
        head_node_args: dict[str, Any] | None = None,
        shutdown_at_exit: bool = True,
    ) -> None:
        if connect and not initialize_head:
            raise RuntimeError("Cluster(connect=True) needs initialize_head=True: there is nothing to connect to")
        self.head_node: ClusterNode | None = None
        self.worker_nodes: set[ClusterNode] = set()
        self.connected = False
        self._token = ""
        if shutdown_at_exit:
            atexit.register(self.shutdown)
        if initialize_head:
            self.add_node(**(head_node_args or {}))
            if connect:
                self.connect()

    @property
    def address(self) -> str:
        """``host:port`` of the head. RuntimeError without one."""
        if self.head_node is None:
            raise RuntimeError("the cluster has no head yet: add_node() starts it")
        return self.head_node.address

    gcs_address = address

    def connect(self, namespace: str | None = None) -> Any:
        """``linckia.init`` with this cluster's address."""
        self.connected = True
        head = self._head()
        return linckia.init(address=head.endpoint, namespace=namespace)

    def add_node(self, wait: bool = True, **node_args: Any) -> ClusterNode:
        """Start a node: the first is the head, and so is each with a ``store`` (several heads share it, one leads).
        Arguments as those of ``linckia.init`` (``num_cpus``, ``resources``, ``labels``, ``object_store_memory``, ...).
        Returns when it is part of the cluster. A head has a dashboard with ``include_dashboard=True`` only.
        """
        del wait  # a node that is ready has joined
        given = {NODE_ARGUMENTS.get(name, name): value for name, value in node_args.items() if name not in IGNORED}
        given.setdefault("num_cpus", 1)
        given.setdefault("include_dashboard", False)
        spill_dir = given.pop("object_spilling_directory", "") or ""
        rejoin = bool(given.pop("rejoin", False))
        scaling = str(given.pop("autoscaling_config", "") or "")
        store = str(given.pop("store", "") or "")
        node_ip = str(given.pop("node_ip_address", "") or "")
        options = session_options.parse(None, given).node
        options = options._replace(port=0, node_ip=node_ip, rejoin=rejoin, spill_dir=spill_dir)
        options = options._replace(autoscaling_config=scaling, store=store, token=self._token)
        if self.head_node is not None and not store:
            options = options._replace(address=self.address, include_dashboard=False)  # heads have it
        process = start_node(options)
        process.wait_ready()
        node = ClusterNode(process)
        if self.head_node is None:
            self.head_node = node
            with open(process.token_path, encoding="ascii") as file:
                self._token = file.read().strip()
        else:
            self.worker_nodes.add(node)
        return node

    def remove_node(self, node: ClusterNode, allow_graceful: bool = True) -> None:
        """Stop a node, or with ``allow_graceful=False`` kill it, and wait until the cluster knows."""
        if allow_graceful:
            node.process.stop(GRACE_S)
        else:
            node.kill()
        self.worker_nodes.discard(node)
        if node is self.head_node:
            self.head_node = None
        else:
            self._wait(lambda nodes: node.node_id not in nodes, 30.0, f"{node} is still part of the cluster")

    def wait_for_nodes(self, timeout: float = 30.0) -> None:
        """Until the cluster has exactly the nodes of this object. TimeoutError."""
        wanted = {node.node_id for node in self.list_all_nodes()}
        self._wait(lambda nodes: nodes == wanted, timeout, f"the cluster does not have the {len(wanted)} nodes")

    def list_all_nodes(self) -> list[ClusterNode]:
        """The head first."""
        return [*([self.head_node] if self.head_node is not None else []), *self.worker_nodes]

    def remaining_processes_alive(self) -> bool:
        """True while every node process runs."""
        return all(node.is_alive() for node in self.list_all_nodes())

    def shutdown(self) -> None:
        """Stop every node; idempotent."""
        atexit.unregister(self.shutdown)
        for node in [*self.worker_nodes, *([self.head_node] if self.head_node is not None else [])]:
            with contextlib.suppress(ProcessLookupError):
                node.process.stop(GRACE_S)
        self.worker_nodes.clear()
        self.head_node = None

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_exc: object) -> None:
        if self.connected:
            linckia.shutdown()
        self.shutdown()

    def _head(self) -> ClusterNode:
        if self.head_node is None:
            raise RuntimeError("the cluster has no head yet: add_node() starts it")
        return self.head_node

    def _wait(self, reached: Any, timeout_s: float, otherwise: str) -> None:
        deadline_s, pause_s = time.monotonic() + timeout_s, FIRST_LOOK_S
        while not reached(self._living()):
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{otherwise} after {timeout_s:g} s: {sorted(self._living())}")
            _never.wait(pause_s)  # no event tells an outsider
            pause_s = min(0.2, pause_s * 1.5)

    def _living(self) -> set[str]:
        head = self._head()
        try:
            answer = ask(head.endpoint, self._token.encode(), m.ClusterQuery(1, "nodes"))
        except AskError:
            return set()
        return {node["node_id"].hex() for node in msgspec.msgpack.decode(answer.body) if node["alive"]}


class AutoscalingCluster:
    """A head, and worker groups that come and go by demand, all on this machine (R 10.20).

    ``worker_node_types``: name -> ``{"resources": {...}, "min_workers": 0, "max_workers": 2, ...}``. More of the
    configuration as keywords (``idle_timeout_minutes``, ``upscaling_speed``, ``max_workers``). ``store``: of the head,
    which is then a process of its own and may die.
    """

    def __init__(
        self, head_resources: dict[str, Any], worker_node_types: dict[str, Any], store: str = "", **config: Any
    ) -> None:
        self._store = store
        kinds = {
            name: {key: kind[key] for key in kind if key != "node_config"} for name, kind in worker_node_types.items()
        }
        self._config = {
            "cluster_name": "autoscaling-cluster",
            "provider": {"type": "fake_multinode"},
            "available_node_types": kinds,
            **{key: value for key, value in config.items() if key not in ("autoscaler_v2",)},
        }
        self._head_resources = dict(head_resources)
        self._cluster = Cluster()

    @property
    def address(self) -> str:
        """``host:port`` of the head."""
        return self._cluster.address

    def start(self, _system_config: object = None, override_env: object = None) -> None:
        """Start the head; worker groups follow by demand."""
        amounts = dict(self._head_resources)
        known = {"CPU": "num_cpus", "GPU": "num_gpus", "memory": "memory", "object_store_memory": "object_store_memory"}
        given = {known[name]: amounts.pop(name) for name in list(amounts) if name in known}
        with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
            json.dump(self._config, file)
            file.flush()  # the head has read it when it is ready
            options = {"num_cpus": 0, "store": self._store, **given}
            self._cluster.add_node(resources=amounts, autoscaling_config=file.name, **options)

    def connect(self, namespace: str | None = None) -> Any:
        """``linckia.init`` with this cluster's address."""
        return self._cluster.connect(namespace)

    def shutdown(self) -> None:
        """Stop everything; idempotent."""
        self._cluster.shutdown()
