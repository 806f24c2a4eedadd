"""init and shutdown: start or join a cluster, connect this process as a driver, leave again (R 1.1-1.17).

The order in ``init`` is what makes it quick: spawn the node process first, import the runtime while it boots, then
wait for it.
"""

from __future__ import annotations

import atexit
import os
import resource
import signal
import sys
import threading
from typing import Any

from linckia.api import session_options
from linckia.base import errors
from linckia.base.version import __version__
from linckia.host import environment
from linckia.node.launch import NodeProcess, NodeStartError, start_node
from linckia.node.options import NodeOptions
from linckia.worker import current

FILE_LIMIT_MAX = 65_536
_lock = threading.RLock()
_session: Session | None = None


class RayContext:
    """What ``init`` returns: facts of the cluster; a context manager that shuts down at its end."""

    def __init__(self, session: Session) -> None:
        self._session = session
        runtime = session.runtime
        self.python_version = ".".join(map(str, sys.version_info[:3]))
        self.ray_version = __version__
        self.ray_commit = ""
        self.address_info: dict[str, Any] = {
            "node_ip_address": runtime.node_ip,
            "redis_address": None,
            "object_store_address": session.endpoint,
            "raylet_socket_name": session.endpoint,
            "webui_url": session.dashboard_url(),
            "session_dir": session.session_dir,
            "metrics_export_port": 0,
            "gcs_address": session.endpoint,
            "address": session.endpoint,
            "dashboard_agent_listen_port": 0,
            "node_id": runtime.node_id.hex(),
        }

    @property
    def dashboard_url(self) -> str:
        """``host:port``; empty when the cluster has none on this machine."""
        return self._session.dashboard_url()

    def __getitem__(self, key: str) -> Any:
        return self.address_info[key]

    def __enter__(self) -> RayContext:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.disconnect()

    def disconnect(self) -> None:
        """Same as ``linckia.shutdown()``."""
        if _session is self._session:
            shutdown()

    def __repr__(self) -> str:
        return f"RayContext(address={self.address_info['address']!r}, python_version={self.python_version!r})"


class Session:
    """This process's connection to a cluster, and the node process if it started one."""

    def __init__(self, options: session_options.InitOptions) -> None:
        self.options = options
        self.node: NodeProcess | None = None
        self.session_dir = self.endpoint = ""
        self.runtime: Any = None
        self._signals: list[tuple[int, Any]] = []

    def start(self) -> None:
        """Start or find the node, connect, register as a driver."""
        where = session_options.resolve_address(self.options)
        if where is None:
            self.node = start_node(self.options.node)
        elif isinstance(where, str):
            self.node = start_node(_driver_node(self.options.node, where))
        from linckia.api import driver  # noqa: PLC0415  (imported while the node boots)

        try:
            if self.node is not None:
                _wait_ready(self.node, where)
                self.session_dir, self.endpoint = self.node.session_dir, self.node.endpoint
                token_path = self.node.token_path
            else:
                assert isinstance(where, session_options.Found)
                self.session_dir, self.endpoint, token_path = where
            self.runtime = driver.connect(self.endpoint, self.session_dir, token_path, self.options)
        except BaseException:
            if self.node is not None:
                self.node.stop()
            raise
        current.runtime = self.runtime
        self._install_signals()
        _raise_file_limit()
        environment.set_default("PYTHONBREAKPOINT", "pdb.set_trace")

    def dashboard_url(self) -> str:
        """``host:port`` of the cluster's dashboard on this machine; empty without one. Reads one small file, unless the
        cluster is this program's own.
        """
        if self.node is not None:
            return str(self.node.facts.get("dashboard_url", ""))
        from linckia.host import session  # noqa: PLC0415  (loaded: the cluster was found with it)

        return str(session.read_facts(self.session_dir).get("dashboard_url", ""))

    def _install_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        from linckia.worker import signals  # noqa: PLC0415  (loaded by the driver already)

        self._signals.append((signal.SIGINT, signals.install(self.runtime, worker=False)))
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            self._signals.append((signal.SIGTERM, signal.signal(signal.SIGTERM, _on_sigterm)))

    def stop(self) -> None:
        """Disconnect; end the node if it is ours."""
        runtime, self.runtime = self.runtime, None
        current.runtime = None
        if threading.current_thread() is threading.main_thread():
            for number, previous in self._signals:
                signal.signal(number, previous)
        self._signals.clear()
        if runtime is not None:
            from linckia.api import driver  # noqa: PLC0415  (loaded already)

            driver.disconnect(runtime, self.node)
        elif self.node is not None:
            self.node.stop()


