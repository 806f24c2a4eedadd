"""Names that programs import: constants, submodules, signatures, and parts that must at least be there."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import pytest
from engine import ENGINE, better, exceptions, module, ray

PUBLIC = [
    "init",
    "shutdown",
    "is_initialized",
    "remote",
    "method",
    "get",
    "put",
    "wait",
    "kill",
    "cancel",
    "get_actor",
    "get_gpu_ids",
    "get_runtime_context",
    "nodes",
    "cluster_resources",
    "available_resources",
    "timeline",
    "client",
    "ClientBuilder",
    "LoggingConfig",
    "Language",
    "java_function",
    "java_actor_class",
    "ObjectRef",
    "ObjectID",
    "ObjectRefGenerator",
    "DynamicObjectRefGenerator",
    "JobID",
    "ActorID",
    "TaskID",
    "NodeID",
    "WorkerID",
    "UniqueID",
    "FunctionID",
    "ActorClassID",
    "PlacementGroupID",
    "ClusterID",
    "SCRIPT_MODE",
    "WORKER_MODE",
    "__version__",
    "__commit__",
    "actor",
    "util",
    "exceptions",
    "cloudpickle",
]


@pytest.mark.row("1.53")
@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_exist(name: str) -> None:
    assert getattr(ray, name) is not None


@pytest.mark.row("1.53")
def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = ray.nonsense


@pytest.mark.row("1.53")
def test_constants() -> None:
    assert ray.SCRIPT_MODE == 0
    assert ray.WORKER_MODE == 1
    assert ray.__version__.count(".") >= 1
    assert isinstance(ray.__commit__, str)


@pytest.mark.row("1.53")
@pytest.mark.parametrize(
    "name",
    [
        "actor",
        "cloudpickle",
        "exceptions",
        "job_config",
        "remote_function",
        "runtime_context",
        "runtime_env",
        "util",
        "util.placement_group",
        "util.queue",
        "util.scheduling_strategies",
        "cluster_utils",
    ],
)
def test_submodules_are_importable(name: str) -> None:
    assert module(name).__name__ == f"{ENGINE}.{name}"


@pytest.mark.row("1.53")
@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("actor", {"exit_actor", "ActorHandle", "ActorClass", "ActorMethod"}),
        ("cloudpickle", {"dumps", "loads", "dump", "load", "register_pickle_by_value", "CloudPickler"}),
        ("job_config", {"JobConfig"}),
        ("runtime_env", {"RuntimeEnv"}),
        ("cluster_utils", {"Cluster", "AutoscalingCluster"}),
        ("runtime_context", {"RuntimeContext", "get_runtime_context"}),
    ],
)
def test_submodules_have_their_members(name: str, members: set[str]) -> None:
    assert members <= set(dir(module(name)))


@pytest.mark.row("1.53")
def test_cloudpickle_pickles_what_pickle_cannot() -> None:
    captured = [1, 2]
    function = ray.cloudpickle.loads(ray.cloudpickle.dumps(lambda extra: [*captured, extra]))
    assert function(3) == [1, 2, 3]


@pytest.mark.row("1.51", "1.52", "3.31")
def test_other_languages_and_clients_are_importable() -> None:
    assert callable(ray.client)
    assert callable(ray.java_function)
    assert callable(ray.java_actor_class)
    assert callable(module("cross_language").cpp_function)
    assert {"PYTHON", "JAVA", "CPP"} <= set(dir(ray.Language))


@pytest.mark.row("1.53")
def test_init_takes_the_documented_options() -> None:
    expected = [
        "address",
        "num_cpus",
        "num_gpus",
        "resources",
        "labels",
        "object_store_memory",
        "local_mode",
        "ignore_reinit_error",
        "include_dashboard",
        "dashboard_host",
        "dashboard_port",
        "job_config",
        "configure_logging",
        "logging_level",
        "logging_format",
        "logging_config",
        "log_to_driver",
        "namespace",
        "runtime_env",
        "enable_resource_isolation",
        "cgroup_path",
        "system_reserved_cpu",
        "system_reserved_memory",
    ]
    assert set(expected) <= set(inspect.signature(ray.init).parameters)


@pytest.mark.row("1.24", "1.28", "1.32", "1.33", "1.34", "1.16")
@pytest.mark.parametrize(
    ("name", "keyword_only"),
    [
        ("get", {"timeout": None}),
        ("wait", {"num_returns": 1, "timeout": None, "fetch_local": True}),
        ("kill", {"no_restart": True}),
        ("cancel", {"force": False, "recursive": True}),
        ("shutdown", {"wait_for_processes": False}),
    ],
)
def test_signatures(name: str, keyword_only: dict[str, Any]) -> None:
    parameters = inspect.signature(getattr(ray, name)).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert keyword_only.items() <= defaults.items()


@pytest.mark.row("1.53")
@better("Ray imports numpy and takes a second")
def test_import_is_light() -> None:
    code = f"import {ENGINE}, sys; print(sorted({{'numpy', 'asyncio', 'msgspec', 'cloudpickle'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout == "[]\n"


@pytest.mark.row("1.52", "3.31")
def test_cross_language_error_is_an_engine_error() -> None:
    assert issubclass(exceptions.CrossLanguageError, exceptions.RayError)


@pytest.mark.row("1.53")
def test_cluster_utils_adds_a_node(fresh: Any) -> None:
    cluster = module("cluster_utils").Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=2)
        ray.init(address=cluster.address, log_to_driver=False)
        cluster.wait_for_nodes()
        assert ray.cluster_resources()["CPU"] == 3
        assert len(ray.nodes()) == 2
    finally:
        ray.shutdown()
        cluster.shutdown()
