"""Errors as bytes: the cause when it travels, its name, text and traceback when it does not (P 30)."""

from __future__ import annotations

import builtins
import importlib
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import cloudpickle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linckia.base import errors
from linckia.base.errors import ProcessInfo, RayError, RayTaskError, decode_error, encode_error, make_task_error

WHERE = ProcessInfo(42, "10.0.0.7", "ray::work", "A()", "a1b2")
STDLIB = """\
argparse ast asyncio binascii bz2 calendar codecs concurrent.futures configparser copy csv ctypes curses dbm decimal
difflib doctest email.errors encodings.idna fractions ftplib getopt getpass gettext gzip hashlib hmac html.parser
http.client http.cookiejar http.cookies imaplib inspect io ipaddress json locale logging.config lzma mailbox math
mmap multiprocessing netrc numbers optparse os pdb pickle pickletools platform plistlib poplib pstats py_compile
queue re reprlib sched select selectors shelve shlex shutil signal smtplib socket sqlite3 ssl statistics string
struct subprocess symtable sys tarfile tempfile textwrap threading time timeit tokenize tomllib traceback types
unittest unittest.case urllib.error urllib.parse urllib.robotparser uuid warnings wave weakref webbrowser xdrlib
xml.dom xml.etree.ElementTree xml.parsers.expat xml.sax xmlrpc.client zipfile zipimport zlib zoneinfo
numpy.exceptions numpy.linalg""".split()  # noqa: SIM905  (a list of words reads better as words)
CONTROL_FLOW = (KeyboardInterrupt, SystemExit, GeneratorExit, importlib.import_module("asyncio").CancelledError)


