"""Joining a running cluster: address forms, what a second driver shares and what it does not, logs on the driver."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from drivers import ScriptRunner, make_private_tmp
from engine import IS_LINCKIA, better, ray, settings

HOLDER = """
import ray
import sys
context = ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, namespace="holder")
print(context.address_info["address"], flush=True)
sys.stdin.readline()
"""


@dataclass(frozen=True)
class Held:
    """A cluster that some other driver started, and the environment that leads to it."""

    address: str
    env: dict[str, str]


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    runner = ScriptRunner(tmp_path_factory.mktemp("holder"))
    with make_private_tmp() as env:
        process = runner.start(HOLDER, env=env)
        assert process.stdout is not None
        assert process.stdin is not None
        address = process.stdout.readline().strip()
        assert address, process.communicate()
        yield Held(address, env | settings(ADDRESS=address, AUTH_MODE="token"))
        process.stdin.write("end\n")
        process.stdin.close()
        process.wait(timeout=60)
        runner.close()


JOIN = """
import ray
import sys
form = None if sys.argv[1] == "None" else sys.argv[1]
options = dict(include_dashboard=False) if form == "local" else {}
context = ray.init(address=form, log_to_driver=False, **options)
print(context.address_info["address"])
"""


@pytest.mark.row("1.1", "8.76")
@pytest.mark.parametrize("form", ["None", "auto"])
def test_the_environment_names_the_cluster(run_script: Any, held: Held, form: str) -> None:
    assert run_script(JOIN, form, env=held.env).ok().stdout.strip() == held.address


@pytest.mark.row("1.1")
def test_host_and_port_connect(run_script: Any, held: Held, private_tmp: dict[str, str]) -> None:
    env = private_tmp | settings(AUTH_MODE="token")
    assert run_script(JOIN, held.address, env=env).ok().stdout.strip() == held.address


@pytest.mark.row("1.1")
@better("Ray scans the process table, and may find a cluster of somebody else")
def test_auto_finds_the_cluster_that_shares_the_temp_dir(run_script: Any, held: Held) -> None:
    env = {name: value for name, value in held.env.items() if name.endswith("TMPDIR")}
    assert run_script(JOIN, "auto", env=env).ok().stdout.strip() == held.address


@pytest.mark.row("1.1")
@better("Ray scans the process table, and may find a cluster of somebody else")
def test_auto_without_a_cluster_is_a_connection_error(run_script: Any, private_tmp: dict[str, str]) -> None:
    result = run_script(JOIN, "auto", env=private_tmp)
    assert result.returncode != 0
    assert "ConnectionError" in result.stderr


@pytest.mark.row("1.1")
@pytest.mark.skipif(IS_LINCKIA, reason="Linckia's own marker file is written by `linckia start`, tested with it")
def test_the_marker_file_of_the_temp_dir_names_the_cluster(
    run_script: Any, held: Held, private_tmp: dict[str, str]
) -> None:
    marker = Path(private_tmp["RAY_TMPDIR"], "ray", "ray_current_cluster")
    marker.parent.mkdir()
    marker.write_text(held.address)
    env = private_tmp | settings(AUTH_MODE="token")
    assert run_script(JOIN, "None", env=env).ok().stdout.strip() == held.address


@pytest.mark.row("1.1")
def test_without_address_a_new_cluster_is_started(run_script: Any, held: Held, private_tmp: dict[str, str]) -> None:
    address = run_script(JOIN, "None", env=private_tmp).ok().stdout.strip()
    assert address
    assert address != held.address


@pytest.mark.row("1.1")
def test_local_is_always_a_new_cluster(run_script: Any, held: Held) -> None:
    address = run_script(JOIN, "local", env=held.env).ok().stdout.strip()
    assert address
    assert address != held.address


@pytest.mark.row("1.2")
def test_node_options_are_refused_when_joining(run_script: Any, held: Held) -> None:
    script = """
        import ray
        for option in ({"num_cpus": 1}, {"num_gpus": 1}, {"resources": {"a": 1}}, {"labels": {"a": "b"}},
                       {"object_store_memory": 10**9}, {"_system_config": {"a": 1}}, {"_node_name": "x"}):
            (name,) = option
            try:
                ray.init(address="auto", **option)
                print(name, "accepted")
            except ValueError as error:
                print(name, name in str(error))
        """
    lines = run_script(script, env=held.env).ok().stdout.splitlines()
    assert len(lines) == 7
    assert [line for line in lines if not line.endswith(" True")] == []


@pytest.mark.row("1.6", "14.23")
def test_two_drivers_do_not_see_each_others_names(run_script: Any, held: Held) -> None:
    create = """
        import ray
        import sys
        namespace = None if sys.argv[1] == "None" else sys.argv[1]
        ray.init(address="auto", namespace=namespace, log_to_driver=False)

        @ray.remote
        class Named:
            pass

        ray.get(Named.options(name="the name", lifetime="detached").remote().__ray_ready__.remote())
        """
    find = """
        import ray
        import sys
        namespace = None if sys.argv[1] == "None" else sys.argv[1]
        ray.init(address="auto", namespace=namespace, log_to_driver=False)
        try:
            ray.kill(ray.get_actor("the name"))
            print("found")
        except ValueError:
            print("unknown")
        """
    run_script(create, "None", env=held.env).ok()
    assert run_script(find, "None", env=held.env).ok().stdout == "unknown\n"
    run_script(create, "shared", env=held.env).ok()
    assert run_script(find, "shared", env=held.env).ok().stdout == "found\n"


@pytest.mark.row("1.10", "2.33")
def test_a_job_may_make_its_actors_detached(run_script: Any, held: Held) -> None:
    create = """
        import ray
        import sys
        from importlib import import_module
        JobConfig = import_module(ray.__name__ + ".job_config").JobConfig
        config = JobConfig(default_actor_lifetime=sys.argv[1], ray_namespace="lifetimes")
        ray.init(address="auto", job_config=config, log_to_driver=False)

        @ray.remote
        class Named:
            pass

        ray.get(Named.options(name=sys.argv[1]).remote().__ray_ready__.remote())
        """
    look = """
        import ray
        ray.init(address="auto", namespace="lifetimes", log_to_driver=False)
        for name in ("detached", "non_detached"):
            try:
                ray.get(ray.get_actor(name).__ray_ready__.remote())
                print(name, "lives")
            except (ValueError, ray.exceptions.RayActorError):
                print(name, "is gone")
        """
    run_script(create, "detached", env=held.env).ok()
    run_script(create, "non_detached", env=held.env).ok()
    assert run_script(look, env=held.env).ok().stdout == "detached lives\nnon_detached is gone\n"


@pytest.mark.row("1.16")
def test_a_cluster_outlives_the_shutdown_of_a_joined_driver(run_script: Any, held: Held) -> None:
    script = """
        import ray
        seen = []
        for _ in range(2):
            ray.init(address="auto", log_to_driver=False)
            seen.append(ray.get_runtime_context().get_node_id())
            ray.shutdown()
        print(len(set(seen)))
        """
    assert run_script(script, env=held.env).ok().stdout == "1\n"


@pytest.mark.row("1.40")
def test_each_driver_is_a_job_of_its_own(run_script: Any, held: Held) -> None:
    script = """
        import ray
        ray.init(address="auto", log_to_driver=False)
        print(ray.get_runtime_context().get_job_id())
        """
    first, second = (run_script(script, env=held.env).ok().stdout for _ in range(2))
    assert first != second


def plain(text: str) -> str:
    """Without terminal colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


