"""The configuration file of the autoscaler: Ray's keys (R 10.1-10.3), checked, from YAML or JSON.

Unknown keys are refused with the nearest known one; keys that only Ray's cluster launcher reads (ssh, docker, file
mounts) with a sentence, because nodes are started here without them.
"""

from __future__ import annotations

import difflib
from typing import Any

from linckia.core.autoscaling.records import Limits, NodeType

KEYS = (
    "cluster_name", "provider", "max_workers", "upscaling_speed", "idle_timeout_minutes", "idle_timeout_s",
    "available_node_types", "head_node_type",
)  # fmt: skip
LAUNCHER_KEYS = (
    "auth", "docker", "file_mounts", "cluster_synced_files", "rsync_exclude", "rsync_filter",
    "initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands",
    "head_start_ray_commands", "worker_start_ray_commands", "no_restart",
)  # fmt: skip
TYPE_KEYS = ("resources", "node_config", "min_workers", "max_workers", "idle_timeout_s", "priority", "labels")
PROVIDERS = ("local", "fake_multinode")


class ConfigError(ValueError):
    """The file is not what it should be; the text names the key."""


def read(path: str) -> Limits:
    """The limits in a file. ConfigError, or OSError when it cannot be read."""
    import yaml  # noqa: PLC0415 - only heads with an autoscaler

    with open(path, encoding="utf-8") as file:
        try:
            parsed = yaml.safe_load(file)
        except yaml.YAMLError as error:
            raise ConfigError(f"{path} is not YAML: {error}") from error
    return parse(parsed)


def parse(config: Any) -> Limits:
    """Checked; ConfigError names the key, what was expected and what was found."""
    if not isinstance(config, dict):
        raise ConfigError(f"expected a mapping with keys such as {KEYS[:4]}, got {type(config).__name__}")
    _check_keys(config, KEYS, "the configuration")
    for key in ("cluster_name", "provider", "available_node_types"):
        if key not in config:
            raise ConfigError(f"the key {key!r} is required")
    provider = config["provider"].get("type") if isinstance(config["provider"], dict) else None
    if provider not in PROVIDERS:
        raise ConfigError(f"provider.type is {provider!r}; there are {PROVIDERS} (Kubernetes comes with the operator)")
    head = config.get("head_node_type")
    kinds = config["available_node_types"]
    if not isinstance(kinds, dict):
        raise ConfigError("available_node_types must be a mapping of name to node type")
    types = [_node_type(name, kind) for name, kind in kinds.items() if name != head]
    idle_s = config.get("idle_timeout_s", 60 * _number(config, "idle_timeout_minutes", 5))
    return Limits(
        types,
        max_workers=int(_number(config, "max_workers", 1 << 30)),
        upscaling_speed=_number(config, "upscaling_speed", 1.0),
        idle_timeout_s=float(idle_s),
    )


def _node_type(name: str, kind: Any) -> NodeType:
    where = f"available_node_types.{name}"
    if not isinstance(kind, dict):
        raise ConfigError(f"{where} must be a mapping, got {type(kind).__name__}")
    _check_keys(kind, TYPE_KEYS, where)
    resources = kind.get("resources")
    if not isinstance(resources, dict) or not all(isinstance(v, (int, float)) and v >= 0 for v in resources.values()):
        raise ConfigError(f"{where}.resources must be a mapping of name to amount, got {resources!r}")
    least, most = int(_number(kind, "min_workers", 0)), int(_number(kind, "max_workers", 1 << 30))
    if least > most:
        raise ConfigError(f"{where}: min_workers={least} is above max_workers={most}")
    idle = kind.get("idle_timeout_s")
    return NodeType(
        name=name,
        resources={key: float(value) for key, value in resources.items()},
        min_workers=least,
        max_workers=most,
        labels={str(key): str(value) for key, value in (kind.get("labels") or {}).items()},
        priority=int(_number(kind, "priority", 0)),
        idle_timeout_s=None if idle is None else float(idle),
    )


def _check_keys(given: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in given:
        if key in known:
            continue
        if key in LAUNCHER_KEYS:
            raise ConfigError(f"{where}: {key!r} is for Ray's cluster launcher; nodes here are started without it")
        near = difflib.get_close_matches(str(key), known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
        raise ConfigError(f"{where}: unknown key {key!r}{hint}")


def _number(given: dict[str, Any], key: str, default: float) -> float:
    value = given.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise ConfigError(f"{key} must be a number from 0, got {value!r}")
    return float(value)
