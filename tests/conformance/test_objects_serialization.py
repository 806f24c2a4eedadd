"""What can travel: classes, closures, shared references, buffers, custom serializers, functions that are too large."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import os
import threading
from typing import Any, NamedTuple

import numpy as np
import pytest
from engine import better, exceptions, module, ray, settings

pytestmark = pytest.mark.usefixtures("cluster")


@ray.remote
def echo(value: Any) -> Any:
    return value


class Colour(enum.Enum):
    RED = 1


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Record:
    name: str
    values: list[int] = dataclasses.field(default_factory=list)


class Handle:
    """Not picklable: holds a lock."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.lock = threading.Lock()


@pytest.mark.row("3.11")
@pytest.mark.parametrize(
    "value",
    [
        Colour.RED,
        Point(1, 2),
        Record("r", [1]),
        datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC),
        decimal.Decimal("1.10"),
        collections.OrderedDict(b=1, a=2),
        collections.Counter("hello"),
        collections.deque([1, 2], maxlen=5),
        frozenset({1}),
        Record,
        ValueError("an exception as a value"),
        float("inf"),
        2**200,
        "snowman \u2603 \U0001f600",
        {1: {2: {3: []}}},
        [None, True, 1.5, b"x"],
        slice(1, 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_keep_type_and_content(value: Any) -> None:
    for result in (ray.get(ray.put(value)), ray.get(echo.remote(value)), ray.get(echo.remote(ray.put(value)))):
        assert type(result) is type(value)
        assert result == value or str(result) == str(value)


@pytest.mark.row("3.11")
def test_functions_lambdas_and_classes_travel() -> None:
    offset = 10

    class Local:
        def add(self, number: int) -> int:
            return number + offset

    assert ray.get(echo.remote(lambda number: number + offset))(1) == 11
    assert ray.get(echo.remote(Local))().add(1) == 11
    assert ray.get(echo.remote(Local())).add(2) == 12


@pytest.mark.row("3.11")
def test_an_exception_value_is_returned_and_not_raised() -> None:
    result = ray.get(echo.remote(ValueError("just a value")))
    assert isinstance(result, ValueError)
    assert result.args == ("just a value",)


@pytest.mark.row("3.11")
def test_shared_and_cyclic_structure_is_kept() -> None:
    shared = Record("shared")
    first, second = ray.get(echo.remote([shared, shared]))
    assert first is second
    cycle: list[Any] = []
    cycle.append(cycle)
    result = ray.get(ray.put(cycle))
    assert result[0] is result


@pytest.mark.row("3.11")
@better("Ray turns bytearrays into bytes and loses identity inside lists of primitives")
def test_types_and_identity_of_primitives_are_kept() -> None:
    assert type(ray.get(echo.remote(bytearray(b"x")))) is bytearray
    assert type(ray.get(echo.remote([bytearray(b"x")]))[0]) is bytearray
    inner = [1]
    first, second = ray.get(echo.remote([inner, inner]))
    assert first is second


@pytest.mark.row("3.11")
def test_deeply_nested_values() -> None:
    value: list[Any] = []
    for _ in range(200):
        value = [value]
    assert ray.get(echo.remote(value)) == value


@pytest.mark.row("3.11")
def test_state_hooks_of_a_class_are_respected() -> None:
    class Hooked:
        def __init__(self) -> None:
            self.value = 1

        def __getstate__(self) -> dict[str, int]:
            return {"value": self.value + 1}

        def __setstate__(self, state: dict[str, int]) -> None:
            self.value = state["value"] * 10

    assert ray.get(ray.put(Hooked())).value == 20


@ray.remote
def number_of(handle: Any) -> int:
    number: int = handle.number
    return number


@pytest.mark.row("3.11")
def test_a_custom_serializer_makes_a_class_travel() -> None:
    util = module("util")
    with pytest.raises(TypeError):
        ray.put(Handle(1))
    util.register_serializer(Handle, serializer=lambda handle: handle.number, deserializer=Handle)
    try:
        assert ray.get(ray.put(Handle(7))).number == 7
        assert ray.get(number_of.remote(Handle(8))) == 8
        assert ray.get(number_of.remote(ray.put(Handle(9)))) == 9
    finally:
        util.deregister_serializer(Handle)
    with pytest.raises(TypeError):
        ray.put(Handle(1))


@pytest.mark.row("3.11", "1.27")
def test_an_unserializable_argument_is_refused_in_the_caller() -> None:
    with pytest.raises(TypeError, match="(?i)lock"):
        echo.remote(threading.Lock())


@pytest.mark.row("3.11")
def test_an_unserializable_closure_is_refused_in_the_caller() -> None:
    lock = threading.Lock()

    @ray.remote
    def locked() -> None:
        lock.acquire()

    with pytest.raises(TypeError, match="(?i)lock"):
        locked.remote()


@pytest.mark.row("3.11", "3.27")
def test_an_unserializable_result_fails_the_task() -> None:
    @ray.remote
    def returns() -> Any:
        return threading.Lock()

    with pytest.raises(TypeError, match="(?i)lock") as caught:
        ray.get(returns.remote())
    assert isinstance(caught.value, exceptions.RayTaskError)


@pytest.mark.row("3.11")
def test_buffers_of_many_arrays_in_one_value() -> None:
    value = {name: np.full((100, 1000), name, dtype=np.float64) for name in range(10)}
    result = ray.get(echo.remote(value))
    assert all((result[name] == name).all() for name in range(10))
    assert not any(array.flags.writeable for array in result.values())


@pytest.mark.row("3.12")
def test_a_function_beyond_the_limit_is_refused_at_the_first_call(run_script: Any) -> None:
    script = """
        import ray
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
        data = b"x" * 12_000_000

        @ray.remote
        def function():
            return len(data)

        @ray.remote
        class Actor:
            def size(self):
                return len(data)

        for call in (function.remote, lambda: Actor.remote().size.remote()):
            try:
                print(ray.get(call()))
            except ValueError as error:
                print("refused")
        """
    limit = settings(FUNCTION_SIZE_ERROR_THRESHOLD="11000000") | {"FUNCTION_SIZE_ERROR_THRESHOLD": "11000000"}
    assert run_script(script, env=limit).ok().stdout == "refused\nrefused\n"


@pytest.mark.row("3.12")
def test_a_large_function_works_and_is_warned_about(run_script: Any) -> None:
    script = """
        import ray
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
        data = b"x" * 11_000_000

        @ray.remote
        def function():
            return len(data)

        print(ray.get(function.remote()))
        """
    result = run_script(script).ok()
    assert result.stdout.endswith("11000000\n")
    assert "function" in result.stdout + result.stderr
    assert "large" in result.stdout + result.stderr


@pytest.mark.row("3.11")
def test_module_level_state_is_per_process() -> None:
    @ray.remote
    def environment() -> int:
        return os.getpid()

    assert ray.get(environment.remote()) != os.getpid()
