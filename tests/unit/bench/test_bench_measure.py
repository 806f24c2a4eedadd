"""How rates are taken and how /proc is read."""

from __future__ import annotations

import pytest

from bench.framing import frames, packed
from bench.fresh import last_json
from bench.measure import NothingMeasuredError, WrongResultError, expect, rate
from bench.memory import descendants, parse_smaps_rollup, parse_stat_parent, parse_stat_state

SMAPS = """55d0c8e00000-7ffd2f9f1000 ---p 00000000 00:00 0                          [rollup]
Rss:               20812 kB
Pss:               12345 kB
Pss_Anon:           9000 kB
Private_Clean:       400 kB
Private_Dirty:      9000 kB
Shared_Clean:      11412 kB
"""


class Clock:
    """Time that passes only when work is done."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        self.now += seconds


def test_rate_divides_the_units_by_the_time_after_the_warm_up() -> None:
    clock = Clock()
    calls: list[float] = []

    def call() -> None:
        calls.append(clock.now)
        clock.work(1.0 if clock.now < 1 else 0.01)  # the first call is slow, as first calls are

    assert rate(call, 5, 2.0, clock) == pytest.approx(500, rel=0.01)
    assert len(calls) == pytest.approx(201, abs=1)


def test_rate_takes_at_least_one_call_however_long() -> None:
    clock = Clock()
    assert rate(lambda: clock.work(8.0), 4, 1.0, clock) == 0.5


def test_rate_refuses_an_empty_loop() -> None:
    clock = Clock()
    with pytest.raises(NothingMeasuredError, match="no work"):
        rate(lambda: clock.work(0.1), 10**9, 0.1, clock)


def test_expect_names_what_is_wrong() -> None:
    expect([1], [1], "same")
    with pytest.raises(WrongResultError, match=r"answer: expected b'ok', found b'no'"):
        expect(b"no", b"ok", "answer")


def test_smaps_rollup_gives_pss_and_the_private_part() -> None:
    found = parse_smaps_rollup(SMAPS)
    assert found.pss_bytes == 12345 * 1024
    assert found.uss_bytes == 9400 * 1024


def test_smaps_rollup_of_a_process_that_is_gone_is_nothing() -> None:
    assert parse_smaps_rollup("").pss_bytes == 0


def test_stat_is_read_behind_a_hostile_command_name() -> None:
    text = "4242 (a) R 1 (b) c) S 17 4242 4242 0 -1"
    assert parse_stat_parent(text) == 17
    assert parse_stat_state(text) == "S"


def test_descendants_follow_the_tree_and_nobody_else() -> None:
    parents = {10: 1, 11: 10, 12: 11, 13: 10, 20: 1, 21: 20}
    assert descendants(10, parents) == {11, 12, 13}
    assert descendants(12, parents) == set()


def test_descendants_end_even_if_pids_were_reused_into_a_cycle() -> None:
    assert descendants(10, {11: 10, 12: 11, 10: 12}) == {11, 12}


def test_frames_are_taken_whole_and_the_rest_stays() -> None:
    first, second = packed((1, b"x")), packed("y")
    buffer = bytearray(first + second[:-1])
    assert frames(buffer) == [(1, b"x")]
    assert buffer == second[:-1]
    buffer += second[-1:]
    assert frames(buffer) == ["y"]
    assert not buffer


def test_last_json_line_is_found_among_an_engine_s_own_output() -> None:
    assert last_json('hello\n{"a": 1}\n{"startup_s": 2.5}\nbye\n') == {"startup_s": 2.5}
    with pytest.raises(ValueError, match="no JSON line"):
        last_json("bye")
