"""The tree of errors: names and bases of `ray.exceptions`, whose fault, retry or not, texts, pickling."""

from __future__ import annotations

import builtins
import copy
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable

import cloudpickle
import pytest

import linckia
from linckia import exceptions
from linckia.base import errors
from linckia.base.errors import RayError

BASES: dict[str, tuple[str, ...]] = {  # row of ray-core.md -> class and what `except` must catch it by
    "3.26": ("RayError", "Exception"),
    "3.27": ("RayTaskError", "RayError"),
    "3.29": ("UnserializableException", "RayError"),
    "3.30": ("UserCodeException", "RayError"),
    "3.31": ("CrossLanguageError", "RayError"),
    "3.32": ("TaskCancelledError", "RayError"),
    "3.33": ("GetTimeoutError", "RayError", "TimeoutError"),
    "3.34": ("ObjectLostError", "RayError"),
    "3.35": ("OwnerDiedError", "ObjectLostError"),
    "3.36": ("ObjectFetchTimedOutError", "ObjectLostError"),
    "3.37": ("ObjectReconstructionFailedError", "ObjectLostError"),
    "3.38": ("ReferenceCountingAssertionError", "ObjectLostError", "AssertionError"),
    "3.39": ("ObjectFreedError", "ObjectLostError"),
    "3.40": ("ObjectStoreFullError", "RayError"),
    "3.41": ("OutOfDiskError", "RayError"),
    "3.43": ("WorkerCrashedError", "RayError"),
    "3.44": ("NodeDiedError", "RayError"),
    "3.45": ("LocalRayletDiedError", "RayError"),
    "3.46": ("OutOfMemoryError", "RayError"),
    "3.47": ("RayActorError", "RayError"),
    "3.48": ("ActorDiedError", "RayActorError"),
    "3.49": ("ActorUnavailableError", "RayActorError"),
    "3.50": ("AsyncioActorExit", "RayError"),
    "3.50a": ("PlasmaObjectNotAvailable", "RayError"),
    "3.50b": ("ObjectRefStreamEndOfStreamError", "RayError"),
    "3.51": ("ActorUnschedulableError", "RayError"),
    "3.52": ("TaskUnschedulableError", "RayError"),
    "3.53": ("TaskPlacementGroupRemoved", "RayError"),
    "3.53a": ("ActorPlacementGroupRemoved", "RayError"),
    "3.54": ("RuntimeEnvSetupError", "RayError"),
    "3.55": ("PendingCallsLimitExceeded", "RayError"),
    "3.56": ("RaySystemError", "RayError"),
    "3.57": ("RpcError", "RayError"),
    "3.58": ("AuthenticationError", "RayError"),
    "3.59": ("ActorAlreadyExistsError", "ValueError", "RayError"),
    "3.60": ("ActorHandleNotFoundError", "ValueError", "RayError"),
    "3.62": ("StreamingGeneratorReplayInconsistentError", "RaySystemError"),
    "3.63": ("OufOfBandObjectRefSerializationException", "RayError"),
    "3.64": ("RayChannelError", "RaySystemError"),
    "3.64a": ("RayChannelTimeoutError", "RayChannelError", "TimeoutError"),
    "3.64b": ("RayCgraphCapacityExceeded", "RaySystemError"),
    "3.64c": ("RayDirectTransportError", "RaySystemError"),
    "our own": ("CheckpointError", "RayError"),
}
INTERNAL = {"AsyncioActorExit", "ObjectRefStreamEndOfStreamError", "RayError", "RayActorError", "UserCodeException"}
ALL_CLASSES = [getattr(exceptions, names[0]) for names in BASES.values()]
HEX = "ab" * 28