SPEAK = """
import ray
import sys
ray.init(address="local", num_cpus=1, include_dashboard=False{options})

@ray.remote
def speaker():
    print("said on stdout")
    print("said on stderr", file=sys.stderr)

@ray.remote
class Speaker:
    def speak(self):
        print("said by an actor")

ray.get(speaker.remote())
actor = Speaker.remote()
ray.get(actor.speak.remote())
sys.stdin.readline()
"""


@pytest.mark.row("1.8")
def test_worker_output_reaches_the_driver_with_a_prefix(run_script: Any) -> None:
    script = run_script.start(SPEAK.format(options=""))
    lines = sorted(plain(script.stdout.readline()) for _ in range(2))
    assert re.fullmatch(r"\(Speaker pid=\d+(, ip=[\d.]+)?\) said by an actor\n", lines[0])
    assert re.fullmatch(r"\(speaker pid=\d+(, ip=[\d.]+)?\) said on stdout\n", lines[1])
    stdout, stderr = script.communicate("end\n", timeout=60)
    assert "said" not in plain(stdout)
    assert len(re.findall(r"\(speaker pid=\d+(?:, ip=[\d.]+)?\) said on stderr\n", plain(stderr))) == 1


@pytest.mark.row("1.8")
@pytest.mark.parametrize("way", ["argument", "environment"])
def test_worker_output_can_be_kept_off_the_driver(run_script: Any, way: str) -> None:
    options = ", log_to_driver=False" if way == "argument" else ""
    env = settings(LOG_TO_DRIVER="0") if way == "environment" else {}
    script = run_script.start(SPEAK.format(options=options), env=env)
    stdout, stderr = script.communicate("end\n", timeout=60)
    assert script.returncode == 0, stderr
    assert "said" not in stdout + stderr


@pytest.mark.row("1.8")
def test_json_logging_carries_the_ids(run_script: Any) -> None:
    script = """
        import ray
        import logging
        import sys
        ray.init(address="local", num_cpus=1, include_dashboard=False,
                 logging_config=ray.LoggingConfig(encoding="JSON", log_level="INFO"))

        @ray.remote
        class Logs:
            def log(self):
                logging.getLogger("mine").info("structured")
                context = ray.get_runtime_context()
                return [context.get_job_id(), context.get_task_id(), context.get_actor_id()]

        actor = Logs.remote()
        print(*ray.get(actor.log.remote()), flush=True)
        sys.stdin.readline()
        """
    process = run_script.start(script)
    expected = process.stdout.readline().split()
    line = next(line for line in process.stderr if "structured" in line)
    process.communicate("end\n", timeout=60)
    record = json.loads(plain(line))
    assert [record["job_id"], record["task_id"], record["actor_id"]] == expected
    assert record["message"] == "structured"
    assert record["levelname"] == "INFO"


@pytest.mark.row("1.8")
def test_logging_config_checks_its_fields() -> None:
    with pytest.raises(ValueError, match="encoding|XML"):
        ray.LoggingConfig(encoding="XML")


@pytest.mark.row("1.1")
def test_private_tmp_is_short_enough_for_sockets(private_tmp: dict[str, str]) -> None:
    folder = Path(private_tmp["RAY_TMPDIR"])
    assert folder.is_dir()
    assert len(str(folder)) < 30
    assert ("LINCKIA_TMPDIR" in private_tmp) == IS_LINCKIA
