"""`RayTaskError` and the class it gets when it is raised again: `RayTaskError(ValueError)`."""

from __future__ import annotations

import abc
import asyncio
import copy
import dataclasses
import gc
import pickle
import traceback
import weakref
from collections.abc import Callable
from typing import Any

import cloudpickle
import pytest

from linckia.base import errors
from linckia.base.errors import RayTaskError

TRACEBACK = """Traceback (most recent call last):
  File "user.py", line 3, in f
    raise ValueError("no")
ValueError: no
"""


def failed(cause: BaseException | None, **more: Any) -> RayTaskError:
    return RayTaskError("f", TRACEBACK, cause, "ray::f", 42, "10.0.0.7", **more)


def raised(cause: BaseException) -> Any:
    return failed(cause).as_instanceof_cause()


class Quota(ValueError):
    unit = "GB"  # hidden in Ray when the instance has its own

    def __init__(self, used: int, limit: int) -> None:
        super().__init__(f"{used} of {limit}")
        self.used = used
        self.limit = limit
        self.unit = "TB"
        self._secret = "s"

    @property
    def over(self) -> int:
        return self.used - self.limit

    def describe(self) -> str:
        return f"{self._secret}:{self.over}{self.unit}"


class Slotted(Exception):
    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    field: int


class OwnArgs(Exception):
    @property
    def args(self) -> tuple[object, ...]:  # type: ignore[override]
        return ("fixed",)


class OwnNames(Exception):
    """Uses names that our classes use too."""

    retryable = "sometimes"

    def __init__(self) -> None:
        super().__init__("own")
        self.pid = "patient id"
        self.function_name = "sin"
        self.traceback_str = "mine"

    @property
    def cause(self) -> str:
        return "bad luck"

    def to_bytes(self) -> bytes:
        return b"own"


class Reducing(Exception):
    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        return str, ("reduced",)


class Meta(type):
    pass


class WithMeta(Exception, metaclass=Meta):
    pass


class Abstract(Exception, abc.ABC):
    pass


class Closing(Exception):
    closed = 0

    def __del__(self) -> None:
        Closing.closed += 1


class OwnNew(Exception):
    def __new__(cls, first: int, second: int) -> OwnNew:
        made = super().__new__(cls, first, second)
        made.total = first + second
        return made

    total: int


class NoChildren(ValueError):
    def __init_subclass__(cls) -> None:
        raise TypeError("no children")


