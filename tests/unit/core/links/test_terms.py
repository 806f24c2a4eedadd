"""What a node writes down about the terms of its heads."""

from __future__ import annotations

from linckia.core.links.terms import Terms


def test_a_term_that_ends_is_told_with_its_last_message() -> None:
    terms = Terms()
    assert terms.begin(3) == ""
    terms.heard(1.5)
    terms.heard(2.25)
    terms.refused(4)
    said = terms.begin(17)
    assert said == (
        "term 3 ended here: 2 messages of it, the last at 2.250000 s of the monotonic clock; "
        "refused of ended terms so far: 4"
    )
    assert (terms.epoch, terms.heard_count) == (17, 0)


def test_another_session_of_the_same_term_goes_on_counting() -> None:
    terms = Terms()
    terms.begin(3)
    terms.heard(1.0)
    assert terms.begin(3) == ""
    assert terms.heard_count == 1
