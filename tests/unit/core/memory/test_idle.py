"""Fat idle workers: how fat is too fat, and what is tried first."""

from __future__ import annotations

import pytest

from linckia.base.limits import GIB, IDLE_WORKER_LOOK_AFTER_S, IDLE_WORKER_TRIM_BYTES, MIB
from linckia.core.memory.idle import Looked, Step, idle_max_bytes, is_due, next_step

AFTER = IDLE_WORKER_LOOK_AFTER_S


@pytest.mark.row("P13", "P14")
@pytest.mark.parametrize(
    ("limit", "idle", "most"),
    [
        (24 * GIB, 2, 512 * MIB),  # never more than that
        (16 * GIB, 8, 16 * GIB // 80),  # together a tenth of the memory
        (512 * MIB, 4, 64 * MIB),  # never less than that
        (24 * GIB, 0, 512 * MIB),
    ],
)
def test_how_much_an_idle_worker_may_keep(limit: int, idle: int, most: int) -> None:
    assert idle_max_bytes(limit, idle) == most


def test_each_is_looked_at_once_per_idle_time() -> None:
    assert not is_due(None, 10.0, 10.0 + AFTER / 2)
    assert is_due(None, 10.0, 10.0 + AFTER)
    kept = Looked(10.0, Step.KEEP, 10.0 + AFTER)
    assert not is_due(kept, 10.0, 1000.0)
    assert is_due(kept, 20.0, 20.0 + AFTER), "it has worked since"
    trimmed = Looked(10.0, Step.TRIM, 11.0)
    assert not is_due(trimmed, 10.0, 11.0 + AFTER / 2)
    assert is_due(trimmed, 10.0, 11.0 + AFTER)


@pytest.mark.row("P13", "P14")
def test_first_it_gives_back_then_it_goes() -> None:
    small, fat, most = IDLE_WORKER_TRIM_BYTES, 600 * MIB, 512 * MIB
    assert next_step(None, 0.0, small, most) is Step.KEEP
    assert next_step(None, 0.0, small + 1, most) is Step.TRIM
    trimmed = Looked(0.0, Step.TRIM, 1.0)
    assert next_step(trimmed, 0.0, 300 * MIB, most) is Step.KEEP, "it is in use: it may stay up to the bound"
    assert next_step(trimmed, 0.0, fat, most) is Step.RETIRE
    assert next_step(trimmed, 5.0, fat, most) is Step.TRIM, "idle anew: asked anew"
    assert next_step(None, 0.0, 20 * MIB, 10 * MIB) is Step.TRIM, "a bound below the usual one"
