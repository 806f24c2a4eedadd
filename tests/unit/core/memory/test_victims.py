"""Who is ended when memory runs out: order, number, and the policy of old."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linckia.base.limits import GIB, MIB
from linckia.core.memory.victims import Candidate, Victim, choose

ALL = 1 << 60


def idle(name: str, mib: int, *, has_run: bool = True) -> Candidate:
    return Candidate(name.encode(), mib * MIB, has_run=has_run)


def active(name: str, lease: int, *, retriable: bool = True, mib: int = 100, owner: str = "o") -> Candidate:
    return Candidate(name.encode(), mib * MIB, True, lease, retriable, owner.encode())


def names(victims: list[Victim]) -> str:
    return "".join(victim.candidate.worker_id.decode() for victim in victims)


@pytest.mark.row("7.18")
@pytest.mark.parametrize(
    ("candidates", "order"),
    [
        ([idle("a", 10), idle("b", 30), idle("c", 20)], "bca"),
        ([idle("a", 10), idle("f", 500, has_run=False)], "a"),
        ([idle("a", 10), idle("f", 1025, has_run=False)], "fa"),
        ([active("a", 1), active("b", 2), active("c", 3)], "cba"),
        ([active("a", 3, retriable=False), active("b", 1), active("c", 2)], "cba"),
        ([active("a", 1, retriable=False), active("b", 2, retriable=False)], "ba"),
        ([active("a", 9, mib=4000), idle("i", 1), active("b", 10, mib=1)], "iba"),
        ([], ""),
    ],
)
def test_the_order(candidates: list[Candidate], order: str) -> None:
    assert names(choose(candidates, ALL)) == order
    assert names(choose(candidates[::-1], ALL)) == order


@pytest.mark.row("7.18", "P16")
def test_as_many_as_are_needed() -> None:
    workers = [idle("i", 30), active("a", 1), active("b", 2), active("c", 3)]
    assert names(choose(workers, 1)) == "i"
    assert names(choose(workers, 30 * MIB)) == "i"
    assert names(choose(workers, 31 * MIB)) == "ic"
    assert names(choose(workers, 231 * MIB)) == "icba"
    assert names(choose(workers, 0)) == ""


def test_reasons() -> None:
    reasons = [victim.why for victim in choose([idle("i", 1), active("a", 2), active("b", 1, retriable=False)], ALL)]
    assert ["idle" in reasons[0], "may run again" in reasons[1], "nothing that may run again is left" in reasons[2]]


@pytest.mark.row("7.19")
def test_the_old_policy_takes_the_newest_of_the_largest_group() -> None:
    workers = [
        active("a", 1, owner="p"),
        active("b", 2, owner="p"),
        active("c", 3, owner="q"),
        active("d", 4, owner="q"),
        active("e", 5, owner="q"),
        active("f", 6, owner="r", retriable=False),
    ]
    victims = choose(workers, ALL, by_group=True)
    # three of q; then p and q have two each, q began later; then p has two; then one each; f may not run again
    assert names(victims) == "edbcaf"
    assert {v.candidate.worker_id.decode() for v in victims if v.is_final} == {"a", "c", "f"}, "the last of each group"


@pytest.mark.row("7.19")
def test_each_work_that_may_not_run_again_is_a_group_of_its_own() -> None:
    workers = [active(name, lease, retriable=False) for lease, name in enumerate("abc", 1)]
    victims = choose(workers, ALL, by_group=True)
    assert names(victims) == "cba"
    assert all(victim.is_final for victim in victims)


CANDIDATES = st.lists(
    st.builds(
        Candidate,
        worker_id=st.binary(min_size=4, max_size=4),
        private_bytes=st.integers(0, 4 * GIB),
        has_run=st.booleans(),
        lease=st.integers(0, 50),
        retriable=st.booleans(),
        owner=st.sampled_from([b"p", b"q", b"r"]),
    ),
    max_size=20,
    unique_by=(lambda each: each.worker_id, lambda each: each.lease or each.worker_id),
)


@pytest.mark.row("7.18", "7.19")
@given(CANDIDATES, st.integers(1, 20 * GIB), st.booleans())
def test_no_worker_goes_in_vain(candidates: list[Candidate], need: int, by_group: bool) -> None:
    victims = choose(candidates, need, by_group=by_group)
    chosen = [victim.candidate for victim in victims]
    assert len({each.worker_id for each in chosen}) == len(chosen)
    assert sum(each.private_bytes for each in chosen[:-1]) < need, "the last one was needed"
    everybody = choose(candidates, ALL, by_group=by_group)
    assert victims == everybody[: len(victims)]
    if sum(each.private_bytes for each in chosen) < need:
        assert victims == everybody
    spared = [each for each in candidates if not each.lease and not each.has_run and each.private_bytes <= GIB]
    assert len(everybody) == len(candidates) - len(spared)
    ranks = [(bool(each.lease), bool(each.lease) and not each.retriable) for each in chosen]
    assert ranks == sorted(ranks), "idle, then what may run again, then the rest"
