"""Values and arguments: what goes in comes out, zero copies where promised, references noticed, layouts equal."""

from __future__ import annotations

import datetime
import enum
import importlib
import math
import pickle
import subprocess
import sys
import threading
import weakref
from collections import OrderedDict, namedtuple
from pathlib import Path
from typing import Any, ClassVar

import cloudpickle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linckia.serialization import registry
from linckia.serialization.context import collecting, current_container, loading, note_reference, state
from linckia.serialization.values import (
    PLAIN_MAX_BYTES,
    ArgSlot,
    Serialized,
    dumps,
    dumps_plain,
    loads,
    pack_args,
    unpack_args,
)

INLINE_LIMIT = 100 * 1024


def laid_out(data: bytes | Serialized) -> bytes:
    """The inline form, after making sure that the shared-memory form is the same."""
    if isinstance(data, bytes):
        return data
    inline = data.to_bytes()
    assert len(inline) == data.size_bytes
    memory = bytearray(data.size_bytes + 10)
    data.write_into(memoryview(memory))
    assert bytes(memory[: data.size_bytes]) == inline
    assert not any(memory[data.size_bytes :]), "wrote beyond its size"
    return inline


def travel(value: Any) -> Any:
    return loads(laid_out(dumps(value)))


atoms = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
hashable = st.none() | st.booleans() | st.integers() | st.text() | st.binary()
values = st.recursive(
    atoms | st.binary().map(bytearray) | st.complex_numbers(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=20)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(hashable, inner, max_size=4)
        | st.frozensets(hashable, max_size=4)
        | st.sets(hashable, max_size=4)
    ),
    max_leaves=20,
)


def same(left: Any, right: Any) -> bool:
    """Equal, and of equal types all the way down (1 == True == 1.0 otherwise)."""
    if type(left) is not type(right):
        return False
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return len(left) == len(right) and all(
            same(a, b) and same(left[a], right[b]) for a, b in zip(left, right, strict=True)
        )
    return bool(left == right)


@pytest.mark.row("3.11")
@given(values)
@settings(deadline=None, max_examples=200)
def test_any_builtin_value_comes_back_the_same(value: Any) -> None:
    assert same(travel(value), value)


@given(st.lists(values, max_size=5), st.dictionaries(st.text(), values, max_size=4))
@settings(deadline=None, max_examples=200)
def test_any_arguments_come_back_the_same(args: list[Any], kwargs: dict[str, Any]) -> None:
    got_args, got_kwargs = unpack_args(laid_out(pack_args(tuple(args), kwargs)))
    assert same(list(got_args), args)
    assert same(got_kwargs, kwargs)


# --- fidelity ---------------------------------------------------------------------------------------------------------


@pytest.mark.row("3.11")
@pytest.mark.parametrize("size", [0, 10, 70_000, 300_000])
def test_bytes_bytearray_and_memoryview_keep_their_type(size: int) -> None:
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    for value in (content, bytearray(content), memoryview(content)):
        for shape in (value, [value], {"a": (value,)}):
            got = travel(shape)
            inner = got[0] if isinstance(got, list) else got["a"][0] if isinstance(got, dict) else got
            assert type(inner) is type(value)
            assert bytes(inner) == content
    got = travel(bytearray(content))
    got.append(1)
    assert len(got) == size + 1


@pytest.mark.row("3.11")
def test_memoryviews_keep_format_and_shape_and_are_read_only() -> None:
    source = np.arange(12, dtype="i4").reshape(3, 4)
    whole = source.data
    for view in (whole, whole[::2], source.T.data, (1.5 * source).data, memoryview(b"abc")[1:]):
        got = travel(view)
        assert (got.format, got.shape, got.tolist(), got.readonly) == (view.format, view.shape, view.tolist(), True)


def test_a_memoryview_that_python_cannot_make_itself_comes_back_as_its_bytes() -> None:
    for source in (np.array(["ab", "c"]), np.arange(3, dtype=">i4"), np.zeros((0, 3))):
        got = travel(source.data)
        assert got.tobytes() == source.tobytes()


@pytest.mark.row("3.11")
def test_one_object_met_twice_is_one_object_again() -> None:
    x = [1]
    first, second = travel([x, x])
    assert first is second
    cycle: list[Any] = []
    cycle.append(cycle)
    got = travel(cycle)
    assert got[0] is got


@pytest.mark.row("3.10")
def test_each_load_is_a_fresh_object() -> None:
    data = laid_out(dumps([{"a": [1]}]))
    first = loads(data)
    first[0]["a"].append(2)
    assert loads(data) == [{"a": [1]}]


Point = namedtuple("Point", "x y")


