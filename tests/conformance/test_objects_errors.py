"""Errors as objects: the exception tree, dual classes, propagation through dependencies, lost objects, dead actors."""

from __future__ import annotations

import os
import pickle
import sys
from typing import Any

import pytest
from engine import IS_LINCKIA, better, error_after_death, exceptions, ray, settings, wait_for

pytestmark = pytest.mark.usefixtures("cluster")

TREE = {
    "RayError": (Exception,),
    "RayTaskError": ("RayError",),
    "RayActorError": ("RayError",),
    "ActorDiedError": ("RayActorError",),
    "ActorUnavailableError": ("RayActorError",),
    "TaskCancelledError": ("RayError",),
    "GetTimeoutError": ("RayError", TimeoutError),
    "ObjectLostError": ("RayError",),
    "OwnerDiedError": ("ObjectLostError",),
    "ObjectFetchTimedOutError": ("ObjectLostError",),
    "ObjectReconstructionFailedError": ("ObjectLostError",),
    "ReferenceCountingAssertionError": ("ObjectLostError", AssertionError),
    "ObjectFreedError": ("ObjectLostError",),
    "ObjectStoreFullError": ("RayError",),
    "OutOfDiskError": ("RayError",),
    "OutOfMemoryError": ("RayError",),
    "WorkerCrashedError": ("RayError",),
    "NodeDiedError": ("RayError",),
    "LocalRayletDiedError": ("RayError",),
    "ActorUnschedulableError": ("RayError",),
    "TaskUnschedulableError": ("RayError",),
    "TaskPlacementGroupRemoved": ("RayError",),
    "ActorPlacementGroupRemoved": ("RayError",),
    "RuntimeEnvSetupError": ("RayError",),
    "PendingCallsLimitExceeded": ("RayError",),
    "RaySystemError": ("RayError",),
    "RpcError": ("RayError",),
    "AuthenticationError": ("RayError",),
    "ActorAlreadyExistsError": ("RayError", ValueError),
    "ActorHandleNotFoundError": ("RayError", ValueError),
    "CrossLanguageError": ("RayError",),
    "UnserializableException": ("RayError",),
    "UserCodeException": ("RayError",),
    "AsyncioActorExit": ("RayError",),
    "PlasmaObjectNotAvailable": ("RayError",),
    "ObjectRefStreamEndOfStreamError": ("RayError",),
    "OufOfBandObjectRefSerializationException": ("RayError",),
    "StreamingGeneratorReplayInconsistentError": ("RaySystemError",),
    "RayChannelError": ("RaySystemError",),
    "RayChannelTimeoutError": ("RayChannelError", TimeoutError),
    "RayCgraphCapacityExceeded": ("RaySystemError",),
    "RayDirectTransportError": ("RaySystemError",),
}


class Custom(Exception):
    """A user's error with a constructor that plain unpickling would break, were it called with the message only."""

    def __init__(self, first: int, second: str) -> None:
        super().__init__(f"{first} {second}")
        self.first = first
        self.second = second

    def __reduce__(self) -> Any:
        return Custom, (self.first, self.second)