# One instance with every field filled, and the attributes that must survive a trip.
SAMPLES: list[tuple[RayError, dict[str, object]]] = [
    (RayError("a", 2), {"args": ("a", 2)}),
    (
        errors.RayTaskError("f", "tb", ValueError(1), "ray::f", 7, "10.0.0.1", "A()", "aa"),
        {
            "function_name": "f",
            "traceback_str": "tb",
            "pid": 7,
            "ip": "10.0.0.1",
            "actor_repr": "A()",
            "_actor_id": "aa",
        },
    ),
    (errors.TaskCancelledError("t1", "too late"), {"task_id": "t1", "error_message": "too late"}),
    (errors.GetTimeoutError("3 of 4 not ready"), {"args": ("3 of 4 not ready",)}),
    (errors.ObjectLostError(HEX, "owner", "a.py:1"), {"object_ref_hex": HEX, "owner_address": "owner"}),
    (
        errors.ObjectReconstructionFailedError(HEX, errors.ErrorType.OBJECT_UNRECONSTRUCTABLE_PUT),
        {"reason": errors.ErrorType.OBJECT_UNRECONSTRUCTABLE_PUT, "object_ref_hex": HEX},
    ),
    (errors.NodeDiedError("n1 is dead"), {"message": "n1 is dead"}),
    (errors.RpcError("refused", 14), {"message": "refused", "rpc_code": 14}),
    (errors.RayActorError("aa", "gone", True, True), {"actor_id": "aa", "actor_init_failed": True, "preempted": True}),
    (errors.ActorDiedError(errors.ActorDiedErrorContext(actor_id="bb", preempted=True)), {"actor_id": "bb"}),
    (errors.ActorUnavailableError("restarting", b"\x01\x02"), {"actor_id": "0102"}),
    (errors.ActorAlreadyExistsError("taken"), {"error_message": "taken", "args": ("taken",)}),
    (errors.RaySystemError("bad", "tb"), {"client_exc": "bad", "traceback_str": "tb"}),
    (errors.RayChannelTimeoutError("late", "tb"), {"client_exc": "late", "traceback_str": "tb"}),
    (errors.RuntimeEnvSetupError("no pip"), {"error_message": "no pip"}),
    (errors.TaskUnschedulableError("node is dead"), {"error_message": "node is dead"}),
    (errors.UnserializableException("tb"), {"_original_stack_trace": "tb"}),
]


def make(cls: type[RayError]) -> RayError:
    return cls("f", "tb", None) if cls is errors.RayTaskError else cls()


@pytest.mark.row(*(row for row in BASES if row[-1].isdigit()))
@pytest.mark.parametrize("names", BASES.values(), ids=lambda names: names[0])
def test_each_class_has_rays_name_and_bases(names: tuple[str, ...]) -> None:
    namespace = {**vars(builtins), **vars(exceptions)}
    cls = namespace[names[0]]
    assert (cls.__name__, cls.__module__) == (names[0], "linckia.exceptions")
    for base in names[1:]:
        assert issubclass(cls, namespace[base])


def test_no_class_catches_its_siblings() -> None:
    """`except TaskUnschedulableError` must not catch the actor's error: only bases of the list above are shared."""
    expected = {names[0]: set(names[1:]) for names in BASES.values()}
    public = set(expected)
    for cls in ALL_CLASSES:
        bases = {base.__name__ for base in cls.__mro__[1:]} & public
        closure = set(expected[cls.__name__]) & public
        while more := {base for name in closure for base in expected[name] if base in public} - closure:
            closure |= more
        assert bases == closure, cls


def test_the_public_module_shows_every_class_of_the_tree() -> None:
    assert {name for name in exceptions.__all__ if isinstance(getattr(exceptions, name), type)} >= {
        names[0] for names in BASES.values()
    }
    assert len(set(exceptions.__all__)) == len(exceptions.__all__)


@pytest.mark.parametrize("cls", ALL_CLASSES, ids=lambda cls: cls.__name__)
def test_each_class_says_whose_fault_whether_to_retry_and_what_next(cls: type[RayError]) -> None:
    error = make(cls)
    assert error.origin in ("application", "system")
    assert isinstance(error.retryable, bool)
    text = str(error)
    assert text
    if cls.__name__ not in INTERNAL | {"RayTaskError", "TaskCancelledError", "CrossLanguageError"} and not issubclass(
        cls, errors.RaySystemError
    ):
        assert len(text) > 60, "the default text names no next step"


def test_retryable_means_the_same_call_may_succeed_later() -> None:
    assert {cls.__name__ for cls in ALL_CLASSES if cls.retryable} == {
        "WorkerCrashedError", "NodeDiedError", "OutOfMemoryError", "ActorUnavailableError", "PendingCallsLimitExceeded",
        "GetTimeoutError", "ObjectStoreFullError", "OutOfDiskError", "ObjectFetchTimedOutError", "RpcError",
        "RayChannelTimeoutError", "RayCgraphCapacityExceeded", "PlasmaObjectNotAvailable",
    }  # fmt: skip


@pytest.mark.row("3.26")
def test_a_callers_words_win_over_the_default_text_and_the_advice_stays() -> None:
    assert str(RayError("only this")) == "only this"
    text = str(errors.ObjectStoreFullError("2 GiB do not fit"))
    assert text.startswith("2 GiB do not fit\n")
    assert "object_store_memory" in text