class LoadsBadly(ValueError):
    """Pickles, but its `__init__` wants more than `args` holds."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")


class LoadsAsText(ValueError):
    def __reduce__(self) -> Any:
        return str, ("not an exception",)


def trip(error: RayError, dumps: Any = cloudpickle.dumps, loads: Any = cloudpickle.loads) -> Any:
    return decode_error(encode_error(error, dumps), loads)


def made(cause: BaseException) -> RayTaskError:
    try:
        raise cause
    except BaseException as raised:  # noqa: BLE001  (the test hands it on)
        return make_task_error(raised, "work", WHERE)


def test_a_task_error_arrives_whole() -> None:
    sent = made(KeyError("k"))
    back = trip(sent.as_instanceof_cause())
    assert type(back) is RayTaskError
    assert isinstance(back.as_instanceof_cause(), KeyError)
    for name in ("function_name", "traceback_str", "proctitle", "pid", "ip", "actor_repr", "_actor_id", "cause_text"):
        assert getattr(back, name) == getattr(sent, name)
    assert str(back) == str(sent)


@pytest.mark.row("3.26", "P30")
def test_a_cause_that_cannot_be_pickled_keeps_name_text_and_traceback() -> None:
    class Locked(ValueError):
        def __init__(self) -> None:
            super().__init__("held")
            self.lock = threading.Lock()

    back = trip(made(Locked()))
    assert type(back.cause) is RayError
    assert back.as_instanceof_cause() is back
    assert "Locked could not be pickled" in str(back.cause)
    for told in ("held", "raise cause", "cannot pickle '_thread.lock' object"):
        assert told in str(back.cause)
    assert back.cause_type_name.endswith("Locked")
    assert back.cause_text == "held"
    assert str(back).endswith("Locked: held")


@pytest.mark.row("3.29", "P30")
def test_a_cause_that_cannot_be_unpickled_arrives_as_unserializable_with_its_traceback() -> None:
    back = trip(made(LoadsBadly(3, "no")), pickle.dumps, pickle.loads)
    raised = back.as_instanceof_cause()
    assert isinstance(raised, errors.UnserializableException)
    assert isinstance(raised, RayTaskError)
    assert isinstance(back.cause, errors.UnserializableException)
    for told in ("LoadsBadly: 3: no", "raise cause", "missing 1 required positional argument"):
        assert told in str(back.cause)
    assert back.cause_type_name.endswith("LoadsBadly")
    assert str(raised).endswith("LoadsBadly: 3: no")


@pytest.mark.row("3.29")
def test_a_cause_that_unpickles_to_something_else_is_unserializable() -> None:
    back = trip(made(LoadsAsText("x")), pickle.dumps, pickle.loads)
    assert isinstance(back.cause, errors.UnserializableException)
    assert "found str, which is not an exception" in str(back.cause)


@pytest.mark.row("P30")
def test_a_str_that_fails_does_not_stop_the_error() -> None:
    class BadText(ValueError):
        def __str__(self) -> str:
            raise RuntimeError("bad str")

    back = trip(made(BadText()))
    assert back.cause_type_name.endswith("BadText")
    assert "<exception str() failed" in str(back)
    assert type(back.as_instanceof_cause()).__name__ == "RayTaskError(BadText)"


def test_text_that_is_no_valid_unicode_arrives() -> None:
    assert trip(made(ValueError("file \udcff"))).cause_text == "file \udcff"


def test_a_system_error_arrives_with_its_class_and_attributes() -> None:
    back = trip(errors.OwnerDiedError("ab", "10.0.0.1:5", "a.py:3"))
    assert type(back) is errors.OwnerDiedError
    assert (back.object_ref_hex, back.owner_address) == ("ab", "10.0.0.1:5")


def test_a_system_error_loses_only_the_value_that_cannot_be_pickled() -> None:
    sent = errors.RaySystemError(threading.Lock(), "the traceback")
    back = trip(sent)
    assert type(back) is errors.RaySystemError
    assert back.traceback_str == "the traceback"
    assert str(back) == str(sent)


@pytest.mark.parametrize("sent", [errors.ActorUnavailableError("restarting", "aa"), errors.WorkerCrashedError("x")])
def test_a_system_error_whose_pickle_is_useless_keeps_class_and_text(sent: RayError) -> None:
    def refuse(_: object) -> bytes:
        raise pickle.PicklingError("no")

    for back in (trip(sent, dumps=refuse), trip(sent, loads=lambda data: 1 / 0), trip(sent, loads=lambda data: "?")):
        assert type(back) is type(sent)
        assert str(back) == str(sent)


def test_an_error_class_of_a_library_that_is_missing_here_arrives_as_text() -> None:
    class LibraryError(RayError):
        pass

    back = trip(LibraryError("shard 3 is gone"), loads=lambda data: 1 / 0)
    assert type(back) is errors.UnserializableException
    assert "LibraryError: shard 3 is gone" in str(back)


@given(st.binary(max_size=64))
def test_garbage_is_an_error_about_garbage(data: bytes) -> None:
    for candidate in (data, b"\x01" + data, encode_error(errors.RayError("x"), pickle.dumps)[: len(data)]):
        back = decode_error(candidate, lambda payload: pickle.loads(b"."))
        assert isinstance(back, RayError)
        assert str(back)


def test_an_error_of_another_version_is_named() -> None:
    data = encode_error(errors.RayError("x"), pickle.dumps)
    assert data[0] == 1
    back = decode_error(b"\x02" + data[1:], pickle.loads)
    assert "version 2, expected 1" in str(back)
    assert "version missing" in str(decode_error(b"", pickle.loads))


@given(st.text(st.characters(exclude_categories=())), st.none() | st.text(), st.none() | st.integers())
def test_any_text_makes_the_trip(text: str, maybe: str | None, number: int | None) -> None:
    sent = RayTaskError(text, text, ValueError(1), maybe, number, maybe, maybe, maybe)
    back = trip(sent, pickle.dumps, pickle.loads)
    assert (back.function_name, back.traceback_str, back.pid, back.ip, back.actor_repr) == (
        text, text, number, maybe, maybe)  # fmt: skip


def exception_classes() -> Iterator[type[BaseException]]:
    """Every exception class of the builtins, of some hundred standard modules and of numpy."""
    seen: set[type[BaseException]] = set()
    modules: list[object] = [builtins]
    for name in STDLIB:
        try:
            modules.append(importlib.import_module(name))
        except (ImportError, DeprecationWarning):
            continue
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, BaseException) and value not in seen:
                seen.add(value)
                yield value


def instance_of(cls: type[BaseException]) -> BaseException:
    candidates: list[tuple[Any, ...]] = [
        ("told",), (), ("told", 3), ("told", "b", 3), ("told", 3, "b", {}, None), ("told", [ValueError(1)]),
        ("utf-8", b"x", 0, 1, "told"),
        ("told", "b", 0, 1, "c"), ("utf-8", 0, 1, "told"), ("a", "b", 0, 1), (b"told", 3),
    ]  # fmt: skip
    for arguments in candidates:
        try:
            return cls(*arguments)
        except Exception:  # noqa: BLE001  (wrong arguments for this class: try the next ones)
            continue
    return cls.__new__(cls)


CLASSES = sorted(exception_classes(), key=lambda cls: (cls.__module__, cls.__qualname__))


def test_the_fuzz_below_covers_enough() -> None:
    assert len(CLASSES) >= 200


@pytest.mark.row("P30", "3.27", "3.29")
@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: f"{cls.__module__}.{cls.__qualname__}")
def test_every_standard_exception_arrives(cls: type[BaseException]) -> None:
    cause = instance_of(cls)
    sent = made(cause)
    assert sent.cause is cause
    back = trip(sent)
    raised = back.as_instanceof_cause()
    assert isinstance(raised, RayTaskError)
    assert back.cause_type_name == sent.cause_type_name
    assert type(cause).__qualname__ in back.cause_type_name
    assert back.cause_text == sent.cause_text
    assert str(raised) == str(sent)
    if isinstance(back.cause, errors.UnserializableException):
        assert cls.__init__ is not BaseException.__init__, "a plain class must arrive as itself"
        assert cls.__qualname__ in str(back.cause)
    elif not issubclass(cls, CONTROL_FLOW):
        assert isinstance(raised, cls)
        again = cloudpickle.loads(cloudpickle.dumps(raised))
        assert type(again).__name__ == type(raised).__name__
        assert str(again) == str(raised)
    else:
        assert type(raised) is RayTaskError