class Unloadable(Exception):
    """Pickles, and cannot be unpickled: its constructor wants more than `args` has."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__("only one argument")


@ray.remote
def fails(error: BaseException) -> None:
    raise error


@ray.remote
def consume(value: Any, channel: Any = None) -> Any:
    if channel is not None:
        channel.send("consumed")
    return value


def error_of(ref: Any) -> Any:
    with pytest.raises(Exception) as caught:
        ray.get(ref)
    return caught.value


@pytest.mark.row("3.26", "3.33", "3.34", "3.38", "3.39", "3.50", "3.57", "3.58", "3.62", "3.63", "3.64")
@pytest.mark.parametrize("name", TREE)
def test_the_exception_tree(name: str) -> None:
    kind = getattr(exceptions, name)
    for base in TREE[name]:
        assert issubclass(kind, getattr(exceptions, base) if isinstance(base, str) else base)


@pytest.mark.row("3.26")
def test_ray_error_travels_as_bytes() -> None:
    error = exceptions.TaskCancelledError(error_message="stopped")
    copy = exceptions.RayError.from_bytes(error.to_bytes())
    assert type(copy) is exceptions.TaskCancelledError
    assert "stopped" in str(copy)


@pytest.mark.row("3.27", "14.4")
@pytest.mark.parametrize("kind", [ValueError, KeyError, OSError, Custom, AssertionError, StopIteration, TimeoutError])
def test_a_users_error_is_both_classes(kind: type[Exception]) -> None:
    original = Custom(1, "two") if kind is Custom else kind("reason")
    error = error_of(fails.remote(original))
    assert isinstance(error, kind)
    assert isinstance(error, exceptions.RayTaskError)
    assert isinstance(error.cause, kind)
    assert error.args == (error.cause,)
    assert type(error).__name__ == f"RayTaskError({kind.__name__})"


@pytest.mark.row("3.27")
def test_attributes_of_the_cause_are_reachable() -> None:
    error = error_of(fails.remote(Custom(1, "two")))
    assert (error.first, error.second) == (1, "two")
    assert (error.cause.first, error.cause.second) == (1, "two")


@pytest.mark.row("3.27")
def test_the_text_shows_where_the_error_came_from() -> None:
    @ray.remote
    def named_in_traceback() -> None:
        raise ValueError("the reason")

    text = str(error_of(named_in_traceback.remote()))
    assert "named_in_traceback" in text
    assert "the reason" in text
    assert "ValueError" in text
    assert "pid=" in text
    assert 'raise ValueError("the reason")' in text


@pytest.mark.row("3.27")
def test_the_text_of_an_actor_error_names_the_actor() -> None:
    @ray.remote
    class Breaks:
        def method(self) -> None:
            raise ValueError("inside")

        def __repr__(self) -> str:
            return "Breaks-with-own-repr"

    actor = Breaks.remote()
    text = str(error_of(actor.method.remote()))
    assert "Breaks.method" in text
    assert actor._actor_id.hex() in text
    assert "Breaks-with-own-repr" in text


@pytest.mark.row("3.27")
def test_the_error_is_picklable() -> None:
    error = error_of(fails.remote(Custom(1, "two")))
    copy = ray.cloudpickle.loads(ray.cloudpickle.dumps(error))
    assert isinstance(copy, Custom)
    assert isinstance(copy, exceptions.RayTaskError)
    assert copy.first == 1


@pytest.mark.row("3.27")
@better("only cloudpickle can pickle Ray's dual class")
def test_the_error_is_picklable_with_plain_pickle() -> None:
    error = error_of(fails.remote(ValueError("plain")))
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, ValueError)
    assert isinstance(copy, exceptions.RayTaskError)
    assert "plain" in str(copy)


@pytest.mark.row("3.27")
def test_a_caught_error_can_be_passed_to_another_task() -> None:
    error = error_of(fails.remote(ValueError("travels")))
    assert isinstance(ray.get(consume.remote([error]))[0], ValueError)


@pytest.mark.row("3.27")
def test_plain_exception_stays_catchable() -> None:
    error = error_of(fails.remote(Exception("just that")))
    assert isinstance(error, exceptions.RayTaskError)
    assert type(error.cause) is Exception
    assert "just that" in str(error)


@pytest.mark.row("3.27")
@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups came with 3.11")
def test_exception_groups() -> None:
    error = error_of(fails.remote(ExceptionGroup("several", [ValueError("one"), KeyError("two")])))
    assert isinstance(error, ExceptionGroup)
    assert isinstance(error, exceptions.RayTaskError)
    assert [type(part) for part in error.exceptions] == [ValueError, KeyError]
    matched, rest = error.split(ValueError)
    assert matched is not None
    assert rest is not None


@pytest.mark.row("3.27")
def test_the_chain_of_causes_is_shown() -> None:
    @ray.remote
    def chained() -> None:
        try:
            raise KeyError("the first")
        except KeyError as first:
            raise ValueError("the second") from first

    error = error_of(chained.remote())
    assert isinstance(error, ValueError)
    assert "the second" in str(error)
    if IS_LINCKIA:
        assert "the first" in str(error)


@pytest.mark.row("3.27")
def test_an_error_that_cannot_be_subclassed_is_a_plain_task_error() -> None:
    @ray.remote
    def raises() -> None:
        class Final(Exception):
            def __init_subclass__(cls) -> None:
                raise TypeError("cannot be subclassed")

        raise Final("sealed")

    error = error_of(raises.remote())
    assert isinstance(error, exceptions.RayTaskError)
    assert type(error.cause).__name__ == "Final"
    assert "sealed" in str(error)


@pytest.mark.row("3.26", "3.27")
def test_an_error_that_cannot_be_pickled_keeps_its_text() -> None:
    @ray.remote
    def raises() -> None:
        import threading  # noqa: PLC0415 - inside the worker

        class Locked(Exception):
            pass

        error = Locked("the text survives")
        error.lock = threading.Lock()  # type: ignore[attr-defined]
        raise error

    error = error_of(raises.remote())
    assert isinstance(error, exceptions.RayTaskError)
    assert "the text survives" in str(error)
    assert "Locked" in str(error)


@pytest.mark.row("3.29")
def test_an_error_that_cannot_be_unpickled_keeps_its_text() -> None:
    error = error_of(fails_inside.remote())
    assert isinstance(error, exceptions.RayError)
    assert "only one argument" in str(error)
    assert "Unloadable" in str(error)


@ray.remote
def fails_inside() -> None:
    raise Unloadable(1, 2)


@pytest.mark.row("3.28", "4.5", "14.5")
def test_a_failed_dependency_fails_the_consumer_without_running_it(new_channel: Any) -> None:
    channel = new_channel()
    failed = fails.remote(Custom(5, "hops"))
    ref = failed
    for _ in range(3):
        ref = consume.remote(ref, channel)
    error = error_of(ref)
    assert isinstance(error, Custom)
    assert isinstance(error, exceptions.RayTaskError)
    assert isinstance(error.cause, Custom)
    assert channel.received() == []


@pytest.mark.row("3.28")
def test_the_text_of_a_failed_consumer_tells_of_its_input() -> None:
    text = str(error_of(consume.remote(fails.remote(ValueError("the input's own reason")))))
    assert "the input's own reason" in text
    assert "argument" in text or "input" in text


@pytest.mark.row("3.28")
def test_a_failed_dependency_of_an_actor_call_and_of_a_constructor() -> None:
    @ray.remote
    class Actor:
        def __init__(self, value: Any = None) -> None:
            self.value = value

        def take(self, value: Any) -> Any:
            return value

    failed = fails.remote(Custom(1, "x"))
    actor = Actor.remote()
    assert isinstance(error_of(actor.take.remote(failed)), Custom)
    assert ray.get(actor.take.remote("still alive")) == "still alive"
    assert isinstance(error_of(Actor.remote(failed).take.remote(1)), exceptions.RayError)


@pytest.mark.row("3.28")
def test_an_error_got_inside_a_task_passes_through() -> None:
    @ray.remote
    def outer() -> None:
        ray.get(fails.remote(Custom(9, "nested")))

    error = error_of(outer.remote())
    assert isinstance(error, Custom)
    assert "outer" in str(error)


@pytest.mark.row("3.28")
def test_a_failed_ref_inside_a_container_does_not_fail_the_consumer() -> None:
    @ray.remote
    def looks(refs: list[Any]) -> str:
        try:
            ray.get(refs[0])
        except ValueError:
            return "saw it myself"
        return "nothing"

    assert ray.get(looks.remote([fails.remote(ValueError("x"))])) == "saw it myself"


@pytest.mark.row("3.27")
def test_all_returns_of_a_failed_task_hold_the_error() -> None:
    @ray.remote(num_returns=3)
    def three() -> None:
        raise KeyError("all of them")

    assert [type(error_of(ref).cause) for ref in three.remote()] == [KeyError] * 3


@pytest.mark.row("3.30")
def test_user_code_exceptions_are_looked_through_by_retries(new_channel: Any) -> None:
    channel = new_channel()
    marker = exceptions.UserCodeException

    @ray.remote(max_retries=1, retry_exceptions=[KeyError])
    def raises() -> None:
        channel.send("attempt")
        raise marker() from KeyError("inner")

    assert isinstance(error_of(raises.remote()), exceptions.RayTaskError)
    assert channel.received() == ["attempt", "attempt"]


@pytest.mark.row("3.21", "3.43", "14.13")
def test_a_crashed_worker_without_retries_is_reported() -> None:
    @ray.remote(max_retries=0)
    def crashes() -> None:
        os._exit(1)

    error = error_of(crashes.remote())
    assert type(error) is exceptions.WorkerCrashedError
    assert "worker" in str(error).lower()


@pytest.mark.row("3.43", "4.22")
def test_sys_exit_in_a_task_counts_as_a_dead_worker() -> None:
    @ray.remote(max_retries=0)
    def leaves() -> None:
        sys.exit(3)

    assert isinstance(error_of(leaves.remote()), exceptions.WorkerCrashedError)


@pytest.mark.row("3.48", "14.19", "5.3")
def test_a_failed_constructor_is_a_dead_actor_with_its_traceback() -> None:
    @ray.remote(max_restarts=5)
    class Broken:
        def __init__(self) -> None:
            raise Custom(1, "in the constructor")

        def method(self) -> None:
            pass

    actor = Broken.remote()
    error = error_of(actor.method.remote())
    assert type(error) is exceptions.ActorDiedError
    assert error.actor_init_failed
    assert "in the constructor" in str(error)
    assert "Broken" in str(error)
    assert error.actor_id == actor._actor_id.hex()
    assert not error.preempted
    assert type(error_of(actor.method.remote())) is exceptions.ActorDiedError


@pytest.mark.row("3.48", "1.32")
def test_the_text_of_a_killed_actor_names_it() -> None:
    @ray.remote
    class Victim:
        def pid(self) -> int:
            return os.getpid()

    actor = Victim.options(name="victim by name", namespace="victims").remote()
    ray.get(actor.pid.remote())
    ray.kill(actor)
    error = error_after_death(actor.pid)
    assert type(error) is exceptions.ActorDiedError
    assert not error.actor_init_failed
    for part in ("Victim", actor._actor_id.hex(), "victim by name", "victims", "kill"):
        assert part in str(error)


@pytest.mark.row("3.48")
def test_a_crashed_actor_is_reported() -> None:
    @ray.remote
    class Crashes:
        def crash(self) -> None:
            os._exit(1)

    actor = Crashes.remote()
    assert isinstance(error_of(actor.crash.remote()), exceptions.RayActorError)
    wait_for(lambda: type(error_of(actor.crash.remote())) is exceptions.ActorDiedError)


@pytest.mark.row("3.32")
def test_a_cancelled_task_fails_its_consumers_too(new_gate: Any, new_channel: Any) -> None:
    gate, channel = new_gate(), new_channel()

    @ray.remote
    def held() -> None:
        channel.send("running")
        gate.wait()

    ref = held.remote()
    channel.receive()
    ray.cancel(ref)
    error = error_of(ref)
    assert isinstance(error, exceptions.TaskCancelledError)
    assert isinstance(error_of(consume.remote(ref)), (exceptions.TaskCancelledError, exceptions.RayTaskError))


@pytest.mark.row("3.34")
def test_lost_object_errors_name_the_object() -> None:
    ref = ray.put(1)
    error = exceptions.ObjectLostError(ref.hex(), ref.owner_address(), "the call site")
    assert ref.hex() in str(error)
    assert isinstance(error, exceptions.RayError)


@pytest.mark.row("3.35", "14.7")
def test_results_of_a_dead_owner_are_lost_for_borrowers() -> None:
    @ray.remote
    class Owner:
        def make(self) -> list[Any]:
            return [ray.put(b"x" * 1_000_000)]

    owner = Owner.remote()
    (ref,) = ray.get(owner.make.remote())
    ray.kill(owner)
    error = wait_for(lambda: isinstance(found := catch(ref), exceptions.OwnerDiedError) and found)
    assert ref.hex() in str(error)
    assert isinstance(error_of(consume.remote(ref)), exceptions.RayError)


def catch(ref: Any) -> Exception | None:
    try:
        ray.get(ref)
    except Exception as error:  # noqa: BLE001 - the caller looks at its type
        return error
    return None


@pytest.mark.row("3.56")
def test_an_object_that_cannot_be_deserialized_raises_where_it_is_read() -> None:
    class Refuses:
        def __reduce__(self) -> Any:
            return exec, ("raise RuntimeError('refused to load')",)

    with pytest.raises(Exception, match="refused to load"):
        ray.get(ray.put(Refuses()))
    if not IS_LINCKIA:
        assert isinstance(catch(ray.put(Refuses())), exceptions.RaySystemError)


UNHANDLED = """
import ray
import sys
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)

