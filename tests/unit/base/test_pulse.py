"""The pulse: waits end with whole seconds, never later than asked where lateness would count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linckia.base.pulse import PULSE_S, shared_wait_s, until_pulse_s

times = st.floats(0, 1e7)


@given(times, st.floats(0, 100))
def test_a_pulse_is_as_far_away_as_asked_and_not_a_pulse_further(now_s: float, least_s: float) -> None:
    wait_s = until_pulse_s(now_s, least_s)
    assert least_s <= wait_s <= least_s + PULSE_S
    assert (now_s + wait_s) % PULSE_S == pytest.approx(0, abs=1e-6) or (now_s + wait_s) % PULSE_S > PULSE_S - 1e-6


@given(times, st.floats(0, 100))
def test_a_shared_wait_is_never_longer_and_at_most_a_pulse_shorter(now_s: float, wait_s: float) -> None:
    shared_s = shared_wait_s(now_s, wait_s)
    assert max(0.0, wait_s - PULSE_S) <= shared_s <= wait_s


def test_what_is_due_before_the_next_pulse_stays_as_it_is() -> None:
    assert shared_wait_s(5.3, 0.25) == 0.25
    assert shared_wait_s(5.25, 2.0) == 1.75
    assert until_pulse_s(5.25, 0.5) == 0.75
    assert until_pulse_s(5.75, 0.5) == 1.25
