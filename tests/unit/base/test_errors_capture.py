"""From a raised exception to a `RayTaskError`: whose frames are shown, what the cause is, which ask for a retry."""

from __future__ import annotations

import pathlib
import traceback

import pytest

import linckia
from linckia.base import errors
from linckia.base.errors import ProcessInfo, make_dependency_error, make_task_error
from linckia.base.errors.capture import MAX_TRACEBACK_CHARS

PACKAGE = pathlib.Path(linckia.__file__).parent
WHERE = ProcessInfo(42, "10.0.0.7", "ray::work", "A()", "a1b2")
INSIDE = str(PACKAGE / "worker" / "executor_of_this_test.py")
DEMO = str(PACKAGE / "cli" / "demo_of_this_test.py")


def run_in(filename: str, source: str, **names: object) -> BaseException:
    """Run `source` as if it stood in `filename` and hand back what it raises."""
    try:
        exec(compile(source, filename, "exec"), dict(names))
    except BaseException as error:  # noqa: BLE001  (the test hands it on)
        return error
    raise AssertionError("nothing was raised")


def user_code(error: BaseException) -> None:
    raise error


def engine_runs(error: Exception) -> Exception:
    caught = run_in(INSIDE, "def execute(f, x):\n    f(x)\nexecute(f, x)", f=user_code, x=error)
    assert isinstance(caught, Exception)
    return caught


def frames_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.lstrip(" |").startswith('File "')]


@pytest.mark.row("3.27")
def test_the_traceback_begins_with_the_users_frames() -> None:
    error = make_task_error(engine_runs(ValueError("no")), "work", WHERE)
    lines = str(error).splitlines()
    assert lines[0] == "ray::work() (pid=42, ip=10.0.0.7, actor_id=a1b2, repr=A())"
    assert lines[1].endswith("in run_in")
    assert "in user_code" in str(error)
    assert lines[-1] == "ValueError: no"
    assert str(PACKAGE) not in str(error)


def test_a_call_into_linckia_ends_at_the_users_line() -> None:
    library = "def get(ref):\n    raise TimeoutError('late')"
    names: dict[str, object] = {}
    exec(compile(library, INSIDE, "exec"), names)
    caught = run_in("user.py", "get(1)", get=names["get"])
    assert frames_of(str(make_task_error(caught, "work", WHERE)))[-1].startswith('  File "user.py"')


def test_frames_are_removed_from_causes_contexts_and_group_members() -> None:
    try:
        try:
            raise engine_runs(KeyError("first"))
        except BaseException as first:
            raise ValueError("second") from first
    except ValueError as second:
        chained = second
    group = ExceptionGroup("g", [engine_runs(OSError("member")), chained])
    text = str(make_task_error(group, "work", WHERE))
    assert str(PACKAGE) not in text
    for told in ("first", "second", "member", "direct cause"):
        assert told in text


def test_an_error_of_the_engine_itself_keeps_its_frames() -> None:
    text = str(make_task_error(run_in(INSIDE, "raise ValueError('ours')").with_traceback(None), "work", WHERE))
    assert "ValueError: ours" in text
    ours = run_in(INSIDE, "raise ValueError('ours')")
    inner = ours.__traceback__.tb_next if ours.__traceback__ else None  # without this file's frame
    assert INSIDE in str(make_task_error(ours.with_traceback(inner), "work", WHERE))


def test_the_demo_is_user_code() -> None:
    caught = run_in(INSIDE, "run()", run=lambda: exec(compile("raise ValueError('demo')", DEMO, "exec")))
    assert DEMO in str(make_task_error(caught, "work", WHERE))


@pytest.mark.row("P30")
def test_an_exception_whose_str_fails_is_told_by_its_name() -> None:
    class BadText(ValueError):
        def __str__(self) -> str:
            raise RuntimeError("bad str")

        __repr__ = __str__

    error = make_task_error(engine_runs(BadText()), "work", WHERE)
    assert "BadText: <exception str() failed>" in str(error)
    assert error.cause_text == "<exception str() failed with RuntimeError>"
    assert isinstance(error.as_instanceof_cause(), BadText)


