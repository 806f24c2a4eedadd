"""Chunks of an object: all of it once, a small rest with the last, and the watermark behind what is missing."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linckia.core.objects.chunks import ChunkPlan


def taken(plan: ChunkPlan) -> list[tuple[int, int]]:
    found = []
    while (chunk := plan.take()) is not None:
        found.append(chunk)
    return found


@pytest.mark.row("3.16")
@pytest.mark.parametrize(
    ("size", "chunks"),
    [
        (1, [(0, 1)]),
        (80, [(0, 80)]),
        (81, [(0, 81)]),
        (89, [(0, 89)]),
        (90, [(0, 80), (80, 10)]),
        (160, [(0, 80), (80, 80)]),
        (169, [(0, 80), (80, 89)]),
        (170, [(0, 80), (80, 80), (160, 10)]),
    ],
)
def test_a_small_rest_is_part_of_the_last_chunk(size: int, chunks: list[tuple[int, int]]) -> None:
    assert taken(ChunkPlan(size, 80)) == chunks


@given(st.integers(1, 5000), st.integers(1, 300), st.randoms())
def test_in_any_order_everything_comes_once(size: int, chunk_bytes: int, rng: object) -> None:
    plan = ChunkPlan(size, chunk_bytes)
    chunks = taken(plan)
    ends = list(itertools.accumulate(length for _, length in chunks))
    assert [start for start, _ in chunks] == [0, *ends[:-1]]
    assert ends[-1] == size
    plan.give_back(chunks[-1][0])
    assert plan.take() == chunks[-1]
    rng.shuffle(chunks)  # type: ignore[attr-defined]
    for start, _ in chunks:
        assert not plan.finished
        plan.complete(start)
    assert plan.finished
