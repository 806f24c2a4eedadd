"""The small names of `ray.util`: log_once, annotations, accelerators, node address, and what is not there yet."""

from __future__ import annotations

import inspect
import socket
import warnings
from typing import Any

import pytest
from engine import ENGINE, IS_LINCKIA, better, module, ray, wait_for

util: Any = module("util")

PUBLIC_NAMES = (
    "ActorPool",
    "as_completed",
    "deregister_serializer",
    "disable_log_once_globally",
    "enable_periodic_logging",
    "get_current_placement_group",
    "get_node_instance_id",
    "get_node_ip_address",
    "get_placement_group",
    "inspect_serializability",
    "list_named_actors",
    "log_once",
    "map_unordered",
    "placement_group",
    "placement_group_table",
    "register_serializer",
    "remove_placement_group",
)


@pytest.mark.row("11.10", "11.13")
@pytest.mark.parametrize("name", PUBLIC_NAMES)
def test_public_names(name: str) -> None:
    assert callable(getattr(util, name))
    assert name in util.__all__


@pytest.mark.row("11.10")
def test_placement_group_is_a_function_and_a_module() -> None:
    groups = module("util.placement_group")
    assert inspect.ismodule(groups)
    assert inspect.isfunction(module("util").placement_group)
    assert groups.placement_group is util.placement_group
    assert inspect.isclass(groups.PlacementGroup)


@pytest.mark.row("11.10")
def test_strategies_and_state_are_importable() -> None:
    strategies = module("util.scheduling_strategies")
    for name in ("PlacementGroup", "NodeAffinity", "NodeLabel"):
        assert inspect.isclass(getattr(strategies, f"{name}SchedulingStrategy"))
    state = module("util.state")
    assert callable(state.list_actors)
    assert callable(state.summarize_tasks)
    assert inspect.isclass(state.StateApiClient)


@pytest.mark.skipif(not IS_LINCKIA, reason="what Linckia has not")
@pytest.mark.row("11.10")
def test_what_is_not_there_yet_says_so() -> None:
    assert util.get_current_placement_group() is None
    for name in ("collective", "client", "iter", "pdb"):
        with pytest.raises(AttributeError, match=f"linckia.util.{name} is not in this version of Linckia: "):
            getattr(util, name)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = util.no_such_name


@pytest.fixture
def debug() -> Any:
    found = module("util.debug")
    found.reset_log_once()
    return found


@pytest.mark.row("11.20")
def test_log_once(debug: Any) -> None:
    assert debug.log_once("key")
    assert not debug.log_once("key")
    assert debug.log_once("other")
    debug.reset_log_once("key")
    assert debug.log_once("key")
    assert not debug.log_once("other")
    debug.reset_log_once()
    assert debug.log_once("other")
    assert util.log_once is debug.log_once


@pytest.mark.row("11.20")
def test_log_once_can_be_switched_off_or_made_periodic(run_script: Any) -> None:
    result = run_script(
        f"""
        import ray
        import time
        from {ENGINE}.util import disable_log_once_globally, enable_periodic_logging, log_once
        clock = time.monotonic() if "{ENGINE}" == "linckia" else time.time()
        time.monotonic = time.time = lambda: clock
        assert log_once("key") and not log_once("key")
        enable_periodic_logging()
        assert not log_once("key")
        clock += 61
        assert log_once("key") or log_once("key")  # Ray: the second time
        assert not log_once("key")
        disable_log_once_globally()
        assert not log_once("new")
        """
    )
    result.ok()


@pytest.mark.row("11.16")
def test_annotations_change_nothing_but_the_docstring() -> None:
    annotations = module("util.annotations")

    @annotations.PublicAPI
    def stable() -> str:
        """Does it."""
        return "done"

    @annotations.PublicAPI(stability="alpha")
    class Early:
        """Tries it."""

    @annotations.DeveloperAPI
    def internal() -> str:
        """Helps."""
        return "done"

    assert (stable(), internal()) == ("done", "done")
    assert inspect.cleandoc(stable.__doc__ or "") == "Does it."
    assert "alpha" in (Early.__doc__ or "")
    assert "DeveloperAPI" in (internal.__doc__ or "")
    assert stable._annotated_type is annotations.AnnotationType.PUBLIC_API
    assert internal._annotated_type is annotations.AnnotationType.DEVELOPER_API
    assert Early._annotated == "Early"
    with pytest.raises((ValueError, AssertionError), match="x"):
        annotations.PublicAPI(stability="x")


@pytest.mark.row("11.16")
def test_deprecated() -> None:
    annotations = module("util.annotations")

    @annotations.Deprecated(message="Use new().")
    def silent() -> int:
        """Was good."""
        return 1

    @annotations.Deprecated(message="Use new().", warning=True)
    def loud(value: int) -> int:
        """Was good."""
        return value

    @annotations.Deprecated(message="Use New.", warning=True)
    class Old:
        def __init__(self, value: int) -> None:
            self.value = value

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert silent() == 1
    assert "Use new()." in (silent.__doc__ or "")
    with pytest.warns(annotations.RayDeprecationWarning, match="Use new"):
        assert loud(5) == 5
    with pytest.warns(annotations.RayDeprecationWarning, match="Use New"):
        assert Old(6).value == 6
    assert issubclass(annotations.RayDeprecationWarning, DeprecationWarning)
    assert loud.__name__ == "loud"


@pytest.mark.row("11.19")
def test_accelerators() -> None:
    accelerators = module("util.accelerators")
    assert accelerators.NVIDIA_TESLA_V100 == "V100"
    assert accelerators.GOOGLE_TPU_V5P == "TPU-V5P"
    assert accelerators.AMD_INSTINCT_MI300x == "AMD-Instinct-MI300X-OAM"
    assert accelerators.INTEL_GAUDI == "Intel-GAUDI"


@pytest.mark.row("11.13")
@pytest.mark.usefixtures("cluster")
def test_node_address() -> None:
    address = util.get_node_ip_address()
    assert socket.inet_aton(address)
    assert address == ray.nodes()[0]["NodeManagerAddress"]
    assert isinstance(util.get_node_instance_id(), str)


@better("Ray cuts whatever it is given at the colon")
@pytest.mark.row("11.13")
@pytest.mark.usefixtures("cluster")
def test_node_address_towards_another_host() -> None:
    assert util.get_node_ip_address("127.0.0.1:80") == "127.0.0.1"
    for wrong in ("localhost", "host:port", ":80"):
        with pytest.raises(ValueError, match="host:port"):
            util.get_node_ip_address(wrong)


@pytest.mark.row("5.17", "11.13")
@pytest.mark.usefixtures("cluster")
def test_list_named_actors() -> None:
    @ray.remote(num_cpus=0)
    class Named:
        pass

    here = ray.get_runtime_context().namespace
    ours = Named.options(name="ours").remote()
    theirs = Named.options(name="theirs", namespace="elsewhere").remote()
    ray.get([ours.__ray_ready__.remote(), theirs.__ray_ready__.remote()])
    assert util.list_named_actors() == ["ours"]
    everywhere = util.list_named_actors(all_namespaces=True)
    assert {"name": "ours", "namespace": here} in everywhere
    assert {"name": "theirs", "namespace": "elsewhere"} in everywhere
    for actor in (ours, theirs):
        ray.kill(actor)
    wait_for(lambda: util.list_named_actors(all_namespaces=True) == [], what="no named actors")