@pytest.mark.row("P30")
def test_an_exception_that_breaks_the_traceback_module_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr(traceback.TracebackException, "from_exception", broken)
    error = make_task_error(ValueError("no"), "work", WHERE)
    assert "ValueError: no\n(its traceback could not be formatted: RecursionError)" in str(error)


def test_a_huge_text_keeps_both_ends() -> None:
    text = make_task_error(ValueError("x" * (3 * MAX_TRACEBACK_CHARS) + "end"), "work", WHERE).traceback_str
    assert MAX_TRACEBACK_CHARS <= len(text) < MAX_TRACEBACK_CHARS + 100
    assert "characters left out" in text
    assert text.startswith("ValueError: x")
    assert text.endswith("xend\n")
    fits = "x" * (MAX_TRACEBACK_CHARS - len("ValueError: \n"))
    assert make_task_error(ValueError(fits), "work", WHERE).traceback_str == f"ValueError: {fits}\n"


@pytest.mark.row("3.28")
def test_the_original_cause_survives_three_tasks() -> None:
    cause = KeyError("origin")
    first = make_task_error(engine_runs(cause), "one", WHERE).as_instanceof_cause()
    second = make_task_error(engine_runs(first), "two", WHERE).as_instanceof_cause()
    third = make_task_error(engine_runs(second), "three", WHERE).as_instanceof_cause()
    assert third.cause is cause
    assert isinstance(third, KeyError)
    assert type(third).__name__ == "RayTaskError(KeyError)"
    assert third.function_name == "three"
    assert [str(third).count(name) for name in ("KeyError: 'origin'", "RayTaskError(KeyError): ray::work()")] == [1, 2]


@pytest.mark.row("3.28", "4.5")
def test_a_failed_argument_is_told_and_keeps_the_cause() -> None:
    first = make_task_error(engine_runs(KeyError("origin")), "one", WHERE)
    second = make_dependency_error(first.as_instanceof_cause(), "two", WHERE)
    third = make_dependency_error(second, "three", WHERE)
    for error in (second, third):
        assert isinstance(error.as_instanceof_cause(), KeyError)
        assert error.cause is first.cause
        assert "could not be computed" in str(error)
    assert str(third).count("could not be computed") == 2
    assert "in user_code" in str(third)


@pytest.mark.row("3.28", "4.5")
def test_a_crashed_argument_is_caught_by_the_class_of_the_crash() -> None:
    error = make_dependency_error(errors.WorkerCrashedError("pid 3 died"), "two", WHERE).as_instanceof_cause()
    assert isinstance(error, errors.WorkerCrashedError)
    assert "pid 3 died" in str(error)


@pytest.mark.row("2.21", "3.30", "4.19")
def test_which_errors_ask_for_a_retry() -> None:
    matches = errors.matches_retry_exceptions
    error = KeyError("k")
    assert matches(error, True)
    assert not matches(error, False)
    assert matches(error, [LookupError])
    assert not matches(error, (ValueError, OSError))
    assert not matches(error, ())
    nested = make_task_error(error, "inner", WHERE)
    assert matches(nested, [KeyError])
    assert matches(nested.as_instanceof_cause(), [KeyError])


@pytest.mark.row("3.30")
def test_a_library_wrapper_is_looked_through_for_retries() -> None:
    try:
        raise errors.UserCodeException("udf failed") from KeyError("k")
    except errors.UserCodeException as wrapped:
        caught = wrapped
    assert errors.matches_retry_exceptions(caught, [KeyError])
    assert errors.matches_retry_exceptions(caught, [errors.UserCodeException])
    assert not errors.matches_retry_exceptions(caught, [ValueError])
    try:
        raise ValueError("of the user") from KeyError("k")
    except ValueError as chained:
        assert not errors.matches_retry_exceptions(chained, [KeyError]), "only wrappers are looked through"
