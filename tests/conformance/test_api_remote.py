"""`remote`, remote functions, actor classes, handles and methods: their forms and what they refuse in the caller."""

from __future__ import annotations

import functools
import pickle
from typing import Any

import pytest
from engine import ENGINE, IS_LINCKIA, better, exceptions, module, ray

pytestmark = pytest.mark.usefixtures("cluster")


@ray.remote
class Counter:
    """Counts."""

    step = 2

    def __init__(self, start: int = 0) -> None:
        self.value = start

    def add(self, by: int = 1) -> int:
        self.value += by
        return self.value

    @ray.method(num_returns=2)
    def pair(self) -> tuple[int, int]:
        return self.value, -self.value


def plain_add(first: int, second: int = 10) -> int:
    """Adds."""
    return first + second


class PlainBase:
    def inherited(self) -> str:
        return f"inherited by {type(self).__name__}"


@pytest.mark.row("1.18")
def test_bare_decorator_on_a_function() -> None:
    @ray.remote
    def double(number: int) -> int:
        return 2 * number

    assert ray.get(double.remote(4)) == 8


@pytest.mark.row("1.18")
def test_decorator_with_options() -> None:
    @ray.remote(num_cpus=1, num_returns=2)
    def both() -> tuple[int, int]:
        return 1, 2

    assert ray.get(both.remote()) == [1, 2]


@pytest.mark.row("1.18")
def test_callable_form_on_function_and_class() -> None:
    assert ray.get(ray.remote(plain_add).remote(1)) == 11
    actor = ray.remote(PlainBase).remote()
    assert ray.get(actor.inherited.remote()) == "inherited by PlainBase"


@pytest.mark.row("1.18")
def test_options_form_applied_later() -> None:
    assert ray.get(ray.remote(num_cpus=0.5)(plain_add).remote(1, second=2)) == 3


@pytest.mark.row("1.18")
def test_empty_parentheses_are_refused() -> None:
    with pytest.raises(AssertionError):
        ray.remote()


@pytest.mark.row("1.18")
def test_positional_options_are_refused() -> None:
    with pytest.raises(AssertionError):
        ray.remote(plain_add, plain_add)
    for value in (5, "text"):
        with pytest.raises((AssertionError, TypeError)):
            ray.remote(value)


@pytest.mark.row("1.18")
@pytest.mark.parametrize(
    "value", [functools.partial(plain_add, 1), len, Counter], ids=["partial", "builtin", "actor class"]
)
def test_other_callables_are_a_type_error(value: Any) -> None:
    with pytest.raises((TypeError, AssertionError)):
        ray.remote(value)


@pytest.mark.row("1.18")
def test_async_function_is_no_task() -> None:
    async def coroutine() -> None:
        pass

    with pytest.raises(ValueError, match="(?i)async"):
        ray.remote(coroutine)


@pytest.mark.row("1.19")
def test_a_remote_function_cannot_be_called_directly() -> None:
    with pytest.raises(TypeError, match=r"\.remote\(\)"):
        ray.remote(plain_add)(1)


@pytest.mark.row("1.19")
@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"third": 3}), ((1,), {"first": 1})])
def test_arguments_are_checked_in_the_caller(args: tuple[int, ...], kwargs: dict[str, int]) -> None:
    with pytest.raises(TypeError, match=r"argument"):
        ray.remote(plain_add).remote(*args, **kwargs)


@pytest.mark.row("1.19")
def test_all_kinds_of_parameters_arrive() -> None:
    @ray.remote
    def gather(first: int, /, second: int, *rest: int, named: int, default: int = 5, **others: int) -> Any:
        return first, second, rest, named, default, others

    assert ray.get(gather.remote(1, 2, 3, 4, named=6, extra=7)) == (1, 2, (3, 4), 6, 5, {"extra": 7})


@pytest.mark.row("1.19")
def test_the_function_is_pickled_at_the_first_call() -> None:
    factor = [2]

    @ray.remote
    def multiply(number: int) -> int:
        return number * factor[0]

    assert ray.get(multiply.remote(5)) == 10
    factor[0] = 100
    assert ray.get(multiply.remote(5)) == 10


