"""When an actor's state may be saved: between calls, at the times the policy names, and not for ever waiting."""

from __future__ import annotations

import random

from linckia.core.actors.save_point import SavePoint


def point(every_s: float | None = None, every_calls: int | None = None) -> SavePoint:
    return SavePoint(every_s, every_calls, hold_max_s=5.0)


def test_every_so_many_calls_one_save() -> None:
    subject, saves = point(every_calls=3), list[int]()
    for number in range(1, 10):
        subject.begin(0.0)
        if subject.end(0.0):
            saves.append(number)
            subject.saved(0.0, well=True)
    assert saves == [3, 6, 9]
    assert (subject.begun, subject.unsaved) == (9, 0)


def test_time_counts_from_the_first_call_that_is_not_saved() -> None:
    subject = point(every_s=10.0)
    assert not subject.try_begin_save(1000.0), "nothing happened"
    assert subject.begin(1000.0), "the first: look again later"
    assert not subject.end(1001.0)
    assert not subject.begin(1002.0)
    assert not subject.end(1009.0)
    assert not subject.try_begin_save(1009.9)
    assert subject.try_begin_save(1010.0)


def test_never_in_the_middle_of_a_call() -> None:
    subject = point(every_calls=1)
    subject.begin(0.0)
    subject.begin(0.0)
    assert not subject.try_begin_save(1.0)
    assert not subject.end(1.0), "another one runs"
    assert subject.end(2.0)


def test_nothing_begins_during_a_save_and_no_second_save() -> None:
    subject = point(every_calls=1)
    subject.begin(0.0)
    assert subject.end(0.0)
    assert subject.holds(100.0)
    assert not subject.try_begin_save(100.0)
    subject.saved(100.0, well=True)
    assert not subject.holds(100.0)


def test_calls_are_held_back_when_a_save_is_due_but_not_for_ever() -> None:
    subject = point(every_calls=1)
    subject.begin(0.0)
    assert subject.holds(1.0), "due since a call runs: the next waits for its end"
    assert subject.holds(5.9)
    assert not subject.holds(6.0), "the running call may wait for the one that is held"
    subject.begin(6.0)
    assert not subject.end(7.0)
    assert subject.end(8.0), "saved at the first moment without a call all the same"


def test_nothing_is_held_back_while_no_save_is_due() -> None:
    subject = point(every_calls=5)
    for _ in range(4):
        assert not subject.holds(0.0)
        subject.begin(0.0)


def test_a_request_needs_no_policy_and_no_calls() -> None:
    subject = point()
    assert not subject.try_begin_save(0.0)
    subject.ask()
    assert subject.try_begin_save(0.0)
    subject.saved(0.0, well=True)
    assert not subject.try_begin_save(1.0), "once"


def test_a_save_that_failed_is_due_again() -> None:
    subject = point(every_calls=2, every_s=10.0)
    for _ in range(2):
        subject.begin(0.0)
    assert not subject.end(0.0)
    assert subject.end(0.0)
    subject.saved(1.0, well=False)
    assert subject.unsaved == 2
    assert subject.try_begin_save(1.0)


def test_random_calls_never_overlap_a_save() -> None:
    rng = random.Random(11)
    for _ in range(200):
        subject = point(every_s=rng.choice([None, 0.5, 3.0]), every_calls=rng.choice([None, 1, 4]))
        now_s, running = 0.0, 0
        for _ in range(200):
            now_s += rng.random()
            if rng.random() < 0.1:
                subject.ask()
            if not subject.holds(now_s) and rng.random() < 0.6:
                subject.begin(now_s)
                running += 1
            elif running and subject.end(now_s):
                running -= 1
                assert running == 0 and subject.holds(now_s)
                subject.saved(now_s, well=rng.random() < 0.8)
            elif running:
                running -= 1
            assert subject.running == running