@ray.remote(num_returns=2)
def fails():
    raise ValueError("nobody looked at this")

ref, twin = fails.remote()
ray.wait([twin])  # now the reply with both errors is here; only the twin has been asked about
del ref
print("dropped", flush=True)
sys.stdin.readline()
"""


@pytest.mark.row("3.66")
def test_an_error_nobody_looked_at_is_logged(run_script: Any) -> None:
    script = run_script.start(UNHANDLED)
    assert script.stdout.readline() == "dropped\n"
    assert any("nobody looked at this" in line for line in script.stderr)
    script.communicate("end\n", timeout=60)


@pytest.mark.row("3.66", "8.85")
def test_unhandled_errors_can_be_silenced(run_script: Any) -> None:
    script = run_script.start(UNHANDLED, env=settings(IGNORE_UNHANDLED_ERRORS="1"))
    assert script.stdout.readline() == "dropped\n"
    _, stderr = script.communicate("end\n", timeout=60)
    assert "nobody looked at this" not in stderr


@pytest.mark.row("3.66")
def test_an_error_that_was_seen_is_not_logged_again(run_script: Any) -> None:
    seen = UNHANDLED.replace("del ref\n", "try:\n    ray.get(ref)\nexcept ValueError:\n    pass\ndel ref, twin\n")
    script = run_script.start(seen)
    assert script.stdout.readline() == "dropped\n"
    _, stderr = script.communicate("end\n", timeout=60)
    assert script.returncode == 0
    assert "nobody looked at this" not in stderr