@pytest.mark.row("1.19")
def test_two_remote_functions_of_the_same_name_stay_apart() -> None:
    def make(result: int) -> Any:
        @ray.remote
        def same() -> int:
            return result

        return same

    one, two = make(1), make(2)
    assert ray.get([one.remote(), two.remote(), one.remote()]) == [1, 2, 1]


@pytest.mark.row("1.19")
def test_options_leave_the_original_alone() -> None:
    @ray.remote
    def pair() -> tuple[int, int]:
        return 1, 2

    assert ray.get(pair.options(num_returns=2).remote()) == [1, 2]
    assert ray.get(pair.remote()) == (1, 2)


@pytest.mark.row("1.19")
@better("Ray's wrappers show their own docstrings")
def test_docstring_and_name_survive_the_decorator() -> None:
    wrapped = ray.remote(plain_add)
    assert wrapped.__doc__ == "Adds."
    assert wrapped.__name__ == "plain_add"


@pytest.mark.row("1.19")
def test_a_remote_function_can_be_called_from_a_task_and_passed_as_an_argument() -> None:
    helper = ray.remote(plain_add)

    @ray.remote
    def outer(function: Any) -> int:
        inner: int = ray.get(function.remote(1, 1)) + ray.get(helper.remote(1, 1))
        return inner

    assert ray.get(outer.remote(helper)) == 4


@pytest.mark.row("1.19")
def test_a_remote_function_can_call_itself() -> None:
    @ray.remote
    def factorial(number: int) -> int:
        return 1 if number < 2 else number * ray.get(factorial.remote(number - 1))

    assert ray.get(factorial.remote(6)) == 720


@pytest.mark.row("1.20")
def test_an_actor_class_is_not_instantiated_directly() -> None:
    with pytest.raises(TypeError, match=r"\.remote\(\)"):
        Counter()


@pytest.mark.row("1.20")
def test_subclassing_an_actor_class_is_refused() -> None:
    with pytest.raises(TypeError) as caught:

        class Sub(Counter):  # type: ignore[misc]
            pass

    assert type(caught.value).__name__ == "ActorClassInheritanceException"


@pytest.mark.row("1.20")
def test_inheriting_from_an_undecorated_base_works() -> None:
    @ray.remote
    class Derived(PlainBase):
        pass

    assert ray.get(Derived.remote().inherited.remote()) == "inherited by Derived"


@pytest.mark.row("1.20")
def test_class_attributes_are_visible_on_the_actor_class() -> None:
    assert Counter.step == 2
    if IS_LINCKIA:
        assert Counter.__doc__ == "Counts."


@pytest.mark.row("1.20")
def test_constructor_arguments_are_checked_in_the_caller() -> None:
    with pytest.raises(TypeError, match="argument"):
        Counter.remote(1, 2, 3)


@pytest.mark.row("1.20")
def test_constructor_arguments_and_options_arrive() -> None:
    assert ray.get(Counter.options(num_cpus=0).remote(start=40).add.remote(2)) == 42


@pytest.mark.row("1.21")
def test_an_unknown_method_raises_locally() -> None:
    actor = Counter.remote()
    with pytest.raises(AttributeError, match="incremnt"):
        _ = actor.incremnt


@pytest.mark.row("1.21")
def test_instance_attributes_are_not_reachable_through_a_handle() -> None:
    with pytest.raises(AttributeError):
        _ = Counter.remote().value


@pytest.mark.row("1.21")
def test_handles_compare_by_actor() -> None:
    @ray.remote
    def back(value: Any) -> Any:
        return value

    one, two = Counter.remote(), Counter.remote()
    (copy,) = ray.get(back.remote([one]))
    assert copy == one
    assert hash(copy) == hash(one)
    assert one != two
    assert len({one, two, copy}) == 2


@pytest.mark.row("1.21")
def test_a_handle_travels_and_keeps_working() -> None:
    @ray.remote
    def use(actor: Any) -> int:
        value: int = ray.get(actor.add.remote(5))
        return value

    actor = Counter.remote(1)
    assert ray.get(use.remote(actor)) == 6
    copy = ray.get(ray.put(actor))
    assert ray.get(copy.add.remote(1)) == 7


