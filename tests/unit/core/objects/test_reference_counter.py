"""The reference counter by cases: messages that cross, overtake, or concern the dead."""

from __future__ import annotations

from linckia.core.objects.reference_counter import ReferenceCounter
from linckia.core.objects.references import Acknowledge, Answer, End, Free, Ref, Register, Value

A, B, C = b"A", b"B", b"C"
X, Y, T, R = b"X", b"Y", b"T", b"R"


def borrowed(borrower: bytes = B) -> tuple[ReferenceCounter, ReferenceCounter]:
    """A owns X and has dropped it; the borrower was lent it inside Y, which it has dropped."""
    owner, holder = ReferenceCounter(A), ReferenceCounter(borrower)
    owner.create(X)
    owner.create(Y, [X])
    owner.drop(X)
    holder.begin(T, A, [Ref(Y, A)])
    holder.fetch(Y)
    (value,) = owner.serve(Y, borrower)
    assert isinstance(value, Value)
    holder.fetched(Y, value.contained)
    holder.keep(X)
    holder.finish(T, [])
    assert holder.entries[X].credits == 1
    return owner, holder


def test_an_object_is_free_with_its_last_reference() -> None:
    counter = ReferenceCounter(A)
    counter.create(X)
    counter.keep(X)
    assert counter.drop(X) == []
    assert counter.drop(X) == [Free(X)]


def test_what_is_inside_lives_as_long_as_the_outside() -> None:
    counter = ReferenceCounter(A)
    counter.create(X)
    counter.create(Y, [X])
    assert counter.drop(X) == []
    assert counter.drop(Y) == [Free(Y), Free(X)]


def test_an_argument_lives_until_the_answer() -> None:
    counter = ReferenceCounter(A)
    counter.create(X)
    counter.create(R)
    assert counter.submit(T, [X]) == (Ref(X, A),)
    assert counter.drop(X) == []
    assert counter.answered(T, B, [], R, []) == [Free(X)]


def test_an_argument_that_the_worker_keeps_lives_until_it_lets_go() -> None:
    owner, worker = ReferenceCounter(A), ReferenceCounter(B)
    owner.create(X)
    owner.create(R)
    worker.begin(T, A, owner.submit(T, [X]))
    owner.drop(X)
    worker.keep(X)
    (answer,) = worker.finish(T, [])
    assert answer == Answer(A, T, (X,), ())
    assert owner.answered(T, B, [X], R, []) == []
    (end,) = worker.drop(X)
    assert end == End(A, (X,))
    assert owner.ended(B, [X]) == [Free(X)]


def test_an_end_and_a_new_registration_may_cross() -> None:
    """With a set of borrowers instead of a count the object would be freed under the borrower's hands."""
    owner, holder = borrowed()
    holder.begin(b"T2", A, [Ref(Y, A)])
    holder.fetch(Y)
    (end,) = holder.drop(X)  # leaves before the value is there
    assert end == End(A, (X,))
    (value,) = owner.serve(Y, B)  # lent again before the end arrives
    assert isinstance(value, Value)
    owner.ended(B, [X])
    holder.fetched(Y, value.contained)
    holder.keep(X)
    assert owner.drop(Y) == [Free(Y)]
    assert X in owner.entries
    assert holder.holds(X)


def test_an_end_may_overtake_its_registration() -> None:
    owner = ReferenceCounter(A)
    owner.create(X)
    owner.create(R)
    owner.submit(T, [X])
    assert owner.ended(B, [X]) == []
    assert owner.answered(T, B, [X], R, []) == []
    assert owner.drop(X) == [Free(X)]


def test_a_third_owner_is_told_before_the_answer_leaves() -> None:
    worker = ReferenceCounter(B)
    worker.begin(T, A, [Ref(X, C)])
    (told,) = worker.finish(T, [X])
    assert told == Register(C, 1, X, A)
    effects = worker.acknowledged(1, known=True)
    assert effects == [Register(C, 2, X, B)]  # it is still in the answer, and so in this process
    assert worker.acknowledged(2, known=True) == [Answer(A, T, (), (Ref(X, C),)), End(C, (X,))]


def test_a_borrower_that_is_dead_is_not_registered() -> None:
    owner = ReferenceCounter(A)
    owner.create(X)
    owner.died(C)
    assert owner.add_borrower(B, 1, X, C) == [Acknowledge(B, 1, True)]
    assert owner.drop(X) == [Free(X)]


def test_the_dead_hold_nothing() -> None:
    owner, _holder = borrowed()
    assert owner.drop(Y) == [Free(Y)]
    assert owner.died(B) == [Free(X)]


def test_a_container_is_kept_until_the_third_owner_knows() -> None:
    holder = ReferenceCounter(B)
    holder.begin(T, A, [Ref(Y, A)])
    holder.fetch(Y)
    assert holder.fetched(Y, [Ref(X, C)]) == [Register(C, 1, X, B)]
    (answer,) = holder.finish(T, [])
    assert answer == Answer(A, T, (Y,), ())
    assert holder.acknowledged(1, known=True) == [End(A, (Y,)), End(C, (X,))]


def test_an_unknown_object_is_lost() -> None:
    holder = ReferenceCounter(B)
    holder.begin(T, A, [Ref(Y, A)])
    holder.fetch(Y)
    holder.fetched(Y, [Ref(X, C)])
    holder.keep(X)
    holder.acknowledged(1, known=False)
    assert holder.entries[X].lost
    assert holder.drop(X) == []
