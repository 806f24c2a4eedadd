"""`init` and `shutdown` of a new local cluster: options, refusals, side effects, the returned context."""

from __future__ import annotations

import os
import signal
import tempfile
from typing import Any

import pytest
from engine import IS_LINCKIA, better, exceptions, module, ray, wait_for

# Where Ray stumbles over a wrong type (AttributeError, AssertionError), Linckia says TypeError.
WRONG_TYPE: tuple[type[Exception], ...] = (TypeError,) if IS_LINCKIA else (TypeError, AttributeError, AssertionError)

INIT = 'ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False'


def alive(pid: int) -> bool:
    """True for a running process; a zombie counts as gone."""
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.row("1.2", "1.36")
def test_given_resources_are_the_totals_of_the_node(fresh: Any) -> None:
    fresh(num_cpus=3, num_gpus=1, resources={"disk": 5, "none": 0}, object_store_memory=100 * 2**20)
    totals = ray.cluster_resources()
    assert totals["CPU"] == 3
    assert totals["GPU"] == 1
    assert totals["disk"] == 5
    assert "none" not in totals
    assert totals["object_store_memory"] == 100 * 2**20


@pytest.mark.row("1.2")
def test_zero_cpus_and_gpus_are_dropped_from_the_totals(fresh: Any) -> None:
    fresh(num_cpus=0, num_gpus=0)
    assert not {"CPU", "GPU"} & set(ray.cluster_resources())


@pytest.mark.row("1.2")
def test_cpus_are_detected(fresh: Any) -> None:
    fresh(num_cpus=None)
    assert 1 <= ray.cluster_resources()["CPU"] <= (os.cpu_count() or 1)


@pytest.mark.row("1.2")
@pytest.mark.parametrize(
    ("options", "subject"),
    [
        ({"num_cpus": 1.5}, "CPU"),
        ({"num_cpus": -1}, "CPU"),
        ({"num_gpus": -1}, "GPU"),
        ({"resources": {"disk": -1}}, "disk"),
        ({"resources": {"disk": 1.5}}, "disk"),
        ({"resources": {"disk": 1e15}}, "disk"),
        ({"object_store_memory": 1000}, "object store memory|object_store_memory"),
    ],
)
def test_bad_amounts_are_refused(fresh: Any, options: dict[str, Any], subject: str) -> None:
    with pytest.raises(ValueError, match=f"(?i){subject}"):
        fresh(**options)
    assert not ray.is_initialized()


@pytest.mark.row("1.2")
def test_cpu_is_no_custom_resource(fresh: Any) -> None:
    with pytest.raises((ValueError, AssertionError), match="CPU"):
        fresh(resources={"CPU": 1})


@pytest.mark.row("1.2", "1.5")
@pytest.mark.parametrize(
    "options",
    [
        {"num_cpus": "two"},
        {"resources": [1]},
        {"labels": "x"},
        {"_system_config": 5},
        {"runtime_env": 5},
        {"address": 5},
    ],
    ids=lambda options: next(iter(options)),
)
def test_wrong_types_are_refused(fresh: Any, options: dict[str, Any]) -> None:
    with pytest.raises(WRONG_TYPE):
        fresh(**options)
    assert not ray.is_initialized()


@pytest.mark.row("1.2")
def test_labels_show_on_the_node(fresh: Any) -> None:
    fresh(labels={"zone": "north"})
    assert ray.nodes()[0]["Labels"]["zone"] == "north"
    assert ray.get_runtime_context().get_node_labels()["zone"] == "north"


@pytest.mark.row("1.2")
def test_node_name_shows_in_nodes(fresh: Any) -> None:
    fresh(_node_name="first-node")
    assert ray.nodes()[0]["NodeName"] == "first-node"


@pytest.mark.row("1.3")
def test_default_object_store_is_a_share_of_memory(fresh: Any) -> None:
    fresh()
    totals = ray.cluster_resources()
    assert 75 * 2**20 <= totals["object_store_memory"] <= 200e9
    assert totals["object_store_memory"] < totals["memory"]


@pytest.mark.row("1.4")
def test_second_init_is_refused_or_ignored(fresh: Any) -> None:
    first = fresh(num_cpus=2)
    with pytest.raises(RuntimeError, match="ignore_reinit_error"):
        ray.init()
    again = ray.init(num_cpus=17, ignore_reinit_error=True)
    assert again.address_info["node_id"] == first.address_info["node_id"]
    assert ray.cluster_resources()["CPU"] == 2


@pytest.mark.row("1.5")
@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"num_cpu": 2}, "num_cpu"),
        ({"storage": "/x"}, "storage"),
        ({"allow_multiple": True}, "allow_multiple"),
        ({"local_mode": True}, "local_mode"),
    ],
)
def test_unknown_and_removed_options_are_named(fresh: Any, options: dict[str, Any], named: str) -> None:
    with pytest.raises(RuntimeError, match=named):
        fresh(**options)
    assert not ray.is_initialized()


