"""Programs written for Ray, run unchanged: on Ray as they are, on Linckia through `linckia.as_ray`."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from engine import IS_LINCKIA

pytestmark = pytest.mark.row("1.53")

# The fixture would replace a plain `import ray` line; these programs must keep theirs.
FIRST = "import linckia.as_ray\n" if IS_LINCKIA else ""
IMPORT = "import ray  # as the user wrote it\n"
INIT = 'ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)\n'


def test_tasks_actors_and_errors(run_script: Any) -> None:
    result = run_script(
        FIRST
        + IMPORT
        + INIT
        + textwrap.dedent(
            """
            import ray.exceptions
            from ray.exceptions import RayActorError, RayTaskError
            from ray.util import ActorPool
            from ray.util.queue import Empty, Queue

            @ray.remote
            def square(x):
                return x * x

            @ray.remote(num_cpus=0)
            class Counter:
                def __init__(self):
                    self.n = 0
                def add(self, k=1):
                    self.n += k
                    return self.n

            @ray.remote
            def fail():
                raise KeyError("inside")

            assert ray.get([square.remote(i) for i in range(5)]) == [0, 1, 4, 9, 16]
            counter = Counter.remote()
            assert isinstance(counter, ray.actor.ActorHandle)
            assert ray.get([counter.add.remote() for _ in range(3)]) == [1, 2, 3]
            try:
                ray.get(fail.remote())
            except RayTaskError as error:
                assert isinstance(error, KeyError)
                assert isinstance(error, ray.exceptions.RayTaskError)
            assert list(ActorPool([counter]).map(lambda a, v: a.add.remote(v), [1, 1])) == [4, 5]
            queue = Queue(maxsize=1)
            queue.put(square)
            assert ray.get(queue.get().remote(3)) == 9
            try:
                queue.get(block=False)
            except Empty:
                print("empty as expected")
            assert ray.is_initialized() and ray.__version__ == "2.60.0"
            ray.shutdown()
            """
        )
    ).ok()
    assert "empty as expected" in result.stdout


def test_workers_import_ray_too(run_script: Any) -> None:
    """Globals named `ray`, imports inside functions, errors and handles made in workers."""
    run_script(
        FIRST
        + IMPORT
        + INIT
        + textwrap.dedent(
            """
            @ray.remote
            def nested(depth):
                import ray as inner
                from ray.exceptions import GetTimeoutError
                assert inner is ray, (inner, ray)
                assert inner.__version__ == "2.60.0"
                if depth:
                    return ray.get(nested.options(num_cpus=0).remote(depth - 1)) + 1
                raise GetTimeoutError("made in a worker")

            @ray.remote(num_cpus=0)
            class Worker:
                def context(self):
                    return ray.get_runtime_context().get_actor_id()
                def ask(self):
                    import ray.util.queue
                    return type(ray.util.queue.Queue(1)).__module__

            try:
                ray.get(nested.remote(2))
            except ray.exceptions.GetTimeoutError as error:
                assert "made in a worker" in str(error)
            else:
                raise AssertionError("no error")
            worker = Worker.remote()
            assert ray.get(worker.context.remote()) == worker._actor_id.hex()
            assert ray.get(worker.ask.remote()).endswith(".util.queue")
            ray.shutdown()
            """
        )
    ).ok()


@pytest.mark.skipif(not IS_LINCKIA, reason="Linckia's own way to run a Ray program")
def test_running_a_script_as_ray(run_script: Any, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent(
            """
            import ray

            @ray.remote
            def absolute(n):
                import ray
                return abs(n), ray.__version__

            ray.init(address="local", num_cpus=1)
            print(ray.get(absolute.remote(-5)))
            ray.shutdown()
            """
        )
    )
    result = run_script(
        f"""
        import subprocess
        print(subprocess.run([{sys.executable!r}, "-m", "linckia.as_ray", {str(script)!r}], check=True))
        """
    ).ok()
    assert "(5, '2.60.0')" in result.stdout