class AnyAttribute(Exception):
    def __getattr__(self, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return f"dynamic {name}"


class OwnBase(BaseException):
    pass


@pytest.mark.row("3.27")
def test_the_raised_error_is_caught_by_both_classes() -> None:
    cause = ValueError("no", 7)
    error = raised(cause)
    for expected in (ValueError, RayTaskError, errors.RayError):
        with pytest.raises(expected):
            raise error
    assert type(error).__name__ == type(error).__qualname__ == "RayTaskError(ValueError)"
    assert type(error).__module__ == "linckia.exceptions"
    assert error.cause is cause
    assert error.args == (cause,)
    assert repr(error) == "RayTaskError(ValueError)(ValueError('no', 7))"


@pytest.mark.row("3.27")
def test_the_text_is_the_remote_traceback_under_a_header_that_names_the_process() -> None:
    assert str(raised(ValueError("no"))) == str(failed(ValueError("no"))) == (
        "ray::f() (pid=42, ip=10.0.0.7)\n"
        '  File "user.py", line 3, in f\n    raise ValueError("no")\nValueError: no'
    )  # fmt: skip
    actor = failed(ValueError("no"), actor_repr="Counter(3)", actor_id="a1b2")
    assert str(actor).startswith("ray::f() (pid=42, ip=10.0.0.7, actor_id=a1b2, repr=Counter(3))\n")
    assert str(RayTaskError("g", "text", None)).startswith("ray::g()\n")


@pytest.mark.row("3.27")
def test_a_group_has_the_header_too() -> None:
    text = "  + Exception Group Traceback (most recent call last):\n  | ExceptionGroup: g (1 sub-exception)\n"
    error = RayTaskError("f", text, ExceptionGroup("g", [ValueError(1)]), "ray::f", 42, "10.0.0.7")
    assert str(error) == f"ray::f() (pid=42, ip=10.0.0.7)\n{text}".rstrip("\n")


@pytest.mark.row("3.27")
def test_attributes_methods_and_properties_of_the_cause_work() -> None:
    error = raised(Quota(5, 3))
    assert (error.used, error.limit, error.over) == (5, 3, 2)
    assert error.unit == "TB", "the instance attribute must win over the class attribute"
    assert error.describe() == "s:2TB"
    assert error.pid == 42, "facts of the process stay readable where the user's class has no such attribute"
    with pytest.raises(AttributeError):
        _ = error.no_such_thing


@pytest.mark.row("3.27")
def test_c_fields_and_slots_of_the_cause_are_read() -> None:
    try:
        open("/no/such/file")  # noqa: SIM115
    except OSError as missing:
        error = raised(missing)
    assert (error.errno, error.filename, error.strerror) == (2, "/no/such/file", "No such file or directory")
    assert not {"errno", "filename", "characters_written"} & set(vars(error)), "fields, not copies beside them"
    with pytest.raises(AttributeError):
        _ = error.characters_written  # unset there, unset here
    try:
        b"a\xff".decode()
    except UnicodeDecodeError as undecodable:
        error = raised(undecodable)
    assert (error.encoding, error.object, error.start, error.end) == ("utf-8", b"a\xff", 1, 2)
    assert raised(StopIteration(4)).value == 4
    assert raised(Slotted(9)).code == 9
    assert raised(ImportError("x", name="m", path="p")).name == "m"


@pytest.mark.row("3.27")
def test_the_users_names_win_except_cause_and_args() -> None:
    cause = OwnNames()
    error = raised(cause)
    assert (error.pid, error.function_name, error.traceback_str) == ("patient id", "sin", "mine")
    assert (error.retryable, error.to_bytes()) == ("sometimes", b"own")
    assert error.cause is cause
    assert error.args == (cause,)
    assert str(error).startswith("ray::f() (pid=42")
    own_args = OwnArgs("given")
    assert raised(own_args).args == (own_args,)


@pytest.mark.row("3.27")
def test_unknown_attributes_are_asked_of_the_cause() -> None:
    assert raised(AnyAttribute()).whatever == "dynamic whatever"


@pytest.mark.row("3.27")
@pytest.mark.parametrize(
    "cause", [Frozen(3), OwnNew(1, 2), WithMeta("x"), Abstract("x"), Reducing("x"), OwnBase("x"), KeyError("k")]
)
def test_unusual_classes_are_caught_by_their_own_name(cause: BaseException) -> None:
    error = raised(cause)
    assert isinstance(error, type(cause))
    assert isinstance(error, RayTaskError)
    assert str(error).startswith("ray::f() (pid=42")
    error.add_note("seen")
    error.local = 1  # type: ignore[attr-defined]  # also on a frozen dataclass
    assert raised(Frozen(3)).field == 3


@pytest.mark.row("3.27")
def test_exception_groups_can_be_split_and_caught_by_star() -> None:
    group = ExceptionGroup("both", [ValueError(1), KeyError("k")])
    error = raised(group)
    assert isinstance(error, ExceptionGroup)
    assert (error.message, error.exceptions) == (group.message, group.exceptions)
    matched, rest = error.split(ValueError)
    assert matched is not None
    assert rest is not None
    assert [type(e) for e in matched.exceptions] == [ValueError]
    assert [type(e) for e in rest.exceptions] == [KeyError]
    caught: list[str] = []
    try:
        raise error
    except* ValueError:
        caught.append("ValueError")
    except* KeyError:
        caught.append("KeyError")
    assert caught == ["ValueError", "KeyError"]
    back = pickle.loads(pickle.dumps(error))
    assert [repr(e) for e in back.exceptions] == ["ValueError(1)", "KeyError('k')"]


@pytest.mark.row("3.27")
def test_a_class_that_refuses_subclasses_gives_a_plain_error_with_a_note() -> None:
    error = failed(NoChildren("x"))
    assert error.as_instanceof_cause() is error
    assert error.as_instanceof_cause() is error
    assert len(error.__notes__) == 1
    assert "NoChildren does not allow subclasses (no children)" in error.__notes__[0]
    with pytest.raises(TypeError, match="no children"):
        error.make_dual_exception_instance()


@pytest.mark.row("3.27")
@pytest.mark.parametrize("cause", [Exception("x"), errors.RayError("x"), BaseException("x"), None])
def test_a_cause_that_every_task_error_is_already_gives_the_plain_error(cause: BaseException | None) -> None:
    error = failed(cause)
    assert error.as_instanceof_cause() is error


@pytest.mark.parametrize("cause", [KeyboardInterrupt(), SystemExit(3), GeneratorExit(), asyncio.CancelledError()])
def test_control_flow_of_the_other_process_does_not_steer_this_one(cause: BaseException) -> None:
    error = failed(cause)
    assert error.as_instanceof_cause() is error
    assert not isinstance(error, type(cause))


@pytest.mark.row("3.27")
@pytest.mark.parametrize(
    "trip",
    [
        lambda error: pickle.loads(pickle.dumps(error)),
        lambda error: cloudpickle.loads(cloudpickle.dumps(error)),
        copy.copy,
    ],
    ids=["pickle", "cloudpickle", "copy"],
)
@pytest.mark.parametrize("cause", [ValueError("no"), OwnArgs("x"), FileNotFoundError(2, "gone", "f.txt")])
def test_the_raised_error_is_picklable(cause: Exception, trip: Callable[[Any], Any]) -> None:
    error = raised(cause)
    error.add_note("seen here")
    back = trip(error)
    assert type(back) is type(error)
    assert (str(back), repr(back.cause), back.pid) == (str(error), repr(cause), 42)
    assert back.__notes__ == ["seen here"]


@pytest.mark.row("3.27")
def test_a_system_error_as_cause_is_caught_by_its_class_and_keeps_its_fault() -> None:
    error = raised(errors.WorkerCrashedError("died"))
    assert isinstance(error, errors.WorkerCrashedError)
    assert (error.origin, error.retryable) == ("system", True)
    assert type(error).__name__ == "RayTaskError(WorkerCrashedError)"
    timeout = raised(errors.GetTimeoutError("late"))
    with pytest.raises(TimeoutError):
        raise timeout


@pytest.mark.row("3.27")
def test_a_raised_error_is_not_wrapped_again() -> None:
    error = raised(ValueError("no"))
    assert error.as_instanceof_cause() is error


def test_the_dual_class_is_made_once_and_does_not_keep_the_users_class_alive() -> None:
    class Local(Exception):
        pass

    first, second = raised(Local("a")), raised(Local("b"))
    assert type(first) is type(second)
    assert (str(first.cause), str(second.cause)) == ("a", "b")
    local = weakref.ref(Local)
    del first, second, Local
    gc.collect()
    assert local() is None


def test_a_finalizer_runs_for_the_cause_only() -> None:
    cause = Closing("x")
    raised(cause)
    gc.collect()
    assert Closing.closed == 0


def test_the_dual_class_cannot_be_instantiated_by_accident() -> None:
    with pytest.raises(TypeError, match="as_instanceof_cause"):
        type(raised(ValueError("no")))("x")


def test_notes_of_the_cause_are_printed_once() -> None:
    cause = ValueError("no")
    cause.add_note("look here")
    made = errors.make_task_error(cause, "f", errors.ProcessInfo()).as_instanceof_cause()
    assert "".join(traceback.format_exception(made)).count("look here") == 1


@pytest.mark.row("3.26", "P30")
def test_the_name_and_text_of_the_cause_are_kept_as_text() -> None:
    error = failed(Quota(5, 3))
    assert error.cause_type_name == f"{__name__}.Quota"
    assert failed(ValueError("no")).cause_type_name == "ValueError"
    assert error.cause_text == "5 of 3"
    assert error.args == ("f", TRACEBACK, error.cause, "ray::f", 42, "10.0.0.7")