class Colour(enum.Enum):
    RED = 1


class SubclassOfInt(int):
    pass


@pytest.mark.parametrize(
    "value",
    [
        Point(1, 2),
        Colour.RED,
        SubclassOfInt(3),
        OrderedDict(b=1, a=2),
        datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
        slice(1, 2),
        range(5),
        Path("/x"),
        ...,
        2**100000,
        -0.0,
        "\ud800",
    ],
    ids=lambda value: type(value).__name__,
)
def test_common_classes(value: Any) -> None:
    got = travel(value)
    assert type(got) is type(value)
    assert got == value


def test_not_a_number_stays_what_it_is() -> None:
    assert math.isnan(travel(math.nan))


def test_lambdas_closures_and_local_classes_travel_by_value() -> None:
    base = 10

    class Local:
        def __init__(self, x: int) -> None:
            self.x = x

        def total(self) -> int:
            return self.x + base

    assert travel(lambda x: x + base)(1) == 11
    assert travel(Local(5)).total() == 15
    assert travel([Local, Local(1)])[1].total() == 11


def test_functions_that_share_globals_are_pickled_apart() -> None:
    """A reused pickler must not think that the reader has what an earlier value contained."""
    space: dict[str, Any] = {"__name__": "__main__", "k": 5}
    exec("def f(): return k", space)
    assert [travel(space["f"])() for _ in range(3)] == [5, 5, 5]
    assert state.spare.globals_ref == {}, "keyed by id(): the next globals dictionary may have the same one"


# --- arrays -----------------------------------------------------------------------------------------------------------

ARRAYS = {
    "small": np.arange(10),
    "large": np.arange(200_000, dtype="f4"),
    "matrix": np.arange(12.0).reshape(3, 4),
    "fortran": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "strided": np.arange(20)[::2],
    "reversed": np.arange(5)[::-1],
    "transposed 3d": np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1),
    "empty": np.empty((0, 3)),
    "no dimension": np.array(5.0),
    "big endian": np.arange(4, dtype=">i4"),
    "text": np.array(["a", "bcd"]),
    "raw text": np.array([b"a", b"bcd"]),
    "dates": np.array(["2024-01-01", "2024-02-03"], dtype="M8[s]"),
    "durations": np.array([1, 2], dtype="m8[ms]"),
    "boolean": np.array([True, False]),
    "complex": np.array([1j]),
    "half": np.arange(3, dtype="f2"),
    "records": np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]),
}


@pytest.mark.row("3.9")
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_come_back_equal_and_read_only(name: str) -> None:
    array = ARRAYS[name]
    got = travel({"in": [array]})["in"][0]
    assert type(got) is np.ndarray
    assert (got.dtype, got.shape) == (array.dtype, array.shape)
    assert (got == array).all()
    assert got.flags.f_contiguous or not array.flags.f_contiguous
    assert not got.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        got[...] = got


@pytest.mark.row("3.9")
def test_arrays_are_views_into_the_data() -> None:
    memory = bytearray(laid_out(dumps(np.zeros(1000))))
    array = loads(memoryview(memory))
    memory[-8:] = np.float64(7.0).tobytes()
    assert array[-1] == 7.0, "zero copies"
    assert not array.flags.writeable, "although the memory is writable"


def test_arrays_keep_the_data_alive() -> None:
    class Data(bytearray):
        pass

    data = Data(laid_out(dumps(np.arange(100))))
    alive = weakref.ref(data)
    array = loads(memoryview(data))
    part = array[10:20].reshape(5, 2)
    del data, array
    assert alive() is not None
    del part
    assert alive() is None, "no garbage collection needed"


def test_buffers_start_at_multiples_of_64() -> None:
    data = laid_out(dumps([np.full(3, 1, "u1"), np.full(100, 2, "u1"), np.full(5, 3, "u1")]))
    starts = [data.index(bytes([fill]) * count) for fill, count in ((1, 3), (2, 100), (3, 5))]
    assert [start % 64 for start in starts] == [0, 0, 0]


def test_object_arrays_matrices_and_masked_arrays_take_numpys_way() -> None:
    masked = np.ma.masked_array([1, 2], mask=[False, True])
    objects = np.array([{"a": 1}, None], dtype=object)
    assert travel(objects).tolist() == objects.tolist()
    assert travel(masked).mask.tolist() == [False, True]
    described = np.zeros(3, np.dtype("i4", metadata={"unit": "m"}))
    assert dict(travel(described).dtype.metadata or {}) == {"unit": "m"}


