"""Options of ``init``: validation, defaults, where the cluster is (R 1.1-1.14). No I/O but reading the environment
and one file.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from linckia.host import environment
from linckia.node.options import NodeOptions

RAY_API_VERSION = "2.60.0"
RESOURCE_MAX = 1e14
PORT_MAX = 65_535
OBJECT_STORE_MIN_BYTES = 75 * 1024 * 1024
IGNORED = {
    "logging_level", "logging_format", "configure_logging",
    "job_config",
    "runtime_env", "logging_config", "enable_resource_isolation", "cgroup_path",
    "system_reserved_cpu", "system_reserved_memory",
    "_redis_username", "_redis_password", "_plasma_directory", "_node_ip_address",
    "_metrics_export_port", "_tracing_startup_hook", "_skip_env_hook", "_system_config",
    "_enable_object_reconstruction",
    "_driver_object_store_memory", "_redis_max_memory", "_lru_evict",
}  # fmt: skip
"""Accepted for compatibility; what is not built yet has no effect here (see docs/compatibility.md)."""

ONLY_FOR_NEW = ("num_cpus", "num_gpus", "resources", "labels", "object_store_memory", "_system_config", "_node_name")


class InitOptions(NamedTuple):
    """Validated options of one ``init`` call."""

    address: str | None
    node: NodeOptions
    namespace: str | None
    ignore_reinit_error: bool
    log_to_driver: bool
    given: dict[str, Any]
    job_config: Any


def parse(address: str | None, options: dict[str, Any]) -> InitOptions:
    """Check everything that can be checked without a cluster; errors name the argument."""
    known = IGNORED | {
        "num_cpus", "num_gpus", "resources", "labels", "object_store_memory", "object_spilling_directory", "namespace",
        "ignore_reinit_error", "log_to_driver", "include_dashboard", "dashboard_host", "dashboard_port",
        "local_mode", "_memory", "_temp_dir", "_node_name", "_prestart_workers", "_keep_session",
    }  # fmt: skip
    _refuse_removed(options)
    unknown = sorted(set(options) - known)
    if unknown:
        raise RuntimeError(
            f"init() got unknown arguments {unknown}; known are {sorted(k for k in known if not k.startswith('_'))}"
        )
    _check_namespace(options.get("namespace"))
    _check_kinds(options)
    if options.get("runtime_env") is not None:
        from linckia.api.runtime_envs import of_job  # noqa: PLC0415  (start-up time)

        options["runtime_env"] = of_job(options["runtime_env"])
    if address != "local" and environment.option(environment.JOB_CONFIG_OPTION):
        _adopt_submission(options)
    _check_isolation(options)
    temp_dir = options.get("_temp_dir")
    if temp_dir is not None and not os.path.isabs(temp_dir):
        raise ValueError(f"init(_temp_dir={temp_dir!r}): must be an absolute path")
    node = NodeOptions(
        num_cpus=_count("num_cpus", options.get("num_cpus")),
        num_gpus=_count("num_gpus", options.get("num_gpus")),
        resources=_resources(options.get("resources")),
        memory=options.get("_memory"),
        object_store_memory=_store(options.get("object_store_memory")),
        labels=dict(options.get("labels") or {}),
        node_name=options.get("_node_name") or "",
        temp_dir=temp_dir or "",
        spill_dir=_directory(options.get("object_spilling_directory")),
        prestart_workers=options.get("_prestart_workers"),
        keep_session=bool(options.get("_keep_session", False)),
        **_dashboard(options),
    )
    log_to_driver = options.get("log_to_driver")
    if log_to_driver is None:
        log_to_driver = environment.option_on("LOG_TO_DRIVER", default=True)
    return InitOptions(
        address, node, options.get("namespace"), bool(options.get("ignore_reinit_error")), bool(log_to_driver), options,
        options.get("job_config"),
    )  # fmt: skip


def _adopt_submission(options: dict[str, Any]) -> None:
    """This process is the driver of a submitted job."""
    from linckia.api import submitted  # noqa: PLC0415  (start-up time)

    found = submitted.submitted_with()
    options["runtime_env"] = submitted.merged(found.get("runtime_env") or {}, options.get("runtime_env") or {})
    options["_metadata"] = found.get("metadata") or {}


def _refuse_removed(options: dict[str, Any]) -> None:
    if options.pop("local_mode", False):
        raise RuntimeError("init(local_mode=True) does not exist any more; tasks always run in worker processes")
    if "storage" in options:
        raise RuntimeError("init(storage=...) does not exist any more; pass paths to the code that stores")
    if options.get("allow_multiple"):
        raise RuntimeError("init(allow_multiple=True) is for client connections (address='ray://...') only")
    options.pop("allow_multiple", None)


def _check_namespace(namespace: Any) -> None:
    if namespace is not None and not isinstance(namespace, str):
        raise TypeError(f"init(namespace=...) must be a string, got {type(namespace).__name__}")
    if namespace == "":
        raise ValueError("init(namespace='') is empty; leave it out for an anonymous namespace")


def _check_kinds(options: dict[str, Any]) -> None:
    for name, kinds in {"labels": dict, "_system_config": dict, "runtime_env": dict}.items():
        value = options.get(name)
        if value is not None and not isinstance(value, kinds):
            raise TypeError(f"init({name}=...) must be a {kinds.__name__}, got {type(value).__name__}")


def _check_isolation(options: dict[str, Any]) -> None:
    if options.get("enable_resource_isolation"):
        raise ValueError(
            "init(enable_resource_isolation=True): resource isolation needs writable cgroup v2; it is not built yet"
        )
    for name in ("cgroup_path", "system_reserved_cpu", "system_reserved_memory"):
        if options.get(name) is not None:
            raise ValueError(
                f"init({name}=...) is only possible with enable_resource_isolation=True (resource isolation)"
            )


def _dashboard(options: dict[str, Any]) -> dict[str, Any]:
    """Not started unless it is asked for: a program's cluster is there in a fraction of a second, and small."""
    wanted, host, port = (options.get(name) for name in ("include_dashboard", "dashboard_host", "dashboard_port"))
    if wanted is not None and not isinstance(wanted, bool):
        raise TypeError(f"init(include_dashboard={wanted!r}): must be True or False, got {type(wanted).__name__}")
    if not wanted:
        return {}
    if host is not None and not isinstance(host, str):
        raise TypeError(f"init(dashboard_host={host!r}): must be a host name or address, got {type(host).__name__}")
    if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= PORT_MAX):
        raise ValueError(f"init(dashboard_port={port!r}): must be a port from 0 (any free one) to {PORT_MAX}")
    found: dict[str, Any] = {"include_dashboard": True}
    found |= {"dashboard_host": host} if host else {}
    return found | ({"dashboard_port": port} if port is not None else {})


