"""What a driver leaves behind when it ends, and what its workers inherit from it. Tests start driver processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drivers import ScriptRunner
from engine import IS_LINCKIA, exceptions, ray, settings, wait_for
from gates import Channel, Gate
from tools_tasks import is_gone, wait_gone

NewGate = Callable[[], Gate]
NewChannel = Callable[[], Channel]
Init = Callable[..., Any]

# Joins the cluster given as first argument. `gates` is found through PYTHONPATH, which the script runner sets.
JOIN = """
import os, sys, time
import ray
import gates
ray.init(address=sys.argv[1], namespace=sys.argv[2], log_to_driver=False)

def send(path, text):
    writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.write(writer, f"{text}\\n".encode())
    os.close(writer)
"""

LEAVES_WORK_BEHIND = (
    JOIN
    + """
_, _, _, said, gate = sys.argv

@ray.remote(num_cpus=1)
def run(name):
    send(said, f"{name} {os.getpid()}")
    open(gate).close()
    send(said, f"{name} finished")

@ray.remote
class Actor:
    def __init__(self, name):
        send(said, f"{name} {os.getpid()}")
    def ping(self):
        return "pong"

running = [run.remote("task")]
sys.stdin.readline()
queued = [run.options(num_cpus=4).remote("queued") for _ in range(3)]
plain = Actor.options(name="plain").remote("actor")
detached = Actor.options(name="detached", lifetime="detached").remote("detached")
print(ray.get([plain.ping.remote(), detached.ping.remote()]), flush=True)
send(said, "ready 0")
sys.stdin.readline()
"""
)


@pytest.mark.row("4.34", "5.16", "5.15")
@pytest.mark.parametrize("end", ["returns", "is killed"])
def test_only_detached_actors_survive_their_driver(
    fresh: Init, run_script: ScriptRunner, new_channel: NewChannel, tmp_path: Path, end: str
) -> None:
    context = fresh(num_cpus=4, namespace="shared")
    said, fifo = new_channel(), tmp_path / "gate"
    os.mkfifo(fifo)
    script = run_script.start(LEAVES_WORK_BEHIND, context.address_info["address"], "shared", said.path, fifo)
    pids = dict([said.receive(timeout_s=60).split()])
    assert script.stdin is not None
    script.stdin.write("the task runs, queue the others\n")
    script.stdin.flush()
    pids |= dict(line.split() for line in said.receive_many(3, timeout_s=60))
    assert set(pids) == {"task", "actor", "detached", "ready"}
    assert ray.get(ray.get_actor("plain").ping.remote()) == "pong", "visible to other drivers while its own lives"
    if end == "is killed":
        script.kill()
        script.wait()
    else:
        script.communicate("end\n", timeout=60)
    wait_gone(pids["task"])
    wait_gone(pids["actor"])
    wait_for(lambda: ray.available_resources().get("CPU") == 4, what="all CPUs free")

    @ray.remote(num_cpus=4)
    def everything() -> str:
        return "ran"

    assert ray.get(everything.remote()) == "ran"
    assert said.received() == [], "queued tasks of a dead driver never run"
    with pytest.raises(ValueError, match="plain"):
        ray.get_actor("plain")
    detached = ray.get_actor("detached")
    assert ray.get(detached.ping.remote()) == "pong"
    assert not is_gone(pids["detached"])
    ray.kill(detached)
    wait_gone(pids["detached"])


@pytest.mark.row("4.34", "5.17", "14.23")
def test_a_driver_sees_its_own_namespace_only(fresh: Init, run_script: ScriptRunner) -> None:
    context = fresh(namespace="mine")

    @ray.remote
    class Actor:
        def ping(self) -> str:
            return "pong"

    kept = [Actor.options(name="a").remote(), Actor.options(name="b", namespace="theirs").remote()]
    ray.get([actor.ping.remote() for actor in kept])
    script = (
        JOIN
        + """
def outcome(*args):
    try:
        return ray.get(ray.get_actor(*args).ping.remote())
    except ValueError:
        return "not found"
