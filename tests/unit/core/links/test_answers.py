"""Who does not acknowledge what it was asked."""

from __future__ import annotations

from linckia.core.links.answers import Answers


def test_who_is_asked_nothing_is_never_late() -> None:
    answers: Answers[str] = Answers(2.0)
    assert answers.next_look_s() is None
    assert answers.late(100.0) == []
    assert not answers.answered("a")


def test_late_counts_from_the_first_open_question_and_is_said_once() -> None:
    answers: Answers[str] = Answers(2.0)
    answers.asked("a", 10.0)
    answers.asked("b", 11.0)
    answers.asked("a", 11.5)
    assert answers.next_look_s() == 12.0
    assert answers.late(11.9) == []
    assert answers.late(12.0) == ["a"]
    answers.asked("a", 12.5)
    assert answers.late(12.9) == [], "it is late already"
    assert answers.late(20.0) == ["b"]
    assert answers.next_look_s() is None


def test_an_answer_in_time_is_no_news_and_a_late_one_is() -> None:
    answers: Answers[str] = Answers(2.0)
    answers.asked("a", 0.0)
    assert not answers.answered("a")
    assert answers.late(10.0) == []
    answers.asked("a", 10.0)
    answers.late(12.0)
    assert answers.answered("a")
    assert not answers.answered("a")
    answers.asked("a", 20.0)
    assert answers.late(22.0) == ["a"], "and it may be late again"
