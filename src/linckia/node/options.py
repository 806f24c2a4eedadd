"""What a node is started with. Made by ``linckia.init()`` and the CLI, sent to the node process as JSON, read by
``node/main.py``.

A NamedTuple because ``init()`` must not pay for anything heavier before the node process runs.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class NodeOptions(NamedTuple):
    """None means: found out by the node."""

    num_cpus: float | None = None
    num_gpus: float | None = None
    resources: dict[str, float] = {}  # noqa: RUF012 - never changed
    memory: int | None = None
    object_store_memory: int | None = None
    labels: dict[str, str] = {}  # noqa: RUF012
    node_name: str = ""
    temp_dir: str = ""
    token: str = ""
    fate_share_with_driver: bool = True
    driver_pid: int = 0
    prestart_workers: int | None = None
    max_workers: int = 0  # 0: no hard limit
    keep_session: bool = False
    address: str = ""  # host:port of the head to join; empty: this node is a head
    node_ip: str = ""  # where others reach this node; empty: loopback for embedded and local clusters
    port: int = -1  # TCP port of this node: 0 any free one, -1 none (embedded)
    spill_dir: str = ""
    worker_group: str = ""
    store: str = ""  # heads only: where the cluster's state is kept (store/address.py); the head is then a process
    autoscaling_config: str = ""  # path of the configuration file; heads only
    tls_cert: str = ""  # PEM files of connections between nodes; empty: what the environment says (host/tls_files.py)
    tls_key: str = ""
    tls_ca: str = ""
    include_dashboard: bool | None = False  # None: if what it needs is installed
    dashboard_host: str = "127.0.0.1"
    dashboard_port: int = 8265  # or the next one that is free; 0: any
    rejoin: bool = True  # a node that was declared dead joins again as a new one
    worker_entry: str = "linckia.worker.main:run_worker"

    def as_json_object(self) -> dict[str, Any]:
        """For the node's standard input."""
        return self._asdict()

    @classmethod
    def from_json_object(cls, fields: dict[str, Any]) -> NodeOptions:
        """Inverse of :meth:`as_json_object`; ValueError names unknown fields."""
        unknown = sorted(set(fields) - set(cls._fields))
        if unknown:
            raise ValueError(f"unknown node options {unknown}; known are {list(cls._fields)}")
        return cls(**fields)
