"""`import ray` after `import linckia.as_ray`: same objects, never real Ray, sentences for what is missing.

Each test is a program of its own, because importing is what is tested.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.row("1.53")
Program = Callable[..., str]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Runs a program with an imposter named ray on its path; returns what it prints."""
    imposter = tmp_path / "imposter" / "ray"
    (imposter / "data").mkdir(parents=True)
    (imposter / "__init__.py").write_text("print('the real ray was imported')\n__version__ = 'real'\n")
    (imposter / "data" / "__init__.py").write_text("print('the real ray.data was imported')\n")

    def run(source: str, *arguments: str, **variables: str) -> str:
        src = Path(__file__).resolve().parents[3] / "src"
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "LINCKIA_"))}
        environment |= {"PYTHONPATH": f"{imposter.parent}{os.pathsep}{src}", **variables}
        command = arguments or ("-c", textwrap.dedent(source))
        done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_imposter_is_found_without_us(program: Program) -> None:
    assert "the real ray was imported" in program("import ray")


def test_names_are_the_same_objects(program: Program) -> None:
    printed = program(
        """
        import linckia.as_ray
        import linckia, linckia.util.queue
        import ray, ray.actor, ray.cloudpickle, ray.exceptions, ray.experimental.tqdm_ray, ray.remote_function
        import ray.runtime_context, ray.util, ray.util.helpers, ray.util.multiprocessing.pool, ray.util.queue
        from ray import ObjectRef
        from ray._raylet import ObjectRefGenerator
        from ray.exceptions import RayTaskError
        from ray.util.queue import Queue
        from ray.cloudpickle.cloudpickle import CloudPickler
        from ray.dag import InputNode, MultiOutputNode
        import ray.types

        assert ray.get is linckia.get and ray.remote is linckia.remote and ray.init is linckia.init
        assert ray.ObjectRef is linckia.ObjectRef is ObjectRef is ray.types.ObjectRef
        assert ray.ObjectRefGenerator is ObjectRefGenerator is linckia.ObjectRefGenerator
        assert ray.exceptions is linckia.exceptions and RayTaskError is linckia.exceptions.RayTaskError
        assert ray.util is linckia.util and Queue is linckia.util.queue.Queue
        assert ray.actor is linckia.actor and ray.cloudpickle is linckia.cloudpickle
        assert ray.util.helpers.as_completed is linckia.util.as_completed
        assert ray.__version__ == "2.60.0"
        assert "ray" in ray.__doc__.lower()
        """
    )
    assert printed == ""


def test_attributes_load_their_modules(program: Program) -> None:
    program(
        """
        import linckia.as_ray, ray
        assert issubclass(ray.exceptions.RayTaskError, ray.exceptions.RayError)
        assert callable(ray.util.ActorPool)
        assert ray.util.queue.Queue
        assert ray.cloudpickle.loads(ray.cloudpickle.dumps(5)) == 5
        """
    )


def test_modules_of_linckia_are_left_as_they_were(program: Program) -> None:
    program(
        """
        import linckia.as_ray
        import ray.util.queue, ray.exceptions, linckia.util.queue, linckia.exceptions
        for module in (linckia.util, linckia.util.queue, linckia.exceptions):
            assert module.__name__.startswith("linckia.")
            assert module.__spec__.name == module.__name__
        """
    )


def test_a_function_and_a_module_of_the_same_name(program: Program) -> None:
    program(
        """
        import linckia.as_ray
        from ray.util.placement_group import PlacementGroup
        from ray.util import placement_group
        import ray, types
        assert isinstance(placement_group, types.FunctionType)
        assert ray.util.placement_group is placement_group
        """
    )