@pytest.mark.parametrize("value", [np.float64(1.5), np.int8(-3), np.bool_(True), np.complex64(2j), np.longdouble(1)])
def test_numpy_scalars_keep_their_type(value: Any) -> None:
    got = travel((value,))[0]
    assert type(got) is type(value)
    assert got == value


@pytest.mark.row("3.9")
def test_arrow_tables_are_read_without_copies() -> None:
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"a": np.arange(100_000), "b": ["x"] * 100_000})
    data = dumps(table)
    assert isinstance(data, Serialized)
    assert len(data.buffers) >= 3
    before = arrow.total_allocated_bytes()
    got = loads(laid_out(data))
    assert arrow.total_allocated_bytes() - before < 10_000
    assert got.equals(table)


# --- forms ------------------------------------------------------------------------------------------------------------


def test_bytes_mean_small_and_without_references() -> None:
    for value in (1, "x" * 200_000, b"y" * 200_000, ["z" * 60_000] * 2, list(range(100_000)), [b"q" * 2000] * 16):
        data = dumps(value)
        packed = pack_args((value,), {})
        for form in (data, packed, pack_args((), {"k": value})):
            assert isinstance(form, Serialized) or len(form) <= INLINE_LIMIT
        assert loads(laid_out(data)) == value
        assert unpack_args(laid_out(packed)) == ((value,), {})


def test_many_short_strings_do_not_slip_through_as_a_large_bytes() -> None:
    args = tuple("x" * 2000 + str(i) for i in range(200))
    packed = pack_args(args, {})
    assert isinstance(packed, Serialized)
    assert unpack_args(laid_out(packed))[0] == args


@pytest.mark.parametrize("where", ["top", "nested"])
def test_large_bytes_are_not_copied_before_they_are_laid_out(where: str) -> None:
    content = b"x" * (PLAIN_MAX_BYTES * 4)
    data = dumps(content if where == "top" else [content, 1])
    assert isinstance(data, Serialized)
    assert any(chunk is content for chunk in data.chunks)
    assert pickle.loads(laid_out(data)) in (content, [content, 1])


def test_a_value_without_buffers_is_a_plain_pickle() -> None:
    assert pickle.loads(laid_out(dumps([{"a": {1, 2}}]))) == [{"a": {1, 2}}]


def test_plain_dumps_is_one_pickle_stream() -> None:
    value = {"array": np.arange(3), "f": lambda: 5}
    got = pickle.loads(dumps_plain(value))
    assert got["array"].tolist() == [0, 1, 2]
    assert got["f"]() == 5
    assert pickle.loads(dumps_plain(7)) == 7


@pytest.mark.parametrize("cut", [1, 70])
def test_a_truncated_container_is_named(cut: int) -> None:
    data = laid_out(dumps(np.arange(100)))
    with pytest.raises(ValueError, match=f"header says {len(data)} bytes, got {len(data) - cut}"):
        loads(data[:-cut])


def test_foreign_bytes_are_named() -> None:
    with pytest.raises(ValueError, match="first byte is 0x7b"):
        loads(b"{}" + bytes(100))


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.row("3.5")
@pytest.mark.parametrize(
    "extra", [1, [1, {"a": 2}], np.arange(3), "x" * 100_000], ids=["atom", "list", "array", "long"]
)
def test_slots_are_replaced_by_values(extra: Any) -> None:
    packed = pack_args((ArgSlot(1), extra, ArgSlot(0)), {"k": ArgSlot(2), "plain": 5})
    args, kwargs = unpack_args(laid_out(packed), ["zero", "one", "two"])
    assert (args[0], args[2], kwargs) == ("one", "zero", {"k": "two", "plain": 5})
    assert len(args) == 3


def test_packing_slots_changes_nothing_of_the_callers() -> None:
    kwargs = {"k": ArgSlot(0)}
    pack_args((), kwargs)
    assert kwargs == {"k": ArgSlot(0)}


def test_no_arguments_take_no_bytes() -> None:
    assert pack_args((), {}) == b""
    assert unpack_args(b"") == ((), {})


def test_a_slot_elsewhere_is_an_ordinary_value() -> None:
    assert travel([ArgSlot(3)]) == [ArgSlot(3)]


# --- references -------------------------------------------------------------------------------------------------------


class Ref:
    noted: ClassVar[list[bool]] = []

    def __init__(self, number: int) -> None:
        self.number = number

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and other.number == self.number

    def __reduce__(self) -> tuple[Any, ...]:
        Ref.noted.append(note_reference(self))
        return rebuild_ref, (self.number,)


class LoadedRef(Ref):
    def __init__(self, number: int, container: object) -> None:
        super().__init__(number)
        self.container = container


def rebuild_ref(number: int) -> Ref:
    return LoadedRef(number, current_container())