@pytest.mark.row("1.6")
def test_namespaces_are_random_unless_given(fresh: Any) -> None:
    fresh()
    first = ray.get_runtime_context().namespace
    ray.shutdown()
    fresh()
    second = ray.get_runtime_context().namespace
    assert first
    assert first != second
    ray.shutdown()
    fresh(namespace="mine")
    assert ray.get_runtime_context().namespace == "mine"


@pytest.mark.row("1.6")
@pytest.mark.parametrize(("namespace", "error"), [("", ValueError), (5, TypeError)])
def test_bad_namespaces_are_refused(fresh: Any, namespace: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="namespace"):
        fresh(namespace=namespace)
    assert not ray.is_initialized()


@pytest.mark.row("1.7", "14.22", "9.1")
def test_environment_variables_of_the_job_and_the_task_are_merged(fresh: Any) -> None:
    fresh(runtime_env={"env_vars": {"CONFORMANCE_A": "job", "CONFORMANCE_B": "job"}})

    @ray.remote
    def look() -> tuple[str, str]:
        return os.environ["CONFORMANCE_A"], os.environ["CONFORMANCE_B"]

    assert ray.get(look.remote()) == ("job", "job")
    task_env = {"env_vars": {"CONFORMANCE_B": "task"}}
    assert ray.get(look.options(runtime_env=task_env).remote()) == ("job", "task")
    assert dict(ray.get_runtime_context().runtime_env)["env_vars"]["CONFORMANCE_A"] == "job"


@pytest.mark.row("1.10")
def test_job_config_sets_the_namespace(fresh: Any) -> None:
    fresh(job_config=module("job_config").JobConfig(ray_namespace="from job config"))
    assert ray.get_runtime_context().namespace == "from job config"


@pytest.mark.row("1.10")
def test_job_config_checks_its_fields() -> None:
    config = module("job_config").JobConfig
    with pytest.raises(ValueError, match="lifetime|detached"):
        config(default_actor_lifetime="forever")
    assert config(metadata={"owner": "me"}).metadata == {"owner": "me"}


@pytest.mark.row("1.11")
def test_memory_option_is_the_memory_resource(fresh: Any) -> None:
    fresh(_memory=512 * 2**20)
    assert ray.cluster_resources()["memory"] == 512 * 2**20


@pytest.mark.row("1.11")
def test_temp_dir_holds_the_session(fresh: Any) -> None:
    with pytest.raises(ValueError, match="absolute"):
        fresh(_temp_dir="relative/path")
    # Not tmp_path: the paths of sockets below it must fit into 107 bytes.
    with tempfile.TemporaryDirectory(prefix="lk-", ignore_cleanup_errors=True) as folder:
        context = fresh(_temp_dir=folder)
        assert context.address_info["session_dir"].startswith(folder + "/")
        assert os.path.isdir(context.address_info["session_dir"])
        assert ray.get_runtime_context().get_temp_dir() == folder
        ray.shutdown()


@pytest.mark.row("1.12")
@pytest.mark.parametrize(
    "option", [{"cgroup_path": "/sys/fs/cgroup"}, {"system_reserved_cpu": 1.0}, {"system_reserved_memory": 10**9}]
)
def test_isolation_settings_need_isolation(fresh: Any, option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="isolation"):
        fresh(**option)


@pytest.mark.row("1.13")
def test_sigterm_ends_the_driver_and_its_actors(run_script: Any) -> None:
    script = run_script.start(f"""
        import ray
        import os
        import threading
        {INIT})

        @ray.remote
        class Actor:
            def pid(self):
                return os.getpid()

        actor = Actor.remote()
        print(ray.get(actor.pid.remote()), flush=True)
        threading.Event().wait()
        """)
    pid = int(script.stdout.readline())
    assert alive(pid)
    script.send_signal(signal.SIGTERM)
    assert script.wait(timeout=60) != 0
    wait_for(lambda: not alive(pid), what="actor process gone")


@pytest.mark.row("1.13")
def test_init_raises_the_file_limit_and_sets_the_debugger(run_script: Any) -> None:
    result = run_script(f"""
        import ray
        import os
        import resource
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(2048, hard), hard))
        {INIT})
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        print(soft == min(hard, 65536), "PYTHONBREAKPOINT" in os.environ)
        """)
    assert result.ok().stdout == "True True\n"


@pytest.mark.row("1.13")
def test_init_outside_the_main_thread_works(run_script: Any) -> None:
    result = run_script(f"""
        import ray
        import threading

        @ray.remote
        def one():
            return 1

        def work():
            {INIT})
            print(ray.get(one.remote()))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        """)
    assert result.ok().stdout == "1\n"