@pytest.mark.row("1.21")
def test_method_metadata_travels_with_the_handle() -> None:
    @ray.remote
    def use(actor: Any) -> list[int]:
        first, second = actor.pair.remote()
        values: list[int] = ray.get([first, second])
        return values

    assert ray.get(use.remote(Counter.remote(3))) == [3, -3]


@pytest.mark.row("1.21")
def test_dir_lists_the_methods() -> None:
    assert {"add", "pair"} <= set(dir(Counter.remote()))


@pytest.mark.row("1.21")
def test_repr_names_class_and_id() -> None:
    actor = Counter.remote()
    assert repr(actor).startswith("Actor(Counter, ")
    assert actor._actor_id.hex() in repr(actor)


@pytest.mark.row("1.22")
def test_ray_ready_answers_when_constructed(new_gate: Any) -> None:
    gate = new_gate()

    @ray.remote
    class Slow:
        def __init__(self) -> None:
            gate.wait()

    ref = Slow.remote().__ray_ready__.remote()
    assert ray.wait([ref], timeout=0.1) == ([], [ref])
    gate.open()
    assert ray.get(ref) is True


@pytest.mark.row("1.22")
def test_ray_call_runs_a_function_on_the_instance() -> None:
    actor = Counter.remote(5)
    assert ray.get(actor.__ray_call__.remote(lambda self, plus: self.value + plus, 2)) == 7


@pytest.mark.row("1.22")
def test_ray_terminate_ends_the_actor_after_queued_work() -> None:
    actor = Counter.remote()
    refs = [actor.add.remote() for _ in range(10)]
    actor.__ray_terminate__.remote()
    assert ray.get(refs) == list(range(1, 11))
    with pytest.raises(exceptions.RayActorError):
        for _ in range(1000):
            ray.get(actor.add.remote())


@pytest.mark.row("1.23")
def test_method_decorator_gives_several_refs() -> None:
    refs = Counter.remote(2).pair.remote()
    assert len(refs) == 2
    assert ray.get(refs) == [2, -2]


@pytest.mark.row("1.23")
def test_bare_method_decorator_changes_nothing() -> None:
    @ray.remote
    class Plain:
        @ray.method
        def one(self) -> int:
            return 1

    assert ray.get(Plain.remote().one.remote()) == 1


@pytest.mark.row("1.23")
def test_method_decorator_refuses_unknown_keys() -> None:
    with pytest.raises(AssertionError):
        ray.method(num_cpus=1)


@pytest.mark.row("1.23")
def test_call_options_win_over_the_method_decorator() -> None:
    assert ray.get(Counter.remote(2).pair.options(num_returns=1).remote()) == (2, -2)


@pytest.mark.row("2.38")
def test_a_method_cannot_be_called_directly() -> None:
    with pytest.raises(TypeError, match=r"remote"):
        Counter.remote().add(1)


@pytest.mark.row("2.38")
def test_a_method_of_a_temporary_handle_works() -> None:
    assert ray.get(Counter.remote(1).add.remote()) == 2


@pytest.mark.row("1.19", "1.20")
def test_classes_of_the_wrappers_are_public() -> None:
    remote_function = module("remote_function")
    actor = module("actor")
    assert isinstance(ray.remote(plain_add), remote_function.RemoteFunction)
    assert isinstance(Counter, actor.ActorClass)
    handle = Counter.remote()
    assert isinstance(handle, actor.ActorHandle)
    assert isinstance(handle.add, actor.ActorMethod)
    assert remote_function.RemoteFunction.__module__.startswith(ENGINE)


@pytest.mark.row("1.21")
def test_plain_pickle_of_a_handle_outside_the_engine_also_works() -> None:
    actor = Counter.remote(1)
    copy = pickle.loads(pickle.dumps(actor))
    assert copy == actor
    assert ray.get(copy.add.remote()) == 2


@pytest.mark.row("1.19", "1.55")
def test_bind_builds_a_lazy_call() -> None:
    double = ray.remote(plain_add)
    assert ray.get(double.bind(double.bind(1, 1), 1).execute()) == 3