print(outcome("a"), outcome("b"), outcome("a", "mine"), sep=",")
"""
    )
    result = run_script(script, context.address_info["address"], "theirs").ok()
    assert result.stdout.split() == ["not", "found,pong,pong"]
    anonymous = script.replace(", namespace=sys.argv[2]", "")
    result = run_script(anonymous, context.address_info["address"]).ok()
    assert result.stdout.strip() == "not found,not found,pong"


@pytest.mark.row("4.34")
def test_two_drivers_share_the_cpus_and_nothing_else(
    fresh: Init, run_script: ScriptRunner, new_gate: NewGate, new_channel: NewChannel, tmp_path: Path
) -> None:
    context = fresh(num_cpus=1)
    gate, said = new_gate(), new_channel()

    @ray.remote
    def hold() -> int:
        said.send("held 0")
        gate.wait()
        return os.getpid()

    held = hold.remote()
    said.receive()
    script = run_script.start(
        JOIN
        + """
@ray.remote
def run():
    return os.getpid()
ref = run.remote()
send(sys.argv[3], f"submitted {ray.get_runtime_context().get_job_id()}")
print(ray.get(ref))
""",
        context.address_info["address"],
        "other",
        said.path,
    )
    _, job_id = said.receive(timeout_s=60).split()
    assert job_id != ray.get_runtime_context().get_job_id()
    assert script.poll() is None
    gate.open()
    stdout, stderr = script.communicate(timeout=60)
    assert script.returncode == 0, stderr
    assert int(stdout) != ray.get(held), "workers are not shared between jobs"


def processes_marked(mark: str) -> list[str]:
    """Command lines of living processes whose environment, as they were started, contains `mark`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (folder / "environ").read_bytes() and not is_gone(folder.name):
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


@pytest.mark.row("1.13", "4.34", "7.21")
def test_a_killed_driver_of_its_own_cluster_leaves_no_process(
    run_script: ScriptRunner, new_channel: NewChannel
) -> None:
    said = new_channel()
    script = run_script.start(
        """
        import os, sys
        import ray
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)

        path = sys.argv[1]

        @ray.remote
        def run(path):
            writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            os.write(writer, f"{os.getpid()}\\n".encode())
            import time
            time.sleep(600)  # sleep: it is the work that the test interrupts or overlaps

        @ray.remote
        class Actor:
            def __init__(self, path):
                writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
                os.write(writer, f"{os.getpid()}\\n".encode())

        refs = [run.remote(path)]
        actors = [Actor.remote(path)]
        sys.stdin.readline()
        """,
        said.path,
        env={"MARK_OF_THIS_TEST": said.path},
    )
    pids = said.receive_many(2, timeout_s=60)
    os.kill(script.pid, signal.SIGKILL)
    script.wait()
    for pid in pids:
        wait_gone(pid, timeout_s=60)
    wait_for(
        lambda: processes_marked(said.path) == [],
        timeout_s=20 if IS_LINCKIA else 90,
        what="end of every process started for the driver",
    )


@pytest.mark.row("4.32")
def test_tasks_import_from_the_drivers_folder_and_its_working_directory(
    run_script: ScriptRunner, tmp_path: Path
) -> None:
    beside, elsewhere = tmp_path / "script0", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "in_cwd.py").write_text("where = 'cwd'\n")
    source = f"""
        import os
        import ray
        os.chdir({str(elsewhere)!r})
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)

        @ray.remote
        def look():
            import beside_script, in_cwd
            return beside_script.where, in_cwd.where, os.getcwd()

        open(os.path.join({str(beside)!r}, "beside_script.py"), "w").write("where = 'beside'")
        print(ray.get(look.remote()))
        """
    result = run_script(source).ok()
    assert result.stdout.strip() == str(("beside", "cwd", str(elsewhere)))