@pytest.mark.row("1.15", "1.9")
def test_context_fields(cluster: Any) -> None:
    assert cluster.python_version.count(".") == 2
    assert cluster.ray_version == ray.__version__
    assert cluster.ray_commit == ray.__commit__
    assert not cluster.dashboard_url
    info = cluster.address_info
    fields = {"node_ip_address", "object_store_address", "raylet_socket_name", "webui_url", "session_dir"}
    fields |= {
        "metrics_export_port",
        "gcs_address",
        "address",
        "dashboard_agent_listen_port",
        "node_id",
        "redis_address",
    }
    assert fields <= set(info)
    assert info["node_id"] == ray.get_runtime_context().get_node_id()
    assert info["address"] == info["gcs_address"]


@pytest.mark.row("1.15")
def test_context_is_still_a_mapping_of_addresses(cluster: Any) -> None:
    assert cluster["node_id"] == cluster.address_info["node_id"]
    with pytest.raises(KeyError):
        cluster["nonsense"]


@pytest.mark.row("1.15")
def test_context_manager_shuts_down(fresh: Any) -> None:
    with fresh() as context:
        assert ray.is_initialized()
        assert context.address_info
    assert not ray.is_initialized()


@pytest.mark.row("1.15")
def test_disconnect_shuts_down(fresh: Any) -> None:
    fresh().disconnect()
    assert not ray.is_initialized()


@pytest.mark.row("1.16", "1.17")
def test_shutdown_twice_and_start_again(fresh: Any) -> None:
    assert not ray.is_initialized()
    ray.shutdown()
    for number in range(2):
        fresh()
        assert ray.is_initialized()
        assert ray.get(ray.put(number)) == number
        ray.shutdown()
        ray.shutdown()
        assert not ray.is_initialized()


@pytest.mark.row("1.16")
@pytest.mark.parametrize("options", [{}, {"wait_for_processes": True}])
def test_shutdown_ends_the_processes_it_started(fresh: Any, options: dict[str, bool]) -> None:
    fresh()

    @ray.remote
    def pid() -> int:
        return os.getpid()

    worker = ray.get(pid.remote())
    assert alive(worker)
    ray.shutdown(**options)
    wait_for(lambda: not alive(worker), what="worker process gone")


@pytest.mark.row("1.16", "1.6")
def test_the_same_remote_function_and_class_work_in_the_next_session(fresh: Any) -> None:
    @ray.remote
    def one() -> int:
        return 1

    @ray.remote
    class Two:
        def get(self) -> int:
            return 2

    for _ in range(2):
        fresh()
        assert ray.get([one.remote(), Two.remote().get.remote()]) == [1, 2]
        ray.shutdown()


@pytest.mark.row("1.16")
def test_exit_without_shutdown_is_clean(run_script: Any) -> None:
    result = run_script(f"""
        import ray
        import os
        {INIT})

        @ray.remote
        def pid():
            return os.getpid()

        print(ray.get(pid.remote()))
        """).ok()
    wait_for(lambda: not alive(int(result.stdout)), what="worker process gone")
    assert "Traceback" not in result.stderr


@pytest.mark.row("1.17")
def test_is_initialized_never_connects(fresh: Any) -> None:
    assert ray.is_initialized() is False
    assert ray.is_initialized() is False


@pytest.mark.row("1.1", "8.85", "3.56")
def test_first_use_starts_a_cluster_unless_forbidden(run_script: Any, private_tmp: dict[str, str]) -> None:
    script = """
        import ray
        try:
            print(ray.get(ray.put(5)), ray.is_initialized())
        except ray.exceptions.RaySystemError:
            print("refused", ray.is_initialized())
        """
    assert run_script(script, env=private_tmp).ok().stdout == "5 True\n"
    never = private_tmp | {"RAY_ENABLE_AUTO_CONNECT": "0"}
    if IS_LINCKIA:
        never["LINCKIA_ENABLE_AUTO_CONNECT"] = "0"
    assert run_script(script, env=never).ok().stdout == "refused False\n"


@pytest.mark.row("1.1", "3.56")
@pytest.mark.parametrize("name", ["nodes", "cluster_resources", "available_resources"])
def test_cluster_questions_need_a_connection(fresh: Any, name: str) -> None:
    with pytest.raises(exceptions.RaySystemError):
        getattr(ray, name)()


@pytest.mark.row("1.38")
def test_timeline_needs_a_connection(fresh: Any) -> None:
    with pytest.raises(RuntimeError):
        ray.timeline()


@pytest.mark.row("1.2")
@better("Ray starts a cluster before it looks at the options")
def test_a_refused_init_leaves_nothing_behind(fresh: Any) -> None:
    with open(f"/proc/self/task/{os.getpid()}/children") as children:
        before = children.read()
    with pytest.raises(ValueError, match="namespace"):
        fresh(namespace="")
    with open(f"/proc/self/task/{os.getpid()}/children") as children:
        assert children.read() == before
