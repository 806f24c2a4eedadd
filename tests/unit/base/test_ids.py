"""Ids: Ray's sizes, layout and methods."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import pytest

from linckia.base.ids import (
    ActorClassID,
    ActorID,
    BaseID,
    ClusterID,
    FunctionID,
    JobID,
    NodeID,
    ObjectID,
    PlacementGroupID,
    RandomID,
    TaskID,
    UniqueID,
    WorkerID,
)
from linckia.host import entropy

SIZES = [
    (JobID, 4),
    (ActorID, 16),
    (TaskID, 24),
    (ObjectID, 28),
    (PlacementGroupID, 18),
    (UniqueID, 28),
    (NodeID, 28),
    (WorkerID, 28),
    (FunctionID, 28),
    (ClusterID, 28),
    (ActorClassID, 28),
]
KINDS = [kind for kind, _ in SIZES]


def counting_bytes(size: int) -> bytes:
    return bytes(range(size))


@pytest.mark.row("1.50")
@pytest.mark.parametrize(("kind", "size"), SIZES)
def test_each_kind_has_rays_size(kind: type[BaseID], size: int) -> None:
    assert kind.size() == size
    assert len(kind.nil().binary()) == size
    assert len(kind.nil().hex()) == 2 * size


@pytest.mark.row("1.50")
@pytest.mark.parametrize("kind", KINDS)
def test_binary_and_hex_round_trip(kind: type[BaseID]) -> None:
    some = kind(counting_bytes(kind.size()))
    assert kind.from_binary(some.binary()) == some
    assert kind.from_hex(some.hex()) == some
    assert pickle.loads(pickle.dumps(some)) == some
    assert copy.deepcopy(some) is some
    assert repr(some) == f"{kind.__name__}({some.hex()})"


@pytest.mark.parametrize("kind", KINDS)
def test_nil_is_nil_and_nothing_else_is(kind: type[BaseID]) -> None:
    assert kind.nil().is_nil()
    assert not kind(b"\xff" * (kind.size() - 1) + b"\0").is_nil()


def test_kinds_of_one_size_are_never_equal_nor_ordered() -> None:
    binary = counting_bytes(28)
    assert NodeID(binary) != WorkerID(binary)
    assert NodeID(binary) != binary
    assert len({NodeID(binary), WorkerID(binary), NodeID(binary)}) == 2
    with pytest.raises(TypeError, match="not supported between"):
        assert NodeID(binary) < WorkerID(binary)  # type: ignore[operator]


def test_order_is_the_order_of_the_bytes() -> None:
    low, high = JobID(b"\0\0\0\1"), JobID(b"\1\0\0\0")
    assert sorted([high, low]) == [low, high]
    assert low < high
    assert low <= low
    assert high > low
    assert high >= high


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_input_is_refused_with_the_kind_and_the_size(kind: type[BaseID]) -> None:
    with pytest.raises(ValueError, match=rf"^{kind.__name__} needs {kind.size()} bytes, got 3$"):
        kind(b"abc")
    with pytest.raises(TypeError, match=rf"^{kind.__name__} needs bytes, got str$"):
        kind("abc")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=rf"^{kind.__name__} needs {2 * kind.size()} hexadecimal digits, got 'zz'$"):
        kind.from_hex("zz")


def test_an_id_cannot_be_changed() -> None:
    some = JobID.from_int(1)
    with pytest.raises(AttributeError, match="immutable"):
        some._binary = b"\0\0\0\2"
    with pytest.raises(AttributeError, match="immutable"):
        del some._binary
    with pytest.raises(AttributeError, match="immutable"):
        some.note = "x"


@pytest.mark.row("1.44")
def test_an_object_id_tells_its_task_actor_and_job() -> None:
    job = JobID.from_int(7)
    actor = ActorID.of(job, b"a" * 12)
    task = TaskID.of(actor, b"t" * 8)
    made = ObjectID.of(task, 258)
    assert made.binary() == b"t" * 8 + b"a" * 12 + b"\7\0\0\0" + b"\2\1\0\0"
    assert made.task_id() == task
    assert made.index() == 258
    assert made.job_id() == task.job_id() == actor.job_id() == job
    assert task.actor_id() == actor
    assert job.int() == 7


def test_a_normal_task_has_the_jobs_nil_actor() -> None:
    job = JobID.from_int(7)
    task = TaskID.for_normal_task(job, b"t" * 8)
    assert task.actor_id() == ActorID.nil_from_job(job)
    assert task.job_id() == job
    assert TaskID.for_driver(job).actor_id() == ActorID.nil_from_job(job)
    assert TaskID.for_actor_creation(ActorID.of(job, b"a" * 12)).actor_id() == ActorID.of(job, b"a" * 12)


def test_a_placement_group_tells_its_job() -> None:
    assert PlacementGroupID.of(JobID.from_int(3), b"p" * 14).job_id() == JobID.from_int(3)


@pytest.mark.parametrize("index", [-1, 2**32])
def test_an_object_index_outside_four_bytes_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match=f"got {index}$"):
        ObjectID.of(TaskID.nil(), index)


@pytest.mark.row("1.50")
def test_from_random_exists_where_ray_has_it() -> None:
    random_kinds = {kind for kind in KINDS if hasattr(kind, "from_random")}
    assert set(KINDS) - random_kinds == {JobID, TaskID}


def test_from_random_takes_its_bytes_from_the_caller() -> None:
    assert NodeID.from_random(counting_bytes).binary() == counting_bytes(28)


def test_from_random_uses_the_hosts_entropy() -> None:
    assert RandomID.entropy is entropy.random_bytes
    assert NodeID.from_random() != NodeID.from_random()


def test_from_random_without_a_source_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RandomID, "entropy", None)
    with pytest.raises(RuntimeError, match=r"^NodeID\.from_random\(\) has no entropy: pass a source"):
        NodeID.from_random()


def test_ids_are_light() -> None:
    heavy = "{'dataclasses', 'inspect', 'asyncio', 'numpy', 'msgspec', 'random'}"
    # A bare package in place of `linckia`, whose own imports are not the subject.
    bare = "package = types.ModuleType('linckia'); package.__path__ = ['src/linckia']; sys.modules['linckia'] = package"
    code = f"import sys, types; {bare}; import linckia.base.ids; print({heavy} & set(sys.modules))"
    seen = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout == "set()\n"
    assert not any(hasattr(kind.nil(), "__dict__") for kind in KINDS)