@pytest.mark.row("3.33")
def test_a_timeout_with_two_arguments_is_not_read_as_errno_and_text() -> None:
    assert str(errors.GetTimeoutError(3, "left")).startswith("(3, 'left')\n")


TRIPS: list[Callable[[RayError], RayError]] = [
    lambda error: pickle.loads(pickle.dumps(error)),
    lambda error: pickle.loads(pickle.dumps(error, protocol=2)),
    lambda error: cloudpickle.loads(cloudpickle.dumps(error)),
    copy.copy,
    copy.deepcopy,
    lambda error: RayError.from_bytes(error.to_bytes()),
]


@pytest.mark.row("3.26")
@pytest.mark.parametrize("trip", TRIPS, ids=["pickle", "pickle2", "cloudpickle", "copy", "deepcopy", "bytes"])
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: type(sample[0]).__name__)
def test_errors_survive_a_trip_with_their_attributes(
    sample: tuple[RayError, dict[str, object]], trip: Callable[[RayError], RayError]
) -> None:
    error, attributes = sample
    back = trip(error)
    assert type(back) is type(error)
    assert str(back) == str(error)
    assert {name: getattr(back, name) for name in attributes} == attributes


@pytest.mark.parametrize("cls", ALL_CLASSES, ids=lambda cls: cls.__name__)
def test_default_errors_survive_a_trip(cls: type[RayError]) -> None:
    error = make(cls)
    error.add_note("seen on node 3")
    for trip in (TRIPS[0], TRIPS[2]):
        back = trip(error)
        assert (type(back), str(back), back.args) == (cls, str(error), error.args)
        assert back.__notes__ == ["seen on node 3"]


def test_a_subclass_of_a_user_survives_a_trip() -> None:
    error = cloudpickle.loads(cloudpickle.dumps(Overdrawn(3, currency="EUR")))
    assert (error.missing, error.currency, str(error)) == (3, "EUR", "3 EUR missing")


class Overdrawn(RayError):
    def __init__(self, missing: int, *, currency: str) -> None:
        super().__init__(f"{missing} {currency} missing")
        self.missing = missing
        self.currency = currency


@pytest.mark.row("3.32")
def test_a_cancelled_task_is_named() -> None:
    class TaskID:
        def hex(self) -> str:
            return "c0ffee"

    assert str(errors.TaskCancelledError(TaskID(), "Its parent was cancelled.")) == (
        "Task c0ffee was cancelled. Its parent was cancelled."
    )


@pytest.mark.row("3.34")
def test_a_lost_object_is_named_with_the_place_that_made_it() -> None:
    text = str(errors.ObjectLostError(HEX, None, "a.py:1 | b.py:2"))
    assert HEX in text
    assert "a.py:1\n  b.py:2" in text


@pytest.mark.row("3.35")
def test_a_dead_owner_is_named() -> None:
    assert "worker 3 at 10.0.0.1" in str(errors.OwnerDiedError(HEX, "worker 3 at 10.0.0.1", ""))


@pytest.mark.row("3.37")
@pytest.mark.parametrize(
    "reason",
    ["MAX_ATTEMPTS_EXCEEDED", "LINEAGE_EVICTED", "PUT", "RETRIES_DISABLED", "BORROWED", "REF_NOT_FOUND",
     "TASK_CANCELLED", "LINEAGE_DISABLED"],
)  # fmt: skip
def test_each_reason_of_a_failed_reconstruction_has_its_message(reason: str) -> None:
    name = f"OBJECT_UNRECONSTRUCTABLE_{reason}"
    error = errors.ObjectReconstructionFailedError(HEX, errors.ErrorType[name])
    assert error.reason_message == errors.ObjectReconstructionFailedError.REASON_MESSAGES[errors.ErrorType[name]]
    assert f"[{name}] {error.reason_message}" in str(error)
    assert errors.error_type_of(error) is errors.ErrorType[name]
    own = errors.ObjectReconstructionFailedError(HEX, errors.ErrorType[name], "the disk burned")
    assert own.reason_message == "the disk burned"


@pytest.mark.row("3.48")
def test_the_text_of_a_dead_actor_tells_what_is_known() -> None:
    death = errors.ActorDiedErrorContext(
        "Counter", "aa11", "killed by ray.kill", 42, "c1", "ns", "10.0.0.7", never_started=True, preempted=True
    )
    error = errors.ActorDiedError(death)
    for fact in ("Counter", "aa11", "pid: 42", "name: c1", "namespace: ns", "ip: 10.0.0.7", "killed by", "never ran"):
        assert fact in str(error)
    assert (error.actor_id, error.preempted, error.actor_init_failed, error.origin) == ("aa11", True, False, "system")
    bare = str(errors.ActorDiedError(errors.ActorDiedErrorContext("Counter", "aa11")))
    assert "pid" not in bare
    assert "never ran" not in bare