def _directory(path: Any) -> str:
    if path is None or path == "":
        return ""
    if not isinstance(path, str):
        raise TypeError(f"init(object_spilling_directory={path!r}): must be a path, got {type(path).__name__}")
    return os.path.abspath(path)


def _count(name: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"init({name}={value!r}): must be a whole number, got {type(value).__name__}")
    if value != value or value < 0 or value > RESOURCE_MAX or int(value) != value:
        raise ValueError(f"init({name}={value!r}): must be a whole number from 0 to {RESOURCE_MAX:.0e}")
    return float(value)


def _resources(resources: Any) -> dict[str, float]:
    if resources is None:
        return {}
    if not isinstance(resources, dict):
        raise TypeError(f"init(resources=...) must be a dict of name to number, got {type(resources).__name__}")
    reserved = sorted(set(resources) & {"CPU", "GPU", "memory", "object_store_memory"})
    if reserved:
        raise ValueError(
            f"init(resources=...) must not contain {reserved}; use num_cpus, num_gpus, _memory, object_store_memory"
        )
    checked = {str(name): _count(f"resources[{name!r}]", value) for name, value in resources.items()}
    return {name: value for name, value in checked.items() if value}


def _store(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"init(object_store_memory={value!r}): must be a number of bytes, got {type(value).__name__}")
    if value < OBJECT_STORE_MIN_BYTES:
        raise ValueError(f"init(object_store_memory={value!r}): the minimum is {OBJECT_STORE_MIN_BYTES} bytes (75 MiB)")
    return int(value)


def auto_connect_enabled() -> bool:
    """False when LINCKIA_ENABLE_AUTO_CONNECT (or RAY_...) is 0."""
    return environment.option_on("ENABLE_AUTO_CONNECT", default=True)


