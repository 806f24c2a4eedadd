"""Custom serializers and `inspect_serializability`."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from engine import better, module, ray

pytestmark = pytest.mark.usefixtures("cluster")
util: Any = module("util")

LOCK = threading.Lock()


class Guarded:
    """Cannot be pickled by itself: it holds a lock."""

    def __init__(self, value: int) -> None:
        self.value = value
        self.lock = threading.Lock()


class Derived(Guarded):
    pass


@pytest.fixture
def registered() -> Iterator[None]:
    util.register_serializer(Guarded, serializer=lambda g: g.value, deserializer=lambda value: Guarded(value + 1))
    yield
    util.deregister_serializer(Guarded)


@ray.remote
def value_of(guarded: Any) -> int:
    return int(guarded.value)


@pytest.mark.row("3.11", "11.17")
@pytest.mark.usefixtures("registered")
def test_registered_class_in_put_arguments_and_containers() -> None:
    assert ray.get(ray.put(Guarded(4))).value == 5
    assert [g.value for g in ray.get(ray.put([Guarded(1), Guarded(2)]))] == [2, 3]
    assert ray.get(value_of.remote(Guarded(10))) == 11
    guarded = Guarded(20)
    assert ray.get(ray.remote(lambda: guarded.value).remote()) == 21


@pytest.mark.row("3.11", "11.17")
@pytest.mark.usefixtures("registered")
def test_subclasses_are_not_affected() -> None:
    with pytest.raises(TypeError, match=r"(?i)lock|serializ"):
        ray.put(Derived(1))


@pytest.mark.row("3.11", "11.17")
@pytest.mark.usefixtures("registered")
def test_deregister_restores_and_may_be_repeated() -> None:
    before = ray.put(Guarded(1))
    util.deregister_serializer(Guarded)
    util.deregister_serializer(Guarded)
    with pytest.raises(TypeError, match=r"(?i)lock|serializ"):
        ray.put(Guarded(1))
    assert ray.get(before).value == 2


@pytest.mark.row("11.17")
def test_the_functions_are_keyword_only() -> None:
    with pytest.raises(TypeError):
        util.register_serializer(Guarded, lambda g: g.value, Guarded)


@better("Ray accepts anything and fails later")
@pytest.mark.row("11.17")
def test_wrong_registrations_are_refused_at_once() -> None:
    with pytest.raises(TypeError, match="class"):
        util.register_serializer("Guarded", serializer=str, deserializer=str)
    with pytest.raises(TypeError, match="deserializer"):
        util.register_serializer(Guarded, serializer=str, deserializer=5)


def inspect(value: object, **options: Any) -> tuple[bool, set[Any], str]:
    out = io.StringIO()
    ok, failures = util.inspect_serializability(value, print_file=out, **options)
    return ok, failures, out.getvalue()


def uses_global_lock() -> Any:
    return LOCK


def closes_over_a_lock() -> Callable[[], Any]:
    inner = threading.Lock()
    return lambda: inner


@pytest.mark.row("11.12")
@pytest.mark.parametrize("value", [1, "text", Guarded, inspect, {"a": [1, 2]}], ids=str)
def test_what_can_be_serialized(value: object) -> None:
    ok, failures, _ = inspect(value)
    assert ok
    assert failures == set()


@pytest.mark.row("11.12")
@pytest.mark.parametrize(
    ("value", "path"),
    [
        (uses_global_lock, ("LOCK",)),
        (closes_over_a_lock(), ("inner",)),
        (Guarded(1), ("lock",)),
    ],
    ids=["global", "closure", "attribute"],
)
def test_the_culprit_is_named(value: object, path: tuple[str, ...]) -> None:
    ok, failures, printed = inspect(value)
    assert not ok
    (failure,) = failures
    assert tuple(failure.path) == path
    assert failure.parent is value
    assert isinstance(failure.obj, type(LOCK))
    assert path[-1] in printed
    assert "cannot pickle '_thread.lock' object" in printed


@pytest.mark.row("11.12")
def test_a_given_name_leads_the_path() -> None:
    _, failures, printed = inspect(uses_global_lock, name="job")
    (failure,) = failures
    assert tuple(failure.path) == ("job", "LOCK")
    assert "job" in printed


@pytest.mark.row("11.12")
def test_a_lock_itself() -> None:
    ok, failures, _ = inspect(LOCK)
    assert not ok
    (failure,) = failures
    assert failure.obj is LOCK
    assert failure.parent is None


@pytest.mark.row("11.12")
def test_it_prints_to_standard_output_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    util.inspect_serializability(uses_global_lock)
    assert "LOCK" in capsys.readouterr().out


class Holder:
    def __init__(self) -> None:
        self.parts = {"deep": [Guarded(1)]}
        self.fine = 1


@pytest.mark.row("11.12")
@better("Ray does not look into containers")
def test_it_looks_into_containers_as_deep_as_asked() -> None:
    for value, path in (([1, LOCK], ("1",)), ({"a": LOCK}, ("'a'",)), (Holder(), ("parts", "'deep'", "0"))):
        ok, failures, _ = inspect(value)
        assert not ok
        (failure,) = failures
        assert failure.path == path
    _, failures, printed = inspect(Holder(), depth=4)
    (failure,) = failures
    assert failure.path == ("parts", "'deep'", "0", "lock")
    assert "└─ attribute 'parts'" in printed
    _, failures, _ = inspect(Holder(), depth=0)
    (failure,) = failures
    assert failure.path == ()


@pytest.mark.row("11.12")
@better("Ray knows nothing of registered serializers here")
@pytest.mark.usefixtures("registered")
def test_registered_classes_count_as_serializable() -> None:
    ok, failures, _ = inspect([Guarded(1)])
    assert ok
    assert failures == set()
