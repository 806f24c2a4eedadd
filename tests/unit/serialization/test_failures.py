"""What cannot be pickled is named with the way to it; user exceptions stay what they are."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from linckia.serialization.functions import dumps_function
from linckia.serialization.values import dumps, pack_args


class Node:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


class Slotted:
    __slots__ = ("lock", "unset")

    def __init__(self) -> None:
        self.lock = threading.Lock()


LOCK = threading.Lock()


def failing_closure() -> Any:
    lock = threading.Lock()

    def inner() -> Any:
        return lock

    return inner


CASES = {
    "value": threading.Lock(),
    "value[1]": [0, threading.Lock()],
    "value['a'][0].child.lock": {"a": [Node(child=Node(ok=1, lock=threading.Lock()))]},
    "value.lock": Slotted(),
    "value -> closure variable 'lock'": failing_closure(),
    "value.f -> closure variable 'lock'": Node(f=failing_closure()),
    "value -> default 0": (lambda x=LOCK: x),
    "value[0]": ((i for i in range(3)), 1),
}


@pytest.mark.row("1.27")
@pytest.mark.parametrize("where", CASES)
def test_the_way_to_the_culprit_is_shown(where: str) -> None:
    with pytest.raises(TypeError) as caught:
        dumps(CASES[where])
    text = str(caught.value)
    assert f"where: {where}\n" in text
    assert "cannot pickle '" in text
    assert "_thread.lock" in text or "generator" in text
    assert "next:" in text
    assert caught.value.__cause__ is not None


@pytest.mark.row("1.27")
def test_a_culprit_in_the_globals_of_a_function_is_named() -> None:
    space: dict[str, Any] = {"__name__": "__main__", "held": threading.Lock()}
    exec("def f():\n    return [held for _ in ()]", space)
    with pytest.raises(TypeError, match="where: value -> global 'held'"):
        dumps_function(space["f"])


def test_arguments_are_named_too() -> None:
    with pytest.raises(TypeError, match=r"where: value\[1\]\['k'\]"):
        pack_args((1,), {"k": threading.Lock()})


class Picky:
    def __getstate__(self) -> Any:
        raise KeyError("my own mistake")


def test_an_exception_of_user_code_is_kept_and_annotated() -> None:
    picky = Picky()
    with pytest.raises(KeyError, match="my own mistake") as caught:
        dumps({"a": picky})
    (note,) = caught.value.__notes__
    assert note.startswith("raised while pickling {'a': <")
    assert note.endswith("(type builtins.dict), at value['a']")
    assert caught.value.__cause__ is None


class Unprintable:
    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_a_value_that_cannot_be_printed_is_still_explained() -> None:
    with pytest.raises(TypeError, match="<unprintable: RuntimeError>"):
        dumps(Unprintable())


def test_a_value_that_is_nested_too_deeply_is_a_type_error() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(TypeError, match="cannot serialize"):
        dumps(deep)


def test_a_cycle_does_not_confuse_the_search() -> None:
    node = Node(me=[], lock=threading.Lock())
    node.me.append(node)  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match=r"where: value\.lock"):
        dumps(node)
