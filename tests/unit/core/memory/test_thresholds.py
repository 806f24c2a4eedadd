"""When a node has too little memory, how much must go, and when it looks again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linckia.base.limits import GIB, MEMORY_LOOK_MIN_S, MIB
from linckia.core.memory.thresholds import MemorySettings, Usage, Watch, target_bytes


def usage(used: int, limit: int = 1000 * MIB, where: str = "here") -> Usage:
    return Usage(where, used, limit)


@pytest.mark.row("7.17")
@pytest.mark.parametrize(
    ("share", "min_free", "limit", "threshold"),
    [
        (0.95, -1, 1000, 950),
        (0.5, -1, 1000, 500),
        (1.0, -1, 1000, 1000),
        (0.95, 10, 1000, 990),  # the one that allows more counts
        (0.95, 100, 1000, 950),
        (0.95, 5000, 1000, 950),
        (0.95, 0, 1000, 1000),
    ],
)
def test_the_threshold_is_the_higher_of_two(share: float, min_free: int, limit: int, threshold: int) -> None:
    assert MemorySettings(usage_threshold=share, min_free_bytes=min_free).threshold_bytes(limit) == threshold


@pytest.mark.row("7.18")
def test_a_round_aims_below_the_threshold() -> None:
    assert target_bytes(950 * MIB, 1000 * MIB) == 900 * MIB
    assert target_bytes(950 * GIB, 1000 * GIB) == 947 * GIB, "not more than 3 GiB"
    assert target_bytes(10, 1000) == 0


def test_nothing_is_needed_up_to_the_threshold() -> None:
    watch = Watch(MemorySettings(), 2)
    assert watch.look([usage(950 * MIB)], 0.0).need_bytes == 0
    assert watch.look([usage(950 * MIB + 1)], 1.0).need_bytes == 50 * MIB + 1


@pytest.mark.row("P16")
def test_the_tightest_of_all_limits_counts() -> None:
    machine, group = usage(30 * GIB, 64 * GIB, "machine"), usage(496 * MIB, 512 * MIB, "group")
    verdict = Watch(MemorySettings(), 2).look([machine, group], 0.0)
    assert verdict.usage == group
    assert verdict.threshold_bytes == int(512 * MIB * 0.95)
    assert verdict.need_bytes > 0
    assert Watch(MemorySettings(), 2).look([machine, group._replace(used_bytes=MIB)], 0.0).need_bytes == 0


@pytest.mark.row("7.17")
def test_it_looks_earlier_while_memory_goes() -> None:
    watch = Watch(MemorySettings(), 2)
    assert watch.look([usage(100 * MIB)], 0.0).look_again_s == 0.25
    assert watch.look([usage(100 * MIB)], 0.25).look_again_s == 0.25, "at rest"
    growing = watch.look([usage(750 * MIB)], 0.5)  # 2600 MiB/s, 200 MiB left: 77 ms
    assert growing.look_again_s == pytest.approx(200 / 2600 / 2)
    assert watch.look([usage(949 * MIB)], 0.55).look_again_s == MEMORY_LOOK_MIN_S
    assert watch.look([usage(500 * MIB)], 0.6).look_again_s == 0.25, "it fell"
    assert watch.look([usage(949 * MIB, where="elsewhere")], 0.6).look_again_s == 0.25, "another limit: no pace known"


@pytest.mark.row("7.17")
def test_it_looks_seldom_while_much_is_free() -> None:
    far, near = usage(GIB, 64 * GIB), usage(56 * GIB, 64 * GIB)
    assert Watch(MemorySettings(), 2).look([far], 0.0).look_again_s == 2.0
    assert Watch(MemorySettings(), 2).look([near], 0.0).look_again_s == pytest.approx((64 * 0.95 - 56) / 8 / 2)
    assert Watch(MemorySettings(), 64).look([far], 0.0).look_again_s == 0.25, "many CPUs fill it quickly"
    assert Watch(MemorySettings(refresh_s=5.0), 2).look([near], 0.0).look_again_s == 5.0


@given(st.lists(st.tuples(st.integers(0, 1000), st.floats(0, 2)), min_size=1, max_size=20))
def test_it_always_looks_again_in_time(history: list[tuple[int, float]]) -> None:
    watch, now_s = Watch(MemorySettings(), 2), 0.0
    for used, passed_s in history:
        now_s += passed_s
        verdict = watch.look([usage(used * MIB)], now_s)
        assert MEMORY_LOOK_MIN_S <= verdict.look_again_s <= 0.25
        assert (verdict.need_bytes > 0) == (used * MIB > verdict.threshold_bytes)
