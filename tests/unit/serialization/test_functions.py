"""Functions and classes as blobs: content names them, size limits them."""

from __future__ import annotations

import pickle
from typing import Any, ClassVar

import pytest

from linckia.serialization.context import note_reference
from linckia.serialization.functions import ID_BYTES, dumps_function, function_id


def make(size: int) -> Any:
    ballast = b"x" * size

    def heavy() -> int:
        return len(ballast)

    return heavy


def test_a_function_comes_back_from_plain_pickle() -> None:
    blob = dumps_function(make(10))
    assert pickle.loads(blob)() == 10


def test_the_id_is_28_bytes_of_the_content() -> None:
    first, second = dumps_function(make(10)), dumps_function(make(11))
    assert function_id(first) == function_id(bytes(bytearray(first)))
    assert function_id(first) != function_id(second)
    assert len(function_id(first)) == ID_BYTES == 28


@pytest.mark.row("3.12")
def test_more_than_10_mib_warns_with_the_name() -> None:
    with pytest.warns(UserWarning, match=r"function make\.<locals>\.heavy is 11\.0 MiB .*Use put\(\)"):
        dumps_function(make(11 * 2**20))


@pytest.mark.row("3.12")
def test_more_than_the_limit_raises_with_the_name() -> None:
    with pytest.raises(ValueError, match=r"heavy is 2\.0 MiB when pickled \(the limit is 1 MiB\)"):
        dumps_function(make(2 * 2**20), limit_bytes=2**20)


@pytest.mark.row("3.12")
def test_the_class_is_called_a_class() -> None:
    class Heavy:
        table = b"x" * (11 * 2**20)

    with pytest.warns(UserWarning, match=r"The class .*Heavy"):
        dumps_function(Heavy)


class Ref:
    noted: ClassVar[list[bool]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        Ref.noted.append(note_reference(self))
        return str, ("ref",)


@pytest.mark.row("1.47")
def test_a_captured_reference_sees_no_dump_so_that_it_gets_pinned() -> None:
    ref = Ref()
    dumps_function(lambda: ref)
    assert Ref.noted == [False]


@pytest.mark.row("3.27")
def test_code_that_travels_by_value_keeps_its_file_and_lines() -> None:
    """Also functions inside it: a traceback shows the lines of the user's file."""

    def outer() -> Any:
        def inner() -> None:
            raise ValueError("here")

        return inner

    there = pickle.loads(dumps_function(outer))
    for ours, theirs in ((outer, there), (outer(), there())):
        assert theirs.__code__.co_filename == __file__
        assert theirs.__code__.co_firstlineno == ours.__code__.co_firstlineno