class Found(NamedTuple):
    """A node of the cluster on this machine: its session directory, Unix endpoint and the file with the token."""

    session_dir: str
    endpoint: str
    token_path: str


def resolve_address(options: InitOptions) -> Found | str | None:
    """A node of the cluster on this machine; ``host:port`` of a head that has none here; None: start a new cluster.

    ConnectionError when there is nothing to join.
    """
    address = options.address or environment.option("ADDRESS") or None
    if address == "auto":  # as in Ray: the environment knows better than a look at this machine
        address = environment.option("ADDRESS") or address
    if address == "local":
        return None
    if address is not None and not isinstance(address, str):
        raise TypeError(f"init(address={address!r}): expected a string, found {type(address).__name__}")
    if address is not None and address.startswith("etcd://"):
        address = _heads_at(address)
    if address is not None and "://" in address:
        raise ConnectionError(
            f"init(address={address!r}): client connections are not available yet; use 'auto', 'local' or host:port"
        )
    if address is not None and address.startswith("unix:"):
        _refuse_resources(options, address)
        session_dir = os.path.dirname(os.path.dirname(address.removeprefix("unix:")))
        return Found(session_dir, address, f"{session_dir}/token")
    found = _running_cluster(options.node.temp_dir, address)
    if found is None:
        if address is None:
            return None
        if all(_is_host_port(part) for part in address.split(",")):
            _refuse_resources(options, address)
            return address
        raise ConnectionError(
            f"init(address={address!r}): no running cluster found; start one with `linckia start --head`"
        )
    _refuse_resources(options, found.endpoint)
    return found


def _refuse_resources(options: InitOptions, where: str) -> None:
    given = [name for name in ONLY_FOR_NEW if options.given.get(name) is not None]
    if given:
        raise ValueError(
            f"init({given[0]}=...) is only possible when a new cluster is started, and one is running: {where}"
        )


def _heads_at(store_address: str) -> str:
    from linckia.store.discovery import NoHeadError, head_addresses  # noqa: PLC0415 - 100 ms that few need

    try:
        return ",".join(head_addresses(store_address))
    except NoHeadError as error:
        raise ConnectionError(f"init(address=...): {error}") from None


def _is_host_port(address: str) -> bool:
    host, colon, port = address.rpartition(":")
    return bool(colon and host and port.isdecimal())


def _running_cluster(temp_dir: str, address: str | None) -> Found | None:
    """The newest cluster of this user ("auto"), the newest that does not belong to one driver (None), or the one at
    ``address``; of several nodes of one cluster the one that has the address, then the head.
    """
    from linckia.host import session  # noqa: PLC0415  (not needed when a new cluster is the answer)

    best: tuple[int, Found] | None = None
    for path, facts in reversed(session.live_sessions(temp_dir or environment.temporary_directory())):
        rank = _rank(path, facts, address)
        if rank and (best is None or rank > best[0]):
            found = Found(path, str(facts["endpoint"]), str(facts.get("token_path") or f"{path}/token"))
            best = (rank, found)
    return best[1] if best is not None else None


def _rank(path: str, facts: dict[str, Any], address: str | None) -> int:
    """How well a living session fits the address; 0: not at all."""
    endpoint = str(facts.get("endpoint", ""))
    is_head = bool(facts.get("is_head", True))
    if not endpoint:
        return 0
    if address is None:
        return (1 + is_head) * (not facts.get("fate_share_with_driver"))
    if address == "auto":
        return 1 + is_head
    if address in (endpoint, endpoint.partition(":")[2], path):
        return 4
    known = [facts.get("tcp_address"), facts.get("cluster_address")]
    if "," in address:  # several heads: the node here that belongs to any of them
        return max(_rank(path, facts, part) for part in address.split(","))
    if address not in [each for each in (*known, *map(_loopback_names, known)) if each]:
        return 0
    return 3 if address in (known[0], _loopback_names(known[0])) else 1 + is_head


def _loopback_names(address: object) -> str:
    """``localhost:port`` for an address on the loopback interface."""
    text = str(address or "")
    return text.replace("127.0.0.1:", "localhost:") if text.startswith("127.0.0.1:") else ""