def _driver_node(options: NodeOptions, address: str) -> NodeOptions:
    """No node of that cluster is on this machine: one of our own, for this driver only, that runs no tasks."""
    from linckia.host import tokens  # noqa: PLC0415  (only to join a distant cluster)

    try:
        token = tokens.token_for(address, options.temp_dir)
    except tokens.TokenError as error:
        raise ConnectionError(f"init(address={address!r}): {error}") from None
    return options._replace(
        address=address, node_ip=environment.address_towards(address), port=0, token=token, num_cpus=0, num_gpus=None,
        prestart_workers=0, rejoin=False, include_dashboard=False,
    )  # fmt: skip


def _wait_ready(node: NodeProcess, where: object) -> None:
    try:
        node.wait_ready()
    except NodeStartError as error:
        if not isinstance(where, str):
            raise
        if "wrong cluster token" in str(error):
            raise errors.AuthenticationError(str(error)) from None
        raise ConnectionError(f"init(address={where!r}): {error}") from None


def _raise_file_limit() -> None:
    """Each connection is a descriptor: raise the soft limit to what is allowed, at most 65,536 (R 1.13)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, FILE_LIMIT_MAX) if hard != resource.RLIM_INFINITY else FILE_LIMIT_MAX
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _on_sigterm(_signum: int, _frame: Any) -> None:
    sys.exit(143)


def init(  # noqa: PLR0913  (Ray's signature, so that editors complete it)
    address: str | None = None,
    *,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    resources: dict[str, float] | None = None,
    labels: dict[str, str] | None = None,
    local_mode: bool = False,
    object_store_memory: int | None = None,
    ignore_reinit_error: bool = False,
    include_dashboard: bool | None = None,
    dashboard_host: str = "127.0.0.1",
    dashboard_port: int | None = None,
    job_config: Any = None,
    configure_logging: bool = True,
    logging_level: int | str = "info",
    logging_format: str | None = None,
    logging_config: Any = None,
    log_to_driver: bool | None = None,
    namespace: str | None = None,
    runtime_env: dict[str, Any] | None = None,
    enable_resource_isolation: bool = False,
    cgroup_path: str | None = None,
    system_reserved_cpu: float | None = None,
    system_reserved_memory: int | None = None,
    object_spilling_directory: str | None = None,
    **options: Any,
) -> RayContext:
    """Start a cluster on this machine, or join one; returns facts about it.

    ``address``: None uses ``LINCKIA_ADDRESS`` or ``RAY_ADDRESS`` when set, else the running cluster of ``linckia
    start``, else starts a new one; "local" always starts a new one; "auto" never does (ConnectionError). Options are
    those of Ray: ``num_cpus``, ``num_gpus``, ``resources``, ``object_store_memory``, ``namespace``,
    ``ignore_reinit_error``, ``log_to_driver``, ... A second call raises RuntimeError unless
    ``ignore_reinit_error=True``.
    """
    global _session  # noqa: PLW0603  (one cluster connection per process is the API's contract)
    named = {name: value for name, value in locals().items() if name not in ("address", "options")}
    parsed = session_options.parse(address, {**named, **options})
    with _lock:
        if _session is not None:
            if parsed.ignore_reinit_error:
                return RayContext(_session)
            raise RuntimeError(
                "linckia.init() was called twice; call linckia.shutdown() first, or pass ignore_reinit_error=True"
            )
        session = Session(parsed)
        session.start()
        _session = session
    return RayContext(session)


def auto_init() -> Any:
    """Connect because the API was used before ``init``. RaySystemError when LINCKIA_ENABLE_AUTO_CONNECT=0."""
    if not session_options.auto_connect_enabled():
        raise errors.RaySystemError("not connected to a cluster and auto-connect is off; call linckia.init() first")
    with _lock:
        if current.runtime is None:
            init()
        return current.runtime


def shutdown(*, wait_for_processes: bool = False) -> None:
    """Leave the cluster; ends it when this process started it. Idempotent; called at exit."""
    del wait_for_processes  # ours are always waited for
    global _session
    with _lock:
        session, _session = _session, None
        if session is not None:
            session.stop()


def is_initialized() -> bool:
    """True when this process is connected (drivers after init, workers always)."""
    return current.runtime is not None


def _after_fork() -> None:
    """A forked child shares sockets with its parent: it must not use or close them as its own."""
    global _session  # noqa: PLW0603
    _session = None
    current.runtime = None


atexit.register(shutdown)
os.register_at_fork(after_in_child=_after_fork)