@pytest.mark.row("3.6")
def test_references_inside_are_found_once_each_and_in_order() -> None:
    data = dumps({"b": [Ref(2), Ref(1)], "a": Ref(2)})
    assert isinstance(data, Serialized), "even when small: the references need keeping"
    assert data.contained == [Ref(2), Ref(1)]
    packed = pack_args(([Ref(7)],), {})
    assert isinstance(packed, Serialized)
    assert packed.contained == [Ref(7)]


@pytest.mark.row("1.47")
def test_outside_of_dumps_nobody_notes_references() -> None:
    Ref.noted.clear()
    pickle.dumps(Ref(1))
    dumps_plain([Ref(1)])
    assert Ref.noted == [False, False]
    dumps([Ref(1)])
    assert Ref.noted == [False, False, True]


class Outer:
    """Pickles by calling dumps itself."""

    def __init__(self) -> None:
        self.inner: list[Any] = []

    def __reduce__(self) -> tuple[Any, ...]:
        inner = dumps([Ref(1), np.arange(3)])
        assert isinstance(inner, Serialized)
        self.inner.append(inner.contained)
        dumps_plain(Ref(5))
        return list, ([Ref(2)],)


def test_a_dump_inside_a_dump_keeps_its_references_apart() -> None:
    outer = Outer()
    data = dumps([Ref(3), outer, np.arange(3)])
    assert isinstance(data, Serialized)
    assert outer.inner == [[Ref(1)]]
    assert data.contained == [Ref(3), Ref(2)]
    got = loads(laid_out(data))
    assert got[2].tolist() == [0, 1, 2]


def test_a_failed_dump_leaves_no_context_and_no_leftovers() -> None:
    with pytest.raises(TypeError):
        dumps([Ref(1), np.arange(3), threading.Lock()])
    assert not note_reference(Ref(2))
    data = dumps([np.arange(2), Ref(4)])
    assert isinstance(data, Serialized)
    assert (data.contained, len(data.buffers)) == ([Ref(4)], 1)


def test_each_thread_has_its_own_context() -> None:
    with collecting({}) as mine:
        assert note_reference(Ref(1))
        seen: list[bool] = []
        thread = threading.Thread(target=lambda: seen.append(note_reference(Ref(2))))
        thread.start()
        thread.join()
        with collecting(None):
            assert not note_reference(Ref(3))
    assert (seen, mine) == ([False], {Ref(1): None})


def test_references_know_what_they_came_out_of() -> None:
    data = laid_out(dumps([Ref(1)]))
    with loading("outer"):
        with loading("inner"):
            (inner,) = loads(data)
        (outer,) = loads(data)
    (none,) = loads(data)
    assert (inner.container, outer.container, none.container) == ("inner", "outer", None)


# --- registered serializers, reloads, start-up ------------------------------------------------------------------------


class Socket:
    def __init__(self, address: str) -> None:
        self.address = address
        self.lock = threading.Lock()


@pytest.mark.row("3.11")
def test_a_registered_serializer_is_used_also_inside_arguments() -> None:
    registry.register(Socket, lambda s: s.address, Socket)
    try:
        assert travel(Socket("a")).address == "a"
        assert unpack_args(laid_out(pack_args((Socket("b"),), {})))[0][0].address == "b"
    finally:
        registry.deregister(Socket)
    with pytest.raises(TypeError, match="lock"):
        dumps(Socket("c"))


def test_a_function_of_a_reloaded_module_still_travels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "reloaded_for_test.py").write_text("def f():\n    return 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("reloaded_for_test")
    old = module.f
    assert b"reloaded_for_test" in laid_out(dumps([old])), "by reference, and remembered"
    importlib.reload(module)
    assert travel([old])[0]() == 1
    del sys.modules["reloaded_for_test"]


def test_a_module_registered_by_value_later_goes_by_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "by_value_for_test.py").write_text("def f():\n    return 'its own code'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("by_value_for_test")
    assert b"its own code" not in laid_out(dumps([module.f]))
    cloudpickle.register_pickle_by_value(module)
    try:
        assert b"its own code" in laid_out(dumps([module.f]))
    finally:
        cloudpickle.unregister_pickle_by_value(module)
        del sys.modules["by_value_for_test"]


def test_simple_values_need_neither_cloudpickle_nor_numpy() -> None:
    script = (
        "import sys; from linckia.serialization import values as v\n"
        "v.loads(v.dumps(1)); v.unpack_args(v.pack_args((1, 'a'), {'k': 2.5})); v.dumps([1, 2])\n"
        "print(sorted({'cloudpickle', 'numpy', 'inspect', 'asyncio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