@pytest.mark.row("4.32")
def test_the_workers_environment_comes_from_the_driver_and_is_not_touched_without_need(
    run_script: ScriptRunner,
) -> None:
    source = """
        import os
        import ray
        ray.init(address="local", num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False)

        @ray.remote
        def look(*names):
            return ",".join(os.environ.get(name, "unset") for name in names)

        print(ray.get(look.remote("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "SOMETHING_OF_MINE")))
        """
    chosen = {"OMP_NUM_THREADS": "7", "CUDA_VISIBLE_DEVICES": "3,5", "SOMETHING_OF_MINE": "kept"}
    assert run_script(source, env=chosen).ok().stdout.strip() == "7,3,5,kept"


@pytest.mark.row("4.32", "1.39")
def test_gpus_are_shown_to_the_task_that_was_given_them(run_script: ScriptRunner) -> None:
    source = """
        import os
        import ray
        ray.init(address="local", num_cpus=4, num_gpus=2, include_dashboard=False, log_to_driver=False)

        @ray.remote(num_gpus=1)
        class Holder:
            def look(self):
                return [os.environ["CUDA_VISIBLE_DEVICES"], [str(number) for number in ray.get_gpu_ids()]]

        @ray.remote
        def without():
            return [os.environ.get("CUDA_VISIBLE_DEVICES"), ray.get_gpu_ids()]

        @ray.remote(num_gpus=2)
        def both():
            return os.environ["CUDA_VISIBLE_DEVICES"]

        holders = [Holder.remote() for _ in range(2)]
        seen = ray.get([holder.look.remote() for holder in holders])
        assert sorted(seen) == [["0", ["0"]], ["1", ["1"]]], seen
        assert ray.get(without.remote()) == [None, []]
        for holder in holders:
            ray.kill(holder)
        print(ray.get(both.remote()))
        """
    env = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    assert run_script(source, env=env).ok().stdout.strip() in ("0,1", "1,0")


@pytest.mark.row("1.8", "5.34", "5.33")
def test_lines_of_workers_reach_the_driver_with_their_origin(run_script: ScriptRunner) -> None:
    source = """
        import os, sys
        import ray
        ray.init(address="local", num_cpus=1, include_dashboard=False)

        @ray.remote
        def talk():
            print("a task speaks")
            return os.getpid()

        @ray.remote
        class Speaker:
            def talk(self):
                print("an actor speaks")
                return os.getpid()

        @ray.remote
        class Named:
            def __repr__(self):
                return "the named one"
            def talk(self):
                print("a named actor speaks")
                return os.getpid()

        speaker, named = Speaker.remote(), Named.remote()
        pids = ray.get([talk.remote(), speaker.talk.remote(), named.talk.remote()])
        print("pids", *pids, flush=True)
        sys.stdin.readline()
        """
    script = run_script.start(source, env=settings(DEDUP_LOGS="0"))
    assert script.stdout is not None
    assert script.stdin is not None
    lines: list[str] = []
    wanted = ("a task speaks", "an actor speaks", "a named actor speaks", "pids")
    for line in script.stdout:
        lines.append(line)
        if all(any(text in seen for seen in lines) for text in wanted):
            break
    script.communicate("end\n", timeout=60)
    task_pid, speaker_pid, named_pid = next(line for line in lines if line.startswith("pids")).split()[1:]

    def line_with(text: str) -> str:
        return next(line for line in lines if text in line)

    assert f"(talk pid={task_pid}" in line_with("a task speaks")
    assert f"(Speaker pid={speaker_pid}" in line_with("an actor speaks")
    assert f"(the named one pid={named_pid}" in line_with("a named actor speaks")


@pytest.mark.row("1.16")
def test_shutdown_ends_the_workers_of_this_driver(fresh: Init, new_channel: NewChannel) -> None:
    pids = new_channel()
    fresh(num_cpus=2)

    @ray.remote
    class Actor:
        def __init__(self) -> None:
            pids.send(os.getpid())

    actor = Actor.remote()
    pid = pids.receive()
    ray.shutdown()
    wait_gone(pid)
    fresh(num_cpus=1)
    with pytest.raises((exceptions.RayActorError, ValueError) if IS_LINCKIA else Exception):
        ray.get(actor.__ray_ready__.remote(), timeout=20)