@pytest.mark.row("3.48", "5.3")
def test_a_constructor_error_makes_the_death_the_applications_fault() -> None:
    failed = errors.RayTaskError("A.__init__", "Traceback ...\nKeyError: 'x'", KeyError("x"), actor_id="aa")
    error = errors.ActorDiedError(failed)
    assert (error.actor_init_failed, error.actor_id, error.origin) == (True, "aa", "application")
    assert "KeyError: 'x'" in str(error)
    assert str(errors.ActorDiedError.from_task_error(failed)) == str(error)
    unpicklable = errors.RayTaskError("A.__init__", "KeyError: 'x'", KeyError(threading.Lock()), actor_id="aa")
    assert "KeyError: 'x'" in str(pickle.loads(pickle.dumps(errors.ActorDiedError(unpicklable))))


@pytest.mark.row("3.48")
def test_a_death_without_details_may_carry_its_own_words() -> None:
    error = errors.ActorDiedError(error_msg="the head does not know it")
    assert str(error).startswith("the head does not know it\n")
    assert (error.preempted, error.actor_init_failed, error.actor_id) == (False, False, None)
    assert not errors.RayActorError().preempted
    assert not errors.ActorDiedError(errors.ActorDiedErrorContext("A")).preempted


@pytest.mark.row("3.31")
def test_a_foreign_error_is_told_by_its_text() -> None:
    class Foreign:
        language = "JAVA"
        formatted_exception_string = "java.lang.Oops\n  at Main"

    class Bare:
        def __str__(self) -> str:
            return "std::oops"

    assert str(errors.CrossLanguageError(Foreign())) == "An exception raised from JAVA:\njava.lang.Oops\n  at Main"
    assert str(errors.CrossLanguageError(Bare())) == "An exception raised from another language:\nstd::oops"
    assert str(errors.CrossLanguageError("plain text")) == "plain text"


def test_the_name_under_which_an_error_is_listed_tells_whose_fault_it_is() -> None:
    for cls in ALL_CLASSES:
        error = make(cls)
        code = errors.error_type_of(error)
        if code is not None:
            assert errors.origin_of(code.name) == error.origin, cls
    assert errors.origin_of("ACTOR_CREATION_FAILED") == "application"
    assert errors.origin_of("OBJECT_UNRECONSTRUCTABLE_PUT") == "system"


@pytest.mark.row("3.65")
def test_error_codes_are_rays() -> None:
    codes = {code.value for code in errors.ErrorType}
    assert codes == set(range(35)) - {2}
    seen = {errors.error_type_of(make(cls)) for cls in ALL_CLASSES}
    assert errors.ErrorType.WORKER_DIED in seen
    assert errors.error_type_of(errors.WorkerCrashedError()) == 0
    assert errors.error_type_of(errors.RayTaskError("f", "", ValueError())) == 3
    assert errors.error_type_of(errors.TaskCancelledError()) == 5
    assert errors.error_type_of(errors.RayActorError("a", "m", actor_init_failed=True)) == 6
    assert errors.error_type_of(errors.OwnerDiedError(HEX)) == 9
    assert errors.error_type_of(errors.ActorUnavailableError("x")) == 25
    assert errors.error_type_of(errors.RpcError("x")) is None


def test_importing_the_errors_stays_light() -> None:
    """`import linckia` pays for this module: no traceback, pickle, inspect, asyncio, logging, numpy."""
    program = (
        "import sys, types; package = types.ModuleType('linckia'); sys.modules['linckia'] = package; "
        f"package.__path__ = {list(linckia.__path__)!r}; before = set(sys.modules); import linckia.exceptions; "
        "print(*sorted(set(sys.modules) - before))"
    )
    loaded = subprocess.run([sys.executable, "-S", "-c", program], env={"PYTHONPATH": ":".join(sys.path)},
                            capture_output=True, text=True, check=True).stdout.split()  # fmt: skip
    banned = {"traceback", "pickle", "inspect", "asyncio", "logging", "numpy", "cloudpickle", "msgspec", "dataclasses"}
    assert "linckia.base.errors" in loaded
    assert banned.isdisjoint(loaded)