def test_star_import_and_dir(program: Program) -> None:
    program(
        """
        import linckia.as_ray
        from ray import *
        assert callable(get) and callable(remote) and ObjectRef
        import ray
        listed = dir(ray)
        assert {"get", "put", "util", "exceptions", "__version__"} <= set(listed)
        assert all(hasattr(ray, name) for name in listed)
        """
    )


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("import ray.data", "ray.data is not in Linckia: "),
        ("import ray.data.context", "ray.data is not in Linckia: "),
        ("from ray import data", "ray.data is not in Linckia: "),
        ("from ray import tune, train", "ray.tune is not in Linckia: "),
        ("from ray.rllib.algorithms import ppo", "ray.rllib is not in Linckia: "),
        ("import ray._private.worker", "ray._private is not in Linckia: it is private to Ray"),
        ("from ray._private import worker", "ray._private is not in Linckia: it is private to Ray"),
        ("from ray.dashboard import sdk", "ray.dashboard is not in Linckia: "),
        ("import ray.util.collective", "ray.util.collective is not in Linckia: use torch.distributed"),
        ("from ray.util import collective", "ray.util.collective is not in Linckia: use torch.distributed"),
        ("from ray.experimental import internal_kv", "ray.experimental.internal_kv is not in Linckia: keep"),
        ("import ray.no_such_module", "ray.no_such_module is not in Linckia"),
        ("from ray import no_such_name", "ray.no_such_name is not in Linckia"),
    ],
)
def test_missing_modules_say_so(program: Program, statement: str, sentence: str) -> None:
    printed = program(
        f"""
        import linckia.as_ray
        try:
            {statement}
        except ModuleNotFoundError as error:
            print(error, "|", error.name)
        """
    )
    assert printed.startswith(sentence)
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("ray.data", "ray.data is not in Linckia: "),
        ("ray.worker", "ray.worker is not in Linckia: it is private to Ray"),
        ("ray.cpp_function", "ray.cpp_function is not in Linckia: Linckia runs Python only"),
        ("ray.client_builder", "ray.client_builder is not in Linckia: call ray.init(address=...)"),
        ("ray.no_such_name", "ray.no_such_name is not in Linckia"),
        ("ray.util.collective", "linckia.util.collective is not in this version of Linckia: use torch.distributed"),
        ("ray._raylet.CoreWorker", "ray._raylet.CoreWorker is not in Linckia"),
    ],
)
def test_missing_attributes_say_so(program: Program, expression: str, sentence: str) -> None:
    printed = program(
        f"""
        import linckia.as_ray, ray
        assert not hasattr(ray, "no_such_name")
        try:
            {expression}
        except AttributeError as error:
            print(error)
        """
    )
    assert printed.startswith(sentence)


def test_asking_whether_a_module_exists_is_no_error(program: Program) -> None:
    printed = program(
        """
        import linckia.as_ray
        from importlib.util import find_spec
        for name in ("ray", "ray.util.queue", "ray.exceptions", "ray.data", "ray.tune", "ray.util.collective"):
            print(find_spec(name) is not None)
        """
    )
    assert printed.split() == ["True", "True", "True", "False", "False", "False"]


def test_real_ray_that_is_already_there_is_refused(program: Program) -> None:
    printed = program(
        """
        import ray
        try:
            import linckia.as_ray
        except ImportError as error:
            print(error)
        """
    )
    assert "imposter/ray/__init__.py" in printed
    assert "import linckia.as_ray before anything that imports ray" in printed


def test_install_and_uninstall(program: Program) -> None:
    printed = program(
        """
        from linckia import as_ray
        as_ray.install()
        assert as_ray.is_installed()
        import ray, ray.util.queue
        as_ray.uninstall()
        assert not as_ray.is_installed()
        as_ray.uninstall()
        import ray
        print(ray.__version__)
        """
    )
    assert printed.split("\n")[:2] == ["the real ray was imported", "real"]


def test_ray_travels_by_name(program: Program) -> None:
    program(
        """
        import pickle
        import linckia.as_ray, ray, ray.util.queue, ray._raylet
        from ray import cloudpickle
        for module in (ray, ray.util, ray.util.queue, ray._raylet):
            assert cloudpickle.loads(cloudpickle.dumps(module)) is module
        def uses_ray():
            return ray.__version__
        blob = cloudpickle.dumps(uses_ray)
        assert cloudpickle.loads(blob)() == "2.60.0"
        assert len(blob) < 2000
        error = pickle.loads(pickle.dumps(ray.exceptions.GetTimeoutError("late")))
        assert type(error) is ray.exceptions.GetTimeoutError
        """
    )


def test_settings_of_ray_are_adopted_where_ours_are_absent(program: Program) -> None:
    source = """
        import os
        import linckia.as_ray
        print(os.environ.get("LINCKIA_ADDRESS"), os.environ.get("LINCKIA_TMPDIR"), os.environ.get("LINCKIA_NONSENSE"))
        """
    assert program(source).split() == ["None", "None", "None"]
    assert program(
        source, RAY_ADDRESS="a:1", RAY_TMPDIR="/theirs", LINCKIA_TMPDIR="/ours", RAY_NONSENSE="x"
    ).split() == ["a:1", "/ours", "None"]


def test_scripts_run_unchanged(program: Program, tmp_path: Path) -> None:
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "beside.py").write_text("HERE = True\n")
    (folder / "script.py").write_text(
        "import sys, beside, ray\nprint(__name__, sys.argv[1:], beside.HERE, ray.__version__)\n"
    )
    printed = program("", "-m", "linckia.as_ray", str(folder / "script.py"), "one", "--two")
    assert printed == "__main__ ['one', '--two'] True 2.60.0\n"


def test_importing_it_is_cheap(program: Program) -> None:
    printed = program(
        """
        import linckia, sys, time
        before = set(sys.modules)
        start = time.perf_counter()
        import linckia.as_ray, ray
        assert time.perf_counter() - start < 0.5
        print(sorted({name.split(".")[0] for name in set(sys.modules) - before} - {"linckia", "ray"}))
        """
    )
    assert not {"numpy", "asyncio", "cloudpickle", "msgspec"} & set(eval(printed))
